//! `weir connect test CONFIG NAME`.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::vfs::{RealVfs, Vfs};
use weir_rules::diagnostic::did_you_mean;
use weir_rules::{Diagnostics, SourceFile, yaml};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::config::{self, Config};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Tries a source, a sink or the database of a list as it is configured, and says in plain words what works and what does not. Nothing is read from a
    /// source, and no receiver is told anything.
    Test {
        /// Configuration.
        config: PathBuf,
        /// Source, sink or list; all of them if none is named.
        names: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Command::Test { config: path, names } = &args.command;
    let name = path.display().to_string();
    let mut diagnostics = Diagnostics::new();
    let config = match RealVfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1) {
        Ok(text) => Config::parse(&SourceFile::new(name, text), path, &mut diagnostics),
        Err(error) => {
            diagnostics.push(config::unreadable(&name, &error));
            None
        }
    };
    let (Some(config), false) = (config, diagnostics.has_errors()) else {
        diagnostics.sort();
        present::diagnostics(&diagnostics, false);
        return ExitCode::from(EXIT_WRONG);
    };
    let known: Vec<&str> = {
        let sources = config.sources.iter().map(|it| it.name.as_str());
        let lists = config.list_sources.iter().map(|it| it.list.as_str());
        let mut known: Vec<&str> = sources.chain(config.sinks.iter().map(|it| it.name.as_str())).chain(lists).collect();
        known.dedup();
        known
    };
    let names: Vec<&str> = if names.is_empty() { known.clone() } else { names.iter().map(String::as_str).collect() };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: the I/O runtime cannot be started: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let mut all_work = true;
    for name in names {
        let Some(found) = config::probe(&config, name, &RealVfs, runtime.handle()) else {
            let meant = did_you_mean(name, known.iter().copied()).unwrap_or_default();
            eprintln!("weir: no source, sink or fetched list is `{name}`; there are {}. {meant}", known.join(", "));
            return ExitCode::from(EXIT_WRONG);
        };
        for (what, findings) in found {
            present::say_line(&what);
            for finding in findings {
                all_work &= finding.is_ok();
                match finding {
                    Ok(works) => present::say_line(&format!("  works: {works}")),
                    Err(trouble) => present::say_line(&format!("  FAILS: {trouble}")),
                }
            }
        }
    }
    if all_work { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

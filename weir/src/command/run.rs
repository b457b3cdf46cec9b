//! `weir run CONFIG`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weir_engine::metrics::SinkCounts;
use weir_engine::runtime::Export;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_rules::diagnostic::codes;
use weir_rules::{Diagnostics, SourceFile, yaml};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::config::{self, Config, ListContext, SinkKind};
use crate::report::Report;
use crate::status::StatusFile;
use crate::{lists, metrics, present, reload};

/// Longest export that is read: as many places as are kept, each with a long path.
const EXPORT_BYTES_MAX: u64 = 64 << 20;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Configuration.
    #[arg(default_value = "weir.yaml")]
    config: PathBuf,
    /// Shards; one a core if not given here or in the configuration.
    #[arg(long)]
    shards: Option<usize>,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    /// Do not reload packs when their files change; SIGHUP still does.
    #[arg(long)]
    no_watch: bool,
    /// Begin with an empty state if that of earlier runs cannot be used: what windows, sequences and repeats had counted is
    /// given up, alerts that wait are delivered all the same.
    #[arg(long)]
    accept_state_loss: bool,
    /// Begin an empty state where the one that `weir state export` told of had got to in files and streams: for a state that this
    /// version, or this configuration, cannot go on from. Windows, sequences and repeats begin anew.
    #[arg(long, value_name = "EXPORT.json")]
    begin_at: Option<PathBuf>,
    /// Draws values, levels and transitions of all window rules with `emit: windows` into this SVG file at the end.
    #[arg(long, value_name = "FILE.svg")]
    report: Option<PathBuf>,
    /// No summary and no progress line.
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let mut diagnostics = Diagnostics::new();
    let config = read(args, vfs.as_ref(), &mut diagnostics);
    let (Some(config), false) = (config, diagnostics.has_errors()) else {
        return wrong(&mut diagnostics);
    };
    let begin_at = match args.begin_at.as_ref().map(|path| read_export(path, vfs.as_ref())).transpose() {
        Ok(begin_at) => begin_at,
        Err(what) => {
            eprintln!("weir: {what}");
            return ExitCode::from(EXIT_WRONG);
        }
    };
    let config = Arc::new(config);
    let root = config::root_key(&config, vfs.as_ref());
    let refreshes = match lists::fetch_missing(&config, &root) {
        Ok(refreshes) => refreshes,
        Err(error) => return fail(&error),
    };
    let loaded = config::load(&config, &ListContext::at_start(root.clone()), vfs.as_ref(), &mut diagnostics);
    if diagnostics.has_errors() {
        return wrong(&mut diagnostics);
    }
    diagnostics.sort();
    present::diagnostics(&for_operators(&diagnostics), false);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(weir_memory::go_first)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the I/O runtime cannot be started: {error}")),
    };
    let machine_output = config.sinks.iter().any(|sink| sink.kind == SinkKind::Stdout { ndjson: true });
    let files = if args.no_watch { Vec::new() } else { reload::files_of(&loaded.packs) };
    let report = args.report.as_ref().map(|_| Report::new(loaded.packs.iter().map(|(pack, _)| pack)));
    let asked = config::Asked { shards: args.shards, report: report.as_ref(), begin_at };
    let assembled = match config::assemble(&config, loaded, &root, &vfs, runtime.handle(), asked) {
        Ok(assembled) => assembled,
        Err(error) => return fail(&error),
    };
    let stop = assembled.pipeline.stop_handle();
    let asking = reload::start(Arc::clone(&config), root, assembled.pipeline.reload_handle(), &files);
    let (asker, watched) = (asking.clone(), !args.no_watch);
    match Signals::new([SIGTERM, SIGINT, SIGHUP]) {
        Ok(mut signals) => {
            std::thread::spawn(move || {
                let mut stopping = false;
                for signal in signals.forever() {
                    match signal {
                        SIGHUP => asking.ask("SIGHUP"),
                        // A second signal ends the process the hard way.
                        _ if stopping => std::process::exit(i32::from(EXIT_FAILED)),
                        _ => {
                            stopping = true;
                            stop.stop();
                        }
                    }
                }
            });
        }
        Err(error) => return fail(&format!("signals cannot be handled: {error}")),
    }
    let reloads = assembled.pipeline.reload_handle();
    let status =
        config.status_file.clone().map(|path| StatusFile::start(path, assembled.pipeline.progress(), reloads.clone()));
    if let Some(address) = config.metrics
        && let Err(error) = metrics::serve(address, assembled.pipeline.progress(), reloads.clone(), runtime.handle())
    {
        return fail(&error);
    }
    // Where files are watched a new one shows by itself.
    let on_put = move || {
        if !watched {
            asker.ask("a list was fetched");
        }
    };
    lists::start(refreshes, &assembled.pipeline.progress(), on_put);
    let progress = (!args.quiet).then(|| present::ProgressLine::start(assembled.files, assembled.pipeline.progress()));
    let result = assembled.pipeline.run();
    drop(progress);
    drop(status);
    // A read of standard input may still be under way; it must not hold the process.
    runtime.shutdown_background();
    let summary = match result {
        Ok(summary) => summary,
        Err(error) => return fail(&error.to_string()),
    };
    let lists = reloads.list_status();
    for status in lists.iter().filter(|status| status.refused_last.is_some()) {
        let (id, version) = (&status.list.spec.id, &status.list.version);
        eprintln!("weir: list `{id}`: version {version} was in force to the end; the newest one was refused");
    }
    if !args.quiet {
        let text = if args.json { present::summary_json(&summary, &lists) } else { present::summary(&summary) };
        if machine_output {
            eprintln!("{text}");
        } else {
            present::say_line(&text);
        }
    }
    if let (Some(path), Some(report)) = (&args.report, &report)
        && let Err(error) = report.write(path)
    {
        return fail(&format!("the report {} cannot be written: {error}", path.display()));
    }
    for (source, error) in &summary.source_errors {
        eprintln!("weir: source `{source}` failed: {error}");
    }
    for (sink, counts) in &summary.sinks {
        if let Some(error) = &counts.error {
            eprintln!("weir: sink `{sink}` failed, {} outputs were not delivered: {error}", counts.undelivered);
        }
    }
    let sink_failed = |counts: &SinkCounts| counts.error.is_some() || counts.lost > 0;
    let failed = !summary.source_errors.is_empty()
        || summary.outputs_too_long > 0
        || summary.sinks.iter().any(|(_, counts)| sink_failed(counts));
    if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
}

/// What concerns those who run rules: that a rule has no test, or a twin, is for those who write them.
pub(crate) fn for_operators(diagnostics: &Diagnostics) -> Diagnostics {
    let for_authors = [&codes::RULE_WITHOUT_TEST, &codes::SAME_MEANING, &codes::SHADOWED_RULE, &codes::NEVER_USED];
    let mut kept = Diagnostics::new();
    diagnostics.iter().filter(|found| !for_authors.contains(&found.code)).for_each(|found| kept.push(found.clone()));
    kept
}

fn fail(message: &str) -> ExitCode {
    eprintln!("weir: {message}");
    ExitCode::from(EXIT_FAILED)
}

fn read(args: &Args, vfs: &dyn Vfs, diagnostics: &mut Diagnostics) -> Option<Config> {
    let (path, name) = (&args.config, args.config.display().to_string());
    let text = match vfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1) {
        Ok(text) => text,
        Err(error) => {
            diagnostics.push(config::unreadable(&name, &error));
            return None;
        }
    };
    let mut config = Config::parse(&SourceFile::new(name, text), path, diagnostics)?;
    if let Some(state) = &mut config.state {
        state.accept_state_loss = args.accept_state_loss;
    }
    Some(config)
}

fn read_export(path: &Path, vfs: &dyn Vfs) -> Result<Export, String> {
    let fault = |what: String| format!("{}: {what}", path.display());
    let text = vfs.read_text(path, EXPORT_BYTES_MAX).map_err(|error| fault(error.to_string()))?;
    Export::from_json(&text).map_err(fault)
}

fn wrong(diagnostics: &mut Diagnostics) -> ExitCode {
    diagnostics.sort();
    present::diagnostics(&for_operators(diagnostics), false);
    ExitCode::from(EXIT_WRONG)
}

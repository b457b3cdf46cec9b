//! `weir check PATH...`: configurations and packs, every problem in one run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_engine::vfs::{RealVfs, Vfs};
use weir_rules::{Catalog, Diagnostics, Severity, SourceFile, pack, yaml};

use super::EXIT_WRONG;
use crate::config::{self, Config};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configurations (weir.yaml) or rule packs. A configuration is checked with its packs, lists and zones.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut diagnostics = Diagnostics::new();
    for path in &args.paths {
        check(path, &mut diagnostics);
    }
    diagnostics.sort();
    present::diagnostics(&diagnostics, args.json);
    if !args.json {
        let (errors, warnings) = (diagnostics.count(Severity::Error), diagnostics.count(Severity::Warning));
        println!("{}", present::verdict(args.paths.len(), errors, warnings));
    }
    if diagnostics.has_errors() { ExitCode::from(EXIT_WRONG) } else { ExitCode::SUCCESS }
}

fn check(path: &Path, diagnostics: &mut Diagnostics) {
    let name = path.display().to_string();
    let text = match RealVfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1) {
        Ok(text) => text,
        Err(error) => return diagnostics.push(config::unreadable(&name, &error)),
    };
    let file = SourceFile::new(name, text);
    if is_pack(&file) {
        pack::parse(&file, &Catalog::builtin(), diagnostics);
    } else if let Some(config) = Config::parse(&file, path, diagnostics) {
        config::load(&config, &RealVfs, diagnostics);
    }
}

/// A pack says `pack:`; what cannot be read at all is reported as a configuration.
fn is_pack(file: &std::sync::Arc<SourceFile>) -> bool {
    match yaml::parse(file, &mut Diagnostics::new()).map(|node| node.value) {
        Some(yaml::Value::Map(entries)) => entries.iter().any(|(key, _)| matches!(key.text(), Some("pack" | "rules"))),
        _ => false,
    }
}

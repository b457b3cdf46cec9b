//! `weir check PATH...`: configurations and packs, every problem in one run.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_rules::{Diagnostics, Severity};

use super::EXIT_WRONG;
use crate::given::{self, Lists};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configurations (weir.yaml), rule packs, or folders of either. A configuration is checked with its packs,
    /// lists and zones.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a line instead of text.
    #[arg(long, conflicts_with = "sarif")]
    json: bool,
    /// One SARIF 2.1.0 document instead of text, for code review and editors.
    #[arg(long)]
    sarif: bool,
    /// Apply the fixes that are safe: plain slips in keys and words, and what makes a rule stricter.
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let (mut diagnostics, mut files) = check(args);
    if args.fix {
        match fix(&diagnostics) {
            Ok(0) => {}
            Ok(_) => (diagnostics, files) = check(args),
            Err(error) => {
                eprintln!("weir: {error}");
                return ExitCode::from(super::EXIT_FAILED);
            }
        }
    }
    if args.sarif {
        present::say_line(&present::sarif(&diagnostics).to_string());
    } else {
        present::diagnostics(&diagnostics, args.json);
    }
    if !args.json && !args.sarif {
        let (errors, warnings) = (diagnostics.count(Severity::Error), diagnostics.count(Severity::Warning));
        let fixes = diagnostics.iter().filter(|found| found.fix.is_some()).count();
        present::say_line(&present::verdict(files, errors, warnings, fixes));
    }
    if diagnostics.has_errors() { ExitCode::from(EXIT_WRONG) } else { ExitCode::SUCCESS }
}

fn check(args: &Args) -> (Diagnostics, usize) {
    let mut diagnostics = Diagnostics::new();
    let files = args.paths.iter().map(|path| given::open(path, Lists::LoadIfThere, &mut diagnostics).files).sum();
    diagnostics.sort();
    (diagnostics, files)
}

/// Writes the mended files; how many fixes were applied.
fn fix(diagnostics: &Diagnostics) -> Result<usize, String> {
    let mut all = 0;
    for (file, text, applied) in diagnostics.fixed() {
        // Beside the file first, then in its place: a full disk leaves the old text whole.
        let beside = format!("{}.weir-fix", file.name);
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &file.name))
            .map_err(|error| format!("{} cannot be mended: {error}", file.name))?;
        eprintln!("weir: {}: {applied} {} applied", file.name, if applied == 1 { "fix" } else { "fixes" });
        all += applied;
    }
    Ok(all)
}

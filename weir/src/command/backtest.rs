//! `weir backtest PATH --history FILE...`: what rules would have said.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::{given, history, present};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A pack, a folder of packs, or a configuration (for its zones, lists and kinds).
    path: PathBuf,
    /// Files of canonical records: NDJSON, CSV, Arrow IPC or Parquet, compressed or not.
    #[arg(long, required = true, num_args = 1..)]
    history: Vec<PathBuf>,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
    /// No progress line.
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Some(given) = given::open_or_tell(&args.path, args.json) else { return ExitCode::from(EXIT_WRONG) };
    match history::judge(given, &args.history, false, args.quiet) {
        Ok(judged) => {
            let report = if args.json {
                present::rules_report_json(&judged.summary).to_string()
            } else {
                present::rules_report(&judged.summary)
            };
            present::say_line(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

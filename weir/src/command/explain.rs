//! `weir explain CODE`.

use std::process::ExitCode;

use weir_rules::diagnostic::{Severity, by_id, codes};

use super::EXIT_WRONG;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A code such as WR0205; `all` lists every code.
    code: String,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if args.code == "all" {
        for code in codes::ALL {
            println!("{}  {}", code.id, code.title);
        }
        return ExitCode::SUCCESS;
    }
    let Some(code) = by_id(&args.code) else {
        eprintln!("weir: there is no code `{}`; `weir explain all` lists them", args.code);
        return ExitCode::from(EXIT_WRONG);
    };
    let severity = if code.severity == Severity::Error { "error" } else { "warning" };
    println!("{} ({severity}): {}\n\nWhy: {}\nCure: {}", code.id, code.title, code.cause, code.cure);
    ExitCode::SUCCESS
}

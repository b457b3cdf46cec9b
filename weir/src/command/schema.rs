//! `weir schema pack`: the JSON Schema of packs, for editors.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whose schema.
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Rule packs.
    Pack,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let What::Pack = args.what;
    present::say_line(&format!("{:#}", weir_rules::pack::json_schema()));
    ExitCode::SUCCESS
}

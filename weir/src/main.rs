//! weir: the command line.
//!
//! `weir run` runs a configuration, `weir check` says what is wrong with one, `weir explain` tells
//! what a diagnostic means, `weir generate` makes a synthetic city to try things on.
//!
//! Exit codes: 0 done; 1 something failed while running (a source, a sink, an undelivered alert);
//! 2 the configuration, a pack or the arguments are wrong.
#![forbid(unsafe_code)]

mod command;
mod config;
mod generate;
mod present;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A columnar stream engine that watches gates.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a configuration until its sources are drained or a signal comes.
    Run(command::run::Args),
    /// Check configurations and rule packs, and report every problem at once.
    Check(command::check::Args),
    /// Tell what a diagnostic code means and how it is cured.
    Explain(command::explain::Args),
    /// Make a seeded synthetic city: records, lists, zones, and a configuration to run them.
    Generate(command::generate::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => command::run::run(&args),
        Command::Check(args) => command::check::run(&args),
        Command::Explain(args) => command::explain::run(&args),
        Command::Generate(args) => command::generate::run(&args),
    }
}

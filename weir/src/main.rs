//! weir: the command line.
//!
//! `weir run` runs a configuration. For those who write rules: `weir check` says what is wrong with
//! them, `weir test` runs their tests, `weir explain` tells what a diagnostic means or how a rule is
//! run, `weir why-not` why an alert did not come, `weir backtest` what rules would have said, `weir
//! diff` what a change of rules changes. `weir connect test` tries sources and sinks. `weir list` makes watchlists into snapshots. `weir status` tells how a run stands, `weir
//! state` what lies in its state folder. `weir generate` makes a synthetic city to try things on.
//!
//! Exit codes: 0 done; 1 something failed while running (a source, a sink, an undelivered alert, a
//! test); 2 the configuration, a pack or the arguments are wrong.
#![forbid(unsafe_code)]

mod bar;
mod command;
mod config;
mod generate;
mod given;
mod history;
mod latency;
mod lists;
mod metrics;
mod present;
mod reload;
mod report;
mod status;
mod watch;

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
    /// Run the tests of rule packs, each five ways.
    Test(command::test::Args),
    /// Tell what a diagnostic code means, or how a rule is run and what it costs.
    Explain(command::explain::Args),
    /// Tell why a rule did not speak.
    WhyNot(command::why_not::Args),
    /// Judge history: what rules would have said, by day and place, and what they cost.
    Backtest(command::backtest::Args),
    /// Judge history by two versions of rules: the alerts gained and lost.
    Diff(command::diff::Args),
    /// Build, look at, verify and compare snapshots of watchlists.
    List(command::list::Args),
    /// Try the sources, sinks and list databases of a configuration.
    Connect(command::connect::Args),
    /// Tell how a running weir stands: records, alerts, who is in trouble, lists, zones, devices.
    Status(command::status::Args),
    /// Look into a state folder: what waits for which sink, and whether it is sound.
    State(command::state::Args),
    /// Look at records that were refused, late or let go, and read them out again.
    DeadLetter(command::dead_letter::Args),
    /// Print the JSON Schema of rule packs, for editors.
    Schema(command::schema::Args),
    /// Make a seeded synthetic city: records, lists, zones, and a configuration to run them.
    Generate(command::generate::Args),
}

fn main() -> ExitCode {
    weir_memory::steady_memory();
    match Cli::parse().command {
        Command::Run(args) => command::run::run(&args),
        Command::Check(args) => command::check::run(&args),
        Command::Test(args) => command::test::run(&args),
        Command::Explain(args) => command::explain::run(&args),
        Command::WhyNot(args) => command::why_not::run(&args),
        Command::Backtest(args) => command::backtest::run(&args),
        Command::Diff(args) => command::diff::run(&args),
        Command::List(args) => command::list::run(&args),
        Command::Connect(args) => command::connect::run(&args),
        Command::Status(args) => command::status::run(&args),
        Command::State(args) => command::state::run(&args),
        Command::DeadLetter(args) => command::dead_letter::run(&args),
        Command::Schema(args) => command::schema::run(&args),
        Command::Generate(args) => command::generate::run(&args),
    }
}

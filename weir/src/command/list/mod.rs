//! `weir list`: snapshots of watchlists.

mod build;
mod compare;
mod inspect;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use weir_engine::record::RootKey;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{Effort, ListKeys, Snapshot};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::config;
use crate::lists::Trouble;

/// Largest snapshot that is looked at.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a snapshot, or a delta, of a list that a pack declares, out of CSV, NDJSON, Parquet or a database.
    Build(build::Args),
    /// Tell what a snapshot says of itself. Needs no key.
    Inspect(inspect::Args),
    /// Check snapshots for damage; with the key, for forgery too.
    Verify(verify::Args),
    /// Tell which entries came, changed and went from one version to another.
    Diff(compare::Args),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::Build(args) => build::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Diff(args) => compare::run(args),
    }
}

impl Trouble {
    pub(super) fn end(self) -> ExitCode {
        match self {
            Self::Wrong(message) => {
                eprintln!("weir: {message}");
                ExitCode::from(EXIT_WRONG)
            }
            Self::Failed(message) => {
                eprintln!("weir: {message}");
                ExitCode::from(EXIT_FAILED)
            }
            Self::Told => ExitCode::from(EXIT_WRONG),
        }
    }
}

/// The root key of a file.
fn root_of(key_file: &Path) -> Result<RootKey, Trouble> {
    config::read_key(key_file, &RealVfs).map(RootKey::new).map_err(Trouble::Wrong)
}

/// Verifies and opens a snapshot of this installation.
fn open(path: &Path, root: &RootKey) -> Result<Snapshot, Trouble> {
    let name = path.display();
    let bytes = RealVfs.map(path, SNAPSHOT_BYTES_MAX).map_err(|error| Trouble::Wrong(format!("{name}: {error}")))?;
    let refused = |error| Trouble::Wrong(format!("{name}: {error}"));
    let manifest = Snapshot::peek(&bytes).map_err(refused)?;
    let keys = Arc::new(ListKeys::derive(root.bytes(), &manifest.purpose, &manifest.epoch));
    Snapshot::open(bytes, &keys, Effort::AllCores).map_err(refused)
}

/// A key file on the command line.
#[derive(clap::Args)]
struct KeyArgs {
    /// File with the root key: 32 bytes, the `state.key_file` of the configuration.
    #[arg(long)]
    key_file: Option<PathBuf>,
}

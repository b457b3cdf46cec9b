//! `weir list verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use weir_engine::record::RootKey;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::Snapshot;

use super::{EXIT_FAILED, KeyArgs, SNAPSHOT_BYTES_MAX, Trouble, open, root_of};
use crate::bar::Bar;
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Snapshots and deltas.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let root = match args.key.key_file.as_deref().map(root_of).transpose() {
        Ok(root) => root,
        Err(trouble) => return trouble.end(),
    };
    let mut sound = true;
    for file in &args.files {
        let verdict = verify(file, root.as_ref());
        sound &= verdict.is_ok();
        if args.json {
            let error = verdict.as_ref().err();
            let row = json!({ "file": file, "sound": verdict.is_ok(), "sealed": root.is_some(), "error": error });
            present::say_line(&row.to_string());
            continue;
        }
        match verdict {
            Ok(entries) if root.is_some() => {
                present::say_line(&format!("{}: sound, {entries} entries looked at", file.display()));
            }
            Ok(_) => present::say_line(&format!(
                "{}: not damaged; give --key-file to know whether it was forged",
                file.display()
            )),
            Err(message) => present::say_line(&message),
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

/// How many entries were looked at, or what is wrong.
fn verify(file: &Path, root: Option<&RootKey>) -> Result<u64, String> {
    let Some(root) = root else {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let bytes = RealVfs.map(file, SNAPSHOT_BYTES_MAX).map_err(|error| wrong(&error))?;
        return Snapshot::check(&bytes).map(|_| 0).map_err(|error| wrong(&error));
    };
    let snapshot = open(file, root).map_err(|trouble| match trouble {
        Trouble::Wrong(message) | Trouble::Failed(message) => message,
        Trouble::Told => String::new(),
    })?;
    let bar = Bar::start("verifying", u64::from(snapshot.len()));
    snapshot.audit(&bar.done).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(u64::from(snapshot.len()))
}

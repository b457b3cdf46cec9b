//! `weir list diff`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::watchlist::{Snapshot, Watchlist, changes};

use super::{Trouble, open, root_of};
use crate::bar::Bar;
use crate::present;

/// Entry ids that are printed of each sort.
const IDS_SHOWN: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The version before.
    old: PathBuf,
    /// The version after.
    new: PathBuf,
    /// File with the root key: 32 bytes, the `state.key_file` of the configuration.
    #[arg(long)]
    key_file: PathBuf,
    /// All entry ids, as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    diff(args).map_or_else(Trouble::end, |()| ExitCode::SUCCESS)
}

fn diff(args: &Args) -> Result<(), Trouble> {
    let root = root_of(&args.key_file)?;
    let (old, new) = (open(&args.old, &root)?, open(&args.new, &root)?);
    let (before, after) = (&old.manifest, &new.manifest);
    if (&before.list, &before.purpose) != (&after.list, &after.purpose) {
        return Err(Trouble::Wrong(format!(
            "{} is a version of list `{}`, {} of `{}`",
            args.old.display(),
            before.list,
            args.new.display(),
            after.list
        )));
    }
    if before.epoch != after.epoch {
        return Err(Trouble::Wrong(format!(
            "the versions were built with keys of two epochs ({} and {}) and cannot be compared; build one again with --epoch",
            before.epoch, after.epoch
        )));
    }
    let (old, new) = (list_of(old)?, list_of(new)?);
    let bar = Bar::start("comparing", 1);
    let found = changes(&old, &new);
    let (added, changed) = (new.ids_of(&found.added), new.ids_of(&found.changed));
    let removed = old.ids_of(&found.removed);
    drop(bar);
    if args.json {
        present::say_line(&json!({ "added": added, "changed": changed, "removed": removed }).to_string());
        return Ok(());
    }
    for (what, ids) in [("added", &added), ("changed", &changed), ("removed", &removed)] {
        let more = if ids.len() > IDS_SHOWN { ", ..." } else { "" };
        let shown = ids.iter().take(IDS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let colon = if ids.is_empty() { "" } else { ": " };
        present::say_line(&format!("{} {what}{colon}{shown}{more}", ids.len()));
    }
    Ok(())
}

/// A single snapshot as a list, for the sake of comparing.
fn list_of(snapshot: Snapshot) -> Result<Watchlist, Trouble> {
    let spec = snapshot
        .spec()
        .ok_or_else(|| Trouble::Wrong("the manifest names a kind of list that does not exist".to_owned()))?;
    let version = snapshot.version.clone();
    Ok(Watchlist::new(spec, vec![Arc::new(snapshot)], version, SystemClock::default().wall_ms()))
}

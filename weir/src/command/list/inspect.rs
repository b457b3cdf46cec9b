//! `weir list inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use weir_engine::alert::format_time;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{Extent, Manifest, Snapshot};

use super::{SNAPSHOT_BYTES_MAX, Trouble};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Snapshot.
    file: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    inspect(args).map_or_else(Trouble::end, |()| ExitCode::SUCCESS)
}

fn inspect(args: &Args) -> Result<(), Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Wrong(format!("{}: {error}", args.file.display()));
    let bytes = RealVfs.map(&args.file, SNAPSHOT_BYTES_MAX).map_err(|error| wrong(&error))?;
    let manifest = Snapshot::check(&bytes).map_err(|error| wrong(&error))?;
    let sections = Snapshot::sizes(&bytes).map_err(|error| wrong(&error))?;
    if args.json {
        let sections: serde_json::Map<_, _> =
            sections.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).into())).collect();
        present::say_line(&json!({ "manifest": manifest, "bytes": bytes.len(), "sections": sections }).to_string());
        return Ok(());
    }
    present::say_line(&describe(&manifest));
    for (name, size) in sections {
        present::say_line(&format!("  {name:<22}{size:>14} bytes"));
    }
    present::say_line(&format!("  {:<22}{:>14} bytes", "in all", bytes.len()));
    present::say_line("not damaged; whether it was forged only `weir list verify --key-file` can tell");
    Ok(())
}

fn describe(manifest: &Manifest) -> String {
    let Manifest { list, kind, key, purpose, legal_basis, authority, owner, epoch, .. } = manifest;
    let mut lines = vec![
        format!("list {list} ({kind}), keys: {key} {}", manifest.normaliser),
        format!("purpose {purpose}, on the ground of {legal_basis}"),
        format!("asked for by {authority}, owned by {owner}"),
        format!(
            "built {} of {}, key of epoch {epoch}",
            format_time(manifest.created_ms),
            if manifest.source.is_empty() { "nothing" } else { &manifest.source }
        ),
        match manifest.extent {
            Extent::Full => format!("full, number {}", manifest.sequence),
            Extent::Delta => format!(
                "delta, number {}: {} entries written, {} taken back",
                manifest.sequence,
                manifest.exact + manifest.patterns,
                manifest.removed
            ),
        },
        format!("{} entries in all, {} patterns here", manifest.total, manifest.patterns),
    ];
    if let Some(previous) = &manifest.previous {
        lines.push(format!("follows version {} of {} entries", previous.version, previous.total));
    }
    if manifest.refused_rows + manifest.check_warnings > 0 {
        lines.push(format!(
            "{} rows were left out, {} keys have a check digit that does not fit",
            manifest.refused_rows, manifest.check_warnings
        ));
    }
    lines.join("\n")
}

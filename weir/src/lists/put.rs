//! How a snapshot gets into its place.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{Extent, ListKeys, LoadReport, Snapshot, Watchlist, delta_files, guard};

use super::{Order, Trouble};

/// Checks what was built as those who load it will, and puts it in place whole: written beside, made durable, closed
/// to writers, renamed.
pub(crate) fn put(
    out: &Path,
    file: &[u8],
    order: &Order,
    keys: &ListKeys,
    previous: Option<&Arc<Watchlist>>,
    now_ms: i64,
) -> Result<Snapshot, Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("{}: {error}", out.display()));
    let mut beside = out.to_path_buf().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        // One of an earlier attempt is closed to writers too.
        let _ = fs::remove_file(&beside);
        let mut to = fs::File::create(&beside)?;
        to.write_all(file)?;
        to.set_permissions(fs::Permissions::from_mode(0o444))?;
        to.sync_all()
    };
    write().map_err(failed)?;
    let checked = check(&beside, out, order, keys, previous, now_ms);
    let snapshot = match checked {
        Ok(snapshot) => snapshot,
        Err(trouble) => {
            let _ = fs::remove_file(&beside);
            return Err(trouble);
        }
    };
    fs::rename(&beside, out).map_err(failed)?;
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    if snapshot.manifest.extent == Extent::Full {
        // They led from another version.
        for delta in delta_files(&RealVfs, out).unwrap_or_default() {
            fs::remove_file(&delta).map_err(failed)?;
        }
    }
    Ok(snapshot)
}

fn check(
    beside: &Path,
    out: &Path,
    order: &Order,
    keys: &ListKeys,
    previous: Option<&Arc<Watchlist>>,
    now_ms: i64,
) -> Result<Snapshot, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Wrong(format!("{}: {error}", out.display()));
    let bytes = RealVfs.map(beside, u64::MAX - 1).map_err(|error| wrong(&error))?;
    let keys = Arc::new(keys.clone());
    let snapshot = Snapshot::open(bytes, &keys, order.effort).map_err(|error| wrong(&error))?;
    // As the loader will see it: laid over what a delta builds on.
    let bytes = RealVfs.map(beside, u64::MAX - 1).map_err(|error| wrong(&error))?;
    let top = Arc::new(Snapshot::open(bytes, &keys, order.effort).map_err(|error| wrong(&error))?);
    let below = previous.filter(|_| snapshot.manifest.extent == Extent::Delta);
    let layers = std::iter::once(top).chain(below.iter().flat_map(|list| list.layers()).cloned()).collect();
    let list = Watchlist::new(order.spec.clone(), layers, snapshot.version.clone(), now_ms);
    let mut report = LoadReport { live: list.len(), ..LoadReport::default() };
    guard(&out.display().to_string(), &list, &order.loading(previous, now_ms), &mut report)
        .map_err(|error| Trouble::Wrong(error.to_string()))?;
    for warning in report.warnings {
        eprintln!("weir: {}: {warning}", out.display());
    }
    Ok(snapshot)
}

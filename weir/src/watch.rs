//! Files that change: the folders they lie in are watched, since editors put a new file in the place
//! of the old one, and what comes in one breath counts once.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use weir_engine::watchlist::is_delta_of;

/// A change counts once no other has followed it for so long: an editor writes in steps.
const QUIET: Duration = Duration::from_millis(150);

/// Something was written, renamed or removed. Waits for the next change; ends when the watcher dies.
pub(crate) struct Changes {
    events: Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

/// Watches files, and the YAML files of folders. What else changes beside them, such as what a sink writes,
/// is no change.
pub(crate) fn changes(paths: &[PathBuf]) -> notify::Result<Changes> {
    let (sender, events) = channel();
    let names: Vec<OsString> =
        paths.iter().filter(|path| !path.is_dir()).filter_map(|path| path.file_name().map(OsStr::to_owned)).collect();
    let any_yaml = paths.iter().any(|path| path.is_dir());
    let concerns = move |path: &Path| {
        let is_known = |name: &OsStr| {
            let text = name.to_string_lossy();
            // A delta of a list comes beside it.
            names.iter().any(|known| known == name || is_delta_of(&text, &known.to_string_lossy()))
        };
        let named = path.file_name().is_some_and(is_known);
        named || any_yaml && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let touched = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_))
                && event.paths.iter().any(|path| concerns(path))
        });
        if touched {
            // Nobody listens any more once the run is over.
            let _ = sender.send(());
        }
    })?;
    let mut folders: Vec<PathBuf> = paths
        .iter()
        .map(|path| {
            let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
            folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
        })
        .collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(Changes { events, _watcher: watcher })
}

impl Iterator for Changes {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        self.events.recv().ok()?;
        while self.events.recv_timeout(QUIET).is_ok() {}
        Some(())
    }
}

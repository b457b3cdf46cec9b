//! How a run stands, written to a file that `weir status` reads (`state.status_file`).
//!
//! It holds counts, names and versions, and nothing about anybody. It is written anew when something has
//! changed, at most four times a second, and is put in place whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::alert::format_time;
use weir_engine::metrics::{Progress, SinkCounts, Trouble};
use weir_engine::{ListStatus, ReloadHandle};

/// How often it is looked whether something has changed.
const INTERVAL: Duration = Duration::from_millis(250);

/// The writer; it writes a last time and ends when it is dropped.
pub(crate) struct StatusFile {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusFile {
    pub(crate) fn start(path: PathBuf, progress: Arc<Progress>, handle: ReloadHandle) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut last = String::new();
            loop {
                let ends = ending.load(Ordering::Relaxed);
                let text = status(&progress, &handle.list_status(), !ends).to_string();
                if text != last {
                    if let Err(error) = put(&path, &text) {
                        eprintln!("weir: status file {} cannot be written: {error}", path.display());
                        return;
                    }
                    last = text;
                }
                if ends {
                    return;
                }
                std::thread::park_timeout(INTERVAL);
            }
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has told what went wrong itself.
            let _ = thread.join();
        }
    }
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

fn status(progress: &Progress, lists: &[ListStatus], running: bool) -> Value {
    let live = progress.live();
    json!({
        "pid": std::process::id(),
        "running": running,
        "received": progress.received(),
        "alerts": progress.alerts(),
        "in_trouble": troubles(progress),
        "sources": live.sources,
        "sinks": sinks(progress),
        "lists": lists.iter().map(list_json).collect::<Vec<_>>(),
        "values": live.values,
        "devices": live.devices,
    })
}

/// What sinks have done so far.
fn sinks(progress: &Progress) -> BTreeMap<String, Value> {
    let told = |(sink, counts): (String, SinkCounts)| {
        let SinkCounts { delivered, refused, undelivered, lost, waiting, retries, .. } = counts;
        let counts = json!({
            "delivered": delivered, "refused": refused, "undelivered": undelivered, "lost": lost, "waiting": waiting,
            "retries": retries,
        });
        (sink, counts)
    };
    progress.sinks().into_iter().map(told).collect()
}

/// Who cannot do their work for now.
fn troubles(progress: &Progress) -> Vec<Value> {
    let told = |(who, trouble): (String, Trouble)| {
        json!({
            "who": who,
            "since": format_time(trouble.since_ms),
            "tries": trouble.tries,
            "given_up": trouble.given_up,
            "error": trouble.message,
        })
    };
    progress.troubles().into_iter().map(told).collect()
}

/// A list as it stands.
pub(crate) fn list_json(status: &ListStatus) -> Value {
    let list = &status.list;
    let refused = status.refused_last.as_ref();
    json!({
        "list": list.spec.id,
        "kind": list.spec.kind.word(),
        "purpose": list.spec.purpose,
        "version": list.version,
        "created": format_time(list.created_ms),
        "entries": list.len(),
        "deltas": list.layers().len() - 1,
        "refused_versions": status.refused,
        "refused": refused.map(|(at_ms, error)| json!({ "at": format_time(*at_ms), "error": error })),
    })
}

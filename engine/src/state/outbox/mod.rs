//! Outputs wait here for their sinks, on the disk.
//!
//! One thread writes what the pipeline tells, as many outputs at once as have come, and syncs; only then may a sink see
//! them, and only then is answered who waits for an answer. Each sink reads from a place of its own: what was just written out of memory, what is older from the disk. A
//! sink that does not answer keeps its place, holds nobody up, and gets everything in order when it is back. A segment
//! is removed when every sink has noted durably that it is beyond it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

mod inspect;
mod letter;
mod place;
mod writer;

#[cfg(test)]
mod tests;

pub use inspect::{Inspection, SinkPlace, inspect};
pub(crate) use letter::{Letter, Opened};
#[cfg(test)]
pub(crate) use place::Polled;
pub(crate) use place::{Batch, Place};
pub(crate) use writer::Writer;

use super::checkpoint::Unusable;
use super::journal::{Durable, ReplayError};
use super::log::{CursorFile, Cut, Log, LogError, LogKind, LogOptions, Reader};
use super::{Folder, StateSpec};
use crate::alert::Output;
use crate::clock::Clock;
use crate::rng::Rng;

/// Outputs that were just written, for sinks that keep up.
const RECENT_MAX: usize = 4_096;
/// Sinks one outbox can tell apart.
pub(crate) const SINKS_MAX: usize = 64;

/// The state of an earlier run cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum OpenError {
    #[error("{folder} is in use by another process", folder = .0.display())]
    InUse(PathBuf),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "sink `{sink}` has got to output {at}, and the outbox ends before output {end}: its last segment was removed, \
         or the folder was put together from two backups"
    )]
    AheadOfLog { sink: String, at: u64, end: u64 },
    #[error("a sink's name may hold letters, digits, `-`, `_` and `.` where there is a state folder: `{0}` does not")]
    SinkName(String),
    #[error("more than {SINKS_MAX} sinks")]
    TooManySinks,
    #[error(
        "{path} cannot be used, nor can an older checkpoint: {what}. Restore the folder from a backup; or give up what was \
         counted so far with `--accept-state-loss`",
        path = .0.path.display(), what = .0.what
    )]
    Checkpoint(Unusable),
    #[error(
        "{folder}: {what}. Restore the folder from a backup; or give up what was counted so far with \
         `--accept-state-loss`",
        folder = folder.display()
    )]
    Torn { folder: PathBuf, what: String },
    #[error(
        "{0}. Restore the folder from a backup; or give up what was counted so far, and what came in since, with \
         `--accept-state-loss`"
    )]
    Damaged(ReplayError),
    #[error("{error}. Restore the folder from a backup; or move {folder} away: {lost}", folder = folder.display())]
    Beside { error: LogError, folder: PathBuf, lost: &'static str },
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl OpenError {
    /// A log that is given up by hand only cannot be used; what is lost with it.
    pub(crate) fn beside(error: LogError, folder: &Path, lost: &'static str) -> Self {
        if error.is_damage() { Self::Beside { error, folder: folder.to_path_buf(), lost } } else { error.into() }
    }
}

/// What is lost with an outbox: no flag gives up alerts.
const LOST_WITH_IT: &str =
    "what waits in it for sinks is not delivered then, and the next start takes `--accept-state-loss`";

/// What was found when an outbox was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Outputs that may still have waited for one sink or another.
    pub waiting: u64,
    /// What a crash had torn.
    pub cut: Cut,
    /// Sinks of an earlier run that are not declared any more; what waited for them is not delivered.
    pub undeclared: Vec<String>,
    /// The checkpoint that was gone on from, and when it was made, by the wall clock, ms.
    pub checkpoint: Option<(u64, i64)>,
    /// Newer checkpoints that could not be used.
    pub unusable: Vec<Unusable>,
    /// The state of earlier runs was given up.
    pub given_up: bool,
    /// Lists of which another version is in force than when the checkpoint was made.
    pub other_lists: Vec<String>,
}

/// What the writer is given, in order.
pub(crate) enum Item {
    /// To be kept, once so many turns are durable.
    Letter(Letter, u64),
    /// To be called once everything before it, and so many turns, are durable: whoever sent the records may forget them then.
    Ack(Ack, u64),
}

/// Is told which output comes next.
pub(crate) type Ack = Box<dyn FnOnce(u64) + Send>;

/// From which output on the outbox is kept, whoever has got it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeepFrom(Arc<Shared>);

impl KeepFrom {
    pub(crate) fn set(&self, seq: u64) {
        self.0.board.lock().keep_from = seq;
    }
}

/// What writer and sinks share.
struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
    names: Vec<String>,
    run: u64,
}

struct Board {
    /// All letters before this one are durable.
    durable_to: u64,
    /// The newest of them, in order; the last is the one before `durable_to`.
    recent: VecDeque<Letter>,
    /// Sinks are to be beyond this one, whatever they have delivered.
    floor: u64,
    /// Where each sink will start again after a power loss.
    places: Vec<u64>,
    /// Whoever replays turns must know what was told from here on.
    keep_from: u64,
    /// Nothing more will come.
    ended: bool,
    /// Something is wrong with the disk: nothing more may leave.
    failed: bool,
}

impl Shared {
    fn recent_from(board: &Board) -> u64 {
        board.durable_to - board.recent.len() as u64
    }
}

/// An open outbox, before its threads run.
pub(crate) struct Outbox {
    pub(crate) writer: Writer,
    pub(crate) places: Vec<Place>,
    pub(crate) queue: Sender<Item>,
    pub(crate) found: Found,
    pub(crate) keep_from: KeepFrom,
    pub(crate) records: std::ops::Range<u64>,
}

fn cursor_file(folder: &std::path::Path, sink: &str) -> PathBuf {
    folder.join(format!("{CURSOR}{sink}"))
}

const CURSOR: &str = "cursor-";

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Outbox {
    /// Opens the outbox of these sinks, or begins one. `queue_max` outputs may wait to be written.
    /// Nothing is written before the turns it follows from, if turns are kept.
    pub(crate) fn open(
        spec: &StateSpec,
        base: &Folder,
        names: Vec<String>,
        queue_max: usize,
        turns: Option<Durable>,
        clock: &Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Self, OpenError> {
        let fault = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |error| OpenError::Io { path, error }
        };
        if names.len() > SINKS_MAX {
            return Err(OpenError::TooManySinks);
        }
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            return Err(OpenError::SinkName(name.clone()));
        }
        let vfs = &spec.vfs;
        let folder = spec.folder.join("outbox");
        let options = LogOptions {
            kind: LogKind::Outbox,
            segment_bytes: spec.segment_bytes,
            record_bytes_max: (spec.segment_bytes / 2) as usize,
        };
        let (log, cut) =
            Log::open(vfs, &folder, options, rng).map_err(|error| OpenError::beside(error, &folder, LOST_WITH_IT))?;
        let mut found = Found { cut, ..Found::default() };
        for path in vfs.list(&folder).map_err(fault(&folder))? {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(CURSOR));
            if let Some(name) = name.filter(|name| !names.iter().any(|declared| declared == name)) {
                // A place that a crash left half made is nobody's.
                if !name.ends_with(".new") {
                    found.undeclared.push(name.to_owned());
                }
                vfs.remove(&path).map_err(fault(&path))?;
            }
        }
        let mut opened = Vec::new();
        for name in &names {
            // A sink that was not there before begins with what is told from now on.
            let (file, cursor, _) = CursorFile::open(vfs.as_ref(), &cursor_file(&folder, name), log.next_seq())?;
            if cursor.seq > log.next_seq() {
                return Err(OpenError::AheadOfLog { sink: name.clone(), at: cursor.seq, end: log.next_seq() });
            }
            opened.push((file, cursor));
        }
        let places: Vec<u64> = opened.iter().map(|(_, cursor)| cursor.seq).collect();
        found.waiting = places.iter().map(|place| log.next_seq() - place).max().unwrap_or(0);
        let mut run = [0; 8];
        rng.fill(&mut run);
        let shared = Arc::new(Shared {
            board: Mutex::new(Board {
                durable_to: log.next_seq(),
                recent: VecDeque::new(),
                floor: log.first_seq(),
                // Until somebody says otherwise.
                keep_from: if turns.is_some() { log.first_seq() } else { u64::MAX },
                places,
                ended: false,
                failed: false,
            }),
            changed: Condvar::new(),
            names,
            run: u64::from_le_bytes(run),
        });
        let places = opened.into_iter().enumerate().map(|(index, (file, cursor))| {
            let reader = log.reader(cursor.seq);
            Place::new(Arc::clone(&shared), index, file, cursor, reader, Arc::clone(clock))
        });
        let places = places.collect();
        let (queue, items): (Sender<Item>, Receiver<Item>) = bounded(queue_max);
        let (keep_from, records) = (KeepFrom(Arc::clone(&shared)), log.first_seq()..log.next_seq());
        let reserve = Arc::clone(&base.reserve);
        let writer = Writer::new(log, reserve, items, turns, shared, Arc::clone(clock), spec.outbox_bytes_max);
        Ok(Self { writer, places, queue, found, keep_from, records })
    }
}

/// Outputs that were told from one on, as they were.
pub(crate) fn outputs_from(spec: &StateSpec, records: std::ops::Range<u64>) -> Result<Vec<Output>, LogError> {
    let mut reader = Reader::new(Arc::clone(&spec.vfs), spec.folder.join("outbox"), records.start);
    let mut outputs = Vec::new();
    while reader.seq() < records.end {
        for record in reader.read(records.end, usize::MAX, 1 << 20)? {
            let output = letter::output_of(&record.payload);
            outputs.push(output.map_err(|error| reader.unreadable(record.seq, &error))?);
        }
    }
    Ok(outputs)
}

/// How often whoever has nothing to do looks up.
const LOOK_UP: Duration = Duration::from_millis(100);

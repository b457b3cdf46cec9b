//! What survives a crash: the segment [`log`] that all of it is written in, the `journal` of what came in, the `checkpoint`s
//! of what had been made of it, the `outbox` that outputs wait in for their sinks, [`DeadLetters`] for whoever
//! wants to know, and the [`Reserve`] for a full disk.
//! docs/state-format.md is the files byte by byte.

use std::path::PathBuf;
use std::sync::Arc;

mod audit;
pub(crate) mod checkpoint;
mod dead_letters;
pub(crate) mod journal;
pub mod log;
pub(crate) mod outbox;
mod reserve;
mod store;

pub use audit::{AuditLine, note_by_hand};
pub use checkpoint::{CheckpointLook, Kept, Unusable};
pub use dead_letters::{DeadLetters, DeadLettersSpec, KeptLetter, dead_letters};
pub use journal::ReplayError;
pub use outbox::{Found, Inspection, OpenError, SinkPlace, inspect};
pub use reserve::Reserve;
pub(crate) use store::{Folder, Store};

use crate::vfs::{RealVfs, Vfs};

/// Where the state of a pipeline lies, and how much of it there may be.
#[derive(Clone)]
pub struct StateSpec {
    /// The folder; one process at a time.
    pub folder: PathBuf,
    /// The disk it lies on.
    pub vfs: Arc<dyn Vfs>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of outputs that may wait for sinks. Beyond them the sink that is furthest behind loses its oldest, counted.
    pub outbox_bytes_max: u64,
    /// Bytes that are kept free for a full disk.
    pub reserve_bytes: u64,
    /// Bytes of a segment of the journal.
    pub journal_segment_bytes: u64,
    /// How long what came in is kept at most, as long as there is room for checkpoints; [`JOURNAL_FOR_MS_MAX`] at most.
    pub journal_for_ms: u64,
    /// How often a checkpoint is made; a large state is saved less often. Never less often than
    /// [`CHECKPOINTS_PER_JOURNAL`](Self::CHECKPOINTS_PER_JOURNAL) times in `journal_for_ms`, whatever this says.
    pub checkpoint_every_ms: u64,
    /// How long refused, late and shed records are kept in the folder, if they are.
    pub dead_letters: Option<DeadLettersSpec>,
    /// Whether to begin with an empty state if that of earlier runs cannot be used.
    pub accept_state_loss: bool,
    /// How long the end of a run waits for a sink that does not answer; what it did not take waits for the next start.
    pub drain_for_ms: u64,
}

impl std::fmt::Debug for StateSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSpec").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// No journal is kept for longer: it holds records of people who did nothing.
pub const JOURNAL_FOR_MS_MAX: u64 = 600_000;

impl StateSpec {
    /// Checkpoints that are made at least in the time that the journal is kept for: its segments are closed in the first half
    /// of it, and in the other half as many checkpoints get beyond them as are kept.
    pub const CHECKPOINTS_PER_JOURNAL: u64 = 2 * checkpoint::KEPT as u64;

    /// How long what came in is kept, ms.
    pub(crate) fn journal_for_ms(&self) -> u64 {
        self.journal_for_ms.min(JOURNAL_FOR_MS_MAX)
    }

    /// In this folder of the machine's disk, with the usual bounds.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            vfs: Arc::new(RealVfs),
            segment_bytes: 64 << 20,
            outbox_bytes_max: 8 << 30,
            reserve_bytes: 256 << 20,
            journal_segment_bytes: 32 << 20,
            journal_for_ms: 60_000,
            checkpoint_every_ms: 1_000,
            dead_letters: None,
            accept_state_loss: false,
            drain_for_ms: 10_000,
        }
    }
}

//! What survives a crash: the segment [`log`] that journal, outbox and audit are written in, the `outbox` that outputs
//! wait in for their sinks, and the [`Reserve`] for a full disk. docs/state-format.md is the files byte by byte.

use std::path::PathBuf;
use std::sync::Arc;

pub mod log;
pub(crate) mod outbox;
mod reserve;

pub use outbox::{Found, Inspection, OpenError, SinkPlace, inspect};
pub use reserve::Reserve;

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
    /// How long the end of a run waits for a sink that does not answer; what it did not take waits for the next start.
    pub drain_for_ms: u64,
}

impl std::fmt::Debug for StateSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSpec").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl StateSpec {
    /// In this folder of the machine's disk, with the usual bounds.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            vfs: Arc::new(RealVfs),
            segment_bytes: 64 << 20,
            outbox_bytes_max: 8 << 30,
            reserve_bytes: 256 << 20,
            drain_for_ms: 10_000,
        }
    }
}

//! How records come in: blocks of whole records, through a bounded intake.
//!
//! A [`Source`] runs on its own thread and hands [`Block`]s to its [`Feed`]. Bytes are cut at record
//! borders by a [`Framer`] before any parser sees them. The feed is where back-pressure happens:
//! [`Feed::send`] waits for room, or lets records go by class if the source cannot wait (`admission`);
//! [`Feed::offer`] says at once that there is none.

mod admission;
mod extent;
mod feed;
mod framing;
mod inflate;
mod intake;
mod ipc;
mod pace;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::record::Cause;

pub use admission::Class;
pub(crate) use admission::{ClassBoard, Classes, Shed, ShedTally, SourceClass};
pub(crate) use extent::Position;
pub use extent::{Extent, FileId, FilePlace, StreamPlace};
pub use feed::{Busy, Feed};
pub(crate) use framing::records_of;
pub use framing::{FrameError, Framer};
pub use inflate::{Compression, inflate};
pub(crate) use intake::{Brought, Hand, Intake, Room, Taken, Turn};
pub use ipc::EncodedRows;

/// How the bytes of a source are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
    /// Arrow IPC stream (or file).
    ArrowIpc,
}

/// What a block holds.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Whole records of text, one behind the other.
    Lines {
        /// The text.
        bytes: Bytes,
        /// NDJSON or CSV.
        format: Format,
        /// Names of the CSV columns.
        header: Option<Arc<[String]>>,
    },
    /// JSON objects at these ranges.
    Objects {
        /// The text; valid UTF-8.
        bytes: Bytes,
        /// Where the objects lie.
        ranges: Arc<[std::ops::Range<u32>]>,
    },
    /// Records as columns.
    Columns(RecordBatch),
    /// Records as columns that nobody has decoded yet: a message of an Arrow IPC stream.
    Encoded(EncodedRows),
    /// Records that were refused at framing, with a digest of their bytes.
    Refused(Vec<(Cause, String)>),
    /// No records: devices that said that they are there.
    Alive(Vec<Arc<str>>),
}

impl Payload {
    /// Bytes it holds in memory, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Lines { bytes, .. } | Self::Objects { bytes, .. } => bytes.len(),
            Self::Columns(batch) => batch.get_array_memory_size(),
            Self::Encoded(rows) => rows.bytes(),
            Self::Refused(causes) => causes.len() * 128,
            Self::Alive(devices) => devices.len() * 64,
        }
    }
}

/// What became of the records of a block, for sources that answer. Called by whoever judged them last, which may be the
/// thread that hands them over: it does not wait for that thread.
pub type Reply = Box<dyn FnOnce(Outcome) + Send>;

/// The answer to a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records judged.
    pub evaluated: u64,
    /// Records whose event id had been seen.
    pub duplicate: u64,
    /// Records too late for a window that wanted them.
    pub late: u64,
    /// Records refused.
    pub rejected: Vec<RejectedRecords>,
}

/// Records of a block that were refused for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecords {
    /// Their numbers in the block, from 0; never empty.
    pub records: Vec<u32>,
    /// Why the first was. That of the others may lie at another place of the record.
    pub cause: String,
}

/// Whole records, and where they came from.
pub struct Block {
    /// Position of the source.
    pub(crate) source: u16,
    /// The records.
    pub payload: Payload,
    /// File, connection or request.
    pub stream: Arc<str>,
    /// Records of the stream before this block.
    pub first_record: u64,
    /// Where in a file they lie, if they can be found there again.
    pub(crate) extent: Option<Extent>,
    /// When it was read: wall clock.
    pub received_ms: i64,
    /// When it was read: monotonic.
    pub received_ns: u64,
    /// Called when every record has been judged.
    pub reply: Option<Reply>,
}

impl Block {
    /// Records that nobody waits for, of no time of their own.
    pub(crate) fn plain(source: u16, stream: &str, payload: Payload) -> Self {
        Self {
            source,
            payload,
            stream: Arc::from(stream),
            first_record: 0,
            extent: None,
            received_ms: 0,
            received_ns: 0,
            reply: None,
        }
    }
}

/// A source failed for good; other sources run on.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SourceError {
    /// File, address or connection.
    pub place: String,
    /// What happened and what helps.
    pub message: String,
}

impl SourceError {
    /// An error with its place.
    pub fn new(place: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self { place: place.into(), message: message.to_string() }
    }
}

/// Something that records come from.
pub trait Source: Send {
    /// Reads until the source is drained or [`Feed::stopping`]. Runs on a thread of its own.
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError>;
}

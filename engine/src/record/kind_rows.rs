//! The records of one kind, as they leave the builder.

use arrow::record_batch::RecordBatch;

use super::{Digest, KindId, SymbolId};

/// The records of one kind out of one batch.
#[derive(Debug)]
pub struct KindRows {
    /// Which kind.
    pub kind: KindId,
    /// One row for each record and zone.
    pub batch: RecordBatch,
    /// The record each row belongs to; rows of a record are neighbours.
    pub record_of_row: Vec<u32>,
    /// Event time of each record, milliseconds.
    pub ts: Vec<i64>,
    /// Event id of each record, as a digest.
    pub event: Vec<Digest>,
    /// Device of each record, numbered in the device column's table.
    pub device: Vec<SymbolId>,
    /// Source of each record.
    pub source: Vec<u16>,
    /// The passage each record is about; empty if no record of the batch says.
    pub(crate) tracks: Vec<Option<Track>>,
    /// Whether a row is there because its zone holds one that the record lies in; empty if no row is.
    pub(crate) inherited: Vec<bool>,
}

/// A device's own account of one passage, which it may correct (Axis NEW, UPDATE, LOST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Track {
    /// Stands for source, device and the device's number of the passage.
    pub(crate) id: Digest,
    pub(crate) state: ReadState,
    /// Whether the record says whom it saw: one that does not corrects nothing.
    pub(crate) reads: bool,
}

/// Where a record stands among those of its passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    New,
    /// A better read, or the last one.
    Correction,
}

impl KindRows {
    /// Whether a row is there because its zone holds one that the record lies in.
    pub(crate) fn is_inherited(&self, row: usize) -> bool {
        self.inherited.get(row).copied().unwrap_or(false)
    }

    /// The passage a record is about.
    pub(crate) fn track_of(&self, record: u32) -> Option<Track> {
        self.tracks.get(record as usize).copied().flatten()
    }
}

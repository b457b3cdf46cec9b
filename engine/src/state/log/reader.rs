//! Reads a log from a record on, while it is being written.

use std::path::PathBuf;
use std::sync::Arc;

use super::frame::Found;
use super::segment::{self, Scanner};
use super::{LogError, open_segment, segments_of};
use crate::vfs::Vfs;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A place in a log. Holds a window of bytes and one record at a time, however long the log is.
pub struct Reader {
    vfs: Arc<dyn Vfs>,
    folder: PathBuf,
    seq: u64,
    scanner: Option<Scanner>,
}

impl Reader {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, folder: PathBuf, seq: u64) -> Self {
        Self { vfs, folder, seq, scanner: None }
    }

    /// Number of the record it reads next.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Lets go of the segment it reads: one that is open takes its room on the disk after it has been removed.
    pub fn rest(&mut self) {
        self.scanner = None;
    }

    /// Goes to another record.
    pub fn seek(&mut self, seq: u64) {
        if seq < self.seq {
            self.scanner = None;
        }
        self.seq = seq;
    }

    /// What to say of a record that is whole and makes no sense.
    pub(crate) fn unreadable(&self, seq: u64, what: &dyn std::fmt::Display) -> LogError {
        LogError::Unreadable { folder: self.folder.clone(), seq, what: what.to_string() }
    }

    /// The next records before `durable_to`, which [`super::Log::commit`] has returned: as many as there are, but no more
    /// than fit into these bounds, and one at least.
    pub fn read(&mut self, durable_to: u64, records_max: usize, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if let Some(scanner) = &mut self.scanner {
            scanner.refresh();
        }
        while self.seq < durable_to && records.len() < records_max && bytes < bytes_max {
            let record = self.next()?;
            bytes += record.payload.len();
            records.push(record);
        }
        Ok(records)
    }

    /// The record whose turn it is; it has been committed.
    fn next(&mut self) -> Result<Record, LogError> {
        loop {
            let scanner = match &mut self.scanner {
                Some(scanner) => scanner,
                none => none.insert(find(self.vfs.as_ref(), &self.folder, self.seq)?),
            };
            let path = segment::path_of(&self.folder, scanner.header.first_seq);
            let offset = scanner.offset;
            match scanner.next().map_err(LogError::io(&path, "it cannot be read"))? {
                Found::Mark { .. } => {}
                // Segments are found by their first record; the one sought lies further on.
                Found::Record { seq, .. } if seq < self.seq => {}
                Found::Record { seq, payload_bytes } if seq == self.seq => {
                    let payload = scanner.payload(payload_bytes).to_vec();
                    self.seq += 1;
                    return Ok(Record { seq, payload });
                }
                // The end of a segment, if another one holds the record.
                Found::Zeros if self.follow()? => {}
                found => {
                    let what = format!("{found:?} stands there");
                    return Err(LogError::Damaged { path, offset, seq: self.seq, what });
                }
            }
        }
    }

    /// Goes to the segment that holds the record whose turn it is; `false` if it is there already.
    fn follow(&mut self) -> Result<bool, LogError> {
        let found = find(self.vfs.as_ref(), &self.folder, self.seq)?;
        let is_other = self.scanner.as_ref().is_none_or(|scanner| scanner.header != found.header);
        self.scanner = Some(found);
        Ok(is_other)
    }
}

/// The segment that holds a record.
fn find(vfs: &dyn Vfs, folder: &std::path::Path, seq: u64) -> Result<Scanner, LogError> {
    let segments = segments_of(vfs, folder)?;
    match segments.iter().rev().find(|first| **first <= seq) {
        Some(first) => open_segment(vfs, folder, *first, None),
        None => {
            let to = segments.first().map_or(seq, |first| first - 1);
            Err(LogError::Gap { folder: folder.to_path_buf(), from: seq, to })
        }
    }
}

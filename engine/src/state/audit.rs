//! What was done to the state by hand: it stays when the state itself is given up.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{Log, LogError, LogKind, LogOptions, Reader};
use crate::rng::Rng;
use crate::vfs::Vfs;

const FOLDER: &str = "audit";
/// Lines are few and short.
const SEGMENT_BYTES: u64 = 64 << 10;
const READ_BYTES: usize = 64 << 10;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Wall clock, ms.
    pub at_ms: i64,
    /// What was done.
    pub what: String,
    /// Why it had to be.
    pub why: String,
}

/// Adds a line; it is durable once this has returned.
pub(super) fn note(vfs: &Arc<dyn Vfs>, folder: &Path, line: &AuditLine, rng: &mut dyn Rng) -> Result<(), LogError> {
    let options =
        LogOptions { kind: LogKind::Audit, segment_bytes: SEGMENT_BYTES, record_bytes_max: SEGMENT_BYTES as usize / 2 };
    let (mut log, _) = Log::open(vfs, &folder.join(FOLDER), options, rng)?;
    let mut bytes = serde_json::to_vec(line).expect("a line is plain data");
    bytes.truncate(options.record_bytes_max - 1_024);
    log.append(&bytes)?;
    log.close()
}

/// Adds a line for something that was done to a state folder by hand, while a process may be using it.
///
/// # Errors
/// When it cannot be kept; or somebody else is adding one just now.
pub fn note_by_hand(vfs: &Arc<dyn Vfs>, folder: &Path, line: &AuditLine, rng: &mut dyn Rng) -> io::Result<()> {
    let _lock = vfs.lock(&folder.join("audit.lock"))?;
    note(vfs, folder, line, rng).map_err(io::Error::other)
}

/// All lines, the oldest first.
pub(super) fn lines(vfs: &Arc<dyn Vfs>, folder: &Path) -> Result<Vec<AuditLine>, LogError> {
    let folder = folder.join(FOLDER);
    match vfs.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LogError::Io { path: folder, action: "it cannot be read", error }),
        Ok(_) => {}
    }
    let Some(looked) = Log::look(vfs.as_ref(), &folder, LogKind::Audit)? else { return Ok(Vec::new()) };
    let mut reader = Reader::new(Arc::clone(vfs), folder, looked.segments[0]);
    let mut lines = Vec::new();
    while reader.seq() < looked.next_seq {
        for record in reader.read(looked.next_seq, usize::MAX, READ_BYTES)? {
            let line = serde_json::from_slice(&record.payload);
            lines.push(line.map_err(|error| reader.unreadable(record.seq, &error))?);
        }
    }
    Ok(lines)
}

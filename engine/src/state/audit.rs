//! What was done to the state by hand: it stays when the state itself is given up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{Log, LogError, LogKind, LogOptions, Reader};
use crate::rng::Rng;
use crate::vfs::Vfs;

const FOLDER: &str = "audit";
/// Lines are few and short.
const SEGMENT_BYTES: u64 = 64 << 10;
const READ_BYTES: usize = 64 << 10;
/// Longest text of a line; what is longer is cut.
const TEXT_BYTES_MAX: usize = 4_096;

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

/// Where the log lies.
pub(super) fn folder_of(folder: &Path) -> PathBuf {
    folder.join(FOLDER)
}

/// Adds a line, one process at a time; it is durable once this has returned.
pub(super) fn note(vfs: &Arc<dyn Vfs>, folder: &Path, line: &AuditLine, rng: &mut dyn Rng) -> Result<(), LogError> {
    let options =
        LogOptions { kind: LogKind::Audit, segment_bytes: SEGMENT_BYTES, record_bytes_max: SEGMENT_BYTES as usize / 2 };
    let lock = folder.join("audit.lock");
    let fault = |error| LogError::Io { path: lock.clone(), action: "it cannot be locked", error };
    let _lock = vfs.lock(&lock).map_err(fault)?;
    let (mut log, _) = Log::open(vfs, &folder_of(folder), options, rng)?;
    let cut = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
    let line = AuditLine { at_ms: line.at_ms, what: cut(&line.what), why: cut(&line.why) };
    log.append(&serde_json::to_vec(&line).expect("a line is plain data"))?;
    log.close()
}

/// Adds a line for something that was done to a state folder by hand, while a process may be using it.
///
/// # Errors
/// When it cannot be kept; or somebody else is adding one just now.
pub fn note_by_hand(vfs: &Arc<dyn Vfs>, folder: &Path, line: &AuditLine, rng: &mut dyn Rng) -> io::Result<()> {
    note(vfs, folder, line, rng).map_err(io::Error::other)
}

/// All lines, the oldest first.
pub(super) fn lines(vfs: &Arc<dyn Vfs>, folder: &Path) -> Result<Vec<AuditLine>, LogError> {
    let folder = folder_of(folder);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;
    use crate::vfs::SimulatedDisk;

    #[test]
    fn a_reason_of_any_length_leaves_the_log_readable() {
        let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::new());
        let whys = ["short".to_owned(), "陕\u{1}\"".repeat(50_000), "after".to_owned()];
        for why in &whys {
            let line = AuditLine { at_ms: 1, what: "done".to_owned(), why: why.clone() };
            note_by_hand(&vfs, Path::new("/state"), &line, &mut SeededRng::new(1)).unwrap();
        }
        let lines = lines(&vfs, Path::new("/state")).unwrap();
        assert_eq!(lines.len(), 3);
        for (line, why) in lines.iter().zip(&whys) {
            assert!(why.starts_with(&line.why) && line.why.len() >= why.len().min(TEXT_BYTES_MAX - 3));
        }
    }
}

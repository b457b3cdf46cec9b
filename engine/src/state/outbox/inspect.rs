//! A state folder as it lies there, read in full and left as it is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{CURSOR, letter};
use crate::state::OpenError;
use crate::state::audit::{self, AuditLine};
use crate::state::checkpoint::{self, CheckpointLook};
use crate::state::dead_letters;
use crate::state::log::{CursorFile, Log, LogKind, Looked, Reader};
use crate::vfs::Vfs;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Where a sink has got to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkPlace {
    /// Sink.
    pub name: String,
    /// Number of the record it reads next.
    pub seq: u64,
    /// Outputs that wait for it.
    pub waiting: u64,
    /// When the record behind the oldest of them was read, by the wall clock, ms.
    pub oldest_ms: Option<i64>,
    /// Outputs that were passed over because too many waited.
    pub lost: u64,
    /// The newer of its two slots is damaged: it will be told again what it was told since the older one.
    pub damaged: bool,
}

/// What lies in a state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// A process is using it: what it is writing now may look torn.
    pub in_use: bool,
    /// Whether room is kept for a full disk.
    pub reserve: bool,
    /// The outbox.
    pub outbox: Looked,
    /// Sinks by name.
    pub sinks: Vec<SinkPlace>,
    /// What came in and is needed still.
    pub journal: Option<Looked>,
    /// Event ids that have been seen.
    pub events: Option<Looked>,
    /// Checkpoints, the oldest first.
    pub checkpoints: Vec<CheckpointLook>,
    /// Records that were refused, late or let go.
    pub dead_letters: Option<Looked>,
    /// What was done to the state by hand, the oldest first.
    pub audit: Vec<AuditLine>,
}

/// Reads everything in a state folder, but for what needs a key. `None` if there is no outbox in it.
///
/// # Errors
/// When something is damaged: the next start would refuse it too.
pub fn inspect(vfs: &Arc<dyn Vfs>, folder: &Path) -> Result<Option<Inspection>, OpenError> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |error| OpenError::Io { path, error }
    };
    let outbox_folder = folder.join("outbox");
    match vfs.list(&outbox_folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed.map_err(fault(&outbox_folder))?,
    };
    let in_use = matches!(vfs.lock(&folder.join("lock")), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    let Some(outbox) = Log::look(vfs.as_ref(), &outbox_folder, LogKind::Outbox)? else { return Ok(None) };
    let mut sinks = Vec::new();
    for path in vfs.list(&outbox_folder).map_err(fault(&outbox_folder))? {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(CURSOR));
        let Some(name) = name.filter(|name| !name.ends_with(".new")) else { continue };
        let (cursor, damaged) = CursorFile::look(vfs.as_ref(), &path)?;
        if cursor.seq > outbox.next_seq && !in_use {
            return Err(OpenError::AheadOfLog { sink: name.to_owned(), at: cursor.seq, end: outbox.next_seq });
        }
        let name = name.to_owned();
        sinks.push(SinkPlace { name, seq: cursor.seq, waiting: 0, oldest_ms: None, lost: cursor.lost, damaged });
    }
    let from = sinks.iter().map(|sink| sink.seq).min().unwrap_or(outbox.next_seq).max(outbox.segments[0]);
    let mut reader = Reader::new(Arc::clone(vfs), outbox_folder, from);
    while reader.seq() < outbox.next_seq {
        for record in reader.read(outbox.next_seq, usize::MAX, READ_BYTES)? {
            let address = letter::address(&record.payload);
            let (names, read_ms) = address.map_err(|error| reader.unreadable(record.seq, &error))?;
            for sink in sinks.iter_mut().filter(|sink| record.seq >= sink.seq && names.contains(&sink.name.as_str())) {
                sink.waiting += 1;
                sink.oldest_ms.get_or_insert(read_ms);
            }
        }
    }
    let reserve = vfs.stat(&folder.join("reserve")).is_ok();
    let look = |name: &str, kind| Log::look(vfs.as_ref(), &folder.join(name), kind);
    let (journal, events) = (look("journal", LogKind::Journal)?, look("events", LogKind::EventIds)?);
    let checkpoints = checkpoint::look(vfs.as_ref(), folder).map_err(fault(folder))?;
    let (audit, dead_letters) = (audit::lines(vfs, folder)?, dead_letters::look(vfs.as_ref(), folder)?);
    Ok(Some(Inspection { in_use, reserve, outbox, sinks, journal, events, checkpoints, dead_letters, audit }))
}

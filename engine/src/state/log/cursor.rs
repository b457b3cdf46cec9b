//! How far somebody has read a log, in a file of two slots that are written in turn: whatever happens while one is
//! written, the other holds.

use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;

use super::LogError;
use crate::vfs::{Vfs, VfsFile};

const MAGIC: &[u8; 8] = b"weir-cur";
const SLOT_BYTES: usize = 36;
/// Slots lie in pages of their own, so that no write touches both.
const SLOT_EVERY: u64 = 4_096;

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Everything before this record has been dealt with.
    pub seq: u64,
    /// Records that were passed over, over the whole life of the cursor.
    pub lost: u64,
}

/// The newer slot that is whole.
struct Newest {
    writes: u64,
    cursor: Cursor,
    slot: u64,
    damaged: bool,
}

/// The file that a cursor is kept in.
pub struct CursorFile {
    path: PathBuf,
    file: Box<dyn VfsFile>,
    writes: u64,
    /// The slot that is written to until the next sync: the other one is durable.
    slot: u64,
}

impl CursorFile {
    /// Opens the file, or makes one that stands at `start`. The place that was noted last, and whether a slot was damaged:
    /// then it is the place noted before, and what lies between is dealt with once more.
    pub fn open(vfs: &dyn Vfs, path: &Path, start: u64) -> Result<(Self, Cursor, bool), LogError> {
        let fault = |action| LogError::io(path, action);
        match vfs.edit(path) {
            Ok(file) => {
                let mut it = Self { path: path.to_path_buf(), file, writes: 0, slot: 0 };
                let Newest { writes, cursor, slot, damaged } = it.newest()?;
                (it.writes, it.slot) = (writes, 1 - slot);
                // A killed process may not have synced what it wrote, and the other slot is about to be written.
                it.file.sync().map_err(fault("it cannot be synced"))?;
                Ok((it, cursor, damaged))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = path.with_extension("new");
                match vfs.remove(&made) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(fault("it is in the way")(error));
                    }
                    _ => {}
                }
                let file = vfs.create(&made).map_err(fault("it cannot be made"))?;
                let mut it = Self { path: path.to_path_buf(), file, writes: 0, slot: 0 };
                let cursor = Cursor { seq: start, lost: 0 };
                for _slot in 0..2 {
                    it.write(cursor)?;
                    it.sync()?;
                }
                vfs.rename(&made, path).map_err(fault("it cannot be named"))?;
                let folder = path.parent().unwrap_or(Path::new("."));
                vfs.sync_folder(folder).map_err(LogError::io(folder, "it cannot be synced"))?;
                Ok((it, cursor, false))
            }
            Err(error) => Err(fault("it cannot be opened")(error)),
        }
    }

    /// Reads a place and changes nothing. Whether a slot was damaged.
    pub fn look(vfs: &dyn Vfs, path: &Path) -> Result<(Cursor, bool), LogError> {
        let file = vfs.open(path).map_err(LogError::io(path, "it cannot be opened"))?;
        let newest = Self { path: path.to_path_buf(), file, writes: 0, slot: 0 }.newest()?;
        Ok((newest.cursor, newest.damaged))
    }

    fn newest(&mut self) -> Result<Newest, LogError> {
        let slots = [self.read(0)?, self.read(1)?];
        let whole =
            slots.iter().zip(0..).filter_map(|(slot, place)| slot.map(|(writes, cursor)| (writes, cursor, place)));
        let Some((writes, cursor, slot)) = whole.max_by_key(|(writes, ..)| *writes) else {
            let what = "neither of its two slots is whole".to_owned();
            return Err(LogError::NotASegment { path: self.path.clone(), what });
        };
        Ok(Newest { writes, cursor, slot, damaged: slots.contains(&None) })
    }

    /// Notes a place. It is durable after [`CursorFile::sync`].
    pub fn write(&mut self, cursor: Cursor) -> Result<(), LogError> {
        self.writes += 1;
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&self.writes.to_le_bytes());
        slot[16..24].copy_from_slice(&cursor.seq.to_le_bytes());
        slot[24..32].copy_from_slice(&cursor.lost.to_le_bytes());
        let crc = crc32c(&slot[..32]);
        slot[32..].copy_from_slice(&crc.to_le_bytes());
        let offset = self.slot * SLOT_EVERY;
        self.file.write_all_at(offset, &slot).map_err(LogError::io(&self.path, "it cannot be written"))
    }

    /// Makes the place durable.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.file.sync().map_err(LogError::io(&self.path, "it cannot be synced"))?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    fn read(&mut self, slot: u64) -> Result<Option<(u64, Cursor)>, LogError> {
        let mut bytes = [0; SLOT_BYTES];
        let read = self.file.read_at(slot * SLOT_EVERY, &mut bytes);
        let read = read.map_err(LogError::io(&self.path, "it cannot be read"))?;
        let long = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
        let whole = read == SLOT_BYTES && bytes[..8] == *MAGIC && bytes[32..] == crc32c(&bytes[..32]).to_le_bytes();
        Ok(whole.then(|| (long(8), Cursor { seq: long(16), lost: long(24) })))
    }
}

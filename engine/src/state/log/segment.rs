//! A segment: a file whose room is taken before it is used, so that a full disk is met before a record is taken and not
//! in the middle of one; and the one that is made ahead of its use.

use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;

use super::frame::{self, ALIGN, Found, HEAD_BYTES};
use crate::vfs::{Vfs, VfsFile};

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 64;
const MAGIC: &[u8; 8] = b"weir-log";
const VERSION: u32 = 1;
/// Bytes read at once. Few in tests, so that a segment is several windows.
const WINDOW_BYTES: usize = if cfg!(test) { 128 } else { 256 << 10 };
/// Name of the segment that is being made.
const SPARE: &str = "spare";
const SUFFIX: &str = ".log";

/// The file of the segment that begins with this record.
pub(super) fn path_of(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(format!("{first_seq:020}{SUFFIX}"))
}

/// First record of the segment in this file, by its name; `None` if it is no segment.
pub(super) fn first_seq_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// First bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) log: [u8; 16],
    pub(super) first_seq: u64,
    /// Of the whole file.
    pub(super) bytes: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.kind.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log);
        bytes[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it back. What is wrong with it, as a sentence.
    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let bytes: &[u8; HEADER_BYTES as usize] =
            bytes.try_into().map_err(|_| "it is shorter than a segment's header".to_owned())?;
        let number = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
        let long = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
        if bytes[..8] != *MAGIC {
            return Err("it does not begin as a segment does".to_owned());
        }
        if number(60) != crc32c(&bytes[..60]) {
            return Err("its header is damaged".to_owned());
        }
        if number(8) != VERSION {
            return Err(format!("it is of version {}, and this program reads version {VERSION}", number(8)));
        }
        let log = bytes[16..32].try_into().expect("sixteen bytes");
        Ok(Self { kind: number(12), log, first_seq: long(32), bytes: long(40) })
    }
}

/// Reads a segment frame by frame, a window of bytes at a time.
pub(super) struct Scanner {
    file: Box<dyn VfsFile>,
    pub(super) header: Header,
    seed: u32,
    /// Of the next frame.
    pub(super) offset: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Scanner {
    /// Opens a segment. `Err(Ok(why))` if it is none, or not whole.
    pub(super) fn open(vfs: &dyn Vfs, path: &Path) -> Result<Self, Result<String, io::Error>> {
        let mut file = vfs.open(path).map_err(Err)?;
        let len = file.stat().map_err(Err)?.len;
        let mut bytes = [0; HEADER_BYTES as usize];
        let read = file.read_at(0, &mut bytes).map_err(Err)?;
        let header = Header::from_bytes(&bytes[..read]).map_err(Ok)?;
        if len != header.bytes {
            return Err(Ok(format!("it has {len} bytes, and was made with {}", header.bytes)));
        }
        if first_seq_of(path) != Some(header.first_seq) {
            return Err(Ok(format!("it begins with record {}, which is not its name", header.first_seq)));
        }
        let seed = frame::seed(header.log, header.first_seq);
        Ok(Self { file, header, seed, offset: HEADER_BYTES, window: Vec::new(), window_at: 0 })
    }

    /// Forgets what it has read ahead: the segment may have grown.
    pub(super) fn refresh(&mut self) {
        self.window.clear();
    }

    /// At least so many bytes from a place on, unless the file ends.
    fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let held = self.window_at..self.window_at + self.window.len() as u64;
        let len = len.min((self.header.bytes - offset) as usize);
        if offset < held.start || offset + len as u64 > held.end {
            let wanted = (len.max(WINDOW_BYTES) as u64).min(self.header.bytes - offset) as usize;
            self.window.resize(wanted, 0);
            let read = self.file.read_at(offset, &mut self.window);
            self.window.truncate(*read.as_ref().unwrap_or(&0));
            self.window_at = offset;
            read?;
        }
        Ok(&self.window[(offset - self.window_at) as usize..])
    }

    /// What stands at the offset, and moves on behind it if it is a frame.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        let (offset, seed) = (self.offset, self.seed);
        let head = self.bytes_at(offset, HEAD_BYTES)?;
        let stated = head.first_chunk().map_or(0, frame::stated_bytes);
        if stated as u64 > self.header.bytes - offset {
            return Ok(Found::Damage);
        }
        let found = frame::read(self.bytes_at(offset, frame::bytes_of(stated))?, seed);
        match found {
            Found::Record { payload_bytes, .. } => self.offset += frame::bytes_of(payload_bytes) as u64,
            Found::Mark { .. } => self.offset += HEAD_BYTES as u64,
            Found::Zeros | Found::Damage => {}
        }
        Ok(found)
    }

    /// Payload of the record that [`Self::next`] has just found.
    pub(super) fn payload(&self, payload_bytes: usize) -> &[u8] {
        let from = self.offset - frame::bytes_of(payload_bytes) as u64 + HEAD_BYTES as u64 - self.window_at;
        &self.window[from as usize..from as usize + payload_bytes]
    }

    /// What stands behind the last good frame: the bytes that are not zero, and the highest number that a mark among them
    /// vouches for.
    pub(super) fn rest(&mut self) -> io::Result<Rest> {
        let mut rest = Rest::default();
        let mut offset = self.offset;
        while offset < self.header.bytes {
            let seed = self.seed;
            let bytes = self.bytes_at(offset, HEAD_BYTES)?;
            let usable = if bytes.len() > HEAD_BYTES { bytes.len() - HEAD_BYTES } else { bytes.len() };
            let (from, usable) = (offset, usable.next_multiple_of(ALIGN));
            offset += usable as u64;
            // Most of a segment that has just been begun: looked at in one go.
            if is_zero(bytes) {
                continue;
            }
            for at in (0..usable.min(bytes.len())).step_by(ALIGN) {
                let here = &bytes[at..(at + HEAD_BYTES).min(bytes.len())];
                if is_zero(here) {
                    continue;
                }
                let place = from + at as u64;
                let span = rest.dirty.get_or_insert(place..place);
                span.end = place + here.len() as u64;
                if let Found::Mark { durable_to } = frame::read(here, seed) {
                    rest.durable_to = rest.durable_to.max(durable_to);
                }
            }
        }
        Ok(rest)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

/// What stands behind the last good frame of a segment.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// From the first byte that is not zero to behind the last.
    pub(super) dirty: Option<std::ops::Range<u64>>,
    pub(super) durable_to: u64,
}

/// The next segment, before it is one.
pub(super) struct Spare {
    file: Box<dyn VfsFile>,
    path: PathBuf,
}

impl Spare {
    /// Makes one that has room for so many bytes. Of a spare of an earlier run nobody knows how far it had got.
    pub(super) fn make(vfs: &dyn Vfs, folder: &Path, bytes: u64) -> io::Result<Self> {
        let path = folder.join(SPARE);
        Self::clear(vfs, folder)?;
        let mut file = vfs.create(&path)?;
        file.take_room(bytes)?;
        // So that no later sync has much to do.
        file.sync()?;
        Ok(Self { file, path })
    }

    /// Removes what an earlier run left.
    pub(super) fn clear(vfs: &dyn Vfs, folder: &Path) -> io::Result<()> {
        match vfs.remove(&folder.join(SPARE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a segment of it, durable under its name before anything is written to it.
    pub(super) fn become_segment(
        mut self,
        vfs: &dyn Vfs,
        folder: &Path,
        header: Header,
    ) -> io::Result<Box<dyn VfsFile>> {
        self.file.write_all_at(0, &header.to_bytes())?;
        self.file.sync()?;
        let path = path_of(folder, header.first_seq);
        vfs.rename(&self.path, &path)?;
        vfs.sync_folder(folder)?;
        vfs.edit(&path)
    }
}

//! Where in a file, or in the stream of a broker, records lie, so that another run can find the place again, or read the
//! records once more.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::Pseudonyms;
use crate::vfs::VfsFile;

/// Bytes at the start of a file by which it is known again.
const HEAD_BYTES_MAX: usize = 1_024;
/// Stands where the device of a file stands, for what is none.
const NO_DEVICE: u64 = u64::MAX;

/// A file, as it can be found again: its name may lead elsewhere by then, and its inode may be another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileId {
    /// Path it was opened by.
    pub(crate) path: String,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// How many of its first bytes `head` stands for.
    head_bytes: u32,
    /// Keyed digest of them.
    head: String,
}

impl FileId {
    pub(crate) fn of(path: &str, file: &mut dyn VfsFile, pseudonyms: &Pseudonyms) -> io::Result<Self> {
        let identity = file.stat()?.identity;
        let mut bytes = [0; HEAD_BYTES_MAX];
        let len = file.read_at(0, &mut bytes)?;
        Ok(Self { path: path.to_owned(), identity, head_bytes: len as u32, head: pseudonyms.record(&bytes[..len]) })
    }

    /// A stream of messages at a broker, by a name that no other stream ever has. Its messages are numbered, and the
    /// number of the last one takes the place of bytes.
    pub(crate) fn of_stream(name: &str) -> Self {
        let mut half = [0; 8];
        half.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
        let identity = (NO_DEVICE, u64::from_le_bytes(half));
        Self { path: name.to_owned(), identity, head_bytes: 0, head: String::new() }
    }

    /// The same file under another name.
    pub(crate) fn named(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Whether an open file is this one, as far as it was there.
    pub(crate) fn is(&self, file: &mut dyn VfsFile, pseudonyms: &Pseudonyms) -> io::Result<bool> {
        if file.stat()?.identity != self.identity {
            return Ok(false);
        }
        let mut bytes = [0; HEAD_BYTES_MAX];
        let wanted = (self.head_bytes as usize).min(HEAD_BYTES_MAX);
        let len = file.read_at(0, &mut bytes[..wanted])?;
        Ok(len == wanted && pseudonyms.record(&bytes[..len]) == self.head)
    }
}

/// Records of a file.
#[derive(Debug, Clone)]
pub struct Extent {
    pub(crate) file: Arc<FileId>,
    /// Bytes of the file, or of what it holds compressed.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Records of the file up to `to`.
    pub(crate) records_to: u64,
    /// Names of the CSV columns.
    pub(crate) header: Option<Arc<[String]>>,
    /// Whether the bytes from `from` to `to` of the file are the records.
    pub(crate) is_plain: bool,
}

/// How far a file of a source has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) source: u16,
    pub(crate) file: FileId,
    /// Bytes, as in [`Extent`].
    pub(crate) to: u64,
    pub(crate) records: u64,
    pub(crate) header: Option<Vec<String>>,
    /// Whether they are the file's own bytes.
    pub(crate) is_plain: bool,
}

/// A stream of messages at a broker, and how far it has been taken.
#[derive(Debug, Clone)]
pub struct StreamPlace {
    /// `None` where no state is kept: nobody will ask again.
    pub(crate) file: Option<Arc<FileId>>,
    /// Number of the last message that earlier runs have taken; `None` if they have taken none.
    pub taken: Option<u64>,
}

impl StreamPlace {
    /// The messages up to this number.
    pub(crate) fn extent(&self, number: u64) -> Option<Extent> {
        let file = self.file.clone()?;
        Some(Extent { file, from: 0, to: number, records_to: number, header: None, is_plain: false })
    }
}

/// Where to go on in a file.
#[derive(Debug, Clone)]
pub struct FilePlace {
    /// `None` where no state is kept: nobody will ask again.
    pub(crate) file: Option<Arc<FileId>>,
    /// Bytes that have been read by an earlier run; of what the file holds, if it is compressed.
    pub from: u64,
    /// Records in them.
    pub records: u64,
    pub(crate) header: Option<Arc<[String]>>,
}

impl FilePlace {
    /// The start of a file that is read once and not asked for again.
    pub(crate) fn start(file: Option<FileId>) -> Self {
        Self { file: file.map(Arc::new), from: 0, records: 0, header: None }
    }
}

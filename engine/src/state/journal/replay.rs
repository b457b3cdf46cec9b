//! Turns of earlier runs, read to be applied again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::turn::{KeptBlock, KeptTurn, TurnError};
use super::{Durable, FIRST, MORE, PIECE_HEAD};
use crate::record::{Opener, Pseudonyms, Sealed};
use crate::source::{Extent, Payload};
use crate::state::StateSpec;
use crate::state::log::{Log, LogError, Reader};
use crate::vfs::{Vfs, VfsFile};

/// Bytes read at once.
const READ_BYTES: usize = 4 << 20;
/// Files that are open at once.
const FILES_MAX: usize = 64;

/// The journal cannot be read on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{folder}: record {seq}: {error}", folder = folder.display())]
    Sealed { folder: PathBuf, seq: u64, error: String },
    #[error("{path}: what was judged of it has to be read again, and cannot be: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{folder}: record {seq} is whole and cannot be read: {error}", folder = folder.display())]
    Turn { folder: PathBuf, seq: u64, error: String },
}

impl ReplayError {
    /// Whether what lies there is not what was written, or is sealed under another key.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Log(error) => error.is_damage(),
            Self::Sealed { .. } | Self::Turn { .. } => true,
            Self::File { .. } => false,
        }
    }
}

/// A turn that was read.
pub(crate) struct Replayed {
    pub(crate) kept: KeptTurn,
    /// The record behind it.
    pub(crate) end: u64,
}

/// Reads turn by turn.
pub(crate) struct Replay {
    reader: Reader,
    folder: PathBuf,
    to: u64,
    /// Records that were read and not yet looked at, the next one last.
    read: Vec<(u64, Vec<u8>)>,
    opener: Opener,
    files: Files,
    durable: Durable,
}

impl Replay {
    pub(super) fn new(log: &Log, spec: &StateSpec, opener: Opener, from: u64, durable: Durable) -> Self {
        Self {
            reader: log.reader(from),
            folder: super::Journal::folder_of(spec),
            to: log.next_seq(),
            read: Vec::new(),
            opener,
            files: Files { vfs: Arc::clone(&spec.vfs), open: BTreeMap::new(), missing: BTreeMap::new() },
            durable,
        }
    }

    /// The next turn; `None` at the end. A turn that a crash broke off was never acknowledged, and is none.
    pub(crate) fn next(&mut self, pseudonyms: &Pseudonyms) -> Result<Option<Replayed>, ReplayError> {
        let mut next = self.next_kept()?;
        for block in next.iter_mut().flat_map(|turn| &mut turn.kept.blocks) {
            self.files.fetch(block, pseudonyms)?;
        }
        Ok(next)
    }

    /// Reads all there is, to find out whether it can be read.
    pub(crate) fn read_through(mut self) -> Result<(), ReplayError> {
        while self.next_kept()?.is_some() {}
        Ok(())
    }

    /// The next turn as it was kept, without what lies in files.
    fn next_kept(&mut self) -> Result<Option<Replayed>, ReplayError> {
        // The head of its first piece, and the pieces one behind the other.
        let mut sealed = Vec::new();
        let (seq, end) = loop {
            let Some((seq, record)) = self.next_record()? else { return Ok(None) };
            let head = record.first().copied().unwrap_or_default();
            if head & FIRST != 0 {
                // What a crash broke off before it is not whole.
                sealed = record;
            } else {
                sealed.extend(record.get(PIECE_HEAD..).unwrap_or_default());
            }
            if head & MORE == 0 {
                break (seq, seq + 1);
            }
        };
        let fault = |error: Sealed| ReplayError::Sealed { folder: self.folder.clone(), seq, error: error.to_string() };
        let range = self.opener.open(&mut sealed, PIECE_HEAD).map_err(fault)?;
        let fault = |error: TurnError| ReplayError::Turn { folder: self.folder.clone(), seq, error: error.to_string() };
        let kept = KeptTurn::read(&Bytes::from(sealed).slice(range)).map_err(fault)?;
        Ok(Some(Replayed { kept, end }))
    }

    fn next_record(&mut self) -> Result<Option<(u64, Vec<u8>)>, LogError> {
        if self.read.is_empty() {
            if self.reader.seq() >= self.to {
                return Ok(None);
            }
            let records = self.reader.read(self.to, usize::MAX, READ_BYTES)?;
            self.read = records.into_iter().rev().map(|record| (record.seq, record.payload)).collect();
        }
        Ok(self.read.pop())
    }

    /// Notes that a turn is about to be applied, and gives its number.
    pub(crate) fn note(&self, turn: u64, end: u64) {
        self.durable.note_replayed(turn, end);
    }

    /// Files whose records were judged and cannot be read again, with how many bytes of them.
    pub(crate) fn missing(self) -> BTreeMap<String, u64> {
        self.files.missing
    }
}

/// Files that records lie in.
struct Files {
    vfs: Arc<dyn Vfs>,
    open: BTreeMap<(u64, u64), Option<Box<dyn VfsFile>>>,
    missing: BTreeMap<String, u64>,
}

impl Files {
    /// Reads the records of a block that was kept by reference. A file that is gone is missing; one that is there and cannot
    /// be read is an error: the next start may be luckier.
    fn fetch(&mut self, block: &mut KeptBlock, pseudonyms: &Pseudonyms) -> Result<(), ReplayError> {
        let Some(extent) = block.extent.as_ref().filter(|extent| extent.is_plain) else { return Ok(()) };
        let Payload::Lines { bytes, .. } = &mut block.payload else { return Ok(()) };
        let fault = |error| ReplayError::File { path: PathBuf::from(&extent.file.path), error };
        let mut read = vec![0; (extent.to - extent.from) as usize];
        let file = self.file_of(extent, pseudonyms).map_err(fault)?;
        match file.map(|file| file.read_at(extent.from, &mut read)).transpose().map_err(fault)? {
            Some(len) if len == read.len() => *bytes = Bytes::from(read),
            _ => *self.missing.entry(extent.file.path.clone()).or_default() += extent.to - extent.from,
        }
        Ok(())
    }

    /// The file, under the name it had or the one it has been given since.
    fn file_of(&mut self, extent: &Extent, pseudonyms: &Pseudonyms) -> io::Result<Option<&mut Box<dyn VfsFile>>> {
        if self.open.len() >= FILES_MAX && !self.open.contains_key(&extent.file.identity) {
            self.open.pop_first();
        }
        let vfs = &self.vfs;
        let is_it = |path: &Path| -> io::Result<Option<Box<dyn VfsFile>>> {
            let Some(stat) = there(vfs.stat(path))? else { return Ok(None) };
            if stat.identity != extent.file.identity {
                return Ok(None);
            }
            let Some(mut file) = there(vfs.open(path))? else { return Ok(None) };
            Ok(if extent.file.is(file.as_mut(), pseudonyms)? { Some(file) } else { None })
        };
        let find = || -> io::Result<Option<Box<dyn VfsFile>>> {
            let path = Path::new(&extent.file.path);
            if let Some(file) = is_it(path)? {
                return Ok(Some(file));
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            for path in there(vfs.list(folder))?.unwrap_or_default() {
                match is_it(&path) {
                    // Others in the folder may not be ours to read.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    Ok(None) => {}
                    found => return found,
                }
            }
            Ok(None)
        };
        let entry = match self.open.entry(extent.file.identity) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(find()?),
        };
        Ok(entry.as_mut())
    }
}

/// `None` if there is nothing under the name.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

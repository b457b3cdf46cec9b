//! An append-only log of numbered records in segments of fixed size.
//!
//! What it promises: a record whose number is below what [`Log::commit`] returned is there after any crash, with the
//! same bytes, until it is trimmed; of the records after it a crash leaves a beginning without gaps, or nothing; and no
//! read gives bytes that were not appended. Damage to what was committed is told apart from a write that a crash tore,
//! and stops whoever reads it. After a failed write or `fsync` a log takes nothing more: the system may have marked the
//! pages clean, and only a new start finds out what is on the disk.
//!
//! One writer, who batches: what is appended between two commits shares an `fsync`. Any number of [`Reader`]s, up to
//! what was committed. docs/state-format.md is the file byte by byte.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod cursor;
mod frame;
mod reader;
mod segment;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, CursorFile};
pub use reader::{Reader, Record};

use self::frame::Found;
use self::segment::{HEADER_BYTES, Header, Scanner, Spare};
use crate::rng::Rng;
use crate::testing::sabotage::{self, Wrong};
use crate::vfs::{Vfs, VfsFile, write_zeros};

/// The first record of a new log.
pub const FIRST_SEQ: u64 = 1;

/// Bytes of a removed segment that are given back to the file system in one go: 0.15 ms of work. Twice as many for each
/// segment that waits behind it, so that who writes a lot is not left behind.
const GIVE_BACK_BYTES: u64 = 512 << 10;
/// Removed segments that may still hold their room. One more, and the oldest gives back all it has at once.
const LEAVING_MAX: usize = 8;

/// Bytes written at once: a system that is not preemptible lends its core to nobody meanwhile. Few in tests, so that a commit
/// is several writes.
const WRITE_BYTES: usize = if cfg!(test) { 512 } else { 128 << 10 };

/// Of a log that is read after a crash only, how much the system keeps in memory until it is told that it need not.
const CACHED_BYTES: u64 = 1 << 20;

/// What a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LogKind {
    /// Records of sources that cannot send them again.
    Journal = 1,
    /// Outputs on their way to sinks.
    Outbox = 2,
    /// What was done by whom.
    Audit = 3,
    /// Ids of events that have been seen.
    EventIds = 4,
    /// Records that were refused, late or let go.
    DeadLetters = 5,
}

/// How a log is laid out.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// What it holds.
    pub kind: LogKind,
    /// Bytes of a segment; of those that are there already what they were made with counts.
    pub segment_bytes: u64,
    /// Longest record, bytes.
    pub record_bytes_max: usize,
}

/// A log cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum LogError {
    #[error("{path}: {action}: {error}", path = path.display())]
    Io { path: PathBuf, action: &'static str, error: io::Error },
    /// Nothing was written, and the log is as good as before.
    #[error("{path}: there is no room for another segment: {error}", path = path.display())]
    NoRoom { path: PathBuf, error: io::Error },
    #[error(
        "{path} is damaged at byte {offset}, where record {seq} should be: {what}. It had been written in full, so the \
         disk or somebody has changed it since",
        path = path.display()
    )]
    Damaged { path: PathBuf, offset: u64, seq: u64, what: String },
    #[error("{path} cannot be used: {what}", path = path.display())]
    NotASegment { path: PathBuf, what: String },
    #[error("{folder}: records {from} to {to} are missing: a segment was removed", folder = folder.display())]
    Gap { folder: PathBuf, from: u64, to: u64 },
    #[error("{folder}: record {seq} is whole and cannot be read: {what}", folder = folder.display())]
    Unreadable { folder: PathBuf, seq: u64, what: String },
    #[error("a record has {bytes} bytes, and {bytes_max} are allowed")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("{folder}: a write failed before, so that nobody knows what is on the disk; start again", folder = folder.display())]
    Failed { folder: PathBuf },
}

impl LogError {
    /// Whether what lies there is not what was written: no other start will find it otherwise.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::NotASegment { .. } | Self::Gap { .. } | Self::Unreadable { .. })
    }

    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { path, action, error }
    }
}

/// What a crash had left behind the last whole record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that were overwritten with zeros; never any of a committed record.
    pub bytes: u64,
}

/// An open log.
pub struct Log {
    vfs: Arc<dyn Vfs>,
    folder: PathBuf,
    options: LogOptions,
    id: [u8; 16],
    /// First records of the segments, oldest first. The last is written to.
    segments: VecDeque<u64>,
    file: Box<dyn VfsFile>,
    /// Bytes of the last segment.
    file_bytes: u64,
    seed: u32,
    /// Where in the last segment the buffer will stand.
    offset: u64,
    /// What the system was told not to keep in memory ends here.
    uncached_to: u64,
    buffer: Vec<u8>,
    next_seq: u64,
    durable_to: u64,
    spare: Option<Spare>,
    /// Segments without a name that have not given back their room, and how much of it each still has.
    leaving: VecDeque<(Box<dyn VfsFile>, u64)>,
    /// Whether the name of the last of them may come back with a crash.
    name_is_going: bool,
    /// Whether a spare was made, or could not be, since the last segment was begun.
    looked_ahead: bool,
    failed: bool,
}

impl Log {
    /// Opens the log in a folder, or begins one. What a crash tore is cut off; everything else that is not whole is an
    /// error.
    pub fn open(
        vfs: &Arc<dyn Vfs>,
        folder: &Path,
        options: LogOptions,
        rng: &mut dyn Rng,
    ) -> Result<(Self, Cut), LogError> {
        vfs.create_folder(folder).map_err(LogError::io(folder, "the folder cannot be made"))?;
        Spare::clear(vfs.as_ref(), folder).map_err(LogError::io(folder, "an old spare cannot be removed"))?;
        let Some(survey) = Survey::of(vfs.as_ref(), folder, options.kind)? else {
            let mut id = [0; 16];
            rng.fill(&mut id);
            return Ok((Self::begin(vfs, folder, options, id)?, Cut::default()));
        };
        let Survey { segments, scanner, next_seq, torn: rest } = survey;
        let (id, last) = (scanner.header.log, scanner.header.first_seq);
        let path = segment::path_of(folder, last);
        let fault = |action| LogError::io(&path, action);
        let mut file = vfs.edit(&path).map_err(fault("it cannot be opened"))?;
        let mut cut = Cut::default();
        if let Some(dirty) = rest {
            cut.bytes = dirty.end - dirty.start;
            if !sabotage::is(Wrong::TornTailKept) {
                // Else records of the torn write would stand behind the next ones as if they had been committed.
                write_zeros(file.as_mut(), dirty).map_err(fault("the torn end cannot be cut off"))?;
            }
        }
        // What a killed process had not synced is read as if it had been: now it is.
        file.sync().map_err(fault("it cannot be synced"))?;
        vfs.sync_folder(folder).map_err(LogError::io(folder, "it cannot be synced"))?;
        let header = scanner.header;
        let log = Self {
            vfs: Arc::clone(vfs),
            folder: folder.to_path_buf(),
            options,
            id,
            segments: segments.into(),
            file,
            file_bytes: header.bytes,
            seed: frame::seed(id, last),
            offset: scanner.offset,
            uncached_to: 0,
            buffer: Vec::new(),
            next_seq,
            durable_to: next_seq,
            spare: None,
            leaving: VecDeque::new(),
            name_is_going: false,
            looked_ahead: false,
            failed: false,
        };
        Ok((log, cut))
    }

    fn begin(vfs: &Arc<dyn Vfs>, folder: &Path, options: LogOptions, id: [u8; 16]) -> Result<Self, LogError> {
        let header = Header { kind: options.kind as u32, log: id, first_seq: FIRST_SEQ, bytes: options.segment_bytes };
        let file = Spare::make(vfs.as_ref(), folder, header.bytes)
            .and_then(|spare| spare.become_segment(vfs.as_ref(), folder, header))
            .map_err(|error| no_room_or_io(folder, error))?;
        Ok(Self {
            vfs: Arc::clone(vfs),
            folder: folder.to_path_buf(),
            options,
            id,
            segments: VecDeque::from([FIRST_SEQ]),
            file,
            file_bytes: header.bytes,
            seed: frame::seed(id, FIRST_SEQ),
            offset: HEADER_BYTES,
            uncached_to: 0,
            buffer: Vec::new(),
            next_seq: FIRST_SEQ,
            durable_to: FIRST_SEQ,
            spare: None,
            leaving: VecDeque::new(),
            name_is_going: false,
            looked_ahead: false,
            failed: false,
        })
    }

    /// Adds a record and gives it its number. It is durable once [`Log::commit`] has returned a higher one.
    ///
    /// # Errors
    /// [`LogError::NoRoom`] leaves the log as it was: once there is room, the same call goes well.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, LogError> {
        if self.failed {
            return Err(LogError::Failed { folder: self.folder.clone() });
        }
        let fits_segment = (self.options.segment_bytes - HEADER_BYTES) as usize;
        let bytes_max = self.options.record_bytes_max.min(fits_segment - 2 * frame::HEAD_BYTES);
        if payload.is_empty() || payload.len() > bytes_max {
            return Err(LogError::TooLong { bytes: payload.len(), bytes_max });
        }
        let needed = (self.buffer.len() + frame::bytes_of(payload.len()) + frame::HEAD_BYTES) as u64;
        if self.offset + needed > self.file_bytes {
            self.next_segment()?;
        }
        let seq = self.next_seq;
        frame::put(&mut self.buffer, self.seed, seq, payload);
        self.next_seq += 1;
        Ok(seq)
    }

    /// Makes everything appended so far durable; all records before the number it returns are. Costs one write, one `fdatasync`,
    /// and the writing of a mark that is not waited for.
    pub fn commit(&mut self) -> Result<u64, LogError> {
        if self.failed {
            return Err(LogError::Failed { folder: self.folder.clone() });
        }
        if self.buffer.is_empty() {
            return Ok(self.durable_to);
        }
        // Whatever happens from here on, what is on the disk is known only if all of it goes well.
        self.failed = true;
        let path = segment::path_of(&self.folder, self.first_of_last());
        for (at, bytes) in self.buffer.chunks(WRITE_BYTES).enumerate() {
            let offset = self.offset + (at * WRITE_BYTES) as u64;
            self.file.write_all_at(offset, bytes).map_err(LogError::io(&path, "records cannot be written"))?;
        }
        self.file.sync().map_err(LogError::io(&path, "records cannot be synced"))?;
        self.offset += self.buffer.len() as u64;
        self.durable_to = self.next_seq;
        self.buffer.clear();
        frame::put(&mut self.buffer, self.seed, self.durable_to, b"");
        self.file.write_all_at(self.offset, &self.buffer).map_err(LogError::io(&path, "a mark cannot be written"))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.failed = false;
        self.uncache();
        Ok(self.durable_to)
    }

    /// Memory that is used again is at hand, and new memory is not: on a virtual machine to touch it first can cost ten
    /// times the copy.
    fn uncache(&mut self) {
        let is_read = !matches!(self.options.kind, LogKind::Journal | LogKind::EventIds);
        if !is_read && self.offset - self.uncached_to >= CACHED_BYTES {
            self.file.will_not_read(self.uncached_to..self.offset);
            self.uncached_to = self.offset;
        }
    }

    /// Makes what was appended durable, and that it is: any damage found later is no crash's doing.
    pub fn close(mut self) -> Result<(), LogError> {
        self.commit()?;
        self.settle_names()?;
        self.file.sync().map_err(LogError::io(&self.folder, "the last mark cannot be synced"))
    }

    /// Removes the segments that hold records before this one only. How many.
    pub fn trim(&mut self, before: u64) -> Result<usize, LogError> {
        let removed = self.let_go(before)?;
        self.leaving.clear();
        Ok(removed)
    }

    /// As [`Log::trim`], but what room they held is given back little by little by [`Log::tend`]: to free 32 MiB takes
    /// ext4 some 15 ms, in which nothing would be committed. A crash gives back all of it.
    pub fn let_go(&mut self, before: u64) -> Result<usize, LogError> {
        let mut removed = 0;
        while self.segments.get(1).is_some_and(|second| *second <= before.min(self.durable_to)) {
            // Two names that go in the other order would leave a gap.
            self.settle_names()?;
            let path = segment::path_of(&self.folder, self.segments[0]);
            let file = self.vfs.edit(&path).and_then(|file| Ok((file.stat()?.len, file)));
            match self.vfs.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io(&path, "it cannot be removed")(error));
                }
                _ => self.segments.pop_front(),
            };
            self.name_is_going = true;
            removed += 1;
            // Whose file cannot be opened gives back its room by losing its name.
            self.leaving.extend(file.map(|(bytes, file)| (file, bytes)));
            if self.leaving.len() > LEAVING_MAX {
                self.leaving.pop_front();
            }
        }
        Ok(removed)
    }

    /// Makes it durable that the name of a removed segment is gone. Mostly the next segment's name has done it by then.
    fn settle_names(&mut self) -> Result<(), LogError> {
        if self.name_is_going {
            self.vfs.sync_folder(&self.folder).map_err(LogError::io(&self.folder, "it cannot be synced"))?;
            self.name_is_going = false;
        }
        Ok(())
    }

    /// Begins a segment, unless the last one is empty, so that those before it can be trimmed.
    pub fn roll(&mut self) -> Result<(), LogError> {
        if self.next_seq == self.first_of_last() { Ok(()) } else { self.next_segment() }
    }

    /// Number of the oldest record that is there, or would be.
    pub fn first_seq(&self) -> u64 {
        self.segments.front().copied().unwrap_or(self.next_seq)
    }

    fn first_of_last(&self) -> u64 {
        *self.segments.back().expect("there is a segment")
    }

    /// Number that the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// All records before this one are durable.
    pub fn durable_to(&self) -> u64 {
        self.durable_to
    }

    /// First record of the oldest segment that is left if no more than so many bytes are kept; the last one always is.
    pub fn first_seq_within(&self, bytes_max: u64) -> u64 {
        let kept = (bytes_max / self.file_bytes).max(1) as usize;
        self.segments[self.segments.len().saturating_sub(kept)]
    }

    /// Bytes on the disk, spare aside.
    pub fn bytes(&self) -> u64 {
        self.segments.len() as u64 * self.file_bytes
    }

    /// Says that nothing more may be written, because what it follows from is lost.
    pub(crate) fn given_up(&mut self) -> LogError {
        self.failed = true;
        LogError::Failed { folder: self.folder.clone() }
    }

    /// Reads from a record on.
    pub fn reader(&self, seq: u64) -> Reader {
        Reader::new(Arc::clone(&self.vfs), self.folder.clone(), seq)
    }

    /// Does a little of what is not urgent: for a writer who is waited for, at a moment when nobody waits. Once half of
    /// the last segment is full the next one is made (else it is made when it is needed; if there is no room, that is
    /// said then), and segments that were let go give back their room.
    pub fn tend(&mut self) {
        let behind = self.leaving.len().saturating_sub(1);
        if let Some((file, bytes)) = self.leaving.front_mut() {
            *bytes = bytes.saturating_sub(GIVE_BACK_BYTES << behind);
            if file.give_back(*bytes).is_err() || *bytes == 0 {
                self.leaving.pop_front();
            }
            return;
        }
        if self.failed || self.looked_ahead || self.offset * 2 < self.file_bytes {
            return;
        }
        self.looked_ahead = true;
        self.spare = Spare::make(self.vfs.as_ref(), &self.folder, self.options.segment_bytes).ok();
        if self.spare.is_none() {
            let _ = Spare::clear(self.vfs.as_ref(), &self.folder);
        }
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        self.commit()?;
        // A segment that others follow is whole to its last byte; else a torn mark would pass for damage.
        let path = segment::path_of(&self.folder, self.first_of_last());
        self.file.sync().map_err(|error| {
            self.failed = true;
            LogError::io(&path, "the last mark cannot be synced")(error)
        })?;
        let header = Header {
            kind: self.options.kind as u32,
            log: self.id,
            first_seq: self.next_seq,
            bytes: self.options.segment_bytes,
        };
        let made = match self.spare.take() {
            Some(spare) => Ok(spare),
            None => {
                // It may need the room.
                self.leaving.clear();
                Spare::make(self.vfs.as_ref(), &self.folder, header.bytes)
            }
        };
        let made = made.and_then(|spare| spare.become_segment(self.vfs.as_ref(), &self.folder, header));
        let file = made.map_err(|error| {
            let error = no_room_or_io(&self.folder, error);
            // A spare that found no room is made anew the next time. After any other fault nobody knows whether the
            // segment has its name.
            self.failed = !matches!(error, LogError::NoRoom { .. });
            let _ = Spare::clear(self.vfs.as_ref(), &self.folder);
            error
        })?;
        (self.file, self.looked_ahead, self.name_is_going) = (file, false, false);
        self.file_bytes = header.bytes;
        self.seed = frame::seed(self.id, header.first_seq);
        (self.offset, self.uncached_to) = (HEADER_BYTES, 0);
        self.segments.push_back(header.first_seq);
        Ok(())
    }
}

fn no_room_or_io(folder: &Path, error: io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            LogError::NoRoom { path: folder.to_path_buf(), error }
        }
        _ => LogError::io(folder, "a segment cannot be made")(error),
    }
}

/// What is in a folder, read and compared with what should be there, and left as it is.
struct Survey {
    /// First records of the segments, oldest first.
    segments: Vec<u64>,
    /// The last segment, behind its last record.
    scanner: Scanner,
    next_seq: u64,
    /// What a crash tore.
    torn: Option<std::ops::Range<u64>>,
}

impl Survey {
    /// `None` if there is no segment.
    fn of(vfs: &dyn Vfs, folder: &Path, kind: LogKind) -> Result<Option<Self>, LogError> {
        let segments = segments_of(vfs, folder)?;
        let (Some(&first), Some(&last)) = (segments.first(), segments.last()) else { return Ok(None) };
        let id = open_segment(vfs, folder, first, None)?.header.log;
        for (seq, end) in segments.iter().zip(&segments[1..]) {
            check_whole(&mut open_segment(vfs, folder, *seq, Some((kind, id)))?, folder, *end)?;
        }
        let mut scanner = open_segment(vfs, folder, last, Some((kind, id)))?;
        let (next_seq, torn) = find_end(&mut scanner, folder)?;
        Ok(Some(Self { segments, scanner, next_seq, torn }))
    }
}

/// A log as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// First records of the segments, oldest first.
    pub segments: Vec<u64>,
    /// Number that the next record will get.
    pub next_seq: u64,
    /// Bytes behind the last record that the next start will cut off.
    pub torn_bytes: u64,
}

impl Log {
    /// Reads all of a log and changes nothing. `None` if there is none.
    pub fn look(vfs: &dyn Vfs, folder: &Path, kind: LogKind) -> Result<Option<Looked>, LogError> {
        let survey = match Survey::of(vfs, folder, kind) {
            Err(LogError::Io { path, error, .. }) if path == folder && error.kind() == io::ErrorKind::NotFound => None,
            survey => survey?,
        };
        Ok(survey.map(|Survey { segments, next_seq, torn, .. }| Looked {
            segments,
            next_seq,
            torn_bytes: torn.map_or(0, |torn| torn.end - torn.start),
        }))
    }
}

/// Takes all segments of a log away.
pub(crate) fn remove(vfs: &dyn Vfs, folder: &Path) -> Result<(), LogError> {
    for seq in segments_of(vfs, folder)? {
        let path = segment::path_of(folder, seq);
        vfs.remove(&path).map_err(LogError::io(&path, "it cannot be removed"))?;
    }
    vfs.sync_folder(folder).map_err(LogError::io(folder, "it cannot be synced"))
}

/// First records of the segments in a folder, oldest first.
fn segments_of(vfs: &dyn Vfs, folder: &Path) -> Result<Vec<u64>, LogError> {
    let paths = vfs.list(folder).map_err(LogError::io(folder, "it cannot be read"))?;
    // Names have as many digits as the largest number, so that they sort as numbers do.
    Ok(paths.iter().filter_map(|path| segment::first_seq_of(path)).collect())
}

fn open_segment(
    vfs: &dyn Vfs,
    folder: &Path,
    first_seq: u64,
    expected: Option<(LogKind, [u8; 16])>,
) -> Result<Scanner, LogError> {
    let path = segment::path_of(folder, first_seq);
    let scanner = match Scanner::open(vfs, &path) {
        Ok(scanner) => scanner,
        Err(Ok(what)) => return Err(LogError::NotASegment { path, what }),
        Err(Err(error)) => return Err(LogError::io(&path, "it cannot be read")(error)),
    };
    let what = match expected {
        Some((kind, _)) if scanner.header.kind != kind as u32 => "it belongs to a log of another kind",
        Some((_, log)) if scanner.header.log != log => "it belongs to another log",
        _ => return Ok(scanner),
    };
    Err(LogError::NotASegment { path, what: what.to_owned() })
}

/// A segment that others follow holds everything up to them: it was synced before they were made.
fn check_whole(scanner: &mut Scanner, folder: &Path, end: u64) -> Result<(), LogError> {
    let path = segment::path_of(folder, scanner.header.first_seq);
    let mut seq = scanner.header.first_seq;
    loop {
        let offset = scanner.offset;
        match scanner.next().map_err(LogError::io(&path, "it cannot be read"))? {
            Found::Record { seq: found, .. } if found == seq && seq < end => seq += 1,
            Found::Mark { durable_to } if durable_to <= seq => {}
            Found::Zeros if seq == end => break,
            Found::Zeros => {
                let what = format!("it ends here, and the next segment begins with record {end}");
                return Err(LogError::Damaged { path, offset, seq, what });
            }
            found => {
                let what = format!("{found:?} stands there");
                return Err(LogError::Damaged { path, offset, seq, what });
            }
        }
    }
    let rest = scanner.rest().map_err(LogError::io(&path, "it cannot be read"))?;
    match rest.dirty {
        Some(dirty) => {
            let what = "there is something behind its last record".to_owned();
            Err(LogError::Damaged { path, offset: dirty.start, seq, what })
        }
        None => Ok(()),
    }
}

/// Where the last segment ends: the number of its next record, and what a torn write has left there.
fn find_end(scanner: &mut Scanner, folder: &Path) -> Result<(u64, Option<std::ops::Range<u64>>), LogError> {
    let path = segment::path_of(folder, scanner.header.first_seq);
    let mut seq = scanner.header.first_seq;
    let what = loop {
        let offset = scanner.offset;
        match scanner.next().map_err(LogError::io(&path, "it cannot be read"))? {
            Found::Record { seq: found, .. } if found == seq => seq += 1,
            Found::Mark { durable_to } if durable_to <= seq => {}
            found => {
                // A frame that does not belong here is none.
                scanner.offset = offset;
                break found;
            }
        }
    };
    let rest = scanner.rest().map_err(LogError::io(&path, "it cannot be read"))?;
    if rest.durable_to > seq {
        let what = match what {
            Found::Zeros => "zeros stand there".to_owned(),
            found => format!("{found:?} stands there"),
        };
        return Err(LogError::Damaged { path, offset: scanner.offset, seq, what });
    }
    Ok((seq, rest.dirty))
}

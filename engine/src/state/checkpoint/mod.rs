//! Checkpoints: what the partition knew at the border of two turns, and how far journal, outbox and files had got.
//!
//! A checkpoint is published only after everything it speaks of is durable, and whatever it makes superfluous is removed
//! only after that. Three are kept; a start takes the newest that is whole, and an older one costs a longer replay and
//! nothing else. The last one of a run that ends well is written three times, so that none is left that needs the journal. Event ids, by far the most of the state, are not written anew each time: those that are new go to a log of
//! their own, and a checkpoint says which part of it it needs.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};

mod file;

pub(crate) use self::file::{ReadSection, Writer, mend};
use super::StateSpec;
use super::journal::Durable;
use super::log::{FIRST_SEQ, Log, LogError, LogKind, LogOptions, Reader};
use super::outbox::KeepFrom;
use crate::record::Digest;
use crate::rng::Rng;
use crate::testing::sabotage::{self, Wrong};
use crate::vfs::Vfs;

/// Checkpoints that are kept.
pub(crate) const KEPT: usize = 3;
/// Event ids of a second in one record of their log, at most.
const IDS_MAX: usize = 32_768;
/// Bytes of a segment of their log.
const EVENTS_SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of it read at once.
const EVENTS_READ_BYTES: usize = 1 << 20;
const FOLDER: &str = "checkpoints";
const POSITION: &str = "position";
const POSITION_VERSION: u32 = 1;

/// How far everything had got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Wall clock, ms.
    pub(crate) at_ms: i64,
    /// Record of the journal that is applied next.
    pub(crate) journal: u64,
    /// Output that is told next.
    pub(crate) outbox: u64,
    /// Records of the log of event ids that belong to it.
    pub(crate) events: (u64, u64),
}

/// A checkpoint that was read.
pub(crate) struct Loaded {
    pub(crate) epoch: u64,
    pub(crate) standing: Standing,
    pub(crate) sections: Vec<ReadSection>,
}

/// A checkpoint that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Survey {
    /// The newest that is whole.
    pub(crate) newest: Option<Loaded>,
    /// Newer ones that are not.
    pub(crate) unusable: Vec<Unusable>,
    /// All that are whole, the oldest first.
    whole: VecDeque<(u64, Standing)>,
    highest: u64,
}

impl Survey {
    /// What is there does not count.
    pub(crate) fn give_up(&mut self) {
        self.newest = None;
        self.whole.clear();
    }
}

/// Takes all checkpoints away, one that is half made too.
pub(crate) fn remove(spec: &StateSpec) -> io::Result<()> {
    let folder = folder_of(spec);
    let epochs = match file::epochs_in(spec.vfs.as_ref(), &folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        epochs => epochs?,
    };
    file::clear(spec.vfs.as_ref(), &folder)?;
    for epoch in epochs {
        spec.vfs.remove(&file::path_of(&folder, epoch))?;
    }
    spec.vfs.sync_folder(&folder)
}

fn folder_of(spec: &StateSpec) -> PathBuf {
    spec.folder.join(FOLDER)
}

/// Where the log of event ids lies.
pub(crate) fn events_folder_of(spec: &StateSpec) -> PathBuf {
    spec.folder.join("events")
}

/// Reads what is there and changes nothing.
pub(crate) fn survey(spec: &StateSpec, key: &[u8; 32]) -> io::Result<Survey> {
    let folder = folder_of(spec);
    let vfs = spec.vfs.as_ref();
    let epochs = match file::epochs_in(vfs, &folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Survey::default()),
        epochs => epochs?,
    };
    let mut survey = Survey { highest: epochs.last().copied().unwrap_or(0), ..Survey::default() };
    for epoch in epochs.into_iter().rev() {
        let path = file::path_of(&folder, epoch);
        let bytes = vfs.map(&path, file::FILE_BYTES_MAX)?;
        match file::from_bytes(key, epoch, &bytes).and_then(|sections| Ok((standing_of(&sections)?, sections))) {
            Ok((standing, sections)) => {
                survey.whole.push_front((epoch, standing.clone()));
                if survey.newest.is_none() {
                    survey.newest = Some(Loaded { epoch, standing, sections });
                }
            }
            Err(what) => survey.unusable.push(Unusable { path, what }),
        }
    }
    Ok(survey)
}

/// A checkpoint as it lies there, for those who have no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointLook {
    /// Its number.
    pub epoch: u64,
    /// Of its file, event ids aside.
    pub bytes: u64,
    /// When it was made, by the wall clock, ms, and the record of the journal that is applied next; or what is wrong with it.
    pub made: Result<(i64, u64), String>,
}

/// Looks at all checkpoints, the oldest first. Whether they are sealed under the right key is not looked at.
pub(crate) fn look(vfs: &dyn Vfs, folder: &Path) -> io::Result<Vec<CheckpointLook>> {
    let folder = folder.join(FOLDER);
    let epochs = match file::epochs_in(vfs, &folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        epochs => epochs?,
    };
    let look = |epoch| {
        let bytes = vfs.map(&file::path_of(&folder, epoch), file::FILE_BYTES_MAX)?;
        let standing = file::without_key(epoch, &bytes).and_then(|sections| standing_of(&sections));
        let made = standing.map(|standing| (standing.at_ms, standing.journal));
        Ok(CheckpointLook { epoch, bytes: bytes.len() as u64, made })
    };
    epochs.into_iter().map(look).collect()
}

/// A checkpoint's file, read without its key.
pub(crate) struct Unsealed {
    pub(crate) epoch: u64,
    pub(crate) path: PathBuf,
    /// When it was made, by the wall clock, ms, and all of it; or what is wrong with it.
    pub(crate) read: Result<(i64, Vec<ReadSection>), String>,
}

/// Reads all checkpoints of a state folder, one by one, the newest first. One that is removed meanwhile is none.
pub(crate) fn newest_first<'a>(
    vfs: &'a dyn Vfs,
    folder: &Path,
) -> io::Result<impl Iterator<Item = io::Result<Unsealed>> + use<'a>> {
    let folder = folder.join(FOLDER);
    let epochs = match file::epochs_in(vfs, &folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        epochs => epochs?,
    };
    let read = move |epoch| {
        let path = file::path_of(&folder, epoch);
        let bytes = match vfs.map(&path, file::FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(error)),
            Ok(bytes) => bytes,
        };
        let sections = file::without_key(epoch, &bytes);
        let read = sections.and_then(|sections| Ok((standing_of(&sections)?.at_ms, sections)));
        Some(Ok(Unsealed { epoch, path, read }))
    };
    Ok(epochs.into_iter().rev().filter_map(read))
}

/// Reads a file as a start does, but for its seal.
pub(crate) fn read_unsealed(epoch: u64, bytes: &[u8]) -> Result<Vec<ReadSection>, String> {
    let sections = file::without_key(epoch, bytes)?;
    standing_of(&sections).map(|_| sections)
}

fn standing_of(sections: &[ReadSection]) -> Result<Standing, String> {
    let section = sections.iter().find(|section| section.name == POSITION);
    let section = section.ok_or_else(|| format!("it has no section `{POSITION}`"))?;
    if section.version != POSITION_VERSION {
        let known = POSITION_VERSION;
        return Err(format!("`{POSITION}` is of version {}, and this program reads version {known}", section.version));
    }
    postcard::from_bytes(&section.bytes).map_err(|_| format!("its section `{POSITION}` cannot be read"))
}

/// Event ids by second.
pub(crate) type FreshIds = Vec<(i64, Vec<Digest>)>;

/// Writes sections.
pub(crate) type Sections = Box<dyn Fn(&mut Writer) -> io::Result<()> + Send>;

/// What a checkpoint is made of.
pub(crate) struct Job {
    /// Wall clock, ms.
    pub(crate) at_ms: i64,
    /// Turns that have been applied.
    pub(crate) turns: u64,
    /// Output that is told next; all before it are durable.
    pub(crate) outbox: u64,
    /// Event ids since the checkpoint before.
    pub(crate) fresh: FreshIds,
    /// Seconds of event ids before this one are forgotten.
    pub(crate) events_from: i64,
    /// Writes the rest of the state, where nobody waits for it.
    pub(crate) sections: Sections,
    /// Nothing comes after it in this run.
    pub(crate) last: bool,
    /// Called when it is over, with whether it was published.
    pub(crate) done: Box<dyn FnOnce(bool) + Send>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Checkpoints published.
    pub published: u64,
    /// Checkpoints that found no room on the disk.
    pub no_room: u64,
    /// Bytes of the last one, event ids aside.
    pub bytes: u64,
}

/// Writes checkpoints.
pub(crate) struct Keeper {
    vfs: Arc<dyn Vfs>,
    folder: PathBuf,
    key: [u8; 32],
    next_epoch: u64,
    /// Those that are there, the oldest first.
    whole: VecDeque<(u64, Standing)>,
    events: Log,
    /// The newest second of an id in each record of their log that is needed.
    newest_in: VecDeque<i64>,
    durable: Durable,
    keep_from: KeepFrom,
    /// Where a replay begins if no turn has been applied yet.
    journal_from: u64,
    /// Event ids that found no room in their log yet.
    unwritten: VecDeque<(i64, Vec<Digest>)>,
    /// For the piece that is being written.
    buffer: Vec<u8>,
    kept: Kept,
}

impl Keeper {
    /// Opens what checkpoints are written to. Event ids that the newest one needs go to `known`.
    pub(crate) fn open(
        spec: &StateSpec,
        key: &[u8; 32],
        survey: &Survey,
        journal_from: u64,
        (durable, keep_from): (Durable, KeepFrom),
        rng: &mut dyn Rng,
        known: impl FnMut(i64, Digest),
    ) -> Result<Self, LogError> {
        let folder = folder_of(spec);
        let vfs = &spec.vfs;
        let io = |action| {
            let path = folder.clone();
            move |error| LogError::Io { path, action, error }
        };
        vfs.create_folder(&folder).map_err(io("the folder cannot be made"))?;
        file::clear(vfs.as_ref(), &folder).map_err(io("what was left half made cannot be removed"))?;
        let segment_bytes = EVENTS_SEGMENT_BYTES.min(spec.segment_bytes);
        let options =
            LogOptions { kind: LogKind::EventIds, segment_bytes, record_bytes_max: (segment_bytes / 2) as usize };
        let (events, _) = Log::open(vfs, &events_folder_of(spec), options, rng)?;
        let newest_in = needed_events(spec, survey, events.first_seq()..events.next_seq(), known)?;
        Ok(Self {
            vfs: Arc::clone(vfs),
            folder,
            key: *key,
            next_epoch: survey.highest + 1,
            whole: survey.whole.clone(),
            events,
            newest_in,
            durable,
            keep_from,
            journal_from,
            unwritten: VecDeque::new(),
            buffer: Vec::new(),
            kept: Kept::default(),
        })
    }

    /// Publishes checkpoints until nothing more can come.
    ///
    /// # Errors
    /// When nobody knows any more what is on the disk; the process has to end.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) -> Result<Kept, LogError> {
        for job in jobs {
            self.keep(job)?;
        }
        self.events.close()?;
        Ok(self.kept)
    }

    /// Whether there is no checkpoint to go on from.
    pub(crate) fn is_new(&self) -> bool {
        self.whole.is_empty()
    }

    /// Publishes the first one: what is kept from now on follows from it.
    pub(crate) fn begin(&mut self, job: Job) -> Result<(), LogError> {
        self.publish(job)
    }

    /// Publishes one, if there is room for it.
    pub(crate) fn keep(&mut self, mut job: Job) -> Result<(), LogError> {
        let done = std::mem::replace(&mut job.done, Box::new(|_| ()));
        let result = self.publish(job);
        done(result.is_ok());
        match result {
            Err(LogError::NoRoom { .. }) => {
                self.kept.no_room += 1;
                Ok(())
            }
            result => result,
        }
    }

    fn publish(&mut self, job: Job) -> Result<(), LogError> {
        if !self.durable.wait_for(job.turns) {
            return Err(LogError::Failed { folder: self.folder.clone() });
        }
        let journal = self.durable.record_after(job.turns).unwrap_or(self.journal_from);
        self.append_ids(job.fresh, job.events_from)?;
        while self.newest_in.front().is_some_and(|newest| *newest < job.events_from) {
            self.newest_in.pop_front();
        }
        // Records follow on each other: what was dropped ends where the first that is left begins.
        let to = self.events.durable_to();
        let from = to - self.newest_in.len() as u64;
        let standing = Standing { at_ms: job.at_ms, journal, outbox: job.outbox, events: (from, to) };
        if sabotage::is(Wrong::RemovedBeforeCheckpoint) {
            self.remove_superfluous(&standing)?;
        }
        self.publish_as_next(&job.sections, &standing)?;
        self.kept.published += 1;
        for _ in 1..if job.last { KEPT } else { 1 } {
            match self.publish_as_next(&job.sections, &standing) {
                // One is enough to go on from, and none may be left that needs more.
                Err(LogError::NoRoom { .. }) => {
                    self.remove_older_than_newest()?;
                    break;
                }
                published => published?,
            }
        }
        let oldest = self.whole[self.whole.len().saturating_sub(KEPT)].1.clone();
        self.remove_superfluous(&oldest)
    }

    fn publish_as_next(&mut self, sections: &Sections, standing: &Standing) -> Result<(), LogError> {
        self.kept.bytes = match self.try_publish(sections, standing) {
            // The older ones give their room to it.
            Err(LogError::NoRoom { .. }) if self.whole.len() > 1 => {
                self.remove_older_than_newest()?;
                self.try_publish(sections, standing)?
            }
            published => published?,
        };
        self.whole.push_back((self.next_epoch, standing.clone()));
        self.next_epoch += 1;
        Ok(())
    }

    fn try_publish(&mut self, sections: &Sections, standing: &Standing) -> Result<u64, LogError> {
        let Self { vfs, folder, key, next_epoch, buffer, .. } = self;
        let published = file::publish(vfs.as_ref(), folder, key, *next_epoch, buffer, |writer| {
            writer.section(POSITION, POSITION_VERSION, standing)?;
            sections(writer)
        });
        published.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: io::Error) -> LogError {
        let path = self.folder.clone();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::NoRoom { path, error },
            _ => LogError::Io { path, action: "a checkpoint cannot be kept", error },
        }
    }

    fn append_ids(&mut self, fresh: FreshIds, events_from: i64) -> Result<(), LogError> {
        self.unwritten.extend(fresh);
        // However long there is no room: what is forgotten does not wait.
        self.unwritten.retain(|(second, _)| *second >= events_from);
        // One for all: memory that was never touched costs page faults.
        let mut bytes = Vec::new();
        let mut unsynced = 0;
        while let Some((second, ids)) = self.unwritten.front_mut() {
            let rest = ids.len().saturating_sub(IDS_MAX);
            bytes.clear();
            write_ids(&mut bytes, *second, &ids[rest..]);
            self.events.append(&bytes)?;
            self.newest_in.push_back(*second);
            ids.truncate(rest);
            if rest == 0 {
                self.unwritten.pop_front();
            }
            unsynced += bytes.len();
            if unsynced >= file::SYNC_BYTES {
                self.events.commit()?;
                unsynced = 0;
            }
        }
        self.events.commit().map(drop)
    }

    fn remove_older_than_newest(&mut self) -> Result<(), LogError> {
        file::clear(self.vfs.as_ref(), &self.folder).map_err(|error| self.fault(error))?;
        while self.whole.len() > 1 {
            let (epoch, _) = self.whole[0];
            self.vfs.remove(&file::path_of(&self.folder, epoch)).map_err(|error| self.fault(error))?;
            self.whole.pop_front();
        }
        self.vfs.sync_folder(&self.folder).map_err(|error| self.fault(error))
    }

    /// Removes what no checkpoint from this one on needs. The checkpoints themselves go first: one that is left must not
    /// miss anything.
    fn remove_superfluous(&mut self, oldest: &Standing) -> Result<(), LogError> {
        let epochs = file::epochs_in(self.vfs.as_ref(), &self.folder).map_err(|error| self.fault(error))?;
        let first_kept = self.whole.get(self.whole.len().saturating_sub(KEPT)).map_or(0, |(epoch, _)| *epoch);
        let mut removed = false;
        for epoch in epochs.into_iter().filter(|epoch| *epoch < first_kept) {
            let path = file::path_of(&self.folder, epoch);
            removed |= file::remove_if_there(self.vfs.as_ref(), &path).map_err(|error| self.fault(error))?;
        }
        if removed {
            self.vfs.sync_folder(&self.folder).map_err(|error| self.fault(error))?;
        }
        while self.whole.len() > KEPT {
            self.whole.pop_front();
        }
        self.durable.trim(oldest.journal);
        self.keep_from.set(oldest.outbox);
        self.events.trim(oldest.events.0).map(drop)
    }
}

/// Whether the log of event ids is sound, and holds those that the newest checkpoint needs.
pub(crate) fn check_events(spec: &StateSpec, survey: &Survey) -> Result<(), LogError> {
    let looked = Log::look(spec.vfs.as_ref(), &events_folder_of(spec), LogKind::EventIds)?;
    let held = looked.map_or(FIRST_SEQ..FIRST_SEQ, |looked| looked.segments[0]..looked.next_seq);
    needed_events(spec, survey, held, |_, _| ()).map(drop)
}

/// Reads the event ids that the newest checkpoint needs out of those that their log holds. The newest second of an id in each
/// record.
fn needed_events(
    spec: &StateSpec,
    survey: &Survey,
    held: Range<u64>,
    mut known: impl FnMut(i64, Digest),
) -> Result<VecDeque<i64>, LogError> {
    let mut newest_in = VecDeque::new();
    let Some(loaded) = &survey.newest else { return Ok(newest_in) };
    let (from, to) = loaded.standing.events;
    let folder = events_folder_of(spec);
    if from < held.start || to > held.end {
        return Err(LogError::Gap { folder, from, to: to.saturating_sub(1) });
    }
    let mut reader = Reader::new(Arc::clone(&spec.vfs), folder, from);
    while reader.seq() < to {
        for record in reader.read(to, usize::MAX, EVENTS_READ_BYTES)? {
            let mut newest = i64::MIN;
            let all = read_ids(&record.payload, |second, id| {
                newest = newest.max(second);
                known(second, id);
            });
            all.map_err(|what| reader.unreadable(record.seq, &what))?;
            newest_in.push_back(newest);
        }
    }
    Ok(newest_in)
}

/// Second, how many, ids.
fn write_ids(bytes: &mut Vec<u8>, second: i64, ids: &[Digest]) {
    bytes.extend(second.to_le_bytes());
    bytes.extend((ids.len() as u32).to_le_bytes());
    for id in ids {
        bytes.extend(id.to_le_bytes());
    }
}

fn read_ids(mut bytes: &[u8], mut known: impl FnMut(i64, Digest)) -> Result<(), &'static str> {
    let cut = "its ids end too early";
    while !bytes.is_empty() {
        let (second, rest) = bytes.split_first_chunk::<8>().ok_or(cut)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
        let (ids, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize * 16).ok_or(cut)?;
        let second = i64::from_le_bytes(*second);
        ids.chunks_exact(16).for_each(|id| known(second, Digest::from_le_bytes(id.try_into().expect("sixteen bytes"))));
        bytes = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

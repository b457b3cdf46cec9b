//! A state folder that is open: what earlier runs left, checked against each other, before anything is started.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::audit::{self, AuditLine};
use super::checkpoint::{self, Loaded, Survey};
use super::journal::Journal;
use super::log::FIRST_SEQ;
use super::outbox::{OpenError, Outbox};
use super::{Reserve, StateSpec};
use crate::clock::Clock;
use crate::rng::Rng;

/// The folder, kept for this process.
pub(crate) struct Folder {
    pub(super) reserve: Arc<Mutex<Reserve>>,
    _lock: Box<dyn Send + Sync>,
}

impl Folder {
    pub(crate) fn open(spec: &StateSpec) -> Result<Self, OpenError> {
        let fault = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |error| OpenError::Io { path, error }
        };
        let vfs = &spec.vfs;
        vfs.create_folder(&spec.folder).map_err(fault(&spec.folder))?;
        let lock = vfs.lock(&spec.folder.join("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(spec.folder.clone()),
            _ => OpenError::Io { path: spec.folder.clone(), error },
        })?;
        let path = spec.folder.join("reserve");
        let reserve = Reserve::open(vfs, &path, spec.reserve_bytes).map_err(fault(&path))?;
        Ok(Self { reserve: Arc::new(Mutex::new(reserve)), _lock: lock })
    }
}

/// What lies in it, ready to be gone on with.
pub(crate) struct Store {
    pub(crate) spec: StateSpec,
    pub(crate) key: [u8; 32],
    pub(crate) outbox: Outbox,
    pub(crate) journal: Journal,
    pub(crate) survey: Survey,
    /// Record of the journal that is applied first, and output that is told first after that.
    pub(crate) journal_from: u64,
    pub(crate) outbox_from: u64,
    pub(crate) folder: Folder,
}

impl Store {
    /// Opens the folder. `sinks` are the names of those who are told; `queue_max` outputs may wait to be written.
    pub(crate) fn open(
        spec: StateSpec,
        key: &[u8; 32],
        sinks: Vec<String>,
        queue_max: usize,
        clock: &Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Self, OpenError> {
        let folder = Folder::open(&spec)?;
        let fault = |error| OpenError::Io { path: spec.folder.clone(), error };
        let mut survey = checkpoint::survey(&spec, key).map_err(fault)?;
        let given_up = spec.accept_state_loss && survey.newest.is_none();
        if let (None, Some(unusable), false) = (&survey.newest, survey.unusable.first(), given_up) {
            return Err(OpenError::Checkpoint(unusable.clone()));
        }
        let journal = Journal::open(&spec, key, Arc::clone(&folder.reserve), clock, rng)?;
        let turns = Some(journal.durable.clone());
        let mut outbox = Outbox::open(&spec, &folder, sinks, queue_max, turns, clock, rng)?;
        let torn = |what: String| OpenError::Torn { folder: spec.folder.clone(), what };
        let (journal_from, outbox_from) = match &survey.newest {
            Some(Loaded { epoch, standing, .. }) => {
                let (came, told) = (journal.records(), outbox.records.clone());
                if !(came.start..=came.end).contains(&standing.journal) || standing.outbox > told.end {
                    return Err(torn(format!(
                        "checkpoint {epoch} goes on at record {} of the journal and {} of the outbox, and they hold records {} \
                         to {} and {} to {}: it was put together from two backups",
                        standing.journal, standing.outbox, came.start, came.end, told.start, told.end
                    )));
                }
                // A full disk may have had to give up outputs that everybody has got.
                (standing.journal, standing.outbox.max(told.start))
            }
            // A journal is begun after the first checkpoint.
            None if journal.records().end > FIRST_SEQ && !given_up => {
                return Err(torn("there is a journal and no checkpoint".to_owned()));
            }
            // What came in since the oldest record is applied to an empty state.
            None => (journal.records().start, outbox.records.start),
        };
        let found = &mut outbox.found;
        found.cut.bytes += journal.cut.bytes;
        found.checkpoint = survey.newest.as_ref().map(|loaded| (loaded.epoch, loaded.standing.at_ms));
        found.unusable = std::mem::take(&mut survey.unusable);
        let mut store = Self { spec, key: *key, outbox, journal, survey, journal_from, outbox_from, folder };
        if given_up {
            let unusable = store.outbox.found.unusable.first().map(|it| format!("{}: {}", it.path.display(), it.what));
            let lost =
                (store.journal.records().end > FIRST_SEQ).then(|| "there was a journal and no checkpoint".to_owned());
            if let Some(why) = unusable.or(lost) {
                store.note_given_up(why, clock.as_ref(), rng)?;
            }
        }
        Ok(store)
    }
}

impl Store {
    /// Begins with an empty state in spite of what is there.
    pub(crate) fn give_up(&mut self, why: String, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), OpenError> {
        self.survey.give_up();
        self.journal_from = self.journal.records().end;
        self.outbox_from = self.outbox.records.end;
        self.outbox.found.checkpoint = None;
        self.note_given_up(why, clock, rng)
    }

    fn note_given_up(&mut self, why: String, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), OpenError> {
        self.outbox.found.given_up = true;
        let line =
            AuditLine { at_ms: clock.wall_ms(), what: "the state was given up (--accept-state-loss)".to_owned(), why };
        audit::note(&self.spec.vfs, &self.spec.folder, &line, rng)?;
        Ok(())
    }
}

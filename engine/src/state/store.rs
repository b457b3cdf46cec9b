//! A state folder that is open: what earlier runs left, checked against each other, before anything is started.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::audit::{self, AuditLine};
use super::checkpoint::{self, Loaded, Survey};
use super::journal::{Journal, ReplayError};
use super::log::{self, FIRST_SEQ};
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

/// What was given up of the state of earlier runs, since it cannot be used and that was accepted.
struct GivenUp<'a> {
    spec: &'a StateSpec,
    clock: &'a dyn Clock,
    so_far: bool,
}

impl GivenUp<'_> {
    /// Says in the audit log why, before anything is taken away.
    fn instead_of(&mut self, error: OpenError, rng: &mut dyn Rng) -> Result<(), OpenError> {
        if !self.spec.accept_state_loss {
            return Err(error);
        }
        self.note(error.to_string(), rng)
    }

    fn note(&mut self, why: String, rng: &mut dyn Rng) -> Result<(), OpenError> {
        let what = "the state was given up (--accept-state-loss)".to_owned();
        let line = AuditLine { at_ms: self.clock.wall_ms(), what, why };
        audit::note(&self.spec.vfs, &self.spec.folder, &line, rng).map_err(|error| {
            let folder = audit::folder_of(&self.spec.folder);
            OpenError::beside(error, &folder, "what was done by hand before can no longer be looked at then")
        })?;
        self.so_far = true;
        Ok(())
    }
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
        let mut given_up = GivenUp { spec: &spec, clock: clock.as_ref(), so_far: false };
        if let (None, Some(unusable)) = (&survey.newest, survey.unusable.first()) {
            given_up.instead_of(OpenError::Checkpoint(unusable.clone()), rng)?;
        }
        let read_from = survey.newest.as_ref().map(|loaded| loaded.standing.journal);
        let open = |rng: &mut dyn Rng| Journal::open(&spec, key, Arc::clone(&folder.reserve), clock, rng);
        let journal = match open(rng).map_err(ReplayError::from) {
            // To read all of it twice takes long, and only whoever gives it up has to know beforehand.
            Ok(journal) if spec.accept_state_loss => journal.can_be_read(&spec, key, read_from).map(|()| journal),
            journal => journal,
        };
        let journal = match journal {
            Err(error) if error.is_damage() => {
                given_up.instead_of(OpenError::Damaged(error), rng)?;
                // They would need it.
                checkpoint::remove(&spec).map_err(fault)?;
                survey.give_up();
                log::remove(spec.vfs.as_ref(), &Journal::folder_of(&spec))?;
                open(rng)?
            }
            journal => journal?,
        };
        if spec.accept_state_loss {
            match checkpoint::check_events(&spec, &survey) {
                Err(error) if error.is_damage() => {
                    given_up.instead_of(OpenError::Damaged(error.into()), rng)?;
                    checkpoint::remove(&spec).map_err(fault)?;
                    survey.give_up();
                    log::remove(spec.vfs.as_ref(), &checkpoint::events_folder_of(&spec))?;
                }
                checked => checked?,
            }
        }
        let turns = Some(journal.durable.clone());
        let mut outbox = Outbox::open(&spec, &folder, sinks, queue_max, turns, clock, rng)?;
        let torn = |what: String| OpenError::Torn { folder: spec.folder.clone(), what };
        let (came, told) = (journal.records(), outbox.records.clone());
        if let Some(Loaded { epoch, standing, .. }) = &survey.newest
            && (!(came.start..=came.end).contains(&standing.journal) || standing.outbox > told.end)
        {
            let what = format!(
                "checkpoint {epoch} goes on at record {} of the journal and {} of the outbox, and they hold records {} to {} \
                 and {} to {}: it was put together from two backups",
                standing.journal, standing.outbox, came.start, came.end, told.start, told.end
            );
            given_up.instead_of(torn(what), rng)?;
            survey.give_up();
        }
        // A journal is begun after the first checkpoint.
        if survey.newest.is_none() && came.end > FIRST_SEQ && !given_up.so_far {
            given_up.instead_of(torn("there is a journal and no checkpoint".to_owned()), rng)?;
        }
        let (journal_from, outbox_from) = match &survey.newest {
            // A full disk may have had to give up outputs that everybody has got.
            Some(Loaded { standing, .. }) => (standing.journal, standing.outbox.max(told.start)),
            // What came in since the oldest record is applied to an empty state.
            None => (came.start, told.start),
        };
        let found = &mut outbox.found;
        found.cut.bytes += journal.cut.bytes;
        found.checkpoint = survey.newest.as_ref().map(|loaded| (loaded.epoch, loaded.standing.at_ms));
        found.unusable = std::mem::take(&mut survey.unusable);
        found.given_up = given_up.so_far;
        Ok(Self { spec, key: *key, outbox, journal, survey, journal_from, outbox_from, folder })
    }

    /// Begins with an empty state in spite of what is there.
    pub(crate) fn give_up(&mut self, why: String, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), OpenError> {
        GivenUp { spec: &self.spec, clock, so_far: false }.note(why, rng)?;
        self.survey.give_up();
        self.journal_from = self.journal.records().end;
        self.outbox_from = self.outbox.records.end;
        self.outbox.found.checkpoint = None;
        self.outbox.found.given_up = true;
        Ok(())
    }
}

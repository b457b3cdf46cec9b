//! A state folder that is open: what earlier runs left, checked against each other, before anything is started.

use std::io;
use std::ops::Range;
use std::path::Path;
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

/// A folder that is being opened: what was found, and whether something of it was given up, since it cannot be used and that
/// is accepted.
struct Opening<'a> {
    spec: &'a StateSpec,
    key: &'a [u8; 32],
    clock: &'a Arc<dyn Clock>,
    survey: Survey,
    given_up: bool,
}

impl Opening<'_> {
    /// Says in the audit log why, before anything is taken away.
    fn instead_of(&mut self, error: OpenError, rng: &mut dyn Rng) -> Result<(), OpenError> {
        if !self.spec.accept_state_loss {
            return Err(error);
        }
        self.given_up = true;
        note_given_up(self.spec, error.to_string(), self.clock.as_ref(), rng)
    }

    fn checkpoints(&mut self, rng: &mut dyn Rng) -> Result<(), OpenError> {
        match (&self.survey.newest, self.survey.unusable.first()) {
            (None, Some(unusable)) => self.instead_of(OpenError::Checkpoint(unusable.clone()), rng),
            _ => Ok(()),
        }
    }

    fn journal(&mut self, folder: &Folder, rng: &mut dyn Rng) -> Result<Journal, OpenError> {
        let Self { spec, key, clock, .. } = *self;
        let from = self.survey.newest.as_ref().map(|loaded| loaded.standing.journal);
        let open = |rng: &mut dyn Rng| Journal::open(spec, key, Arc::clone(&folder.reserve), clock, rng);
        let journal = match open(rng).map_err(ReplayError::from) {
            // To read all of it twice takes long, and only whoever gives it up has to know beforehand.
            Ok(journal) if spec.accept_state_loss => journal.can_be_read(spec, key, from).map(|()| journal),
            journal => journal,
        };
        match journal {
            Err(error) if error.is_damage() => {
                self.take_away(error, &Journal::folder_of(spec), rng)?;
                Ok(open(rng)?)
            }
            journal => Ok(journal?),
        }
    }

    /// Event ids are read, and refused if they have to be, by whoever keeps them; here only to be given up.
    fn events(&mut self, rng: &mut dyn Rng) -> Result<(), OpenError> {
        if !self.spec.accept_state_loss {
            return Ok(());
        }
        match checkpoint::check_events(self.spec, &self.survey) {
            Err(error) if error.is_damage() => {
                self.take_away(error.into(), &checkpoint::events_folder_of(self.spec), rng)
            }
            checked => Ok(checked?),
        }
    }

    /// Takes away a log, and before it all checkpoints: they would need it.
    fn take_away(&mut self, error: ReplayError, folder: &Path, rng: &mut dyn Rng) -> Result<(), OpenError> {
        self.instead_of(OpenError::Damaged(error), rng)?;
        let fault = |error| OpenError::Io { path: self.spec.folder.clone(), error };
        checkpoint::remove(self.spec).map_err(fault)?;
        self.survey.give_up();
        Ok(log::remove(self.spec.vfs.as_ref(), folder)?)
    }

    /// Whether journal and outbox are those that the checkpoint speaks of.
    fn together(&mut self, came: &Range<u64>, told: &Range<u64>, rng: &mut dyn Rng) -> Result<(), OpenError> {
        let torn = |what| OpenError::Torn { folder: self.spec.folder.clone(), what };
        match &self.survey.newest {
            Some(Loaded { epoch, standing, .. })
                if !(came.start..=came.end).contains(&standing.journal) || standing.outbox > told.end =>
            {
                let what = format!(
                    "checkpoint {epoch} goes on at record {} of the journal and {} of the outbox, and they hold records {} \
                     to {} and {} to {}: it was put together from two backups",
                    standing.journal, standing.outbox, came.start, came.end, told.start, told.end
                );
                self.instead_of(torn(what), rng)?;
                self.survey.give_up();
            }
            // A journal is begun after the first checkpoint.
            None if came.end > FIRST_SEQ && !self.given_up => {
                self.instead_of(torn("there is a journal and no checkpoint".to_owned()), rng)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn note_given_up(spec: &StateSpec, why: String, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), OpenError> {
    let what = "the state was given up (--accept-state-loss)".to_owned();
    let line = AuditLine { at_ms: clock.wall_ms(), what, why };
    audit::note(&spec.vfs, &spec.folder, &line, rng).map_err(|error| {
        let lost = "what was done by hand before can no longer be looked at then";
        OpenError::beside(error, &audit::folder_of(&spec.folder), lost)
    })
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
        let survey = checkpoint::survey(&spec, key).map_err(fault)?;
        let mut opening = Opening { spec: &spec, key, clock, survey, given_up: false };
        opening.checkpoints(rng)?;
        let journal = opening.journal(&folder, rng)?;
        opening.events(rng)?;
        let turns = Some(journal.durable.clone());
        let mut outbox = Outbox::open(&spec, &folder, sinks, queue_max, turns, clock, rng)?;
        let (came, told) = (journal.records(), outbox.records.clone());
        opening.together(&came, &told, rng)?;
        let Opening { mut survey, given_up, .. } = opening;
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
        found.given_up = given_up;
        Ok(Self { spec, key: *key, outbox, journal, survey, journal_from, outbox_from, folder })
    }

    /// Begins with an empty state in spite of what is there.
    pub(crate) fn give_up(&mut self, why: String, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), OpenError> {
        note_given_up(&self.spec, why, clock, rng)?;
        self.survey.give_up();
        self.journal_from = self.journal.records().end;
        self.outbox_from = self.outbox.records.end;
        self.outbox.found.checkpoint = None;
        self.outbox.found.given_up = true;
        Ok(())
    }
}

//! A run that goes on where earlier ones stopped, and leaves a place for the next: what is opened, in which order it is
//! started, and how it is ended.
//!
//! Sinks start first, so that what waits for them leaves at once; then the turns since the checkpoint are applied again,
//! by the same shards as any others; sources start last. No checkpoint is made until all of that is applied.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use super::export::Export;
use super::partition::Partition;
use super::pipeline::{BuildError, RunError};
use super::plan::{Blueprint, Plan};
use super::saver::Saver;
use super::state::{SavedState, StateError};
use super::summary::Replayed;
use crate::alert::{Desk, Outlet, Retold, Router, Sink, SinkSpec, SinkThread};
use crate::clock::Clock;
use crate::metrics::Progress;
use crate::rng::Rng;
use crate::source::{Intake, Position};
use crate::state::checkpoint::{Job, Keeper};
use crate::state::journal::{self, Durable, Journal, Queue, Replay, ReplayError, Signals};
use crate::state::log::LogError;
use crate::state::outbox::{self, outputs_from};
use crate::state::{DeadLetters, DeadLettersSpec, Folder, Found, Kept, OpenError, StateSpec, Store};
use crate::testing::sabotage;

/// Checkpoints that wait to be written.
const JOBS_MAX: usize = 1;

/// An open state folder, and the state in it.
pub(super) struct GoingOn {
    store: Store,
    saved: Option<SavedState>,
    /// Where an earlier state had got to, if there is none.
    begin_at: Vec<Position>,
    rng: Box<dyn Rng>,
}

/// What has been started.
pub(super) struct Started {
    pub(super) partition: Partition,
    pub(super) sink_threads: Vec<SinkThread>,
    pub(super) keeping: Keeping,
}

/// Threads that keep the state.
pub(super) struct Keeping {
    outbox: JoinHandle<Result<u64, LogError>>,
    keeper: JoinHandle<Result<Kept, LogError>>,
    journal: JoinHandle<Result<(), LogError>>,
    durable: Durable,
    /// Until they have been applied: turns of earlier runs, and where those of this one are put after that.
    again: Option<(Replay, Queue)>,
    _folder: Folder,
}

impl GoingOn {
    /// Opens the folder. Symbols get the numbers they had: nothing may have been planned yet.
    pub(super) fn open(
        spec: StateSpec,
        sinks: &[(SinkSpec, Box<dyn Sink>)],
        blueprint: &Blueprint,
        mut rng: Box<dyn Rng>,
    ) -> Result<Self, BuildError> {
        let mut names: Vec<String> = sinks.iter().map(|(spec, _)| spec.name.clone()).collect();
        names.extend(spec.dead_letters.map(|_| DeadLettersSpec::NAME.to_owned()));
        let Blueprint { limits, clock, pseudonyms, .. } = blueprint;
        let mut store = Store::open(spec, pseudonyms.state_key(), names, limits.sink_queue_max, clock, rng.as_mut())?;
        let saved = match store.survey.newest.as_ref().map(|loaded| SavedState::from_sections(&loaded.sections)) {
            None => None,
            Some(Ok(saved)) => Some(saved),
            Some(Err(error)) => {
                give_up(&mut store, error, clock.as_ref(), rng.as_mut())?;
                None
            }
        };
        if let Some(saved) = &saved {
            saved.seed(&blueprint.symbols);
        }
        Ok(Self { store, saved, begin_at: Vec::new(), rng })
    }

    /// Whether the state can be gone on with under this plan.
    pub(super) fn check(&mut self, plan: &Plan) -> Result<(), BuildError> {
        let Some(saved) = &self.saved else { return Ok(()) };
        if let Err(error) = saved.written.check(plan) {
            self.saved = None;
            return give_up(&mut self.store, error, plan.clock.as_ref(), self.rng.as_mut());
        }
        self.store.outbox.found.other_lists = saved.other_lists(plan);
        Ok(())
    }

    /// Begins an empty state at these places.
    pub(super) fn begin_at(&mut self, export: Export, plan: &Plan) -> Result<(), BuildError> {
        if let Some(loaded) = &self.store.survey.newest {
            return Err(BuildError::PlacesBesideState { epoch: loaded.epoch });
        }
        self.begin_at = export.positions(plan)?;
        Ok(())
    }

    pub(super) fn found(&self) -> &Found {
        &self.store.outbox.found
    }

    /// Puts together everything that keeps the state, and starts nothing. A first checkpoint is published, if there is none.
    pub(super) fn assemble(
        mut self,
        mut sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
        plan: &Arc<Plan>,
        progress: Arc<Progress>,
        bound_us: u64,
    ) -> Result<Assembled, RunError> {
        let Store { spec, key, outbox, journal, survey, journal_from, outbox_from, folder } = self.store;
        if let Some(dead_letters) = spec.dead_letters {
            let clock = Arc::clone(&plan.clock);
            let sink = DeadLetters::open(&spec.vfs, &spec.folder, dead_letters, clock, self.rng.as_mut());
            let sink = sink.map_err(|error| {
                let lost = "the refused, late and shed records in it can no longer be looked at then";
                OpenError::beside(error, &DeadLettersSpec::folder_of(&spec.folder), lost)
            })?;
            sinks.push((DeadLettersSpec::sink_spec(plan.purposes()), Box::new(sink)));
        }
        let again = journal.replay(&spec, &key, journal_from);
        let with = (journal.durable.clone(), outbox.keep_from.clone());
        let told = outputs_from(&spec, outbox_from..outbox.records.end)?;
        let desk = Desk { clock: Arc::clone(&plan.clock), progress: Arc::clone(&progress), bound_us };
        let (mut router, outlets, outbox) = Router::kept(sinks, outbox, &desk);
        router.pass_over(Retold::new(&told));
        let mut partition = Partition::new(plan, router, progress);
        let know = |second, id| partition.know(second, id);
        let keeper = Keeper::open(&spec, &key, &survey, journal_from, with, self.rng.as_mut(), know);
        let mut keeper = keeper.map_err(|error| {
            if error.is_damage() { OpenError::Damaged(error.into()).into() } else { RunError::from(error) }
        })?;
        match self.saved {
            Some(saved) => partition.load(saved).expect("it was checked under this plan"),
            None => partition.load_places(self.begin_at),
        }
        if keeper.is_new() {
            let (first, symbols) = (partition.save_without_events(), SavedState::symbols_of(plan));
            keeper.begin(Job {
                at_ms: plan.clock.wall_ms(),
                turns: 0,
                outbox: outbox_from,
                fresh: Vec::new(),
                events_from: i64::MIN,
                sections: Box::new(move |writer| first.write(&symbols, writer)),
                last: false,
                done: Box::new(|_| ()),
            })?;
        }
        let (jobs, waiting) = bounded(JOBS_MAX);
        partition.keep_by(Saver::new(jobs, &spec, plan.clock.monotonic_ns()));
        let Journal { writer: turns, durable, queue, .. } = journal;
        let drain_for_ms = spec.drain_for_ms;
        Ok(Assembled {
            partition,
            outlets,
            outbox,
            keeper,
            waiting,
            turns,
            durable,
            again,
            queue,
            drain_for_ms,
            folder,
        })
    }
}

/// Of the thread that writes checkpoints; others have 0. It still gets a tenth of a core that others want whole.
const KEEPER_NICE: i32 = 10;

/// Everything that keeps the state.
pub(super) struct Assembled {
    pub(super) partition: Partition,
    pub(super) outlets: Vec<Outlet>,
    pub(super) outbox: outbox::Writer,
    pub(super) keeper: Keeper,
    /// Checkpoints for the keeper to write.
    pub(super) waiting: Receiver<Job>,
    pub(super) turns: journal::Writer,
    pub(super) durable: Durable,
    /// Turns of earlier runs, and where those of this one are put after that.
    pub(super) again: Replay,
    pub(super) queue: Queue,
    drain_for_ms: u64,
    folder: Folder,
}

impl Assembled {
    /// Starts all of it: everything but shards and sources.
    pub(super) fn start(self, intake: &Arc<Intake>) -> Started {
        let Self { partition, outlets, outbox, keeper, waiting, turns, durable, again, queue, drain_for_ms, folder } =
            self;
        let fails = Arc::clone(intake);
        let failed: Arc<dyn Fn() + Send + Sync> = Arc::new(move || fails.fail());
        let sink_threads = outlets.into_iter().map(|outlet| outlet.start(drain_for_ms, Arc::clone(&failed))).collect();
        let fails = Arc::clone(&failed);
        let keeper = start("checkpoints", move || {
            give_way();
            keeper.run(&waiting).inspect_err(|_| fails())
        });
        let holds = Arc::clone(intake);
        let fails = Arc::clone(&failed);
        let outbox = start("outbox", move || {
            weir_memory::go_first();
            outbox.run(|hold| holds.hold(hold)).inspect_err(|_| fails())
        });
        let (holds, has_room) = (Arc::clone(intake), Arc::clone(intake));
        let journal = start("journal", move || {
            weir_memory::go_first();
            let signals = Signals { hold: || holds.hold(true), room: || has_room.journal_has_room() };
            turns.run(&signals).inspect_err(|_| failed())
        });
        intake.await_replay();
        let keeping = Keeping { outbox, keeper, journal, durable, again: Some((again, queue)), _folder: folder };
        Started { partition, sink_threads, keeping }
    }
}

/// Lets other threads go first, since nobody waits for this one: what it has to do for a second takes it several
/// milliseconds, in which a shard would stand in line behind it. That it cannot does no harm.
fn give_way() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), KEEPER_NICE);
}

fn give_up(store: &mut Store, error: StateError, clock: &dyn Clock, rng: &mut dyn Rng) -> Result<(), BuildError> {
    if !store.spec.accept_state_loss {
        return Err(error.into());
    }
    Ok(store.give_up(error.to_string(), clock, rng)?)
}

fn start<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let run = sabotage::inherited(run);
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread can be started")
}

impl Keeping {
    /// Puts in what came in since the checkpoint, and waits until it is applied. From then on turns are kept.
    pub(super) fn replay(
        mut self,
        blueprint: &Blueprint,
        sources: usize,
        intake: &Intake,
    ) -> Result<(Replayed, Self), ReplayError> {
        let started = Instant::now();
        let (mut again, queue) = self.again.take().expect("it is replayed once");
        let mut replayed = Replayed::default();
        while let Some(turn) = again.next(&blueprint.pseudonyms)? {
            let mut kept = turn.kept;
            // Of a state that was given up, sources may be gone.
            kept.blocks.retain(|block| usize::from(block.source) < sources);
            if !intake.replay(kept, |number| again.note(number, turn.end)) {
                break;
            }
            replayed.turns += 1;
        }
        replayed.missing = again.missing();
        // Whether or not they all have been applied: if not, the run is at its end.
        let _applied = intake.replay_ended(queue);
        replayed.took = if replayed.turns > 0 { started.elapsed() } else { std::time::Duration::ZERO };
        Ok((replayed, self))
    }

    /// Ends the threads, each after those that hand it something. Outputs that were too long, and checkpoints.
    pub(super) fn end(self, intake: &Intake) -> Result<(u64, Kept), RunError> {
        // The outbox waits for turns, checkpoints for both.
        let too_long = self.outbox.join().expect("the outbox does not panic");
        let kept = self.keeper.join().expect("checkpoints do not panic");
        intake.close_journal();
        self.durable.end();
        let journal = self.journal.join().expect("the journal does not panic");
        // Whoever failed first says more than those who were waiting for him.
        journal?;
        Ok((too_long?, kept?))
    }
}

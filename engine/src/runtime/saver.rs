//! When a checkpoint is made, and how it gets to those who write it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use super::plan::Plan;
use super::state::SavedState;
use crate::alert::Router;
use crate::record::Digest;
use crate::state::checkpoint::{Job, KEPT};

/// Copying the state for a checkpoint takes one part in so many of the time, at most: a large state is saved less often.
const PARTS_OF_THE_TIME: u64 = 50;

/// Where the partition hands checkpoints over. One at a time: while one is being written, no other is made.
pub(super) struct Saver {
    jobs: Sender<Job>,
    busy: Arc<AtomicBool>,
    /// The last one was not published: there was no room.
    missed: Arc<AtomicBool>,
    every_ns: u64,
    /// When nothing comes, checkpoints still have to move beyond what was kept of the last records.
    idle_every_ns: u64,
    saved_ns: u64,
    next_ns: u64,
    /// Whether anything has come since the last one, or any time has passed.
    stirred: bool,
    ticked: bool,
}

impl Saver {
    pub(super) fn new(jobs: Sender<Job>, every_ms: u64, journal_for_ms: u64, now_ns: u64) -> Self {
        let every_ns = every_ms * 1_000_000;
        Self {
            jobs,
            busy: Arc::default(),
            missed: Arc::default(),
            every_ns,
            idle_every_ns: (journal_for_ms * 1_000_000 / KEPT as u64).max(every_ns),
            saved_ns: now_ns,
            next_ns: now_ns + every_ns,
            stirred: false,
            ticked: false,
        }
    }

    /// Whether a checkpoint is due after a turn.
    pub(super) fn is_due(&mut self, now_ns: u64, idle: bool) -> bool {
        self.stirred |= !idle || self.missed.swap(false, Ordering::AcqRel);
        self.ticked = true;
        let due = if self.stirred { now_ns >= self.next_ns } else { now_ns >= self.saved_ns + self.idle_every_ns };
        due && !self.busy.load(Ordering::Acquire)
    }

    /// Whether there is anything that the last checkpoint does not know.
    pub(super) fn is_needed(&self) -> bool {
        self.stirred || self.ticked
    }

    /// A checkpoint was begun; copying the state took so long.
    pub(super) fn took(&mut self, now_ns: u64, took_ns: u64) {
        (self.stirred, self.ticked) = (false, false);
        self.saved_ns = now_ns;
        self.next_ns = now_ns + self.every_ns.max(took_ns * PARTS_OF_THE_TIME);
    }

    /// Hands a checkpoint over once everything it speaks of is durable.
    pub(super) fn hand_over(
        &self,
        router: &Router,
        turns: u64,
        fresh: Vec<(i64, Digest)>,
        events_from: i64,
        mut state: SavedState,
        plan: Arc<Plan>,
    ) {
        self.busy.store(true, Ordering::Release);
        let (jobs, at_ms) = (self.jobs.clone(), plan.clock.wall_ms());
        let (busy, missed) = (Arc::clone(&self.busy), Arc::clone(&self.missed));
        router.acknowledge(move |outbox| {
            // Symbols only ever get more, so those of now will do.
            let sections = move || {
                state.symbols = SavedState::symbols_of(&plan);
                state.to_sections()
            };
            let done = move |published: bool| {
                missed.store(!published, Ordering::Release);
                busy.store(false, Ordering::Release);
            };
            let (sections, done) = (Box::new(sections), Box::new(done));
            let _ = jobs.send(Job { at_ms, turns, outbox, fresh, events_from, sections, done });
        });
    }
}

//! When a checkpoint is made, and how it gets to those who write it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use super::plan::Plan;
use super::state::SavedState;
use crate::alert::Router;
use crate::state::StateSpec;
use crate::state::checkpoint::{FreshIds, Job, Writer};

/// Copying the state for a checkpoint takes one part in so many of the time, at most: a large state is saved less often,
/// as far as the journal can wait.
const PARTS_OF_THE_TIME: u64 = 50;

/// Where the partition hands checkpoints over. One at a time: while one is being written, no other is made.
pub(super) struct Saver {
    jobs: Sender<Job>,
    busy: Arc<AtomicBool>,
    /// The last one was not published: there was no room.
    missed: Arc<AtomicBool>,
    every_ns: u64,
    /// However large the state is, and even when nothing comes: checkpoints have to move beyond what was kept of records.
    every_ns_max: u64,
    saved_ns: u64,
    next_ns: u64,
    /// Whether anything has come since the last one.
    stirred: bool,
}

impl Saver {
    pub(super) fn new(jobs: Sender<Job>, spec: &StateSpec, now_ns: u64) -> Self {
        let every_ns_max = spec.journal_for_ms() * 1_000_000 / StateSpec::CHECKPOINTS_PER_JOURNAL;
        let every_ns = (spec.checkpoint_every_ms * 1_000_000).min(every_ns_max);
        Self {
            jobs,
            busy: Arc::default(),
            missed: Arc::default(),
            every_ns,
            every_ns_max,
            saved_ns: now_ns,
            next_ns: now_ns + every_ns,
            stirred: false,
        }
    }

    /// Whether a checkpoint is due after a turn.
    pub(super) fn is_due(&mut self, now_ns: u64, idle: bool) -> bool {
        self.stirred |= !idle || self.missed.swap(false, Ordering::AcqRel);
        let due = if self.stirred { now_ns >= self.next_ns } else { now_ns >= self.saved_ns + self.every_ns_max };
        due && !self.busy.load(Ordering::Acquire)
    }

    /// Other rules are in force: a checkpoint is due after this turn. What came before it would be judged by them if it
    /// had to be applied again, and say something else than was told.
    pub(super) fn rules_changed(&mut self, now_ns: u64) {
        self.stirred = true;
        self.next_ns = now_ns;
    }

    /// A checkpoint was begun; copying the state took so long.
    pub(super) fn took(&mut self, now_ns: u64, took_ns: u64) {
        self.stirred = false;
        self.saved_ns = now_ns;
        self.next_ns = now_ns + self.every_ns.max(took_ns * PARTS_OF_THE_TIME).min(self.every_ns_max);
    }

    /// Hands a checkpoint over once everything it speaks of is durable. `last` if nothing comes after it.
    pub(super) fn hand_over(
        &self,
        router: &Router,
        turns: u64,
        (fresh, events_from): (FreshIds, i64),
        state: SavedState,
        plan: Arc<Plan>,
        last: bool,
    ) {
        self.busy.store(true, Ordering::Release);
        let (jobs, at_ms) = (self.jobs.clone(), plan.clock.wall_ms());
        let (busy, missed) = (Arc::clone(&self.busy), Arc::clone(&self.missed));
        router.acknowledge(move |outbox| {
            // Symbols only ever get more, so those of now will do.
            let sections = move |writer: &mut Writer| state.write(&SavedState::symbols_of(&plan), writer);
            let done = move |published: bool| {
                missed.store(!published, Ordering::Release);
                busy.store(false, Ordering::Release);
            };
            let (sections, done) = (Box::new(sections), Box::new(done));
            let _ = jobs.send(Job { at_ms, turns, outbox, fresh, events_from, sections, last, done });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_never_kept_waiting() {
        const SECOND: u64 = 1_000_000_000;
        let (jobs, _waiting) = crossbeam_channel::bounded(1);
        let saver = |every_ms| {
            let spec = StateSpec { checkpoint_every_ms: every_ms, journal_for_ms: 60_000, ..StateSpec::new("/state") };
            Saver::new(jobs.clone(), &spec, 0)
        };
        let mut rare = saver(3_600_000);
        assert!(!rare.is_due(9 * SECOND, false) && rare.is_due(10 * SECOND, false), "an hour is too long");
        // A large state: to copy it takes two seconds, and a fiftieth of the time would be every hundred.
        let mut large = saver(1_000);
        assert!(large.is_due(SECOND, false));
        large.took(SECOND, 2 * SECOND);
        assert!(!large.is_due(10 * SECOND, false) && large.is_due(11 * SECOND, false));
        // A smaller one has its fiftieth, and an idle one still moves on.
        large.took(20 * SECOND, SECOND / 10);
        assert!(!large.is_due(24 * SECOND, false) && large.is_due(25 * SECOND, false));
        // Other rules do not wait for it, but for one that is being written.
        large.took(30 * SECOND, 2 * SECOND);
        assert!(!large.is_due(31 * SECOND, true));
        large.rules_changed(31 * SECOND);
        large.busy.store(true, Ordering::Release);
        assert!(!large.is_due(31 * SECOND, true));
        large.busy.store(false, Ordering::Release);
        assert!(large.is_due(31 * SECOND, true));
        large.took(40 * SECOND, 0);
        assert!(!large.is_due(49 * SECOND, true) && large.is_due(50 * SECOND, true));
    }
}

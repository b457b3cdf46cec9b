//! Those who judge: the shards, each with a workbench of its own, and whoever brings a few records while no shard has
//! anything to do and judges them himself.
//!
//! To hand records to another thread takes as long as its core takes to wake up, 5 to 50 us, and longer where something
//! else has that core: more than judging them. So they stay with the thread that read them, as long as they are few.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::partition::Partition;
use super::plan::Plan;
use super::reload::Plans;
use super::sequencer::Sequencer;
use super::shard::{Judged, Workbench};
use crate::source::{Block, Brought, Hand, Intake, Room, Taken};

/// How long a shard waits for records before it lets time pass.
const PATIENCE: Duration = Duration::from_millis(50);
/// The number of whoever lends a hand, where shards have theirs.
const HAND: usize = usize::MAX;

thread_local! {
    /// Whether this thread has lent a hand before.
    static HAS_LENT: Cell<bool> = const { Cell::new(false) };
}

/// What they share.
pub(super) struct Crew {
    plans: Arc<Plans>,
    intake: Arc<Intake>,
    pub(super) sequencer: Sequencer,
    /// One for each shard. Who lends a hand works at the first, which has learned what records look like.
    benches: Vec<Mutex<Workbench>>,
    /// What the first of them died of.
    died_of: Mutex<Option<String>>,
}

impl Crew {
    pub(super) fn new(shards: usize, plans: Arc<Plans>, intake: Arc<Intake>, partition: Partition) -> Self {
        let plan = plans.current();
        let benches = (0..shards).map(|_| Mutex::new(Workbench::new(Arc::clone(&plan)))).collect();
        let sequencer = Sequencer::new(partition, Arc::clone(&intake));
        Self { plans, intake, sequencer, benches, died_of: Mutex::default() }
    }

    /// What a shard's thread does, until nothing will come any more.
    pub(super) fn run_shard(&self, number: usize) {
        self.or_fail(|| {
            while let Some((taken, plan)) = self.intake.take(PATIENCE, || self.plans.current()) {
                self.sequencer.submit(number, self.judge(number, taken, plan));
            }
        });
    }

    /// A shard judges a turn, which it will hand in.
    pub(super) fn judge(&self, number: usize, taken: Taken, plan: Arc<Plan>) -> Judged {
        self.judge_at(number, number, taken, plan)
    }

    fn judge_at(&self, bench: usize, who: usize, taken: Taken, plan: Arc<Plan>) -> Judged {
        let mut bench = self.benches[bench].lock();
        self.sequencer.begin(who);
        bench.turn_to(plan);
        bench.judge(taken)
    }

    /// What one of them died of, if one did.
    pub(super) fn died_of(&self) -> Option<String> {
        self.died_of.lock().take()
    }

    /// Whoever dies takes the run with him: the state is unsound.
    fn or_fail(&self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.died_of.lock().get_or_insert_with(|| said_by(panic.as_ref()));
            self.intake.fail();
        }
    }
}

fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl Hand for Crew {
    fn bring(&self, block: Block, room: Room) -> Option<Block> {
        match self.intake.bring(block, room, || self.plans.current()) {
            Brought::NoRoom(block) => Some(block),
            Brought::Left => None,
            Brought::Back(taken, plan) => {
                // Alerts wait for it from here on, as for a shard.
                if !HAS_LENT.replace(true) {
                    weir_memory::go_first();
                }
                self.or_fail(|| self.sequencer.submit_once(HAND, self.judge_at(0, HAND, taken, plan)));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

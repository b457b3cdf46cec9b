//! Batches are applied in the order in which they were taken, by whoever has the next one ready.
//!
//! A shard that finishes out of turn leaves its batch and goes on with the next; the intake lets
//! nobody run too far ahead, so that what waits here is bounded.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::partition::Partition;
use super::shard::Judged;
use crate::source::Intake;

struct Waiting {
    next_turn: u64,
    ready: BTreeMap<u64, Judged>,
    applying: bool,
}

pub(super) struct Sequencer<'a> {
    waiting: Mutex<Waiting>,
    partition: Mutex<Partition>,
    intake: &'a Intake,
}

impl<'a> Sequencer<'a> {
    pub(super) fn new(partition: Partition, intake: &'a Intake) -> Self {
        Self {
            waiting: Mutex::new(Waiting { next_turn: 0, ready: BTreeMap::new(), applying: false }),
            partition: Mutex::new(partition),
            intake,
        }
    }

    /// Hands in a batch; applies it, and those behind it that are ready, if it is its turn.
    pub(super) fn submit(&self, judged: Judged) {
        let mut waiting = self.waiting.lock();
        waiting.ready.insert(judged.turn.number, judged);
        if waiting.applying {
            return;
        }
        loop {
            let turn = waiting.next_turn;
            let Some(judged) = waiting.ready.remove(&turn) else {
                waiting.applying = false;
                return;
            };
            waiting.applying = true;
            drop(waiting);
            self.partition.lock().apply(judged);
            self.intake.applied(turn + 1);
            waiting = self.waiting.lock();
            waiting.next_turn = turn + 1;
        }
    }

    /// Looks into the state between two batches.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Partition) -> T) -> T {
        look(&self.partition.lock())
    }

    /// The state, once all shards have ended.
    pub(super) fn into_partition(self) -> Partition {
        self.partition.into_inner()
    }
}

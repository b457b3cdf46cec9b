//! Batches are applied in the order in which they were taken, by whoever has the next one ready, or by who did it last if
//! that one is about to hand in a batch of its own: the partition is in the caches of its core.
//!
//! A shard that finishes out of turn leaves its batch and goes on with the next; the intake lets
//! nobody run too far ahead, so that what waits here is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::partition::Partition;
use super::shard::Judged;
use crate::source::Intake;

/// So many turns are not left to the shard that applied last.
const LEFT_BELOW: usize = 4;

struct Waiting {
    next_turn: u64,
    ready: BTreeMap<u64, Judged>,
    applying: bool,
    /// The shard that applied last.
    last: usize,
    /// It is judging, and will hand in what it judges.
    last_is_judging: bool,
    /// How many are judging.
    judging: usize,
}

pub(super) struct Sequencer {
    waiting: Mutex<Waiting>,
    /// Until the run has ended.
    partition: Mutex<Option<Partition>>,
    intake: Arc<Intake>,
}

impl Sequencer {
    pub(super) fn new(partition: Partition, intake: Arc<Intake>) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                next_turn: 0,
                ready: BTreeMap::new(),
                applying: false,
                last: 0,
                last_is_judging: false,
                judging: 0,
            }),
            partition: Mutex::new(Some(partition)),
            intake,
        }
    }

    /// A shard begins to judge a turn, which it will hand in.
    pub(super) fn begin(&self, shard: usize) {
        let mut waiting = self.waiting.lock();
        waiting.judging += 1;
        waiting.last_is_judging |= waiting.last == shard;
    }

    /// Hands in a batch; applies it, and those behind it that are ready, if it is its turn and is not left to another shard.
    pub(super) fn submit(&self, shard: usize, judged: Judged) {
        self.hand_in(shard, judged, usize::MAX);
    }

    /// As [`Self::submit`], for somebody who has other things to do: those behind it are left to a shard, if one will come.
    pub(super) fn submit_once(&self, hand: usize, judged: Judged) {
        self.hand_in(hand, judged, 1);
    }

    fn hand_in(&self, shard: usize, judged: Judged, turns_max: usize) {
        let mut waiting = self.waiting.lock();
        waiting.judging -= 1;
        waiting.ready.insert(judged.turn.number, judged);
        if waiting.last == shard {
            waiting.last_is_judging = false;
        }
        if waiting.applying || (waiting.last_is_judging && waiting.ready.len() < LEFT_BELOW) {
            return;
        }
        for applied in 0.. {
            let turn = waiting.next_turn;
            let is_left = applied >= turns_max && waiting.judging > 0;
            let next = if is_left { None } else { waiting.ready.remove(&turn) };
            let Some(judged) = next else {
                waiting.applying = false;
                return;
            };
            waiting.applying = true;
            (waiting.last, waiting.last_is_judging) = (shard, false);
            drop(waiting);
            if let Some(partition) = self.partition.lock().as_mut() {
                partition.apply(judged, || self.intake.passed());
            }
            self.intake.applied(turn + 1);
            waiting = self.waiting.lock();
            waiting.next_turn = turn + 1;
        }
    }

    /// Looks into the state between two batches.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Partition) -> T) -> T {
        look(self.partition.lock().as_ref().expect("the run has not ended"))
    }

    /// The state, once all shards have ended. What is handed in afterwards, in a run that failed, is gone.
    pub(super) fn end(&self) -> Partition {
        self.partition.lock().take().expect("a run ends once")
    }
}

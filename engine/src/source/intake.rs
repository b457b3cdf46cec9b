//! The bounded queue between sources and shards. Its order is the order of arrival, and the order
//! in which batches are applied ([`Taken::turn`]).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Block, Busy};
use crate::limits::Limits;

/// Batches for each shard that a source which can wait reads ahead.
const READ_AHEAD_BATCHES: usize = 2;

/// Blocks taken at once, and their place in the order of batches.
pub(crate) struct Taken {
    /// Position in the order in which batches are applied, from 0.
    pub(crate) turn: u64,
    /// May be empty: time passes even when nothing arrives.
    pub(crate) blocks: Vec<Block>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Block>,
    bytes: usize,
    next_turn: u64,
    applied_turns: u64,
    sources_open: usize,
    stopping: bool,
    failed: bool,
    refused: BTreeMap<u16, u64>,
}

pub(crate) struct Intake {
    state: Mutex<State>,
    arrived: Condvar,
    room: Condvar,
    /// Bytes that sources without a choice may leave waiting.
    bytes_max: usize,
    /// Bytes that sources which can wait may read ahead: what lies here grows old.
    read_ahead_bytes_max: usize,
    batch_bytes_max: usize,
    turns_ahead_max: u64,
}

impl Intake {
    pub(crate) fn new(limits: &Limits, shards: usize, sources: usize) -> Self {
        let Limits { intake_bytes_max: bytes_max, batch_bytes_max, .. } = *limits;
        let turns_ahead_max = (shards * limits.turns_ahead_per_shard_max.max(1)) as u64;
        Self {
            read_ahead_bytes_max: batch_bytes_max.saturating_mul(READ_AHEAD_BATCHES * shards).min(bytes_max),
            state: Mutex::new(State { sources_open: sources, ..State::default() }),
            arrived: Condvar::new(),
            room: Condvar::new(),
            bytes_max,
            batch_bytes_max,
            turns_ahead_max,
        }
    }

    pub(crate) fn push(&self, block: Block) {
        let mut state = self.state.lock();
        while state.bytes >= self.read_ahead_bytes_max && !state.failed {
            self.room.wait(&mut state);
        }
        self.add(&mut state, block);
    }

    pub(crate) fn try_push(&self, block: Block) -> Result<(), Busy> {
        let mut state = self.state.lock();
        if state.bytes >= self.bytes_max || state.stopping {
            return Err(Busy);
        }
        self.add(&mut state, block);
        Ok(())
    }

    fn add(&self, state: &mut State, block: Block) {
        state.bytes += block.payload.bytes();
        state.queue.push_back(block);
        self.arrived.notify_one();
    }

    /// What has arrived, up to the batch budget; waits `patience` at most and then gives an empty
    /// batch. `None` when nothing will ever come again. `stamp` is called while the turn is given out: what it
    /// gives for one turn is never newer than what it gives for the next.
    pub(crate) fn take<T>(&self, patience: Duration, stamp: impl FnOnce() -> T) -> Option<(Taken, T)> {
        let mut state = self.state.lock();
        loop {
            let may_take = state.next_turn < state.applied_turns + self.turns_ahead_max;
            if state.failed || (state.queue.is_empty() && state.sources_open == 0) {
                return None;
            }
            if may_take && !state.queue.is_empty() {
                break;
            }
            let timed_out = self.arrived.wait_for(&mut state, patience).timed_out();
            if timed_out && may_take && state.queue.is_empty() && state.sources_open > 0 {
                break;
            }
        }
        let mut blocks = Vec::new();
        let mut bytes = 0;
        while let Some(block) = state.queue.front() {
            let size = block.payload.bytes();
            if !blocks.is_empty() && bytes + size > self.batch_bytes_max {
                break;
            }
            bytes += size;
            blocks.extend(state.queue.pop_front());
        }
        state.bytes -= bytes;
        let turn = state.next_turn;
        state.next_turn += 1;
        if !state.queue.is_empty() {
            self.arrived.notify_one();
        }
        self.room.notify_all();
        Some((Taken { turn, blocks }, stamp()))
    }

    /// Says how many turns have been applied, so that others may be taken.
    pub(crate) fn applied(&self, turns: u64) {
        self.state.lock().applied_turns = turns;
        self.arrived.notify_all();
    }

    pub(crate) fn source_ended(&self) {
        self.state.lock().sources_open -= 1;
        self.arrived.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.arrived.notify_all();
    }

    pub(crate) fn stopping(&self) -> bool {
        let state = self.state.lock();
        state.stopping || state.failed
    }

    /// Lets every waiting thread go: a shard has died, and nothing will be taken again.
    pub(crate) fn fail(&self) {
        self.state.lock().failed = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    pub(crate) fn count_refused(&self, source: u16, requests: u64) {
        *self.state.lock().refused.entry(source).or_default() += requests;
    }

    pub(crate) fn refused(&self) -> BTreeMap<u16, u64> {
        self.state.lock().refused.clone()
    }
}

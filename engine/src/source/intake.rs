//! The bounded queue between sources and shards. Its order is the order of arrival, and the order
//! in which batches are applied ([`Taken::turn`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Block;
use super::admission::{Class, PARTS_OF_THE_BOUND, ShedTally};
use super::pace::{Pace, Rhythm};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::state::journal::{KeptBlock, KeptTurn, Queue};

/// Batches for each shard that a source which can wait reads ahead.
const READ_AHEAD_BATCHES: usize = 4;
/// Parts of the latency bound that what is read ahead takes at most: where lines are dear, whoever else sends does not wait
/// for more of them.
const READ_AHEAD_PARTS_OF_THE_BOUND: u64 = 8;
/// Smallest bound of a batch: below it, what a batch costs whatever it holds would weigh more.
const BATCH_BYTES_MIN: usize = 16 << 10;
/// Most bytes of a block that whoever brings it judges himself: more is for shards to share.
const BROUGHT_BACK_BYTES_MAX: usize = 32 << 10;
/// Least time between blocks of late: a turn takes some 10 us whatever it holds, so that blocks that come faster are
/// cheaper by the batch.
const BROUGHT_BACK_EVERY_NS: u64 = 50_000;
/// Part of the latency bound that judging one batch may take.
const BATCH_PARTS_OF_THE_BOUND: u64 = 2;

/// The place of a batch in the order of batches, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Position in the order in which batches are applied, from 0.
    pub(crate) number: u64,
    /// The wall clock by which it is judged: whenever it is judged again, it is by the same.
    pub(crate) now_ms: i64,
    /// It is the first of a run.
    pub(crate) resumed: bool,
    /// An earlier run has judged it.
    pub(crate) replayed: bool,
}

impl Turn {
    /// A turn in the middle of a run.
    pub(crate) fn at(number: u64, now_ms: i64) -> Self {
        Self { number, now_ms, resumed: false, replayed: false }
    }
}

/// Blocks taken at once, and their place in the order of batches.
pub(crate) struct Taken {
    pub(crate) turn: Turn,
    /// May be empty: time passes even when nothing arrives.
    pub(crate) blocks: Vec<Block>,
    /// What was let go since the turn before.
    pub(crate) shed: ShedTally,
}

/// When a block has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Its source can wait: when enough has been read ahead.
    ReadAhead,
    /// Its source says that it is busy: when what lies here will wait for too long.
    Offered,
    /// It has been let in already.
    LetIn,
}

/// Puts blocks into the intake, and judges them at once where nobody else has anything to do.
pub(crate) trait Hand: Send + Sync {
    /// Gives the block back if it has no room.
    fn bring(&self, block: Block, room: Room) -> Option<Block>;
}

/// What becomes of a block that somebody brings who would judge it himself.
pub(crate) enum Brought<T> {
    /// It has no room.
    NoRoom(Block),
    /// A shard takes it.
    Left,
    /// He is to judge it himself: a turn as [`Intake::take`] gives it.
    Back(Taken, T),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Block>,
    bytes: usize,
    /// Of those bytes, by source.
    bytes_of: Vec<usize>,
    /// Bytes of the turns that have been taken and not yet passed.
    taken: VecDeque<usize>,
    pace: Pace,
    shed: ShedTally,
    next_turn: u64,
    applied_turns: u64,
    sources_open: usize,
    stopping: bool,
    failed: bool,
    /// The disk is full: nothing new is taken in until there is room.
    held: bool,
    refused: BTreeMap<u16, u64>,
    rhythm: Rhythm,
    again: Again,
    /// Where turns are kept.
    journal: Option<Queue>,
}

/// Turns of earlier runs that are to be applied first.
#[derive(Default)]
struct Again {
    waiting: VecDeque<Replayed>,
    /// More of them may come: nothing else is given out.
    under_way: bool,
}

/// A turn of an earlier run.
struct Replayed {
    now_ms: i64,
    resumed: bool,
    blocks: Vec<Block>,
    shed: ShedTally,
}

/// How often it is looked whether all turns of earlier runs have been applied.
const REPLAY_LOOK_UP: Duration = Duration::from_millis(5);
/// Turns of earlier runs that wait to be applied.
const REPLAYED_MAX: usize = 16;

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
    shards: u64,
    latency_bound_ns: u64,
    clock: Arc<dyn Clock>,
}

impl Intake {
    pub(crate) fn new(limits: &Limits, shards: usize, sources: usize, clock: Arc<dyn Clock>) -> Self {
        let Limits { intake_bytes_max: bytes_max, batch_bytes_max, .. } = *limits;
        let turns_ahead_max = (shards * limits.turns_ahead_per_shard_max.max(1)) as u64;
        Self {
            read_ahead_bytes_max: batch_bytes_max.saturating_mul(READ_AHEAD_BATCHES * shards).min(bytes_max),
            state: Mutex::new(State {
                sources_open: sources,
                bytes_of: vec![0; sources],
                pace: Pace::of(shards),
                ..State::default()
            }),
            arrived: Condvar::new(),
            room: Condvar::new(),
            bytes_max,
            batch_bytes_max,
            turns_ahead_max,
            shards: shards as u64,
            latency_bound_ns: limits.latency_bound_ms * 1_000_000,
            clock,
        }
    }

    pub(crate) fn push(&self, block: Block) {
        let mut state = self.state.lock();
        while self.must_wait(&state) {
            self.room.wait(&mut state);
        }
        self.add(&mut state, block);
    }

    /// Gives the block back if it has no room.
    pub(crate) fn push_now(&self, block: Block, room: Room) -> Option<Block> {
        let mut state = self.state.lock();
        if self.has_no_room(&state, room) {
            return Some(block);
        }
        self.add(&mut state, block);
        None
    }

    /// Puts a block in, or gives it back to whoever brings it as a turn of its own: if it is small, blocks come seldom, and
    /// nothing else waits or is being judged. `stamp` as for [`Self::take`].
    pub(crate) fn bring<T>(&self, block: Block, room: Room, stamp: impl FnOnce() -> T) -> Brought<T> {
        let mut state = self.state.lock();
        if self.has_no_room(&state, room) {
            return Brought::NoRoom(block);
        }
        let bytes = block.payload.bytes();
        let is_alone = state.queue.is_empty() && state.taken.is_empty();
        let comes_seldom = state.rhythm.pause_ns(block.received_ns) >= BROUGHT_BACK_EVERY_NS;
        // Once all sources have ended shards end too, and nobody applies what they leave to each other.
        let is_running = state.sources_open > 0 && !state.again.under_way && self.may_give_out(&state);
        if !is_alone || !comes_seldom || !is_running || bytes > BROUGHT_BACK_BYTES_MAX {
            self.add(&mut state, block);
            return Brought::Left;
        }
        state.rhythm.came(block.received_ns);
        let taken = self.give_out(&mut state, vec![block], bytes);
        Brought::Back(taken, stamp())
    }

    fn has_no_room(&self, state: &State, room: Room) -> bool {
        match room {
            Room::ReadAhead => self.must_wait(state),
            Room::Offered => self.is_busy(state),
            Room::LetIn => false,
        }
    }

    fn must_wait(&self, state: &State) -> bool {
        (state.bytes >= self.read_ahead_bytes(state) || (state.held && !state.stopping)) && !state.failed
    }

    /// What sources that can wait may read ahead: bounded by memory, and by the time that it is expected to take; no shard
    /// is left without a batch.
    fn read_ahead_bytes(&self, state: &State) -> usize {
        let ns = self.latency_bound_ns * READ_AHEAD_PARTS_OF_THE_BOUND / PARTS_OF_THE_BOUND;
        let least = 2 * BATCH_BYTES_MIN * self.shards as usize;
        (state.pace.bytes_in(ns) as usize).max(least).min(self.read_ahead_bytes_max)
    }

    /// Whether something that is offered now would be taken.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_busy(&self.state.lock())
    }

    fn is_busy(&self, state: &State) -> bool {
        state.bytes >= self.bytes_max || state.stopping || state.held || self.is_past(state, Class::Safety)
    }

    /// The least urgent class that a source may put in now; `None` if nothing has room.
    pub(crate) fn least_admitted(&self, source: u16, bytes: usize) -> Option<Class> {
        let state = self.state.lock();
        if state.held || state.bytes + bytes > self.bytes_max {
            return None;
        }
        let has_room = |class: Class| {
            // Below its share of what may wait, a source is not crowded out by the others.
            let share = self.bytes_that_may_wait(&state, class) / state.sources_open.max(1) as u64;
            !self.is_past(&state, class) || (state.bytes_of[usize::from(source)] as u64) < share
        };
        [Class::Other, Class::Crowd, Class::Safety].into_iter().find(|class| has_room(*class))
    }

    /// Notes what was let go.
    pub(crate) fn note_shed(&self, shed: ShedTally) {
        if !shed.is_empty() {
            self.state.lock().shed.append(shed);
        }
    }

    /// Whether what lies here will wait for longer than records of this class may.
    fn is_past(&self, state: &State, class: Class) -> bool {
        let ahead = state.bytes + state.taken.iter().sum::<usize>();
        ahead as u64 >= self.bytes_that_may_wait(state, class)
    }

    fn bytes_that_may_wait(&self, state: &State, class: Class) -> u64 {
        state.pace.bytes_in(self.latency_bound_ns * class.parts_of_the_bound() / PARTS_OF_THE_BOUND)
    }

    /// Bytes of a batch: bounded by memory, and by the time that one shard takes for it.
    fn batch_bytes_max(&self, state: &State) -> usize {
        let ns = self.latency_bound_ns * BATCH_PARTS_OF_THE_BOUND / PARTS_OF_THE_BOUND;
        let in_time = state.pace.bytes_in(ns) / self.shards;
        (in_time as usize).max(BATCH_BYTES_MIN).min(self.batch_bytes_max)
    }

    fn add(&self, state: &mut State, block: Block) {
        let bytes = block.payload.bytes();
        state.bytes += bytes;
        state.bytes_of[usize::from(block.source)] += bytes;
        state.rhythm.came(block.received_ns);
        state.queue.push_back(block);
        self.arrived.notify_one();
    }

    /// What has arrived, up to the batch budget; an empty batch when there was no turn for as long as `patience`. `None` when
    /// nothing will ever come again. `stamp` is called while the turn is given out: what it gives for one turn is never newer
    /// than what it gives for the next.
    pub(crate) fn take<T>(&self, patience: Duration, stamp: impl FnOnce() -> T) -> Option<(Taken, T)> {
        let mut state = self.state.lock();
        loop {
            if state.failed {
                return None;
            }
            let may_take = self.may_give_out(&state);
            if state.again.under_way || !state.again.waiting.is_empty() {
                if may_take && !state.again.waiting.is_empty() {
                    let taken = self.take_replayed(&mut state);
                    return Some((taken, stamp()));
                }
                self.arrived.wait_for(&mut state, patience);
                continue;
            }
            let drained = state.queue.is_empty() && state.sources_open == 0;
            if drained && state.shed.is_empty() {
                return None;
            }
            if may_take && drained {
                break;
            }
            if may_take && !state.queue.is_empty() {
                break;
            }
            // Where others are given turns meanwhile, time passes with those.
            let next_turn = state.next_turn;
            let timed_out = self.arrived.wait_for(&mut state, patience).timed_out() && state.next_turn == next_turn;
            if timed_out && may_take && state.queue.is_empty() && state.sources_open > 0 {
                break;
            }
        }
        let batch_bytes_max = self.batch_bytes_max(&state);
        let mut blocks = Vec::new();
        let mut bytes = 0;
        while let Some(block) = state.queue.front() {
            let size = block.payload.bytes();
            if !blocks.is_empty() && bytes + size > batch_bytes_max {
                break;
            }
            bytes += size;
            let source = usize::from(block.source);
            state.bytes_of[source] -= size;
            blocks.extend(state.queue.pop_front());
        }
        state.bytes -= bytes;
        let taken = self.give_out(&mut state, blocks, bytes);
        if !state.queue.is_empty() {
            self.arrived.notify_one();
        }
        // Woken for each batch, a source would push a shard off its core for every block that it reads.
        if state.bytes <= self.read_ahead_bytes(&state) / 2 {
            self.room.notify_all();
        }
        Some((taken, stamp()))
    }

    /// Whether another turn may be given out before one is applied.
    fn may_give_out(&self, state: &State) -> bool {
        let journal_full = state.journal.as_ref().is_some_and(Queue::is_full);
        state.next_turn < state.applied_turns + self.turns_ahead_max && !journal_full && !state.failed
    }

    /// Makes the next turn of these blocks.
    fn give_out(&self, state: &mut State, blocks: Vec<Block>, bytes: usize) -> Taken {
        state.taken.push_back(bytes);
        let mut turn = Turn::at(state.next_turn, self.clock.wall_ms());
        state.next_turn += 1;
        let shed = std::mem::take(&mut state.shed);
        if let Some(journal) = &mut state.journal {
            let blocks = blocks.iter().map(KeptBlock::of).collect();
            let kept = KeptTurn { now_ms: turn.now_ms, resumed: false, shed: shed.clone(), blocks };
            turn.resumed = journal.put(turn.number, kept);
        }
        Taken { turn, blocks, shed }
    }

    /// Waits until all turns that were given out are applied, or never will be.
    pub(crate) fn await_applied(&self) {
        let mut state = self.state.lock();
        while state.applied_turns < state.next_turn && !state.failed {
            self.arrived.wait_for(&mut state, REPLAY_LOOK_UP);
        }
    }

    fn take_replayed(&self, state: &mut State) -> Taken {
        let Replayed { now_ms, resumed, blocks, shed } = state.again.waiting.pop_front().expect("there is one");
        let turn = Turn { number: state.next_turn, now_ms, resumed, replayed: true };
        state.next_turn += 1;
        state.taken.push_back(blocks.iter().map(|block| block.payload.bytes()).sum());
        self.room.notify_all();
        self.arrived.notify_one();
        Taken { turn, blocks, shed }
    }

    /// Turns of earlier runs will come: until all are applied, nothing else is given out.
    pub(crate) fn await_replay(&self) {
        self.state.lock().again.under_way = true;
    }

    /// Puts in a turn of an earlier run, with its number; waits for room. `false` if nothing will be taken again.
    pub(crate) fn replay(&self, kept: KeptTurn, note: impl FnOnce(u64)) -> bool {
        let mut state = self.state.lock();
        while state.again.waiting.len() >= REPLAYED_MAX && !state.failed {
            self.room.wait(&mut state);
        }
        if state.failed {
            return false;
        }
        note(state.next_turn + state.again.waiting.len() as u64);
        let (now_ms, now_ns, wall_ms) = (kept.now_ms, self.clock.monotonic_ns(), self.clock.wall_ms());
        let blocks = kept.blocks.into_iter().map(|block| {
            let ago_ms = wall_ms.saturating_sub(block.received_ms).max(0) as u64;
            Block {
                source: block.source,
                payload: block.payload,
                stream: block.stream,
                first_record: block.first_record,
                extent: block.extent,
                received_ms: block.received_ms,
                // What is told of it is late by the time between the runs as well.
                received_ns: now_ns.saturating_sub(ago_ms.saturating_mul(1_000_000)),
                reply: None,
            }
        });
        state.again.waiting.push_back(Replayed {
            now_ms,
            resumed: kept.resumed,
            blocks: blocks.collect(),
            shed: kept.shed,
        });
        self.arrived.notify_one();
        true
    }

    /// All turns of earlier runs have been put in; what is taken from here on is kept. Waits until they have been applied;
    /// `false` if they never will be.
    pub(crate) fn replay_ended(&self, journal: Queue) -> bool {
        let mut state = self.state.lock();
        while (!state.again.waiting.is_empty() || state.applied_turns < state.next_turn) && !state.failed {
            self.room.wait_for(&mut state, REPLAY_LOOK_UP);
        }
        state.again.under_way = false;
        state.journal = Some(journal);
        self.arrived.notify_all();
        !state.failed
    }

    /// Nothing will be taken any more.
    pub(crate) fn close_journal(&self) {
        self.state.lock().journal = None;
    }

    /// Whoever keeps turns has room again.
    pub(crate) fn journal_has_room(&self) {
        // The lock orders this behind the look of those who are about to wait.
        drop(self.state.lock());
        self.arrived.notify_all();
    }

    /// Whether turns have been applied that others may be taken after: else `take` waits for those who apply them.
    #[cfg(test)]
    pub(crate) fn may_take(&self) -> bool {
        let state = self.state.lock();
        state.next_turn < state.applied_turns + self.turns_ahead_max
    }

    /// How many turns have been applied.
    #[cfg(test)]
    pub(crate) fn applied_turns(&self) -> u64 {
        self.state.lock().applied_turns
    }

    /// Bytes that wait to be taken.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Nothing waits for the turn that is being applied any more: whoever has been answered for it, and brings more at once,
    /// does not find it in his way.
    pub(crate) fn passed(&self) {
        let now_ns = self.clock.monotonic_ns();
        let mut state = self.state.lock();
        // Turns are applied in the order in which they were taken.
        let bytes = state.taken.pop_front().unwrap_or_default();
        let busy = !state.queue.is_empty() || !state.taken.is_empty();
        let full = bytes >= self.batch_bytes_max(&state) / 2;
        state.pace.applied(bytes, full, now_ns, busy);
    }

    /// Says how many turns have been applied, so that others may be taken.
    pub(crate) fn applied(&self, turns: u64) {
        let mut state = self.state.lock();
        state.applied_turns = turns;
        // A shard that waits for records need not hear of it.
        let somebody_waits = !state.queue.is_empty() || !state.again.waiting.is_empty() || state.sources_open == 0;
        drop(state);
        if somebody_waits {
            self.arrived.notify_all();
        }
    }

    pub(crate) fn source_ended(&self) {
        self.state.lock().sources_open -= 1;
        self.arrived.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Takes nothing new in, or does again: sources that can wait wait, others are told or shed.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.room.notify_all();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::ManualClock;
    use crate::source::{Format, Payload};

    const KB: usize = 1_000;

    fn block(source: u16, bytes: usize) -> Block {
        let bytes = Bytes::from(vec![b'x'; bytes]);
        Block::plain(source, "test", Payload::Lines { bytes, format: Format::Ndjson, header: None })
    }

    /// One shard that is taken to judge 100 KB a millisecond, and 50 ms: 156 KB, 312 KB and 3,750 KB may wait.
    fn intake(sources: usize) -> Intake {
        Intake::new(&Limits::default(), 1, sources, Arc::new(ManualClock::at(0)))
    }

    #[test]
    fn the_more_waits_the_more_urgent_is_what_is_let_in() {
        let intake = intake(1);
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen.push(intake.least_admitted(0, 100 * KB));
            assert!(intake.push_now(block(0, 100 * KB), Room::LetIn).is_none());
        }
        assert_eq!(seen[..2], [Some(Class::Other); 2]);
        assert_eq!(seen[2..4], [Some(Class::Crowd); 2]);
        assert_eq!(seen[4..38], [Some(Class::Safety); 34]);
        assert_eq!(seen[38..], [None; 12]);
        assert!(
            intake.push_now(block(0, 1), Room::Offered).is_some(),
            "who waits for an answer hears that there is no room"
        );
        // What has been taken waits no less until it is applied.
        while let Some((taken, ())) = intake.take(Duration::ZERO, || ()) {
            assert!(intake.least_admitted(0, 1).is_none() || taken.turn.number > 0);
            intake.passed();
            intake.applied(taken.turn.number + 1);
            if taken.blocks.is_empty() {
                break;
            }
        }
        assert_eq!(intake.least_admitted(0, 1), Some(Class::Other));
    }

    #[test]
    fn a_loud_source_does_not_crowd_out_a_quiet_one() {
        let intake = intake(2);
        for _ in 0..100 {
            assert!(intake.push_now(block(0, 100 * KB), Room::LetIn).is_none());
        }
        assert_eq!(intake.least_admitted(0, 1), None);
        assert_eq!(intake.least_admitted(1, 1), Some(Class::Other));
        assert!(intake.push_now(block(1, 200 * KB), Room::LetIn).is_none());
        assert_eq!(intake.least_admitted(1, 1), Some(Class::Safety));
        // Not even a quiet one gets beyond the bytes there are.
        assert_eq!(intake.least_admitted(1, 32 << 20), None);
    }

    #[test]
    fn a_block_that_would_wait_is_given_back() {
        let intake = intake(1);
        // Four batches are read ahead.
        let ahead = READ_AHEAD_BATCHES * intake.batch_bytes_max;
        assert!(intake.push_now(block(0, ahead - 1), Room::ReadAhead).is_none());
        assert!(intake.push_now(block(0, 1), Room::ReadAhead).is_none());
        let back = intake.push_now(block(0, 7), Room::ReadAhead).expect("there is no room");
        assert_eq!((back.payload.bytes(), intake.waiting_bytes()), (7, ahead));
        drop(intake.take(Duration::ZERO, || ()));
        assert!(intake.push_now(back, Room::ReadAhead).is_none());
        intake.hold(true);
        assert!(intake.push_now(block(0, 1), Room::ReadAhead).is_some(), "the disk is full");
        intake.fail();
        assert!(
            intake.push_now(block(0, 1), Room::ReadAhead).is_none(),
            "nothing will be taken again, and nobody is left waiting"
        );
    }

    #[test]
    fn where_lines_are_dear_less_is_read_ahead() {
        let intake = intake(1);
        let ahead = |intake: &Intake| intake.read_ahead_bytes(&intake.state.lock());
        assert_eq!(ahead(&intake), READ_AHEAD_BATCHES * intake.batch_bytes_max);
        let mut now_ns = 0;
        let mut judge = |bytes_per_ms: usize| {
            for _ in 0..100 {
                now_ns += 10_000_000;
                intake.state.lock().pace.applied(10 * bytes_per_ms, true, now_ns, true);
            }
        };
        // 10 KB a millisecond, and a quarter of 50 ms.
        judge(10 * KB);
        assert!(ahead(&intake).abs_diff(125_000) < 15 * KB, "{}", ahead(&intake));
        assert!(intake.push_now(block(0, 250 * KB), Room::ReadAhead).is_none());
        assert!(intake.push_now(block(0, 1), Room::ReadAhead).is_some());
        judge(KB / 10);
        assert_eq!(ahead(&intake), 2 * BATCH_BYTES_MIN, "the shard has something to do");
    }

    #[test]
    fn what_was_let_go_last_is_told_in_a_turn_of_its_own() {
        let intake = intake(1);
        let classes = crate::source::Classes {
            kinds: Vec::new(),
            sources: vec![crate::source::SourceClass { kind: None, foreign: false, timezone: None }],
        };
        let mut shed = ShedTally::default();
        let payload = Payload::Lines { bytes: "a\nb\n".into(), format: Format::Ndjson, header: None };
        assert!(classes.sift(0, payload, None, 0, &mut shed).is_none());
        intake.note_shed(shed);
        intake.source_ended();
        let (taken, ()) = intake.take(Duration::ZERO, || ()).unwrap();
        assert_eq!(taken.shed.iter().map(|(.., shed)| shed.count).sum::<u64>(), 2);
        intake.passed();
        intake.applied(1);
        assert!(intake.take(Duration::ZERO, || ()).is_none());
    }
}

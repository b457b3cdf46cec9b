//! The ingress journal: every turn, in the order in which turns are applied, sealed, and on the disk before anything that
//! follows from it leaves.
//!
//! The partition's state is a function of its turns (and of rules and lists), so whoever has a checkpoint and the turns
//! after it has the state. Turns are written when a shard takes them, while it judges them; outputs and answers of a turn
//! wait in the outbox's writer until the turn is durable ([`Durable::wait_for`]). Once checkpoints are beyond them, turns
//! are removed: within seconds of load, and by [`StateSpec::journal_for_ms`](crate::StateSpec) at the latest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use parking_lot::{Condvar, Mutex};

mod replay;
mod turn;
mod writer;

pub(crate) use replay::Replay;
pub use replay::ReplayError;
pub(crate) use turn::{KeptBlock, KeptTurn};
pub(crate) use writer::{Signals, Writer};

use self::writer::Given;
use super::StateSpec;
use super::log::{Cut, Log, LogError, LogKind, LogOptions};
use super::reserve::Reserve;
use crate::clock::Clock;
use crate::record::Opener;
use crate::rng::Rng;

/// Bytes of turns that may wait to be written; beyond them shards take no more.
pub(crate) const BACKLOG_BYTES_MAX: usize = 8 << 20;
/// How often whoever has nothing to do looks up.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Bytes that a turn that waits is reckoned with beside its records.
const TURN_BYTES: usize = 512;
/// Bytes before each piece of a turn: whether it is the first, and whether another one follows.
const PIECE_HEAD: usize = 1;
const FIRST: u8 = 1;
const MORE: u8 = 2;

/// What the writer is given, in order.
enum Item {
    Turn {
        turn: u64,
        kept: KeptTurn,
        bytes: usize,
    },
    /// Somebody waits for what was written.
    Sync,
    /// Nothing more will come.
    End,
}

/// What is known of turns that are on the disk.
struct Board {
    /// All turns before this one are durable.
    durable_to: u64,
    ends: Ends,
    /// Records before this one are needed no more.
    trim_to: u64,
    failed: bool,
    ended: bool,
}

/// Where turns end in the journal. A turn is one record, but for the few that are larger than a piece: what is kept is where
/// a row of turns of one record begins, as the first turn and the record behind it.
#[derive(Default)]
struct Ends(VecDeque<(u64, u64)>);

impl Ends {
    fn push(&mut self, turn: u64, end: u64) {
        let expected = self.0.back().map(|(first, first_end)| first_end + (turn - first));
        if expected != Some(end) {
            self.0.push_back((turn, end));
        }
    }

    /// The record behind the last of so many turns; it forgets where earlier ones end.
    fn after(&mut self, turns: u64) -> Option<u64> {
        while self.0.get(1).is_some_and(|(first, _)| *first < turns) {
            self.0.pop_front();
        }
        self.0.front().filter(|(first, _)| *first < turns).map(|(first, end)| end + (turns - 1 - first))
    }
}

/// How far the journal is durable, for those who wait for it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Durable {
    board: Arc<(Mutex<Board>, Condvar)>,
    queue: Sender<Item>,
}

impl Durable {
    /// Waits until all turns before this one are durable; `false` if that will never be.
    pub(crate) fn wait_for(&self, turns: u64) -> bool {
        loop {
            if let Some(durable) = self.wait(turns, LOOK_UP) {
                return durable;
            }
        }
    }

    /// The same for a while; `None` if it is not known yet.
    pub(crate) fn wait(&self, turns: u64, patience: Duration) -> Option<bool> {
        let (board, changed) = &*self.board;
        let mut board = board.lock();
        if board.durable_to < turns && !board.ended {
            // What nobody waits for is not synced at once.
            let _ = self.queue.send(Item::Sync);
            changed.wait_for(&mut board, patience);
        }
        if board.durable_to >= turns { Some(true) } else { (board.failed || board.ended).then_some(false) }
    }

    /// The record from which a replay begins that all turns before this one have been applied to; they are durable.
    pub(crate) fn record_after(&self, turns: u64) -> Option<u64> {
        self.board.0.lock().ends.after(turns)
    }

    /// Says that records before this one are needed no more.
    pub(crate) fn trim(&self, before: u64) {
        let mut board = self.board.0.lock();
        board.trim_to = board.trim_to.max(before);
    }

    /// Ends the writer, once it has written what it was given.
    pub(crate) fn end(&self) {
        let _ = self.queue.send(Item::End);
    }

    /// Notes a turn of an earlier run that is about to be applied again.
    pub(crate) fn note_replayed(&self, turn: u64, end: u64) {
        let mut board = self.board.0.lock();
        board.durable_to = turn + 1;
        board.ends.push(turn, end);
    }
}

/// Where shards put the turns they take.
pub(crate) struct Queue {
    items: Sender<Item>,
    backlog: Arc<AtomicUsize>,
    resumed: bool,
}

impl Queue {
    /// Whether the writer is so far behind that nothing more should be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= BACKLOG_BYTES_MAX
    }

    /// Puts a turn in. Called in the order of turns.
    pub(crate) fn put(&mut self, turn: u64, mut kept: KeptTurn) -> bool {
        let records = kept.blocks.iter().map(|block| block.payload.bytes()).sum::<usize>();
        let bytes = TURN_BYTES + records;
        self.backlog.fetch_add(bytes, Ordering::Relaxed);
        kept.resumed = std::mem::take(&mut self.resumed);
        let resumed = kept.resumed;
        let _ = self.items.send(Item::Turn { turn, kept, bytes });
        resumed
    }
}

/// The open journal, before its thread runs.
pub(crate) struct Journal {
    pub(crate) writer: Writer,
    pub(crate) durable: Durable,
    pub(crate) queue: Queue,
    pub(crate) cut: Cut,
}

impl Journal {
    pub(crate) fn folder_of(spec: &StateSpec) -> std::path::PathBuf {
        spec.folder.join("journal")
    }

    /// Opens the journal, or begins one.
    pub(crate) fn open(
        spec: &StateSpec,
        key: &[u8; 32],
        reserve: Arc<Mutex<Reserve>>,
        clock: &Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Self, LogError> {
        let options = LogOptions {
            kind: LogKind::Journal,
            segment_bytes: spec.journal_segment_bytes,
            record_bytes_max: (spec.journal_segment_bytes / 2) as usize,
        };
        let (log, cut) = Log::open(&spec.vfs, &Self::folder_of(spec), options, rng)?;
        let (sender, items) = unbounded();
        let backlog = Arc::new(AtomicUsize::new(0));
        let board = Board { durable_to: 0, ends: Ends::default(), trim_to: 0, failed: false, ended: false };
        let board = Arc::new((Mutex::new(board), Condvar::new()));
        let given = Given { items, backlog: Arc::clone(&backlog), board: Arc::clone(&board) };
        let writer = Writer::new(log, spec, key, given, reserve, clock, rng);
        Ok(Self {
            writer,
            durable: Durable { board, queue: sender.clone() },
            queue: Queue { items: sender, backlog, resumed: true },
            cut,
        })
    }

    /// Reads the turns of earlier runs from a record on.
    pub(crate) fn replay(&self, spec: &StateSpec, key: &[u8; 32], from: u64) -> Replay {
        Replay::new(self.writer.log(), spec, Opener::new(key), from, self.durable.clone())
    }

    /// Whether turns can be read, from a record on or from the first there is.
    pub(crate) fn can_be_read(&self, spec: &StateSpec, key: &[u8; 32], from: Option<u64>) -> Result<(), ReplayError> {
        let records = self.records();
        let from = from.filter(|from| records.contains(from)).unwrap_or(records.start);
        self.replay(spec, key, from).read_through()
    }

    /// Records there are.
    pub(crate) fn records(&self) -> std::ops::Range<u64> {
        self.writer.log().first_seq()..self.writer.log().next_seq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn where_a_turn_ends_is_known_without_a_list_of_all() {
        let mut rng = SeededRng::new(1);
        let (mut ends, mut all, mut record) = (Ends::default(), Vec::new(), 41);
        for turn in 7..5_000 {
            record += if rng.below(50) == 0 { 1 + rng.below(4) } else { 1 };
            ends.push(turn, record);
            all.push(record);
        }
        assert!(ends.0.len() < 200, "{} rows", ends.0.len());
        assert_eq!(ends.after(7), None, "none of them has been applied");
        for turns in (8..=5_000).step_by(3) {
            assert_eq!(ends.after(turns), Some(all[turns as usize - 8]));
        }
    }
}

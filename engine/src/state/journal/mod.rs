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

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::{Condvar, Mutex};

mod replay;
mod seal;
mod turn;

pub(crate) use replay::Replay;
pub use replay::ReplayError;
pub(crate) use turn::{KeptBlock, KeptTurn};

use self::seal::{Opener, Sealer};
use super::StateSpec;
use super::log::{Cut, Log, LogError, LogKind, LogOptions};
use super::reserve::Reserve;
use crate::clock::Clock;
use crate::rng::Rng;

/// Bytes of turns that may wait to be written; beyond them shards take no more.
pub(crate) const BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Turns that share an `fsync` at most.
const COMMIT_MAX: usize = 256;
/// Turns that nobody waits for are synced when there are so many bytes of them, or the oldest has waited for so long.
const FLUSH_BYTES: usize = 1 << 20;
const FLUSH_AFTER: Duration = Duration::from_millis(5);
/// Memory that is kept for the next turn.
const SEALED_BYTES_KEPT: usize = 1 << 20;
/// How often whoever has nothing to do looks up.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long to wait for room on a full disk before trying again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Bytes before each piece of a turn: whether it is the first, and whether another one follows.
const PIECE_HEAD: usize = 1;
const FIRST: u8 = 1;
const MORE: u8 = 2;
/// What a log needs for itself in a segment.
const SEGMENT_OVERHEAD: u64 = 4_096;

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
        let bytes = kept.blocks.iter().map(|block| block.payload.bytes()).sum();
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
        let rolled_ns = clock.monotonic_ns();
        let writer = Writer {
            piece_bytes: (spec.journal_segment_bytes / 2 - SEGMENT_OVERHEAD / 2) as usize,
            log,
            sealer: Sealer::new(key, rng),
            sealed: Vec::new(),
            items,
            pending: Vec::new(),
            unsynced_ns: None,
            unsynced_bytes: 0,
            holds_records: true,
            board: Arc::clone(&board),
            backlog: Arc::clone(&backlog),
            reserve,
            clock: Arc::clone(clock),
            keep_for_ns: spec.journal_for_ms * 1_000_000,
            rolled_ns,
        };
        Ok(Self {
            writer,
            durable: Durable { board, queue: sender.clone() },
            queue: Queue { items: sender, backlog, resumed: true },
            cut,
        })
    }

    /// Reads the turns of earlier runs from a record on.
    pub(crate) fn replay(&self, spec: &StateSpec, key: &[u8; 32], from: u64) -> Replay {
        Replay::new(&self.writer.log, spec, Opener::new(key), from, self.durable.clone())
    }

    /// Records there are.
    pub(crate) fn records(&self) -> std::ops::Range<u64> {
        self.writer.log.first_seq()..self.writer.log.next_seq()
    }
}

/// What the writer tells others.
pub(crate) struct Signals<H, W> {
    /// The disk is so full that nothing new should be taken in.
    pub(crate) hold: H,
    /// There is room for turns again.
    pub(crate) room: W,
}

/// Writes turns.
pub(crate) struct Writer {
    log: Log,
    piece_bytes: usize,
    sealer: Sealer,
    /// Memory for the turn that is being written: to take some anew for each costs page faults.
    sealed: Vec<u8>,
    items: Receiver<Item>,
    /// In the log and not yet durable: turn, and the record behind it.
    pending: Vec<(u64, u64)>,
    /// Since when there are records that are not synced, and how much that is, with what came in turns without any.
    unsynced_ns: Option<u64>,
    unsynced_bytes: usize,
    /// Whether records came since a segment was begun on purpose.
    holds_records: bool,
    board: Arc<(Mutex<Board>, Condvar)>,
    backlog: Arc<AtomicUsize>,
    reserve: Arc<Mutex<Reserve>>,
    clock: Arc<dyn Clock>,
    keep_for_ns: u64,
    rolled_ns: u64,
}

impl Writer {
    /// Writes until nothing more can come.
    ///
    /// # Errors
    /// When nobody knows any more what is on the disk; the process has to end.
    pub(crate) fn run(mut self, signals: &Signals<impl Fn(), impl Fn()>) -> Result<(), LogError> {
        let result = self.write_all(signals);
        let (board, changed) = &*self.board.clone();
        let result = result.and_then(|()| self.log.close());
        let mut board = board.lock();
        (board.ended, board.failed) = (true, result.is_err());
        changed.notify_all();
        result
    }

    fn write_all(&mut self, signals: &Signals<impl Fn(), impl Fn()>) -> Result<(), LogError> {
        loop {
            let (mut due, mut ended) = (false, false);
            match self.items.recv_timeout(if self.unsynced_ns.is_some() { FLUSH_AFTER } else { LOOK_UP }) {
                Ok(first) => {
                    let rest = self.items.try_iter().take(COMMIT_MAX - 1).collect::<Vec<_>>();
                    for item in std::iter::once(first).chain(rest) {
                        ended |= matches!(item, Item::End);
                        due |= self.take(item, signals)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.unsynced_ns.is_some() => due = true,
                Err(RecvTimeoutError::Timeout) => while self.items.is_empty() && self.log.tend() {},
                Err(RecvTimeoutError::Disconnected) => ended = true,
            }
            let oldest_ns = self.unsynced_ns.unwrap_or(u64::MAX);
            due |= self.clock.monotonic_ns().saturating_sub(oldest_ns) >= FLUSH_AFTER.as_nanos() as u64;
            if due || ended || self.unsynced_bytes > FLUSH_BYTES {
                self.commit()?;
            }
            if ended {
                return Ok(());
            }
            self.trim()?;
            self.roll_if_due()?;
        }
    }

    /// Whether somebody waits for what was taken.
    fn take(&mut self, item: Item, signals: &Signals<impl Fn(), impl Fn()>) -> Result<bool, LogError> {
        match item {
            Item::Turn { turn, kept, bytes } => {
                let idle = kept.is_idle();
                let written = self.write(turn, &kept, signals)?;
                drop(kept);
                if bytes > 0 && self.backlog.fetch_sub(bytes, Ordering::Relaxed) >= BACKLOG_BYTES_MAX {
                    (signals.room)();
                }
                self.unsynced_bytes += written;
                if !idle {
                    self.unsynced_ns.get_or_insert_with(|| self.clock.monotonic_ns());
                    self.holds_records = true;
                }
                Ok(false)
            }
            Item::Sync => Ok(true),
            Item::End => Ok(false),
        }
    }

    fn write(
        &mut self,
        turn: u64,
        kept: &KeptTurn,
        signals: &Signals<impl Fn(), impl Fn()>,
    ) -> Result<usize, LogError> {
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        // Before it, so that one that is one piece needs no copy.
        sealed.push(FIRST);
        self.sealer.seal(&mut sealed, |bytes| kept.put(bytes));
        if sealed.len() <= self.piece_bytes {
            self.append(&sealed, signals)?;
        } else {
            let mut pieces = sealed[PIECE_HEAD..].chunks(self.piece_bytes - PIECE_HEAD).peekable();
            let mut head = FIRST;
            while let Some(piece) = pieces.next() {
                let mut record = Vec::with_capacity(piece.len() + PIECE_HEAD);
                record.push(if pieces.peek().is_some() { head | MORE } else { head });
                record.extend(piece);
                self.append(&record, signals)?;
                head = 0;
            }
        }
        self.pending.push((turn, self.log.next_seq()));
        let written = sealed.len();
        sealed.shrink_to(SEALED_BYTES_KEPT);
        self.sealed = sealed;
        Ok(written)
    }

    /// However long it takes until there is room.
    fn append(&mut self, record: &[u8], signals: &Signals<impl Fn(), impl Fn()>) -> Result<(), LogError> {
        loop {
            match self.log.append(record) {
                Ok(_) => return Ok(()),
                Err(LogError::NoRoom { .. }) => {
                    (signals.hold)();
                    // What has begun a new segment is durable: those who wait for it may go on.
                    self.publish();
                    if !self.reserve.lock().release().unwrap_or(false) {
                        self.trim()?;
                        std::thread::sleep(NO_ROOM_PAUSE);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what is needed no more.
    fn trim(&mut self) -> Result<(), LogError> {
        let trim_to = self.board.0.lock().trim_to;
        self.log.trim(trim_to).map(drop)
    }

    fn commit(&mut self) -> Result<(), LogError> {
        self.log.commit()?;
        (self.unsynced_ns, self.unsynced_bytes) = (None, 0);
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let durable_to = self.log.durable_to();
        let whole = self.pending.iter().take_while(|(_, end)| *end <= durable_to).count();
        if whole == 0 {
            return;
        }
        let (board, changed) = &*self.board;
        let mut board = board.lock();
        for (turn, end) in self.pending.drain(..whole) {
            board.durable_to = turn + 1;
            board.ends.push(turn, end);
        }
        changed.notify_all();
    }

    /// Records of people are not kept for longer than that, however few come.
    fn roll_if_due(&mut self) -> Result<(), LogError> {
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.rolled_ns) < self.keep_for_ns {
            return Ok(());
        }
        self.rolled_ns = now_ns;
        if !std::mem::take(&mut self.holds_records) {
            return Ok(());
        }
        self.commit()?;
        match self.log.roll() {
            Ok(()) => self.trim(),
            Err(LogError::NoRoom { .. }) => Ok(()),
            Err(error) => Err(error),
        }
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

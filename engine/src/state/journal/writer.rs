//! The one who writes the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::{Condvar, Mutex};

use super::{BACKLOG_BYTES_MAX, Board, FIRST, Item, KeptTurn, LOOK_UP, MORE, PIECE_HEAD};
use crate::clock::Clock;
use crate::record::Sealer;
use crate::rng::Rng;
use crate::state::StateSpec;
use crate::state::log::{Log, LogError};
use crate::state::reserve::Reserve;

/// Turns that share an `fsync` at most.
const COMMIT_MAX: usize = 256;
/// Turns that nobody waits for are synced when there are so many bytes of them, or the oldest has waited for so long.
const FLUSH_BYTES: usize = 1 << 20;
const FLUSH_AFTER: Duration = Duration::from_millis(5);
/// Memory that is kept for the next turn.
const SEALED_BYTES_KEPT: usize = 1 << 20;
/// How long to wait for room on a full disk before trying again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);
/// What a log needs for itself in a segment.
const SEGMENT_OVERHEAD: u64 = 4_096;

/// What is shared with those who put turns in, and those who wait for them.
pub(super) struct Given {
    pub(super) items: Receiver<Item>,
    pub(super) backlog: Arc<AtomicUsize>,
    pub(super) board: Arc<(Mutex<Board>, Condvar)>,
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
    roll_every_ns: u64,
    rolled_ns: u64,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        spec: &StateSpec,
        key: &[u8; 32],
        Given { items, backlog, board }: Given,
        reserve: Arc<Mutex<Reserve>>,
        clock: &Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Self {
        Self {
            piece_bytes: ((spec.journal_segment_bytes - SEGMENT_OVERHEAD) / 2) as usize,
            log,
            sealer: Sealer::new(key, rng),
            sealed: Vec::new(),
            items,
            pending: Vec::new(),
            unsynced_ns: None,
            unsynced_bytes: 0,
            holds_records: true,
            board,
            backlog,
            reserve,
            clock: Arc::clone(clock),
            roll_every_ns: spec.journal_for_ms() * 1_000_000 / 2,
            rolled_ns: clock.monotonic_ns(),
        }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Writes what waits, up to so many turns, and removes what is needed no more.
    #[cfg(test)]
    pub(crate) fn step(&mut self, items_max: usize) -> Result<(), LogError> {
        let signals = Signals { hold: || (), room: || () };
        for item in self.items.clone().try_iter().take(items_max) {
            self.take(item, &signals)?;
        }
        self.commit()?;
        self.log.tend();
        self.trim()?;
        self.roll_if_due()
    }

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
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => ended = true,
            }
            let oldest_ns = self.unsynced_ns.unwrap_or(u64::MAX);
            due |= self.clock.monotonic_ns().saturating_sub(oldest_ns) >= FLUSH_AFTER.as_nanos() as u64;
            if due || ended || self.unsynced_bytes > FLUSH_BYTES {
                self.commit()?;
            }
            self.log.tend();
            self.trim()?;
            if ended {
                return self.leave_no_record();
            }
            self.roll_if_due()?;
        }
    }

    /// Whether somebody waits for what was taken.
    fn take(&mut self, item: Item, signals: &Signals<impl Fn(), impl Fn()>) -> Result<bool, LogError> {
        match item {
            Item::Turn { turn, kept, bytes } => {
                let holds_records = kept.holds_records();
                let written = self.write(turn, &kept, signals)?;
                drop(kept);
                if bytes > 0 && self.backlog.fetch_sub(bytes, Ordering::Relaxed) >= BACKLOG_BYTES_MAX {
                    (signals.room)();
                }
                self.unsynced_bytes += written;
                if holds_records {
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
        self.log.let_go(trim_to).map(drop)
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

    /// At the end: if nobody needs what is there, nothing is left of it.
    pub(crate) fn leave_no_record(&mut self) -> Result<(), LogError> {
        if self.board.0.lock().trim_to < self.log.next_seq() {
            return Ok(());
        }
        match self.log.roll() {
            // Nothing will need the reserve any more; the next start takes it again.
            Err(LogError::NoRoom { .. }) if self.reserve.lock().release().unwrap_or(false) => self.log.roll()?,
            // Sealed it stays, until there is room.
            Err(LogError::NoRoom { .. }) => return Ok(()),
            rolled => rolled?,
        }
        self.trim()
    }

    /// Records of people are not kept for longer than that, however few come.
    fn roll_if_due(&mut self) -> Result<(), LogError> {
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.rolled_ns) < self.roll_every_ns {
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

//! The one who writes the outbox.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::letter::{Letter, Now};
use super::{Ack, Item, LOOK_UP, RECENT_MAX, Shared};
use crate::clock::Clock;
use crate::state::journal::Durable;
use crate::state::log::{Log, LogError};
use crate::state::reserve::Reserve;
use crate::testing::sabotage::{self, Wrong};

/// Letters that share an `fsync` at most.
const COMMIT_MAX: usize = 4_096;
/// How often segments are trimmed and the reserve is looked after.
const TIDY_EVERY_NS: u64 = 1_000_000_000;
/// A segment whose outputs have all been delivered is not kept for longer: it may speak of people.
const KEPT_FOR_NS: u64 = 3_600_000_000_000;
/// How long to wait for room on a full disk before trying again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Writes letters to the log and lets sinks see what is durable.
pub(crate) struct Writer {
    log: Log,
    reserve: Arc<Mutex<Reserve>>,
    items: Receiver<Item>,
    /// In the log and not yet published.
    pending: Vec<Letter>,
    /// Who waits for what is in the log to be durable.
    acks: Vec<(u64, Ack)>,
    /// What must be durable before what follows from it is written; `None` where no turns are kept.
    turns: Option<Durable>,
    /// Turns that are.
    turns_durable: u64,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    bytes_max: u64,
    tidied_ns: u64,
    rolled_ns: u64,
    /// Letters that were longer than a segment holds.
    too_long: u64,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        reserve: Arc<Mutex<Reserve>>,
        items: Receiver<Item>,
        turns: Option<Durable>,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        bytes_max: u64,
    ) -> Self {
        let now_ns = clock.monotonic_ns();
        Self {
            log,
            reserve,
            items,
            pending: Vec::new(),
            acks: Vec::new(),
            turns,
            turns_durable: 0,
            shared,
            clock,
            bytes_max,
            tidied_ns: now_ns,
            rolled_ns: now_ns,
            too_long: 0,
        }
    }

    /// Writes until nothing more can come. `hold` is told whether the disk is so full that nothing new should be taken in.
    /// How many letters were too long to be kept.
    ///
    /// # Errors
    /// When nobody knows any more what is on the disk. No sink sees anything after that; the process has to end.
    pub(crate) fn run(mut self, hold: impl Fn(bool)) -> Result<u64, LogError> {
        let result = self.write_all(&hold);
        let shared = Arc::clone(&self.shared);
        let too_long = self.too_long;
        // What was written is durable before sinks hear that it was the last.
        let result = result.and_then(|()| self.log.close());
        let mut board = shared.board.lock();
        (board.ended, board.failed) = (true, result.is_err());
        shared.changed.notify_all();
        result.map(|()| too_long)
    }

    fn write_all(&mut self, hold: &impl Fn(bool)) -> Result<(), LogError> {
        loop {
            match self.items.recv_timeout(LOOK_UP) {
                Ok(first) => {
                    self.take(first, hold)?;
                    for _ in 1..COMMIT_MAX {
                        let Ok(item) = self.items.try_recv() else { break };
                        self.take(item, hold)?;
                    }
                    self.commit()?;
                }
                // What was removed gives back its room even if nothing is written any more.
                Err(RecvTimeoutError::Timeout) => self.log.tend(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.look_after_disk(hold)?;
        }
    }

    /// What is to be done once a second.
    pub(super) fn look_after_disk(&mut self, hold: &impl Fn(bool)) -> Result<(), LogError> {
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.tidied_ns) < TIDY_EVERY_NS {
            return Ok(());
        }
        self.tidied_ns = now_ns;
        self.tidy(now_ns)?;
        let mut reserve = self.reserve.lock();
        if !reserve.is_held() && reserve.take().map_err(|error| reserve.fault(error))? {
            hold(false);
        }
        Ok(())
    }

    pub(super) fn take(&mut self, item: Item, hold: &impl Fn(bool)) -> Result<(), LogError> {
        match item {
            Item::Letter(letter, turns) => {
                self.wait_for(turns, hold)?;
                self.write(letter, hold)
            }
            Item::Ack(ack, turns) => {
                self.wait_for(turns, hold)?;
                self.acks.push((self.log.next_seq(), ack));
                Ok(())
            }
        }
    }

    /// Nothing is written, nor anybody answered, before the turns it follows from are durable. What was written before it does
    /// not wait for them: they may have to wait for room on the disk.
    fn wait_for(&mut self, turns: u64, hold: &impl Fn(bool)) -> Result<(), LogError> {
        if sabotage::is(Wrong::TurnNotAwaited) {
            return Ok(());
        }
        while let Some(durable) = self.turns.as_ref().filter(|_| turns > self.turns_durable) {
            let is_held_up = !self.pending.is_empty() || !self.acks.is_empty();
            match durable.wait(turns, if is_held_up { Duration::ZERO } else { LOOK_UP }) {
                Some(true) => self.turns_durable = turns,
                Some(false) => return Err(self.log.given_up()),
                None if is_held_up => self.commit()?,
                // Turns may wait for room that is made here.
                None => self.look_after_disk(hold)?,
            }
        }
        Ok(())
    }

    /// Makes what was written durable, and then visible to sinks; who waits for it is told.
    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        self.log.commit()?;
        self.publish();
        self.acks.drain(..).for_each(|(seq, ack)| ack(seq));
        self.log.tend();
        Ok(())
    }

    /// Writes a letter, however long it takes until there is room.
    pub(super) fn write(&mut self, letter: Letter, hold: &impl Fn(bool)) -> Result<(), LogError> {
        let (wall_ms, monotonic_ns) = (self.clock.wall_ms(), self.clock.monotonic_ns());
        let bytes = letter.to_bytes(&self.shared.names, Now { run: self.shared.run, wall_ms, monotonic_ns });
        loop {
            match self.log.append(&bytes) {
                Ok(_) => {
                    self.pending.push(letter);
                    return Ok(());
                }
                Err(LogError::TooLong { .. }) => {
                    self.too_long += 1;
                    return Ok(());
                }
                Err(LogError::NoRoom { .. }) => {
                    // What was written may leave and be answered for while we wait; a sink that moves on may make room.
                    self.commit()?;
                    hold(true);
                    self.tidy(monotonic_ns)?;
                    if !self.reserve.lock().release().unwrap_or(false) {
                        std::thread::sleep(NO_ROOM_PAUSE);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what may be written by now, up to so many letters. What has to wait for its turns is `held`.
    #[cfg(test)]
    pub(crate) fn step(&mut self, held: &mut Option<Item>, items_max: usize) -> Result<(), LogError> {
        for _ in 0..items_max {
            let Some(item) = held.take().or_else(|| self.items.try_recv().ok()) else { break };
            let (Item::Letter(_, turns) | Item::Ack(_, turns)) = &item;
            let is_durable = |it: &Durable| it.wait(*turns, Duration::ZERO).is_some();
            let has_to_wait = *turns > self.turns_durable && !self.turns.as_ref().is_none_or(is_durable);
            if has_to_wait && !sabotage::is(Wrong::TurnNotAwaited) {
                *held = Some(item);
                break;
            }
            self.take(item, &|_| ())?;
        }
        self.commit()?;
        self.look_after_disk(&|_| ())
    }

    #[cfg(test)]
    pub(crate) fn has_items(&self) -> bool {
        !self.items.is_empty()
    }

    #[cfg(test)]
    pub(super) fn next_seq(&self) -> u64 {
        self.log.next_seq()
    }

    /// Lets sinks see what is durable.
    fn publish(&mut self) {
        let durable_to = self.log.durable_to();
        let mut board = self.shared.board.lock();
        // Letters are appended and committed in order: the pending ones are the next.
        let published = (durable_to - board.durable_to) as usize;
        board.recent.extend(self.pending.drain(..published));
        let surplus = board.recent.len().saturating_sub(RECENT_MAX);
        board.recent.drain(..surplus);
        board.durable_to = durable_to;
        self.shared.changed.notify_all();
    }

    /// Removes what all sinks are beyond; tells those that are too far behind to move on.
    fn tidy(&mut self, now_ns: u64) -> Result<(), LogError> {
        let mut board = self.shared.board.lock();
        let everybody = board.places.iter().min().copied().unwrap_or(board.durable_to);
        let keep_from = board.keep_from;
        let floor = self.log.first_seq_within(self.bytes_max);
        if floor > board.floor {
            board.floor = floor;
            self.shared.changed.notify_all();
        }
        drop(board);
        if everybody == self.log.next_seq() && now_ns.saturating_sub(self.rolled_ns) >= KEPT_FOR_NS {
            match self.log.roll() {
                Ok(()) | Err(LogError::NoRoom { .. }) => self.rolled_ns = now_ns,
                Err(error) => return Err(error),
            }
        }
        // On a full disk room counts for more than that a crash might have some told again, under their ids.
        let keep_from = if self.reserve.lock().is_held() { keep_from } else { u64::MAX };
        self.log.let_go(everybody.min(keep_from)).map(drop)
    }
}

//! A sink's place in the outbox.

use std::sync::Arc;
use std::time::Duration;

use super::letter::{self, Opened};
use super::{LOOK_UP, Shared};
use crate::clock::Clock;
use crate::state::log::{Cursor, CursorFile, LogError, Reader};

/// Bytes of outputs that a sink is given at once out of the disk.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How often a sink's place is made durable while it moves.
const SYNC_EVERY_NS: u64 = 1_000_000_000;

/// Outputs for one sink, in order.
pub(crate) struct Batch {
    pub(crate) letters: Vec<(u64, Opened)>,
    /// All outputs for this sink before this one are in this batch, or have been in one before.
    to: u64,
}

/// What there is for a sink.
pub(crate) enum Polled {
    Batch(Batch),
    /// Nothing just now.
    Nothing,
    /// Nothing, and nothing more will come.
    Ended,
}

/// Where a sink has got to.
pub(crate) struct Place {
    shared: Arc<Shared>,
    index: usize,
    file: CursorFile,
    cursor: Cursor,
    /// The place as it is in the file, durable or not, and as it is durable.
    written: Cursor,
    durable: Cursor,
    synced_ns: u64,
    reader: Reader,
    clock: Arc<dyn Clock>,
}

impl Place {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: usize,
        file: CursorFile,
        cursor: Cursor,
        reader: Reader,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let synced_ns = clock.monotonic_ns();
        Self { shared, index, file, cursor, written: cursor, durable: cursor, synced_ns, reader, clock }
    }

    fn name(&self) -> &str {
        &self.shared.names[self.index]
    }

    #[cfg(test)]
    pub(super) fn seq(&self) -> u64 {
        self.cursor.seq
    }

    /// Outputs that were passed over because too many waited, over the whole life of the outbox.
    pub(crate) fn lost(&self) -> u64 {
        self.cursor.lost
    }

    /// The next outputs for this sink, up to so many. Waits for them; `settle` is called now and then, to make sure that what
    /// was delivered stays so, before the place is made durable. `None` when nothing more will come.
    pub(crate) fn next(&mut self, max: usize, mut settle: impl FnMut() -> bool) -> Result<Option<Batch>, LogError> {
        loop {
            match self.poll(max, &mut settle)? {
                Polled::Batch(batch) => return Ok(Some(batch)),
                Polled::Ended => return Ok(None),
                Polled::Nothing => {
                    let mut board = self.shared.board.lock();
                    if board.durable_to == self.cursor.seq && !board.ended {
                        self.shared.changed.wait_for(&mut board, LOOK_UP);
                    }
                }
            }
        }
    }

    /// The next outputs, without waiting.
    pub(crate) fn poll(&mut self, max: usize, mut settle: impl FnMut() -> bool) -> Result<Polled, LogError> {
        self.pass_over()?;
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.synced_ns) >= SYNC_EVERY_NS && settle() {
            self.sync(now_ns)?;
        }
        let batch = match self.recent(max) {
            Some(batch) => {
                self.reader.rest();
                batch
            }
            None => self.older(max)?,
        };
        if !batch.letters.is_empty() {
            return Ok(Polled::Batch(batch));
        }
        // All of it was for others.
        self.advance(batch.to)?;
        let board = self.shared.board.lock();
        let ended = board.failed || (board.ended && board.durable_to == self.cursor.seq);
        Ok(if ended { Polled::Ended } else { Polled::Nothing })
    }

    /// Notes that the first so many outputs of a batch are delivered.
    pub(crate) fn delivered(&mut self, batch: &Batch, outputs: usize) -> Result<(), LogError> {
        self.advance(batch.letters.get(outputs).map_or(batch.to, |(seq, _)| *seq))
    }

    /// Outputs that are in the outbox behind this place, for whomever.
    pub(crate) fn behind(&self) -> u64 {
        self.shared.board.lock().durable_to.saturating_sub(self.cursor.seq)
    }

    /// Waits for so long, or until the run ends, or the sink is to move on. Whether the run has ended.
    pub(crate) fn rest(&self, pause: Duration) -> bool {
        let until_ns = self.clock.monotonic_ns() + pause.as_nanos() as u64;
        let mut board = self.shared.board.lock();
        let had_ended = board.ended;
        while board.ended == had_ended && board.floor <= self.cursor.seq {
            let left_ns = until_ns.saturating_sub(self.clock.monotonic_ns());
            if left_ns == 0 {
                break;
            }
            self.shared.changed.wait_for(&mut board, Duration::from_nanos(left_ns).min(LOOK_UP));
        }
        board.ended
    }

    /// Makes the place durable, at the end or before a trim.
    pub(crate) fn finish(&mut self) -> Result<(), LogError> {
        self.sync(self.clock.monotonic_ns())
    }

    /// Outputs for this sink that stay in the outbox.
    pub(crate) fn waiting(&mut self) -> Result<u64, LogError> {
        let durable_to = self.shared.board.lock().durable_to;
        let from = self.cursor.seq;
        let waiting = self.count_to(durable_to)?;
        self.reader.seek(from);
        Ok(waiting)
    }

    /// Moves on if too many outputs wait, and counts what is passed over.
    fn pass_over(&mut self) -> Result<(), LogError> {
        let floor = self.shared.board.lock().floor;
        if self.cursor.seq >= floor {
            return Ok(());
        }
        self.cursor.lost += self.count_to(floor)?;
        self.advance(floor)?;
        // What is passed over is needed no more, however the sink fares.
        self.sync(self.clock.monotonic_ns())
    }

    fn count_to(&mut self, to: u64) -> Result<u64, LogError> {
        let mut count = 0;
        self.reader.seek(self.cursor.seq);
        while self.reader.seq() < to {
            for record in self.reader.read(to, usize::MAX, BATCH_BYTES_MAX)? {
                let is_for = letter::is_for(&record.payload, self.name());
                count += u64::from(is_for.map_err(|error| self.reader.unreadable(record.seq, &error))?);
            }
        }
        Ok(count)
    }

    /// The next outputs, if they are in memory still.
    fn recent(&self, max: usize) -> Option<Batch> {
        let board = self.shared.board.lock();
        let skip = self.cursor.seq.checked_sub(Shared::recent_from(&board))?;
        let mut batch = Batch { letters: Vec::new(), to: self.cursor.seq };
        for (letter, seq) in board.recent.iter().skip(skip as usize).zip(self.cursor.seq..) {
            batch.to = seq + 1;
            if letter.sinks >> self.index & 1 == 1 {
                batch.letters.push((seq, Opened { output: letter.output.clone(), earlier_ms: None }));
                if batch.letters.len() == max {
                    break;
                }
            }
        }
        Some(batch)
    }

    fn older(&mut self, max: usize) -> Result<Batch, LogError> {
        let durable_to = self.shared.board.lock().durable_to;
        self.reader.seek(self.cursor.seq);
        let mut batch = Batch { letters: Vec::new(), to: self.cursor.seq };
        for record in self.reader.read(durable_to, max, BATCH_BYTES_MAX)? {
            batch.to = record.seq + 1;
            let opened = letter::open(&record.payload, self.name(), self.shared.run);
            let opened = opened.map_err(|error| self.reader.unreadable(record.seq, &error))?;
            batch.letters.extend(opened.map(|opened| (record.seq, opened)));
        }
        Ok(batch)
    }

    fn advance(&mut self, seq: u64) -> Result<(), LogError> {
        self.cursor.seq = self.cursor.seq.max(seq);
        if self.cursor == self.written {
            return Ok(());
        }
        self.written = self.cursor;
        self.file.write(self.cursor)
    }

    fn sync(&mut self, now_ns: u64) -> Result<(), LogError> {
        self.synced_ns = now_ns;
        if self.durable != self.written {
            self.file.sync()?;
            self.durable = self.written;
            self.shared.board.lock().places[self.index] = self.durable.seq;
        }
        Ok(())
    }
}

//! Time from outside: wall clock for people, monotonic for latency.
//!
//! Event time never comes from here. The wall clock decides only whether a device has fallen
//! silent, whether a `ts` lies in the future and whether a list entry has expired.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the engine learns what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn wall_ms(&self) -> i64;
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl SystemClock {
    /// What [`Clock::monotonic_ns`] showed at a moment; zero before this clock was made.
    pub fn ns_at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_nanos() as u64
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// The clock of history: the wall clock stands before all records, so that nothing is in the future, no
/// device falls silent and an entry expires by the record's own time alone; the time that judging takes
/// is real.
#[derive(Debug)]
pub struct HistoryClock {
    start: Instant,
}

impl Default for HistoryClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for HistoryClock {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// A clock that stands still until it is set, for tests and replays.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows this moment.
    pub fn at(wall_ms: i64) -> Self {
        Self { wall_ms: AtomicI64::new(wall_ms) }
    }

    /// Moves the clock.
    pub fn set(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.wall_ms().max(0) as u64 * 1_000_000
    }
}

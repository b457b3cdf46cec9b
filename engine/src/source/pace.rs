//! How many bytes the pipeline judges in a second when it is busy, and how often blocks come.

/// What is assumed of a shard before it has been seen under load.
const FIRST_GUESS_BYTES_PER_S: f64 = 100e6;
/// Busy time after which older observations weigh half.
const HALF_LIFE_NS: f64 = 50e6;

/// The pace of late: bytes and busy time, both fading.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: f64,
    busy_ns: f64,
    /// When the last turn was applied, if there was more to do at once.
    busy_since_ns: Option<u64>,
}

impl Pace {
    /// The first guess for this many shards.
    pub(super) fn of(shards: usize) -> Self {
        let busy_ns = HALF_LIFE_NS / 10.0;
        Self { bytes: FIRST_GUESS_BYTES_PER_S * shards as f64 * busy_ns / 1e9, busy_ns, busy_since_ns: None }
    }

    /// A turn has been applied. It tells the pace if it was a full one, since small ones cost more a byte, and if there
    /// was no pause before it; `busy` says whether there will be none before the next.
    pub(super) fn applied(&mut self, bytes: usize, full: bool, now_ns: u64, busy: bool) {
        if let (Some(since_ns), true) = (self.busy_since_ns, full) {
            self.bytes += bytes as f64;
            self.busy_ns += now_ns.saturating_sub(since_ns) as f64;
            if self.busy_ns > HALF_LIFE_NS {
                self.bytes /= 2.0;
                self.busy_ns /= 2.0;
            }
        }
        self.busy_since_ns = busy.then_some(now_ns);
    }

    /// Bytes that are judged in some time.
    pub(super) fn bytes_in(&self, ns: u64) -> u64 {
        (self.bytes / self.busy_ns.max(1.0) * ns as f64) as u64
    }
}

/// Longest pause between two blocks that counts: one pause does not make up for a crowd.
const PAUSE_MAX_NS: u64 = 200_000;
/// The newest pause weighs one in so many.
const PAUSES: u64 = 4;

/// The time between blocks of late.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    newest_ns: u64,
    pause_ns: u64,
}

impl Rhythm {
    /// Another block was read.
    pub(super) fn came(&mut self, now_ns: u64) {
        self.pause_ns = self.pause_ns(now_ns);
        self.newest_ns = now_ns.max(self.newest_ns);
    }

    /// The time between blocks of late, with one that is read now.
    pub(super) fn pause_ns(&self, now_ns: u64) -> u64 {
        let pause_ns = now_ns.saturating_sub(self.newest_ns).min(PAUSE_MAX_NS);
        (self.pause_ns * (PAUSES - 1) + pause_ns) / PAUSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_full_turns_and_no_others() {
        let mut pace = Pace::of(1);
        assert_eq!(pace.bytes_in(1_000_000_000), 100_000_000);
        let mut now_ns = 0;
        // 250 KB a millisecond.
        for _ in 0..1_000 {
            now_ns += 1_000_000;
            pace.applied(250_000, true, now_ns, true);
        }
        assert!(pace.bytes_in(1_000_000_000).abs_diff(250_000_000) < 1_000_000);
        // A pause, and single records that take long for their size.
        pace.applied(200, false, now_ns, false);
        pace.applied(250_000, true, now_ns + 10_000_000_000, false);
        for _ in 0..1_000 {
            now_ns += 10_000;
            pace.applied(200, false, now_ns, true);
        }
        assert!(pace.bytes_in(1_000_000_000).abs_diff(250_000_000) < 1_000_000);
        // Half as fast: it is known after a tenth of a second.
        for _ in 0..100 {
            now_ns += 2_000_000;
            pace.applied(250_000, true, now_ns, true);
        }
        assert!(pace.bytes_in(1_000_000_000).abs_diff(125_000_000) < 12_000_000);
    }

    #[test]
    fn a_pause_does_not_make_up_for_a_crowd() {
        let mut rhythm = Rhythm::default();
        // 100 us apart, as well when two come at once now and then.
        let mut now_ns = 1_000_000_000;
        for n in 0..100 {
            now_ns += if n % 5 == 4 { 0 } else { 125_000 };
            assert!(n < 5 || rhythm.pause_ns(now_ns) > 60_000);
            rhythm.came(now_ns);
        }
        for _ in 0..100 {
            now_ns += 5_000;
            rhythm.came(now_ns);
        }
        assert!(rhythm.pause_ns(now_ns + 5_000) < 6_000);
        now_ns += 10_000_000_000;
        assert!((50_000..60_000).contains(&rhythm.pause_ns(now_ns)));
        rhythm.came(now_ns);
        assert!(rhythm.pause_ns(now_ns + 5_000) < 50_000);
        // What was read before the newest came at the same time.
        assert_eq!(rhythm.pause_ns(now_ns - 5_000), rhythm.pause_ns(now_ns));
    }
}

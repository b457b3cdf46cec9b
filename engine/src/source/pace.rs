//! How many bytes the pipeline judges in a second when it is busy.

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
}

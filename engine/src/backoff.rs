//! Waiting longer after each failure, with jitter, up to a limit.

use std::time::Duration;

use crate::rng::{OsRng, Rng};

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 10_000;

/// Pauses between attempts: 100 ms, doubled each time up to 10 s, each shortened by up to a half.
pub struct Backoff {
    next_ms: u64,
    waited: Duration,
    give_up_after: Duration,
    rng: OsRng,
}

impl Backoff {
    /// Gives up once it has waited this long in all.
    pub fn new(give_up_after: Duration) -> Self {
        Self { next_ms: FIRST_MS, waited: Duration::ZERO, give_up_after, rng: OsRng }
    }

    /// Never gives up.
    pub fn endless() -> Self {
        Self::new(Duration::MAX)
    }

    /// The next pause; `None` when it is time to give up.
    pub fn pause(&mut self) -> Option<Duration> {
        if self.waited >= self.give_up_after {
            return None;
        }
        let pause = Duration::from_millis(self.next_ms - self.rng.below(self.next_ms / 2 + 1));
        self.next_ms = (self.next_ms * 2).min(LONGEST_MS);
        self.waited += pause;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.pause()).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(10)));
        assert!(pauses[0] <= Duration::from_millis(100) && pauses[0] >= Duration::from_millis(50));
        assert!((5..20).contains(&pauses.len()));
    }
}

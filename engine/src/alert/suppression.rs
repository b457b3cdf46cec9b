//! Suppression of repeats: after an alert, none with the same key within `for` of event time.
//!
//! Keys are pseudonyms. The distance counts in both directions, so that an older record that
//! arrives late does not alert again about what has been told already.

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::record::Digest;
use crate::testing::sabotage::{self, Wrong};

/// How far behind the newest record a record may come and still be held back for what was told before it.
const DISORDER_MS: i64 = 60_000;

/// When each key alerted last.
pub(crate) struct Suppression {
    alerted: HashMap<(usize, Digest), Vec<i64>, RandomState>,
    /// Alerts by the time at which they may be forgotten.
    forget: BTreeSet<(i64, usize, Digest)>,
    keys_max: usize,
    newest_ms: i64,
    /// Repeats held back.
    pub(crate) suppressed: u64,
    /// Keys forgotten before their time because there was no room.
    pub(crate) evicted: u64,
}

/// [`Suppression`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedSuppression {
    alerted: Vec<(usize, Digest, Vec<i64>)>,
    forget: Vec<(i64, usize, Digest)>,
    newest_ms: i64,
    evicted: u64,
}

impl Suppression {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            alerted: HashMap::default(),
            forget: BTreeSet::new(),
            keys_max,
            newest_ms: i64::MIN,
            suppressed: 0,
            evicted: 0,
        }
    }

    /// Whether an alert may go out; notes it if so.
    pub(crate) fn admit(&mut self, rule: usize, key: Digest, ts_ms: i64, for_ms: i64) -> bool {
        self.newest_ms = self.newest_ms.max(ts_ms);
        if sabotage::is(Wrong::RepeatsToldAgain) {
            return true;
        }
        let times = self.alerted.entry((rule, key)).or_default();
        if times.iter().any(|alerted_ms| (ts_ms - alerted_ms).abs() < for_ms) {
            self.suppressed += 1;
            return false;
        }
        times.push(ts_ms);
        self.forget.insert((ts_ms + for_ms + for_ms.max(DISORDER_MS), rule, key));
        self.sweep();
        true
    }

    /// Forgets an alert that was taken back, so that what is told in its place is no repeat of it.
    pub(crate) fn take_back(&mut self, rule: usize, key: Digest, ts_ms: i64) {
        if let Some(times) = self.alerted.get_mut(&(rule, key))
            && let Some(at) = times.iter().position(|alerted_ms| *alerted_ms == ts_ms)
        {
            times.remove(at);
            if times.is_empty() {
                self.alerted.remove(&(rule, key));
            }
        }
    }

    /// Rules have new places, or none any more.
    pub(crate) fn move_rules(&mut self, place: impl Fn(usize) -> Option<usize>) {
        self.alerted = std::mem::take(&mut self.alerted)
            .into_iter()
            .filter_map(|((rule, key), times)| Some(((place(rule)?, key), times)))
            .collect();
        self.forget = std::mem::take(&mut self.forget)
            .into_iter()
            .filter_map(|(at_ms, rule, key)| Some((at_ms, place(rule)?, key)))
            .collect();
    }

    pub(crate) fn save(&self) -> SavedSuppression {
        let mut alerted: Vec<_> =
            self.alerted.iter().map(|((rule, key), times)| (*rule, *key, times.clone())).collect();
        alerted.sort_unstable();
        SavedSuppression {
            alerted,
            forget: self.forget.iter().copied().collect(),
            newest_ms: self.newest_ms,
            evicted: self.evicted,
        }
    }

    pub(crate) fn load(&mut self, saved: SavedSuppression) {
        self.alerted = saved.alerted.into_iter().map(|(rule, key, times)| ((rule, key), times)).collect();
        self.forget = saved.forget.into_iter().collect();
        (self.newest_ms, self.evicted) = (saved.newest_ms, saved.evicted);
    }

    fn sweep(&mut self) {
        while let Some((at_ms, rule, key)) = self.forget.first().copied() {
            let due = at_ms <= self.newest_ms;
            if !due && self.alerted.len() <= self.keys_max {
                return;
            }
            self.forget.pop_first();
            self.evicted += u64::from(!due);
            if let Some(times) = self.alerted.get_mut(&(rule, key)) {
                // Of an alert that was taken back none may be left.
                if !times.is_empty() {
                    times.remove(0);
                }
                if times.is_empty() {
                    self.alerted.remove(&(rule, key));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_held_back_in_both_directions_and_keys_are_forgotten() {
        let mut suppression = Suppression::new(2);
        assert!(suppression.admit(0, 1, 1_000, 100));
        assert!(!suppression.admit(0, 1, 1_099, 100));
        assert!(!suppression.admit(0, 1, 901, 100));
        assert!(suppression.admit(0, 1, 1_100, 100));
        assert!(suppression.admit(1, 1, 1_100, 100));
        assert!(suppression.admit(0, 2, 1_100, 100));
        assert_eq!(suppression.suppressed, 2);
        assert_eq!(suppression.evicted, 2);
        assert!(suppression.admit(0, 3, 90_000, 100));
        assert_eq!(suppression.alerted.len(), 1);
    }
}

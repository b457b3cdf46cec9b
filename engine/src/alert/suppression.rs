//! Suppression of repeats: after an alert, none with the same key within `for` of event time.
//!
//! Keys are pseudonyms. The distance counts in both directions, so that an older record that
//! arrives late does not alert again about what has been told already.

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::record::Digest;

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
        let times = self.alerted.entry((rule, key)).or_default();
        if times.iter().any(|alerted_ms| (ts_ms - alerted_ms).abs() < for_ms) {
            self.suppressed += 1;
            return false;
        }
        times.push(ts_ms);
        // Kept twice as long as needed: a late record may reach back.
        self.forget.insert((ts_ms + 2 * for_ms, rule, key));
        self.sweep();
        true
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
                times.remove(0);
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
        assert!(suppression.admit(0, 3, 9_000, 100));
        assert_eq!(suppression.alerted.len(), 1);
    }
}

//! Suppression of repeats: after an alert, none with the same key within `for` of event time.
//!
//! Keys are pseudonyms. The distance counts in both directions, so that an older record that
//! arrives late does not alert again about what has been told already.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Digest;
use crate::slots::{Slots, Snapshot};
use crate::testing::sabotage::{self, Wrong};

/// How far behind the newest record a record may come and still be held back for what was told before it.
const DISORDER_MS: i64 = 60_000;

/// A key of a rule, and when it alerted.
type Alerted = (usize, Digest, Vec<i64>);
/// When an alert may be forgotten, and its key.
type Forget = (i64, usize, Digest);

/// When each key alerted last.
pub(crate) struct Suppression {
    alerted: Slots<Alerted>,
    /// A tree: a hash table that grows holds up everybody.
    by_key: BTreeMap<(usize, Digest), u32>,
    forget: Slots<Forget>,
    by_time: BTreeMap<Forget, u32>,
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
    alerted: Snapshot<Alerted>,
    forget: Snapshot<Forget>,
    newest_ms: i64,
    evicted: u64,
}

impl SavedSuppression {
    /// Keys whose repeats are held back.
    pub(crate) fn keys(&self) -> usize {
        self.alerted.len()
    }
}

impl Suppression {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            alerted: Slots::new(),
            by_key: BTreeMap::new(),
            forget: Slots::new(),
            by_time: BTreeMap::new(),
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
        match self.by_key.get(&(rule, key)) {
            None => self.put((rule, key, vec![ts_ms])),
            Some(&slot) => {
                let (_, _, times) = self.alerted.get(slot);
                if times.iter().any(|alerted_ms| (ts_ms - alerted_ms).abs() < for_ms) {
                    self.suppressed += 1;
                    return false;
                }
                self.alerted.change(slot).2.push(ts_ms);
            }
        }
        self.put_forget((ts_ms + for_ms + for_ms.max(DISORDER_MS), rule, key));
        self.sweep();
        true
    }

    fn put(&mut self, alerted: Alerted) {
        self.by_key.insert((alerted.0, alerted.1), self.alerted.insert(alerted));
    }

    fn put_forget(&mut self, forget: Forget) {
        self.by_time.entry(forget).or_insert_with(|| self.forget.insert(forget));
    }

    fn remove_time(&mut self, rule: usize, key: Digest, at: impl FnOnce(&[i64]) -> Option<usize>) {
        let Some(&slot) = self.by_key.get(&(rule, key)) else { return };
        let Some(at) = at(&self.alerted.get(slot).2) else { return };
        let (_, _, times) = self.alerted.change(slot);
        times.remove(at);
        if times.is_empty() {
            self.alerted.remove(slot);
            self.by_key.remove(&(rule, key));
        }
    }

    /// Forgets an alert that was taken back, so that what is told in its place is no repeat of it.
    pub(crate) fn take_back(&mut self, rule: usize, key: Digest, ts_ms: i64) {
        self.remove_time(rule, key, |times| times.iter().position(|alerted_ms| *alerted_ms == ts_ms));
    }

    /// Rules have new places, or none any more.
    pub(crate) fn move_rules(&mut self, place: impl Fn(usize) -> Option<usize>) {
        let SavedSuppression { alerted, forget, .. } = self.save();
        (self.alerted, self.by_key) = (Slots::new(), BTreeMap::new());
        for (rule, key, times) in alerted.iter() {
            if let Some(rule) = place(*rule) {
                self.put((rule, *key, times.clone()));
            }
        }
        (self.forget, self.by_time) = (Slots::new(), BTreeMap::new());
        for (at_ms, rule, key) in forget.iter() {
            if let Some(rule) = place(*rule) {
                self.put_forget((*at_ms, rule, *key));
            }
        }
    }

    pub(crate) fn save(&self) -> SavedSuppression {
        SavedSuppression {
            alerted: self.alerted.snapshot(),
            forget: self.forget.snapshot(),
            newest_ms: self.newest_ms,
            evicted: self.evicted,
        }
    }

    pub(crate) fn load(&mut self, saved: &SavedSuppression) {
        *self = Self { suppressed: self.suppressed, ..Self::new(self.keys_max) };
        saved.alerted.iter().for_each(|alerted| self.put(alerted.clone()));
        saved.forget.iter().for_each(|forget| self.put_forget(*forget));
        (self.newest_ms, self.evicted) = (saved.newest_ms, saved.evicted);
    }

    fn sweep(&mut self) {
        while let Some(first) = self.by_time.first_entry() {
            let (at_ms, rule, key) = *first.key();
            let due = at_ms <= self.newest_ms;
            if !due && self.alerted.len() <= self.keys_max {
                return;
            }
            self.forget.remove(first.remove());
            self.evicted += u64::from(!due);
            // The earliest, which need not have come first. Of an alert that was taken back none may be left.
            self.remove_time(rule, key, |times| (0..times.len()).min_by_key(|at| times[*at]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, SeededRng};

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

    /// Beside a list of what alerted that is searched from end to end, over checkpoints and packs that change.
    #[test]
    fn it_does_what_plain_search_does() {
        const KEYS_MAX: usize = 30;
        for seed in 0..20 {
            let mut rng = SeededRng::new(seed);
            let mut suppression = Suppression::new(KEYS_MAX);
            // When it may be forgotten, rule, key, and when it alerted.
            let mut plain: Vec<(i64, usize, Digest, i64)> = Vec::new();
            let (mut now_ms, mut newest_ms, mut suppressed) = (1_000_000, i64::MIN, 0);
            for _ in 0..3_000 {
                now_ms += rng.below(3_000) as i64;
                let ts_ms = now_ms - rng.below(5_000) as i64;
                let (rule, key) = (rng.below(3) as usize, u128::from(rng.below(40)));
                let for_ms = [10_000, 20_000, 90_000][rule];
                match rng.below(40) {
                    0 => {
                        let mut again = Suppression::new(KEYS_MAX);
                        let bytes = postcard::to_allocvec(&suppression.save()).unwrap();
                        again.load(&postcard::from_bytes(&bytes).unwrap());
                        again.suppressed = suppression.suppressed;
                        suppression = again;
                    }
                    1 if rng.below(10) == 0 => {
                        suppression.move_rules(|rule| (rule != 1).then_some(rule));
                        plain.retain(|alerted| alerted.1 != 1);
                    }
                    _ => {
                        newest_ms = newest_ms.max(ts_ms);
                        let of_key = |alerted: &&(i64, usize, Digest, i64)| (alerted.1, alerted.2) == (rule, key);
                        let repeats = plain.iter().filter(of_key).any(|it| (ts_ms - it.3).abs() < for_ms);
                        suppressed += u64::from(repeats);
                        assert_eq!(suppression.admit(rule, key, ts_ms, for_ms), !repeats);
                        if !repeats {
                            plain.push((ts_ms + for_ms + for_ms.max(DISORDER_MS), rule, key, ts_ms));
                            plain.sort_unstable();
                            let keys = |plain: &[(i64, usize, Digest, i64)]| {
                                plain.iter().map(|it| (it.1, it.2)).collect::<std::collections::BTreeSet<_>>().len()
                            };
                            while !plain.is_empty() && (plain[0].0 <= newest_ms || keys(&plain) > KEYS_MAX) {
                                plain.remove(0);
                            }
                        }
                    }
                }
                assert_eq!(suppression.suppressed, suppressed);
                assert_eq!((suppression.forget.len(), suppression.by_time.len()), (plain.len(), plain.len()));
                assert_eq!(suppression.by_key.len(), suppression.alerted.len());
            }
            assert!(suppression.evicted > 0 && suppressed > 100, "{} and {suppressed}", suppression.evicted);
        }
    }
}

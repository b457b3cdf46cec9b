//! Observations that wait until the watermark has passed them, so that rules which depend on order
//! see them in order of event time, however they arrived; and a bounded store of keys.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::steps::Observation;
use crate::record::Digest;
use crate::testing::sabotage::{self, Wrong};

/// Length of a bucket of time.
const BUCKET_MS: i64 = 256;

/// Observations by bucket of time, each bucket as it came; sorted when it is passed.
pub(crate) struct Held {
    waiting: BTreeMap<i64, Vec<Observation>>,
    len: usize,
    lateness_ms: i64,
    observations_max: usize,
    /// Observations that found no room.
    pub(crate) overflow: u64,
}

impl Held {
    pub(crate) fn new(lateness_ms: i64, observations_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), len: 0, lateness_ms, observations_max, overflow: 0 }
    }

    /// How far a record comes after what has been passed for its own device.
    pub(crate) fn late_by_ms(&self, ts_ms: i64, device_progress_ms: i64) -> Option<i64> {
        let watermark_ms = device_progress_ms - self.lateness_ms;
        (ts_ms < watermark_ms).then(|| watermark_ms - ts_ms)
    }

    /// Takes one in.
    pub(crate) fn add(&mut self, observation: Observation) {
        if self.len >= self.observations_max {
            self.overflow += 1;
            return;
        }
        let observation =
            if sabotage::is(Wrong::ArrivalOrder) { self.in_order_of_arrival(observation) } else { observation };
        self.len += 1;
        self.waiting.entry(observation.ts_ms.div_euclid(BUCKET_MS)).or_default().push(observation);
    }

    /// Sabotage: whatever comes is taken to happen after what came before.
    fn in_order_of_arrival(&self, observation: Observation) -> Observation {
        let last_ms = self.waiting.values().flatten().map(|it| it.ts_ms).max().unwrap_or(i64::MIN + 1);
        Observation { ts_ms: observation.ts_ms.max(last_ms + 1), ..observation }
    }

    /// What lies before a moment, in order of time, key and event.
    pub(crate) fn take_before(&mut self, before_ms: i64) -> Vec<Observation> {
        let bucket = before_ms.div_euclid(BUCKET_MS);
        let mut passed: Vec<Observation> = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < bucket) {
            passed.append(&mut first.remove());
        }
        // Of the bucket in which the moment lies, a part.
        if before_ms > bucket * BUCKET_MS
            && let Some(here) = self.waiting.get_mut(&bucket)
        {
            passed.extend(here.extract_if(.., |it| it.ts_ms < before_ms));
            if here.is_empty() {
                self.waiting.remove(&bucket);
            }
        }
        self.len -= passed.len();
        passed.sort_unstable_by_key(|it| (it.ts_ms, it.key, it.event));
        passed
    }

    /// How much disorder is waited for.
    pub(crate) fn lateness_ms(&self) -> i64 {
        self.lateness_ms
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn save(&self) -> Vec<Observation> {
        let mut all: Vec<Observation> = self.waiting.values().flatten().cloned().collect();
        all.sort_unstable_by_key(|it| (it.ts_ms, it.key, it.event));
        all
    }

    pub(crate) fn load(&mut self, observations: Vec<Observation>) {
        self.len = observations.len();
        for observation in observations {
            self.waiting.entry(observation.ts_ms.div_euclid(BUCKET_MS)).or_default().push(observation);
        }
    }
}

/// Observations in order, one group for each time and key.
pub(crate) fn groups(passed: &[Observation]) -> impl Iterator<Item = &[Observation]> {
    passed.chunk_by(|a, b| a.ts_ms == b.ts_ms && a.key == b.key)
}

/// State by key, each with a moment at which it ends. When there is no room, what would end first
/// leaves and is counted.
pub(crate) struct Keyed<T> {
    by_key: HashMap<Digest, (i64, T), RandomState>,
    by_end: BTreeSet<(i64, Digest)>,
    keys_max: usize,
    /// Keys that left before their end.
    pub(crate) evicted: u64,
}

/// A [`Keyed`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedKeys<T> {
    keys: Vec<(Digest, i64, T)>,
    evicted: u64,
}

impl<T> SavedKeys<T> {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl<T: Clone> Keyed<T> {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { by_key: HashMap::default(), by_end: BTreeSet::new(), keys_max: keys_max.max(1), evicted: 0 }
    }

    pub(crate) fn get(&self, key: Digest) -> Option<&T> {
        self.by_key.get(&key).map(|(_, state)| state)
    }

    /// Puts a key's state in the place of what was there.
    pub(crate) fn set(&mut self, key: Digest, end_ms: i64, state: T) {
        if let Some((old_ms, _)) = self.by_key.insert(key, (end_ms, state)) {
            self.by_end.remove(&(old_ms, key));
        }
        self.by_end.insert((end_ms, key));
        if self.by_key.len() > self.keys_max
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.by_key.remove(&first);
            self.evicted += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: Digest) -> Option<T> {
        let (end_ms, state) = self.by_key.remove(&key)?;
        self.by_end.remove(&(end_ms, key));
        Some(state)
    }

    /// The key that ends first, if it ends before a moment.
    pub(crate) fn pop_before(&mut self, before_ms: i64) -> Option<(Digest, i64, T)> {
        let (end_ms, key) = *self.by_end.first().filter(|(end_ms, _)| *end_ms < before_ms)?;
        self.by_end.pop_first();
        let (_, state) = self.by_key.remove(&key).expect("both indexes hold the same keys");
        Some((key, end_ms, state))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn save(&self) -> SavedKeys<T> {
        let keys = self
            .by_end
            .iter()
            .filter_map(|(end_ms, key)| Some((*key, *end_ms, self.by_key.get(key)?.1.clone())))
            .collect();
        SavedKeys { keys, evicted: self.evicted }
    }

    pub(crate) fn load(&mut self, saved: SavedKeys<T>) {
        self.evicted = saved.evicted;
        for (key, end_ms, state) in saved.keys {
            self.set(key, end_ms, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_first_leaves_first() {
        let mut keyed = Keyed::new(2);
        keyed.set(1, 30, 'a');
        keyed.set(2, 10, 'b');
        keyed.set(1, 5, 'c');
        keyed.set(3, 20, 'd');
        assert_eq!((keyed.get(1), keyed.get(2), keyed.evicted), (None, Some(&'b'), 1));
        assert_eq!(keyed.pop_before(10), None);
        assert_eq!(keyed.pop_before(11), Some((2, 10, 'b')));
        assert_eq!((keyed.len(), keyed.remove(3)), (1, Some('d')));
    }
}

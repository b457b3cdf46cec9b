//! Observations that wait until the watermark has passed them, so that rules which depend on order
//! see them in order of event time, however they arrived; and a bounded store of keys.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::steps::Observation;
use crate::record::Digest;

/// Observations by time, key and event.
pub(crate) struct Held {
    waiting: BTreeMap<(i64, Digest, Digest), Observation>,
    lateness_ms: i64,
    observations_max: usize,
    /// Observations that found no room.
    pub(crate) overflow: u64,
}

impl Held {
    pub(crate) fn new(lateness_ms: i64, observations_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), lateness_ms, observations_max, overflow: 0 }
    }

    /// How far a record comes after what has been passed for its own device.
    pub(crate) fn late_by_ms(&self, ts_ms: i64, device_progress_ms: i64) -> Option<i64> {
        let watermark_ms = device_progress_ms - self.lateness_ms;
        (ts_ms < watermark_ms).then(|| watermark_ms - ts_ms)
    }

    /// Takes one in.
    pub(crate) fn add(&mut self, observation: Observation) {
        if self.waiting.len() >= self.observations_max {
            self.overflow += 1;
            return;
        }
        #[cfg(test)]
        if crate::testing::sabotage::is(crate::testing::sabotage::Wrong::ArrivalOrder) {
            let last_ms = self.waiting.last_key_value().map_or(i64::MIN, |((ts_ms, ..), _)| *ts_ms);
            let ts_ms = observation.ts_ms.max(last_ms + 1);
            self.waiting.insert((ts_ms, observation.key, observation.event), Observation { ts_ms, ..observation });
            return;
        }
        self.waiting.insert((observation.ts_ms, observation.key, observation.event), observation);
    }

    /// What lies before a moment, in order of time and key: one group for each time and key.
    pub(crate) fn take_before(&mut self, before_ms: i64) -> Vec<Vec<Observation>> {
        if self.waiting.first_key_value().is_none_or(|((ts_ms, ..), _)| *ts_ms >= before_ms) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(before_ms, 0, 0));
        let passed = std::mem::replace(&mut self.waiting, later);
        let mut groups: Vec<Vec<Observation>> = Vec::new();
        for observation in passed.into_values() {
            match groups.last_mut() {
                Some(group) if group[0].ts_ms == observation.ts_ms && group[0].key == observation.key => {
                    group.push(observation);
                }
                _ => groups.push(vec![observation]),
            }
        }
        groups
    }

    /// How much disorder is waited for.
    pub(crate) fn lateness_ms(&self) -> i64 {
        self.lateness_ms
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn save(&self) -> Vec<Observation> {
        self.waiting.values().cloned().collect()
    }

    pub(crate) fn load(&mut self, observations: Vec<Observation>) {
        self.waiting = observations.into_iter().map(|it| ((it.ts_ms, it.key, it.event), it)).collect();
    }
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

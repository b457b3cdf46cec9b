//! Event ids seen, so that a record that is delivered twice counts once.
//!
//! A repeat carries the same `ts`, so ids are kept by second of event time, and a look-up touches
//! one second only. The oldest seconds leave when they are beyond the horizon or when there is no room.
//! A second is a small table with room for what the seconds before it held: to grow a table of millions
//! holds everybody up for a tenth of a second.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::record::Digest;

const BUCKET_MS: i64 = 1_000;
/// Seconds before a new one that tell how much room it will need.
const LOOK_BACK: usize = 8;

/// Digests of event ids, by second.
pub(crate) struct EventIds {
    seconds: BTreeMap<i64, HashSet<Digest, RandomState>>,
    entries: usize,
    entries_max: usize,
    horizon_seconds: i64,
    newest_second: i64,
    /// Ids that left before their time because there was no room.
    pub(crate) evicted: u64,
}

/// [`EventIds`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEventIds {
    seconds: Vec<(i64, Vec<Digest>)>,
    newest_second: i64,
    evicted: u64,
}

impl EventIds {
    pub(crate) fn new(entries_max: usize, for_ms: i64) -> Self {
        Self {
            seconds: BTreeMap::new(),
            entries: 0,
            entries_max,
            horizon_seconds: for_ms / BUCKET_MS + 1,
            newest_second: i64::MIN / 2,
            evicted: 0,
        }
    }

    /// Notes an id; `false` if it has been seen.
    pub(crate) fn insert(&mut self, id: Digest, ts_ms: i64) -> bool {
        let second = ts_ms.div_euclid(BUCKET_MS);
        let new = match self.seconds.get_mut(&second) {
            Some(ids) => ids.insert(id),
            None => {
                let mut ids = HashSet::with_capacity_and_hasher(self.room_for(second), RandomState::default());
                ids.insert(id);
                self.seconds.insert(second, ids);
                true
            }
        };
        if new {
            self.entries += 1;
        }
        if second > self.newest_second {
            self.newest_second = second;
            let from = second - 2 * self.horizon_seconds;
            while self.seconds.first_key_value().is_some_and(|(oldest, _)| *oldest < from) {
                self.drop_oldest();
            }
        }
        while self.entries > self.entries_max && self.seconds.len() > 1 {
            self.evicted += self.drop_oldest();
        }
        new
    }

    /// Room for a second that follows on others; one out of the blue, such as a wrong clock gives, gets none.
    fn room_for(&self, second: i64) -> usize {
        if !(self.newest_second..=self.newest_second + 2).contains(&second) {
            return 0;
        }
        let most = self.seconds.values().rev().take(LOOK_BACK).map(HashSet::len).max().unwrap_or(0);
        most + most / 8
    }

    pub(crate) fn save(&self) -> SavedEventIds {
        let seconds = self
            .seconds
            .iter()
            .map(|(second, ids)| {
                let mut ids: Vec<Digest> = ids.iter().copied().collect();
                ids.sort_unstable();
                (*second, ids)
            })
            .collect();
        SavedEventIds { seconds, newest_second: self.newest_second, evicted: self.evicted }
    }

    pub(crate) fn load(&mut self, saved: SavedEventIds) {
        self.entries = saved.seconds.iter().map(|(_, ids)| ids.len()).sum();
        self.seconds = saved.seconds.into_iter().map(|(second, ids)| (second, ids.into_iter().collect())).collect();
        (self.newest_second, self.evicted) = (saved.newest_second, saved.evicted);
    }

    fn drop_oldest(&mut self) -> u64 {
        let dropped = self.seconds.pop_first().map_or(0, |(_, ids)| ids.len());
        self.entries -= dropped;
        dropped as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_known_until_the_horizon_or_the_bound() {
        let mut ids = EventIds::new(3, 60_000);
        assert!(ids.insert(1, 0));
        assert!(!ids.insert(1, 0));
        assert!(ids.insert(2, 0));
        assert!(ids.insert(3, 60_000));
        assert!(ids.insert(4, 120_000));
        assert_eq!((ids.evicted, ids.entries), (2, 2));
        assert!(ids.insert(5, 1_000_000_000));
        assert_eq!(ids.entries, 1);
    }
}

//! Event ids seen, so that a record that is delivered twice counts once.
//!
//! A repeat carries the same `ts`, so ids are kept by minute of event time, and a look-up touches
//! one minute only. The oldest minutes leave when they are beyond the horizon or when there is no room.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::record::Digest;

const BUCKET_MS: i64 = 60_000;

/// Digests of event ids, by minute.
pub(crate) struct EventIds {
    minutes: BTreeMap<i64, HashSet<Digest, RandomState>>,
    entries: usize,
    entries_max: usize,
    horizon_minutes: i64,
    newest_minute: i64,
    /// Ids that left before their time because there was no room.
    pub(crate) evicted: u64,
}

/// [`EventIds`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEventIds {
    minutes: Vec<(i64, Vec<Digest>)>,
    newest_minute: i64,
    evicted: u64,
}

impl EventIds {
    pub(crate) fn new(entries_max: usize, for_ms: i64) -> Self {
        Self {
            minutes: BTreeMap::new(),
            entries: 0,
            entries_max,
            horizon_minutes: for_ms / BUCKET_MS + 1,
            newest_minute: i64::MIN / 2,
            evicted: 0,
        }
    }

    /// Notes an id; `false` if it has been seen.
    pub(crate) fn insert(&mut self, id: Digest, ts_ms: i64) -> bool {
        let minute = ts_ms.div_euclid(BUCKET_MS);
        let new = self.minutes.entry(minute).or_default().insert(id);
        if new {
            self.entries += 1;
        }
        if minute > self.newest_minute {
            self.newest_minute = minute;
            let from = minute - 2 * self.horizon_minutes;
            while self.minutes.first_key_value().is_some_and(|(oldest, _)| *oldest < from) {
                self.drop_oldest();
            }
        }
        while self.entries > self.entries_max && self.minutes.len() > 1 {
            self.evicted += self.drop_oldest();
        }
        new
    }

    pub(crate) fn save(&self) -> SavedEventIds {
        let minutes = self
            .minutes
            .iter()
            .map(|(minute, ids)| {
                let mut ids: Vec<Digest> = ids.iter().copied().collect();
                ids.sort_unstable();
                (*minute, ids)
            })
            .collect();
        SavedEventIds { minutes, newest_minute: self.newest_minute, evicted: self.evicted }
    }

    pub(crate) fn load(&mut self, saved: SavedEventIds) {
        self.entries = saved.minutes.iter().map(|(_, ids)| ids.len()).sum();
        self.minutes = saved.minutes.into_iter().map(|(minute, ids)| (minute, ids.into_iter().collect())).collect();
        (self.newest_minute, self.evicted) = (saved.newest_minute, saved.evicted);
    }

    fn drop_oldest(&mut self) -> u64 {
        let dropped = self.minutes.pop_first().map_or(0, |(_, ids)| ids.len());
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

//! Event ids seen, so that a record that is delivered twice counts once.
//!
//! A repeat carries the same `ts`, so ids are kept by second of event time, and a look-up touches
//! one second only. The oldest seconds leave when they are beyond the horizon or when there is no room.
//! The ids of a second are a set that grows by a segment at a time, out of what seconds that have left left behind
//! (`segments.rs`). Whatever is done at once for a large second holds everybody up: to make a table of a million ids took up to
//! a tenth of a second (seen in `list-swap`), to give its memory back 15 to 30 ms (`overload`).
//!
//! Where a look-up will touch is known before it is made ([`EventIds::expect`]), so that a batch waits for memory once and not
//! for each record.

mod segments;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::segments::{Segments, Set};
use crate::record::Digest;
use crate::state::checkpoint::FreshIds;

const BUCKET_MS: i64 = 1_000;
/// Seconds beyond the horizon that are kept until the newest one moves on: whoever sends old times makes a set with each.
const BEYOND_MAX: usize = 1_024;
/// Seconds whose set is found without a search: all that are remembered by default, 32 KiB.
const RECENT: usize = 2_048;

/// Digests of event ids, by second.
pub(crate) struct EventIds {
    /// Position of a second's set.
    seconds: BTreeMap<i64, usize>,
    sets: Vec<Set>,
    /// Positions of sets that belong to no second.
    free: Vec<usize>,
    segments: Segments,
    /// Seconds found last, with the positions of their sets; each second has one place.
    recent: Box<[(i64, usize)]>,
    entries: usize,
    entries_max: usize,
    horizon_seconds: i64,
    newest_second: i64,
    /// By set, those that a checkpoint does not know yet; `None` where none are kept.
    fresh: Option<Vec<Vec<Digest>>>,
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

const NOTHING: (i64, usize) = (i64::MIN, 0);

fn second_of(ts_ms: i64) -> i64 {
    ts_ms.div_euclid(BUCKET_MS)
}

fn recent_place(second: i64) -> usize {
    second as usize % RECENT
}

impl EventIds {
    pub(crate) fn new(entries_max: usize, for_ms: i64) -> Self {
        Self {
            seconds: BTreeMap::new(),
            sets: Vec::new(),
            free: Vec::new(),
            segments: Segments::new(entries_max),
            recent: vec![NOTHING; RECENT].into(),
            entries: 0,
            entries_max,
            horizon_seconds: for_ms / BUCKET_MS + 1,
            newest_second: i64::MIN / 2,
            fresh: None,
            evicted: 0,
        }
    }

    /// Asks the processor to bring near what [`EventIds::insert`] will touch.
    pub(crate) fn expect(&self, id: Digest, ts_ms: i64) {
        let second = second_of(ts_ms);
        let (known, set) = self.recent[recent_place(second)];
        if known == second {
            self.sets[set].expect(id, &self.segments);
        }
    }

    /// Notes an id; `false` if it has been seen.
    pub(crate) fn insert(&mut self, id: Digest, ts_ms: i64) -> bool {
        let second = second_of(ts_ms);
        let at = match self.recent[recent_place(second)] {
            (known, at) if known == second => at,
            _ => self.set_of(second),
        };
        let set = &mut self.sets[at];
        let before = set.len;
        let new = set.insert(id.max(1), &mut self.segments);
        self.entries = self.entries + set.len - before;
        self.evicted += (before + usize::from(new) - set.len) as u64;
        if let (true, Some(fresh)) = (new, &mut self.fresh) {
            fresh[at].push(id);
        }
        if second > self.newest_second {
            self.newest_second = second;
            let from = second - 2 * self.horizon_seconds;
            while self.seconds.first_key_value().is_some_and(|(oldest, _)| *oldest < from) {
                self.drop_oldest();
            }
        }
        while self.seconds.len() > 2 * self.horizon_seconds as usize + BEYOND_MAX {
            self.drop_oldest();
        }
        while self.entries > self.entries_max {
            self.evicted += self.drop_oldest();
        }
        new
    }

    /// The set of a second that was not among the recent ones.
    #[cold]
    fn set_of(&mut self, second: i64) -> usize {
        let at = self.seconds.get(&second).copied().unwrap_or_else(|| self.add(second));
        self.recent[recent_place(second)] = (second, at);
        at
    }

    fn add(&mut self, second: i64) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.sets.push(Set::default());
            if let Some(fresh) = &mut self.fresh {
                fresh.push(Vec::new());
            }
            self.sets.len() - 1
        });
        self.seconds.insert(second, at);
        at
    }

    /// From here on it is noted which ids are new.
    pub(crate) fn note_fresh(&mut self) {
        self.fresh = Some(vec![Vec::new(); self.sets.len()]);
    }

    /// Ids that are new since this was asked last, by second, the oldest first, and the second before which ids are
    /// forgotten. What has been forgotten meanwhile is not new.
    pub(crate) fn take_fresh(&mut self) -> (FreshIds, i64) {
        let mut all = Vec::new();
        if let Some(fresh) = &mut self.fresh {
            let taken = self.seconds.iter().map(|(second, at)| (*second, std::mem::take(&mut fresh[*at])));
            all.extend(taken.filter(|(_, ids)| !ids.is_empty()));
        }
        (all, self.newest_second - 2 * self.horizon_seconds)
    }

    pub(crate) fn save(&self) -> SavedEventIds {
        let seconds = self
            .seconds
            .iter()
            .map(|(second, at)| {
                let mut ids: Vec<Digest> = self.sets[*at].ids(&self.segments).collect();
                ids.sort_unstable();
                (*second, ids)
            })
            .collect();
        SavedEventIds { seconds, newest_second: self.newest_second, evicted: self.evicted }
    }

    pub(crate) fn load(&mut self, saved: SavedEventIds) {
        *self = Self { horizon_seconds: self.horizon_seconds, ..Self::new(self.entries_max, 0) };
        for (second, ids) in saved.seconds {
            let at = self.add(second);
            for id in ids {
                self.sets[at].insert(id.max(1), &mut self.segments);
            }
            self.entries += self.sets[at].len;
        }
        (self.newest_second, self.evicted) = (saved.newest_second, saved.evicted);
    }

    fn drop_oldest(&mut self) -> u64 {
        let Some((second, at)) = self.seconds.pop_first() else { return 0 };
        let gone = std::mem::take(&mut self.sets[at]);
        if let Some(fresh) = &mut self.fresh {
            fresh[at] = Vec::new();
        }
        self.free.push(at);
        let recent = &mut self.recent[recent_place(second)];
        if recent.0 == second {
            *recent = NOTHING;
        }
        let ids = gone.len;
        self.entries -= ids;
        gone.leave(&mut self.segments);
        ids as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::budget::EVENT_ID_BYTES;
    use crate::rng::SeededRng;

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

    #[test]
    fn old_times_take_no_more_room_than_there_is_for_them() {
        let mut ids = EventIds::new(1_000_000, 10_000);
        let now_ms = 1_795_000_000_000;
        assert!((0..10).all(|n| ids.insert(n + 1, now_ms - n as i64 * 1_000)));
        for n in 0..100_000 {
            assert!(ids.insert(n + 100, now_ms - 1_000_000 - n as i64 * 1_000));
        }
        assert!(ids.sets.len() <= 22 + BEYOND_MAX + 1, "{} seconds", ids.sets.len());
        assert!(
            (0..10).all(|n| !ids.insert(n + 1, now_ms - n as i64 * 1_000)),
            "what lies within the horizon is known"
        );
        assert_eq!(ids.evicted, 0);
    }

    #[test]
    fn ids_take_no_more_than_the_budget_says() {
        const IDS_MAX: usize = 100_000;
        let mut random = SeededRng::new(11);
        let mut ids = EventIds::new(IDS_MAX, 60_000);
        ids.note_fresh();
        let mut most = 0;
        // More in a second than there is room for, seconds that hold less and less, all but silent ones.
        let counts = [150_000, 170_000, 160_000, 80_000, 40_000, 20_000, 10_000, 5_000, 30, 1_000, 100_000, 160_000];
        for (second, count) in counts.iter().enumerate() {
            for n in 0..*count {
                let id = Digest::from(random.next_u64()) << 64 | Digest::from(random.next_u64());
                assert!(ids.insert(id, second as i64 * 1_000 + n % 1_000));
                if n % 1_000 == 0 {
                    let fresh = ids.fresh.iter().flatten().map(|fresh| fresh.capacity() * size_of::<Digest>());
                    let sets = ids.sets.iter().map(Set::bytes);
                    most = most.max(ids.segments.bytes() + fresh.chain(sets).sum::<usize>());
                }
            }
        }
        assert!(most <= IDS_MAX * EVENT_ID_BYTES, "{} bytes an id", most / IDS_MAX);
        assert_eq!(ids.evicted, 896_030 - ids.entries as u64);
    }

    #[test]
    fn what_is_new_is_given_out_once_unless_it_is_forgotten() {
        let mut random = SeededRng::new(3);
        let mut ids = EventIds::new(500, 5_000);
        ids.insert(1, 0);
        ids.note_fresh();
        let (mut expected, mut given) = (BTreeSet::new(), BTreeSet::new());
        for n in 1..5_000 {
            let (id, ts_ms) = (Digest::from(random.next_u64() % 3_000 + 2), n * 3 - (random.next_u64() % 4_000) as i64);
            if ids.insert(id, ts_ms) {
                expected.insert((ts_ms.div_euclid(BUCKET_MS), id));
            }
            if n % 97 == 0 {
                let (fresh, _) = ids.take_fresh();
                assert!(fresh.is_sorted_by_key(|(second, _)| *second));
                given.extend(fresh.into_iter().flat_map(|(second, ids)| ids.into_iter().map(move |id| (second, id))));
            }
        }
        given.extend(
            ids.take_fresh().0.into_iter().flat_map(|(second, ids)| ids.into_iter().map(move |id| (second, id))),
        );
        assert!(
            given.is_subset(&expected) && given.len() * 10 > expected.len() * 9,
            "{} of {}",
            given.len(),
            expected.len()
        );
        let kept: BTreeSet<(i64, Digest)> = ids
            .save()
            .seconds
            .into_iter()
            .flat_map(|(second, ids)| ids.into_iter().map(move |id| (second, id)))
            .collect();
        assert!(
            kept.iter().all(|(second, id)| *id == 1 || given.contains(&(*second, *id))),
            "all that count were given out"
        );
    }

    #[test]
    fn seconds_are_sets() {
        let mut random = SeededRng::new(7);
        let (mut ids, mut reference) = (EventIds::new(usize::MAX, i64::MAX / 4), BTreeSet::new());
        for n in 0..300_000 {
            let id = Digest::from(random.next_u64() % 8) << 64 | Digest::from(random.next_u64() % 10_000);
            let ts_ms = if n % 3 == 0 { 500 } else { (random.next_u64() % 40_000) as i64 - 20_000 };
            ids.expect(id, ts_ms);
            let new = reference.insert((ts_ms.div_euclid(BUCKET_MS), id.max(1)));
            assert_eq!(ids.insert(id, ts_ms), new);
        }
        assert_eq!(ids.entries, reference.len());
        let mut again = EventIds::new(usize::MAX, i64::MAX / 4);
        again.load(ids.save());
        assert!(reference.iter().all(|(second, id)| !again.insert(*id, second * BUCKET_MS)));
    }
}

//! Event ids seen, so that a record that is delivered twice counts once.
//!
//! A repeat carries the same `ts`, so ids are kept by second of event time, and a look-up touches
//! one second only. The oldest seconds leave when they are beyond the horizon or when there is no room.
//! A second is a small table with room for what the seconds before it held. Whatever takes long for a large one is done
//! by and by, a few places with every insertion: the table of the next second is made, a table that was too small
//! moves into a larger one. To do it at once holds everybody up for a tenth of a second (seen in `list-swap`).
//!
//! Ids are keyed digests already, so that a table hashes nothing and nobody can aim at one place of it; and
//! where a look-up will touch is known before it is made ([`EventIds::expect`]), so that a batch waits for
//! memory once and not for each record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_memory::prefetch;

use crate::record::Digest;
use crate::state::checkpoint::FreshIds;

const BUCKET_MS: i64 = 1_000;
/// Seconds before a new one that tell how much room it will need.
const LOOK_BACK: usize = 8;
/// Seconds beyond the horizon that are kept until the newest one moves on: whoever sends old times makes a table with each.
const BEYOND_MAX: usize = 1_024;
/// Seconds whose table is found without a search: all that are remembered by default, 32 KiB.
const RECENT: usize = 2_048;
/// Places of the smallest table.
const PLACES_MIN: usize = 64;

/// Places that are moved with every insertion while a table grows: all have moved before it has to grow again.
const MOVED_AT_ONCE: usize = 8;
/// Places of a larger table that are made with every insertion into one that is nearly full: all are there before it is full.
const GROWN_AT_ONCE: usize = 32;
/// Places of the next second's table that are made with every insertion: all are there after little more than half as many ids
/// as the seconds before held. Memory that has not been touched for seconds can be dear, 10 us a page and now and then 100
/// (benches/RESULTS.md, "Memory that is not at hand"), so that pages come one by one, all through a second.
const MADE_AT_ONCE: usize = 6;

/// The ids of one second: open addressing, linear probing, at most seven tenths full. A place without an id holds 0.
#[derive(Debug, Default)]
struct Second {
    places: Vec<Digest>,
    len: usize,
    /// The smaller table, while its ids are on their way; those before `moved` are in the larger one too.
    old: Vec<Digest>,
    moved: usize,
}

/// Where an id is in a table, or the place it would take.
fn find(places: &[Digest], id: Digest) -> Result<usize, usize> {
    let mask = places.len() - 1;
    let mut at = id as usize & mask;
    loop {
        match places[at] {
            0 => return Err(at),
            known if known == id => return Ok(at),
            _ => at = (at + 1) & mask,
        }
    }
}

fn places_for(ids: usize) -> usize {
    (ids * 10 / 7 + 1).next_power_of_two().max(PLACES_MIN)
}

impl Second {
    fn with_room_for(ids: usize) -> Self {
        Self { places: vec![0; places_for(ids)], ..Self::default() }
    }

    /// Notes an id that is not 0; `false` if it is there. `next` is the table to grow into, as far as it is made.
    fn insert(&mut self, id: Digest, next: &mut Next) -> bool {
        if !self.old.is_empty() {
            if find(&self.old, id).is_ok() {
                return false;
            }
            self.move_some(next);
        }
        let Err(free) = find(&self.places, id) else { return false };
        self.places[free] = id;
        self.len += 1;
        if self.len * 10 > self.places.len() * 7 {
            debug_assert!(self.old.is_empty(), "the last growth is over");
            let larger = next.take_larger(self.places.len() * 2);
            self.old = std::mem::replace(&mut self.places, larger);
            self.moved = 0;
        }
        true
    }

    fn move_some(&mut self, next: &mut Next) {
        let to = (self.moved + MOVED_AT_ONCE).min(self.old.len());
        for id in self.old[self.moved..to].iter().filter(|id| **id != 0) {
            if let Err(free) = find(&self.places, *id) {
                self.places[free] = *id;
            }
        }
        self.moved = to;
        if to == self.old.len() {
            next.reuse(std::mem::take(&mut self.old));
        }
    }

    fn ids(&self) -> impl Iterator<Item = Digest> {
        let staying = self.old.iter().skip(self.moved);
        self.places.iter().chain(staying).copied().filter(|id| *id != 0)
    }
}

/// Empty tables that are being made, and the memory of one that is not needed any more: to give it back, and to get as
/// much anew, takes the system 15 to 30 ms for a table of a million ids (seen in `overload`).
#[derive(Debug, Default)]
struct Next {
    /// For the next second.
    following: Vec<Digest>,
    /// For the newest second, which outgrows its own.
    larger: Vec<Digest>,
    spare: Vec<Digest>,
}

impl Next {
    /// Makes a little of what the newest second, `newest`, will need, and the one after it, with `wanted` places or as many.
    fn make_some(&mut self, newest: &Second, wanted: usize) {
        let places = newest.places.len();
        if newest.len * 10 > places * 6 {
            make(&mut self.larger, &mut self.spare, places * 2, GROWN_AT_ONCE);
        }
        make(&mut self.following, &mut self.spare, wanted.max(places), MADE_AT_ONCE);
    }

    /// A table that is full grows into one of so many places; what is not made yet is made now.
    fn take_larger(&mut self, places: usize) -> Vec<Digest> {
        if self.larger.capacity() > places * 2 {
            return vec![0; places];
        }
        let mut taken = std::mem::take(&mut self.larger);
        taken.resize(places, 0);
        taken
    }

    /// Another second is the newest from here on.
    fn newest_ended(&mut self) {
        let larger = std::mem::take(&mut self.larger);
        self.reuse(larger);
    }

    /// As many of the places that a second wants as are made, and few where none are: if it needs more it grows by and by.
    /// A second that wants few leaves a large table alone.
    fn take_following(&mut self, wanted: usize) -> Vec<Digest> {
        if self.following.capacity() > wanted * 2 {
            return vec![0; wanted];
        }
        let made = self.following.len().clamp(PLACES_MIN, wanted);
        let mut taken = std::mem::take(&mut self.following);
        taken.resize(1 << made.ilog2(), 0);
        taken
    }

    /// A table that is not needed any more: its memory is at hand, the larger of two.
    fn reuse(&mut self, places: Vec<Digest>) {
        keep_larger(&mut self.spare, places);
    }
}

/// Makes a few more of so many places of a table, in spare memory if that has room for them.
fn make(table: &mut Vec<Digest>, spare: &mut Vec<Digest>, places: usize, at_once: usize) {
    if table.len() >= places {
        return;
    }
    if table.capacity() < places {
        // Nothing of new memory is touched yet, which is what takes long.
        let larger = if spare.capacity() >= places { std::mem::take(spare) } else { Vec::with_capacity(places) };
        keep_larger(spare, std::mem::replace(table, larger));
    }
    table.resize((table.len() + at_once).min(places), 0);
}

fn keep_larger(spare: &mut Vec<Digest>, mut places: Vec<Digest>) {
    if places.capacity() > spare.capacity() {
        places.clear();
        *spare = places;
    }
}

/// Digests of event ids, by second.
pub(crate) struct EventIds {
    /// Position of a second's table.
    seconds: BTreeMap<i64, usize>,
    tables: Vec<Second>,
    /// Positions of tables that hold no second.
    free: Vec<usize>,
    next: Next,
    /// Places that the second after the newest one will want, as far as can be told from those before.
    wanted: usize,
    /// The table of the newest second.
    newest_table: usize,
    /// Seconds found last, with the positions of their tables; each second has one place.
    recent: Box<[(i64, usize)]>,
    entries: usize,
    entries_max: usize,
    horizon_seconds: i64,
    newest_second: i64,
    /// By table, those that a checkpoint does not know yet; `None` where none are kept.
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
            tables: Vec::new(),
            free: Vec::new(),
            next: Next::default(),
            wanted: 0,
            newest_table: 0,
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
        let (known, table) = self.recent[recent_place(second)];
        if known == second {
            let table = &self.tables[table];
            prefetch(&table.places, id as usize & (table.places.len() - 1));
        }
    }

    /// Notes an id; `false` if it has been seen.
    pub(crate) fn insert(&mut self, id: Digest, ts_ms: i64) -> bool {
        let second = second_of(ts_ms);
        let table = match self.recent[recent_place(second)] {
            (known, table) if known == second => table,
            _ => self.table_of(second),
        };
        let new = self.tables[table].insert(id.max(1), &mut self.next);
        self.entries += usize::from(new);
        if let (true, Some(fresh)) = (new, &mut self.fresh) {
            fresh[table].push(id);
        }
        self.next.make_some(&self.tables[self.newest_table], self.wanted);
        if second > self.newest_second {
            self.newest_second = second;
            self.newest_table = table;
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

    /// The table of a second that was not among the recent ones.
    #[cold]
    fn table_of(&mut self, second: i64) -> usize {
        let table = match self.seconds.get(&second) {
            Some(table) => *table,
            None => {
                let wanted = places_for(self.room_for(second));
                if second > self.newest_second {
                    self.wanted = wanted;
                    self.next.newest_ended();
                }
                let places = self.next.take_following(wanted);
                self.add(second, Second { places, ..Second::default() })
            }
        };
        self.recent[recent_place(second)] = (second, table);
        table
    }

    fn add(&mut self, second: i64, table: Second) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.tables.push(Second::default());
            if let Some(fresh) = &mut self.fresh {
                fresh.push(Vec::new());
            }
            self.tables.len() - 1
        });
        self.tables[at] = table;
        self.seconds.insert(second, at);
        at
    }

    /// Room for a second that follows on others; one out of the blue, such as a wrong clock gives, gets none.
    fn room_for(&self, second: i64) -> usize {
        if !(self.newest_second..=self.newest_second + 2).contains(&second) {
            return 0;
        }
        let most = self.seconds.values().rev().take(LOOK_BACK).map(|at| self.tables[*at].len).max().unwrap_or(0);
        most + most / 8
    }

    /// From here on it is noted which ids are new.
    pub(crate) fn note_fresh(&mut self) {
        self.fresh = Some(vec![Vec::new(); self.tables.len()]);
    }

    /// Ids that are new since this was asked last, by second, the oldest first, and the second before which ids are
    /// forgotten. What has been forgotten meanwhile is not new.
    pub(crate) fn take_fresh(&mut self) -> (FreshIds, i64) {
        let mut all = Vec::new();
        if let Some(fresh) = &mut self.fresh {
            let taken = self.seconds.iter().map(|(second, table)| (*second, std::mem::take(&mut fresh[*table])));
            all.extend(taken.filter(|(_, ids)| !ids.is_empty()));
        }
        (all, self.newest_second - 2 * self.horizon_seconds)
    }

    pub(crate) fn save(&self) -> SavedEventIds {
        let seconds = self
            .seconds
            .iter()
            .map(|(second, at)| {
                let mut ids: Vec<Digest> = self.tables[*at].ids().collect();
                ids.sort_unstable();
                (*second, ids)
            })
            .collect();
        SavedEventIds { seconds, newest_second: self.newest_second, evicted: self.evicted }
    }

    pub(crate) fn load(&mut self, saved: SavedEventIds) {
        *self = Self { horizon_seconds: self.horizon_seconds, ..Self::new(self.entries_max, 0) };
        for (second, ids) in saved.seconds {
            let mut table = Second::with_room_for(ids.len());
            for id in ids {
                table.insert(id.max(1), &mut self.next);
            }
            self.entries += table.len;
            let at = self.add(second, table);
            if second == saved.newest_second {
                self.newest_table = at;
            }
        }
        (self.newest_second, self.evicted) = (saved.newest_second, saved.evicted);
    }

    fn drop_oldest(&mut self) -> u64 {
        let Some((second, at)) = self.seconds.pop_first() else { return 0 };
        let gone = std::mem::take(&mut self.tables[at]);
        if let Some(fresh) = &mut self.fresh {
            fresh[at] = Vec::new();
        }
        self.free.push(at);
        let recent = &mut self.recent[recent_place(second)];
        if recent.0 == second {
            *recent = NOTHING;
        }
        self.entries -= gone.len;
        self.next.reuse(gone.places);
        gone.len as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
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
        let places: usize = ids.tables.iter().map(|table| table.places.capacity()).sum();
        assert!(places <= PLACES_MIN * (22 + BEYOND_MAX + 1), "{places} places");
        assert!(
            (0..10).all(|n| !ids.insert(n + 1, now_ms - n as i64 * 1_000)),
            "what lies within the horizon is known"
        );
        assert_eq!(ids.evicted, 0);
    }

    #[test]
    fn no_second_waits_until_its_table_is_made() {
        let mut ids = EventIds::new(10_000_000, 60_000);
        let mut id = 0;
        // Even, rising, falling, and all but silent seconds.
        let counts = [1_000, 10_000, 10_000, 100_000, 90_000, 15_000, 100_000, 30, 100_000, 100_000];
        for (second, count) in counts.iter().enumerate() {
            let made = ids.next.following.len();
            for n in 0..*count {
                id += 1;
                let before = (ids.next.following.len(), ids.next.larger.len());
                assert!(ids.insert(id << 7, second as i64 * 1_000 + n % 1_000));
                assert!(ids.next.following.len() <= before.0 + MADE_AT_ONCE);
                assert!(ids.next.larger.len() <= before.1 + GROWN_AT_ONCE);
                let table = &ids.tables[ids.newest_table];
                assert!(n > 0 || table.places.len() <= made.max(PLACES_MIN), "{} of {made}", table.places.len());
                assert!(table.old.is_empty() || second < counts.len() - 1, "none has to grow in an even second");
            }
        }
        assert_eq!(ids.next.following.len(), places_for(112_500), "the next one's is made");
        assert_eq!(ids.save().seconds.iter().map(|(_, ids)| ids.len()).sum::<usize>() as Digest, id);
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
    fn a_table_is_a_set() {
        let mut random = SeededRng::new(7);
        let (mut ids, mut reference) = (EventIds::new(usize::MAX, i64::MAX / 4), BTreeSet::new());
        for n in 0..300_000 {
            // Few values, so that places collide: the low bits choose the place, the others tell ids apart.
            let id = Digest::from(random.next_u64() % 50) << 64 | Digest::from(random.next_u64() % 2_000);
            let ts_ms = if n % 3 == 0 { 500 } else { (random.next_u64() % 40_000) as i64 - 20_000 };
            ids.expect(id, ts_ms);
            let new = reference.insert((ts_ms.div_euclid(BUCKET_MS), id.max(1)));
            assert_eq!(ids.insert(id, ts_ms), new);
        }
        assert_eq!(ids.entries, reference.len());
        let mut again = EventIds::new(usize::MAX, i64::MAX / 4);
        again.load(ids.save());
        assert_eq!(again.seconds.get(&again.newest_second), Some(&again.newest_table));
        assert!(reference.iter().all(|(second, id)| !again.insert(*id, second * BUCKET_MS)));
    }
}

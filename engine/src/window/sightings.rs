//! Different values in windows that slide, by key.
//!
//! A value is kept once for a key, with the panes it was seen in. When it is seen in one more it is known which windows
//! it is new in: those that hold this pane, less those that hold the sighting before it or the one after. So the numbers of
//! windows are kept as steps from one window to the next: a record costs one look into one table, however long windows
//! are and however often one ends, and a window that closes costs an addition for each key. Kept as a set for each pane,
//! a value would be written into its pane, into the windows and out of them again: three places far apart.

use std::collections::BTreeMap;
use std::ops::Range;

use super::digests::DigestMap;
use super::numbers::Numbers;
use super::panes::{GroupKey, Room};
use super::seen::{Older, Seen, Word};
use crate::record::Digest;

/// Longest window, in panes: half of what a word has room for, so that clocks may differ by the other half.
pub(super) const fn panes_max<W: Word>() -> i64 {
    W::BITS / 2
}

/// A key takes the room of so many keys in panes, however few panes it is in: its windows' steps are kept for all.
const PANES_A_KEY: usize = 3;
/// Records that are noted together.
pub(super) const TOGETHER: usize = 16;

/// What is known of one key.
struct Group<W> {
    key: GroupKey,
    /// Panes with any record.
    present: Seen<W>,
    values: DigestMap<Seen<W>>,
    older: Older,
    /// Values whose last pane was before this one have been forgotten. Groups take turns: all tables at once would hold
    /// everything else up for milliseconds.
    swept_to: i64,
}

/// The windows of one length: how many values they hold, for each group by its number.
#[derive(Debug)]
struct Length<W: Word> {
    /// Panes of a window.
    panes: i64,
    /// The pane behind the window that closed last.
    closed_to: Option<i64>,
    /// Values in that window.
    values: Vec<i64>,
    /// By how much that changes with the windows that end at the next [`Word::BITS`] panes behind `from`, the end's lowest bits
    /// being the place.
    steps: Vec<W::Steps>,
    from: i64,
    /// The same for windows that end elsewhere, by end and group.
    far: BTreeMap<(i64, u32), i64>,
}

fn place_of<W: Word>(end: i64) -> usize {
    (end & (W::BITS - 1)) as usize
}

impl<W: Word> Length<W> {
    /// Windows of a group that end behind the panes `first` to `last` hold one value more.
    #[inline]
    fn add(&mut self, group: u32, first: i64, last: i64) {
        if first <= last {
            self.step(group, first, 1);
            self.step(group, last + 1, -1);
        }
    }

    #[inline]
    fn step(&mut self, group: u32, end: i64, by: i32) {
        if end > self.from && end - self.from <= W::BITS {
            self.steps[group as usize].as_mut()[place_of::<W>(end)] += by;
        } else {
            *self.far.entry((end, group)).or_default() += i64::from(by);
        }
    }

    /// The windows of all groups up to this end have closed.
    fn close(&mut self, end: i64) {
        let passed = self.from + 1..=end.min(self.from + W::BITS);
        for (values, steps) in self.values.iter_mut().zip(&mut self.steps) {
            let steps = steps.as_mut();
            *values += passed.clone().map(|end| i64::from(std::mem::take(&mut steps[place_of::<W>(end)]))).sum::<i64>();
        }
        // Records may be far ahead of the windows that close first.
        (self.closed_to, self.from) = (Some(end), self.from.max(end));
        let ahead = self.far.split_off(&(end + 1, 0));
        for ((_, group), step) in std::mem::replace(&mut self.far, ahead) {
            self.values[group as usize] += step;
        }
        let near = (self.from + 1, 0)..(self.from + W::BITS + 1, 0);
        while let Some(((at, group), step)) = self.far.range(near.clone()).next().map(|(at, step)| (*at, *step)) {
            self.far.remove(&(at, group));
            self.steps[group as usize].as_mut()[place_of::<W>(at)] += step as i32;
        }
    }

    /// Groups have got other numbers; those that have none any more are gone.
    fn renumber(&mut self, numbers: &[Option<u32>]) {
        let far = std::mem::take(&mut self.far).into_iter();
        self.far = far.filter_map(|((end, group), step)| Some(((end, numbers[group as usize]?), step))).collect();
    }
}

/// Panes of the longest window.
fn longest_of<W: Word>(lengths: &[Length<W>]) -> i64 {
    lengths.iter().map(|length| length.panes).max().unwrap_or(1)
}

/// All keys of panes that count different values.
pub(super) struct Sightings<W: Word> {
    numbers: Numbers,
    /// By their numbers.
    groups: Vec<Group<W>>,
    lengths: Vec<Length<W>>,
    /// No window that is still open holds an earlier pane.
    needed_from: i64,
    /// Keys in panes.
    keys: usize,
    values: usize,
}

impl<W: Word> Sightings<W> {
    /// Nothing yet, for windows of so many panes; the pane behind the one of them that closed last, if any has.
    pub(super) fn new(lengths: impl IntoIterator<Item = (i64, Option<i64>)>) -> Self {
        let length = |(panes, closed_to): (i64, Option<i64>)| {
            let from = closed_to.unwrap_or(i64::MIN);
            Length { panes, closed_to, values: Vec::new(), steps: Vec::new(), from, far: BTreeMap::new() }
        };
        Self {
            numbers: Numbers::default(),
            groups: Vec::new(),
            lengths: lengths.into_iter().map(length).collect(),
            needed_from: i64::MIN,
            keys: 0,
            values: 0,
        }
    }

    /// The number of a key, if there is room for it.
    #[inline]
    fn number(&mut self, key: GroupKey, pane: i64, room: Room) -> Option<u32> {
        self.numbers.get(&key).or_else(|| self.add_key(key, pane, room))
    }

    #[cold]
    fn add_key(&mut self, key: GroupKey, pane: i64, room: Room) -> Option<u32> {
        if self.keys.max(self.groups.len() * PANES_A_KEY) >= room.groups_max {
            return None;
        }
        let number = self.groups.len() as u32;
        self.numbers.insert(key, number);
        let turn = i64::from(number) % longest_of(&self.lengths);
        self.groups.push(Group::new(key, pane - turn));
        for length in &mut self.lengths {
            if length.from == i64::MIN {
                length.from = pane - W::BITS / 2;
            }
            length.values.push(0);
            length.steps.push(W::NO_STEPS);
        }
        Some(number)
    }

    /// Notes records, each with its key, its pane and its value if it has one; tells for each whether there was room. What
    /// lies far apart is asked for together.
    pub(super) fn observe(
        &mut self,
        records: impl Iterator<Item = (GroupKey, i64, Option<Digest>)> + Clone,
        room: Room,
        mut told: impl FnMut(GroupKey, bool),
    ) {
        let mut numbers = [None; TOGETHER];
        for ((key, pane, _), number) in records.clone().zip(&mut numbers) {
            *number = self.number(key, pane, room);
            weir_memory::prefetch(&self.groups, number.unwrap_or_default() as usize);
        }
        for ((_, pane, value), number) in records.clone().zip(&numbers) {
            let Some(number) = number.map(|number| number as usize) else { continue };
            self.groups[number].values.expect(value.unwrap_or_default());
            for length in &self.lengths {
                weir_memory::prefetch(length.steps[number].as_ref(), place_of::<W>(pane + 1));
                weir_memory::prefetch(length.steps[number].as_ref(), place_of::<W>(pane + 1 + length.panes));
            }
        }
        for ((key, pane, value), number) in records.zip(&numbers) {
            told(key, number.is_some_and(|number| self.note(number, pane, value, room)));
        }
    }

    fn note(&mut self, number: u32, pane: i64, value: Option<Digest>, room: Room) -> bool {
        let group = &mut self.groups[number as usize];
        if !group.was_in(pane) {
            if self.keys >= room.groups_max {
                return false;
            }
            self.keys += 1;
            let before = group.older.len();
            group.present.see(None, pane, &mut group.older, self.needed_from);
            self.values += group.older.len() - before;
        }
        let Some(value) = value else { return true };
        let is_known = |group: &Group<W>| group.values.get(value).is_some_and(|seen| seen.is_in(&(pane..pane + 1)));
        if self.values >= room.values_max && !is_known(group) {
            return false;
        }
        let before = group.held();
        let seen = group.values.entry(value);
        let new = seen.see(Some(value), pane, &mut group.older, self.needed_from);
        self.values += group.held() - before;
        if let Some((previous, next)) = new {
            for length in &mut self.lengths {
                let held = previous.map_or(i64::MIN, |previous| previous + length.panes);
                let first = held.max(pane).max(length.closed_to.unwrap_or(i64::MIN)) + 1;
                length.add(number, first, next.unwrap_or(i64::MAX).min(pane + length.panes));
            }
        }
        true
    }

    /// Takes over the values of a pane, without asking for room.
    pub(super) fn take(&mut self, key: GroupKey, pane: i64, values: &[Digest]) {
        let room = Room { groups_max: usize::MAX, values_max: usize::MAX };
        let Some(number) = self.number(key, pane, room) else { return };
        for value in std::iter::once(None).chain(values.iter().copied().map(Some)) {
            self.note(number, pane, value, room);
        }
    }

    /// The numbers of the windows of a length that end behind the pane before `end`, by key.
    pub(super) fn close(&mut self, length: usize, end: i64) -> impl Iterator<Item = (GroupKey, f64)> {
        self.lengths[length].close(end);
        let Length { panes, values, .. } = &self.lengths[length];
        let inside = end - panes..end;
        let told = self.groups.iter().zip(values).filter(move |(group, _)| group.was_there(&inside));
        told.map(|(group, values)| (group.key, *values as f64))
    }

    /// The number of values in panes whose window is still open, if it may have reached `at_least` already.
    pub(super) fn partial(&self, key: &GroupKey, panes: &Range<i64>, at_least: f64) -> Option<f64> {
        let group = &self.groups[self.numbers.get(key)? as usize];
        if (group.values.len() as f64) < at_least {
            return None;
        }
        let elsewhere =
            |value| group.older.range((Some(value), panes.start)..(Some(value), panes.end)).next().is_some();
        let inside = group.values.entries().filter(|(value, seen)| seen.is_in(panes) || elsewhere(*value));
        Some(inside.count() as f64).filter(|values| *values >= at_least)
    }

    /// Forgets what no window needs that may still close. A value is gone after twice the length of a window at the latest.
    pub(super) fn forget_before(&mut self, from: i64) {
        if from <= self.needed_from {
            return;
        }
        self.needed_from = from;
        let longest = longest_of(&self.lengths);
        // By place, the number that the group there had.
        let before = self.groups.len();
        let mut had: Vec<u32> = (0..before as u32).collect();
        for place in (0..before).rev() {
            let group = &mut self.groups[place];
            let (keys, values) = (group.keys(), group.held());
            group.forget_before(from, longest);
            self.keys -= keys - group.keys();
            self.values -= values - group.held();
            if group.present.is_never() {
                self.numbers.remove(&group.key);
                self.groups.swap_remove(place);
                had.swap_remove(place);
                for length in &mut self.lengths {
                    length.values.swap_remove(place);
                    length.steps.swap_remove(place);
                }
            }
        }
        if self.groups.len() < before {
            self.renumber(&had, before);
        }
    }

    /// Groups stand where others stood: `had` tells by place the number that a group had when there were so many.
    #[cold]
    fn renumber(&mut self, had: &[u32], before: usize) {
        let mut places = vec![None; before];
        for (place, number) in had.iter().enumerate() {
            places[*number as usize] = Some(place as u32);
            if *number as usize != place {
                self.numbers.insert(self.groups[place].key, place as u32);
            }
        }
        self.lengths.iter_mut().filter(|length| !length.far.is_empty()).for_each(|length| length.renumber(&places));
    }

    /// Keys in panes, and values.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.keys, self.values)
    }

    /// What was seen in each pane that is still needed.
    pub(super) fn by_pane(&self) -> BTreeMap<i64, BTreeMap<GroupKey, Vec<Digest>>> {
        let mut panes: BTreeMap<i64, BTreeMap<GroupKey, Vec<Digest>>> = BTreeMap::new();
        for group in &self.groups {
            let all = group.values.entries().map(|(value, seen)| (Some(value), seen)).chain([(None, group.present)]);
            let known = all.flat_map(|(who, seen)| seen.panes().map(move |pane| (who, pane)));
            for (who, pane) in known.chain(group.older.iter().copied()).filter(|(_, pane)| *pane >= self.needed_from) {
                panes.entry(pane).or_default().entry(group.key).or_default().extend(who);
            }
        }
        panes.values_mut().flat_map(BTreeMap::values_mut).for_each(|values| values.sort_unstable());
        panes
    }
}

impl<W: Word> Group<W> {
    fn new(key: GroupKey, swept_to: i64) -> Self {
        Self { key, present: Seen::default(), values: DigestMap::default(), older: Older::new(), swept_to }
    }

    fn was_in(&self, pane: i64) -> bool {
        self.present.is_in(&(pane..pane + 1)) || self.older.contains(&(None, pane))
    }

    fn was_there(&self, panes: &Range<i64>) -> bool {
        self.present.is_in(panes) || self.older.range((None, panes.start)..(None, panes.end)).next().is_some()
    }

    /// What is kept one by one: values, and panes that lie too far apart to be kept as bits.
    fn held(&self) -> usize {
        self.values.len() + self.older.len()
    }

    /// How many panes the key is in.
    fn keys(&self) -> usize {
        self.present.len() + self.older.range(..(Some(0), i64::MIN)).count()
    }

    fn forget_before(&mut self, from: i64, longest: i64) {
        self.present.forget_before(from);
        self.older.retain(|(_, pane)| *pane >= from);
        if self.present.is_never() {
            self.values = DigestMap::default();
        } else if self.swept_to <= from.saturating_sub(longest) {
            self.values.retain(|seen| seen.newest() >= from);
            self.swept_to = from - (from - self.swept_to) % longest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { groups_max: usize::MAX, values_max: usize::MAX };

    /// One set for each key and pane.
    #[derive(Default)]
    struct Reference(BTreeMap<i64, BTreeMap<GroupKey, BTreeSet<Digest>>>);

    impl Reference {
        fn window(&self, panes: Range<i64>) -> BTreeMap<GroupKey, BTreeSet<Digest>> {
            let mut sums: BTreeMap<GroupKey, BTreeSet<Digest>> = BTreeMap::new();
            for (key, values) in self.0.range(panes).flat_map(|(_, groups)| groups) {
                sums.entry(*key).or_default().extend(values);
            }
            sums
        }
    }

    fn numbers(sums: &BTreeMap<GroupKey, BTreeSet<Digest>>) -> BTreeMap<GroupKey, f64> {
        sums.iter().map(|(key, values)| (*key, values.len() as f64)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Windows of several lengths over panes that come in any order; some are far ahead of the others, some records
        /// have no value. In between everything is written down and read back.
        #[test]
        fn it_counts_as_sets_do(
            long in any::<bool>(),
            lengths in proptest::collection::vec(1_i64..=31, 1..3),
            steps in proptest::collection::vec(
                (0_u8..10, 0_i64..40, prop_oneof![9 => Just(0_i64), 1 => 60_i64..140], 0_u32..3, proptest::option::of(0_u128..6)),
                1..250,
            ),
        ) {
            if long {
                let lengths: Vec<i64> = lengths.iter().map(|panes| panes * 2 + 2).collect();
                counted_as_sets::<u128>(&lengths, steps)?;
            } else {
                let lengths: Vec<i64> = lengths.iter().map(|panes| panes + 1).collect();
                counted_as_sets::<u64>(&lengths, steps)?;
            }
        }
    }

    fn counted_as_sets<W: Word>(
        lengths: &[i64],
        steps: Vec<(u8, i64, i64, u32, Option<Digest>)>,
    ) -> Result<(), TestCaseError> {
        assert!(lengths.iter().all(|panes| *panes <= panes_max::<W>()));
        let mut sightings = Sightings::<W>::new(lengths.iter().map(|panes| (*panes, None)));
        let mut reference = Reference::default();
        let (mut closed, mut needed_from) = (vec![0; lengths.len()], i64::MIN);
        let least = |closed: &[i64]| *closed.iter().min().expect("there is a length");
        for (what, pane, ahead, key, value) in steps {
            let key = [key, 0, 0, 0];
            match what {
                0 => {
                    // All windows up to a pane close, and what is not needed goes.
                    let to = least(&closed) + pane % 7;
                    for (length, panes) in lengths.iter().enumerate() {
                        while closed[length] < to {
                            closed[length] += 1;
                            let end = closed[length];
                            let told: BTreeMap<GroupKey, f64> = sightings.close(length, end).collect();
                            prop_assert_eq!(told, numbers(&reference.window(end - panes..end)), "window to {}", end);
                        }
                    }
                    needed_from =
                        lengths.iter().zip(&closed).map(|(panes, closed)| closed + 1 - panes).min().unwrap_or(0);
                    sightings.forget_before(needed_from);
                    reference.0.retain(|pane, _| *pane >= needed_from);
                }
                1 => {
                    let saved = sightings.by_pane();
                    prop_assert_eq!(&saved.values().map(BTreeMap::len).sum::<usize>(), &sightings.held().0);
                    let sets = saved.iter().map(|(pane, groups)| {
                        (*pane, groups.iter().map(|(key, values)| (*key, values.iter().copied().collect())).collect())
                    });
                    prop_assert_eq!(&sets.collect::<BTreeMap<_, BTreeMap<_, BTreeSet<_>>>>(), &reference.0);
                    let so_far =
                        lengths.iter().zip(&closed).map(|(panes, closed)| (*panes, (*closed > 0).then_some(*closed)));
                    sightings = Sightings::new(so_far);
                    sightings.needed_from = needed_from;
                    for (pane, groups) in saved {
                        for (key, values) in groups {
                            sightings.take(key, pane, &values);
                        }
                    }
                }
                _ => {
                    // What comes is never late: no window that holds it has closed.
                    let newest = closed.iter().max().copied().unwrap_or(0);
                    let pane = newest + pane + ahead;
                    sightings.observe([(key, pane, value)].into_iter(), ROOM, |_, had_room| assert!(had_room));
                    reference.0.entry(pane).or_default().entry(key).or_default().extend(value);
                    let panes = (pane - 5).max(needed_from)..pane + 1;
                    let all = reference.window(panes.clone())[&key].len() as f64;
                    prop_assert_eq!(sightings.partial(&key, &panes, all), Some(all));
                    prop_assert_eq!(sightings.partial(&key, &panes, all + 1.0), None);
                }
            }
        }
        Ok(())
    }

    /// Panes that lie far apart are kept one by one, and count as values do.
    #[test]
    fn what_is_kept_one_by_one_is_bounded() {
        let mut sightings = Sightings::<u64>::new([(3, None)]);
        let room = Room { groups_max: usize::MAX, values_max: 50 };
        let (key, mut had_room) = ([1, 0, 0, 0], 0);
        for pane in 0..1_000 {
            sightings.observe([(key, pane * 100, Some(7))].into_iter(), room, |_, had| had_room += usize::from(had));
        }
        let kept = sightings.groups[0].older.iter().filter(|(who, _)| who.is_some()).count();
        assert!((20..=50).contains(&had_room) && kept <= 50, "{had_room} {kept}");
        sightings.forget_before(1_000_000);
        assert_eq!(sightings.held(), (0, 0));
    }

    #[test]
    fn what_finds_no_room_leaves_nothing_behind() {
        let mut sightings = Sightings::<u64>::new([(3, None)]);
        let room = Room { groups_max: 2, values_max: 2 };
        let key = [1, 0, 0, 0];
        let mut had_room = Vec::new();
        let records = [(0, 7), (1, 8), (2, 7), (1, 9), (0, 8)].map(|(pane, value)| (key, pane, Some(value)));
        let other = ([2, 0, 0, 0], 1, None);
        sightings.observe(records.into_iter().chain([other]), room, |_, had| had_room.push(had));
        // A third pane, a third value, a third sighting, another key.
        assert_eq!(had_room, [true, true, false, false, false, false]);
        assert_eq!(sightings.held(), (2, 2));
        assert_eq!(sightings.close(0, 3).collect::<Vec<_>>(), [(key, 2.0)]);
        sightings.forget_before(2);
        assert_eq!((sightings.held(), sightings.groups.len(), sightings.numbers.len()), ((0, 0), 0, 0));
    }
}

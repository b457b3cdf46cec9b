//! Sums in windows over several panes, by key.
//!
//! Each key has a ring of sums, one for every pane that a window still open may hold. A record costs a look for its key and
//! an addition, and a window that closes an addition for each of its panes, which lie side by side.

use std::collections::BTreeMap;
use std::ops::Range;

use super::numbers::Numbers;
use super::panes::{GroupKey, Room};
use super::sightings::TOGETHER;
use crate::budget::KEY_IN_A_PANE_BYTES;

/// Longest window, in panes: half of what a ring has room for, so that clocks may differ by the other half.
pub(super) const PANES_MAX: i64 = u128::BITS as i64 / 2;

/// For what had its room before.
const EVERY_ROOM: Room = Room { groups_max: usize::MAX, values_max: usize::MAX };

/// Sums of keys, in millionths.
pub(super) struct Sums {
    numbers: Numbers,
    /// By their numbers.
    keys: Vec<GroupKey>,
    /// By number: a bit for each place of the ring whose pane the key is in.
    present: Vec<u128>,
    /// By number and place.
    rings: Vec<i128>,
    /// Places of a ring, a power of two; a pane's place are its lowest bits.
    places: i64,
    /// The first pane that the rings are of.
    from: i64,
    /// No window that is still open holds an earlier pane.
    needed_from: i64,
    /// What is in other panes, by pane and number.
    far: BTreeMap<(i64, u32), i128>,
    /// Panes of the windows of each length.
    lengths: Vec<i64>,
    /// Keys in panes.
    held: usize,
}

impl Sums {
    /// Nothing yet, for windows of so many panes.
    pub(super) fn new(lengths: impl IntoIterator<Item = i64>) -> Self {
        let lengths: Vec<i64> = lengths.into_iter().collect();
        let longest = lengths.iter().copied().max().unwrap_or(1);
        Self {
            numbers: Numbers::default(),
            keys: Vec::new(),
            present: Vec::new(),
            rings: Vec::new(),
            places: (2 * longest as u64).next_power_of_two() as i64,
            from: i64::MIN,
            needed_from: i64::MIN,
            far: BTreeMap::new(),
            lengths,
            held: 0,
        }
    }

    fn place_of(&self, pane: i64) -> usize {
        (pane & (self.places - 1)) as usize
    }

    fn is_near(&self, pane: i64) -> bool {
        pane >= self.from && pane - self.from < self.places
    }

    /// Where in the rings the sum of a key in a pane is.
    fn cell_of(&self, number: u32, pane: i64) -> usize {
        number as usize * self.places as usize + self.place_of(pane)
    }

    /// The number of a key, if there is room for it. A ring takes the room of as many keys in panes as fit into it.
    fn number(&mut self, key: GroupKey, pane: i64, room: Room) -> Option<u32> {
        self.numbers.get(&key).or_else(|| self.add_key(key, pane, room))
    }

    #[cold]
    fn add_key(&mut self, key: GroupKey, pane: i64, room: Room) -> Option<u32> {
        let places = self.places as usize;
        let all = self.keys.len() * (places * size_of::<i128>()).div_ceil(KEY_IN_A_PANE_BYTES);
        if self.held.max(all) >= room.groups_max {
            return None;
        }
        if self.from == i64::MIN {
            self.from = pane - self.places / 2;
        }
        let number = self.keys.len() as u32;
        self.numbers.insert(key, number);
        self.keys.push(key);
        self.present.push(0);
        self.rings.resize(self.rings.len() + places, 0);
        Some(number)
    }

    /// Adds what records bring: key, pane and amount. Tells for each whether there was room. What lies far apart is asked
    /// for together.
    pub(super) fn observe(
        &mut self,
        records: impl Iterator<Item = (GroupKey, i64, i128)> + Clone,
        room: Room,
        mut told: impl FnMut(GroupKey, bool),
    ) {
        let mut numbers = [None; TOGETHER];
        for ((key, pane, _), number) in records.clone().zip(&mut numbers) {
            *number = self.number(key, pane, room);
            if let Some(number) = *number {
                weir_memory::prefetch(&self.rings, self.cell_of(number, pane));
            }
        }
        for ((key, pane, amount), number) in records.zip(&numbers) {
            told(key, number.is_some_and(|number| self.add(number, pane, amount, room)));
        }
    }

    #[inline]
    fn add(&mut self, number: u32, pane: i64, amount: i128, room: Room) -> bool {
        if !self.is_near(pane) {
            return self.add_far(number, pane, amount, room);
        }
        let (cell, bit) = (self.cell_of(number, pane), 1 << self.place_of(pane));
        let present = &mut self.present[number as usize];
        if *present & bit == 0 {
            if self.held >= room.groups_max {
                return false;
            }
            self.held += 1;
            *present |= bit;
        }
        self.rings[cell] += amount;
        true
    }

    #[cold]
    fn add_far(&mut self, number: u32, pane: i64, amount: i128, room: Room) -> bool {
        match self.far.get_mut(&(pane, number)) {
            Some(sum) => *sum += amount,
            None if self.held >= room.groups_max => return false,
            None => {
                self.held += 1;
                self.far.insert((pane, number), amount);
            }
        }
        true
    }

    /// Takes over the sum of a pane, without asking for room.
    pub(super) fn take(&mut self, key: GroupKey, pane: i64, sum: i128) {
        if let Some(number) = self.number(key, pane, EVERY_ROOM) {
            self.add(number, pane, sum, EVERY_ROOM);
        }
    }

    /// The places of those panes that the rings are of, as bits.
    fn bits_of(&self, panes: &Range<i64>) -> u128 {
        let near = panes.start.max(self.from)..panes.end.min(self.from.saturating_add(self.places));
        near.fold(0, |bits, pane| bits | 1 << self.place_of(pane))
    }

    /// The sum of a key over those panes whose places `bits` has; `None` if it is in none of them.
    fn near_sum(&self, number: usize, mut bits: u128) -> Option<i128> {
        bits &= self.present[number];
        if bits == 0 {
            return None;
        }
        let ring = &self.rings[number * self.places as usize..];
        let mut sum = 0;
        while bits != 0 {
            sum += ring[bits.trailing_zeros() as usize];
            bits &= bits - 1;
        }
        Some(sum)
    }

    /// The sums of the windows of a length that end behind the pane before `end`, by key.
    pub(super) fn close(&self, length: usize, end: i64) -> impl Iterator<Item = (GroupKey, i128)> {
        let panes = end - self.lengths[length]..end;
        let mut far: BTreeMap<u32, i128> = BTreeMap::new();
        for ((_, number), sum) in self.far.range((panes.start, 0)..(panes.end, 0)) {
            *far.entry(*number).or_default() += sum;
        }
        let bits = self.bits_of(&panes);
        let sum_of = move |number: usize| match (self.near_sum(number, bits), far.get(&(number as u32))) {
            (None, far) => far.copied(),
            (near, None) => near,
            (Some(near), Some(far)) => Some(near + far),
        };
        let keys = self.keys.iter().enumerate();
        keys.filter_map(move |(number, key)| Some((*key, sum_of(number)?)))
    }

    /// The sum of a key over panes whose window is still open.
    pub(super) fn partial(&self, key: &GroupKey, panes: &Range<i64>) -> Option<i128> {
        let number = self.numbers.get(key)?;
        let far = self.far.range((panes.start, 0)..(panes.end, 0)).filter(|((_, other), _)| *other == number);
        let sums = self.near_sum(number as usize, self.bits_of(panes)).into_iter().chain(far.map(|(_, sum)| *sum));
        sums.reduce(|sum, more| sum + more)
    }

    /// Forgets what no window needs that may still close.
    pub(super) fn forget_before(&mut self, from: i64) {
        if from <= self.needed_from || self.keys.is_empty() {
            return;
        }
        self.needed_from = from;
        if from > self.from {
            self.turn_to(from);
        }
        if !self.far.is_empty() {
            self.bring_near();
        }
        self.let_empty_go();
    }

    /// The rings are of this pane and those behind it.
    fn turn_to(&mut self, from: i64) {
        let gone = self.bits_of(&(self.from..from));
        for (number, present) in self.present.iter_mut().enumerate() {
            let mut bits = *present & gone;
            self.held -= bits.count_ones() as usize;
            *present &= !gone;
            while bits != 0 {
                self.rings[number * self.places as usize + bits.trailing_zeros() as usize] = 0;
                bits &= bits - 1;
            }
        }
        self.from = from;
    }

    /// What lies elsewhere and is of the rings' panes now comes into them; what is not needed any more goes.
    #[cold]
    fn bring_near(&mut self) {
        let needed = self.far.split_off(&(self.needed_from, 0));
        self.held -= self.far.len();
        self.far = needed;
        let near = (self.from, 0)..(self.from.saturating_add(self.places), 0);
        while let Some(((pane, number), sum)) = self.far.range(near.clone()).next().map(|(at, sum)| (*at, *sum)) {
            self.far.remove(&(pane, number));
            self.held -= 1;
            self.add(number, pane, sum, EVERY_ROOM);
        }
    }

    /// Keys that are in no pane any more lose their rings.
    fn let_empty_go(&mut self) {
        if !self.present.contains(&0) {
            return;
        }
        let mut elsewhere = vec![false; self.keys.len()];
        self.far.keys().for_each(|(_, number)| elsewhere[*number as usize] = true);
        let places = self.places as usize;
        // By number: the one it has from here on.
        let mut numbers: Vec<Option<u32>> = vec![None; self.keys.len()];
        let mut kept = 0;
        for number in 0..self.keys.len() {
            if self.present[number] == 0 && !elsewhere[number] {
                self.numbers.remove(&self.keys[number]);
                continue;
            }
            if kept != number {
                (self.keys[kept], self.present[kept]) = (self.keys[number], self.present[number]);
                self.rings.copy_within(number * places..(number + 1) * places, kept * places);
                self.numbers.insert(self.keys[kept], kept as u32);
            }
            numbers[number] = Some(kept as u32);
            kept += 1;
        }
        self.keys.truncate(kept);
        self.present.truncate(kept);
        self.rings.truncate(kept * places);
        let far = std::mem::take(&mut self.far).into_iter();
        self.far = far.filter_map(|((pane, number), sum)| Some(((pane, numbers[number as usize]?), sum))).collect();
    }

    /// Keys in panes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What each pane holds.
    pub(super) fn by_pane(&self) -> BTreeMap<i64, BTreeMap<GroupKey, i128>> {
        let mut panes: BTreeMap<i64, BTreeMap<GroupKey, i128>> = BTreeMap::new();
        for (number, (key, present)) in
            self.keys.iter().zip(&self.present).enumerate().filter(|(_, (_, present))| **present != 0)
        {
            for pane in (self.from..self.from + self.places).filter(|pane| present >> self.place_of(*pane) & 1 == 1) {
                panes.entry(pane).or_default().insert(*key, self.rings[self.cell_of(number as u32, pane)]);
            }
        }
        for ((pane, number), sum) in &self.far {
            panes.entry(*pane).or_default().insert(self.keys[*number as usize], *sum);
        }
        panes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(panes: &BTreeMap<i64, BTreeMap<GroupKey, i128>>, of: Range<i64>) -> BTreeMap<GroupKey, i128> {
        let mut sums = BTreeMap::new();
        for (key, sum) in panes.range(of).flat_map(|(_, groups)| groups) {
            *sums.entry(*key).or_default() += sum;
        }
        sums
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Windows of several lengths over panes that come in any order; some are far ahead of the others, or before all.
        /// In between everything is written down and read back.
        #[test]
        fn it_adds_as_maps_do(
            lengths in proptest::collection::vec(1_i64..=PANES_MAX, 1..3),
            steps in proptest::collection::vec(
                (0_u8..10, 0_i64..60, prop_oneof![9 => Just(0_i64), 1 => 60_i64..300], 0_u32..3, -3_i128..4),
                1..250,
            ),
        ) {
            let mut sums = Sums::new(lengths.iter().copied());
            let mut reference: BTreeMap<i64, BTreeMap<GroupKey, i128>> = BTreeMap::new();
            let (mut closed, mut needed_from) = (vec![0; lengths.len()], i64::MIN);
            for (what, pane, ahead, key, amount) in steps {
                let key = [key, 0, 0, 0];
                match what {
                    0 => {
                        let to = closed.iter().min().expect("there is a length") + pane % 9;
                        for (length, panes) in lengths.iter().enumerate() {
                            while closed[length] < to {
                                closed[length] += 1;
                                let end = closed[length];
                                let told: BTreeMap<GroupKey, i128> = sums.close(length, end).collect();
                                prop_assert_eq!(told, window(&reference, end - panes..end), "window to {}", end);
                            }
                        }
                        needed_from = lengths.iter().zip(&closed).map(|(panes, closed)| closed + 1 - panes).min().unwrap_or(0);
                        sums.forget_before(needed_from);
                        reference.retain(|pane, _| *pane >= needed_from);
                        let keys = reference.values().flat_map(BTreeMap::keys).collect::<std::collections::BTreeSet<_>>();
                        prop_assert_eq!((sums.keys.len(), sums.numbers.len()), (keys.len(), keys.len()));
                    }
                    1 => {
                        prop_assert_eq!(&sums.by_pane(), &reference);
                        let mut again = Sums::new(lengths.iter().copied());
                        for (pane, groups) in sums.by_pane() {
                            for (key, sum) in groups {
                                again.take(key, pane, sum);
                            }
                        }
                        sums = again;
                    }
                    _ => {
                        let newest = closed.iter().max().copied().unwrap_or(0);
                        let pane = newest + pane + ahead;
                        sums.observe([(key, pane, amount)].into_iter(), EVERY_ROOM, |_, had_room| assert!(had_room));
                        *reference.entry(pane).or_default().entry(key).or_default() += amount;
                        let panes = (pane - 5).max(needed_from)..pane + 1;
                        prop_assert_eq!(sums.partial(&key, &panes), window(&reference, panes).get(&key).copied());
                    }
                }
                prop_assert_eq!(sums.held(), reference.values().map(BTreeMap::len).sum::<usize>());
            }
        }
    }

    #[test]
    fn what_finds_no_room_leaves_nothing_behind() {
        let mut sums = Sums::new([3]);
        let room = Room { groups_max: 2, values_max: usize::MAX };
        let key = [1, 0, 0, 0];
        let mut had_room = Vec::new();
        let records = [(key, 0, 5), (key, 1, 6), (key, 2, 7), (key, 1, 1), (key, 500, 1), ([2, 0, 0, 0], 1, 1)];
        sums.observe(records.into_iter(), room, |_, had| had_room.push(had));
        // A third pane, one far away, another key.
        assert_eq!(had_room, [true, true, false, true, false, false]);
        assert_eq!(sums.close(0, 3).collect::<Vec<_>>(), [(key, 12)]);
        sums.forget_before(2);
        assert_eq!((sums.held(), sums.keys.len(), sums.rings.len()), (0, 0, 0));
    }
}

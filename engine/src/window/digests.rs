//! Sets of digests, and what is known of each.
//!
//! Nearly all that windows wait for is memory, so that a digest is looked for in one place, which can be fetched ahead.
//! Digests are keyed: they are uniform already, and nobody can choose some that fall together.

use crate::record::Digest;

/// Places of a table that has any.
const PLACES_MIN: usize = 4;
/// Places whose digests are looked up together, so that their memory is waited for at the same time.
const TOGETHER: usize = 32;

/// What stands by digest, in an open-addressed table with linear probing.
#[derive(Debug, Clone, Default)]
pub(super) struct DigestMap<V> {
    /// As many as a power of two, or none; 0 where nothing is. At most three of four are taken.
    places: Vec<(Digest, V)>,
    taken: usize,
    /// What stands by the digest 0.
    zero: Option<V>,
}

/// Digests alone.
pub(super) type DigestSet = DigestMap<()>;

impl<V: Copy + Default> DigestMap<V> {
    pub(super) fn len(&self) -> usize {
        self.taken + usize::from(self.zero.is_some())
    }

    /// Where a digest is, or would be. There has to be a free place.
    #[inline]
    fn place(&self, digest: Digest) -> usize {
        let mask = self.places.len() - 1;
        let mut at = digest as usize & mask;
        while self.places[at].0 != digest && self.places[at].0 != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    /// Asks for the memory in which a digest is.
    #[inline]
    pub(super) fn expect(&self, digest: Digest) {
        weir_memory::prefetch(&self.places, digest as usize & self.places.len().wrapping_sub(1));
    }

    /// What stands by a digest.
    pub(super) fn get(&self, digest: Digest) -> Option<V> {
        if digest == 0 {
            return self.zero;
        }
        if self.places.is_empty() {
            return None;
        }
        let (known, value) = self.places[self.place(digest)];
        (known != 0).then_some(value)
    }

    pub(super) fn contains(&self, digest: Digest) -> bool {
        self.get(digest).is_some()
    }

    /// What stands by a digest, which is added if it is not there.
    #[inline]
    pub(super) fn entry(&mut self, digest: Digest) -> &mut V {
        if digest == 0 {
            return self.zero.get_or_insert_default();
        }
        if self.taken * 4 >= self.places.len() * 3 {
            self.grow();
        }
        let at = self.place(digest);
        let (known, value) = &mut self.places[at];
        self.taken += usize::from(*known == 0);
        *known = digest;
        value
    }

    #[cold]
    fn grow(&mut self) {
        let more = vec![(0, V::default()); (self.places.len() * 2).max(PLACES_MIN)];
        for (digest, value) in std::mem::replace(&mut self.places, more) {
            if digest != 0 {
                let at = self.place(digest);
                self.places[at] = (digest, value);
            }
        }
    }

    /// Changes what stands by a digest, if it is there; it goes if `keeps` says no.
    #[inline]
    pub(super) fn change(&mut self, digest: Digest, keeps: impl FnOnce(&mut V) -> bool) {
        if digest == 0 {
            if self.zero.as_mut().is_some_and(|value| !keeps(value)) {
                self.zero = None;
            }
            return;
        }
        if self.places.is_empty() {
            return;
        }
        let at = self.place(digest);
        let (known, value) = &mut self.places[at];
        if *known != 0 && !keeps(value) {
            self.empty(at);
        }
    }

    /// Empties a place that is taken.
    fn empty(&mut self, place: usize) {
        let mask = self.places.len() - 1;
        self.taken -= 1;
        // What stands behind it moves up, unless that would bring it before where it is looked for.
        let (mut hole, mut next) = (place, (place + 1) & mask);
        while self.places[next].0 != 0 {
            let from_home = next.wrapping_sub(self.places[next].0 as usize) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.places[hole] = (0, V::default());
    }

    /// Keeps only what `keeps` says, in a table that is half full at most.
    pub(super) fn retain(&mut self, keeps: impl Fn(&V) -> bool) {
        self.zero = self.zero.filter(&keeps);
        let kept: Vec<(Digest, V)> =
            self.places.iter().filter(|(digest, value)| *digest != 0 && keeps(value)).copied().collect();
        if kept.len() == self.taken {
            return;
        }
        let places = if kept.is_empty() { 0 } else { (kept.len() * 2).next_power_of_two().max(PLACES_MIN) };
        self.places = vec![(0, V::default()); places];
        self.taken = kept.len();
        for (digest, value) in kept {
            let at = self.place(digest);
            self.places[at] = (digest, value);
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Digest, V)> {
        let zero = self.zero.iter().map(|value| (0, *value));
        zero.chain(self.places.iter().copied().filter(|(digest, _)| *digest != 0))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Digest> {
        self.entries().map(|(digest, _)| digest)
    }

    /// Does something with each digest of another set, whose memory here has been asked for by then.
    #[inline]
    pub(super) fn with_each_of(&mut self, others: &DigestSet, mut act: impl FnMut(&mut Self, Digest)) {
        if others.zero.is_some() {
            act(self, 0);
        }
        for places in others.places.chunks(TOGETHER) {
            let taken = || places.iter().map(|(digest, ())| *digest).filter(|digest| *digest != 0);
            taken().for_each(|digest| self.expect(digest));
            taken().for_each(|digest| act(self, digest));
        }
    }
}

impl FromIterator<Digest> for DigestSet {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        let mut set = Self::default();
        digests.into_iter().for_each(|digest| *set.entry(digest) = ());
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Add(Digest),
        Remove(Digest),
        Look(Digest),
    }

    /// Few digests, most of which fall together, in tables of every size.
    fn step() -> impl Strategy<Value = Step> {
        let digest =
            (0_u128..40, 0_u128..6).prop_map(|(high, low)| if low == 5 { high } else { high << 64 | (low + 5) });
        (0..3, digest).prop_map(|(what, digest)| match what {
            0 => Step::Add(digest),
            1 => Step::Remove(digest),
            _ => Step::Look(digest),
        })
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(step(), 0..600)) {
            let mut map = DigestMap::<u32>::default();
            let mut reference = BTreeMap::<Digest, u32>::new();
            for step in steps {
                match step {
                    Step::Add(digest) => {
                        *map.entry(digest) += 1;
                        *reference.entry(digest).or_default() += 1;
                    }
                    Step::Remove(digest) => {
                        map.change(digest, |value| {
                            *value -= 1;
                            *value > 0
                        });
                        if let Some(value) = reference.get_mut(&digest) {
                            *value -= 1;
                        }
                        reference.retain(|_, value| *value > 0);
                    }
                    Step::Look(digest) => {
                        map.expect(digest);
                        let mut found = None;
                        map.change(digest, |value| {
                            found = Some(*value);
                            true
                        });
                        prop_assert_eq!(found, reference.get(&digest).copied());
                        prop_assert_eq!(map.contains(digest), reference.contains_key(&digest));
                    }
                }
                prop_assert_eq!(map.len(), reference.len());
            }
            map.retain(|value| value % 3 != 0);
            reference.retain(|_, value| *value % 3 != 0);
            let mut digests: Vec<Digest> = map.iter().collect();
            digests.sort_unstable();
            prop_assert_eq!(&digests, &reference.keys().copied().collect::<Vec<_>>());
            let set: DigestSet = digests.iter().copied().collect();
            map.with_each_of(&set, |map, digest| map.change(digest, |_| false));
            prop_assert_eq!((map.len(), set.len()), (0, digests.len()));
        }
    }
}

//! Sets of digests that grow by a kilobyte at a time: extendible hashing (Fagin, Nievergelt, Pippenger, Strong: "Extendible
//! Hashing", ACM TODS 4(3), 1979).
//!
//! A set has a directory, which says for the lowest bits of a digest which segment it lies in. A segment that is full becomes
//! two, and no other is touched. So no ids but those of one segment are moved at once, no room is made before it is needed, and
//! what a set leaves behind is of a size that every other can use. What is done at once is to double the directory, and to walk
//! it when the set goes: four bytes for some twenty ids.
//!
//! Digests are keyed, so that they are spread evenly and nobody can aim at one place; they are not hashed again. The lower half
//! chooses the segment, the upper half the place in it.

use weir_memory::prefetch;

use crate::record::Digest;

/// Places of a segment: 1 KiB.
const PLACES: usize = 64;
/// Ids of a segment at most. A look-up of one that is not there sees 2 places of it at half as many, and 8 here.
const FULL: u8 = 48;
/// Segments whose memory is asked for together. None of it is touched before it is used.
const SLAB: usize = 64;
/// There is room in a directory for as many segments as there would be with so few ids in each. Halves of a full one hold 24.
const DIRECTORY_IDS_MIN: usize = 6;

/// Open addressing, linear probing. A place without an id holds 0.
type Segment = [Digest; PLACES];

/// Which place of a segment an id is looked for first.
fn place_of(id: Digest) -> usize {
    (id >> 64) as usize % PLACES
}

/// Where an id is, or the place it would take.
fn find(segment: &Segment, id: Digest) -> Result<usize, usize> {
    let mut at = place_of(id);
    loop {
        match segment[at] {
            0 => return Err(at),
            known if known == id => return Ok(at),
            _ => at = (at + 1) % PLACES,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct About {
    ids: u8,
    /// How many of the lowest bits of its ids are alike.
    bits: u8,
}

/// All segments, those in use and those that sets have left behind.
#[derive(Debug)]
pub(super) struct Segments {
    slabs: Vec<Vec<Segment>>,
    about: Vec<About>,
    free: Vec<u32>,
    /// Bits of a digest that a directory tells apart at most.
    bits_max: u8,
}

impl Segments {
    /// For so many ids at most.
    pub(super) fn new(ids_max: usize) -> Self {
        let bits_max = (ids_max / DIRECTORY_IDS_MIN).max(1).ilog2().min(u32::BITS - 1) as u8;
        Self { slabs: Vec::new(), about: Vec::new(), free: Vec::new(), bits_max }
    }

    fn at(&self, number: u32) -> &Segment {
        &self.slabs[number as usize / SLAB][number as usize % SLAB]
    }

    fn at_mut(&mut self, number: u32) -> &mut Segment {
        &mut self.slabs[number as usize / SLAB][number as usize % SLAB]
    }

    /// An empty segment for ids that have so many bits in common.
    fn take(&mut self, bits: u8) -> u32 {
        let about = About { ids: 0, bits };
        if let Some(number) = self.free.pop() {
            *self.at_mut(number) = [0; PLACES];
            self.about[number as usize] = about;
            return number;
        }
        if self.about.len().is_multiple_of(SLAB) {
            self.slabs.push(Vec::with_capacity(SLAB));
        }
        self.slabs.last_mut().expect("there is one").push([0; PLACES]);
        self.about.push(about);
        self.about.len() as u32 - 1
    }

    fn put(&mut self, number: u32, free: usize, id: Digest) {
        self.at_mut(number)[free] = id;
        self.about[number as usize].ids += 1;
    }

    /// Bytes of all segments and of what is known about them.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slabs.len() * SLAB * size_of::<Segment>()
            + self.slabs.capacity() * size_of::<Vec<Segment>>()
            + self.about.capacity() * size_of::<About>()
            + self.free.capacity() * size_of::<u32>()
    }
}

/// A set of digests. An empty one takes no memory.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Numbers of segments, by the lowest bits of an id; as many as a power of two, or none.
    directory: Vec<u32>,
    pub(super) len: usize,
}

impl Set {
    fn place(&self, id: Digest) -> usize {
        id as usize & (self.directory.len() - 1)
    }

    /// Asks the processor to bring near what [`Self::insert`] will touch.
    pub(super) fn expect(&self, id: Digest, segments: &Segments) {
        if !self.directory.is_empty() {
            prefetch(segments.at(self.directory[self.place(id)]), place_of(id));
        }
    }

    /// Notes an id that is not 0; `false` if it is there.
    pub(super) fn insert(&mut self, id: Digest, segments: &mut Segments) -> bool {
        if self.directory.is_empty() {
            self.directory.push(segments.take(0));
        }
        loop {
            let number = self.directory[self.place(id)];
            let Err(free) = find(segments.at(number), id) else { return false };
            if segments.about[number as usize].ids < FULL {
                segments.put(number, free, id);
                self.len += 1;
                return true;
            }
            self.split(id, segments);
        }
    }

    /// Makes two of the segment that an id belongs to, by the lowest bit that its ids need not have in common.
    #[cold]
    fn split(&mut self, id: Digest, segments: &mut Segments) {
        let number = self.directory[self.place(id)];
        let bits = segments.about[number as usize].bits;
        if bits == segments.bits_max {
            // Digests that are spread evenly never get here. Others lose some rather than all memory to the directory.
            self.len -= usize::from(FULL);
            *segments.at_mut(number) = [0; PLACES];
            segments.about[number as usize].ids = 0;
            return;
        }
        let bit = 1 << bits;
        if self.directory.len() == bit {
            self.directory.extend_from_within(..);
        }
        let other = segments.take(bits + 1);
        let first = self.place(id) & (bit - 1) | bit;
        self.directory[first..].iter_mut().step_by(bit * 2).for_each(|entry| *entry = other);

        segments.about[number as usize] = About { ids: 0, bits: bits + 1 };
        let ids = std::mem::replace(segments.at_mut(number), [0; PLACES]);
        for id in ids.into_iter().filter(|id| *id != 0) {
            let number = if id as usize & bit == 0 { number } else { other };
            if let Err(free) = find(segments.at(number), id) {
                segments.put(number, free, id);
            }
        }
    }

    /// Each segment once: where it stands in the directory for the first time.
    fn segments(&self, all: &Segments) -> impl Iterator<Item = u32> {
        let firsts = self.directory.iter().enumerate();
        firsts.filter(|(at, number)| at >> all.about[**number as usize].bits == 0).map(|(_, number)| *number)
    }

    pub(super) fn ids(&self, segments: &Segments) -> impl Iterator<Item = Digest> {
        self.segments(segments).flat_map(|number| segments.at(number).iter().copied()).filter(|id| *id != 0)
    }

    /// Leaves its segments to others.
    pub(super) fn leave(self, segments: &mut Segments) {
        let mut free = std::mem::take(&mut segments.free);
        free.extend(self.segments(segments));
        segments.free = free;
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn sets_that_share_segments_are_sets() {
        let mut random = SeededRng::new(7);
        let mut segments = Segments::new(100_000);
        let mut sets: [(Set, BTreeSet<Digest>); 3] = Default::default();
        let mut most = 0;
        for n in 0..400_000 {
            let (set, reference) = &mut sets[random.next_u64() as usize % 3];
            // Few values, and few places for them, so that they collide.
            let id = Digest::from(random.next_u64() % 8) << 64 | Digest::from(random.next_u64() % 1_999 + 1);
            set.expect(id, &segments);
            assert_eq!(set.insert(id, &mut segments), reference.insert(id));
            assert_eq!(set.len, reference.len());
            let in_use = segments.about.len() - segments.free.len();
            most = most.max(in_use);
            assert_eq!(segments.about.len(), most, "what a set leaves behind is used before there is more");
            if n % 25_000 == 0 {
                assert!(set.ids(&segments).collect::<BTreeSet<_>>() == *reference);
                assert_eq!(set.ids(&segments).count(), reference.len(), "each is given once");
                std::mem::take(set).leave(&mut segments);
                reference.clear();
            }
        }
        assert!(most > 500, "many splits have been seen: {most}");
    }

    #[test]
    fn an_insertion_makes_two_segments_at_most() {
        let mut random = SeededRng::new(8);
        let (mut segments, mut set) = (Segments::new(1_000_000), Set::default());
        for _ in 0..200_000 {
            let before = segments.about.len();
            let id = Digest::from(random.next_u64()) << 64 | Digest::from(random.next_u64());
            assert!(set.insert(id, &mut segments));
            assert!(segments.about.len() <= before + 2, "one more, and a second one once in a blue moon");
        }
        assert_eq!(set.len, 200_000);
        assert!(segments.about.len() * usize::from(FULL) < 2 * set.len, "half full at least: {}", segments.about.len());
    }

    #[test]
    fn ids_that_cannot_be_told_apart_do_not_take_all_memory() {
        let (mut segments, mut set) = (Segments::new(1_000), Set::default());
        for n in 1..=10_000 {
            assert!(set.insert(n << 64, &mut segments));
            assert!((1..=usize::from(FULL)).contains(&set.len));
        }
        assert!(set.directory.len() <= 1_000 / DIRECTORY_IDS_MIN);
        assert_eq!(set.ids(&segments).count(), set.len);
    }
}

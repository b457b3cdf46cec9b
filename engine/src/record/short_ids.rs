//! Numbers of short texts, each text one word ([`pack`](super::pack)).
//!
//! Asked several times for every record: one multiplication and, nearly always, one place to look.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::SymbolId;

/// A place: the text, and its number plus one; zero where there is none.
type Place = (u128, SymbolId);

/// Places of the larger table that are made with every text, once three eighths are taken: all are there when half are.
const MADE_AT_ONCE: usize = 16;
/// Places of the smaller table that are taken over with every text: all are before the larger one is half taken.
const MOVED_AT_ONCE: usize = 4;
const FREE: Place = (0, 0);

/// An open-addressed table. What is in it stays in it. It grows a few places at a time: at once, a table of sixteen thousand
/// held up records for 7 ms on a machine whose memory was not at hand (benches/RESULTS.md, "Memory that is not at hand").
#[derive(Debug)]
pub(super) struct ShortIds {
    /// As many as a power of two, at most half of them taken.
    places: Vec<Place>,
    taken: usize,
    /// The table before it was too small, while its texts are taken over; those before `moved` are in both.
    old: Vec<Place>,
    moved: usize,
    /// The next one, as far as it is made.
    larger: Vec<Place>,
    /// Drawn once, so that nobody can choose names that fall together.
    seed: [u64; 2],
}

impl Default for ShortIds {
    fn default() -> Self {
        let state = RandomState::default();
        let seed = [state.hash_one(1), state.hash_one(2)];
        Self { places: vec![FREE; 16], taken: 0, old: Vec::new(), moved: 0, larger: Vec::new(), seed }
    }
}

/// Where a text is among places, or would be.
#[inline]
fn place(places: &[Place], seed: [u64; 2], text: u128) -> usize {
    let [low, high] = [text as u64 ^ seed[0], (text >> 64) as u64 ^ seed[1]];
    let product = u128::from(low) * u128::from(high);
    let mask = places.len() - 1;
    let mut at = (product as u64 ^ (product >> 64) as u64) as usize & mask;
    while places[at].1 != 0 && places[at].0 != text {
        at = (at + 1) & mask;
    }
    at
}

impl ShortIds {
    #[inline]
    pub(super) fn get(&self, text: u128) -> Option<SymbolId> {
        let found = self.places[place(&self.places, self.seed, text)].1;
        if found == 0 && !self.old.is_empty() {
            return self.get_old(text);
        }
        found.checked_sub(1)
    }

    #[cold]
    fn get_old(&self, text: u128) -> Option<SymbolId> {
        self.old[place(&self.old, self.seed, text)].1.checked_sub(1)
    }

    /// Adds a text that is not there.
    pub(super) fn insert(&mut self, text: u128, id: SymbolId) {
        let places = self.places.len();
        if !self.old.is_empty() {
            self.move_some();
        }
        if self.taken * 2 >= places {
            debug_assert!(self.old.is_empty(), "the last growth is over");
            let mut larger = std::mem::take(&mut self.larger);
            larger.resize(places * 2, FREE);
            self.old = std::mem::replace(&mut self.places, larger);
            self.moved = 0;
        } else if self.taken * 8 >= places * 3 {
            // Nothing of new memory is touched yet, which is what takes long.
            self.larger.reserve_exact(places * 2 - self.larger.len());
            self.larger.resize((self.larger.len() + MADE_AT_ONCE).min(places * 2), FREE);
        }
        self.put((text, id + 1));
        self.taken += 1;
    }

    fn put(&mut self, text: Place) {
        let at = place(&self.places, self.seed, text.0);
        self.places[at] = text;
    }

    fn move_some(&mut self) {
        let to = (self.moved + MOVED_AT_ONCE).min(self.old.len());
        for at in self.moved..to {
            if self.old[at] != FREE {
                self.put(self.old[at]);
            }
        }
        self.moved = to;
        if to == self.old.len() {
            self.old = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pack;
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut ids = ShortIds::default();
        let mut reference = BTreeMap::new();
        for number in 0..5_000_u32 {
            let text = pack(format!("{:x}", number * 7 % 4_001).as_bytes()).unwrap();
            assert_eq!(ids.get(text), reference.get(&text).copied());
            reference.entry(text).or_insert_with(|| {
                ids.insert(text, number);
                number
            });
        }
        assert_eq!((ids.get(pack(b"").unwrap()), ids.taken), (None, reference.len()));
        assert!(reference.iter().all(|(text, id)| ids.get(*text) == Some(*id)));
    }

    #[test]
    fn no_text_waits_for_a_table_to_grow() {
        let mut ids = ShortIds::default();
        for number in 0..70_000 {
            let (places, larger, moved) = (ids.places.len(), ids.larger.len(), ids.moved);
            ids.insert(pack(number.to_string().as_bytes()).unwrap(), number);
            let has_grown = ids.places.len() > places;
            assert!(!has_grown || (larger == ids.places.len() && ids.moved == 0), "{larger} of {} made", places * 2);
            assert!(has_grown || ids.larger.len() <= larger + MADE_AT_ONCE);
            assert!(has_grown || ids.moved <= moved + MOVED_AT_ONCE);
            assert_eq!(ids.get(pack((number / 2).to_string().as_bytes()).unwrap()), Some(number / 2));
        }
        assert_eq!(ids.places.len(), 1 << 18);
    }
}

//! Numbers of short texts, each text one word ([`pack`](super::pack)).
//!
//! Asked several times for every record: one multiplication and, nearly always, one place to look.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::SymbolId;

/// A place: the text, and its number plus one; zero where there is none.
type Place = (u128, SymbolId);

/// An open-addressed table. What is in it stays in it.
#[derive(Debug)]
pub(super) struct ShortIds {
    /// As many as a power of two, at most half of them taken.
    places: Vec<Place>,
    taken: usize,
    /// Drawn once, so that nobody can choose names that fall together.
    seed: [u64; 2],
}

impl Default for ShortIds {
    fn default() -> Self {
        let state = RandomState::default();
        Self { places: vec![(0, 0); 16], taken: 0, seed: [state.hash_one(1), state.hash_one(2)] }
    }
}

impl ShortIds {
    /// Where a text is, or would be.
    #[inline]
    fn place(&self, text: u128) -> usize {
        let [low, high] = [text as u64 ^ self.seed[0], (text >> 64) as u64 ^ self.seed[1]];
        let product = u128::from(low) * u128::from(high);
        let mask = self.places.len() - 1;
        let mut at = (product as u64 ^ (product >> 64) as u64) as usize & mask;
        while self.places[at].1 != 0 && self.places[at].0 != text {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    pub(super) fn get(&self, text: u128) -> Option<SymbolId> {
        self.places[self.place(text)].1.checked_sub(1)
    }

    /// Adds a text that is not there.
    pub(super) fn insert(&mut self, text: u128, id: SymbolId) {
        if self.taken * 2 >= self.places.len() {
            let more = vec![(0, 0); self.places.len() * 2];
            for (text, number) in std::mem::replace(&mut self.places, more) {
                if number != 0 {
                    let at = self.place(text);
                    self.places[at] = (text, number);
                }
            }
        }
        let at = self.place(text);
        self.taken += usize::from(self.places[at].1 == 0);
        self.places[at] = (text, id + 1);
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
}

//! The numbers of keys: where what is known of a key stands in columns.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::panes::GroupKey;

/// Symbols whose keys are found without a search, a quarter of a MiB.
const NEAR_MAX: usize = 1 << 16;
/// No number.
const NONE: u32 = u32::MAX;

/// Numbers by key. A key that is one symbol, as a zone is, stands at that symbol's place: symbols are counted up from 0.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    near: Vec<u32>,
    others: HashMap<GroupKey, u32, RandomState>,
}

/// The place of a key that is one symbol.
#[inline]
fn place_of([symbol, rest @ ..]: &GroupKey) -> Option<usize> {
    (*rest == [0; 3] && (*symbol as usize) < NEAR_MAX).then_some(*symbol as usize)
}

impl Numbers {
    #[inline]
    pub(crate) fn get(&self, key: &GroupKey) -> Option<u32> {
        match place_of(key) {
            Some(place) => self.near.get(place).copied().filter(|number| *number != NONE),
            None => self.others.get(key).copied(),
        }
    }

    /// Gives a key a number, another one if it has one.
    pub(crate) fn insert(&mut self, key: GroupKey, number: u32) {
        let Some(place) = place_of(&key) else {
            self.others.insert(key, number);
            return;
        };
        if self.near.len() <= place {
            self.near.resize(place + 1, NONE);
        }
        self.near[place] = number;
    }

    pub(super) fn remove(&mut self, key: &GroupKey) {
        match place_of(key) {
            Some(place) => {
                if let Some(number) = self.near.get_mut(place) {
                    *number = NONE;
                }
            }
            None => drop(self.others.remove(key)),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.near.iter().filter(|number| **number != NONE).count() + self.others.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_map(steps in proptest::collection::vec((0_u8..3, 0_u32..4, 0_u32..3, 0_u32..2, 0_u32..9), 0..200)) {
            let (mut numbers, mut reference) = (Numbers::default(), BTreeMap::new());
            for (what, symbol, far, second, number) in steps {
                let key = [symbol + far * (NEAR_MAX as u32 - 2), second, 0, second];
                match what {
                    0 => {
                        numbers.insert(key, number);
                        reference.insert(key, number);
                    }
                    1 => {
                        numbers.remove(&key);
                        reference.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!((numbers.get(&key), numbers.len()), (reference.get(&key).copied(), reference.len()));
            }
            for (key, number) in &reference {
                prop_assert_eq!(numbers.get(key), Some(*number));
            }
        }
    }
}

//! Exact keys in an open-addressed table over an arena of key texts.
//!
//! The table holds entry numbers only; a probe that misses reads one group of control bytes and no
//! key. Hashes are seeded per process, so that nobody can build keys that collide.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

const NONE: u32 = u32::MAX;

/// Keys to entry numbers; several entries may share a key.
#[derive(Debug, Default)]
pub(super) struct Index {
    hasher: RandomState,
    table: HashTable<u32>,
    arena: String,
    /// End of each entry's key in the arena.
    ends: Vec<u32>,
    /// The next entry with the same key.
    next: Vec<u32>,
}

impl Index {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self {
            table: HashTable::with_capacity(entries),
            ends: Vec::with_capacity(entries),
            next: Vec::with_capacity(entries),
            ..Self::default()
        }
    }

    /// Adds the next entry. `false` when the arena is full (4 GiB of keys).
    pub(super) fn push(&mut self, key: &str) -> bool {
        let Ok(end) = u32::try_from(self.arena.len() + key.len()) else {
            return false;
        };
        let number = self.ends.len() as u32;
        self.arena.push_str(key);
        self.ends.push(end);
        let hash = self.hasher.hash_one(key);
        let (arena, ends) = (&self.arena, &self.ends);
        let text = |number: u32| text_of(arena, ends, number);
        match self.table.find_mut(hash, |known| text(*known) == key) {
            Some(first) => {
                self.next.push(*first);
                *first = number;
            }
            None => {
                self.next.push(NONE);
                let hasher = &self.hasher;
                self.table.insert_unique(hash, number, |known| hasher.hash_one(text(*known)));
            }
        }
        true
    }

    /// Numbers of the entries with this key.
    pub(super) fn find(&self, key: &str) -> impl Iterator<Item = u32> + '_ {
        let first = self
            .table
            .find(self.hasher.hash_one(key), |known| text_of(&self.arena, &self.ends, *known) == key)
            .copied();
        std::iter::successors(first, |number| Some(self.next[*number as usize]).filter(|next| *next != NONE))
    }
}

fn text_of<'a>(arena: &'a str, ends: &[u32], number: u32) -> &'a str {
    let start = number.checked_sub(1).map_or(0, |before| ends[before as usize]);
    &arena[start as usize..ends[number as usize] as usize]
}

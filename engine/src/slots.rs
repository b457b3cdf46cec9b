//! Values in numbered slots, in chunks that a snapshot shares with their owner until he changes them.
//!
//! A snapshot for a checkpoint is made at the border of two turns, while records wait; to copy fifty thousand alerts there
//! takes 20 ms, to count the chunks they lie in some 50 us. What changes after it copies its chunk first, once.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// Values of a chunk: as many as are copied when the first of them changes.
const CHUNK: usize = 64;

type Chunk<T> = Vec<Option<T>>;

/// The owner's side.
pub(crate) struct Slots<T> {
    chunks: Vec<Arc<Chunk<T>>>,
    /// Slots without a value.
    free: Vec<u32>,
    len: usize,
}

impl<T: Clone> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Values that are there.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a value into a slot, and says which.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            *self.place(slot) = Some(value);
            return slot;
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let last = Arc::make_mut(self.chunks.last_mut().expect("just looked at"));
        last.push(Some(value));
        (before + last.len() - 1) as u32
    }

    fn place(&mut self, slot: u32) -> &mut Option<T> {
        &mut Arc::make_mut(&mut self.chunks[slot as usize / CHUNK])[slot as usize % CHUNK]
    }

    /// The value in a slot that has one.
    ///
    /// # Panics
    /// If it has none.
    pub(crate) fn get(&self, slot: u32) -> &T {
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].as_ref().expect("a slot in use")
    }

    /// As [`Slots::get`], to be changed.
    pub(crate) fn change(&mut self, slot: u32) -> &mut T {
        self.place(slot).as_mut().expect("a slot in use")
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let value = self.place(slot).take().expect("a slot in use");
        self.free.push(slot);
        self.len -= 1;
        value
    }

    /// What is there now.
    pub(crate) fn snapshot(&self) -> Snapshot<T> {
        Snapshot { chunks: self.chunks.clone(), len: self.len }
    }
}

/// Values as they were at a moment, in no order that means anything. Serialises as a sequence of them.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    chunks: Vec<Arc<Chunk<T>>>,
    len: usize,
}

impl<T> Snapshot<T> {
    /// Values that were there.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }
}

impl<T: Serialize> Serialize for Snapshot<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len))?;
        self.iter().try_for_each(|value| sequence.serialize_element(value))?;
        sequence.end()
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for Snapshot<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut slots = Slots::new();
        for value in Vec::<T>::deserialize(deserializer)? {
            slots.insert(value);
        }
        Ok(slots.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::{Rng, SeededRng};

    /// Against a plain map; every snapshot shows what was there when it was taken, whatever came after.
    #[test]
    fn a_snapshot_stays_what_it_was() {
        let mut rng = SeededRng::new(11);
        let (mut slots, mut model) = (Slots::new(), BTreeMap::new());
        let mut taken: Vec<(Snapshot<u64>, Vec<u64>)> = Vec::new();
        for step in 0..20_000 {
            let any = model.keys().nth(rng.below(model.len().max(1) as u64) as usize).copied();
            match (rng.below(5), any) {
                (0 | 1, _) | (_, None) => {
                    let slot = slots.insert(step);
                    assert!(model.insert(slot, step).is_none(), "slot {slot} had a value");
                }
                (2, Some(slot)) if model.len() > 300 => assert_eq!(Some(slots.remove(slot)), model.remove(&slot)),
                (3, Some(slot)) => {
                    *slots.change(slot) = step;
                    model.insert(slot, step);
                }
                (_, Some(slot)) => assert_eq!(slots.get(slot), &model[&slot]),
            }
            assert_eq!(slots.len(), model.len());
            if step % 500 == 0 {
                taken.push((slots.snapshot(), model.values().copied().collect()));
            }
        }
        for (snapshot, expected) in taken {
            assert_eq!(snapshot.iter().copied().collect::<Vec<_>>(), expected);
            let bytes = postcard::to_allocvec(&snapshot).unwrap();
            assert_eq!(bytes, postcard::to_allocvec(&expected).unwrap(), "it is written as a sequence");
            let again: Snapshot<u64> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(again.iter().copied().collect::<Vec<_>>(), expected);
        }
        assert!(slots.chunks.len() * CHUNK < model.len() + 500, "slots are used again: {} chunks", slots.chunks.len());
    }
}

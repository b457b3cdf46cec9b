//! Texts that only ever become more, and arrays of those there are.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::StringArray;
use arrow::buffer::{Buffer, OffsetBuffer};

/// Texts one behind the other. An array of them is made without a copy and without a look at them, however many there are;
/// those that come later are not in it.
///
/// ```
/// use arrow::array::Array;
///
/// let mut texts = weir_memory::GrowingTexts::default();
/// assert!(texts.push("gate"));
/// let then = texts.array();
/// assert!(texts.push("square"));
/// assert_eq!((then.len(), texts.array().value(1)), (1, "square"));
/// ```
#[derive(Debug)]
pub struct GrowingTexts {
    /// Where each text begins, and where the next one will.
    starts: Growing<i32>,
    bytes: Growing<u8>,
}

impl Default for GrowingTexts {
    fn default() -> Self {
        let mut starts = Growing::new();
        starts.extend(&[0]);
        Self { starts, bytes: Growing::new() }
    }
}

impl GrowingTexts {
    /// Appends a text; `false` if all together would have more bytes than an array may have, 2 GiB.
    #[must_use]
    pub fn push(&mut self, text: &str) -> bool {
        let Ok(end) = i32::try_from(self.bytes.len + text.len()) else { return false };
        self.bytes.extend(text.as_bytes());
        self.starts.extend(&[end]);
        true
    }

    /// Those there are.
    pub fn array(&self) -> StringArray {
        // SAFETY: the starts begin with 0 and each is the one before it and the length of a text, so that they never fall,
        // and what lies between two of them is a text.
        unsafe {
            let starts = OffsetBuffer::new_unchecked(self.starts.shared().into());
            StringArray::new_unchecked(starts, self.bytes.shared(), None)
        }
    }
}

/// Items that are taken into a larger room for each one that is written, once the room is half full: all are there before it is
/// full. At once, a room of half a megabyte held up whoever waited for 5 ms where memory was not at hand.
const TAKEN_FOR_EACH: usize = 4;

/// Items that are written once and never moved as long as somebody may read them.
#[derive(Debug)]
struct Growing<T> {
    room: Arc<Room<T>>,
    /// How many have been written.
    len: usize,
    /// A larger room, and how many have been taken into it.
    next: Option<(Room<T>, usize)>,
}

/// Room for so many items, of which those who share it know how many have been written.
#[derive(Debug)]
struct Room<T> {
    start: NonNull<T>,
    capacity: usize,
}

// SAFETY: who shares a room reads nothing but what had been written when he got his share, and only the one `Growing` it
// belongs to writes, behind that.
unsafe impl<T: Send + Sync> Send for Room<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Room<T> {}

impl<T> Room<T> {
    fn of(capacity: usize) -> Self {
        let mut items = ManuallyDrop::new(Vec::with_capacity(capacity));
        let start = NonNull::new(items.as_mut_ptr()).expect("a vector lies somewhere");
        Self { start, capacity: items.capacity() }
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: it was a vector of this capacity; items are `Copy`, so that none has to be dropped.
        drop(unsafe { Vec::from_raw_parts(self.start.as_ptr(), 0, self.capacity) });
    }
}

impl<T: Copy> Growing<T> {
    fn new() -> Self {
        Self { room: Arc::new(Room::of(0)), len: 0, next: None }
    }

    fn extend(&mut self, items: &[T]) {
        let len = self.len + items.len();
        if len > self.room.capacity {
            self.take_over(self.len, len);
            let (room, _) = self.next.take().expect("it has been made");
            self.room = Arc::new(room);
        }
        // SAFETY: the room has place for them behind those that have been written, where nobody else reads or writes.
        unsafe {
            let behind = self.room.start.add(self.len);
            behind.copy_from_nonoverlapping(NonNull::from(items).cast(), items.len());
        }
        self.len = len;
        if self.len > self.room.capacity / 2 {
            self.take_over(items.len().saturating_mul(TAKEN_FOR_EACH), 0);
        }
    }

    /// Takes so many more into a larger room, which has place for at least `capacity`.
    fn take_over(&mut self, count: usize, capacity: usize) {
        let larger = capacity.max(self.room.capacity * 2);
        let (room, taken) = match &mut self.next {
            Some(next) if next.0.capacity >= larger => next,
            next => next.insert((Room::of(larger), 0)),
        };
        let to = (*taken + count).min(self.len);
        // SAFETY: so many have been written in the one room; the other, which nobody else knows, has place for more.
        unsafe {
            let from = self.room.start.add(*taken);
            from.copy_to_nonoverlapping(room.start.add(*taken), to - *taken);
        }
        *taken = to;
    }
}

impl<T: Copy + Send + Sync + std::panic::RefUnwindSafe + 'static> Growing<T> {
    /// Those that have been written.
    fn shared(&self) -> Buffer {
        let bytes = self.len * size_of::<T>();
        // SAFETY: so many bytes have been written there, are never written again, and stay as long as somebody shares the
        // room. None of them is padding: they are integers.
        unsafe { Buffer::from_custom_allocation(self.room.start.cast(), bytes, Arc::clone(&self.room) as _) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    fn text(number: usize) -> String {
        ["", "陕A12345", "gate-"][number % 3].to_owned() + &"x".repeat(number % 41) + &number.to_string()
    }

    #[test]
    fn an_array_is_of_the_texts_there_were() {
        let mut texts = GrowingTexts::default();
        let mut arrays = vec![texts.array()];
        for number in 0..1_000 {
            assert!(texts.push(&text(number)));
            arrays.push(texts.array());
        }
        drop(texts);
        for (count, array) in arrays.iter().enumerate() {
            let whole = StringArray::new(array.offsets().clone(), array.values().clone(), None);
            assert_eq!((whole.len(), whole.null_count()), (count, 0));
            assert!(whole.iter().enumerate().all(|(number, found)| found == Some(&*text(number))), "{count}");
        }
    }

    #[test]
    fn nobody_waits_for_a_larger_room() {
        let mut items = Growing::new();
        for number in 0..100_000_u32 {
            let (room, taken) = (items.room.capacity, items.next.as_ref().map_or(0, |(_, taken)| *taken));
            items.extend(&[number]);
            let is_larger = items.room.capacity > room;
            assert!(!is_larger || taken == room, "{taken} of {room} items are in the larger room");
            assert!(is_larger || items.next.as_ref().is_none_or(|(_, now)| *now <= taken + TAKEN_FOR_EACH));
        }
        // SAFETY: so many have been written.
        let written = unsafe { std::slice::from_raw_parts(items.room.start.as_ptr(), items.len) };
        assert!(written.iter().copied().eq(0..100_000));
    }

    #[test]
    fn one_writes_while_others_read() {
        let mut texts = GrowingTexts::default();
        let (give, take) = std::sync::mpsc::channel::<StringArray>();
        let reader = std::thread::spawn(move || {
            let mut read = 0;
            for array in take {
                assert!((0..array.len()).all(|number| array.value(number) == text(number)));
                read += array.len();
            }
            read
        });
        for number in 0..500 {
            assert!(texts.push(&text(number)));
            give.send(texts.array()).unwrap();
        }
        drop(give);
        assert_eq!(reader.join().unwrap(), (1..=500).sum::<usize>());
    }
}

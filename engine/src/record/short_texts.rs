//! Pseudonyms of many short texts at once.
//!
//! A keyed BLAKE3 of one short text is one compression that waits for itself; sixteen of them side by side
//! keep the processor's wide registers busy. So texts are gathered in blocks of 64 bytes, each a message of
//! its own, and digested together: 108 ns a text alone (RELIABILITY.md 4.2), measured together in
//! benches/HISTORY.md.

use blake3::IncrementCounter;
use blake3::platform::{Platform, words_from_le_bytes_32};

use super::Digest;
use super::pseudonym::low;

/// Bytes of a BLAKE3 block, the message of a short text.
const BLOCK: usize = 64;
/// Texts digested side by side: the lanes of AVX-512.
const LANES: usize = 16;
/// Bytes of a digest before it is cut.
const FULL: usize = 32;

// Flags of the compression function (BLAKE3 specification, table 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;

/// Texts that wait to be digested.
///
/// The message of a text is its domain, its length and the text: filled up with zeros to one block if it
/// fits, as it is if it does not, so that no two texts have one message.
#[derive(Debug, Default)]
pub(crate) struct ShortTexts {
    blocks: Vec<[u8; BLOCK]>,
    /// Messages that do not fit, with their positions.
    long: Vec<(u32, Vec<u8>)>,
}

impl ShortTexts {
    /// Adds a text of a domain.
    pub(crate) fn push(&mut self, domain: u16, text: &str) {
        let text = text.as_bytes();
        let mut block = [0; BLOCK];
        block[..2].copy_from_slice(&domain.to_le_bytes());
        match block.get_mut(3..3 + text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                block[2] = text.len() as u8;
            }
            None => {
                let message = [&domain.to_le_bytes()[..], &[u8::MAX], text].concat();
                self.long.push((self.blocks.len() as u32, message));
            }
        }
        self.blocks.push(block);
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Forgets those behind the first ones of which `keeps` does not tell to keep them, by their position there. O(all of
    /// them), at what it takes to move a block.
    pub(crate) fn retain(&mut self, first: usize, keeps: impl Fn(usize) -> bool) {
        let mut kept = first;
        let long = self.long.partition_point(|(at, _)| (*at as usize) < first);
        let mut long = self.long.split_off(long).into_iter().peekable();
        for at in first..self.blocks.len() {
            let message = long.next_if(|(long, _)| *long as usize == at);
            if keeps(at - first) {
                self.long.extend(message.map(|(_, message)| (kept as u32, message)));
                self.blocks[kept] = self.blocks[at];
                kept += 1;
            }
        }
        self.blocks.truncate(kept);
    }

    /// Digests all of them, in their order.
    pub(crate) fn take(&mut self, key: &[u8; 32]) -> Vec<Digest> {
        let words = words_from_le_bytes_32(key);
        let platform = Platform::detect();
        let mut digests = Vec::with_capacity(self.blocks.len());
        let mut full = [0; LANES * FULL];
        for group in self.blocks.chunks(LANES) {
            let mut inputs = [&group[0]; LANES];
            for (input, block) in inputs.iter_mut().zip(group) {
                *input = block;
            }
            let full = &mut full[..group.len() * FULL];
            platform.hash_many(
                &inputs[..group.len()],
                &words,
                0,
                IncrementCounter::No,
                KEYED_HASH,
                CHUNK_START,
                CHUNK_END | ROOT,
                full,
            );
            digests.extend(
                full.chunks_exact(FULL).map(|hash| Digest::from_le_bytes(hash[..16].try_into().expect("16 bytes"))),
            );
        }
        for (at, message) in self.long.drain(..) {
            digests[at as usize] = low(&blake3::keyed_hash(key, &message));
        }
        self.blocks.clear();
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public function of the library, one message at a time.
    fn reference(key: &[u8; 32], domain: u16, text: &str) -> Digest {
        let mut message = domain.to_le_bytes().to_vec();
        if text.len() <= BLOCK - 3 {
            message.push(text.len() as u8);
            message.extend_from_slice(text.as_bytes());
            message.resize(BLOCK, 0);
        } else {
            message.push(u8::MAX);
            message.extend_from_slice(text.as_bytes());
        }
        low(&blake3::keyed_hash(key, &message))
    }

    #[test]
    fn together_they_are_what_they_are_alone() {
        let key = [7; 32];
        let texts: Vec<String> = (0..200).map(|length| "号".repeat(length / 3) + &"x".repeat(length % 70)).collect();
        for many in [0, 1, 2, 15, 16, 17, 100, 200] {
            let mut short = ShortTexts::default();
            texts[..many].iter().enumerate().for_each(|(at, text)| short.push(at as u16, text));
            assert_eq!(short.len(), many);
            let expected: Vec<Digest> =
                texts[..many].iter().enumerate().map(|(at, text)| reference(&key, at as u16, text)).collect();
            assert_eq!(short.take(&key), expected);
            assert_eq!(short.len(), 0);
        }
    }

    #[test]
    fn what_was_refused_is_forgotten() {
        let texts: Vec<String> = (0..40).map(|at| format!("{at}").repeat(1 + at % 3 * 30)).collect();
        for (first, every) in [(0, 2), (7, 3), (40, 1), (39, 1), (0, 1), (5, 50)] {
            let mut short = ShortTexts::default();
            for text in &texts {
                short.push(1, text);
            }
            short.retain(first, |at| !at.is_multiple_of(every));
            short.push(2, "b");
            let kept = texts.iter().enumerate().filter(|(at, _)| *at < first || !(at - first).is_multiple_of(every));
            let mut expected: Vec<Digest> = kept.map(|(_, text)| reference(&[1; 32], 1, text)).collect();
            expected.push(reference(&[1; 32], 2, "b"));
            assert_eq!(short.take(&[1; 32]), expected, "{first} {every}");
        }
    }
}

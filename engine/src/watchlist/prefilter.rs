//! The prefilter: one word of 64 bits for each key, four bits in it (a register-blocked Bloom filter;
//! Putze, Sanders, Singler 2007).
//!
//! It answers `no` for 98.8 % of the keys that are not on the list, with one load and no branch. At 12
//! bits a key it is the fastest of those tried (benches/RESULTS.md): a split-block filter of the same
//! size lets half as many through and costs twice as much, a binary fuse filter touches three lines.

/// Bits for each key.
const BITS_PER_KEY: usize = 12;

/// Words for so many keys.
pub(super) fn words_for(keys: usize) -> usize {
    (keys * BITS_PER_KEY).div_ceil(64).max(1)
}

/// Which word a hash looks at.
#[inline]
pub(super) fn place(hash: u64, words: usize) -> usize {
    (((hash >> 32) * words as u64) >> 32) as usize
}

/// Which bits of it.
#[inline]
pub(super) fn mask(hash: u64) -> u64 {
    (1 << (hash & 63)) | (1 << ((hash >> 6) & 63)) | (1 << ((hash >> 12) & 63)) | (1 << ((hash >> 18) & 63))
}

/// A filter over hashes, as it stands in the file: little-endian words.
pub(super) fn build(hashes: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let mut words = vec![0u64; words_for(hashes.len())];
    let count = words.len();
    for hash in hashes {
        words[place(hash, count)] |= mask(hash);
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Whether the filter lets a hash through.
#[inline]
pub(super) fn passes(words: &[u8], hash: u64) -> bool {
    let at = place(hash, words.len() / 8) * 8;
    let Some(bytes) = words.get(at..at + 8) else { return false };
    let word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mask = mask(hash);
    word & mask == mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, SeededRng};

    #[test]
    fn nothing_that_is_there_is_held_back_and_little_else_passes() {
        let mut rng = SeededRng::new(7);
        let mut next = || rng.below(u64::MAX);
        let there: Vec<u64> = (0..100_000).map(|_| next()).collect();
        let words = build(there.iter().copied());
        assert_eq!(words.len(), 100_000 * 12 / 8);
        assert!(there.iter().all(|hash| passes(&words, *hash)));
        let false_positives = (0..100_000).filter(|_| passes(&words, next())).count();
        assert!(false_positives < 1_500, "{false_positives} of 100,000");
        assert!(!passes(&build(std::iter::empty()), 5));
        assert!(!passes(&[], 5));
    }
}

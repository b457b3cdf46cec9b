//! Texts of up to fifteen bytes in one word, so that comparing them is comparing numbers.

use std::ops::Range;

/// Longest text that is packed.
const PACKED_MAX: usize = 15;

/// The bits of so many bytes.
static FIRST: [u128; PACKED_MAX + 1] = {
    let mut bits = [0; PACKED_MAX + 1];
    let mut length = 1;
    while length <= PACKED_MAX {
        bits[length] = bits[length - 1] << 8 | 0xff;
        length += 1;
    }
    bits
};

/// The bytes of a text from the lowest up, and its length in the highest; `None` for a longer text. Different texts
/// give different words.
#[inline]
pub(crate) fn pack(text: &[u8]) -> Option<u128> {
    let length = text.len();
    // Two loads that overlap: what both hold is the same, so that one may lie over the other.
    let (low, high) = match length {
        8..=PACKED_MAX => {
            let (first, last) = (text.first_chunk::<8>()?, text.last_chunk::<8>()?);
            // In two steps, because a word may not be shifted by all its bits.
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last) >> 8 >> (8 * (PACKED_MAX - length)))
        }
        4..8 => {
            let (first, last) = (text.first_chunk::<4>()?, text.last_chunk::<4>()?);
            (u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (length - 4)), 0)
        }
        1..4 => {
            let byte = |at: usize| u64::from(text[at]) << (8 * at);
            (byte(0) | byte(length / 2) | byte(length - 1), 0)
        }
        0 => (0, 0),
        _ => return None,
    };
    Some(u128::from(high | (length as u64) << 56) << 64 | u128::from(low))
}

/// The same of a piece of a longer text. Nearly always so much stands behind it that one load has all of it, whatever its
/// length: that of the next piece is anyone's guess.
#[inline]
pub(crate) fn pack_within(text: &[u8], piece: Range<usize>) -> Option<u128> {
    let length = piece.len();
    match text.get(piece.start..).and_then(<[u8]>::first_chunk) {
        Some(chunk) if length <= PACKED_MAX => {
            let bytes = u128::from_le_bytes(*chunk) & FIRST[length];
            Some(bytes | (length as u128) << (8 * PACKED_MAX))
        }
        _ => pack(&text[piece]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_packed_like_a_text() {
        let text: Vec<u8> = (0..40).map(|at| 255 - at).collect();
        for start in 0..text.len() {
            for end in start..=text.len() {
                assert_eq!(pack_within(&text, start..end), pack(&text[start..end]), "{start} to {end}");
            }
        }
    }

    #[test]
    fn a_word_holds_the_text() {
        for length in 0..20 {
            let text: Vec<u8> = (0..length).map(|at| 200 + at as u8).collect();
            let mut expected = [0; 16];
            match expected.get_mut(..length).filter(|_| length <= PACKED_MAX) {
                Some(place) => {
                    place.copy_from_slice(&text);
                    expected[PACKED_MAX] = length as u8;
                    assert_eq!(pack(&text), Some(u128::from_le_bytes(expected)));
                }
                None => assert_eq!(pack(&text), None),
            }
        }
        assert_ne!(pack(b"a"), pack(b"a\0"));
    }
}

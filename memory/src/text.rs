//! Where text stops being plain: what a decoder of text asks of many bytes at once.
//!
//! A byte is special that may not stand in a JSON string as it is: a quote, a backslash or a control character
//! (RFC 8259, 7). A line feed is one of them.

/// Bytes of one step.
const STEP: usize = 16;
/// Bytes of one word of a map.
const WORD: usize = 64;

fn is_special(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'\\')
}

/// How many bytes follow that are not special.
///
/// ```
/// assert_eq!(weir_memory::plain_prefix(br#"plain"rest"#), 5);
/// ```
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<STEP>() {
        let special = special_of(chunk);
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += STEP;
    }
    at + bytes[at..].iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len() - at)
}

/// One bit for each byte in which two texts are equal, the first lowest.
///
/// ```
/// assert_eq!(weir_memory::equal_bytes(&[b'a'; 32], &[b'a'; 32]), u32::MAX);
/// ```
#[inline]
pub fn equal_bytes(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    let (a, _) = a.as_chunks::<STEP>();
    let (b, _) = b.as_chunks::<STEP>();
    equal_of(&a[1], &b[1]) << STEP | equal_of(&a[0], &b[0])
}

/// The special bytes of a text, found in one pass before anybody asks: a step from one to the next then waits for a
/// shift and not for a comparison of sixteen bytes.
#[derive(Debug, Default)]
pub struct SpecialBytes {
    /// One bit for each byte, the first lowest; all bits behind the text are set, in two words at least.
    words: Vec<u64>,
}

impl SpecialBytes {
    /// Looks through another text.
    ///
    /// With AVX2, where the processor has it, 64 bytes take some twenty instructions.
    pub fn look_through(&mut self, bytes: &[u8]) {
        self.words.clear();
        self.words.reserve(bytes.len() / WORD + 3);
        let (chunks, rest) = bytes.as_chunks::<WORD>();
        map(chunks, &mut self.words);
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        map(&[last], &mut self.words);
        self.words.extend([u64::MAX; 2]);
    }

    /// The first special byte from a position on; the end of the text or a position behind it if there is none.
    #[inline]
    pub fn next(&self, from: usize) -> usize {
        let word = from / WORD;
        let Some(more) = self.words.get(word + 1) else { return from };
        let bits = self.words[word];
        // Two words side by side: where one ends between a text and its quote, nothing is decided.
        let bits = bits >> (from % WORD) | (more << 1) << (WORD - 1 - from % WORD);
        if bits == 0 { self.next_far(word + 1) } else { from + bits.trailing_zeros() as usize }
    }

    #[cold]
    fn next_far(&self, mut word: usize) -> usize {
        loop {
            match self.words.get(word) {
                Some(0) => word += 1,
                Some(bits) => return word * WORD + bits.trailing_zeros() as usize,
                None => return word * WORD,
            }
        }
    }
}

/// Appends the map of whole words of text.
fn map(chunks: &[[u8; WORD]], words: &mut Vec<u64>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { map_with_avx2(chunks, words) };
    }
    words.extend(chunks.iter().map(|chunk| {
        let (steps, _) = chunk.as_chunks::<STEP>();
        steps.iter().rev().fold(0, |word, step| word << STEP | u64::from(special_of(step)))
    }));
}

/// One bit for each byte that is special, the first lowest.
#[cfg(target_arch = "x86_64")]
#[inline]
fn special_of(chunk: &[u8; STEP]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: SSE2 is part of every x86-64, and the sixteen bytes are there.
    unsafe {
        let text = _mm_loadu_si128(chunk.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'"'.cast_signed()));
        let backslash = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'\\'.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1f)), text);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)).cast_unsigned()
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_of(a: &[u8; STEP], b: &[u8; STEP]) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    // SAFETY: SSE2 is part of every x86-64, and the sixteen bytes of both are there.
    unsafe {
        let (a, b) = (_mm_loadu_si128(a.as_ptr().cast()), _mm_loadu_si128(b.as_ptr().cast()));
        _mm_movemask_epi8(_mm_cmpeq_epi8(a, b)).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn equal_of(a: &[u8; STEP], b: &[u8; STEP]) -> u32 {
    portable_equal_of(a, b)
}

/// The same of any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_equal_of(a: &[u8; STEP], b: &[u8; STEP]) -> u32 {
    a.iter().zip(b).enumerate().fold(0, |bits, (at, (a, b))| bits | u32::from(a == b) << at)
}

/// One bit for each byte that is special, the first lowest.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn special_of(chunk: &[u8; STEP]) -> u32 {
    portable_special_of(chunk)
}

/// The same of any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_special_of(chunk: &[u8; STEP]) -> u32 {
    chunk.iter().enumerate().fold(0, |bits, (at, byte)| bits | u32::from(is_special(*byte)) << at)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn map_with_avx2(chunks: &[[u8; WORD]], words: &mut Vec<u64>) {
    words.extend(chunks.iter().map(|chunk| {
        let (halves, _) = chunk.as_chunks::<32>();
        let (low, high) = (special_of_32(&halves[0]), special_of_32(&halves[1]));
        u64::from(high) << 32 | u64::from(low)
    }));
}

/// One bit for each byte that is special, the first lowest.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn special_of_32(chunk: &[u8; 32]) -> u32 {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };
    // SAFETY: the thirty-two bytes are there.
    let text = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
    let quote = _mm256_cmpeq_epi8(text, _mm256_set1_epi8(b'"'.cast_signed()));
    let backslash = _mm256_cmpeq_epi8(text, _mm256_set1_epi8(b'\\'.cast_signed()));
    let control = _mm256_cmpeq_epi8(_mm256_min_epu8(text, _mm256_set1_epi8(0x1f)), text);
    _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(quote, backslash), control)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(bytes: &[u8], from: usize) -> usize {
        (from..bytes.len()).find(|at| is_special(bytes[*at])).unwrap_or(bytes.len())
    }

    #[test]
    fn every_byte_at_every_place_of_every_length() {
        let mut specials = SpecialBytes::default();
        for length in 0..150 {
            let plain: Vec<u8> = (0..length).map(|at| [b'a', 0x7f, 0x80, 0xff, b' ', b'!', b'#'][at % 7]).collect();
            assert_eq!(plain_prefix(&plain), length);
            for place in 0..length {
                for byte in [0, 0x1f, b'"', b'\\', 0x20, 0x21, 0x5b, 0x5d, 0x80, 0xa2, 0xdc, 0xff] {
                    let mut bytes = plain.clone();
                    bytes[place] = byte;
                    assert_eq!(plain_prefix(&bytes), reference(&bytes, 0), "{length} {place} {byte}");
                    specials.look_through(&bytes);
                    for from in [0, place / 2, place, place + 1, length] {
                        let found = specials.next(from);
                        let expected = reference(&bytes, from);
                        assert!(found == expected || expected == length && found >= length, "{length} {place} {byte}");
                    }
                }
            }
            specials.look_through(&plain);
            assert!(specials.next(length + 500) >= length);
        }
    }

    #[test]
    fn all_processors_see_the_same() {
        for byte in 0..=u8::MAX {
            for place in 0..STEP {
                let mut chunk = [b'x'; STEP];
                chunk[place] = byte;
                assert_eq!(special_of(&chunk), portable_special_of(&chunk), "{byte} at {place}");
                let plain = [b'x'; STEP];
                assert_eq!(equal_of(&chunk, &plain), portable_equal_of(&chunk, &plain), "{byte} at {place}");
            }
        }
    }
}

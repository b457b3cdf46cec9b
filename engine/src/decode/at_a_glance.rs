//! What shows of lines before anybody reads them: that they are no text, begin with no bracket or are too short. What that
//! costs is theirs, and no line beside them is read in another way.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::json::line_at;

/// Lines one behind the other that have the same flaw.
pub(super) struct AtAGlance {
    /// Where the last one ends.
    pub(super) end: usize,
    pub(super) lines: u32,
    /// Where the line behind it begins.
    pub(super) next: usize,
}

impl AtAGlance {
    /// The lines from a position on that begin so, as long as `ends` tells where one does; so many at most.
    #[inline]
    pub(super) fn of_lines(
        text: &[u8],
        from: usize,
        lines_max: u32,
        begins: impl Fn(u8) -> bool,
        ends: impl Fn(usize) -> Option<usize>,
    ) -> Option<Self> {
        let (mut end, mut lines, mut next) = (from, 0, from);
        while lines < lines_max
            && let Some(byte) = text.get(next)
            && begins(*byte)
            && let Some(line_end) = ends(next)
        {
            // A return at its end is not the line's: one that has it is told for itself.
            if text[line_end - 1] == b'\r' {
                if lines == 0 {
                    (end, lines, next) = (line_end - 1, 1, line_end + 1);
                }
                break;
            }
            (end, lines, next) = (line_end, lines + 1, line_end + 1);
        }
        (lines > 0).then_some(Self { end, lines, next })
    }
}

/// Where the line at a position ends, if it has fewer bytes than that.
#[inline]
pub(super) fn short_line_end(text: &[u8], at: usize, bytes_min: usize) -> Option<usize> {
    let piece = &text[at..text.len().min(at + bytes_min)];
    let length = memchr(b'\n', piece).or_else(|| (piece.len() < bytes_min).then_some(piece.len()));
    length.map(|length| at + length)
}

/// Whether a record may begin with a byte: what does not is told without being scanned.
#[inline]
pub(super) fn may_begin_record(byte: u8) -> bool {
    byte == b'{' || byte.is_ascii_whitespace()
}

pub(super) fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A block as text, and the lines of it that are none, which are blank there.
pub(super) fn legible<'a>(bytes: &'a [u8], blanked: &'a mut Vec<u8>) -> (&'a str, Vec<Range<usize>>) {
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return (text, Vec::new());
    }
    blanked.extend_from_slice(bytes);
    let (mut spoiled, mut from) = (Vec::new(), 0);
    while let Err(error) = simdutf8::compat::from_utf8(&bytes[from..]) {
        let at = from + error.valid_up_to();
        let start = memrchr(b'\n', &bytes[from..at]).map_or(from, |before| from + before + 1);
        let line = line_at(bytes, start);
        blanked[line.clone()].fill(b' ');
        from = line.end;
        spoiled.push(line);
    }
    (simdutf8::basic::from_utf8(blanked).expect("what is no text is blank"), spoiled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against each line by itself: what is text stays where it is, and nothing else does.
        #[test]
        fn lines_that_are_no_text_are_found(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..20),
                    "[a-z\u{4e00}-\u{9fff}]{0,40}".prop_map(String::into_bytes),
                ],
                0..30,
            ),
        ) {
            let bytes = lines.join(&b'\n');
            let mut blanked = Vec::new();
            let (text, spoiled) = legible(&bytes, &mut blanked);
            prop_assert_eq!(text.len(), bytes.len());
            let (mut start, mut expected) = (0, Vec::new());
            for line in &lines {
                let range = start..start + line.len();
                if std::str::from_utf8(line).is_ok() {
                    prop_assert_eq!(&text.as_bytes()[range.clone()], &line[..]);
                } else {
                    expected.push(range.clone());
                }
                start = range.end + 1;
            }
            prop_assert_eq!(spoiled, expected);
        }
    }
}

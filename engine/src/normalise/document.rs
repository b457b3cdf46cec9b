//! Document numbers: upper case, without separators; out of machine-readable lines where given.

use super::{fold_width, read_mrz};

/// Shortest text that can be machine-readable lines.
const MRZ_CHARS_MIN: usize = 72;

/// Appends the canonical number; `false` if the text holds none (or lines whose digits do not fit:
/// a misread number must not hit somebody else's document).
pub fn normalise_document(raw: &str, out: &mut String) -> bool {
    let start = out.len();
    if raw.len() >= MRZ_CHARS_MIN {
        let lines: String = raw.chars().map(fold_width).flat_map(char::to_uppercase).collect();
        if let Some(mrz) = read_mrz(&lines) {
            let holds_one = mrz.valid && !mrz.document_number.is_empty();
            if holds_one {
                out.push_str(&mrz.document_number);
            }
            return holds_one;
        }
    }
    fold(raw, out);
    if reads_as_lines(&out[start..]) {
        out.truncate(start);
    }
    out.len() > start
}

/// Whether what is left without separators has the shape of lines, though the text had not: no number is so long,
/// and it would become another one if it were normalised again.
fn reads_as_lines(folded: &str) -> bool {
    folded.len() >= MRZ_CHARS_MIN && read_mrz(folded).is_some()
}

/// Whether a text is surely a number in canonical form.
pub(super) fn is_canonical(text: &str) -> bool {
    !text.is_empty() && text.len() < MRZ_CHARS_MIN && text.bytes().all(super::is_folded)
}

/// Folds width and case and drops separators.
pub(super) fn fold(raw: &str, out: &mut String) {
    for c in raw.chars().map(fold_width) {
        if !(c.is_whitespace() || matches!(c, '-' | '<' | '.' | '/' | '·')) {
            out.extend(c.to_uppercase());
        }
    }
}

//! Document numbers: upper case, without separators; out of machine-readable lines where given.

use super::{fold_width, read_mrz};

/// Shortest text that can be machine-readable lines.
const MRZ_CHARS_MIN: usize = 72;

/// Appends the canonical number; `false` if the text holds none (or lines whose digits do not fit:
/// a misread number must not hit somebody else's document).
pub fn normalise_document(raw: &str, out: &mut String) -> bool {
    if raw.len() >= MRZ_CHARS_MIN
        && let Some(mrz) = read_mrz(raw)
    {
        let holds_one = mrz.valid && !mrz.document_number.is_empty();
        if holds_one {
            out.push_str(&mrz.document_number);
        }
        return holds_one;
    }
    let start = out.len();
    fold(raw, out);
    out.len() > start
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

//! Identifiers and times in one canonical form, so that equal things compare equal.
//!
//! Functions are versioned ([`Normaliser`]): a list built with `plate.v1` meets a stream that went
//! through `plate.v1`, and a change of rules is a new version beside the old one.

mod document;
mod imo;
mod mrz;
mod plate;
mod resident_id;
mod time;
mod un_number;

use weir_rules::schema::Normaliser;

use crate::record::Cause;

pub use document::normalise_document;
pub use imo::imo_check_digit_fits;
pub use mrz::{Mrz, MrzKind, read_mrz};
pub use plate::{PlateKind, PlateReading, read_plate};
pub use resident_id::{ResidentId, check_resident_id};
pub(crate) use time::check_epoch_ms;
pub use time::{TimeReader, date_days, known_timezone};
pub use un_number::{UnNumber, un_number};

/// Appends the canonical form to `out`. `false` when the text says nothing (an unread plate).
///
/// # Errors
/// When the text claims to be something that does not exist (a UN number out of no table).
pub fn apply(normaliser: Normaliser, text: &str, out: &mut String) -> Result<bool, Cause> {
    match normaliser {
        Normaliser::PlateV1 => Ok(plate::normalise_plate(text, out)),
        Normaliser::DocumentV1 => Ok(document::normalise_document(text, out)),
        Normaliser::ItemClassV1 => un_number::normalise_item_class(text, out),
        Normaliser::PartialPlateV1 => Ok(plate::partial_plate(text, out)),
        // Verified where the record's time is known, not here.
        Normaliser::CredentialV1 => Ok(false),
    }
}

/// Whether a text is surely its own canonical form, which most are: then nothing has to be written. `false` says nothing.
pub(crate) fn is_canonical(normaliser: Normaliser, text: &str) -> bool {
    match normaliser {
        Normaliser::PlateV1 => plate::is_canonical(text),
        Normaliser::DocumentV1 => document::is_canonical(text),
        _ => false,
    }
}

/// A text folded as the normaliser folds it, without a look at whether it makes a whole identifier: the
/// literal parts of a pattern. `None` for those that have no patterns.
pub(crate) fn fold_text(normaliser: Normaliser, text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    match normaliser {
        Normaliser::PlateV1 => {
            plate::fold(text, &mut out);
        }
        Normaliser::DocumentV1 => document::fold(text, &mut out),
        Normaliser::ItemClassV1 | Normaliser::PartialPlateV1 | Normaliser::CredentialV1 => return None,
    }
    Some(out)
}

/// Full-width forms (U+FF01 to U+FF5E and the ideographic space) as their ASCII counterparts.
fn fold_width(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Whether a byte is one that no normaliser changes.
fn is_folded(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_canonical_stays_as_it_is(text in "[京粤港・無A-Zа0-9a\\-. <]{0,2}[A-Z0-9]{0,9}[A-Z0-9-]{0,70}") {
            for normaliser in [Normaliser::PlateV1, Normaliser::DocumentV1] {
                let mut out = String::new();
                let usable = apply(normaliser, &text, &mut out).unwrap();
                if is_canonical(normaliser, &text) {
                    prop_assert!(usable && out == text, "{normaliser:?} {text}");
                }
            }
        }
    }

    #[test]
    fn plates_and_numbers_as_most_are_written_are_canonical() {
        for plate in ["陕A12345", "京JX0533", "粤Z1234港", "B12XYZ"] {
            assert_eq!(is_canonical(Normaliser::PlateV1, plate), !plate.ends_with('港'), "{plate}");
        }
        for (plate, _) in ["UNKNOWN", "NOPLATE", "", "车牌", "无A", "陕a12345"].into_iter().zip(0..) {
            assert!(!is_canonical(Normaliser::PlateV1, plate), "{plate}");
        }
        assert!(is_canonical(Normaliser::DocumentV1, "E57544819"));
        assert!(!is_canonical(Normaliser::DocumentV1, ""));
    }
}

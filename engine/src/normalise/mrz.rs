//! Machine-readable lines of travel documents, ICAO Doc 9303: TD1, TD2, TD3, MRV-A, MRV-B.
//!
//! Only the document number and its issuer come out of here; names, nationality, dates and sex are
//! read for the check digits at most and dropped. A passing line is not proof: names and
//! nationality are covered by no digit.

/// Format of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of Doc 9303")]
pub enum MrzKind {
    Td1,
    Td2,
    Td3,
    MrvA,
    MrvB,
}

/// What is kept of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mrz {
    /// Format.
    pub kind: MrzKind,
    /// Document number without fillers.
    pub document_number: String,
    /// Issuing state or organisation.
    pub issuer: String,
    /// Whether every check digit fits.
    pub valid: bool,
}

/// Reads the lines, given one below the other or run together. `None` if they have no known shape.
pub fn read_mrz(text: &str) -> Option<Mrz> {
    let joined: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !joined.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'<') {
        return None;
    }
    let visa = joined.first() == Some(&b'V');
    let (kind, width) = match (joined.len(), visa) {
        (90, false) => (MrzKind::Td1, 30),
        (72, false) => (MrzKind::Td2, 36),
        (88, false) => (MrzKind::Td3, 44),
        (88, true) => (MrzKind::MrvA, 44),
        (72, true) => (MrzKind::MrvB, 36),
        _ => return None,
    };
    let lines: Vec<&[u8]> = joined.chunks(width).collect();
    let (number, valid) = match kind {
        MrzKind::Td1 => check_td1(lines[0], lines[1]),
        _ => check_two_lines(kind, lines[1]),
    };
    // A filler stands for each character that is neither letter nor digit, within a document number too (ICAO Doc 9303).
    let text = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != b'<').map(|byte| char::from(*byte)).collect();
    Some(Mrz { kind, document_number: text(&number), issuer: text(&lines[0][2..5]), valid })
}

fn check_td1(upper: &[u8], middle: &[u8]) -> (Vec<u8>, bool) {
    let composite: Vec<u8> = [&upper[5..30], &middle[..7], &middle[8..15], &middle[18..29]].concat();
    let (number, number_fits) = document_number(&upper[5..15], &upper[15..30]);
    let valid = number_fits
        && fits(&middle[..6], middle[6])
        && fits(&middle[8..14], middle[14])
        && fits(&composite, middle[29]);
    (number, valid)
}

/// The number out of its nine places and its check digit, and whether they fit. A longer number of a card has a filler in
/// place of the digit, and goes on in the optional data, up to a filler, with the digit over all of it at the end (ICAO
/// Doc 9303-5, 4.2.2, and 9303-6, 4.2.2, note j).
fn document_number(places: &[u8], optional: &[u8]) -> (Vec<u8>, bool) {
    let (number, digit) = (&places[..9], places[9]);
    let rest = optional.split(|byte| *byte == b'<').next().unwrap_or_default();
    match rest.split_last() {
        Some((digit, rest)) if places[9] == b'<' && !rest.is_empty() => {
            let number = [number, rest].concat();
            let fits = fits(&number, *digit);
            (number, fits)
        }
        _ => (number.to_vec(), fits(number, digit)),
    }
}

fn check_two_lines(kind: MrzKind, lower: &[u8]) -> (Vec<u8>, bool) {
    let optional = if kind == MrzKind::Td2 { &lower[28..35] } else { &[] };
    let (number, number_fits) = document_number(&lower[..10], optional);
    let mut valid = number_fits && fits(&lower[13..19], lower[19]) && fits(&lower[21..27], lower[27]);
    let composite = |end: usize| [&lower[..10], &lower[13..20], &lower[21..end]].concat();
    match kind {
        MrzKind::Td3 => {
            // The digit over the optional data may be a filler where there are none.
            let optional =
                fits(&lower[28..42], lower[42]) || (lower[42] == b'<' && lower[28..42].iter().all(|b| *b == b'<'));
            valid = valid && optional && fits(&composite(43), lower[43]);
        }
        MrzKind::Td2 => valid = valid && fits(&composite(35), lower[35]),
        MrzKind::MrvA | MrzKind::MrvB | MrzKind::Td1 => {}
    }
    (number, valid)
}

/// Weights 7 3 1, A = 10 to Z = 35, `<` = 0, modulo 10.
fn fits(bytes: &[u8], check: u8) -> bool {
    let sum: u32 = bytes
        .iter()
        .zip([7, 3, 1].into_iter().cycle())
        .map(|(byte, weight)| {
            let value = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                _ => 0,
            };
            u32::from(value) * weight
        })
        .sum();
    check.is_ascii_digit() && u32::from(check - b'0') == sum % 10
}

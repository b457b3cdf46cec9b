//! Licence plates: the forms of GA 36, and a canonical spelling for all others.
//!
//! A plate is folded (full width, lower case, separators) and then compared with the forms of
//! GA 36. Plates of other countries keep their folded spelling. `-` is both a separator that
//! people write and the mark of VIID for a character that was not read; the folded text decides:
//! if it is a plate without the hyphens, they were separators, else the reading is partial. A
//! partial reading never makes an exact hit. Length alone proves nothing: a new-energy plate that
//! lost a character reads as an ordinary one (DOMAIN.md 3).

use super::fold_width;

/// The forms of GA 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are their own documentation")]
pub enum PlateKind {
    Ordinary,
    Trailer,
    HkMacao,
    Coach,
    Police,
    NewEnergySmall,
    NewEnergyLarge,
    Embassy,
    Consulate,
}

impl PlateKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Trailer => "trailer",
            Self::HkMacao => "hk_macao",
            Self::Coach => "coach",
            Self::Police => "police",
            Self::NewEnergySmall => "new_energy_small",
            Self::NewEnergyLarge => "new_energy_large",
            Self::Embassy => "embassy",
            Self::Consulate => "consulate",
        }
    }
}

/// What a text says about a plate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlateReading {
    /// A plate in canonical spelling, and its form if it is one of GA 36.
    Plate {
        /// Canonical spelling.
        text: String,
        /// Form of GA 36; `None` for other countries and misreads.
        kind: Option<PlateKind>,
    },
    /// Some characters were not read (`-`).
    Partial,
    /// No plate, or none that was read.
    Unread,
}

const PROVINCES: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼";
const UNREAD: &[&str] = &["无车牌", "未识别", "车牌", "无牌", "UNKNOWN", "NOPLATE", "NONE", "NULL", "UNRECOGNIZED"];

/// Reads a plate.
///
/// ```
/// use weir_engine::normalise::{PlateKind, PlateReading, read_plate};
/// let read = read_plate("陕a·12345");
/// assert_eq!(read, PlateReading::Plate { text: "陕A12345".into(), kind: Some(PlateKind::Ordinary) });
/// assert_eq!(read_plate("陕A1-3-5"), PlateReading::Partial);
/// ```
pub fn read_plate(raw: &str) -> PlateReading {
    let mut text = String::with_capacity(raw.len());
    let (hyphens, _) = fold(raw, &mut text);
    if text.is_empty() || UNREAD.contains(&text.as_str()) {
        return PlateReading::Unread;
    }
    let kind = plate_kind(&text);
    if kind.is_none() && hyphens > 0 && text.starts_with(|c: char| PROVINCES.contains(c)) {
        return PlateReading::Partial;
    }
    PlateReading::Plate { text, kind }
}

/// Whether a text is surely a plate in canonical spelling: a Chinese character or none, then letters and digits, one
/// digit at least, so that it is none of the words for "not read".
pub(super) fn is_canonical(text: &str) -> bool {
    let rest = match text.as_bytes() {
        // U+4000 to U+9FFF: neither full width nor a separator, and without case.
        [0xe4..=0xe9, _, _, rest @ ..] => rest,
        all => all,
    };
    rest.iter().all(|byte| super::is_folded(*byte)) && rest.iter().any(u8::is_ascii_digit)
}

/// Appends the canonical spelling; `false` for a partial or unread plate. Allocates nothing.
pub(super) fn normalise_plate(raw: &str, out: &mut String) -> bool {
    let start = out.len();
    let (hyphens, _) = fold(raw, out);
    let text = &out[start..];
    let usable = !text.is_empty()
        && !UNREAD.contains(&text)
        && (hyphens == 0 || !text.starts_with(|c: char| PROVINCES.contains(c)) || plate_kind(text).is_some());
    if !usable {
        out.truncate(start);
    }
    usable
}

/// Appends a plate of which some characters were not read, `-` for each; `false` for all others.
pub(super) fn partial_plate(raw: &str, out: &mut String) -> bool {
    if read_plate(raw) != PlateReading::Partial {
        return false;
    }
    for c in raw.chars().map(fold_width) {
        match c {
            '·' | '•' | '‧' | '∙' | '・' | '.' | '\u{feff}' => {}
            c if c.is_whitespace() => {}
            c => out.extend(c.to_uppercase()),
        }
    }
    true
}

/// Folds width and case and drops separators; counts the hyphens it dropped.
pub(super) fn fold(raw: &str, out: &mut String) -> (usize, usize) {
    let mut hyphens = 0;
    let start = out.len();
    for c in raw.chars() {
        match fold_width(c) {
            '-' => hyphens += 1,
            '·' | '•' | '‧' | '∙' | '・' | '.' | '\u{feff}' => {}
            c if c.is_whitespace() => {}
            c => out.extend(c.to_uppercase()),
        }
    }
    (hyphens, out.len() - start)
}

/// The form of GA 36 that a folded text has.
fn plate_kind(text: &str) -> Option<PlateKind> {
    let mut chars = ['\0'; 8];
    let mut len = 0;
    for c in text.chars() {
        *chars.get_mut(len)? = c;
        len += 1;
    }
    let chars = &chars[..len];
    let digits = |range: &[char]| range.iter().all(char::is_ascii_digit);
    let serial = |c: &char| c.is_ascii_digit() || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'O'));
    let new_energy = |c: &char| matches!(c, 'A'..='H' | 'J' | 'K');
    match chars {
        ['使', rest @ ..] if rest.len() == 6 && digits(rest) => Some(PlateKind::Embassy),
        [rest @ .., '使'] if rest.len() == 6 && digits(rest) => Some(PlateKind::Embassy),
        [province, city, rest @ ..] if PROVINCES.contains(*province) && city.is_ascii_uppercase() && serial(city) => {
            match rest {
                [middle @ .., '挂'] if middle.len() == 4 && middle.iter().all(serial) => Some(PlateKind::Trailer),
                [middle @ .., '学'] if middle.len() == 4 && middle.iter().all(serial) => Some(PlateKind::Coach),
                [middle @ .., '警'] if middle.len() == 4 && middle.iter().all(serial) => Some(PlateKind::Police),
                [middle @ .., '领'] if middle.len() == 4 && middle.iter().all(serial) => Some(PlateKind::Consulate),
                [middle @ .., '港' | '澳']
                    if middle.len() == 4 && middle.iter().all(serial) && (*province, *city) == ('粤', 'Z') =>
                {
                    Some(PlateKind::HkMacao)
                }
                rest if rest.len() == 5 && rest.iter().all(serial) => Some(PlateKind::Ordinary),
                [class, fourth, rest @ ..]
                    if rest.len() == 4 && new_energy(class) && serial(fourth) && digits(rest) =>
                {
                    Some(PlateKind::NewEnergySmall)
                }
                [rest @ .., class] if rest.len() == 5 && digits(rest) && new_energy(class) => {
                    Some(PlateKind::NewEnergyLarge)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

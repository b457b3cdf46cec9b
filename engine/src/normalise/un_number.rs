//! UN numbers of dangerous goods (ADR), and other classes of items.

use std::sync::OnceLock;

use super::fold_width;
use crate::record::{Cause, Reason};

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnNumber {
    /// Four digits.
    pub number: u16,
    /// Class, such as `3` or `1`.
    pub class: &'static str,
}

/// The entry with this number, if it exists.
pub fn un_number(number: u16) -> Option<UnNumber> {
    static TABLE: OnceLock<Vec<UnNumber>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        include_str!("un_numbers.csv")
            .lines()
            .filter_map(|line| {
                let (number, class) = line.split_once(',')?;
                Some(UnNumber { number: number.parse().ok()?, class })
            })
            .collect()
    });
    table.binary_search_by_key(&number, |entry| entry.number).ok().map(|at| table[at])
}

/// `UN1203`, `un 1203` and `1203` are `1203`; any other class is lower case.
pub(super) fn normalise_item_class(raw: &str, out: &mut String) -> Result<bool, Cause> {
    let start = out.len();
    for c in raw.trim().chars().map(fold_width) {
        out.extend(c.to_lowercase());
    }
    let text = &out[start..];
    let digits = text.strip_prefix("un").unwrap_or(text).trim_start_matches([' ', '-']);
    if digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) {
        let number: u16 = digits.parse().expect("four digits fit");
        if un_number(number).is_none() {
            out.truncate(start);
            return Err(Reason::NoSuchUnNumber.into());
        }
        let prefix = text.len() - digits.len();
        out.replace_range(start..start + prefix, "");
    }
    Ok(out.len() > start)
}

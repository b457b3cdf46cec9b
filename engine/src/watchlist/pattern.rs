//! Patterns of keys: `?` is one character, `*` any number of them.
//!
//! All patterns of a list are one automaton beside the hash table (`regex`'s lazy DFA): a million exact
//! keys do not pay for a thousand patterns, and a read costs the same for one pattern as for a thousand.

use regex::{RegexSet, RegexSetBuilder};
use weir_rules::schema::Normaliser;

use crate::normalise;

/// Patterns of one list.
pub const PATTERNS_MAX: usize = 10_000;
/// Characters that a pattern must name: one that names fewer fits half a province.
pub const PATTERN_LITERALS_MIN: usize = 3;
/// Longest pattern.
const PATTERN_CHARS_MAX: usize = 64;
/// Memory of the automaton of one list.
const AUTOMATON_BYTES_MAX: usize = 256 << 20;

/// Whether a key as written is a pattern.
pub(super) fn is_pattern(raw: &str) -> bool {
    raw.contains(['?', '*', '？', '＊'])
}

/// A pattern in canonical form: its literal parts as the normaliser writes them.
pub(super) fn canonical(raw: &str, normaliser: Option<Normaliser>) -> Result<String, String> {
    let pattern = normaliser
        .and_then(|normaliser| normalise::fold_text(normaliser, raw))
        .ok_or("keys of this list have no patterns; only plates and document numbers do")?;
    check(&pattern)?;
    Ok(pattern)
}

/// A pattern must say whom it is about.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let literals = pattern.chars().filter(|c| !matches!(c, '?' | '*')).count();
    if literals < PATTERN_LITERALS_MIN {
        return Err(format!(
            "the pattern names {literals} characters; it must name {PATTERN_LITERALS_MIN} at least, or it fits everybody"
        ));
    }
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(format!("the pattern is longer than {PATTERN_CHARS_MAX} characters"));
    }
    Ok(())
}

/// The patterns of a list.
#[derive(Default)]
pub(super) struct Patterns {
    texts: Vec<String>,
    automaton: Option<RegexSet>,
}

impl Patterns {
    pub(super) fn new(texts: Vec<String>) -> Result<Self, String> {
        if texts.is_empty() {
            return Ok(Self::default());
        }
        if texts.len() > PATTERNS_MAX {
            return Err(format!("{} patterns, at most {PATTERNS_MAX} are matched", texts.len()));
        }
        let automaton = RegexSetBuilder::new(texts.iter().map(|text| expression(text)))
            .size_limit(AUTOMATON_BYTES_MAX)
            .build()
            .map_err(|_| "the patterns are too many to be matched at once".to_owned())?;
        Ok(Self { texts, automaton: Some(automaton) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Numbers of the patterns that a key fits, ascending.
    pub(super) fn matches(&self, key: &str) -> Vec<u32> {
        self.automaton
            .as_ref()
            .filter(|automaton| automaton.is_match(key))
            .map(|automaton| automaton.matches(key).iter().map(|number| number as u32).collect())
            .unwrap_or_default()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", String::as_str)
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }
}

fn expression(pattern: &str) -> String {
    let mut expression = String::from(r"\A");
    for c in pattern.chars() {
        match c {
            '?' => expression.push_str("(?s:.)"),
            '*' => expression.push_str("(?s:.*)"),
            c => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(r"\z");
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_keys() {
        let patterns = Patterns::new(vec!["陕A1?3*".into(), "*999".into(), "A.B?".into()]).unwrap();
        assert_eq!(patterns.matches("陕A123"), [0]);
        assert_eq!(patterns.matches("陕A12399999"), [0, 1]);
        assert_eq!(patterns.matches("陕A13"), [] as [u32; 0]);
        assert_eq!(patterns.matches("AXBC"), [] as [u32; 0]);
        assert_eq!(patterns.matches("X陕A123"), [] as [u32; 0]);
    }

    #[test]
    fn a_pattern_says_whom_it_is_about() {
        let plate = Some(Normaliser::PlateV1);
        assert_eq!(canonical("陕a·1？3＊", plate).unwrap(), "陕A1?3*");
        assert_eq!(canonical("e-123*", Some(Normaliser::DocumentV1)).unwrap(), "E123*");
        assert!(canonical("陕A*", plate).is_err());
        assert!(canonical("*", plate).is_err());
        assert!(canonical("12??", Some(Normaliser::ItemClassV1)).is_err());
        assert!(is_pattern("陕A1234？") && !is_pattern("陕A-12345"));
    }
}

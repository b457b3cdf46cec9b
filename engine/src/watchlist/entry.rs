//! One entry of a list, without its key.

use serde::{Deserialize, Serialize};

/// What the authority asks of those who meet the entry: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Tell the authority.
    Inform,
    /// Look closer.
    Check,
    /// Do not let pass.
    Stop,
}

impl Action {
    /// Words of list files.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("inform", Self::Inform), ("check", Self::Check), ("stop", Self::Stop)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

/// Words of severity, from the least.
pub(super) const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

/// An entry as it stands in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The authority's own number of the entry.
    pub entry_id: &'a str,
    /// It matches before this moment only; whole seconds.
    pub expires_ms: i64,
    /// When the authority looks at it again.
    pub review_by_ms: Option<i64>,
    /// What the authority asks for.
    pub action: Option<Action>,
    /// How grave it is to the authority.
    pub severity: Option<&'static str>,
    /// File reference.
    pub case_ref: Option<&'a str>,
    /// Handling code.
    pub handling: Option<&'a str>,
}

/// What is kept of an entry beside its key, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawEntry<'a> {
    pub(super) entry_id: &'a str,
    pub(super) expires_s: u32,
    pub(super) review_by_s: u32,
    pub(super) flags: u8,
    pub(super) case_ref: &'a str,
    pub(super) handling: &'a str,
}

impl<'a> RawEntry<'a> {
    pub(super) fn entry(self) -> Entry<'a> {
        Entry {
            entry_id: self.entry_id,
            expires_ms: i64::from(self.expires_s) * 1000,
            review_by_ms: (self.review_by_s > 0).then(|| i64::from(self.review_by_s) * 1000),
            action: action_of(self.flags),
            severity: severity_of(self.flags),
            case_ref: Some(self.case_ref).filter(|text| !text.is_empty()),
            handling: Some(self.handling).filter(|text| !text.is_empty()),
        }
    }
}

/// Action and severity in one byte: bits 0 and 1, and bits 2 to 4; 0 says nothing.
pub(super) fn flags(action: Option<Action>, severity: Option<usize>) -> u8 {
    let action = match action {
        None => 0,
        Some(Action::Inform) => 1,
        Some(Action::Check) => 2,
        Some(Action::Stop) => 3,
    };
    action | (severity.map_or(0, |at| at as u8 + 1) << 2)
}

fn action_of(flags: u8) -> Option<Action> {
    match flags & 3 {
        1 => Some(Action::Inform),
        2 => Some(Action::Check),
        3 => Some(Action::Stop),
        _ => None,
    }
}

fn severity_of(flags: u8) -> Option<&'static str> {
    SEVERITIES.get(usize::from(flags >> 2 & 7).checked_sub(1)?).copied()
}

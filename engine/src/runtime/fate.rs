//! What became of each record of a batch.

use crate::source::Outcome;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Duplicate,
    /// The device's progress before the record.
    Admitted(i64),
    Late(i64),
}

impl Fate {
    /// The device's progress before the record; nothing for a duplicate.
    pub(super) fn progress_ms(self) -> Option<i64> {
        match self {
            Self::Duplicate => None,
            Self::Admitted(progress_ms) | Self::Late(progress_ms) => Some(progress_ms),
        }
    }

    /// It came too late for somebody.
    pub(super) fn turn_late(&mut self) {
        if let Self::Admitted(progress_ms) = *self {
            *self = Self::Late(progress_ms);
        }
    }

    /// Counts it in an answer to its sender.
    pub(super) fn count_in(self, outcome: &mut Outcome) {
        match self {
            Self::Duplicate => outcome.duplicate += 1,
            Self::Admitted(_) => outcome.evaluated += 1,
            Self::Late(_) => outcome.late += 1,
        }
    }
}

/// Fates of one kind's records.
pub(super) type KindFates = Vec<Fate>;

/// Fates by kind and record.
pub(super) struct Fates {
    pub(super) of_kind: Vec<KindFates>,
}

impl Fates {
    pub(super) fn new(kinds: usize) -> Self {
        Self { of_kind: vec![Vec::new(); kinds] }
    }
}

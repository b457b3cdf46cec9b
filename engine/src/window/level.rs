//! Two-threshold levels with dwell: entered at or above one value, left below a lower one, each
//! only after enough windows in a row.

use serde::{Deserialize, Serialize};
use weir_rules::pack::Level;

/// What a window changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Enter,
    Exit,
    /// It is expected to be entered.
    Expected,
    /// No values come any more.
    Silent,
    /// Values have returned.
    Heard,
}

impl Change {
    /// The word in an alert.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Expected => "expected",
            Self::Silent => "silent",
            Self::Heard => "heard",
        }
    }
}

/// The thresholds that hold for a key at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thresholds {
    pub(crate) enter: f64,
    pub(crate) exit: f64,
}

/// One level of one key.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct LevelState {
    active: bool,
    /// Windows in a row that speak for the other state.
    streak: u32,
    /// The end of the window of which it was told before it closed that it enters the level.
    pub(crate) told_early: Option<i64>,
    /// Whether it was told that the level will be entered.
    pub(crate) expected: bool,
}

impl LevelState {
    /// Takes the value of the next window. `follows` says whether it is the one right after the last.
    pub(crate) fn step(&mut self, level: &Level, at: Thresholds, value: f64, follows: bool) -> Option<Change> {
        let against = if self.active { value < at.exit } else { value >= at.enter };
        if !against {
            self.streak = 0;
            return None;
        }
        self.streak = if follows { self.streak + 1 } else { 1 };
        let needed = if self.active { level.exit_windows } else { level.enter_windows };
        if self.streak < needed {
            return None;
        }
        self.streak = 0;
        self.active = !self.active;
        Some(if self.active { Change::Enter } else { Change::Exit })
    }

    /// Whether a value at or above the threshold in the next window would enter the level.
    pub(crate) fn would_enter(&self, level: &Level, follows: bool) -> bool {
        !self.active && if follows { self.streak + 1 } else { 1 } >= level.enter_windows
    }

    /// Whether the level holds.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_rules::pack::RuleSeverity;

    fn changes(values: &[f64]) -> Vec<(usize, Change)> {
        let level = Level {
            name: "a".into(),
            enter: 4.0,
            enter_windows: 2,
            exit: 3.0,
            exit_windows: 3,
            severity: RuleSeverity::High,
            for_zones: Vec::new(),
            propose: None,
        };
        let mut state = LevelState::default();
        values
            .iter()
            .enumerate()
            .filter_map(|(at, value)| {
                Some((at, state.step(&level, Thresholds { enter: 4.0, exit: 3.0 }, *value, true)?))
            })
            .collect()
    }

    #[test]
    fn dwell_and_hysteresis() {
        assert_eq!(
            changes(&[4.0, 3.9, 4.0, 4.0, 2.0, 2.0, 3.0, 2.9, 2.9, 2.9, 9.0]),
            [(3, Change::Enter), (9, Change::Exit)]
        );
        assert_eq!(changes(&[3.9, 3.1, 3.9]), []);
    }

    #[test]
    fn a_gap_breaks_a_streak() {
        let level = Level {
            name: "a".into(),
            enter: 1.0,
            enter_windows: 2,
            exit: 1.0,
            exit_windows: 1,
            severity: RuleSeverity::High,
            for_zones: Vec::new(),
            propose: None,
        };
        let mut state = LevelState::default();
        let at = Thresholds { enter: 1.0, exit: 1.0 };
        assert_eq!(state.step(&level, at, 2.0, true), None);
        assert_eq!(state.step(&level, at, 2.0, false), None);
        assert_eq!(state.step(&level, at, 2.0, true), Some(Change::Enter));
    }
}

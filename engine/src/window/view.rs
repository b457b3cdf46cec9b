//! Windows of one length over panes: which closed last, and sums that move on with them.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use super::measure::Sliding;
use super::panes::{GroupKey, Groups};

/// Length of a window, and how often one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ViewLength {
    pub(crate) last_ms: i64,
    pub(crate) every_ms: i64,
}

/// Windows of one length over the panes.
pub(super) struct View {
    pub(super) length: ViewLength,
    /// Earlier panes are in no window that is still open.
    pub(super) from: i64,
    pub(super) closed_to_ms: Option<i64>,
    /// Windows of several panes: the panes inside, summed; unused for what does not slide.
    pub(super) sliding: HashMap<GroupKey, Sliding, RandomState>,
    /// Panes before this one have entered `sliding`.
    entered_to: i64,
    /// Panes before this one have left it again.
    left_to: i64,
}

/// A [`View`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedView {
    pub(super) length: ViewLength,
    from: i64,
    closed_to_ms: Option<i64>,
    entered_to: i64,
    left_to: i64,
}

impl View {
    pub(super) fn new(length: ViewLength) -> Self {
        Self {
            length,
            from: i64::MIN,
            closed_to_ms: None,
            sliding: HashMap::default(),
            entered_to: i64::MIN,
            left_to: i64::MIN,
        }
    }

    /// Panes up to a window's end enter the sums. They are complete: the watermark has passed them.
    pub(super) fn slide_to(&mut self, open: &BTreeMap<i64, Groups>, measure: &Measure, to: i64) {
        for groups in open.range(self.entered_to.min(to)..to).map(|(_, groups)| groups) {
            for (key, accumulator) in groups {
                let sliding = self.sliding.entry(*key).or_insert_with(|| Sliding::new(measure).expect("it slides"));
                sliding.enter(accumulator);
            }
        }
        self.entered_to = to;
    }

    /// Panes that no later window of this length holds leave the sums.
    pub(super) fn slide_out(&mut self, open: &BTreeMap<i64, Groups>) {
        let to = self.from.min(self.entered_to);
        for groups in open.range(self.left_to.min(to)..to).map(|(_, groups)| groups) {
            for (key, accumulator) in groups {
                let Some(sliding) = self.sliding.get_mut(key) else { continue };
                if sliding.leave(accumulator) {
                    self.sliding.remove(key);
                }
            }
        }
        self.left_to = to;
    }

    /// Panes enter and leave sums that are kept elsewhere.
    pub(super) fn pass(&mut self, to: i64) {
        self.entered_to = to;
        self.left_to = self.from.min(to);
    }

    pub(super) fn save(&self) -> SavedView {
        SavedView {
            length: self.length,
            from: self.from,
            closed_to_ms: self.closed_to_ms,
            entered_to: self.entered_to,
            left_to: self.left_to,
        }
    }

    /// Takes over what was saved, without the sums.
    pub(super) fn load(&mut self, saved: &SavedView) {
        (self.from, self.closed_to_ms) = (saved.from, saved.closed_to_ms);
        (self.entered_to, self.left_to) = (saved.entered_to, saved.left_to);
    }

    /// Makes the sums out of the panes that have entered them and not left.
    pub(super) fn make_anew(&mut self, open: &BTreeMap<i64, Groups>, measure: &Measure) {
        self.sliding.clear();
        let to = std::mem::replace(&mut self.entered_to, self.left_to);
        self.slide_to(open, measure, to);
        self.entered_to = to;
    }
}

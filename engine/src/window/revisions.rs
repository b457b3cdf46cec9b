//! Late records that change windows which were told already.
//!
//! When a late record takes effect is decided by how far its own device had come, not by the moment of its arrival:
//! with the first window that ends after that. So neither batches nor other devices decide which revision holds what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::panes::{GroupKey, Observation};
use crate::record::SymbolId;

#[derive(Default)]
pub(super) struct Revisions {
    /// By the end of the window with which they take effect.
    waiting: BTreeMap<i64, Vec<Observation>>,
    count: usize,
    /// The last revision of each window that was told, by end and key.
    told: BTreeMap<(i64, GroupKey), u32>,
    /// Instants of late records that have taken effect, and their devices.
    instants: BTreeSet<(i64, SymbolId)>,
}

/// [`Revisions`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedRevisions {
    waiting: Vec<(i64, Vec<Observation>)>,
    told: Vec<(i64, GroupKey, u32)>,
    instants: Vec<(i64, SymbolId)>,
}

impl Revisions {
    /// Late records that wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn add(&mut self, due_ms: i64, observation: Observation) {
        self.count += 1;
        self.waiting.entry(due_ms).or_default().push(observation);
    }

    /// The next late records, if they take effect by `to_ms`.
    pub(super) fn next(&mut self, to_ms: i64) -> Option<Vec<Observation>> {
        let first = self.waiting.first_entry().filter(|first| *first.key() <= to_ms)?;
        let late = first.remove();
        self.count -= late.len();
        Some(late)
    }

    pub(super) fn told(&mut self, end_ms: i64, key: GroupKey, revision: u32) {
        self.told.insert((end_ms, key), revision);
    }

    /// The number of a window's next revision; 0 if it was never told.
    pub(super) fn next_revision(&mut self, end_ms: i64, key: GroupKey) -> u32 {
        *self.told.entry((end_ms, key)).and_modify(|revision| *revision += 1).or_insert(0)
    }

    /// A device reported late at an instant that nobody knew of.
    pub(super) fn report(&mut self, ts_ms: i64, device: SymbolId) {
        self.instants.insert((ts_ms, device));
    }

    /// Instants that a device reported late within a time.
    pub(super) fn instants(&self, range: Range<i64>, device: SymbolId) -> u64 {
        self.instants.range((range.start, 0)..(range.end, 0)).filter(|(_, known)| *known == device).count() as u64
    }

    /// Windows that end before this cannot be revised any more.
    pub(super) fn forget_before(&mut self, end_ms: i64) {
        while self.instants.first().is_some_and(|(first, _)| *first < end_ms) {
            self.instants.pop_first();
        }
        while self.told.first_key_value().is_some_and(|((first, _), _)| *first < end_ms) {
            self.told.pop_first();
        }
    }

    pub(super) fn save(&self) -> SavedRevisions {
        SavedRevisions {
            waiting: self.waiting.iter().map(|(due, late)| (*due, late.clone())).collect(),
            told: self.told.iter().map(|((end, key), revision)| (*end, *key, *revision)).collect(),
            instants: self.instants.iter().copied().collect(),
        }
    }

    pub(super) fn load(&mut self, saved: SavedRevisions) {
        for (due_ms, late) in saved.waiting {
            for observation in late {
                self.add(due_ms, observation);
            }
        }
        self.instants = saved.instants.into_iter().collect();
        self.told = saved.told.into_iter().map(|(end, key, revision)| ((end, key), revision)).collect();
    }
}

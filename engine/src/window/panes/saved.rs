//! Panes as they are kept in a checkpoint, and as they are taken over by others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GroupKey, Groups, Panes};
use crate::window::counters::SavedCounters;
use crate::window::ledgers::{Ledgers, SavedLedgers};
use crate::window::measure::{Accumulator, SavedAccumulator};
use crate::window::revisions::{Revisions, SavedRevisions};
use crate::window::roster::SavedRoster;
use crate::window::view::{SavedView, View};

/// What each pane holds, both ascending.
type SavedOpen = Vec<(i64, Vec<(GroupKey, SavedAccumulator)>)>;

/// [`Panes`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedPanes {
    open: SavedOpen,
    learned: SavedRoster,
    views: Vec<SavedView>,
    ledgers: Option<SavedLedgers>,
    counters: SavedCounters,
    revisions: Option<SavedRevisions>,
    overflow: u64,
}

impl Panes {
    /// The views have changed, and with them perhaps what the panes are best made of.
    pub(super) fn reshape(&mut self) {
        let next = self.new_near();
        if self.near.is_none() && next.is_none() {
            return;
        }
        let open = self.save_open();
        (self.open, self.groups, self.values, self.near) = (BTreeMap::new(), 0, 0, next);
        self.load_open(open);
        self.make_sums_anew();
    }

    fn make_sums_anew(&mut self) {
        for at in 0..self.views.len() {
            if self.slides(&self.views[at].length) {
                self.views[at].make_anew(&self.open, &self.measure);
            }
        }
    }

    pub(crate) fn save(&self) -> SavedPanes {
        SavedPanes {
            open: self.save_open(),
            learned: self.roster.save(),
            views: self.views.iter().map(View::save).collect(),
            ledgers: self.ledgers.as_ref().map(Ledgers::save),
            counters: self.counters.save(),
            revisions: self.revisions.as_ref().map(Revisions::save),
            overflow: self.overflow,
        }
    }

    fn save_open(&self) -> SavedOpen {
        if let Some(near) = &self.near {
            return near.save();
        }
        let save = |groups: &Groups| {
            let mut groups: Vec<_> = groups.iter().map(|(key, it)| (*key, it.save())).collect();
            groups.sort_unstable_by_key(|(key, _)| *key);
            groups
        };
        self.open.iter().map(|(pane, groups)| (*pane, save(groups))).collect()
    }

    fn load_open(&mut self, saved: SavedOpen) {
        if let Some(near) = &mut self.near {
            for (pane, groups) in saved {
                for (key, saved) in groups {
                    near.take(key, pane, saved);
                }
            }
            return;
        }
        for (pane, groups) in saved {
            let groups: Groups = groups.into_iter().map(|(key, it)| (key, Accumulator::load(it))).collect();
            self.groups += groups.len();
            self.values += groups.values().map(Accumulator::values).sum::<usize>();
            self.open.insert(pane, groups);
        }
    }

    /// Takes over what was saved. Sums of windows are made anew out of their panes.
    pub(crate) fn load(&mut self, saved: SavedPanes) {
        self.overflow = saved.overflow;
        self.roster.load(saved.learned);
        self.counters.load(saved.counters);
        if let (Some(ledgers), Some(saved)) = (&mut self.ledgers, saved.ledgers) {
            ledgers.load(saved);
        }
        if let (Some(revisions), Some(saved)) = (&mut self.revisions, saved.revisions) {
            revisions.load(saved);
        }
        for view in &mut self.views {
            if let Some(saved) = saved.views.iter().find(|saved| saved.length == view.length) {
                view.load(saved);
            }
        }
        self.near = self.new_near();
        self.load_open(saved.open);
        self.make_sums_anew();
    }
}

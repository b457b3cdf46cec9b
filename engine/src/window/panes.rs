//! Panes of one measure over one set of records, and the windows they add up to.
//!
//! Rules that count the same records by the same key in panes of the same length share the panes,
//! however long their windows are: each length is a [`View`] that slides over them.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use super::measure::{Accumulator, Contribution, SavedAccumulator, Sliding};
use super::reporters::Reporters;
use crate::record::SymbolId;
use crate::testing::sabotage::{self, Wrong};

/// Numbers of the key's values; unused places are 0.
pub(crate) type GroupKey = [SymbolId; 4];

/// One record, as a window rule sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation {
    /// Event time.
    pub(crate) ts_ms: i64,
    /// Key; `None` when a key column is empty, such as outside all zones.
    pub(crate) key: Option<GroupKey>,
    /// What it adds.
    pub(crate) contribution: Contribution,
}

type Groups = HashMap<GroupKey, Accumulator, RandomState>;

/// Devices of one zone of the zone table.
#[derive(Debug, Clone)]
pub(crate) enum ZoneDevices {
    /// As the table says.
    Declared(Vec<SymbolId>),
    /// As reported so far: device, and the first pane in which it saw somebody there.
    Learned(Vec<(SymbolId, i64)>),
}

/// Which devices watch which zones of the zone table; empty for rules that are not keyed by zone.
pub(crate) type ZoneRoster = HashMap<GroupKey, ZoneDevices, RandomState>;

/// The value of one key in one closed window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closed {
    pub(crate) key: GroupKey,
    pub(crate) end_ms: i64,
    pub(crate) value: f64,
    /// Share of the zone's devices that reported, where it is known which they are.
    pub(crate) completeness: Option<f64>,
}

/// Length of a window, and how often one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ViewLength {
    pub(crate) last_ms: i64,
    pub(crate) every_ms: i64,
}

/// Windows of one length over the panes.
struct View {
    length: ViewLength,
    /// Earlier panes are in no window that is still open.
    from: i64,
    closed_to_ms: Option<i64>,
    /// Windows of several panes: the panes inside, summed; unused for extremes.
    sliding: HashMap<GroupKey, Sliding, RandomState>,
    /// Panes before this one have entered `sliding`.
    entered_to: i64,
    /// Panes before this one have left it again.
    left_to: i64,
}

impl View {
    fn new(length: ViewLength) -> Self {
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
    fn slide_to(&mut self, open: &BTreeMap<i64, Groups>, measure: &Measure, to: i64) {
        for groups in open.range(self.entered_to.min(to)..to).map(|(_, groups)| groups) {
            for (key, accumulator) in groups {
                let sliding = self.sliding.entry(*key).or_insert_with(|| Sliding::new(measure).expect("it slides"));
                sliding.enter(accumulator);
            }
        }
        self.entered_to = to;
    }

    /// Panes that no later window of this length holds leave the sums.
    fn slide_out(&mut self, open: &BTreeMap<i64, Groups>) {
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
}

/// State of one measure over one set of records.
pub(crate) struct Panes {
    measure: Measure,
    pane_ms: i64,
    lateness_ms: i64,
    open: BTreeMap<i64, Groups>,
    groups: usize,
    groups_max: usize,
    roster: ZoneRoster,
    views: Vec<View>,
    /// Observations that found no room.
    pub(crate) overflow: u64,
}

/// [`Panes`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedPanes {
    open: Vec<(i64, Vec<(GroupKey, SavedAccumulator)>)>,
    learned: Vec<(GroupKey, Vec<(SymbolId, i64)>)>,
    views: Vec<SavedView>,
    overflow: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedView {
    length: ViewLength,
    from: i64,
    closed_to_ms: Option<i64>,
    entered_to: i64,
    left_to: i64,
}

impl Panes {
    pub(crate) fn new(
        measure: &Measure,
        pane_ms: i64,
        lateness_ms: i64,
        groups_max: usize,
        roster: ZoneRoster,
        views: impl IntoIterator<Item = ViewLength>,
    ) -> Self {
        Self {
            measure: measure.clone(),
            pane_ms,
            lateness_ms,
            open: BTreeMap::new(),
            groups: 0,
            groups_max,
            roster,
            views: views.into_iter().map(View::new).collect(),
            overflow: 0,
        }
    }

    /// Keeps the views that are wanted and adds those that are new.
    pub(crate) fn want_views(&mut self, wanted: &[ViewLength]) {
        self.views.retain(|view| wanted.contains(&view.length));
        for length in wanted {
            if !self.views.iter().any(|view| view.length == *length) {
                self.views.push(View::new(*length));
            }
        }
    }

    /// Adds a record that passes the condition.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        let Some(key) = observation.key else { return };
        let pane = observation.ts_ms.div_euclid(self.pane_ms);
        if let Some(ZoneDevices::Learned(devices)) = self.roster.get_mut(&key) {
            match devices.iter_mut().find(|(known, _)| *known == observation.contribution.device) {
                Some((_, first)) => *first = pane.min(*first),
                None => devices.push((observation.contribution.device, pane)),
            }
        }
        let groups = self.open.entry(pane).or_default();
        let weighted = matches!(self.measure, Measure::Count);
        if let Some(accumulator) = groups.get_mut(&key) {
            accumulator.add(&observation.contribution, weighted);
        } else if self.groups < self.groups_max {
            self.groups += 1;
            let mut accumulator = Accumulator::new(&self.measure);
            accumulator.add(&observation.contribution, weighted);
            groups.insert(key, accumulator);
        } else {
            self.overflow += 1;
        }
    }

    /// Closes every window that the watermark has passed, those of one length in order of their ends; keys
    /// are not ordered. `to_ms` is the last end that may close at all.
    pub(crate) fn close(
        &mut self,
        reporters: &Reporters,
        watermark_ms: i64,
        to_ms: i64,
        mut emit: impl FnMut(ViewLength, Closed),
    ) {
        let slides = |length: &ViewLength| length.last_ms > self.pane_ms && Sliding::new(&self.measure).is_some();
        for at in 0..self.views.len() {
            let length = self.views[at].length;
            let slides = slides(&length);
            while let Some(end_ms) = self.next_end(&self.views[at], reporters) {
                if end_ms > watermark_ms.saturating_sub(self.lateness_ms) || end_ms > to_ms {
                    break;
                }
                if slides {
                    self.views[at].slide_to(&self.open, &self.measure, end_ms.div_euclid(self.pane_ms));
                }
                self.close_one(&self.views[at], reporters, end_ms, slides, |closed| emit(length, closed));
                let view = &mut self.views[at];
                view.closed_to_ms = Some(end_ms);
                view.from = (end_ms + length.every_ms - length.last_ms).div_euclid(self.pane_ms);
                if slides {
                    view.slide_out(&self.open);
                }
            }
        }
        let from = self.needed_from();
        while self.open.first_key_value().is_some_and(|(first, _)| *first < from) {
            self.groups -= self.open.pop_first().map_or(0, |(_, groups)| groups.len());
        }
    }

    /// The end of the next window in which a device reported.
    fn next_end(&self, view: &View, reporters: &Reporters) -> Option<i64> {
        let every_ms = view.length.every_ms;
        let first_end_ms = (reporters.first_from(view.from)? + 1) * self.pane_ms;
        let mut end_ms = first_end_ms.div_euclid(every_ms) * every_ms;
        if end_ms < first_end_ms {
            end_ms += every_ms;
        }
        Some(view.closed_to_ms.map_or(end_ms, |closed_to_ms| end_ms.max(closed_to_ms + every_ms)))
    }

    /// The first pane that a window still open may hold.
    pub(crate) fn needed_from(&self) -> i64 {
        self.views.iter().map(|view| view.from).min().unwrap_or(i64::MAX)
    }

    fn close_one(&self, view: &View, reporters: &Reporters, end_ms: i64, slides: bool, mut emit: impl FnMut(Closed)) {
        let range = (end_ms - view.length.last_ms).div_euclid(self.pane_ms)..end_ms.div_euclid(self.pane_ms);
        let (range, slides) =
            if sabotage::is(Wrong::FirstPaneDropped) { (range.start + 1..range.end, false) } else { (range, slides) };
        let instants = |device: u32| reporters.instants(range.clone(), device);
        let reported = |device: SymbolId| reporters.reported(range.clone(), device);
        // How many devices the zone has by the end of this window, and how many of them reported.
        let watch = |devices: &ZoneDevices| -> (usize, usize) {
            match devices {
                ZoneDevices::Declared(devices) => {
                    (devices.len(), devices.iter().filter(|device| reported(**device)).count())
                }
                ZoneDevices::Learned(devices) => {
                    let known = devices.iter().filter(|(_, first)| *first < range.end).map(|(device, _)| *device);
                    known.fold((0, 0), |(all, here), device| (all + 1, here + usize::from(reported(device))))
                }
            }
        };
        let completeness = |key: &GroupKey| {
            let (known, reported) = watch(self.roster.get(key)?);
            (known > 0).then(|| reported as f64 / known as f64)
        };
        let mut push = |key: GroupKey, value: Option<f64>| {
            if let Some(value) = value {
                emit(Closed { key, end_ms, value, completeness: completeness(&key) });
            }
        };
        let mut keys: BTreeSet<GroupKey> = BTreeSet::new();
        if slides {
            for (key, sliding) in &view.sliding {
                keys.insert(*key);
                push(*key, sliding.value(instants));
            }
        } else if range.end - range.start == 1 {
            for (key, accumulator) in self.open.get(&range.start).into_iter().flatten() {
                keys.insert(*key);
                push(*key, accumulator.value(instants));
            }
        } else {
            let mut sums: Groups = HashMap::default();
            for (key, accumulator) in self.open.range(range.clone()).flat_map(|(_, groups)| groups) {
                sums.entry(*key).or_insert_with(|| Accumulator::new(&self.measure)).merge(accumulator);
            }
            for (key, accumulator) in sums {
                keys.insert(key);
                push(key, accumulator.value(instants));
            }
        }
        for (key, devices) in &self.roster {
            if !keys.contains(key) && watch(devices).1 > 0 {
                push(*key, Accumulator::zero(&self.measure));
            }
        }
    }

    pub(crate) fn save(&self) -> SavedPanes {
        let mut learned: Vec<_> = self
            .roster
            .iter()
            .filter_map(|(key, devices)| match devices {
                ZoneDevices::Learned(devices) if !devices.is_empty() => Some((*key, devices.clone())),
                _ => None,
            })
            .collect();
        learned.sort_unstable();
        SavedPanes {
            open: self
                .open
                .iter()
                .map(|(pane, groups)| {
                    let mut groups: Vec<_> = groups.iter().map(|(key, it)| (*key, it.save())).collect();
                    groups.sort_unstable_by_key(|(key, _)| *key);
                    (*pane, groups)
                })
                .collect(),
            learned,
            views: self
                .views
                .iter()
                .map(|view| SavedView {
                    length: view.length,
                    from: view.from,
                    closed_to_ms: view.closed_to_ms,
                    entered_to: view.entered_to,
                    left_to: view.left_to,
                })
                .collect(),
            overflow: self.overflow,
        }
    }

    /// Takes over what was saved. Sums of windows are made anew out of their panes.
    pub(crate) fn load(&mut self, saved: SavedPanes) {
        self.overflow = saved.overflow;
        for (pane, groups) in saved.open {
            self.groups += groups.len();
            self.open.insert(pane, groups.into_iter().map(|(key, it)| (key, Accumulator::load(it))).collect());
        }
        for (key, devices) in saved.learned {
            if let Some(known @ ZoneDevices::Learned(_)) = self.roster.get_mut(&key) {
                *known = ZoneDevices::Learned(devices);
            }
        }
        for saved in saved.views {
            let Some(view) = self.views.iter_mut().find(|view| view.length == saved.length) else { continue };
            (view.from, view.closed_to_ms, view.left_to) = (saved.from, saved.closed_to_ms, saved.left_to);
            view.entered_to = saved.left_to;
            if view.length.last_ms > self.pane_ms && Sliding::new(&self.measure).is_some() {
                view.slide_to(&self.open, &self.measure, saved.entered_to);
            }
            view.entered_to = saved.entered_to;
        }
    }
}

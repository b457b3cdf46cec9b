//! Panes of one window rule, and the windows they add up to.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_rules::pack::{Measure, WindowSpec};

use super::measure::{Accumulator, Contribution, Sliding};
use crate::record::SymbolId;

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

/// Distinct instants of one device in one pane, ascending.
#[derive(Debug, Clone, Default)]
struct Instants(Vec<i64>);

impl Instants {
    fn add(&mut self, ts_ms: i64) {
        match self.0.last() {
            Some(last) if *last == ts_ms => {}
            Some(last) if *last > ts_ms => {
                if let Err(at) = self.0.binary_search(&ts_ms) {
                    self.0.insert(at, ts_ms);
                }
            }
            _ => self.0.push(ts_ms),
        }
    }
}

#[derive(Debug, Default)]
struct Pane {
    groups: HashMap<GroupKey, Accumulator, RandomState>,
    /// Devices that reported, in or out of any zone; with their instants if the measure needs them.
    reporters: HashMap<u32, Instants, RandomState>,
}

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

/// State of one window rule.
pub(crate) struct Panes {
    measure: Measure,
    last_ms: i64,
    every_ms: i64,
    pane_ms: i64,
    lateness_ms: i64,
    /// By position in time: pane p covers `[p * pane_ms, (p + 1) * pane_ms)`.
    open: BTreeMap<i64, Pane>,
    groups: usize,
    groups_max: usize,
    roster: ZoneRoster,
    /// Windows of several panes: the panes inside, summed; unused for extremes.
    sliding: HashMap<GroupKey, Sliding, RandomState>,
    /// Panes before this one have entered `sliding`.
    entered_to: i64,
    /// Observations that found no room.
    pub(crate) overflow: u64,
    closed_to_ms: Option<i64>,
}

impl Panes {
    pub(crate) fn new(spec: &WindowSpec, groups_max: usize, roster: ZoneRoster) -> Self {
        Self {
            measure: spec.measure.clone(),
            last_ms: spec.last_ms,
            every_ms: spec.every_ms,
            pane_ms: spec.pane_ms(),
            lateness_ms: spec.lateness_ms,
            open: BTreeMap::new(),
            groups: 0,
            groups_max,
            roster,
            sliding: HashMap::default(),
            entered_to: i64::MIN,
            overflow: 0,
            closed_to_ms: None,
        }
    }

    /// Whether a record comes after its pane has closed for its device; by how much if so.
    pub(crate) fn late_by_ms(&self, ts_ms: i64, device_progress_ms: i64) -> Option<i64> {
        let pane_end_ms = (ts_ms.div_euclid(self.pane_ms) + 1) * self.pane_ms;
        let watermark_ms = device_progress_ms - self.lateness_ms;
        (pane_end_ms <= watermark_ms).then(|| watermark_ms - ts_ms)
    }

    /// A device reported at this instant, wherever it looked.
    pub(crate) fn report(&mut self, ts_ms: i64, device: u32) {
        let pane = self.open.entry(ts_ms.div_euclid(self.pane_ms)).or_default();
        let instants = pane.reporters.entry(device).or_default();
        if self.measure == Measure::Snapshot {
            instants.add(ts_ms);
        }
    }

    /// Adds a record that passes the rule's condition.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        let Some(key) = observation.key else { return };
        let pane_index = observation.ts_ms.div_euclid(self.pane_ms);
        if let Some(ZoneDevices::Learned(devices)) = self.roster.get_mut(&key) {
            match devices.iter_mut().find(|(known, _)| *known == observation.contribution.device) {
                Some((_, first)) => *first = pane_index.min(*first),
                None => devices.push((observation.contribution.device, pane_index)),
            }
        }
        let pane = self.open.entry(pane_index).or_default();
        let weighted = matches!(self.measure, Measure::Count);
        if let Some(accumulator) = pane.groups.get_mut(&key) {
            accumulator.add(&observation.contribution, weighted);
        } else if self.groups < self.groups_max {
            self.groups += 1;
            let mut accumulator = Accumulator::new(&self.measure);
            accumulator.add(&observation.contribution, weighted);
            pane.groups.insert(key, accumulator);
        } else {
            self.overflow += 1;
        }
    }

    /// Closes every window that the watermark has passed, in order of their ends; keys are not ordered.
    pub(crate) fn close(&mut self, watermark_ms: i64, emit: &mut Vec<Closed>) {
        while let Some((first, _)) = self.open.first_key_value() {
            let first_end_ms = (first + 1) * self.pane_ms;
            let mut end_ms = first_end_ms.div_euclid(self.every_ms) * self.every_ms;
            if end_ms < first_end_ms {
                end_ms += self.every_ms;
            }
            if let Some(closed_to_ms) = self.closed_to_ms {
                end_ms = end_ms.max(closed_to_ms + self.every_ms);
            }
            if end_ms > watermark_ms - self.lateness_ms {
                break;
            }
            let slides = self.last_ms > self.pane_ms && Sliding::new(&self.measure).is_some();
            if slides {
                self.slide_to(end_ms);
            }
            self.close_one(end_ms, slides, emit);
            self.closed_to_ms = Some(end_ms);
            let keep_from = (end_ms + self.every_ms - self.last_ms).div_euclid(self.pane_ms);
            let kept = self.open.split_off(&keep_from);
            let gone = std::mem::replace(&mut self.open, kept);
            if slides {
                self.slide_out(&gone);
            }
            self.groups -= gone.values().map(|pane| pane.groups.len()).sum::<usize>();
        }
    }

    /// Panes up to the window's end enter the sums. They are complete: the watermark has passed them.
    fn slide_to(&mut self, end_ms: i64) {
        let to = end_ms.div_euclid(self.pane_ms);
        for pane in self.open.range(self.entered_to.min(to)..to).map(|(_, pane)| pane) {
            for (key, accumulator) in &pane.groups {
                let sliding =
                    self.sliding.entry(*key).or_insert_with(|| Sliding::new(&self.measure).expect("it slides"));
                sliding.enter(accumulator);
            }
        }
        self.entered_to = to;
    }

    /// Panes that no later window holds leave the sums.
    fn slide_out(&mut self, gone: &BTreeMap<i64, Pane>) {
        for pane in gone.range(..self.entered_to).map(|(_, pane)| pane) {
            for (key, accumulator) in &pane.groups {
                let Some(sliding) = self.sliding.get_mut(key) else { continue };
                if sliding.leave(accumulator) {
                    self.sliding.remove(key);
                }
            }
        }
    }

    fn close_one(&self, end_ms: i64, slides: bool, emit: &mut Vec<Closed>) {
        let from = (end_ms - self.last_ms).div_euclid(self.pane_ms);
        let to = end_ms.div_euclid(self.pane_ms);
        let panes: Vec<&Pane> = self.open.range(from..to).map(|(_, pane)| pane).collect();
        let instants = |device: u32| -> u64 {
            panes.iter().filter_map(|pane| pane.reporters.get(&device)).map(|instants| instants.0.len() as u64).sum()
        };
        let reported = |device: SymbolId| panes.iter().any(|pane| pane.reporters.contains_key(&device));
        // How many devices the zone has by the end of this window, and how many of them reported.
        let watch = |devices: &ZoneDevices| -> (usize, usize) {
            let known: Vec<SymbolId> = match devices {
                ZoneDevices::Declared(devices) => devices.clone(),
                ZoneDevices::Learned(devices) => {
                    devices.iter().filter(|(_, first)| *first < to).map(|(device, _)| *device).collect()
                }
            };
            (known.len(), known.iter().filter(|device| reported(**device)).count())
        };
        let completeness = |key: &GroupKey| {
            let (known, reported) = watch(self.roster.get(key)?);
            (known > 0).then(|| reported as f64 / known as f64)
        };
        let mut push = |key: GroupKey, value: Option<f64>| {
            let closed = value.map(|value| Closed { key, end_ms, value, completeness: completeness(&key) });
            emit.extend(closed);
        };
        let mut keys: BTreeSet<GroupKey> = BTreeSet::new();
        if let ([pane], false) = (&panes[..], slides) {
            for (key, accumulator) in &pane.groups {
                keys.insert(*key);
                push(*key, accumulator.value(instants));
            }
        } else if slides {
            for (key, sliding) in &self.sliding {
                keys.insert(*key);
                push(*key, sliding.value(instants));
            }
        } else {
            let mut sums: HashMap<GroupKey, Accumulator, RandomState> = HashMap::default();
            for (key, accumulator) in panes.iter().flat_map(|pane| &pane.groups) {
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

    /// Windows that are open, and the groups they hold.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.open.len(), self.groups)
    }
}

//! Which devices reported when: shared by all window rules of one kind, pane length and lateness.
//!
//! A device reports with every record, whatever a rule thinks of it, so that "nobody was seen" and
//! "nothing was heard" stay two things. Whether a record is late is decided here too, once for all
//! those rules.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::record::SymbolId;

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

/// What is shared: pane length and lateness of one kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PaneClock {
    pub(crate) kind: u16,
    pub(crate) pane_ms: i64,
    pub(crate) lateness_ms: i64,
    /// How much later than that a record may still revise what was told.
    pub(crate) revise_for_ms: i64,
}

impl PaneClock {
    /// Position in time: pane p covers `[p * pane_ms, (p + 1) * pane_ms)`.
    pub(crate) fn pane_of(&self, ts_ms: i64) -> i64 {
        ts_ms.div_euclid(self.pane_ms)
    }

    /// Whether a record comes after its pane has closed for its device; by how much if so.
    pub(crate) fn late_by_ms(&self, ts_ms: i64, device_progress_ms: i64) -> Option<i64> {
        let pane_end_ms = (self.pane_of(ts_ms) + 1) * self.pane_ms;
        let watermark_ms = device_progress_ms - self.lateness_ms;
        (pane_end_ms <= watermark_ms).then(|| watermark_ms - ts_ms)
    }
}

/// A set of devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceSet {
    /// One bit for each symbol.
    words: Vec<u64>,
}

impl DeviceSet {
    fn place(device: SymbolId) -> (usize, u64) {
        (device as usize / 64, 1 << (device % 64))
    }

    fn insert(&mut self, device: SymbolId) {
        let (word, bit) = Self::place(device);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Whether a device is in it.
    pub(crate) fn holds(&self, device: SymbolId) -> bool {
        let (word, bit) = Self::place(device);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn add(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    fn iter(&self) -> impl Iterator<Item = SymbolId> {
        let symbols = 0..self.words.len() as SymbolId * 64;
        symbols.filter(|device| self.holds(*device))
    }
}

/// Who reported in one pane.
#[derive(Debug, Default)]
struct Pane {
    devices: DeviceSet,
    /// When, of devices that were asked for it.
    instants: HashMap<SymbolId, Instants, RandomState>,
}

/// Devices by pane.
pub(crate) struct Reporters {
    pub(crate) clock: PaneClock,
    /// Whether a rule divides by instants.
    with_instants: bool,
    panes: BTreeMap<i64, Pane>,
}

/// [`Reporters`] as they are kept in a checkpoint.
pub(crate) type SavedReporters = Vec<(i64, Vec<(SymbolId, Vec<i64>)>)>;

impl Reporters {
    pub(crate) fn new(clock: PaneClock, with_instants: bool) -> Self {
        Self { clock, with_instants, panes: BTreeMap::new() }
    }

    /// From now on instants are kept, if a rule asks for them.
    pub(crate) fn keep_instants(&mut self, with_instants: bool) {
        self.with_instants |= with_instants;
    }

    /// A device reported at this instant, wherever it looked.
    pub(crate) fn report(&mut self, ts_ms: i64, device: SymbolId) {
        if self.clock.pane_ms == 1 {
            // Sessions do not ask who reported.
            return;
        }
        let pane = self.panes.entry(self.clock.pane_of(ts_ms)).or_default();
        pane.devices.insert(device);
        if self.with_instants {
            pane.instants.entry(device).or_default().add(ts_ms);
        }
    }

    /// The first pane from one on in which a device reported.
    pub(crate) fn first_from(&self, pane: i64) -> Option<i64> {
        self.panes.range(pane..).next().map(|(pane, _)| *pane)
    }

    /// The devices that reported in a range of panes.
    pub(crate) fn reported_in(&self, panes: std::ops::Range<i64>) -> DeviceSet {
        let mut reported = DeviceSet::default();
        self.panes.range(panes).for_each(|(_, pane)| reported.add(&pane.devices));
        reported
    }

    /// At how many distinct instants a device reported in a range of panes.
    pub(crate) fn instants(&self, panes: std::ops::Range<i64>, device: SymbolId) -> u64 {
        let panes = self.panes.range(panes).filter_map(|(_, pane)| pane.instants.get(&device));
        panes.map(|instants| instants.0.len() as u64).sum()
    }

    /// Whether a device reported at an instant, as far as instants are kept.
    pub(crate) fn has(&self, ts_ms: i64, device: SymbolId) -> bool {
        let pane = self.panes.get(&self.clock.pane_of(ts_ms));
        pane.and_then(|pane| pane.instants.get(&device)).is_some_and(|it| it.0.binary_search(&ts_ms).is_ok())
    }

    /// No window needs panes before this one any more.
    pub(crate) fn forget_before(&mut self, pane: i64) {
        while self.panes.first_key_value().is_some_and(|(first, _)| *first < pane) {
            self.panes.pop_first();
        }
    }

    /// Panes that are open.
    pub(crate) fn len(&self) -> usize {
        self.panes.len()
    }

    pub(crate) fn save(&self) -> SavedReporters {
        self.panes
            .iter()
            .map(|(at, pane)| {
                let instants = |device| pane.instants.get(&device).map(|instants| instants.0.clone());
                (*at, pane.devices.iter().map(|device| (device, instants(device).unwrap_or_default())).collect())
            })
            .collect()
    }

    pub(crate) fn load(&mut self, saved: SavedReporters) {
        self.panes.clear();
        for (at, devices) in saved {
            let pane = self.panes.entry(at).or_default();
            for (device, instants) in devices {
                pane.devices.insert(device);
                if !instants.is_empty() {
                    pane.instants.insert(device, Instants(instants));
                }
            }
        }
    }
}

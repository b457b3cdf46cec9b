//! Who is inside each zone, and inside the zones made of others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_rules::pack::OccupancySpec;

use super::measure::Accumulator;
use super::occupancy::{Inside, Ledger, ResetClock};
use super::panes::{GroupKey, Groups, KeyFault};

/// Variance of what rounding to a whole number adds or takes.
const ROUNDING_VARIANCE: f64 = 1.0 / 12.0;

pub(super) struct Ledgers {
    spec: OccupancySpec,
    clock: ResetClock,
    /// The zones that are part of a zone.
    parts: BTreeMap<GroupKey, Vec<GroupKey>>,
    /// The zone that a zone is part of.
    wholes: BTreeMap<GroupKey, GroupKey>,
    of: BTreeMap<GroupKey, Ledger>,
}

/// [`Ledgers`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedLedgers(Vec<(GroupKey, Ledger)>);

impl Ledgers {
    pub(super) fn new(spec: &OccupancySpec, parts: BTreeMap<GroupKey, Vec<GroupKey>>) -> Self {
        let wholes = parts.iter().flat_map(|(whole, parts)| parts.iter().map(|part| (*part, *whole))).collect();
        Self { spec: spec.clone(), clock: ResetClock::new(spec), parts, wholes, of: BTreeMap::new() }
    }

    /// Takes a pane, and time up to its end.
    pub(super) fn take(&mut self, pane: Option<&Groups>, end_ms: i64) {
        for key in pane.into_iter().flat_map(|groups| groups.keys()) {
            self.of.entry(*key).or_insert_with(Ledger::new);
        }
        for (key, ledger) in &mut self.of {
            let moments = match pane.and_then(|groups| groups.get(key)) {
                Some(Accumulator::Passages(moments)) => Some(moments),
                _ => None,
            };
            ledger.take(moments, end_ms, &self.spec, &self.clock);
        }
    }

    /// These zones and those that they are part of.
    pub(super) fn with_wholes(&self, keys: &BTreeSet<GroupKey>) -> BTreeSet<GroupKey> {
        let above = |key: &GroupKey| std::iter::successors(Some(*key), |key| self.wholes.get(key).copied());
        keys.iter().flat_map(above).collect()
    }

    /// Who is inside a zone and its parts.
    pub(super) fn inside(&self, key: &GroupKey) -> Inside {
        let own = self.of.get(key).map_or(Inside { people: 0.0, variance: 0.0 }, Ledger::inside);
        self.parts
            .get(key)
            .into_iter()
            .flatten()
            .map(|part| self.inside(part))
            .fold(own, |sum, part| Inside { people: sum.people + part.people, variance: sum.variance + part.variance })
    }

    /// The number that is told: where factors make fractions of people, the nearest whole one, with what rounding adds
    /// to its variance.
    pub(super) fn told(&self, inside: Inside) -> Inside {
        if !self.spec.learn || inside.variance == 0.0 {
            return inside;
        }
        Inside { people: inside.people.round(), variance: inside.variance + ROUNDING_VARIANCE }
    }

    /// What is wrong since this was asked last, with the zone it is about.
    pub(super) fn take_faults(&mut self) -> Vec<KeyFault> {
        let of = self.of.iter_mut().flat_map(|(key, ledger)| {
            ledger.take_faults().into_iter().map(|(kind, device, at_ms)| (*key, kind, device, at_ms))
        });
        of.collect()
    }

    pub(super) fn floored(&self) -> u64 {
        self.of.values().map(|ledger| ledger.floored).sum()
    }

    pub(super) fn save(&self) -> SavedLedgers {
        SavedLedgers(self.of.iter().map(|(key, ledger)| (*key, ledger.clone())).collect())
    }

    pub(super) fn load(&mut self, saved: SavedLedgers) {
        self.of = saved.0.into_iter().collect();
    }
}

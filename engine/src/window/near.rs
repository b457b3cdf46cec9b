//! What panes hold in place of an accumulator for each key and pane, where the windows of several panes can be made of
//! less: sums side by side, different values once.

use std::collections::BTreeMap;
use std::ops::Range;

use weir_rules::pack::Measure;

use super::measure::{Adding, SavedAccumulator, from_micro};
use super::panes::{GroupKey, Observation, Room};
use super::reporters::PaneClock;
use super::sightings::{Sightings, panes_max};
use super::sums::{self, Sums};

/// Windows of a length: their panes, whether they slide, and the pane behind the one of them that closed last.
pub(super) struct NearLength {
    pub(super) panes: i64,
    pub(super) slides: bool,
    pub(super) closed_to: Option<i64>,
}

pub(super) enum Near {
    Values(Sightings<u64>),
    /// The same for longer windows.
    LongValues(Sightings<u128>),
    Sums(Sums, Adding),
}

impl Near {
    /// What fits a measure and windows of these lengths, if anything does.
    pub(super) fn new(measure: &Measure, lengths: &[NearLength]) -> Option<Self> {
        let fits = |fit: &dyn Fn(&NearLength) -> bool| lengths.iter().all(fit);
        match measure {
            Measure::Distinct(_) if fits(&|it| it.slides && it.panes <= panes_max::<u64>()) => {
                Some(Self::Values(Sightings::new(lengths.iter().map(|it| (it.panes, it.closed_to)))))
            }
            Measure::Distinct(_) if fits(&|it| it.slides && it.panes <= panes_max::<u128>()) => {
                Some(Self::LongValues(Sightings::new(lengths.iter().map(|it| (it.panes, it.closed_to)))))
            }
            Measure::Count | Measure::Sum(_) | Measure::Inflow | Measure::Outflow | Measure::NetFlow
                if fits(&|it| it.panes <= sums::PANES_MAX) =>
            {
                Some(Self::Sums(Sums::new(lengths.iter().map(|it| it.panes)), Adding::new(measure)))
            }
            _ => None,
        }
    }

    /// Notes at most [`TOGETHER`](super::sightings::TOGETHER) records; tells for each that has a key whether there was room.
    #[inline]
    pub(super) fn observe(
        &mut self,
        observations: &[Observation],
        clock: PaneClock,
        room: Room,
        told: impl FnMut(GroupKey, bool),
    ) {
        let records = observations.iter().filter_map(|it| Some((it.key?, clock.pane_of(it.ts_ms), &it.contribution)));
        match self {
            Self::Values(values) => {
                values.observe(records.map(|(key, pane, it)| (key, pane, it.digest)), room, told);
            }
            Self::LongValues(values) => {
                values.observe(records.map(|(key, pane, it)| (key, pane, it.digest)), room, told);
            }
            Self::Sums(sums, adding) => {
                let adding = *adding;
                sums.observe(records.map(|(key, pane, it)| (key, pane, adding.amount(it))), room, told);
            }
        }
    }

    /// The values of the windows of a length that end behind the pane before `end`, by key.
    pub(super) fn close(&mut self, length: usize, end: i64) -> Vec<(GroupKey, Option<f64>)> {
        match self {
            Self::Values(values) => values.close(length, end).map(|(key, value)| (key, Some(value))).collect(),
            Self::LongValues(values) => values.close(length, end).map(|(key, value)| (key, Some(value))).collect(),
            Self::Sums(sums, _) => sums.close(length, end).map(|(key, sum)| (key, Some(from_micro(sum)))).collect(),
        }
    }

    /// The value of a key in panes whose window is still open, if it may have reached `at_least` already.
    pub(super) fn partial(&self, key: &GroupKey, panes: &Range<i64>, at_least: f64) -> Option<f64> {
        match self {
            Self::Values(values) => values.partial(key, panes, at_least),
            Self::LongValues(values) => values.partial(key, panes, at_least),
            Self::Sums(sums, _) => sums.partial(key, panes).map(from_micro).filter(|value| *value >= at_least),
        }
    }

    /// Forgets what no window needs that may still close.
    pub(super) fn forget_before(&mut self, from: i64) {
        match self {
            Self::Values(values) => values.forget_before(from),
            Self::LongValues(values) => values.forget_before(from),
            Self::Sums(sums, _) => sums.forget_before(from),
        }
    }

    /// Keys in panes, and values kept one by one.
    pub(super) fn held(&self) -> (usize, usize) {
        match self {
            Self::Values(values) => values.held(),
            Self::LongValues(values) => values.held(),
            Self::Sums(sums, _) => (sums.held(), 0),
        }
    }

    /// What each pane holds, both ascending.
    pub(super) fn save(&self) -> Vec<(i64, Vec<(GroupKey, SavedAccumulator)>)> {
        fn saved<T>(
            panes: BTreeMap<i64, BTreeMap<GroupKey, T>>,
            save: impl Fn(T) -> SavedAccumulator,
        ) -> Vec<(i64, Vec<(GroupKey, SavedAccumulator)>)> {
            let groups = |groups: BTreeMap<GroupKey, T>| groups.into_iter().map(|(key, it)| (key, save(it))).collect();
            panes.into_iter().map(|(pane, it)| (pane, groups(it))).collect()
        }
        match self {
            Self::Values(values) => saved(values.by_pane(), SavedAccumulator::Distinct),
            Self::LongValues(values) => saved(values.by_pane(), SavedAccumulator::Distinct),
            Self::Sums(sums, _) => saved(sums.by_pane(), SavedAccumulator::Sum),
        }
    }

    /// Takes over what a pane held of a key.
    pub(super) fn take(&mut self, key: GroupKey, pane: i64, saved: SavedAccumulator) {
        match (self, saved) {
            (Self::Values(values), SavedAccumulator::Distinct(seen)) => values.take(key, pane, &seen),
            (Self::LongValues(values), SavedAccumulator::Distinct(seen)) => values.take(key, pane, &seen),
            (Self::Sums(sums, _), SavedAccumulator::Sum(sum)) => sums.take(key, pane, sum),
            _ => debug_assert!(false, "panes of one rule hold one measure"),
        }
    }
}

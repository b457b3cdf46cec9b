//! Counters that tell running totals: what is new since the reading before, through resets and roll-overs.
//!
//! Readings wait until the watermark has passed their pane and are then taken in order of event time, so that what a
//! window counts does not depend on the order of arrival.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::FaultKind;
use super::measure::Direction;
use super::panes::{GroupKey, KeyFault, Observation};
use crate::record::SymbolId;

/// Where registers of counters roll over: 4, 5 and 6 digits, 16, 31 and 32 bits.
const REGISTERS: [f64; 6] = [1e4, 65_536.0, 1e5, 1e6, 2_147_483_648.0, 4_294_967_296.0];
/// People who pass one counter in a second at the very most; more is no crowd but a fault.
const PASSAGES_PER_S_MAX: f64 = 50.0;
/// What is believed of a reading that follows at once.
const PASSAGES_MIN: f64 = 100.0;

/// A counter: device, direction and the key it counts for.
type CounterId = (SymbolId, Option<Direction>, GroupKey);

#[derive(Default)]
pub(super) struct Counters {
    /// Readings whose pane is open.
    waiting: BTreeMap<i64, Vec<Observation>>,
    count: usize,
    /// The last reading of each counter, and when.
    last: BTreeMap<CounterId, (f64, i64)>,
}

/// [`Counters`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedCounters {
    waiting: Vec<(i64, Vec<Observation>)>,
    last: Vec<(CounterId, f64, i64)>,
}

impl Counters {
    /// Readings that wait, and counters that are known.
    pub(super) fn len(&self) -> usize {
        self.count + self.last.len()
    }

    pub(super) fn add(&mut self, pane: i64, observation: Observation) {
        self.count += 1;
        self.waiting.entry(pane).or_default().push(observation);
    }

    /// Takes the readings of panes before `to`, in order of event time: each with what is new as its weight. Gives
    /// also what is wrong.
    pub(super) fn take_before(&mut self, to: i64) -> (Vec<Observation>, Vec<KeyFault>) {
        let (mut counted, mut faults) = (Vec::new(), Vec::new());
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < to) {
            let mut readings = first.remove();
            self.count -= readings.len();
            readings.sort_by_key(|it| (it.ts_ms, it.key, it.contribution.device, it.contribution.total));
            for mut reading in readings {
                let (Some(key), Some(total)) = (reading.key, reading.contribution.total.take()) else { continue };
                let id = (reading.contribution.device, reading.contribution.direction, key);
                let total = total as f64 / 1e6;
                let before = self.last.insert(id, (total, reading.ts_ms));
                let (new, fault) = before
                    .map_or((0.0, None), |(last, last_ms)| since(last, total, (reading.ts_ms - last_ms) as f64 / 1e3));
                faults.extend(fault.map(|kind| (key, kind, id.0, reading.ts_ms)));
                reading.contribution.weight = super::to_micro(new);
                counted.push(reading);
            }
        }
        (counted, faults)
    }

    pub(super) fn save(&self) -> SavedCounters {
        SavedCounters {
            waiting: self.waiting.iter().map(|(pane, readings)| (*pane, readings.clone())).collect(),
            last: self.last.iter().map(|(id, (total, at_ms))| (*id, *total, *at_ms)).collect(),
        }
    }

    pub(super) fn load(&mut self, saved: SavedCounters) {
        for (pane, readings) in saved.waiting {
            self.count += readings.len();
            self.waiting.insert(pane, readings);
        }
        self.last = saved.last.into_iter().map(|(id, total, at_ms)| (id, (total, at_ms))).collect();
    }
}

/// What is new since the reading before, and what is wrong with it.
fn since(last: f64, total: f64, seconds: f64) -> (f64, Option<FaultKind>) {
    let believed = PASSAGES_MIN + PASSAGES_PER_S_MAX * seconds;
    let new = total - last;
    if (0.0..=believed).contains(&new) {
        return (new, None);
    }
    if new > 0.0 {
        // Another device under the same name, or a preset.
        return (0.0, Some(FaultKind::CounterJumped));
    }
    let rolled =
        REGISTERS.into_iter().map(|register| register - last + total).find(|new| (0.0..=believed).contains(new));
    match rolled {
        Some(new) => (new, Some(FaultKind::CounterRolledOver)),
        None if total <= believed => (total, Some(FaultKind::CounterReset)),
        None => (0.0, Some(FaultKind::CounterReset)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_through_resets_and_roll_overs() {
        let cases = [
            ((100.0, 130.0), 30.0, None),
            ((100.0, 100.0), 0.0, None),
            // Started anew: what it has counted since.
            ((5_000.0, 12.0), 12.0, Some(FaultKind::CounterReset)),
            // Five digits, and 16 bits.
            ((99_990.0, 15.0), 25.0, Some(FaultKind::CounterRolledOver)),
            ((65_530.0, 4.0), 10.0, Some(FaultKind::CounterRolledOver)),
            // Set to something else: neither fakes a crowd.
            ((100.0, 900_000.0), 0.0, Some(FaultKind::CounterJumped)),
            ((900_000.0, 80_000.0), 0.0, Some(FaultKind::CounterReset)),
        ];
        for ((last, total), new, fault) in cases {
            let got = since(last, total, 10.0);
            assert!((got.0 - new).abs() < 1e-9 && got.1 == fault, "{last} to {total}: {got:?}");
        }
    }
}

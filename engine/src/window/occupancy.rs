//! How many people are inside: passages in and out, put right by absolute readings.
//!
//! Counters miss people, and more going out than coming in, so that a sum of passages drifts. Every absolute reading
//! (a recount) sets the value anew, and what the passages since the last one should have added up to teaches two
//! factors: how many people one counted entry and one counted exit stand for. They are the state of a Bayesian
//! linear regression (a Kalman filter over two constants), which also says how far the value may be off: by what is
//! not yet known of the factors, and by the chance in every single passage.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use weir_rules::pack::OccupancySpec;

use super::fault::{FaultKind, TOLD_AGAIN_MS};
use super::measure::from_micro;
use crate::record::SymbolId;

/// What happened at one instant: in and out in millionths of a person, and the largest absolute reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) entered: i128,
    pub(crate) left: i128,
    pub(crate) reading: Option<i128>,
    /// One of the devices it was seen by, for messages.
    pub(crate) device: SymbolId,
}

impl Moment {
    /// Whether nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        self.entered == 0 && self.left == 0 && self.reading.is_none()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.device = self.device.max(other.device);
        self.entered += other.entered;
        self.left += other.left;
        self.reading = self.reading.max(other.reading);
    }
}

/// Moments of a pane by event time, milliseconds.
pub(crate) type Moments = BTreeMap<i64, Moment>;

/// Standard deviation of a factor before anything has been learned: counters miss up to a tenth.
const FACTOR_SD: f64 = 0.05;
/// By how much the variance of a factor grows with every recount: counters are moved and cleaned.
const FACTOR_DRIFT: f64 = 1e-7;
/// A factor beyond this is no loss of a counter but a fault.
const FACTOR_MAX: f64 = 2.0;
/// Variance of one passage before anything has been learned...
const PASSAGE_VARIANCE: f64 = 0.04;
/// ...and how many passages that belief is worth.
const PASSAGE_BELIEF: f64 = 100.0;
/// From the same reading once more nothing is learned if it is so many standard deviations off.
const REPEAT_SD: f64 = 3.0;
/// The same reading so many times after the first...
const STUCK_READINGS: u32 = 3;
/// ...while so many people more than the margin should have changed it, is stuck.
const STUCK_CHANGE: f64 = 5.0;
/// So many people fewer than nobody are told of; fewer are what a counter misses.
const FLOOR_TOLD: f64 = 3.0;
/// Half of a 95 % interval, in standard deviations.
const INTERVAL_SD: f64 = 1.96;

/// People inside, and how far the number may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Inside {
    pub(crate) people: f64,
    pub(crate) variance: f64,
}

impl Inside {
    /// Half of a 95 % interval.
    pub(crate) fn margin(&self) -> f64 {
        INTERVAL_SD * self.variance.sqrt()
    }
}

/// One zone's account of who is inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    inside: f64,
    /// Counted since the value was last known.
    entered: f64,
    left: f64,
    /// The value then.
    known: f64,
    /// Whether it came from a recount or a reset, and no floor has cut it since.
    is_known: bool,
    /// People for one counted entry and one counted exit.
    factors: [f64; 2],
    /// Covariance of the factors: entry, exit, and both.
    covariance: [f64; 3],
    /// Squares of what recounts found beside what was expected, and passages they were found in.
    squares: f64,
    passages: f64,
    next_reset_ms: Option<i64>,
    /// Times at which more had gone out than were inside.
    pub(crate) floored: u64,
    /// The last reading, how often in a row it was the same, and what passages since should have changed it by.
    last_reading: Option<i128>,
    same_readings: u32,
    changed_since: f64,
    /// When it was last told that the reading is stuck, and that more went out than were inside.
    told_ms: [Option<i64>; 2],
    /// Not yet told.
    #[serde(skip)]
    faults: Vec<(FaultKind, SymbolId, i64)>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            inside: 0.0,
            entered: 0.0,
            left: 0.0,
            known: 0.0,
            // Who was inside before the first record, nobody knows.
            is_known: false,
            factors: [1.0; 2],
            covariance: [FACTOR_SD * FACTOR_SD, FACTOR_SD * FACTOR_SD, 0.0],
            squares: PASSAGE_VARIANCE * PASSAGE_BELIEF,
            passages: PASSAGE_BELIEF,
            next_reset_ms: None,
            floored: 0,
            last_reading: None,
            same_readings: 0,
            changed_since: 0.0,
            told_ms: [None; 2],
            faults: Vec::new(),
        }
    }

    /// Takes the moments of the next pane, and time up to its end.
    pub(crate) fn take(&mut self, moments: Option<&Moments>, end_ms: i64, spec: &OccupancySpec, clock: &ResetClock) {
        for (at_ms, moment) in moments.into_iter().flatten() {
            self.reset_before(*at_ms, clock);
            self.apply(*at_ms, moment, spec.learn);
        }
        self.reset_before(end_ms - 1, clock);
    }

    /// Nobody is inside at the daily reset. The first time that is seen sets the clock.
    fn reset_before(&mut self, at_ms: i64, clock: &ResetClock) {
        let mut next_ms = self.next_reset_ms.or_else(|| clock.next_after(at_ms));
        while let Some(reset_ms) = next_ms.filter(|next_ms| *next_ms <= at_ms) {
            self.know(0.0);
            next_ms = clock.next_after(reset_ms.max(at_ms - DAY_MS));
        }
        self.next_reset_ms = next_ms;
    }

    fn know(&mut self, people: f64) {
        (self.inside, self.known, self.entered, self.left, self.is_known) = (people, people, 0.0, 0.0, true);
    }

    fn apply(&mut self, at_ms: i64, moment: &Moment, learn: bool) {
        let (entered, left) = (from_micro(moment.entered), from_micro(moment.left));
        self.entered += entered;
        self.left += left;
        let change = self.factors[0] * entered - self.factors[1] * left;
        self.inside += change;
        self.changed_since += change;
        if self.inside < 0.0 {
            self.floored += 1;
            if self.inside < -FLOOR_TOLD {
                self.fault(1, FaultKind::NegativeOccupancy, moment.device, at_ms);
            }
            self.inside = 0.0;
            self.is_known = false;
        }
        if let Some(reading) = moment.reading {
            if self.is_stuck(reading) {
                self.fault(0, FaultKind::StuckReading, moment.device, at_ms);
                return;
            }
            let reading = from_micro(reading);
            if learn && self.is_known {
                self.learn(reading - self.known);
            }
            self.know(reading);
        }
    }

    /// Whether a reading is the same once more, though people have come or gone: it must neither fake a crowd nor hide
    /// one.
    fn is_stuck(&mut self, reading: i128) -> bool {
        if self.last_reading != Some(reading) {
            (self.last_reading, self.same_readings, self.changed_since) = (Some(reading), 0, 0.0);
            return false;
        }
        self.same_readings += 1;
        self.same_readings >= STUCK_READINGS && self.changed_since.abs() > STUCK_CHANGE + self.inside().margin()
    }

    fn fault(&mut self, told: usize, kind: FaultKind, device: SymbolId, at_ms: i64) {
        if self.told_ms[told].is_none_or(|told_ms| at_ms - told_ms >= TOLD_AGAIN_MS) {
            self.told_ms[told] = Some(at_ms);
            self.faults.push((kind, device, at_ms));
        }
    }

    /// What is wrong since this was asked last.
    pub(crate) fn take_faults(&mut self) -> Vec<(FaultKind, SymbolId, i64)> {
        std::mem::take(&mut self.faults)
    }

    /// A recount says by how much the number inside has really changed since the last.
    fn learn(&mut self, change: f64) {
        let passages = self.entered + self.left;
        if passages < 1.0 {
            return;
        }
        let [entry, exit, both] = self.covariance;
        let (x, y) = (self.entered, -self.left);
        // Covariance times what was counted, and the variance of what was expected.
        let gain = [entry * x + both * y, both * x + exit * y];
        let expected_variance = x * gain[0] + y * gain[1];
        let variance = expected_variance + self.passage_variance() * passages;
        let found = change - (self.factors[0] * x + self.factors[1] * y);
        if self.same_readings > 0 && found * found > REPEAT_SD * REPEAT_SD * variance {
            // The same reading once more, though much has happened: nothing is learned from what may be stuck.
            return;
        }
        for (factor, gain) in self.factors.iter_mut().zip(gain) {
            *factor = (*factor + gain * found / variance).clamp(1.0 / FACTOR_MAX, FACTOR_MAX);
        }
        self.covariance = [
            entry - gain[0] * gain[0] / variance + FACTOR_DRIFT,
            exit - gain[1] * gain[1] / variance + FACTOR_DRIFT,
            both - gain[0] * gain[1] / variance,
        ];
        // What chance has done, as far as the factors' own uncertainty does not explain it: its mean and its variance.
        let of_chance = self.passage_variance() * passages;
        let share = of_chance / variance;
        self.squares += (found * share) * (found * share) + of_chance * (1.0 - share);
        self.passages += passages;
    }

    fn passage_variance(&self) -> f64 {
        self.squares / self.passages
    }

    pub(crate) fn inside(&self) -> Inside {
        let [entry, exit, both] = self.covariance;
        let (x, y) = (self.entered, -self.left);
        let of_factors = x * x * entry + 2.0 * x * y * both + y * y * exit;
        let of_passages = self.passage_variance() * (self.entered + self.left);
        Inside { people: self.inside, variance: of_factors.max(0.0) + of_passages }
    }
}

const DAY_MS: i64 = 86_400_000;

/// When the daily reset is.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResetClock(Option<(TimeZone, u16)>);

impl ResetClock {
    pub(crate) fn new(spec: &OccupancySpec) -> Self {
        // The rule was checked: its time zone is there.
        Self(spec.reset.as_ref().and_then(|at| Some((TimeZone::get(&at.timezone).ok()?, at.minute % 1_440))))
    }

    /// The first reset after a moment.
    fn next_after(&self, at_ms: i64) -> Option<i64> {
        let (timezone, minute) = self.0.as_ref()?;
        let today = timezone.to_datetime(Timestamp::from_millisecond(at_ms).ok()?).date();
        (0..3).find_map(|days: i64| {
            let time = jiff::civil::time((minute / 60) as i8, (minute % 60) as i8, 0, 0);
            let local = today.checked_add(days.days()).ok()?.to_datetime(time);
            let reset_ms = timezone.to_timestamp(local).ok()?.as_millisecond();
            (reset_ms > at_ms).then_some(reset_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_rules::pack::DailyTime;

    fn moment(entered: i128, left: i128, reading: Option<i128>) -> Moment {
        let micro = |people: i128| people * 1_000_000;
        Moment { entered: micro(entered), left: micro(left), reading: reading.map(micro), device: 1 }
    }

    #[test]
    fn nobody_is_inside_after_the_reset_and_never_fewer_than_nobody() {
        let spec =
            OccupancySpec { reset: Some(DailyTime { minute: 4 * 60, timezone: "Asia/Shanghai".into() }), learn: false };
        let clock = ResetClock::new(&spec);
        // 2026-11-24T03:59:00+08:00
        let start_ms = 1_795_463_940_000;
        let mut ledger = Ledger::new();
        let moments = Moments::from([(start_ms, moment(7, 0, None)), (start_ms + 10_000, moment(0, 2, None))]);
        ledger.take(Some(&moments), start_ms + 60_000, &spec, &clock);
        assert!((ledger.inside().people - 5.0).abs() < 1e-9);
        ledger.take(None, start_ms + 60_001, &spec, &clock);
        assert_eq!(ledger.inside(), Inside { people: 0.0, variance: 0.0 });
        let moments = Moments::from([(start_ms + 70_000, moment(0, 3, None)), (start_ms + 80_000, moment(1, 0, None))]);
        ledger.take(Some(&moments), start_ms + 90_000, &spec, &clock);
        assert_eq!((ledger.inside().people, ledger.floored), (1.0, 1));
        // Three days later, without a word in between.
        ledger.take(None, start_ms + 3 * DAY_MS, &spec, &clock);
        assert!(ledger.inside().people.abs() < 1e-9);
    }

    #[test]
    fn a_reading_that_is_stuck_neither_fakes_a_crowd_nor_hides_one() {
        let spec = OccupancySpec { reset: None, learn: true };
        let mut ledger = Ledger::new();
        let mut faults = Vec::new();
        for step in 0..10_i64 {
            let moments = Moments::from([(step * 1_000, moment(20, 0, Some(30)))]);
            ledger.take(Some(&moments), (step + 1) * 1_000, &spec, &ResetClock::default());
            faults.extend(ledger.take_faults());
        }
        // Three repeats are believed, the fourth is not any more: people come in, and it stays the same.
        assert_eq!(faults, [(FaultKind::StuckReading, 1, 3_000)]);
        assert!(ledger.inside().people > 100.0, "{:?}", ledger.inside());
        // A reading that moves again is taken.
        let moments = Moments::from([(11_000, moment(0, 0, Some(150)))]);
        ledger.take(Some(&moments), 12_000, &spec, &ResetClock::default());
        assert!((ledger.inside().people - 150.0).abs() < 1e-9);
        // A quiet room in which nothing changes is not stuck.
        for step in 12..40_i64 {
            let moments = Moments::from([(step * 1_000, moment(1, 1, Some(150)))]);
            ledger.take(Some(&moments), (step + 1) * 1_000, &spec, &ResetClock::default());
        }
        assert_eq!((ledger.take_faults(), ledger.inside().people), (vec![], 150.0));
        // More go out than were inside.
        let moments = Moments::from([(50_000, moment(0, 170, None))]);
        ledger.take(Some(&moments), 51_000, &spec, &ResetClock::default());
        assert_eq!(ledger.take_faults(), [(FaultKind::NegativeOccupancy, 1, 50_000)]);
    }

    #[test]
    fn the_share_that_is_missed_is_learned() {
        let spec = OccupancySpec { reset: None, learn: true };
        let clock = ResetClock::default();
        let mut ledger = Ledger::new();
        let mut inside = 0;
        for step in 0..400_i128 {
            // Of 50 who come 49 are counted, of 48 who go 46.
            let (entered, left) = if step % 2 == 0 { (50, 24) } else { (50, 72) };
            inside += entered - left;
            let counted = moment(entered * 49 / 50, left * 23 / 24, Some(inside));
            ledger.take(Some(&Moments::from([(step as i64, counted)])), step as i64 + 1, &spec, &clock);
        }
        assert!((ledger.factors[0] - 50.0 / 49.0).abs() < 0.003, "{:?}", ledger.factors);
        assert!((ledger.factors[1] - 24.0 / 23.0).abs() < 0.003, "{:?}", ledger.factors);
    }
}

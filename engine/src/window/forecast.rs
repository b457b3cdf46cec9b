//! What a count will be in a while: level, trend and season, learned online, with an interval.
//!
//! Three experts look ahead: one knows the last value and its trend, one the profile of a day, one the profile of a
//! week; the last two carry on by how much the present differs from their profile. Each is weighed by how far off it
//! was lately at this very distance, and the mixture's own errors give the interval. Nothing is known but counts.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// Finest part of a day that a profile tells apart.
const SLOT_MS_MIN: i64 = 15 * 60_000;
/// Share of the newest pass in its place of a profile.
const PROFILE_SHARE: f64 = 0.3;
/// Shares of a new value in level and trend.
const LEVEL_SHARE: f64 = 0.5;
const TREND_SHARE: f64 = 0.1;
/// What is left of a trend after it has been carried on to the horizon.
const TREND_LEFT: f64 = 0.8;
/// Share of a new ratio between value and profile.
const RATIO_SHARE: f64 = 0.7;
/// A ratio is carried on in this power: what is unusual now is a little less so later.
const RATIO_POWER: f64 = 0.85;
/// Share of a new error in what is known about an expert.
const ERROR_SHARE: f64 = 0.05;
/// Errors count in this power when experts are weighed.
const ERROR_POWER: i32 = 4;
/// Keeps ratios finite where a profile is nearly empty.
const RATIO_SOFTENING: f64 = 10.0;
/// Values before a first forecast.
const VALUES_MIN: u64 = 4;
/// Most windows that are looked ahead.
pub(crate) const STEPS_MAX: i64 = 3_600;

const EXPERTS: usize = 3;

/// A repeating profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Profile {
    period_ms: i64,
    slot_ms: i64,
    /// NaN where nothing was seen.
    values: Vec<f32>,
}

impl Profile {
    fn new(period_ms: i64, slot_ms: i64) -> Self {
        Self { period_ms, slot_ms, values: vec![f32::NAN; (period_ms / slot_ms) as usize] }
    }

    fn slot(&self, at_ms: i64) -> usize {
        (at_ms.rem_euclid(self.period_ms) / self.slot_ms) as usize % self.values.len()
    }

    fn at(&self, at_ms: i64) -> Option<f64> {
        let value = f64::from(self.values[self.slot(at_ms)]);
        (!value.is_nan()).then_some(value)
    }

    /// A slot that holds many windows takes a small share of each.
    fn learn(&mut self, at_ms: i64, value: f64, every_ms: i64) {
        let slot = self.slot(at_ms);
        let known = f64::from(self.values[slot]);
        let share = 1.0 - (1.0 - PROFILE_SHARE).powf((every_ms as f64 / self.slot_ms as f64).min(1.0));
        self.values[slot] = if known.is_nan() { value } else { known + share * (value - known) } as f32;
    }
}

/// A look ahead, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ahead {
    pub(crate) value: f64,
    /// Standard deviation of what came beside what was expected.
    pub(crate) deviation: f64,
}

/// What was expected, to be held against what comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Expected {
    at_ms: i64,
    by: [f64; EXPERTS],
    mixture: f64,
}

/// One key's forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Forecaster {
    every_ms: i64,
    steps: i64,
    day: Profile,
    week: Profile,
    level: f64,
    trend: f64,
    day_ratio: f64,
    week_ratio: f64,
    last_ms: i64,
    values: u64,
    expected: VecDeque<Expected>,
    /// Mean size of each expert's errors; NaN before the first.
    errors: [f64; EXPERTS],
    error: f64,
}

fn ratio(value: f64, profile: f64) -> f64 {
    (value.max(0.0) + RATIO_SOFTENING) / (profile.max(0.0) + RATIO_SOFTENING)
}

fn scaled(profile: f64, ratio: f64) -> f64 {
    (profile.max(0.0) + RATIO_SOFTENING) * ratio.powf(RATIO_POWER) - RATIO_SOFTENING
}

impl Forecaster {
    /// Looks `horizon_ms` ahead of windows that end every `every_ms`.
    pub(crate) fn new(every_ms: i64, horizon_ms: i64) -> Self {
        let slot_ms = (SLOT_MS_MIN.max(every_ms)).min(DAY_MS);
        Self {
            every_ms,
            steps: (horizon_ms / every_ms).clamp(1, STEPS_MAX),
            day: Profile::new(DAY_MS, slot_ms),
            week: Profile::new(7 * DAY_MS, slot_ms),
            level: 0.0,
            trend: 0.0,
            day_ratio: 1.0,
            week_ratio: 1.0,
            last_ms: 0,
            values: 0,
            expected: VecDeque::new(),
            errors: [f64::NAN; EXPERTS],
            error: f64::NAN,
        }
    }

    /// Takes the value of the next window.
    pub(crate) fn learn(&mut self, end_ms: i64, value: f64) {
        while self.expected.front().is_some_and(|first| first.at_ms < end_ms) {
            self.expected.pop_front();
        }
        if self.expected.front().is_some_and(|first| first.at_ms == end_ms)
            && let Some(expected) = self.expected.pop_front()
        {
            let blend = |known: f64, error: f64| {
                if known.is_nan() { error } else { known + ERROR_SHARE * (error - known) }
            };
            for (known, expert) in self.errors.iter_mut().zip(expected.by) {
                if !expert.is_nan() {
                    *known = blend(*known, (value - expert).abs());
                }
            }
            self.error = blend(self.error, (value - expected.mixture).abs());
        }
        // The window that ends now belongs to the slot it covers.
        let at_ms = end_ms - self.every_ms;
        if self.values == 0 {
            self.level = value;
        } else {
            let before = self.level;
            self.level = LEVEL_SHARE * value + (1.0 - LEVEL_SHARE) * (self.level + self.trend);
            self.trend = TREND_SHARE * (self.level - before) + (1.0 - TREND_SHARE) * self.trend;
        }
        let follow = |known: &mut f64, profile: Option<f64>| {
            if let Some(profile) = profile {
                *known += RATIO_SHARE * (ratio(value, profile) - *known);
            }
        };
        follow(&mut self.day_ratio, self.day.at(at_ms));
        follow(&mut self.week_ratio, self.week.at(at_ms));
        self.day.learn(at_ms, value, self.every_ms);
        self.week.learn(at_ms, value, self.every_ms);
        (self.last_ms, self.values) = (end_ms, self.values + 1);
        if self.values >= VALUES_MIN {
            let by = self.experts(self.steps, value);
            let mixture = self.mix(&by);
            self.expected.push_back(Expected { at_ms: end_ms + self.steps * self.every_ms, by, mixture });
        }
    }

    /// What each expert expects so many windows from now; NaN of one that does not know.
    fn experts(&self, steps: i64, last: f64) -> [f64; EXPERTS] {
        // The sum of the powers of what is left after one window.
        let left = TREND_LEFT.powf(1.0 / self.steps as f64);
        let damped = left * (1.0 - left.powf(steps as f64)) / (1.0 - left);
        let at_ms = self.last_ms + (steps - 1) * self.every_ms;
        let carried = |profile: Option<f64>, ratio: f64| profile.map_or(f64::NAN, |profile| scaled(profile, ratio));
        [
            (last + self.trend * damped).max(0.0),
            carried(self.day.at(at_ms), self.day_ratio).max(0.0),
            carried(self.week.at(at_ms), self.week_ratio).max(0.0),
        ]
    }

    fn mix(&self, by: &[f64; EXPERTS]) -> f64 {
        let known = || by.iter().zip(&self.errors).filter(|(expert, _)| !expert.is_nan());
        let (mut sum, mut weights) = (0.0, 0.0);
        for (expert, error) in known() {
            if !error.is_nan() {
                let weight = (error + 1e-9).powi(-ERROR_POWER);
                sum += weight * expert;
                weights += weight;
            }
        }
        if weights > 0.0 { sum / weights } else { by[0] }
    }

    /// What is expected so many windows from now; `None` before anything is known of how sure that is.
    pub(crate) fn ahead(&self, steps: i64, last: f64) -> Option<Ahead> {
        if self.error.is_nan() {
            return None;
        }
        // Errors grow with the distance as those of a random walk do.
        let share = (steps as f64 / self.steps as f64).sqrt();
        let value = self.mix(&self.experts(steps, last));
        // The mean size of normal errors is 0.8 standard deviations.
        Some(Ahead { value, deviation: self.error * 1.2533 * share })
    }

    pub(crate) fn steps(&self) -> i64 {
        self.steps
    }

    /// By how much the value grows with every window.
    pub(crate) fn trend(&self) -> f64 {
        self.trend
    }
}

/// Standard deviations below which a share (in thousandths) of normal values lies (Abramowitz and Stegun 26.2.23;
/// off by 4.5e-4 at most).
pub(crate) fn normal_quantile(thousandths: u16) -> f64 {
    let share = f64::from(thousandths.clamp(1, 999)) / 1e3;
    let tail = share.min(1.0 - share);
    let t = (-2.0 * tail.ln()).sqrt();
    let size = t
        - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
            / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t);
    if share < 0.5 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles() {
        for (thousandths, expected) in [(500, 0.0), (800, 0.8416), (975, 1.96), (100, -1.2816)] {
            assert!((normal_quantile(thousandths) - expected).abs() < 1e-3, "{thousandths}");
        }
    }

    #[test]
    fn a_steady_rise_is_carried_on() {
        let mut forecaster = Forecaster::new(5_000, 60_000);
        for step in 0..200_i64 {
            forecaster.learn(step * 5_000, 10.0 + step as f64);
        }
        let ahead = forecaster.ahead(12, 209.0).unwrap();
        assert!(ahead.value > 217.0 && ahead.value < 222.0, "{ahead:?}");
        assert!(ahead.deviation > 0.0);
    }
}

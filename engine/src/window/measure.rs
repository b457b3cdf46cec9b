//! Measures: what a pane keeps, and how panes add up.
//!
//! Sums are kept as whole millionths in 128 bits, so that they do not depend on the order of
//! addition: the same records give the same bits in any order and over any number of panes.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use crate::record::Digest;

const MICRO: f64 = 1e6;

/// A number as whole millionths, rounded to the nearest.
pub(crate) fn to_micro(number: f64) -> i128 {
    (number * MICRO).round() as i128
}

/// Millionths as a number.
pub(crate) fn from_micro(micro: i128) -> f64 {
    micro as f64 / MICRO
}

/// What one record adds to its pane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contribution {
    /// How many people or things it stands for, in millionths.
    pub(crate) weight: i128,
    /// The measured column, if the measure reads a number.
    pub(crate) number: Option<f64>,
    /// The measured column as a digest, if the measure counts distinct values.
    pub(crate) digest: Option<Digest>,
    /// The device that saw it.
    pub(crate) device: u32,
}

/// The state of one measure for one key in one pane.
#[derive(Debug, Clone)]
pub(crate) enum Accumulator {
    /// `count`, `sum`: millionths.
    Sum(i128),
    /// `reads`.
    Reads(u64),
    /// `avg`: millionths and how many.
    Mean(i128, u64),
    /// `min`; nothing yet is NaN.
    Min(f64),
    /// `max`; nothing yet is NaN.
    Max(f64),
    /// `distinct`, exact. Digests are uniform already.
    Distinct(HashSet<Digest, RandomState>),
    /// `snapshot`: observations of each device, millionths.
    Snapshot(Vec<(u32, i128)>),
}

/// An [`Accumulator`] as it is kept in a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum SavedAccumulator {
    Sum(i128),
    Reads(u64),
    Mean(i128, u64),
    Min(f64),
    Max(f64),
    Distinct(Vec<Digest>),
    Snapshot(Vec<(u32, i128)>),
}

impl Accumulator {
    pub(crate) fn save(&self) -> SavedAccumulator {
        match self {
            Self::Sum(sum) => SavedAccumulator::Sum(*sum),
            Self::Reads(reads) => SavedAccumulator::Reads(*reads),
            Self::Mean(sum, n) => SavedAccumulator::Mean(*sum, *n),
            Self::Min(least) => SavedAccumulator::Min(*least),
            Self::Max(most) => SavedAccumulator::Max(*most),
            Self::Distinct(seen) => {
                let mut seen: Vec<Digest> = seen.iter().copied().collect();
                seen.sort_unstable();
                SavedAccumulator::Distinct(seen)
            }
            Self::Snapshot(devices) => SavedAccumulator::Snapshot(devices.clone()),
        }
    }

    pub(crate) fn load(saved: SavedAccumulator) -> Self {
        match saved {
            SavedAccumulator::Sum(sum) => Self::Sum(sum),
            SavedAccumulator::Reads(reads) => Self::Reads(reads),
            SavedAccumulator::Mean(sum, n) => Self::Mean(sum, n),
            SavedAccumulator::Min(least) => Self::Min(least),
            SavedAccumulator::Max(most) => Self::Max(most),
            SavedAccumulator::Distinct(seen) => Self::Distinct(seen.into_iter().collect()),
            SavedAccumulator::Snapshot(devices) => Self::Snapshot(devices),
        }
    }

    /// Nothing yet.
    pub(crate) fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Count | Measure::Sum(_) => Self::Sum(0),
            Measure::Reads => Self::Reads(0),
            Measure::Avg(_) => Self::Mean(0, 0),
            Measure::Min(_) => Self::Min(f64::NAN),
            Measure::Max(_) => Self::Max(f64::NAN),
            Measure::Distinct(_) => Self::Distinct(HashSet::default()),
            Measure::Snapshot => Self::Snapshot(Vec::new()),
        }
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, contribution: &Contribution, weighted: bool) {
        match self {
            Self::Sum(sum) if weighted => *sum += contribution.weight,
            Self::Sum(sum) => *sum += contribution.number.map_or(0, to_micro),
            Self::Reads(reads) => *reads += 1,
            Self::Mean(sum, n) => {
                if let Some(number) = contribution.number {
                    *sum += to_micro(number);
                    *n += 1;
                }
            }
            Self::Min(least) => *least = least.min(contribution.number.unwrap_or(f64::NAN)),
            Self::Max(most) => *most = most.max(contribution.number.unwrap_or(f64::NAN)),
            Self::Distinct(seen) => seen.extend(contribution.digest),
            Self::Snapshot(devices) => add_observations(devices, contribution.device, contribution.weight),
        }
    }

    /// Adds another pane of the same measure.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(more)) => *sum += more,
            (Self::Reads(reads), Self::Reads(more)) => *reads += more,
            (Self::Mean(sum, n), Self::Mean(more, m)) => {
                *sum += more;
                *n += m;
            }
            (Self::Min(least), Self::Min(other)) => *least = least.min(*other),
            (Self::Max(most), Self::Max(other)) => *most = most.max(*other),
            (Self::Distinct(seen), Self::Distinct(more)) => seen.extend(more),
            (Self::Snapshot(devices), Self::Snapshot(more)) => {
                for (device, weight) in more {
                    add_observations(devices, *device, *weight);
                }
            }
            _ => debug_assert!(false, "panes of one rule hold one measure"),
        }
    }

    /// Takes a pane away that was merged before. Extremes cannot be taken back: see [`Sliding::new`].
    fn unmerge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(less)) => *sum -= less,
            (Self::Reads(reads), Self::Reads(less)) => *reads -= less,
            (Self::Mean(sum, n), Self::Mean(less, m)) => {
                *sum -= less;
                *n -= m;
            }
            (Self::Snapshot(devices), Self::Snapshot(less)) => {
                for (device, weight) in less {
                    add_observations(devices, *device, -*weight);
                }
            }
            _ => debug_assert!(false, "only sums slide"),
        }
    }

    /// The value; `None` when there is nothing to take a mean or an extreme of. `instants` gives the
    /// distinct instants at which a device reported in the window.
    pub(crate) fn value(&self, instants: impl Fn(u32) -> u64) -> Option<f64> {
        let value = match self {
            Self::Sum(sum) => from_micro(*sum),
            Self::Reads(reads) => *reads as f64,
            Self::Mean(_, 0) => return None,
            Self::Mean(sum, n) => from_micro(*sum) / *n as f64,
            Self::Min(value) | Self::Max(value) if value.is_nan() => return None,
            Self::Min(value) | Self::Max(value) => *value,
            Self::Distinct(seen) => seen.len() as f64,
            Self::Snapshot(devices) => {
                // Added from small to large: device numbers follow the order of arrival, and the sum must not.
                let mut shares: Vec<f64> = devices
                    .iter()
                    .map(|(device, weight)| from_micro(*weight) / instants(*device).max(1) as f64)
                    .collect();
                shares.sort_unstable_by(f64::total_cmp);
                shares.iter().sum()
            }
        };
        Some(value)
    }

    /// The value of a window in which the devices reported and nothing was seen.
    pub(crate) fn zero(measure: &Measure) -> Option<f64> {
        Self::new(measure).value(|_| 1)
    }
}

/// The sum of the panes of a window that moves on: panes enter and leave, each once, whatever the
/// overlap. Sums are whole numbers, so that what enters and leaves cancels to the bit.
#[derive(Debug)]
pub(crate) struct Sliding {
    /// Panes inside that hold this key.
    panes: u32,
    sum: SlidingSum,
}

#[derive(Debug)]
enum SlidingSum {
    Plain(Accumulator),
    /// For each value, in how many panes it was seen.
    Distinct(HashMap<Digest, u32, RandomState>),
}

impl Sliding {
    /// Nothing yet; `None` for extremes, whose panes are merged anew for each window.
    pub(crate) fn new(measure: &Measure) -> Option<Self> {
        let sum = match measure {
            Measure::Min(_) | Measure::Max(_) => return None,
            Measure::Distinct(_) => SlidingSum::Distinct(HashMap::default()),
            _ => SlidingSum::Plain(Accumulator::new(measure)),
        };
        Some(Self { panes: 0, sum })
    }

    /// A pane enters.
    pub(crate) fn enter(&mut self, pane: &Accumulator) {
        self.panes += 1;
        match (&mut self.sum, pane) {
            (SlidingSum::Distinct(seen), Accumulator::Distinct(values)) => {
                for value in values {
                    *seen.entry(*value).or_insert(0) += 1;
                }
            }
            (SlidingSum::Plain(sum), pane) => sum.merge(pane),
            (SlidingSum::Distinct(_), _) => debug_assert!(false, "panes of one rule hold one measure"),
        }
    }

    /// A pane leaves; whether the key is in no pane any more.
    pub(crate) fn leave(&mut self, pane: &Accumulator) -> bool {
        self.panes -= 1;
        match (&mut self.sum, pane) {
            (SlidingSum::Distinct(seen), Accumulator::Distinct(values)) => {
                for value in values {
                    if let Some(panes) = seen.get_mut(value) {
                        *panes -= 1;
                        if *panes == 0 {
                            seen.remove(value);
                        }
                    }
                }
            }
            (SlidingSum::Plain(sum), pane) => sum.unmerge(pane),
            (SlidingSum::Distinct(_), _) => debug_assert!(false, "panes of one rule hold one measure"),
        }
        self.panes == 0
    }

    /// The value of the window.
    pub(crate) fn value(&self, instants: impl Fn(u32) -> u64) -> Option<f64> {
        match &self.sum {
            SlidingSum::Plain(sum) => sum.value(instants),
            SlidingSum::Distinct(seen) => Some(seen.len() as f64),
        }
    }
}

fn add_observations(devices: &mut Vec<(u32, i128)>, device: u32, weight: i128) {
    match devices.iter_mut().find(|(known, _)| *known == device) {
        Some((_, sum)) => *sum += weight,
        None => devices.push((device, weight)),
    }
}

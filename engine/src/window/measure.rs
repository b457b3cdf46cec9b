//! Measures: what a pane keeps, and how panes add up.
//!
//! Sums are kept as whole millionths in 128 bits, so that they do not depend on the order of
//! addition: the same records give the same bits in any order and over any number of panes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use super::digests::{DigestMap, DigestSet};
use super::occupancy::{Moment, Moments};
use super::sketch::{Buckets, Registers};
use crate::record::Digest;

const MICRO: f64 = 1e6;
/// One, in millionths.
pub(crate) const ONE: i128 = 1_000_000;

/// A number as whole millionths, rounded to the nearest.
pub(crate) fn to_micro(number: f64) -> i128 {
    // Most are whole and small: the product of these is exact.
    let whole = number as i64;
    if (whole as f64).to_bits() == number.to_bits() && whole.unsigned_abs() < 1 << 32 {
        return i128::from(whole * 1_000_000);
    }
    (number * MICRO).round() as i128
}

/// Millionths as a number.
pub(crate) fn from_micro(micro: i128) -> f64 {
    micro as f64 / MICRO
}

/// What one record adds to its pane.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Contribution {
    /// How many people or things it stands for, in millionths.
    pub(crate) weight: i128,
    /// The measured column, if the measure reads a number.
    pub(crate) number: Option<f64>,
    /// The measured column as a digest, if the measure counts distinct values.
    pub(crate) digest: Option<Digest>,
    /// The device that saw it.
    pub(crate) device: u32,
    /// Which way it went, if the measure asks.
    pub(crate) direction: Option<Direction>,
    /// An absolute reading of how many people are inside, millionths.
    pub(crate) reading: Option<i128>,
    /// A counter's running total, millionths: what is new since the one before counts.
    pub(crate) total: Option<i128>,
}

/// Which way somebody went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Direction {
    In,
    Out,
}

/// What of a record is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Weight,
    Number,
    In,
    Out,
    Net,
}

impl Amount {
    fn of(self, contribution: &Contribution) -> i128 {
        match (self, contribution.direction) {
            (Self::Weight, _) | (Self::In | Self::Net, Some(Direction::In)) | (Self::Out, Some(Direction::Out)) => {
                contribution.weight
            }
            (Self::Net, Some(Direction::Out)) => -contribution.weight,
            (Self::Number, _) => contribution.number.map_or(0, to_micro),
            (Self::In | Self::Out | Self::Net, _) => 0,
        }
    }
}

/// How records are added up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adding(Amount);

impl Adding {
    pub(crate) fn new(measure: &Measure) -> Self {
        Self(match measure {
            Measure::Sum(_) => Amount::Number,
            Measure::Inflow => Amount::In,
            Measure::Outflow => Amount::Out,
            Measure::NetFlow => Amount::Net,
            _ => Amount::Weight,
        })
    }

    /// What a record adds to a sum, millionths.
    #[inline]
    pub(crate) fn amount(self, contribution: &Contribution) -> i128 {
        self.0.of(contribution)
    }
}

/// The state of one measure for one key in one pane.
#[derive(Debug, Clone)]
pub(crate) enum Accumulator {
    /// `count`, `sum`, flows: millionths.
    Sum(i128),
    /// `reads`.
    Reads(u64),
    /// `avg`: millionths and how many.
    Mean(i128, u64),
    /// `min`; nothing yet is NaN.
    Min(f64),
    /// `max`; nothing yet is NaN.
    Max(f64),
    /// `distinct`, exact.
    Distinct(DigestSet),
    /// `approx_distinct`.
    Registers(Registers),
    /// `quantile`.
    Buckets(Buckets),
    /// `snapshot`: observations of each device, millionths.
    Snapshot(Vec<(u32, i128)>),
    /// `snapshot_max`: observations by device and instant, millionths.
    Instants(BTreeMap<(u32, i64), i128>),
    /// `occupancy`.
    Passages(Moments),
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
    Registers(Vec<u8>),
    Buckets(Vec<(i32, u64)>),
    Snapshot(Vec<(u32, i128)>),
    Instants(Vec<(u32, i64, i128)>),
    Passages(Vec<(i64, Moment)>),
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
                let mut seen: Vec<Digest> = seen.iter().collect();
                seen.sort_unstable();
                SavedAccumulator::Distinct(seen)
            }
            Self::Registers(registers) => SavedAccumulator::Registers(registers.bytes().to_vec()),
            Self::Buckets(buckets) => SavedAccumulator::Buckets(buckets.sorted()),
            Self::Snapshot(devices) => SavedAccumulator::Snapshot(devices.clone()),
            Self::Instants(seen) => {
                SavedAccumulator::Instants(seen.iter().map(|((device, at), weight)| (*device, *at, *weight)).collect())
            }
            Self::Passages(moments) => SavedAccumulator::Passages(moments.iter().map(|(at, it)| (*at, *it)).collect()),
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
            SavedAccumulator::Registers(bytes) => Self::Registers(Registers::from_bytes(&bytes)),
            SavedAccumulator::Buckets(buckets) => Self::Buckets(Buckets::from_sorted(buckets)),
            SavedAccumulator::Snapshot(devices) => Self::Snapshot(devices),
            SavedAccumulator::Instants(seen) => {
                Self::Instants(seen.into_iter().map(|(device, at, weight)| ((device, at), weight)).collect())
            }
            SavedAccumulator::Passages(moments) => Self::Passages(moments.into_iter().collect()),
        }
    }

    /// Nothing yet.
    pub(crate) fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Count | Measure::Sum(_) | Measure::Inflow | Measure::Outflow | Measure::NetFlow => Self::Sum(0),
            Measure::Reads => Self::Reads(0),
            Measure::Avg(_) => Self::Mean(0, 0),
            Measure::Min(_) => Self::Min(f64::NAN),
            Measure::Max(_) => Self::Max(f64::NAN),
            Measure::Distinct(_) => Self::Distinct(DigestSet::default()),
            Measure::ApproxDistinct(_) => Self::Registers(Registers::new()),
            Measure::Quantile(..) => Self::Buckets(Buckets::default()),
            Measure::Snapshot => Self::Snapshot(Vec::new()),
            Measure::SnapshotMax => Self::Instants(BTreeMap::new()),
            Measure::Occupancy(_) => Self::Passages(Moments::new()),
        }
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, ts_ms: i64, contribution: &Contribution, adding: Adding) {
        match self {
            Self::Sum(sum) => *sum += adding.0.of(contribution),
            Self::Reads(reads) => *reads += 1,
            Self::Mean(sum, n) => {
                if let Some(number) = contribution.number {
                    *sum += to_micro(number);
                    *n += 1;
                }
            }
            Self::Min(least) => *least = least.min(contribution.number.unwrap_or(f64::NAN)),
            Self::Max(most) => *most = most.max(contribution.number.unwrap_or(f64::NAN)),
            Self::Distinct(seen) => contribution.digest.into_iter().for_each(|digest| *seen.entry(digest) = ()),
            Self::Registers(registers) => contribution.digest.into_iter().for_each(|digest| registers.add(digest)),
            Self::Buckets(buckets) => contribution.number.into_iter().for_each(|number| buckets.add(number)),
            Self::Snapshot(devices) => add_observations(devices, contribution.device, contribution.weight),
            Self::Instants(seen) => *seen.entry((contribution.device, ts_ms)).or_default() += contribution.weight,
            Self::Passages(moments) => {
                let moment = Moment {
                    entered: Amount::In.of(contribution),
                    left: Amount::Out.of(contribution),
                    reading: contribution.reading,
                    device: contribution.device,
                };
                if !moment.is_empty() {
                    moments.entry(ts_ms).or_default().merge(&moment);
                }
            }
        }
    }

    /// Asks for the memory that a record will be added in.
    #[inline]
    pub(crate) fn expect(&self, contribution: &Contribution) {
        if let (Self::Distinct(seen), Some(digest)) = (self, contribution.digest) {
            seen.expect(digest);
        }
    }

    /// Values that are kept one by one.
    pub(crate) fn values(&self) -> usize {
        match self {
            Self::Distinct(seen) => seen.len(),
            Self::Instants(seen) => seen.len(),
            Self::Passages(moments) => moments.len(),
            _ => 0,
        }
    }

    /// Whether it would keep one value more.
    pub(crate) fn would_keep(&self, ts_ms: i64, contribution: &Contribution) -> bool {
        match self {
            Self::Distinct(seen) => contribution.digest.is_some_and(|digest| !seen.contains(digest)),
            Self::Instants(seen) => !seen.contains_key(&(contribution.device, ts_ms)),
            Self::Passages(moments) => !moments.contains_key(&ts_ms),
            _ => false,
        }
    }

    /// Whether it divides what this device saw by the instants at which the device reported.
    pub(crate) fn is_seen_by(&self, device: u32) -> bool {
        matches!(self, Self::Snapshot(devices) if devices.iter().any(|(known, _)| *known == device))
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
            (Self::Distinct(seen), Self::Distinct(more)) => {
                seen.with_each_of(more, |seen, digest| *seen.entry(digest) = ());
            }
            (Self::Registers(registers), Self::Registers(more)) => registers.merge(more),
            (Self::Buckets(buckets), Self::Buckets(more)) => buckets.merge(more),
            (Self::Snapshot(devices), Self::Snapshot(more)) => {
                for (device, weight) in more {
                    add_observations(devices, *device, *weight);
                }
            }
            (Self::Instants(seen), Self::Instants(more)) => {
                for (instant, weight) in more {
                    *seen.entry(*instant).or_default() += weight;
                }
            }
            (Self::Passages(moments), Self::Passages(more)) => {
                for (at, moment) in more {
                    moments.entry(*at).or_default().merge(moment);
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
            (Self::Buckets(buckets), Self::Buckets(less)) => buckets.unmerge(less),
            _ => debug_assert!(false, "only sums slide"),
        }
    }

    /// The value; `None` when there is nothing to take a mean or an extreme of. `instants` gives the
    /// distinct instants at which a device reported in the window.
    pub(crate) fn value(&self, measure: &Measure, instants: impl Fn(u32) -> u64) -> Option<f64> {
        let value = match self {
            Self::Sum(sum) => from_micro(*sum),
            Self::Reads(reads) => *reads as f64,
            // A pane knows who came and went; who is inside, its ledger knows.
            Self::Mean(_, 0) | Self::Passages(_) => return None,
            Self::Mean(sum, n) => from_micro(*sum) / *n as f64,
            Self::Min(value) | Self::Max(value) if value.is_nan() => return None,
            Self::Min(value) | Self::Max(value) => *value,
            Self::Distinct(seen) => seen.len() as f64,
            Self::Registers(registers) => registers.count(),
            Self::Buckets(buckets) => {
                let Measure::Quantile(_, thousandths) = measure else { return None };
                return buckets.quantile(*thousandths);
            }
            Self::Instants(seen) => {
                let mut most: BTreeMap<u32, i128> = BTreeMap::new();
                for ((device, _), weight) in seen {
                    let known = most.entry(*device).or_default();
                    *known = (*known).max(*weight);
                }
                from_micro(most.values().sum())
            }
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
        Self::new(measure).value(measure, |_| 1)
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
    Distinct(DigestMap<u32>),
}

impl Sliding {
    /// Nothing yet; `None` for extremes and estimates that cannot be taken back, whose panes are merged anew for each window.
    pub(crate) fn new(measure: &Measure) -> Option<Self> {
        let sum = match measure {
            Measure::Min(_)
            | Measure::Max(_)
            | Measure::ApproxDistinct(_)
            | Measure::SnapshotMax
            | Measure::Occupancy(_) => return None,
            Measure::Distinct(_) => SlidingSum::Distinct(DigestMap::default()),
            _ => SlidingSum::Plain(Accumulator::new(measure)),
        };
        Some(Self { panes: 0, sum })
    }

    /// A pane enters.
    pub(crate) fn enter(&mut self, pane: &Accumulator) {
        self.panes += 1;
        match (&mut self.sum, pane) {
            (SlidingSum::Distinct(seen), Accumulator::Distinct(values)) => {
                seen.with_each_of(values, |seen, value| *seen.entry(value) += 1);
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
                seen.with_each_of(values, |seen, value| {
                    seen.change(value, |panes| {
                        *panes -= 1;
                        *panes > 0
                    });
                });
            }
            (SlidingSum::Plain(sum), pane) => sum.unmerge(pane),
            (SlidingSum::Distinct(_), _) => debug_assert!(false, "panes of one rule hold one measure"),
        }
        self.panes == 0
    }

    /// The value of the window.
    pub(crate) fn value(&self, measure: &Measure, instants: impl Fn(u32) -> u64) -> Option<f64> {
        match &self.sum {
            SlidingSum::Plain(sum) => sum.value(measure, instants),
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

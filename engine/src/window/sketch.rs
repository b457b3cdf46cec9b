//! Estimates in little room: how many distinct values there were, and a quantile.
//!
//! Both depend on the set of values only, not on their order, and add up over panes.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::record::Digest;

/// Bits of a digest that choose a register.
const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;

/// Standard error of [`Registers::count`]: 1.04 / sqrt(registers).
pub(crate) const APPROX_DISTINCT_ERROR: f64 = 1.04 / 64.0;

/// `HyperLogLog` over digests, which are uniform already (Flajolet, Fusy, Gandouet, Meunier 2007; small counts by
/// linear counting). 4 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers(Box<[u8]>);

impl Registers {
    pub(crate) fn new() -> Self {
        Self(vec![0; REGISTERS].into_boxed_slice())
    }

    pub(crate) fn add(&mut self, digest: Digest) {
        let bits = digest as u64;
        let register = (bits >> (64 - REGISTER_BITS)) as usize;
        // The bits behind the register's number; the lowest one stops the count.
        let rank = ((bits << REGISTER_BITS) | 1 << (REGISTER_BITS - 1)).leading_zeros() as u8 + 1;
        self.0[register] = self.0[register].max(rank);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*other);
        }
    }

    /// How many distinct values, as a whole number.
    pub(crate) fn count(&self) -> f64 {
        let registers = REGISTERS as f64;
        let (mut sum, mut empty) = (0.0, 0);
        for rank in &self.0 {
            sum += 0.5_f64.powi(i32::from(*rank));
            empty += usize::from(*rank == 0);
        }
        let estimate = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        if estimate <= 2.5 * registers && empty > 0 {
            return (registers * (registers / empty as f64).ln()).round();
        }
        estimate.round()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut registers = Self::new();
        for (mine, saved) in registers.0.iter_mut().zip(bytes) {
            *mine = *saved;
        }
        registers
    }
}

/// Ratio of the ends of a bucket.
const GAMMA: f64 = 1.02;
/// Values closer to zero than this are zero.
const SMALLEST: f64 = 1e-9;
/// Keeps the numbers of buckets above zero.
const OFFSET: i32 = 10_000;

/// How many values lie in each logarithmic bucket: a quantile is off by 1 % of its value at most (the buckets of
/// `DDSketch`: Masson, Rim, Lee 2019).
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets(HashMap<i32, u64, RandomState>);

impl Buckets {
    pub(crate) fn add(&mut self, value: f64) {
        if !value.is_nan() {
            *self.0.entry(Self::bucket(value)).or_insert(0) += 1;
        }
    }

    fn bucket(value: f64) -> i32 {
        if value.abs() < SMALLEST {
            return 0;
        }
        let bucket = (value.abs().ln() / GAMMA.ln()).ceil().clamp(-9_000.0, 90_000.0) as i32 + OFFSET;
        if value > 0.0 { bucket } else { -bucket }
    }

    fn middle(bucket: i32) -> f64 {
        if bucket == 0 {
            return 0.0;
        }
        let size = 2.0 * GAMMA.powi(bucket.abs() - OFFSET) / (GAMMA + 1.0);
        if bucket > 0 { size } else { -size }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_insert(0) += count;
        }
    }

    pub(crate) fn unmerge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            if let Some(mine) = self.0.get_mut(bucket) {
                *mine -= count;
                if *mine == 0 {
                    self.0.remove(bucket);
                }
            }
        }
    }

    /// The value at a share in thousandths of all values, the lower one between two; `None` of none.
    pub(crate) fn quantile(&self, thousandths: u16) -> Option<f64> {
        let buckets = self.sorted();
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        let rank = all.checked_sub(1)? * u64::from(thousandths) / 1_000;
        let mut below = 0;
        buckets.iter().find_map(|(bucket, count)| {
            below += count;
            (below > rank).then(|| Self::middle(*bucket))
        })
    }

    pub(crate) fn sorted(&self) -> Vec<(i32, u64)> {
        let mut buckets: Vec<(i32, u64)> = self.0.iter().map(|(bucket, count)| (*bucket, *count)).collect();
        buckets.sort_unstable();
        buckets
    }

    pub(crate) fn from_sorted(buckets: Vec<(i32, u64)>) -> Self {
        Self(buckets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        Digest::from_le_bytes(blake3::hash(&number.to_le_bytes()).as_bytes()[..16].try_into().unwrap())
    }

    #[test]
    fn distinct_values_are_estimated_within_four_standard_errors() {
        for count in [0_u64, 1, 10, 1_000, 10_000, 200_000] {
            let mut registers = Registers::new();
            for number in 0..count {
                registers.add(digest(number));
                registers.add(digest(number));
            }
            let off = (registers.count() - count as f64).abs();
            assert!(off <= 4.0 * APPROX_DISTINCT_ERROR * count as f64, "{count}: off by {off}");
        }
    }

    #[test]
    fn quantiles_are_off_by_one_percent_at_most() {
        let mut buckets = Buckets::default();
        let mut values: Vec<f64> = (0..1_001).map(|n| f64::from(n * n) / 100.0 - 500.0).collect();
        for value in &values {
            buckets.add(*value);
        }
        values.sort_by(f64::total_cmp);
        for thousandths in [1_u16, 100, 500, 950, 999] {
            let exact = values[usize::from(thousandths) * 1_000 / 1_000];
            let got = buckets.quantile(thousandths).unwrap();
            assert!((got - exact).abs() <= 0.0101 * exact.abs() + 1e-9, "{thousandths}: {got} for {exact}");
        }
        assert_eq!(Buckets::default().quantile(500), None);
    }
}

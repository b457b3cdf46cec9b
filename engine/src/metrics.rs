//! Counters, histograms and the equation of conservation.
//!
//! Every record ends in exactly one bucket, per source:
//! `received = evaluated + duplicate + late + rejected + shed + in_flight`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::live::{Live, LiveBoard};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What became of the records of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// Records read.
    pub received: u64,
    /// Judged by every rule that wanted them.
    pub evaluated: u64,
    /// Seen before under the same event id.
    pub duplicate: u64,
    /// Too late for a window that wanted them; judged by all other rules.
    pub late: u64,
    /// Refused; in the dead letter.
    pub rejected: u64,
    /// Let go under overload, by a source that cannot wait.
    pub shed: u64,
    /// Read and not yet judged.
    pub in_flight: u64,
}

impl Buckets {
    /// Whether the equation holds.
    pub fn conserved(&self) -> bool {
        self.received == self.evaluated + self.duplicate + self.late + self.rejected + self.shed + self.in_flight
    }

    /// Adds another source.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.evaluated += other.evaluated;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.rejected += other.rejected;
        self.shed += other.shed;
        self.in_flight += other.in_flight;
    }
}

/// Latencies of one rule, source read to sink hand-over.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// Alerts beyond the bound.
    pub violations: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        histogram.auto(true);
        Self { histogram, violations: 0 }
    }
}

impl Latency {
    /// Notes one alert.
    pub fn record(&mut self, us: u64, bound_us: u64) {
        // It grows by itself, so that no value is out of its range.
        let recorded = self.histogram.record(us.max(1));
        debug_assert!(recorded.is_ok(), "a histogram that resizes takes every value");
        self.violations += u64::from(us > bound_us);
    }

    /// Adds the alerts of another sink or rule.
    pub fn merge(&mut self, other: &Self) {
        // Both grow by themselves, so that adding cannot fail.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "histograms that resize can be added");
        self.violations += other.violations;
    }

    /// Microseconds at a quantile, 0 when there is nothing.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(quantile) }
    }

    /// How many alerts.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

/// Latencies by rule.
pub type LatencyBook = BTreeMap<String, Latency>;

/// What a sink did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Outputs handed over.
    pub delivered: u64,
    /// Outputs that never arrived because the sink failed for good.
    pub undelivered: u64,
    /// Outputs that the receiver refused for good.
    pub refused: u64,
    /// Why the sink failed.
    pub error: Option<String>,
}

/// Live figures for a progress line, readable from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    alerts: AtomicU64,
    pub(crate) board: LiveBoard,
}

impl Progress {
    pub(crate) fn add(&self, received: u64, alerts: u64) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.alerts.fetch_add(alerts, Ordering::Relaxed);
    }

    /// Where zones and devices stand; a quarter of a second old at most while records come, and empty at first.
    pub fn live(&self) -> Live {
        self.board.read()
    }

    /// Records judged so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Alerts told so far, revisions included.
    pub fn alerts(&self) -> u64 {
        self.alerts.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_three_digits_and_add_up() {
        let mut latency = Latency::default();
        for us in 1..=100_000 {
            latency.record(us, 99_000);
        }
        assert!(latency.quantile_us(0.5).abs_diff(50_000) <= 50);
        assert_eq!(latency.violations, 1_000);
        let mut both = Latency::default();
        both.merge(&latency);
        both.record(10_000_000, 1);
        assert_eq!(both.count(), 100_001);
        assert!(both.quantile_us(1.0).abs_diff(10_000_000) <= 10_000);
    }

    #[test]
    fn the_equation_sees_a_lost_record() {
        let mut buckets = Buckets { received: 2, evaluated: 1, late: 1, ..Buckets::default() };
        assert!(buckets.conserved());
        buckets.received = 3;
        assert!(!buckets.conserved());
    }
}

//! Counters, histograms and the equation of conservation.
//!
//! Every record ends in exactly one bucket, per source:
//! `received = evaluated + duplicate + late + rejected + shed + in_flight`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::live::{Live, LiveBoard};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
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

/// The way of an alert: the source of the record that led to it, and monotonic times in nanoseconds. An alert that
/// follows from state goes back to the newest record of its batch, which moved the watermark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// Position of the source.
    pub source: u16,
    /// The record was read.
    pub read_ns: u64,
    /// A shard took it up.
    pub taken_ns: u64,
    /// The alert was put into the queues of its sinks.
    pub told_ns: u64,
}

/// Where alerts that came too late had spent their time, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Waiting for a shard.
    pub waiting_ns: u64,
    /// Being judged, together with the rest of the batch and after the batches before.
    pub judging_ns: u64,
    /// Waiting for the sink and being delivered.
    pub delivering_ns: u64,
}

/// Latencies, source read to sink hand-over.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// Alerts beyond the bound.
    pub violations: u64,
    /// Where those had spent their time.
    pub spent: Spent,
}

impl Default for Latency {
    fn default() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        histogram.auto(true);
        Self { histogram, violations: 0, spent: Spent::default() }
    }
}

impl Latency {
    /// Notes one alert that was delivered at some moment.
    pub fn record(&mut self, passage: &Passage, delivered_ns: u64, bound_us: u64) {
        let us = delivered_ns.saturating_sub(passage.read_ns) / 1_000;
        // It grows by itself, so that no value is out of its range.
        let recorded = self.histogram.record(us.max(1));
        debug_assert!(recorded.is_ok(), "a histogram that resizes takes every value");
        if us > bound_us {
            self.violations += 1;
            self.spent.waiting_ns += passage.taken_ns.saturating_sub(passage.read_ns);
            self.spent.judging_ns += passage.told_ns.saturating_sub(passage.taken_ns);
            self.spent.delivering_ns += delivered_ns.saturating_sub(passage.told_ns);
        }
    }

    /// Adds the alerts of another sink or rule.
    pub fn merge(&mut self, other: &Self) {
        // Both grow by themselves, so that adding cannot fail.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "histograms that resize can be added");
        self.violations += other.violations;
        self.spent.waiting_ns += other.spent.waiting_ns;
        self.spent.judging_ns += other.spent.judging_ns;
        self.spent.delivering_ns += other.spent.delivering_ns;
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

/// Latencies by rule and position of the source.
pub type LatencyBook = BTreeMap<(String, u16), Latency>;

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
    /// Outputs that stay in the outbox for the next start.
    pub waiting: u64,
    /// Outputs that were passed over because more waited than the outbox may hold.
    pub lost: u64,
    /// How often it did not take what it was given, and was given it again.
    pub retries: u64,
    /// Why, the last time.
    pub trouble: Option<String>,
}

/// What keeps a source, a sink or a list from its work for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Since when, by the wall clock.
    pub since_ms: i64,
    /// How often it has tried since.
    pub tries: u64,
    /// What it met last.
    pub message: String,
    /// It does not try again.
    pub given_up: bool,
}

/// Live figures for a progress line, readable from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    alerts: AtomicU64,
    pub(crate) board: LiveBoard,
    troubles: Mutex<BTreeMap<String, Trouble>>,
    sinks: Mutex<BTreeMap<String, SinkCounts>>,
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

    /// Notes what somebody (`source gate`, `sink post`, `list stolen`) has met and when; `None` once they go on.
    pub fn note_trouble(&self, who: &str, trouble: Option<(i64, String)>) {
        let mut troubles = self.troubles.lock();
        let Some((since_ms, message)) = trouble else {
            troubles.remove(who);
            return;
        };
        let known = troubles.entry(who.to_owned()).or_insert(Trouble { since_ms, ..Trouble::default() });
        (known.tries, known.message) = (known.tries + 1, message);
    }

    /// Notes that somebody has given up.
    pub(crate) fn note_failure(&self, who: &str, now_ms: i64, message: String) {
        self.note_trouble(who, Some((now_ms, message)));
        self.troubles.lock().entry(who.to_owned()).and_modify(|trouble| trouble.given_up = true);
    }

    /// Who cannot do their work for now, by what they are called.
    pub fn troubles(&self) -> BTreeMap<String, Trouble> {
        self.troubles.lock().clone()
    }

    /// Notes what a sink has done so far.
    pub(crate) fn note_sink(&self, sink: &str, counts: SinkCounts) {
        let mut sinks = self.sinks.lock();
        match sinks.get_mut(sink) {
            Some(known) => *known = counts,
            None => drop(sinks.insert(sink.to_owned(), counts)),
        }
    }

    /// What sinks have done so far. What waits is all that is in the outbox behind a sink's place, whomever it is for.
    pub fn sinks(&self) -> BTreeMap<String, SinkCounts> {
        self.sinks.lock().clone()
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
        let passage = Passage { source: 0, read_ns: 5_000, taken_ns: 6_000, told_ns: 8_000 };
        for us in 1..=100_000 {
            latency.record(&passage, 5_000 + us * 1_000, 99_000);
        }
        assert!(latency.quantile_us(0.5).abs_diff(50_000) <= 50);
        assert_eq!(latency.violations, 1_000);
        let Spent { waiting_ns, judging_ns, delivering_ns } = latency.spent;
        assert_eq!((waiting_ns, judging_ns), (1_000_000, 2_000_000));
        assert_eq!(delivering_ns, (99_001..=100_000).map(|us| us * 1_000 - 3_000).sum::<u64>());
        let mut both = Latency::default();
        both.merge(&latency);
        both.record(&Passage::default(), 10_000_000_000, 1);
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

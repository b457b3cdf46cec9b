//! How long alerts took, and where those that took too long had spent their time.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_engine::Summary;
use weir_engine::metrics::Latency;

use crate::present::{duration, grouped};

/// Lines for people; empty if there was no alert.
pub(crate) fn lines(summary: &Summary) -> String {
    let mut text = String::new();
    let total = summary.latency_total();
    if total.count() == 0 {
        return text;
    }
    let _ = writeln!(text, "\nlatency, source read to hand-over: {}", quantiles(&total));
    if summary.latency_by_source.len() > 1 {
        for (source, latency) in &summary.latency_by_source {
            let _ = writeln!(text, "  of source `{source}`: {}", quantiles(latency));
        }
    }
    if total.violations > 0 {
        let [waiting, judging, delivering] = shares(&total);
        let _ = writeln!(
            text,
            "  those beyond it spent {waiting:.0} % of their time waiting for a shard, {judging:.0} % being judged with their batch, {delivering:.0} % on the way to their sink"
        );
    }
    text
}

fn quantiles(latency: &Latency) -> String {
    let at = |quantile| duration(latency.quantile_us(quantile));
    let (violations, count) = (grouped(latency.violations), grouped(latency.count()));
    format!("p50 {}, p99 {}, p99.9 {}; {violations} of {count} beyond the bound", at(0.5), at(0.99), at(0.999))
}

/// Percent of the time that alerts beyond the bound spent waiting, being judged, being delivered.
fn shares(latency: &Latency) -> [f64; 3] {
    let spent = latency.spent;
    let parts = [spent.waiting_ns, spent.judging_ns, spent.delivering_ns].map(|ns| ns as f64);
    let all: f64 = parts.iter().sum();
    parts.map(|part| if all > 0.0 { part / all * 100.0 } else { 0.0 })
}

/// For machines, in microseconds.
pub(crate) fn json(summary: &Summary) -> Value {
    let total = summary.latency_total();
    let mut object = of(&total);
    let by = |latencies: &std::collections::BTreeMap<String, Latency>| -> serde_json::Map<String, Value> {
        latencies.iter().map(|(name, latency)| (name.clone(), of(latency))).collect()
    };
    let spent = total.spent;
    object["violations_spent"] = json!({
        "waiting": spent.waiting_ns / 1_000,
        "judging": spent.judging_ns / 1_000,
        "delivering": spent.delivering_ns / 1_000,
    });
    object["by_rule"] = by(&summary.latency).into();
    object["by_source"] = by(&summary.latency_by_source).into();
    object
}

fn of(latency: &Latency) -> Value {
    json!({
        "count": latency.count(),
        "p50": latency.quantile_us(0.5),
        "p99": latency.quantile_us(0.99),
        "p99_9": latency.quantile_us(0.999),
        "max": latency.quantile_us(1.0),
        "violations": latency.violations,
    })
}

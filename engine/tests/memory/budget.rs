//! The budget of memory, kept whatever comes in: every table is filled beyond its bound under a counting allocator.

use std::sync::Arc;
use std::time::Duration;

use weir_engine::clock::ManualClock;
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::Catalog;

use crate::common::{NOW_MS, parse_pack};
use crate::{ALLOCATOR, MIB, alone};

const BUDGET: usize = 96 * MIB;
const BLOCK: usize = 200;

/// Rules that keep something of every record.
const HOARDERS: &str = "weir: 1
pack: p
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: groups, kind: window, from: person, key: [zone, lane, device], measure: count, window: { last: 60s, every: 5s }, levels: [{ name: any, enter: 1 }], purpose: p }
  - { id: values, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { last: 60s, every: 5s }, emit: windows, purpose: p }
  - { id: quantiles, kind: window, from: vehicle, key: [lane], measure: \"quantile(speed_kmh, 0.9)\", window: { every: 60s }, emit: windows, purpose: p }
  - { id: sessions, kind: window, from: vehicle, key: [site, device, lane], measure: count, window: { gap: 60s }, emit: windows, purpose: p }
  - { id: pairs, kind: sequence, from: vehicle, key: [site, plate], steps: [speed_kmh > 1, speed_kmh > 300], within: 60s, purpose: p }
  - { id: gaps, kind: absence, from: vehicle, key: [site, plate], after: speed_kmh > 1, expect: speed_kmh > 300, within: 60s, purpose: p }
  - { id: told, kind: match, from: vehicle, where: speed_kmh > 1, dedupe: { key: [plate], for: 60s }, say: \"a text that is somewhat longer than what is usual\", purpose: p }
";

/// Records that have nothing in common.
struct Strangers {
    records: usize,
    /// How many of them make a new name of everything that is a symbol.
    name_every: usize,
    lanes: usize,
    /// Of event time.
    per_ms: usize,
}

impl Strangers {
    fn line(&self, number: usize) -> String {
        let ts = NOW_MS - 1_000_000 + (number / self.per_ms) as i64;
        let name = number / self.name_every;
        let lane = name + number % self.lanes;
        let names = format!(
            "\"site\":\"s{name:0>60}\",\"device\":\"d{name:0>200}\",\"lane\":\"l{lane}\",\"zone\":\"z{name:0>60}\""
        );
        if number.is_multiple_of(2) {
            format!(
                "{{\"kind\":\"person\",\"event_id\":\"p{number}\",\"ts\":{ts},{names},\"person_id\":\"P{number:08}\"}}\n"
            )
        } else {
            format!(
                "{{\"kind\":\"vehicle\",\"event_id\":\"v{number}\",\"ts\":{ts},{names},\"plate\":\"陕{number:06}\",\"speed_kmh\":{}}}\n",
                2 + number % 100
            )
        }
    }
}

impl Source for Strangers {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("strangers");
        for first in (0..self.records).step_by(BLOCK) {
            for number in first..first + BLOCK {
                framer.push(self.line(number).as_bytes());
            }
            feed.send_framed(&mut framer)?;
        }
        Ok(())
    }
}

/// Always behind.
struct Slow;

impl Sink for Slow {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        std::thread::sleep(Duration::from_micros(outputs.len() as u64));
        Ok(())
    }
}

/// The account, and the most bytes that were in use beyond those before.
fn run(strangers: Strangers, sheds: bool) -> (Summary, usize) {
    let before = ALLOCATOR.in_use();
    ALLOCATOR.take_peak();
    let sink = SinkSpec {
        streams: vec![Stream::Alerts, Stream::Windows, Stream::DeadLetters, Stream::Shed, Stream::Notices],
        ..SinkSpec::alerts("all", ["p"])
    };
    let summary = Pipeline::builder(Catalog::builtin())
        .shared_pack(parse_pack(HOARDERS), Vec::new())
        .limits(Limits { memory_max: Some(BUDGET), ..Limits::default() })
        .shards(2)
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .source(SourceSpec { sheds, ..SourceSpec::new("test", Format::Ndjson) }, strangers)
        .sink(sink, Slow)
        .build()
        .unwrap()
        .run()
        .unwrap();
    (summary, ALLOCATOR.take_peak() - before)
}

#[test]
fn the_budget_is_kept_whatever_comes() {
    let _alone = alone();
    for (what, strangers, sheds) in [
        (
            "ever new people and plates",
            Strangers { records: 600_000, name_every: usize::MAX, lanes: 4_000, per_ms: 20 },
            false,
        ),
        (
            "all in one second",
            Strangers { records: 600_000, name_every: usize::MAX, lanes: 1, per_ms: usize::MAX },
            false,
        ),
        ("ever new names", Strangers { records: 400_000, name_every: 4, lanes: 1, per_ms: 20 }, false),
        (
            "more than there is room for",
            Strangers { records: 600_000, name_every: usize::MAX, lanes: 4_000, per_ms: 20 },
            true,
        ),
    ] {
        let records = strangers.records as u64;
        let new_names = strangers.name_every < 1_000;
        let (summary, peak) = run(strangers, sheds);
        println!("{what}: {:.1} MiB at most", peak as f64 / MIB as f64);
        assert!(peak <= BUDGET, "{what}: {peak} bytes");
        let total = summary.total();
        assert_eq!((total.received, total.in_flight), (records, 0), "{what}");
        if new_names {
            assert!(total.rejected > records / 2, "{what}: names beyond the bound are refused: {total:?}");
        } else if what.starts_with("all in one second") {
            assert!(summary.event_ids_evicted > 0, "{what}");
        } else if !sheds {
            // The bounds were reached: what is measured is what they are worth.
            assert!(summary.event_ids_evicted > 0, "{what}");
            assert!(summary.rules.iter().any(|rule| rule.keys_evicted > 0), "{what}");
            assert!(summary.rules.iter().any(|rule| rule.groups_overflow > 0), "{what}");
            assert!(summary.rules.iter().any(|rule| rule.steps_overflow > 0), "{what}");
        }
    }
}

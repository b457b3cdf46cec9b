//! What somebody who sends dear lines as fast as they are taken does to somebody else: how long the alerts take of a source
//! that sends a record every five milliseconds.
//!
//! Usage: `beside [SECONDS] [ROUNDS] [PART OF A NAME]` (5; 3; all). Both are sources that can wait; limits are the default
//! ones. Each line is a round.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use weir_benches::paced::{quantile, sorted};
use weir_benches::parse;
use weir_benches::signed::{credential, issuers};
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::Catalog;

/// What every run is judged by.
const PACK: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: fast, kind: match, from: vehicle, where: confidence > 0.95, purpose: p, say: \"{lane}\" }
  - { id: verified, kind: match, from: code, where: outcome = 'revoked', purpose: p }
  - { id: full, kind: window, from: vehicle, key: [site], measure: count, window: { last: 60s, every: 5s }, levels: [{ name: full, enter: 1000000000, exit: 900000000, severity: high }], purpose: p }
";

/// Between two records of whom nobody shall disturb.
const EVERY: Duration = Duration::from_millis(5);
/// The other one is there first.
const WARM_UP: Duration = Duration::from_millis(500);
/// What the other one hands over at once, about.
const PIECE: usize = 64 << 10;

type Line = Arc<dyn Fn(u64, &mut String) + Send + Sync>;

fn main() {
    weir_memory::steady_memory();
    let number = |at: usize, usual: u64| std::env::args().nth(at).map_or(usual, |text| text.parse().expect("a number"));
    let (seconds, rounds) = (number(1, 5), number(2, 3));
    let wanted = std::env::args().nth(3).unwrap_or_default();
    println!(
        "{:<32} {:>12} {:>8} {:>9} {:>9} {:>9} {:>13}",
        "beside", "records/s", "alerts", "p50 ms", "p99 ms", "max ms", "beyond bound"
    );
    for (name, line) in kinds().into_iter().filter(|(name, _)| name.contains(&wanted)) {
        for _ in 0..rounds {
            let (summary, alerts_ms) = run(line.clone(), Duration::from_secs(seconds));
            let sent = summary.by_source.iter().find(|(source, _)| source == "dear").map_or(0, |(_, it)| it.received);
            let alerts_ms = sorted(alerts_ms);
            println!(
                "{name:<32} {:>12.0} {:>8} {:>9.2} {:>9.2} {:>9.2} {:>13}",
                sent as f64 / seconds as f64,
                alerts_ms.len(),
                quantile(&alerts_ms, 0.5),
                quantile(&alerts_ms, 0.99),
                quantile(&alerts_ms, 1.0),
                alerts_ms.iter().filter(|ms| **ms > Limits::default().latency_bound_ms as f64).count()
            );
        }
    }
}

fn vehicle(number: u64, (site, device, lane): (&str, &str, u64), confidence: f64, text: &mut String) {
    let ts = now_ms();
    let _ = writeln!(
        text,
        "{{\"kind\":\"vehicle\",\"event_id\":\"h{number}\",\"ts\":{ts},\"site\":\"{site}\",\"device\":\"{device}\",\"lane\":\"{lane}\",\"plate\":\"陕A12345\",\"confidence\":{confidence}}}"
    );
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_millis()
}

/// What the other one sends; nothing, at first.
fn kinds() -> Vec<(&'static str, Option<Line>)> {
    let credential = credential();
    let verified: Line = Arc::new(move |n, text| {
        let ts = now_ms();
        let _ = writeln!(
            text,
            "{{\"kind\":\"code\",\"event_id\":\"h{n}\",\"ts\":{ts},\"site\":\"s\",\"device\":\"d\",\"credential\":{credential}}}"
        );
    });
    vec![
        ("nobody", None),
        ("good lines", Some(Arc::new(|n, text| vehicle(n, ("s", "d", 0), 0.9, text)))),
        ("credentials to be verified", Some(verified)),
        ("sites, each of its own", Some(Arc::new(|n, text| vehicle(n, (&format!("s{n}"), "d", 0), 0.9, text)))),
        (
            "sites, 60,000 in turn",
            Some(Arc::new(|n, text| vehicle(n, (&format!("s{}", n % 60_000), "d", 0), 0.9, text))),
        ),
        ("devices, each of its own", Some(Arc::new(|n, text| vehicle(n, ("s", &format!("d{n}"), 0), 0.9, text)))),
    ]
}

/// The account of a run, and how long each alert took from when its record was due to be sent, ms.
fn run(line: Option<Line>, time: Duration) -> (Summary, Vec<f64>) {
    let (ends, start) = (Arc::new(AtomicBool::new(false)), Instant::now() + WARM_UP);
    let alerts_ms = Arc::new(Mutex::new(Vec::new()));
    let sink = SinkSpec { streams: vec![Stream::Alerts, Stream::DeadLetters], ..SinkSpec::alerts("drop", ["p"]) };
    let mut builder = Pipeline::builder(Catalog::builtin())
        .shared_pack(parse(PACK), Vec::new())
        .issuers(issuers())
        .source(SourceSpec::new("quiet", Format::Ndjson), Quiet { start, time, ends: Arc::clone(&ends) })
        .sink(sink, Watch { start, alerts_ms: Arc::clone(&alerts_ms) });
    if let Some(line) = line {
        builder = builder.source(SourceSpec::new("dear", Format::Ndjson), Dear { line, ends });
    }
    let summary = builder.build().expect("a pipeline").run().expect("a run");
    let alerts_ms = std::mem::take(&mut *alerts_ms.lock().expect("no sink panicked"));
    (summary, alerts_ms)
}

/// Hits, each with its number.
struct Quiet {
    start: Instant,
    time: Duration,
    ends: Arc<AtomicBool>,
}

impl Source for Quiet {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut due = Duration::ZERO;
        let mut number = 0;
        while due < self.time {
            std::thread::sleep((self.start + due).saturating_duration_since(Instant::now()));
            let mut text = String::new();
            vehicle(1 << 40 | number, ("quiet", "q", number), 0.99, &mut text);
            feed.send_ndjson(text);
            (due, number) = (due + EVERY, number + 1);
        }
        self.ends.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// As much as is taken.
struct Dear {
    line: Line,
    ends: Arc<AtomicBool>,
}

impl Source for Dear {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut number = 0;
        while !self.ends.load(Ordering::Relaxed) {
            let mut text = String::with_capacity(PIECE + 1_024);
            while text.len() < PIECE {
                (self.line)(number, &mut text);
                number += 1;
            }
            feed.send_ndjson(text);
        }
        Ok(())
    }
}

/// Notes how long alerts took.
struct Watch {
    start: Instant,
    alerts_ms: Arc<Mutex<Vec<f64>>>,
}

impl Sink for Watch {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut alerts_ms = self.alerts_ms.lock().expect("nobody panicked");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            let number: u32 = alert.say.as_deref().and_then(|say| say.parse().ok()).expect("the lane is a number");
            alerts_ms.push((self.start + EVERY * number).elapsed().as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

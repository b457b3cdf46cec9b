//! A list of N entries swapped every second while records come at half of the maximum rate: what it does to
//! the latency of alerts, and whether every record is judged by exactly one version.
//!
//! Usage: `list-swap FOLDER [ENTRIES] [SECONDS]` (10,000,000 and 60). Records are sent on a schedule and their
//! latency counts from the moment that the schedule says, however late they were sent. One record in a hundred
//! hits. Both versions list the same entries; their case reference names the version.
//!
//! Seconds with a swap and seconds without lie in one run, five of each in turn, SECONDS of each in all: this machine
//! is faster in one minute than in the next, and runs one after the other would compare its minutes. A second without
//! swaps that follows one with a swap is judged by the same tables in the same caches.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_benches::parse;
use weir_engine::record::RootKey;
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::{Effort, Key, ListKeys, ListSpec, Loading, NewEntry, SnapshotBuilder, Watchlist, load};
use weir_engine::{Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec};
use weir_rules::{Catalog, Pack};

const PACK: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
lists: { stolen: { kind: stolen_vehicle, from: l.wlist, key: plate, purpose: p } }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: p, say: \"{lane}\" }
";
/// One record in so many hits.
const HIT_EVERY: u64 = 100;
/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 3.0;
/// How many runs.
const ROUNDS: u32 = 3;
/// Seconds with a swap, and then seconds without.
const PERIOD_S: u64 = 5;
/// How long the maximum rate is measured.
const SATURATED_S: f64 = 5.0;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let entries: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let seconds: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(60.0);
    let pack = parse(PACK);
    let paths = [folder.join("swap-a.wlist"), folder.join("swap-b.wlist")];
    for (path, version) in paths.iter().zip(["A", "B"]) {
        build(path, entries, version, &pack);
    }
    let first = open(&paths[0], &pack);
    let saturated = run(&pack, &first, None, f64::INFINITY, SATURATED_S);
    let maximum = saturated.records as f64 / saturated.elapsed_s;
    println!("maximum: {maximum:.0} records/s; half of it is sent");
    for round in 1..=ROUNDS {
        let outcome = run(&pack, &first, Some(&paths), maximum / 2.0, WARM_UP_S + 2.0 * seconds);
        println!(
            "round {round}: {} records, {} alerts, {} swaps, {} versions; torn {}, missing {}",
            outcome.records, outcome.alerts, outcome.swaps, outcome.versions, outcome.torn, outcome.missing
        );
        for (name, part) in [("without", &outcome.quiet), ("with a swap", &outcome.swapped)] {
            println!(
                "  seconds {name}: ms p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}; p99.9 of a usual second {:.2}",
                part.at(0.5),
                part.at(0.99),
                part.at(0.999),
                part.at(1.0),
                part.usual_p99_9()
            );
        }
        println!(
            "  with swaps less without: p99.9 {:.2} ms, p99.9 of a usual second {:.2} ms",
            outcome.swapped.at(0.999) - outcome.quiet.at(0.999),
            outcome.swapped.usual_p99_9() - outcome.quiet.usual_p99_9()
        );
    }
    for path in paths {
        fs::remove_file(path).expect("the file goes");
    }
}

const SERIAL: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

fn plate(n: u64) -> String {
    let mut number = n;
    let tail = (0..6).map(|_| {
        let c = char::from(SERIAL[(number % 34) as usize]);
        number /= 34;
        c
    });
    std::iter::once('陕').chain(tail).collect()
}

fn build(path: &Path, entries: u64, version: &str, pack: &Pack) {
    let keys = Arc::new(ListKeys::derive(&[7; 32], "p", "2026-11"));
    let mut builder = SnapshotBuilder::new(Arc::clone(&keys), true);
    for n in 0..entries {
        let id = format!("E{n:08}");
        let entry = NewEntry { entry_id: &id, expires_ms: 4_000_000_000_000, case_ref: version, ..NewEntry::default() };
        builder.push(&Key::Exact(plate(n)), &entry);
    }
    let spec = ListSpec::new(pack, &pack.lists[0]);
    let manifest =
        weir_engine::watchlist::Manifest { total: entries, source: version.to_owned(), ..spec.manifest(&keys, 0) };
    let _ = fs::remove_file(path);
    fs::write(path, builder.finish(manifest, Vec::new())).expect("the file is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("the file is closed to writers");
}

fn open(path: &Path, pack: &Pack) -> Arc<Watchlist> {
    let loading = Loading {
        vfs: &RealVfs,
        limits: &Limits::default(),
        population: None,
        now_ms: 0,
        root: &RootKey::new([7; 32]),
        effort: Effort::Beside,
        previous: None,
    };
    load(path, ListSpec::new(pack, &pack.lists[0]), &loading).expect("a sound list").0
}

struct Outcome {
    records: u64,
    alerts: u64,
    swaps: u64,
    elapsed_s: f64,
    quiet: Latencies,
    swapped: Latencies,
    torn: u64,
    missing: u64,
    versions: usize,
}

struct Latencies {
    /// Milliseconds, sorted.
    all: Vec<f64>,
    /// The p99.9 of each second, sorted.
    seconds_p99_9: Vec<f64>,
}

impl Latencies {
    /// Of second and milliseconds.
    fn of(latencies: impl Iterator<Item = (u64, f64)>) -> Self {
        let mut by_second: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (second, ms) in latencies {
            by_second.entry(second).or_default().push(ms);
        }
        let all = sorted(by_second.values().flatten().copied().collect());
        let seconds_p99_9 = sorted(by_second.into_values().map(|second| quantile(&sorted(second), 0.999)).collect());
        Self { all, seconds_p99_9 }
    }

    fn at(&self, share: f64) -> f64 {
        quantile(&self.all, share)
    }

    /// The p99.9 of a second as it usually is: every second has a swap in it, and few have a stall of the machine.
    fn usual_p99_9(&self) -> f64 {
        quantile(&self.seconds_p99_9, 0.5)
    }
}

/// Whether a list is swapped in this second of the run.
fn has_swap(second: u64) -> bool {
    second / PERIOD_S % 2 == 1
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn run(pack: &Pack, list: &Arc<Watchlist>, swap: Option<&[PathBuf; 2]>, rate: f64, seconds: f64) -> Outcome {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let started = Instant::now();
    let sent = Arc::new(AtomicU64::new(0));
    let schedule = Schedule { started, rate, seconds, sent: Arc::clone(&sent) };
    let sink = Timing { started, rate, seen: Arc::clone(&seen) };
    let pipeline = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), vec![Arc::clone(list)])
        .limits(Limits { max_ahead_ms: i64::MAX, ..Limits::default() })
        .source(SourceSpec::new("schedule", Format::Ndjson), schedule)
        .sink(SinkSpec::alerts("timing", ["p"]), sink)
        .build()
        .expect("a pipeline");
    let handle = pipeline.reload_handle();
    let over = Arc::new(AtomicBool::new(false));
    let swapper = swap.map(|paths| {
        let (paths, pack, over) = (paths.clone(), pack.clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut swaps = 0;
            while !over.load(Ordering::Relaxed) {
                let second = started.elapsed().as_secs();
                if has_swap(second) {
                    swaps += 1;
                    handle.swap_list(&open(&paths[swaps as usize % 2], &pack)).expect("a swap");
                }
                let next = started + Duration::from_secs(second + 1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            swaps
        })
    });
    pipeline.run().expect("a run");
    over.store(true, Ordering::Relaxed);
    let swaps = swapper.map_or(0, |thread| thread.join().expect("the swapper"));
    let elapsed_s = started.elapsed().as_secs_f64();
    let seen = std::mem::take(&mut *seen.lock().expect("the sink is done"));
    let records = sent.load(Ordering::Relaxed);
    let of = |with_swap: bool| {
        Latencies::of(seen.latencies_ms.iter().copied().filter(|(second, _)| has_swap(*second) == with_swap))
    };
    Outcome {
        records,
        alerts: seen.alerts,
        swaps,
        elapsed_s,
        quiet: of(false),
        swapped: of(true),
        torn: seen.torn,
        missing: records / HIT_EVERY - seen.alerts,
        versions: seen.versions.len(),
    }
}

/// Sends records when their time has come, as many as are due.
struct Schedule {
    started: Instant,
    rate: f64,
    seconds: f64,
    sent: Arc<AtomicU64>,
}

/// Values of the lane.
const LANES: u64 = 60_000;

/// Records sent at once at most.
const BURST: u64 = 2_000;

impl Source for Schedule {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("schedule");
        let mut number = 0u64;
        let mut lines = Vec::new();
        let mut line = Line::new();
        let total =
            if self.rate.is_finite() { (self.rate * self.seconds) as u64 / HIT_EVERY * HIT_EVERY } else { u64::MAX };
        while number < total && (self.rate.is_finite() || self.started.elapsed().as_secs_f64() < self.seconds) {
            let due = if self.rate.is_finite() {
                (self.started.elapsed().as_secs_f64() * self.rate) as u64
            } else {
                u64::MAX
            };
            if due <= number {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            lines.clear();
            for _ in 0..BURST.min(due - number).min(total - number) {
                line.write(number, &mut lines);
                number += 1;
            }
            framer.push(&lines);
            feed.send_framed(&mut framer)?;
        }
        // In whole hits, so that none is missed by counting.
        self.sent.store(number / HIT_EVERY * HIT_EVERY, Ordering::Relaxed);
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

/// A record whose digits are put in place: writing it costs next to nothing beside judging it.
struct Line {
    bytes: Vec<u8>,
    event: usize,
    ts: usize,
    lane: usize,
    plate: usize,
}

impl Line {
    fn new() -> Self {
        let text = "{\"kind\":\"vehicle\",\"event_id\":\"##########\",\"ts\":1795#########,\"site\":\"s\",\"device\":\"d\",\"lane\":\"#####\",\"plate\":\"陕######\",\"confidence\":0.9}\n";
        let after = |mark: &str| text.find(mark).expect("it is there") + mark.len();
        Self {
            bytes: text.as_bytes().to_vec(),
            event: after("event_id\":\""),
            ts: after("\"ts\":1795"),
            lane: after("lane\":\""),
            plate: after("陕"),
        }
    }

    fn digits(&mut self, at: usize, count: usize, mut number: u64) {
        for place in (at..at + count).rev() {
            self.bytes[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    /// Appends record `number`. Plates beyond the list hit nothing; time goes on by a second every million records;
    /// the lane says which of the hits it is, within what a symbol column holds.
    fn write(&mut self, number: u64, lines: &mut Vec<u8>) {
        let hits = number.is_multiple_of(HIT_EVERY);
        self.digits(self.event, 10, number);
        self.digits(self.ts, 9, number / 1_000);
        self.digits(self.lane, 5, if hits { number / HIT_EVERY % LANES } else { 0 });
        let mut plate = if hits { number % 1_000_000 } else { 900_000_000 + number % 500_000_000 };
        for place in self.plate..self.plate + 6 {
            self.bytes[place] = SERIAL[(plate % 34) as usize];
            plate /= 34;
        }
        lines.extend_from_slice(&self.bytes);
    }
}

#[derive(Default)]
struct Seen {
    alerts: u64,
    /// Second of the run, and milliseconds.
    latencies_ms: Vec<(u64, f64)>,
    torn: u64,
    versions: BTreeMap<String, char>,
}

struct Timing {
    started: Instant,
    rate: f64,
    seen: Arc<Mutex<Seen>>,
}

impl Sink for Timing {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now_s = self.started.elapsed().as_secs_f64();
        let mut seen = self.seen.lock().expect("one sink");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            let Some(hit) = &alert.hit else { continue };
            // Hits come in the order in which they were sent.
            let number = seen.alerts;
            seen.alerts += 1;
            let lane = format!("{:05}", number % LANES);
            let version = hit.case_ref.as_ref().and_then(|text| text.chars().next()).unwrap_or('?');
            let judged_by = *seen.versions.entry(hit.list_version.clone()).or_insert(version);
            if judged_by != version || alert.say.as_deref() != Some(lane.as_str()) {
                seen.torn += 1;
            }
            let due_s = if self.rate.is_finite() { (number * HIT_EVERY) as f64 / self.rate } else { now_s };
            if due_s >= WARM_UP_S {
                seen.latencies_ms.push((due_s as u64, (now_s - due_s) * 1e3));
            }
        }
        Ok(())
    }
}

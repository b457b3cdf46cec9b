//! A list of N entries swapped every second while records come over TCP at a rate, or out of memory at half of the maximum:
//! what it does to the latency of alerts, and whether every record is judged by exactly one version.
//!
//! Usage: `list-swap FOLDER [ENTRIES] [SECONDS] [RATE]` (10,000,000 and 60). Records are sent on a schedule and their
//! latency counts from the moment that the schedule says, however late they were sent. One record in a hundred
//! hits. Both versions list the same entries; their case reference names the version.
//!
//! Seconds with a swap and seconds without lie in one run, five of each in turn, SECONDS of each in all: this machine
//! is faster in one minute than in the next, and runs one after the other would compare its minutes. A second without
//! swaps that follows one with a swap is judged by the same tables in the same caches.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, LANES, Line, PACK, build, open, quantile, sorted};
use weir_benches::{cores, over_tcp_beside, parse};
use weir_engine::alert::Alert;
use weir_engine::runtime::ReloadHandle;
use weir_engine::watchlist::Watchlist;
use weir_engine::{Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec};
use weir_rules::{Catalog, Pack};

/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 10.0;
/// How many runs.
const ROUNDS: u32 = 3;
/// Seconds with a swap, and then seconds without.
const PERIOD_S: u64 = 5;
/// Seconds that are told one by one.
const SLOWEST: usize = 6;
/// How long the maximum rate is measured.
const SATURATED_S: f64 = 5.0;

fn main() {
    weir_memory::steady_memory();
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
    let wanted: Option<f64> = args.next().map(|text| text.parse().expect("records a second"));
    let rate = wanted.unwrap_or_else(|| {
        let saturated = run(&pack, &first, None, Way::Memory, f64::INFINITY, SATURATED_S);
        let maximum = saturated.records as f64 / saturated.elapsed_s;
        println!("maximum: {maximum:.0} records/s; half of it is sent");
        maximum / 2.0
    });
    let way = if wanted.is_some() { Way::Tcp } else { Way::Memory };
    let [mut quiet, mut swapped] = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        println!("round {round}, the machine: {}", cores::lost());
        let outcome = run(&pack, &first, Some(&paths), way, rate, WARM_UP_S + 2.0 * seconds);
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
        for (second, p99_9, stolen_ms) in &outcome.slowest {
            let kind = if has_swap(*second) { "with a swap" } else { "without" };
            println!(
                "  second {second} ({kind}): p99.9 {p99_9:.1} ms; the host took {stolen_ms} ms of the cores' time"
            );
        }
        println!(
            "  with swaps less without: p99.9 {:.2} ms, p99.9 of a usual second {:.2} ms",
            outcome.swapped.at(0.999) - outcome.quiet.at(0.999),
            outcome.swapped.usual_p99_9() - outcome.quiet.usual_p99_9()
        );
        quiet.extend(outcome.quiet.all);
        swapped.extend(outcome.swapped.all);
    }
    let [quiet, swapped] = [quiet, swapped].map(|all| quantile(&sorted(all), 0.999));
    println!("all rounds together: p99.9 {quiet:.2} ms without, {swapped:.2} with swaps, {:.2} more", swapped - quiet);
    for path in paths {
        fs::remove_file(path).expect("the file goes");
    }
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
    /// The latest seconds: which, its p99.9 in milliseconds, milliseconds of a core that the host gave to others.
    slowest: Vec<(u64, f64, u64)>,
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

/// How records come.
#[derive(Clone, Copy)]
enum Way {
    /// Over a connection, from senders that share the cores.
    Tcp,
    /// Out of memory, from a thread that looks at the schedule and judges them: faster than a connection.
    Memory,
}

fn run(pack: &Pack, list: &Arc<Watchlist>, swap: Option<&[PathBuf; 2]>, way: Way, rate: f64, seconds: f64) -> Outcome {
    let started = Instant::now();
    let seen = Arc::new(Mutex::new(Seen::with_room_for(rate, seconds)));
    let mut beside = None;
    let mut begins = |handle| beside = Some(Beside::start(handle, pack, swap, started));
    let records = match way {
        Way::Tcp => {
            let judged = Arc::clone(&seen);
            let sees = move |alert: &Alert| judged.lock().expect("one sink").see(alert);
            let timed = over_tcp_beside(pack, list, rate, seconds, |builder| builder, begins, sees);
            let warm = timed.iter().filter(|it| it.due_s >= WARM_UP_S);
            seen.lock().expect("the sink is done").latencies_ms.extend(warm.map(|it| (it.due_s as u64, it.ms)));
            timed.len() as u64 * HIT_EVERY
        }
        Way::Memory => {
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
            begins(pipeline.reload_handle());
            pipeline.run().expect("a run");
            sent.load(Ordering::Relaxed)
        }
    };
    let elapsed_s = started.elapsed().as_secs_f64();
    let (swaps, stolen) = beside.expect("it began").end();
    let seen = std::mem::take(&mut *seen.lock().expect("the sink is done"));
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
        slowest: slowest(&seen.latencies_ms, &stolen),
    }
}

/// What goes on beside a run.
struct Beside {
    over: Arc<AtomicBool>,
    /// Opens and swaps lists; how many.
    swapper: JoinHandle<u64>,
    /// Looks each second at what the host has taken.
    watch: JoinHandle<Vec<u64>>,
}

impl Beside {
    fn start(handle: ReloadHandle, pack: &Pack, swap: Option<&[PathBuf; 2]>, started: Instant) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (paths, pack, ends) = (swap.cloned(), pack.clone(), Arc::clone(&over));
        let swapper = std::thread::spawn(move || {
            let mut swaps = 0;
            while let Some(paths) = paths.as_ref().filter(|_| !ends.load(Ordering::Relaxed)) {
                let second = started.elapsed().as_secs();
                if has_swap(second) {
                    swaps += 1;
                    handle.swap_list(&open(&paths[swaps as usize % 2], &pack)).expect("a swap");
                }
                sleep_until(started + Duration::from_secs(second + 1));
            }
            swaps
        });
        let ends = Arc::clone(&over);
        let watch = std::thread::spawn(move || {
            let mut by_second = vec![stolen_ms()];
            while !ends.load(Ordering::Relaxed) {
                sleep_until(started + Duration::from_secs(by_second.len() as u64));
                by_second.push(stolen_ms());
            }
            by_second
        });
        Self { over, swapper, watch }
    }

    fn end(self) -> (u64, Vec<u64>) {
        self.over.store(true, Ordering::Relaxed);
        (self.swapper.join().expect("the swapper"), self.watch.join().expect("the watch"))
    }
}

fn sleep_until(then: Instant) {
    std::thread::sleep(then.saturating_duration_since(Instant::now()));
}

/// Milliseconds that the host has given to others since it started, of all cores together.
fn stolen_ms() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // cpu user nice system idle iowait irq softirq steal, in hundredths of a second
    text.split_whitespace().nth(8).and_then(|text| text.parse().ok()).map_or(0, |ticks: u64| ticks * 10)
}

fn slowest(latencies_ms: &[(u64, f64)], stolen: &[u64]) -> Vec<(u64, f64, u64)> {
    let mut by_second: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (second, ms) in latencies_ms {
        by_second.entry(*second).or_default().push(*ms);
    }
    let taken = |second: u64| {
        let at = |second: u64| stolen.get(second as usize).or(stolen.last()).copied().unwrap_or(0);
        at(second + 1) - at(second)
    };
    let mut seconds: Vec<(u64, f64, u64)> = by_second
        .into_iter()
        .map(|(second, latencies)| (second, quantile(&sorted(latencies), 0.999), taken(second)))
        .collect();
    seconds.sort_by(|a, b| b.1.total_cmp(&a.1));
    seconds.truncate(SLOWEST);
    seconds
}

/// Sends records when their time has come, as many as are due.
struct Schedule {
    started: Instant,
    rate: f64,
    seconds: f64,
    sent: Arc<AtomicU64>,
}

/// Records sent at once at most.
const BURST: u64 = 2_000;

impl Source for Schedule {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("schedule");
        let mut number = 0u64;
        let mut lines = Vec::new();
        let mut line = Line::default();
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
                // A second of event time for every million records.
                line.write(number, number / 1_000, &mut lines);
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

impl Seen {
    /// Its pages are there before the clock starts: what grows while it is measured is measured too.
    fn with_room_for(rate: f64, seconds: f64) -> Self {
        let alerts = if rate.is_finite() { (rate * seconds) as usize / HIT_EVERY as usize + 1 } else { 0 };
        let mut latencies_ms = vec![(1, 1.0); alerts];
        latencies_ms.clear();
        Self { latencies_ms, ..Self::default() }
    }

    /// Hits come in the order in which they were sent, and each is judged by one version.
    fn see(&mut self, alert: &Alert) {
        let hit = alert.hit.as_ref().expect("the rule has a list");
        let lane = format!("{:05}", self.alerts % LANES);
        self.alerts += 1;
        let version = hit.case_ref.as_ref().and_then(|text| text.chars().next()).unwrap_or('?');
        let judged_by = *self.versions.entry(hit.list_version.clone()).or_insert(version);
        if judged_by != version || alert.say.as_deref() != Some(lane.as_str()) {
            self.torn += 1;
        }
    }
}

impl Sink for Timing {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now_s = self.started.elapsed().as_secs_f64();
        let mut seen = self.seen.lock().expect("one sink");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            let number = seen.alerts;
            seen.see(alert);
            let due_s = if self.rate.is_finite() { (number * HIT_EVERY) as f64 / self.rate } else { now_s };
            if due_s >= WARM_UP_S {
                seen.latencies_ms.push((due_s as u64, (now_s - due_s) * 1e3));
            }
        }
        Ok(())
    }
}

//! Ten times the load that the machine can carry, from a source that cannot wait (RELIABILITY.md 2.4).
//!
//! Usage: `overload [TIMES] [SECONDS] [SHARDS]` (10; 10 s of burst; one shard, so that the source has another core). First the pace is measured at which the pipeline judges
//! when its source waits; then half of that is sent for five seconds, TIMES of it for SECONDS, and half again for ten.
//! One record in forty is a vehicle that is looked up in a list; the others are people who are counted by zone. The
//! source is a thread of this process that keeps to its schedule as well as it can on the same cores, and says how well.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_benches::paced::{build, open, quantile, sorted};
use weir_benches::{cores, parse};
use weir_engine::source::Class;
use weir_engine::watchlist::Watchlist;
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::{Catalog, Pack};

/// First argument of the process that measures the pace.
const PACE: &str = "--pace";

const RULES: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
lists: { stolen: { kind: stolen_vehicle, from: l.wlist, key: plate, purpose: p } }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: p }
  - { id: count, kind: window, from: person, key: [zone], measure: count, window: { last: 60s, every: 5s }, lateness: 5s, emit: windows, purpose: p }
  - { id: distinct, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { last: 60s, every: 5s }, lateness: 5s, emit: windows, purpose: p }
";

/// Entries of the list.
const ENTRIES: u64 = 1_000_000;
/// One record in so many is a vehicle.
const VEHICLE_EVERY: u64 = 40;
/// One vehicle in so many is on the list.
const HIT_EVERY: u64 = 50;
/// People: as many times those of a block.
const CROWDS: u64 = 8;
/// The budget of memory.
const MEMORY: usize = 400 << 20;
/// Records in a block.
const BLOCK: u64 = 400;
/// Records of the run that measures the pace.
const PACE_RECORDS: u64 = 8_000_000;
/// Share of the pace that is sent before and after the burst.
const CALM: f64 = 0.5;
/// Seconds before the burst, of which the first are not measured, and after it.
const BEFORE_S: f64 = 5.0;
const WARM_UP_S: f64 = 2.0;
const AFTER_S: f64 = 10.0;

fn main() {
    weir_memory::steady_memory();
    let mut args = std::env::args().skip(1);
    let pack = parse(RULES);
    if std::env::args().nth(1).as_deref() == Some(PACE) {
        let [shards, path] = [2, 3].map(|at| std::env::args().nth(at).expect("shards and a file"));
        build(Path::new(&path), ENTRIES, "A", &pack);
        println!("{}", pace(&pack, &open(Path::new(&path), &pack), shards.parse().expect("a number")));
        return;
    }
    let times: f64 = args.next().map_or(10.0, |text| text.parse().expect("a number"));
    let burst_s: f64 = args.next().map_or(10.0, |text| text.parse().expect("seconds"));
    let shards: usize = args.next().map_or(1, |text| text.parse().expect("a number"));
    // In a process of its own, which builds the list too: what that leaves in the allocator is not what the burst takes.
    let path = std::env::temp_dir().join(format!("weir-overload-{}.wlist", std::process::id()));
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args([PACE, &shards.to_string()]).arg(&path).output().expect("it starts");
    let pace: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a pace");
    println!("pace when the source waits: {pace:.0} records/s");
    let list_bytes = fs::metadata(&path).expect("the list is built").len();
    println!("the machine: {}", cores::lost());
    burst(&pack, &open(&path, &pack), shards, &Load { pace, times, burst_s, list_bytes });
    fs::remove_file(path).expect("the file goes");
}

/// How much is sent.
struct Load {
    /// Records that the pipeline judges in a second when its source waits.
    pace: f64,
    /// So many times that.
    times: f64,
    burst_s: f64,
    /// What the list's file holds.
    list_bytes: u64,
}

/// Records that the pipeline judges in a second.
fn pace(pack: &Pack, list: &Arc<Watchlist>, shards: usize) -> f64 {
    let steps = vec![Step { until_s: f64::INFINITY, rate: f64::INFINITY }];
    let (_, summary, _) = run(pack, list, &steps, PACE_RECORDS, shards, false);
    summary.total().received as f64 / summary.elapsed.as_secs_f64()
}

fn burst(pack: &Pack, list: &Arc<Watchlist>, shards: usize, load: &Load) {
    let Load { pace, times, burst_s, list_bytes } = *load;
    let end_s = BEFORE_S + burst_s;
    let steps = vec![
        Step { until_s: BEFORE_S, rate: pace * CALM },
        Step { until_s: end_s, rate: pace * times },
        Step { until_s: end_s + AFTER_S, rate: pace * CALM },
    ];
    let before_kb = status_kb("VmRSS");
    let (sent, summary, seen) = run(pack, list, &steps, u64::MAX, shards, true);
    let peak_kb = status_kb("VmHWM");
    let total = summary.total();

    println!("sent in the burst: {:.2} times the pace (meant: {times})", sent.in_burst as f64 / burst_s / pace);
    println!("sent {}, received {}, evaluated {}, shed {}", sent.total, total.received, total.evaluated, total.shed);
    println!("told as shed in {} lines: {:?}", seen.shed_lines, seen.shed);
    for (source, class, count) in &summary.shed {
        println!("counted as shed: source {source}, class {}, {count}", class.word());
    }
    let told: u64 = seen.shed.values().sum();
    let counted: u64 = summary.shed.iter().map(|(_, _, count)| count).sum();
    assert_eq!(total.received, sent.total, "every record is accounted for");
    assert_eq!(total.evaluated + total.shed + total.late, sent.total, "every record was judged or let go");
    assert_eq!((told, counted), (total.shed, total.shed), "what was let go is what the reports say");
    let safety: u64 = summary.shed.iter().filter(|(_, class, _)| *class == Class::Safety).map(|(.., n)| n).sum();
    println!("watchlist records let go: {safety}; hits sent {}, alerts {}", sent.hits, seen.alerts.len());
    println!("windows that say they miss records: {} of {}", seen.incomplete, seen.windows);
    println!("resident: {} MiB before, {} MiB at most; budget {} MiB", before_kb / 1024, peak_kb / 1024, MEMORY >> 20);
    // Lists come on top of the budget, with what their files hold; the rest of the process is within it.
    println!("list: {} MiB", list_bytes >> 20);
    assert!(peak_kb * 1024 <= MEMORY as u64 + list_bytes, "the budget is kept");

    let latency = summary.latency.get("seen").cloned().unwrap_or_default();
    let spent = latency.spent;
    println!(
        "alerts beyond the bound: {} of {}; ms spent waiting {}, judged {}, delivered {}",
        latency.violations,
        latency.count(),
        spent.waiting_ns / 1_000_000,
        spent.judging_ns / 1_000_000,
        spent.delivering_ns / 1_000_000
    );

    let of = |from_s: f64, to_s: f64, figure: &dyn Fn(&Seen) -> f64| {
        sorted(seen.alerts.iter().filter(|it| it.due_s >= from_s && it.due_s < to_s).map(figure).collect())
    };
    let line = |name: &str, from_s: f64, to_s: f64| {
        let read = of(from_s, to_s, &|it| it.read_ms);
        let due = of(from_s, to_s, &|it| it.due_ms);
        println!(
            "{name}: {} alerts, ms from read p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}; from intended time p50 {:.0}, p99.9 {:.0}",
            read.len(),
            quantile(&read, 0.5),
            quantile(&read, 0.99),
            quantile(&read, 0.999),
            quantile(&read, 1.0),
            quantile(&due, 0.5),
            quantile(&due, 0.999),
        );
        quantile(&due, 0.999)
    };
    let calm = line("before", WARM_UP_S, BEFORE_S);
    line("burst", BEFORE_S, end_s);
    for second in 0..burst_s as u32 {
        let from_s = BEFORE_S + f64::from(second);
        line(&format!("second {} of the burst", second + 1), from_s, from_s + 1.0);
    }
    let mut recovered = None;
    for second in 0..AFTER_S as u32 {
        let from_s = end_s + f64::from(second);
        if line(&format!("second {} after", second + 1), from_s, from_s + 1.0) <= calm.max(2.0) * 2.0 {
            recovered.get_or_insert(second + 1);
        }
    }
    let recovered = recovered.expect("it recovers");
    println!("first second whose p99.9 from the intended time is at most twice that before, or 4 ms: {recovered}");
}

/// A kilobyte figure of this process.
fn status_kb(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Step {
    until_s: f64,
    rate: f64,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    total: u64,
    in_burst: u64,
    hits: u64,
}

struct Seen {
    /// When its record was meant to be sent, from the start of the run.
    due_s: f64,
    due_ms: f64,
    read_ms: f64,
}

#[derive(Default)]
struct Book {
    alerts: Vec<Seen>,
    shed: BTreeMap<String, u64>,
    shed_lines: u64,
    windows: u64,
    incomplete: u64,
}

type Shared<T> = Arc<Mutex<T>>;

fn run(
    pack: &Pack,
    list: &Arc<Watchlist>,
    steps: &[Step],
    records_max: u64,
    shards: usize,
    sheds: bool,
) -> (Sent, Summary, Book) {
    let clock: Shared<Option<Instant>> = Arc::default();
    let sent: Shared<Sent> = Arc::default();
    let book: Shared<Book> = Arc::default();
    let source = Bursts { steps: steps.to_vec(), records_max, begin: Arc::clone(&clock), sent: Arc::clone(&sent) };
    let mut streams = SinkSpec::alerts("book", ["p"]);
    streams.streams = vec![Stream::Alerts, Stream::Windows, Stream::Shed];
    let pipeline = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), vec![Arc::clone(list)])
        .limits(Limits { max_ahead_ms: i64::MAX / 2, memory_max: Some(MEMORY), ..Limits::default() })
        .shards(shards)
        .source(SourceSpec { sheds, ..SourceSpec::new("bursts", Format::Ndjson) }, source)
        .sink(streams, Keeper { begin: clock, book: Arc::clone(&book) })
        .build()
        .expect("a pipeline");
    let summary = pipeline.run().expect("a run");
    let sent = *sent.lock().expect("the source is done");
    let book = std::mem::take(&mut *book.lock().expect("the sink is done"));
    (sent, summary, book)
}

/// Sends blocks on a schedule.
struct Bursts {
    steps: Vec<Step>,
    records_max: u64,
    begin: Shared<Option<Instant>>,
    sent: Shared<Sent>,
}

impl Source for Bursts {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let begin = Instant::now();
        *self.begin.lock().expect("nobody died") = Some(begin);
        let mut block = Template::default();
        let (mut number, mut sent) = (0_u64, Sent::default());
        // Where the step in force began.
        let (mut step, mut step_began_s, mut step_first) = (0, 0.0, 0);
        while number < self.records_max {
            let now_s = begin.elapsed().as_secs_f64();
            while step < self.steps.len() && now_s >= self.steps[step].until_s {
                (step_began_s, step_first) = (self.steps[step].until_s, number);
                step += 1;
            }
            let Some(now) = self.steps.get(step) else { break };
            let due = step_first as f64 + (now_s - step_began_s) * now.rate;
            if due < (number + BLOCK) as f64 {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            // The event time is when the block's first record was meant to be sent.
            let due_s =
                if now.rate.is_infinite() { now_s } else { step_began_s + (number - step_first) as f64 / now.rate };
            let bytes = block.fill(number, (due_s * 1e3) as u64);
            sent.hits += block.hits;
            feed.send_ndjson(bytes);
            number += BLOCK;
            sent.total += BLOCK;
            sent.in_burst += if step == 1 { BLOCK } else { 0 };
        }
        *self.sent.lock().expect("nobody died") = sent;
        Ok(())
    }
}

/// Where in a block a record's changing parts stand.
struct Places {
    event: usize,
    ts: usize,
    plate: Option<usize>,
    person: Option<usize>,
}

/// A block of records whose digits are put in place.
struct Template {
    bytes: Vec<u8>,
    places: Vec<Places>,
    hits: u64,
}

impl Default for Template {
    fn default() -> Self {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for number in 0..BLOCK {
            let start = bytes.len();
            let text = if number.is_multiple_of(VEHICLE_EVERY) {
                format!(
                    "{{\"kind\":\"vehicle\",\"event_id\":\"#########{number:03}\",\"ts\":1795#########,\"site\":\"s\",\"device\":\"gate-01\",\"plate\":\"陕######\",\"plate_color\":\"blue\"}}\n"
                )
            } else {
                let (gate, zone) = (number % 76, number % 40);
                format!(
                    "{{\"kind\":\"person\",\"event_id\":\"#########{number:03}\",\"ts\":1795#########,\"site\":\"s\",\"device\":\"gate-{gate:02}\",\"zone\":\"Z-{zone:04}\",\"person_id\":\"P########{number:03}\",\"direction\":\"in\",\"confidence\":0.92}}\n"
                )
            };
            let after = |mark: &str| text.find(mark).map(|at| start + at + mark.len());
            places.push(Places {
                event: after("event_id\":\"").expect("one"),
                ts: after("\"ts\":1795").expect("one"),
                plate: after("陕"),
                person: after("\"P"),
            });
            bytes.extend_from_slice(text.as_bytes());
        }
        Self { bytes, places, hits: 0 }
    }
}

const HOUR_MS: u64 = 3_600_000;
/// Event time at the start of a run.
const FIRST_MS: u64 = 1_795_000_000_000;

const SERIAL: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

impl Template {
    /// Writes the numbers of a block; its records differ in the last three digits of their event ids.
    fn fill(&mut self, first: u64, ms: u64) -> Bytes {
        self.hits = 0;
        let (mut block, mut time) = ([0; 9], [0; 9]);
        digits(&mut block, first / BLOCK);
        digits(&mut time, ms);
        let mut crowd = [0; 8];
        digits(&mut crowd, first / BLOCK % CROWDS);
        for (at, places) in self.places.iter().enumerate() {
            self.bytes[places.event..places.event + 9].copy_from_slice(&block);
            self.bytes[places.ts..places.ts + 9].copy_from_slice(&time);
            if let Some(person) = places.person {
                self.bytes[person..person + 8].copy_from_slice(&crowd);
            }
            let Some(plate_at) = places.plate else { continue };
            let vehicle = (first + at as u64) / VEHICLE_EVERY;
            let hit = vehicle.is_multiple_of(HIT_EVERY);
            self.hits += u64::from(hit);
            let mut plate = if hit { vehicle % ENTRIES } else { 900_000_000 + vehicle % 500_000_000 };
            for place in &mut self.bytes[plate_at..plate_at + 6] {
                *place = SERIAL[(plate % 34) as usize];
                plate /= 34;
            }
        }
        Bytes::copy_from_slice(&self.bytes)
    }
}

fn digits(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

struct Keeper {
    begin: Shared<Option<Instant>>,
    book: Shared<Book>,
}

impl Sink for Keeper {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let begin = self.begin.lock().expect("nobody died").expect("records come after the start");
        let now_s = begin.elapsed().as_secs_f64();
        let mut book = self.book.lock().expect("one sink");
        for output in outputs {
            match output {
                Output::Alert(alert) if alert.rule == "seen" => {
                    let due_s = due_ms(&alert.ts) / 1e3;
                    let read_ms = alert.latency_us as f64 / 1e3;
                    book.alerts.push(Seen { due_s, due_ms: (now_s - due_s) * 1e3, read_ms });
                }
                Output::Window(window) => {
                    book.windows += 1;
                    book.incomplete += u64::from(window.completeness.is_some_and(|share| share < 1.0));
                }
                Output::Shed(shed) => {
                    book.shed_lines += 1;
                    *book.shed.entry(shed.class.to_owned()).or_default() += shed.count;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Milliseconds since the first event time, of an alert's: minutes, seconds and milliseconds tell it within an hour.
fn due_ms(ts: &str) -> f64 {
    let minutes: f64 = ts[14..16].parse().expect("minutes");
    let seconds: f64 = ts[17..].trim_end_matches('Z').parse().expect("seconds");
    ((minutes * 60.0 + seconds) * 1e3 - (FIRST_MS % HOUR_MS) as f64).rem_euclid(HOUR_MS as f64)
}

//! A sink that is away for ten minutes while alerts go on, beside one that is not.
//!
//! Usage: `outage FOLDER [SECONDS] [RATE] [BEFORE]` (600 s at 100,000 records/s, of which 1,000 a second hit). Records come over TCP
//! on a schedule. For BEFORE seconds, a fifth of the time, both sinks are there; then one refuses for SECONDS; then it is back. Told are the
//! p99.9 of the other sink before and during the outage, how memory grew, what lay on the disk, and how fast the sink
//! caught up. Every alert must have reached it once, in order.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use weir_benches::paced::{PACK, build, open, sorted, spread};
use weir_benches::{over_tcp, parse};
use weir_engine::{Limits, Output, Sink, SinkError, SinkSpec, StateSpec};

const ENTRIES: u64 = 1_000_000;
/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 5.0;
/// Records whose ids are remembered: those of three seconds.
const EVENT_IDS: usize = 300_000;

fn main() {
    weir_memory::steady_memory();
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let mut figure = |or: f64| args.next().map_or(or, |text| text.parse().expect("a figure"));
    let (away_s, rate) = (figure(600.0), figure(100_000.0));
    let pack = parse(PACK);
    let path = folder.join("outage.wlist");
    build(&path, ENTRIES, "A", &pack);
    let list = open(&path, &pack);
    let state = tempfile::tempdir_in(&folder).expect("a folder");
    let from_s = WARM_UP_S + figure((away_s / 5.0).max(10.0));
    let until_s = from_s + away_s;
    let noted: Arc<Mutex<Noted>> = Arc::default();
    let absent = Absent { noted: Arc::clone(&noted), started: None, from_s, until_s, state: state.path().to_owned() };
    let timed = over_tcp(&pack, &list, rate, until_s + (away_s / 5.0).max(20.0), |builder| {
        // Few event ids, so that memory has its size before the sink goes.
        let limits = Limits { max_ahead_ms: i64::MAX, event_ids_max: EVENT_IDS, ..Limits::default() };
        builder.limits(limits).state(StateSpec::new(state.path())).sink(SinkSpec::alerts("absent", ["p"]), absent)
    });
    let between = |from: f64, until: f64| {
        sorted(timed.iter().filter(|it| (from..until).contains(&it.due_s)).map(|it| it.ms).collect())
    };
    let (before, during) = (between(WARM_UP_S, from_s), between(from_s, until_s));
    for (what, ms) in [("before", &before), ("during", &during)] {
        println!("the other sink {what} the outage: {} alerts, {}", ms.len(), spread(ms));
    }
    let noted = noted.lock().expect("the sink is done");
    println!(
        "memory {:.1} MiB when it went, {:.1} when it came back; {:.0} MiB of segments on the disk then",
        noted.went_mib, noted.back_mib, noted.disk_mib
    );
    let ids: std::collections::HashSet<&String> = noted.ids.iter().collect();
    assert_eq!((noted.ids.len(), ids.len()), (timed.len(), timed.len()), "every alert once");
    let (came_s, done_s) = (noted.came_s.expect("it came back"), noted.caught_up_s.expect("it has caught up"));
    println!(
        "{} alerts waited; it was asked again {:.1} s after it was back, and caught up in {:.2} s, {:.0} a second",
        noted.waited,
        came_s - until_s,
        done_s - came_s,
        noted.waited as f64 / (done_s - came_s)
    );
    fs::remove_file(path).expect("the file goes");
}

#[derive(Default)]
struct Noted {
    ids: Vec<String>,
    went_mib: f64,
    back_mib: f64,
    disk_mib: f64,
    waited: usize,
    /// At each of which memory is told.
    minutes: u64,
    /// Asked for the first time after the outage.
    came_s: Option<f64>,
    caught_up_s: Option<f64>,
}

/// Refuses for a while, and counts what it takes.
struct Absent {
    noted: Arc<Mutex<Noted>>,
    /// With the first alert.
    started: Option<Instant>,
    from_s: f64,
    until_s: f64,
    state: PathBuf,
}

impl Sink for Absent {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now_s = self.started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
        let mut noted = self.noted.lock().expect("one sink");
        if now_s >= noted.minutes as f64 * 60.0 {
            println!("{now_s:.0} s: memory {:.1} MiB", resident_mib());
            noted.minutes = (now_s / 60.0) as u64 + 1;
        }
        if (self.from_s..self.until_s).contains(&now_s) {
            if noted.went_mib == 0.0 {
                noted.went_mib = resident_mib();
            }
            return Err(SinkError::new("away"));
        }
        if now_s >= self.until_s && noted.back_mib == 0.0 {
            noted.came_s = Some(now_s);
            noted.back_mib = resident_mib();
            noted.disk_mib = segments_mib(&self.state);
        }
        let alerts =
            outputs.iter().filter_map(|output| if let Output::Alert(alert) = output { Some(alert) } else { None });
        let mut latest_us = 0;
        for alert in alerts {
            latest_us = alert.latency_us;
            noted.ids.push(alert.alert_id.clone());
        }
        if now_s >= self.until_s && noted.caught_up_s.is_none() {
            noted.waited += outputs.len();
            // Back to what is told as it happens.
            if latest_us < 100_000 {
                noted.caught_up_s = self.started.map(|started| started.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }
}

fn resident_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a figure") / 1024.0
}

fn segments_mib(state: &Path) -> f64 {
    let files = fs::read_dir(state.join("outbox")).expect("an outbox");
    let bytes: u64 = files.filter_map(|file| file.ok()?.metadata().ok()).map(|it| it.len()).sum();
    bytes as f64 / f64::from(1 << 20)
}

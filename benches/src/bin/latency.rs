//! Latency of watchlist alerts over TCP, from the moment a record was meant to be sent until the sink has its alert.
//!
//! Usage: `[ROUNDS=3] [RUNS=5] latency FOLDER [SECONDS] [RATE...]` (20 s; 20,000 and 100,000 records/s). Sender, pipeline and sink are one
//! process with one clock, on the cores there are; the list has a million plates and one record in a hundred hits. The
//! sender keeps to its schedule whatever the pipeline does: a record that waits behind others has waited (no
//! coordinated omission). Each round is run five times: to a thread that only counts lines (what the machine and its
//! sockets take by themselves), with alerts going to the sink out of memory, with a journal of all records and an outbox of
//! all alerts in FOLDER, with a checkpoint a second as well, and without one again, so that what a checkpoint costs stands
//! beside what two runs differ by that are alike. Before each round it is seen how often the machine takes a core away from a
//! thread that only looks at the clock. One alert in a thousand is slower than p99.9: eight of a run of 8 s, which
//! a single stall decides; a minute tells more.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, PACK, build, open, quantile, send, sorted, spread};
use weir_benches::{STAGES, Timed, cores, over_tcp, parse};
use weir_engine::StateSpec;
use weir_engine::watchlist::Watchlist;
use weir_rules::Pack;

/// Entries of the list.
const ENTRIES: u64 = 1_000_000;
/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 3.0;
/// As seldom as can be; a run is shorter.
const NEVER_MS: u64 = 100_000;
/// After the files of a run are gone: a file system that is mounted with `discard` tells the disk so with its next commits.
const SETTLE: Duration = Duration::from_secs(2);
/// How many rounds of each rate, unless `ROUNDS` says otherwise.
const ROUNDS: usize = 3;

/// What is run in each round, in this order.
const RUNS: [&str; 5] = [
    "a thread that only counts lines",
    "alerts out of memory",
    "records and alerts on the disk first",
    "and a checkpoint a second",
    "no checkpoint again",
];
/// Alerts of each of [`RUNS`], or of as many of them as are wanted.
type Round = Vec<Vec<Timed>>;
/// In [`RUNS`].
const CHECKPOINT: usize = 3;
/// Runs of [`RUNS`] that are alike but for the moment, before and after the one with checkpoints.
const NO_CHECKPOINT: [usize; 2] = [2, 4];

fn main() {
    weir_memory::steady_memory();
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let seconds: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(20.0);
    let rates: Vec<f64> = args.map(|text| text.parse().expect("a rate")).collect();
    let rates = if rates.is_empty() { vec![20_000.0, 100_000.0] } else { rates };
    let (rounds, runs) = (wanted("ROUNDS", ROUNDS), wanted("RUNS", RUNS.len()).min(RUNS.len()));
    let pack = parse(PACK);
    let path = folder.join("latency.wlist");
    build(&path, ENTRIES, "A", &pack);
    let list = open(&path, &pack);
    for rate in rates {
        let mut measured: Vec<Round> = Vec::new();
        for round in 1..=rounds {
            let one = |run| {
                let timed = match run {
                    0 => floor(rate, WARM_UP_S + seconds),
                    1 => over_tcp(&pack, &list, rate, WARM_UP_S + seconds, |builder| builder),
                    _ => durable(&pack, &list, &folder, rate, WARM_UP_S + seconds, run == CHECKPOINT),
                };
                let timed: Vec<Timed> = timed.into_iter().filter(|it| it.due_s >= WARM_UP_S).collect();
                println!("{rate:.0} records/s, round {round}, {}: {}", RUNS[run], told(&timed));
                timed
            };
            println!("{rate:.0} records/s, round {round}, the machine: {}", cores::lost());
            measured.push((0..runs).map(one).collect());
        }
        for (run, what) in RUNS.iter().enumerate().take(runs) {
            let all: Vec<Timed> = measured.iter().flat_map(|round| &round[run]).copied().collect();
            println!("{rate:.0} records/s, all rounds, {what}: {}", told(&all));
        }
        if runs == RUNS.len() {
            compare_checkpoints(rate, &measured);
        }
    }
    fs::remove_file(path).expect("the file goes");
}

/// A number out of the environment.
fn wanted(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// How many alerts, how they lie, how long they took from when their records were sent in fact, and where those beyond the
/// last quantile had spent their time, on the average.
fn told(timed: &[Timed]) -> String {
    let ms = sorted(timed.iter().map(|it| it.ms).collect());
    let since_sent = sorted(timed.iter().map(|it| it.ms - it.stages_ms[0]).collect());
    let slow: Vec<&Timed> = timed.iter().filter(|it| it.ms > quantile(&ms, 0.999)).collect();
    let mean = |at: usize| slow.iter().map(|it| it.stages_ms[at]).sum::<f64>() / slow.len() as f64;
    let stages: Vec<String> = STAGES.iter().enumerate().map(|(at, stage)| format!("{stage} {:.2}", mean(at))).collect();
    format!(
        "{} alerts, {}; p99.9 from when they were sent {:.3}; the slowest thousandth: {}",
        timed.len(),
        spread(&ms),
        quantile(&since_sent, 0.999),
        stages.join(", ")
    )
}

/// What a checkpoint a second costs at p99.9, beside what two runs without one differ by.
fn compare_checkpoints(rate: f64, rounds: &[Round]) {
    let p999 = |rounds: &[Round], runs: &[usize]| {
        let timed = rounds.iter().flat_map(|round| runs.iter().flat_map(|run| &round[*run]));
        quantile(&sorted(timed.map(|it| it.ms).collect()), 0.999)
    };
    let beside = |runs: &[usize], others: &[usize]| {
        let times = |rounds: &[Round]| p999(rounds, runs) / p999(rounds, others);
        let each: Vec<String> = rounds.chunks(1).map(|round| format!("{:.2}", times(round))).collect();
        format!("{:.2} times ({})", times(rounds), each.join(", "))
    };
    let [before, after] = NO_CHECKPOINT;
    println!(
        "{rate:.0} records/s, p99.9 with a checkpoint a second beside none: {}",
        beside(&[CHECKPOINT], &NO_CHECKPOINT)
    );
    println!("{rate:.0} records/s, p99.9 of none beside none: {}", beside(&[after], &[before]));
}

/// With a journal of all records and an outbox of all alerts.
fn durable(
    pack: &Pack,
    list: &Arc<Watchlist>,
    folder: &Path,
    rate: f64,
    seconds: f64,
    has_checkpoints: bool,
) -> Vec<Timed> {
    let state = tempfile::tempdir_in(folder).expect("a folder");
    let timed = over_tcp(pack, list, rate, seconds, |builder| {
        let checkpoint_every_ms = if has_checkpoints { 1_000 } else { NEVER_MS };
        let journal_for_ms = (checkpoint_every_ms * 6).max(60_000);
        builder.state(StateSpec { checkpoint_every_ms, journal_for_ms, ..StateSpec::new(state.path()) })
    });
    drop(state);
    settle(folder);
    timed
}

/// Lets the disk come to rest.
fn settle(folder: &Path) {
    File::open(folder).and_then(|folder| folder.sync_all()).expect("the folder can be synced");
    std::thread::sleep(SETTLE);
}

/// What the machine, its sockets and the schedule take by themselves: the same records to a thread that counts lines.
fn floor(rate: f64, seconds: f64) -> Vec<Timed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (starts, started) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        let connection = TcpStream::connect(address).expect("a connection");
        send(&connection, rate, seconds, |begin| starts.send(begin).expect("somebody counts"))
    });
    let (mut connection, _) = listener.accept().expect("the sender");
    let begin = started.recv().expect("the sender begins");
    let (mut buffer, mut number, mut read) = (vec![0; 64 << 10], 0_u64, Vec::new());
    loop {
        let bytes = connection.read(&mut buffer).expect("the sender sends");
        if bytes == 0 {
            break;
        }
        let now = Instant::now();
        for _ in memchr::memchr_iter(b'\n', &buffer[..bytes]) {
            if number.is_multiple_of(HIT_EVERY) {
                read.push(now);
            }
            number += 1;
        }
    }
    let sent = sender.join().expect("the sender");
    let ms = |at: Instant| at.duration_since(begin).as_secs_f64() * 1e3;
    sent.into_iter()
        .zip(read)
        .enumerate()
        .map(|(number, (sent, read))| {
            let due_s = (number as u64 * HIT_EVERY) as f64 / rate;
            let stages_ms = [ms(sent) - due_s * 1e3, ms(read) - ms(sent), 0.0, 0.0, 0.0];
            Timed { due_s, ms: ms(read) - due_s * 1e3, stages_ms }
        })
        .collect()
}

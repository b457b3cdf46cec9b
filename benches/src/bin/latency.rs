//! Latency of watchlist alerts over TCP, from the moment a record was meant to be sent until the sink has its alert.
//!
//! Usage: `latency FOLDER [SECONDS] [RATE...]` (20 s; 20,000 and 100,000 records/s). Sender, pipeline and sink are one
//! process with one clock, on the cores there are; the list has a million plates and one record in a hundred hits. The
//! sender keeps to its schedule whatever the pipeline does: a record that waits behind others has waited (no
//! coordinated omission). Each round is run four times: to a thread that only counts lines (what the machine and its
//! sockets take by themselves), with alerts going to the sink out of memory, with a journal of all records and an outbox of
//! all alerts in FOLDER, and with a checkpoint a second as well.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, PACK, build, open, quantile, send, sorted};
use weir_benches::{over_tcp, parse};
use weir_engine::StateSpec;

/// Entries of the list.
const ENTRIES: u64 = 1_000_000;
/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 3.0;
/// As seldom as can be; a run is shorter.
const NEVER_MS: u64 = 100_000;
/// After the files of a run are gone: a file system that is mounted with `discard` tells the disk so with its next commits.
const SETTLE: Duration = Duration::from_secs(2);
/// How many runs of each rate.
const ROUNDS: u32 = 3;

fn main() {
    weir_memory::steady_memory();
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let seconds: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(20.0);
    let rates: Vec<f64> = args.map(|text| text.parse().expect("a rate")).collect();
    let rates = if rates.is_empty() { vec![20_000.0, 100_000.0] } else { rates };
    let pack = parse(PACK);
    let path = folder.join("latency.wlist");
    build(&path, ENTRIES, "A", &pack);
    let list = open(&path, &pack);
    for rate in rates {
        for round in 1..=ROUNDS {
            let floor = floor(rate, WARM_UP_S + seconds);
            println!(
                "{rate:.0} records/s, round {round}, to a thread that only counts lines: ms p50 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
                quantile(&floor, 0.5),
                quantile(&floor, 0.99),
                quantile(&floor, 0.999),
                quantile(&floor, 1.0),
            );
            for kept in [None, Some(NEVER_MS), Some(1_000)] {
                let state = tempfile::tempdir_in(&folder).expect("a folder");
                let timed = over_tcp(&pack, &list, rate, WARM_UP_S + seconds, |builder| {
                    let Some(checkpoint_every_ms) = kept else { return builder };
                    let journal_for_ms = (checkpoint_every_ms * 6).max(60_000);
                    let spec = StateSpec::new(state.path());
                    builder.state(StateSpec { checkpoint_every_ms, journal_for_ms, ..spec })
                });
                drop(state);
                settle(&folder);
                let latencies =
                    sorted(timed.into_iter().filter(|(due_s, _)| *due_s >= WARM_UP_S).map(|(_, ms)| ms).collect());
                println!(
                    "{rate:.0} records/s, round {round}{}: {} alerts, ms p50 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
                    match kept {
                        None => "",
                        Some(NEVER_MS) => ", records and alerts on the disk first",
                        Some(_) => ", and a checkpoint a second",
                    },
                    latencies.len(),
                    quantile(&latencies, 0.5),
                    quantile(&latencies, 0.99),
                    quantile(&latencies, 0.999),
                    quantile(&latencies, 1.0),
                );
            }
        }
    }
    fs::remove_file(path).expect("the file goes");
}

/// Lets the disk come to rest.
fn settle(folder: &Path) {
    File::open(folder).and_then(|folder| folder.sync_all()).expect("the folder can be synced");
    std::thread::sleep(SETTLE);
}

/// What the machine, its sockets and the schedule take by themselves: the same records to a thread that counts lines.
fn floor(rate: f64, seconds: f64) -> Vec<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let started: Arc<Mutex<Option<Instant>>> = Arc::default();
    let begins = Arc::clone(&started);
    let sender = std::thread::spawn(move || {
        let connection = TcpStream::connect(address).expect("a connection");
        send(&connection, rate, seconds, |begin| *begins.lock().expect("nobody died") = Some(begin))
    });
    let (mut connection, _) = listener.accept().expect("the sender");
    let (mut buffer, mut number, mut latencies) = (vec![0; 64 << 10], 0_u64, Vec::new());
    loop {
        let read = connection.read(&mut buffer).expect("the sender sends");
        if read == 0 {
            break;
        }
        let now = Instant::now();
        let begin = started.lock().expect("nobody died").expect("records come after the start");
        for _ in memchr::memchr_iter(b'\n', &buffer[..read]) {
            let due_s = number as f64 / rate;
            if number.is_multiple_of(HIT_EVERY) && due_s >= WARM_UP_S {
                latencies.push((now.duration_since(begin).as_secs_f64() - due_s) * 1e3);
            }
            number += 1;
        }
    }
    sender.join().expect("the sender");
    sorted(latencies)
}

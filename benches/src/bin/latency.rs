//! Latency of watchlist alerts over TCP, from the moment a record was meant to be sent until the sink has its alert.
//!
//! Usage: `latency FOLDER [SECONDS] [RATE...]` (20 s; 20,000 and 100,000 records/s). Sender, pipeline and sink are one
//! process with one clock, on the cores there are; the list has a million plates and one record in a hundred hits. The
//! sender keeps to its schedule whatever the pipeline does: a record that waits behind others has waited (no
//! coordinated omission). Before each run the same records go to a thread that only counts lines: what the machine and its
//! sockets take by themselves.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, LANES, PACK, build, open, quantile, send, sorted};
use weir_benches::parse;
use weir_connectors::source::TcpSource;
use weir_engine::watchlist::Watchlist;
use weir_engine::{Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, SourceSpec};
use weir_rules::{Catalog, Pack};

/// Entries of the list.
const ENTRIES: u64 = 1_000_000;
/// Until tables have grown to their size; not measured.
const WARM_UP_S: f64 = 3.0;
/// How many runs of each rate.
const ROUNDS: u32 = 3;

fn main() {
    weir_memory::keep_memory();
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
            let latencies = run(&pack, &list, rate, WARM_UP_S + seconds);
            println!(
                "{rate:.0} records/s, round {round}: {} alerts, ms p50 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
                latencies.len(),
                quantile(&latencies, 0.5),
                quantile(&latencies, 0.99),
                quantile(&latencies, 0.999),
                quantile(&latencies, 1.0),
            );
        }
    }
    fs::remove_file(path).expect("the file goes");
}

/// Milliseconds from the intended time to the sink, of every alert after the warm-up, sorted.
fn run(pack: &Pack, list: &Arc<Watchlist>, rate: f64, seconds: f64) -> Vec<f64> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (bound, address) = mpsc::channel();
    let source = TcpSource {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        idle_timeout: Duration::from_mins(1),
        once: true,
        on_bound: Some(Arc::new(move |address| bound.send(address).expect("the sender waits"))),
        runtime: runtime.handle().clone(),
    };
    let started: Arc<Mutex<Option<Instant>>> = Arc::default();
    let seen: Arc<Mutex<(u64, Vec<f64>)>> = Arc::default();
    let pipeline = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), vec![Arc::clone(list)])
        .limits(Limits { max_ahead_ms: i64::MAX, ..Limits::default() })
        .source(SourceSpec::new("tcp", Format::Ndjson), source)
        .sink(
            SinkSpec::alerts("timing", ["p"]),
            Timing { started: Arc::clone(&started), rate, seen: Arc::clone(&seen) },
        )
        .build()
        .expect("a pipeline");
    let sender = std::thread::spawn(move || {
        let address = address.recv().expect("the source listens");
        let connection = TcpStream::connect(address).expect("a connection");
        send(&connection, rate, seconds, |begin| *started.lock().expect("nobody died") = Some(begin))
    });
    pipeline.run().expect("a run");
    let expected = sender.join().expect("the sender");
    let (alerts, latencies) = std::mem::take(&mut *seen.lock().expect("the sink is done"));
    assert_eq!(alerts, expected, "every hit is told");
    sorted(latencies)
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

struct Timing {
    started: Arc<Mutex<Option<Instant>>>,
    rate: f64,
    seen: Arc<Mutex<(u64, Vec<f64>)>>,
}

impl Sink for Timing {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now = Instant::now();
        let begin = self.started.lock().expect("nobody died").expect("records come after the start");
        let mut seen = self.seen.lock().expect("one sink");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            // Hits come in the order in which they were sent, as the lane shows.
            let number = seen.0;
            assert_eq!(alert.say.as_deref(), Some(format!("{:05}", number % LANES).as_str()));
            seen.0 += 1;
            let due_s = (number * HIT_EVERY) as f64 / self.rate;
            if due_s >= WARM_UP_S {
                seen.1.push((now.duration_since(begin).as_secs_f64() - due_s) * 1e3);
            }
        }
        Ok(())
    }
}

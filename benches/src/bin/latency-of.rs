//! Latency of another program's watchlist alerts over TCP, from the moment a record was meant to be sent until the line that
//! tells of it has come back.
//!
//! Usage: `latency-of OUT_PORT BACK_PORT LIST [SECONDS] [RATE...]` (20 s; 20,000 and 100,000 records/s). Listens on both
//! ports of loopback; the program reads records from the first and writes to the second one line for each hit, in order:
//! the lane of its record. LIST is written before: one plate a line, a million of them, of which one record in a hundred
//! has one. The program has to be started for each rate, when this one says so: a connection is a run.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, LANES, plate, quantile, send, sorted, spread};

/// Entries of the list.
const ENTRIES: u64 = 1_000_000;
/// Until the program has grown to its size, and its code is compiled; not measured.
const WARM_UP_S: f64 = 10.0;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut port = || -> u16 { args.next().expect("a port").parse().expect("a port") };
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let (out, back) = (listen(port()), listen(port()));
    let list = args.next().expect("a file for the list");
    let seconds: f64 = args.next().map_or(20.0, |text| text.parse().expect("seconds"));
    let rates: Vec<f64> = args.map(|text| text.parse().expect("a rate")).collect();
    let rates = if rates.is_empty() { vec![20_000.0, 100_000.0] } else { rates };
    fs::write(&list, (0..ENTRIES).map(|n| plate(n) + "\n").collect::<String>()).expect("the list is written");
    for rate in rates {
        eprintln!("waiting for the program");
        let (to, _) = out.accept().expect("it reads");
        let (from, _) = back.accept().expect("it writes");
        let (latencies, since_sent) = run(&to, from, rate, WARM_UP_S + seconds);
        println!(
            "{rate:.0} records/s: {} alerts, {}; p99.9 from when they were sent {:.3}",
            latencies.len(),
            spread(&latencies),
            quantile(&since_sent, 0.999)
        );
    }
}

/// Milliseconds to the line that came back, after the warm-up, sorted: from the intended time, and from when it was sent.
fn run(to: &TcpStream, from: TcpStream, rate: f64, seconds: f64) -> (Vec<f64>, Vec<f64>) {
    let mut begun = None;
    let sent = send(to, rate, seconds, |begin| {
        begun = Some((begin, std::thread::spawn(move || read(from, rate, seconds))));
    });
    let (begin, reader) = begun.expect("it began");
    let came = reader.join().expect("the reader");
    let warm = (WARM_UP_S * rate) as usize / HIT_EVERY as usize;
    let due = |number: usize| Duration::from_secs_f64((number as u64 * HIT_EVERY) as f64 / rate);
    let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
    let hits = || sent.iter().zip(&came).enumerate().skip(warm);
    let since_due = hits().map(|(number, (_, came))| ms(begin + due(number), *came)).collect();
    let since_sent = hits().map(|(_, (sent, came))| ms(*sent, *came)).collect();
    (sorted(since_due), sorted(since_sent))
}

/// When each line came back.
fn read(from: TcpStream, rate: f64, seconds: f64) -> Vec<Instant> {
    let hits = (rate * seconds) as u64 / HIT_EVERY;
    let mut came = Vec::new();
    let mut lines = BufReader::new(from);
    let mut line = String::new();
    for number in 0..hits {
        line.clear();
        assert!(lines.read_line(&mut line).expect("it writes") > 0, "every hit is told");
        came.push(Instant::now());
        assert_eq!(line.trim_end().parse::<u64>().expect("a lane"), number % LANES, "in order");
    }
    came
}

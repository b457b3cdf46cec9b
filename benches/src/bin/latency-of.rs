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
use std::time::Instant;

use weir_benches::paced::{HIT_EVERY, LANES, plate, send, sorted, spread};

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
        let latencies = run(&to, from, rate, WARM_UP_S + seconds);
        println!("{rate:.0} records/s: {} alerts, {}", latencies.len(), spread(&latencies));
    }
}

/// Milliseconds from the intended time to the line that came back, after the warm-up, sorted.
fn run(to: &TcpStream, from: TcpStream, rate: f64, seconds: f64) -> Vec<f64> {
    let mut reader = None;
    send(to, rate, seconds, |begin| {
        reader = Some(std::thread::spawn(move || read(from, begin, rate, seconds)));
    });
    sorted(reader.expect("it was started").join().expect("the reader"))
}

fn read(from: TcpStream, begin: Instant, rate: f64, seconds: f64) -> Vec<f64> {
    let hits = (rate * seconds) as u64 / HIT_EVERY;
    let mut latencies = Vec::new();
    let mut lines = BufReader::new(from);
    let mut line = String::new();
    for number in 0..hits {
        line.clear();
        assert!(lines.read_line(&mut line).expect("it writes") > 0, "every hit is told");
        let now_s = begin.elapsed().as_secs_f64();
        assert_eq!(line.trim_end().parse::<u64>().expect("a lane"), number % LANES, "in order");
        let due_s = (number * HIT_EVERY) as f64 / rate;
        if due_s >= WARM_UP_S {
            latencies.push((now_s - due_s) * 1e3);
        }
    }
    latencies
}

//! From a kill to the first alert of the next life, with a long list and a long journal.
//!
//! Usage: `recovery FOLDER [ENTRIES] [MIB] [ROUNDS]` (10 M entries, 1,024 MiB of journal, 3 rounds; the `weir` beside this
//! program). Records come over TCP as fast as they are taken, one in 100 of them on the list, until so much of them lies in
//! the journal behind the only checkpoint; then the process is killed and started again, and a record on the list is sent as
//! soon as somebody listens. Told are the times from the kill until then and until the file sink has its alert, and what
//! was applied again. The list is built once and left in FOLDER.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_benches::paced::{HIT_EVERY, Line, PACK, build, quantile, sorted};
use weir_benches::parse;

const CONFIG: &str = "weir: 1
packs: [pack.yaml]
sources: { lane: { type: tcp, address: \"127.0.0.1:0\" } }
sinks: { file: { type: file, path: alerts.ndjson, purposes: [p] } }
state: { key_file: key, dir: state, checkpoint_every: 100s, journal_for: 10m }
";
/// Records sent before the journal is looked at again.
const PART: u64 = 20_000;
/// Records a second of event time.
const RATE: f64 = 100_000.0;
const PATIENCE: Duration = Duration::from_mins(2);

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let mut figure = |or: u64| args.next().map_or(or, |text| text.parse().expect("a figure"));
    let (entries, mib, rounds) = (figure(10_000_000), figure(1_024), figure(3));
    let weir = std::env::current_exe().expect("a path").with_file_name("weir");
    let list = folder.join(format!("recovery-{entries}.wlist"));
    if !list.exists() {
        build(&list, entries, "A", &parse(PACK));
    }
    let mut totals = Vec::new();
    for _ in 0..rounds {
        let place = tempfile::tempdir_in(&folder).expect("a folder");
        let write = |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).expect("it is written");
        write("pack.yaml", PACK.as_bytes());
        write("weir.yaml", CONFIG.as_bytes());
        write("key", &[7; 32]);
        fs::hard_link(&list, place.path().join("l.wlist")).expect("the list has another name");
        totals.push(round(&weir, place.path(), mib << 20));
    }
    let totals = sorted(totals);
    println!("kill to alert: median {:.2} s, at most {:.2} s", quantile(&totals, 0.5), quantile(&totals, 1.0));
}

/// Seconds from the kill to the alert.
fn round(weir: &Path, place: &Path, bytes: u64) -> f64 {
    let fresh = Instant::now();
    let mut life = Life::start(weir, place);
    let mut connection = TcpStream::connect(life.address()).expect("it listens");
    let fresh_s = fresh.elapsed().as_secs_f64();
    let (mut number, mut line, mut lines) = (0, Line::default(), Vec::new());
    while journal_bytes(place) < bytes {
        lines.clear();
        for _ in 0..PART {
            line.write(number, (number as f64 * 1e3 / RATE) as u64, &mut lines);
            number += 1;
        }
        connection.write_all(&lines).expect("it reads");
    }
    life.child.kill().expect("it can be killed");
    let killed = Instant::now();
    life.child.wait().expect("it has ended");
    let mut life = Life::start(weir, place);
    let mut connection = TcpStream::connect(life.address()).expect("it listens");
    let listens_s = killed.elapsed().as_secs_f64();
    lines.clear();
    let hit = number.next_multiple_of(HIT_EVERY);
    line.write(hit, (hit as f64 * 1e3 / RATE) as u64, &mut lines);
    let text = String::from_utf8(lines).expect("text").replace("\"device\":\"d\"", "\"device\":\"after\"");
    connection.write_all(text.as_bytes()).expect("it reads");
    let alerts = place.join("alerts.ndjson");
    while !tail(&alerts).contains("\"device\":\"after\"") {
        assert!(killed.elapsed() < PATIENCE, "no alert came");
        std::thread::sleep(Duration::from_millis(2));
    }
    let total_s = killed.elapsed().as_secs_f64();
    let summary = life.stop();
    println!(
        "a fresh start listens after {fresh_s:.2} s; {number} records sent; after the kill it listens after {listens_s:.2} s and \
         alerts after {total_s:.2} s; state {}",
        summary["state"]
    );
    total_s
}

fn journal_bytes(place: &Path) -> u64 {
    let files = fs::read_dir(place.join("state/journal")).expect("a journal");
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|it| it.len()).sum()
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let Ok(mut file) = fs::File::open(path) else { return String::new() };
    let len = file.metadata().expect("a file").len();
    file.seek(SeekFrom::Start(len.saturating_sub(4_096))).expect("a place in it");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("its end");
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Life {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Life {
    fn start(weir: &Path, place: &Path) -> Self {
        let mut command = Command::new(weir);
        command.args(["run", "--json", "--no-watch"]).current_dir(place).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("weir starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, stderr }
    }

    /// Waits until it listens.
    fn address(&mut self) -> SocketAddr {
        let mut said = String::new();
        loop {
            let from = said.len();
            assert!(self.stderr.read_line(&mut said).expect("text") > 0, "weir ended before it listened: {said}");
            if let Some(address) = said[from..].trim().rsplit("listens on ").next().and_then(|text| text.parse().ok()) {
                return address;
            }
        }
    }

    /// Asks it to end; its summary.
    fn stop(mut self) -> serde_json::Value {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let mut said = String::new();
        let out = self.child.stdout.as_mut().expect("it is piped");
        out.read_to_string(&mut said).expect("text");
        self.child.wait().expect("it has ended");
        serde_json::from_str(&said).expect("a summary")
    }
}

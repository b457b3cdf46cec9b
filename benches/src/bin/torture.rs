//! Kills the real binary at random moments while records come over HTTP, over TCP and out of a file that grows, and looks
//! whether it kept its word.
//!
//! Usage: `torture [--kills N] [--seed N] [--weir PATH]` (100 kills; the `weir` beside this program). Clients post records and,
//! as real ones do, post again what was not answered with 200; another sends over TCP and never again; a device appends to a
//! file all the while. The binary is killed with SIGKILL, mostly under load, now and then while it starts. One sink is a
//! file, one a webhook that now and then refuses, hangs up, or is away. At the end:
//!
//! - every record that was answered with 200, and every record of the file, has its alert, at both sinks (I2, I3);
//! - no alert is there that no record asked for, and all tellings of one are alike to the last byte, but for `latency_us` (I3);
//! - a sink is told again only what it was told shortly before a kill, under the same id (I4);
//! - once it has ended well, nothing of what came in is in the state folder, sealed or not;
//! - every window over the records of the file has counted each of them once, whatever was killed while it was open (I6).
//!
//! Exit code 1 with the seed if one of these does not hold.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_engine::rng::{Rng, SeededRng};

const PACK: &str = "weir: 1
pack: torture
owner: o
purposes: { goods: { legal_basis: act 1 } }
rules:
  - { id: fireworks, kind: match, from: item, where: \"item_class = 'fireworks'\", purpose: goods, say: \"{quantity}\" }
  - { id: people, kind: window, from: person, key: [site], measure: count, window: { every: 1s }, lateness: 0s, emit: windows, purpose: goods }
";
/// Ids of records by their way: posted ones begin at 0.
const FROM_FILE: u64 = 300_000_000;
const OVER_TCP: u64 = 600_000_000;
/// Pairs of an item and a person that the device appends at once, and pauses between, milliseconds.
const APPENDED: u64 = 10;
const APPEND_EVERY_MS: u64 = 10;
/// Event time between two persons, milliseconds: so many are in a window of a second.
const PERSON_EVERY_MS: u64 = 10;
const FILE_START_MS: u64 = 1_795_420_800_000;
/// Who posts at the same time.
const CLIENTS: u64 = 3;
/// Records in one request at most.
const BATCH_MAX: u64 = 20;
/// Pause between two requests of a client at most, milliseconds.
const PAUSE_MS: u64 = 20;
/// A life lasts this long at most, milliseconds.
const LIFE_MS: u64 = 900;
/// One kill in so many comes while the binary starts.
const EARLY_EVERY: u64 = 10;
/// How long the end may take.
const PATIENCE: Duration = Duration::from_mins(2);

struct Args {
    kills: u64,
    seed: u64,
    weir: PathBuf,
}

fn args() -> Args {
    let beside = std::env::current_exe().expect("a path").with_file_name("weir");
    let mut parsed = Args { kills: 100, seed: 1, weir: beside };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().expect("a value");
        match name.as_str() {
            "--kills" => parsed.kills = value.parse().expect("a number"),
            "--seed" => parsed.seed = value.parse().expect("a number"),
            "--weir" => parsed.weir = value.into(),
            _ => panic!("there is no option {name}"),
        }
    }
    parsed
}

fn main() -> ExitCode {
    let Args { kills, seed, weir } = args();
    if !weir.exists() {
        eprintln!("torture: there is no {}; build it with cargo build --release --workspace --bins", weir.display());
        return ExitCode::from(2);
    }
    let started = Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    let webhook = Webhook::start(seed);
    write_files(folder.path(), webhook.address);
    let mut rng = SeededRng::new(seed);
    let clients = Clients::new(seed);
    let device = Device::start(folder.path());
    let lane = Lane::default();
    let mut early = 0;
    for _ in 0..kills {
        let mut life = Life::start(&weir, folder.path());
        if rng.below(EARLY_EVERY) == 0 {
            early += 1;
            std::thread::sleep(Duration::from_millis(rng.below(60)));
        } else {
            let [http, tcp] = life.addresses();
            let time = Duration::from_millis(rng.below(LIFE_MS));
            std::thread::scope(|scope| {
                scope.spawn(|| lane.send_to(tcp, time));
                clients.post_to(http, time);
            });
        }
        life.kill();
    }
    webhook.behave();
    let mut life = Life::start(&weir, folder.path());
    let [http, _] = life.addresses();
    clients.finish(http);
    let appended = device.end();
    let mut acked = clients.acked.lock().expect("nobody died").clone();
    let posted = acked.len();
    acked.extend(FROM_FILE..FROM_FILE + appended);
    let patience = Instant::now();
    while !has_all(&webhook.told.lock().expect("nobody died"), &acked) && patience.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
    }
    life.stop();
    let file = fs::read_to_string(folder.path().join("alerts.ndjson")).expect("the file sink's file");
    let mut violations = Vec::new();
    let windows = fs::read_to_string(folder.path().join("windows.ndjson")).expect("the windows' file");
    check_windows(&windows, appended, &mut violations);
    check_nothing_left(&folder.path().join("state/journal"), &mut violations);
    let file = Tellings::of(file.lines());
    let hook = webhook.told.lock().expect("nobody died").clone();
    let hook = Tellings::of(hook.iter().map(String::as_str));
    for (sink, tellings) in [("file", &file), ("webhook", &hook)] {
        tellings.check(sink, &acked, lane.next.load(Ordering::Relaxed), kills, &mut violations);
    }
    println!(
        "{kills} kills ({early} while it started) in {:.0} s, seed {seed}: {posted} records answered with 200, \
         {} out of the file, {} sent over TCP; told again after kills: {} to the file, {} to the webhook, which refused or \
         hung up {} times",
        started.elapsed().as_secs_f64(),
        2 * appended,
        lane.next.load(Ordering::Relaxed),
        file.repeats,
        hook.repeats,
        webhook.refusals.load(Ordering::Relaxed),
    );
    for violation in &violations {
        println!("VIOLATION: {violation}");
    }
    if violations.is_empty() {
        println!("no violation");
        return ExitCode::SUCCESS;
    }
    println!("once more: torture --kills {kills} --seed {seed}; the folder is {}", folder.keep().display());
    ExitCode::FAILURE
}

/// Whether all of these have been told, as far as a look at the end says.
fn has_all(told: &[String], wanted: &BTreeSet<u64>) -> bool {
    if told.len() < wanted.len() {
        return false;
    }
    let told: BTreeSet<u64> = told.iter().filter_map(|line| said(&serde_json::from_str(line).ok()?)).collect();
    wanted.is_subset(&told)
}

/// The record that an alert is about.
fn said(alert: &serde_json::Map<String, serde_json::Value>) -> Option<u64> {
    alert["say"].as_str()?.parse().ok()
}

/// Every second of the file's records but the last has its value, and each record counts once.
fn check_windows(windows: &str, appended: u64, violations: &mut Vec<String>) {
    let in_window = 1_000 / PERSON_EVERY_MS;
    let mut values: BTreeMap<u64, u64> = BTreeMap::new();
    for line in windows.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        // A kill may break a line off; what it held is told again.
        let Ok(window) = parsed else { continue };
        let (start_ms, value) =
            (window["start_ms"].as_u64().expect("a time"), window["value"].as_f64().expect("a value") as u64);
        if *values.entry(start_ms).or_insert(value) != value {
            violations.push(format!("windows: the window from {start_ms} was told in two ways"));
        }
    }
    let whole = (appended / in_window).saturating_sub(1);
    for n in 0..whole {
        match values.get(&(FILE_START_MS + n * 1_000)) {
            Some(value) if *value == in_window => {}
            value => violations.push(format!("windows: second {n} of {whole} counted {value:?}, not {in_window}")),
        }
    }
}

/// All segments of the journal are a header and zeros.
fn check_nothing_left(journal: &Path, violations: &mut Vec<String>) {
    const HEADER_BYTES: usize = 64;
    for segment in fs::read_dir(journal).expect("a journal") {
        let path = segment.expect("a file").path();
        let bytes = fs::read(&path).expect("a file");
        if bytes.iter().skip(HEADER_BYTES).any(|byte| *byte != 0) {
            violations.push(format!("journal: {} holds something after a good end", path.display()));
        }
    }
}

/// Appends to a file all the while, whoever reads it.
struct Device {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Device {
    fn start(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let mut file = fs::File::create(folder.join("gates.ndjson")).expect("a file");
        let append = move || {
            let mut next = 0;
            while !stopping.load(Ordering::Relaxed) {
                let mut lines = String::new();
                for n in next..next + APPENDED {
                    let (id, ts) = (FROM_FILE + n, FILE_START_MS + n * PERSON_EVERY_MS);
                    lines.push_str(&item(id));
                    lines.push_str(&format!(
                        "{{\"kind\":\"person\",\"event_id\":\"p{n}\",\"ts\":{ts},\"site\":\"s\",\"device\":\"f\",\"count\":1}}\n"
                    ));
                }
                next += APPENDED;
                // In two pieces: a reader meets half a line now and then.
                let (one, other) = lines.split_at(lines.len() / 3);
                file.write_all(one.as_bytes()).and_then(|()| file.write_all(other.as_bytes())).expect("it is written");
                std::thread::sleep(Duration::from_millis(APPEND_EVERY_MS));
            }
            next
        };
        Self { stop, thread: std::thread::spawn(append) }
    }

    /// How many pairs were appended.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it appends to the end")
    }
}

/// Sends over TCP, each record once.
#[derive(Default)]
struct Lane {
    next: AtomicU64,
}

impl Lane {
    fn send_to(&self, address: SocketAddr, time: Duration) {
        let until = Instant::now() + time;
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        while Instant::now() < until {
            let id = OVER_TCP + self.next.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(item(id).as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn item(id: u64) -> String {
    format!(
        "{{\"kind\":\"item\",\"event_id\":\"{id}\",\"ts\":\"2026-11-23T08:00:00Z\",\"site\":\"s\",\"device\":\"d\",\"item_class\":\"fireworks\",\"quantity\":{id}}}\n"
    )
}

fn write_files(folder: &Path, webhook: SocketAddr) {
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file is written");
    write("pack.yaml", PACK.as_bytes());
    write("key", &[7; 32]);
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nsources:\n  posts: {{ type: http, address: 127.0.0.1:0 }}\n  lane: {{ type: tcp, address: 127.0.0.1:0 }}\n  gates: {{ type: file, path: gates.ndjson, follow: true }}\nsinks:\n  file: {{ type: file, path: alerts.ndjson, purposes: [goods] }}\n  windows: {{ type: file, path: windows.ndjson, purposes: [goods], emit: [windows] }}\n  hook: {{ type: http, url: \"http://{webhook}/\", purposes: [goods] }}\nstate: {{ key_file: key, dir: state, segment: 4MiB, reserve: 4MiB, drain_for: 5s }}\n"
    );
    write("weir.yaml", config.as_bytes());
}

/// A process, from start to kill.
struct Life {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Life {
    fn start(weir: &Path, folder: &Path) -> Self {
        let mut command = Command::new(weir);
        command.args(["run", "--quiet", "--no-watch"]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("weir starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, stderr }
    }

    /// Waits until it listens: for posts, and at the lane.
    fn addresses(&mut self) -> [SocketAddr; 2] {
        let mut said = String::new();
        let mut found = [None; 2];
        loop {
            let from = said.len();
            assert!(self.stderr.read_line(&mut said).expect("text") > 0, "weir ended before it listened: {said}");
            let line = said[from..].trim();
            if let Some(address) = line.rsplit("listens on ").next().and_then(|text| text.parse().ok()) {
                found[usize::from(line.contains("`lane`"))] = Some(address);
            }
            if let [Some(http), Some(tcp)] = found {
                return [http, tcp];
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to end, and insists that it ends well.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let mut said = String::new();
        let _ = self.stderr.read_to_string(&mut said);
        let status = self.child.wait().expect("it has ended");
        assert!(status.success(), "{status}: {said}");
    }
}

/// Records of one client: those that were answered with 200, and the batch that was not yet.
struct Clients {
    acked: Arc<Mutex<BTreeSet<u64>>>,
    pending: Vec<Mutex<(SeededRng, Vec<u64>)>>,
    next: AtomicU64,
}

impl Clients {
    fn new(seed: u64) -> Self {
        let pending = (0..CLIENTS).map(|n| Mutex::new((SeededRng::new(seed * CLIENTS + n), Vec::new()))).collect();
        Self { acked: Arc::default(), pending, next: AtomicU64::new(0) }
    }

    fn post_to(&self, address: SocketAddr, time: Duration) {
        let until = Instant::now() + time;
        std::thread::scope(|scope| {
            for client in &self.pending {
                scope.spawn(move || {
                    let (rng, batch) = &mut *client.lock().expect("nobody died");
                    while Instant::now() < until {
                        if batch.is_empty() {
                            let len = 1 + rng.below(BATCH_MAX);
                            let first = self.next.fetch_add(len, Ordering::Relaxed);
                            batch.extend(first..first + len);
                        }
                        self.post(address, batch, until);
                        std::thread::sleep(Duration::from_millis(rng.below(PAUSE_MS)));
                    }
                });
            }
        });
    }

    /// Until nothing is left that was not answered.
    fn finish(&self, address: SocketAddr) {
        let patience = Instant::now() + PATIENCE;
        for client in &self.pending {
            let (_, batch) = &mut *client.lock().expect("nobody died");
            while !batch.is_empty() && Instant::now() < patience {
                self.post(address, batch, patience);
            }
            assert!(batch.is_empty(), "the last records are taken");
        }
    }

    /// Posts a batch; what was answered with 200 is done with.
    fn post(&self, address: SocketAddr, batch: &mut Vec<u64>, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match post(address, batch, left) {
            Ok(200) => self.acked.lock().expect("nobody died").extend(batch.drain(..)),
            Ok(_) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn post(address: SocketAddr, batch: &[u64], patience: Duration) -> std::io::Result<u16> {
    let mut body = String::new();
    for id in batch {
        body.push_str(&item(*id));
    }
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "POST /records HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    // An answer counts when it is whole.
    let whole = answer.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}'));
    status.filter(|_| whole).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// A receiver that does not always behave.
struct Webhook {
    address: SocketAddr,
    told: Arc<Mutex<Vec<String>>>,
    refusals: Arc<AtomicU64>,
    behaves: Arc<AtomicBool>,
}

impl Webhook {
    fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let webhook = Self {
            address: listener.local_addr().expect("an address"),
            told: Arc::default(),
            refusals: Arc::default(),
            behaves: Arc::default(),
        };
        let (told, refusals) = (Arc::clone(&webhook.told), Arc::clone(&webhook.refusals));
        let behaves = Arc::clone(&webhook.behaves);
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().flatten().enumerate() {
                let (told, refusals, behaves) = (Arc::clone(&told), Arc::clone(&refusals), Arc::clone(&behaves));
                let rng = SeededRng::new(seed.wrapping_mul(1_000_003) + n as u64);
                std::thread::spawn(move || serve(stream, &told, &refusals, &behaves, rng));
            }
        });
        webhook
    }

    fn behave(&self) {
        self.behaves.store(true, Ordering::Relaxed);
    }
}

/// Requests of one connection. What is taken is noted before it is answered: a sender that dies between has told it.
fn serve(
    mut stream: TcpStream,
    told: &Mutex<Vec<String>>,
    refusals: &AtomicU64,
    behaves: &AtomicBool,
    mut rng: SeededRng,
) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let head_end = bytes.windows(4).position(|at| at == b"\r\n\r\n").map(|at| at + 4);
        let whole = head_end.and_then(|at| {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            (bytes.len() >= at + len?).then_some((at, at + len?))
        });
        let Some((from, to)) = whole else {
            match stream.read(&mut piece) {
                Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
                _ => return,
            }
            continue;
        };
        let misbehaves = if behaves.load(Ordering::Relaxed) { u64::MAX } else { rng.below(200) };
        if misbehaves < 3 {
            refusals.fetch_add(1, Ordering::Relaxed);
            if misbehaves == 0 {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        } else {
            told.lock().expect("nobody died").push(String::from_utf8_lossy(&bytes[from..to]).into_owned());
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                return;
            }
        }
        bytes.drain(..to);
    }
}

/// What a sink was told, by alert.
struct Tellings {
    /// Record and alert without its latency, by id.
    by_id: BTreeMap<String, (u64, String)>,
    repeats: u64,
    /// Lines that a kill broke off, and alerts that were told in two ways.
    broken: u64,
    unlike: Vec<String>,
}

impl Tellings {
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut tellings = Self { by_id: BTreeMap::new(), repeats: 0, broken: 0, unlike: Vec::new() };
        for line in lines {
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(line);
            let Ok(mut alert) = parsed else {
                tellings.broken += 1;
                continue;
            };
            alert.remove("latency_us");
            let id = alert["alert_id"].as_str().expect("an id").to_owned();
            let record = said(&alert).expect("a number");
            let text = serde_json::to_string(&alert).expect("JSON");
            match tellings.by_id.get(&id) {
                None => drop(tellings.by_id.insert(id, (record, text))),
                Some((_, first)) => {
                    tellings.repeats += 1;
                    if *first != text {
                        tellings.unlike.push(format!("{first} and {text}"));
                    }
                }
            }
        }
        tellings
    }

    /// `over_tcp` records were sent and not acknowledged: what came of them is told or not, but not otherwise.
    fn check(&self, sink: &str, acked: &BTreeSet<u64>, over_tcp: u64, kills: u64, violations: &mut Vec<String>) {
        let told: BTreeSet<u64> = self.by_id.values().map(|(record, _)| *record).collect();
        let missing: Vec<&u64> = acked.difference(&told).collect();
        if !missing.is_empty() {
            let first = missing[0];
            violations
                .push(format!("{sink}: {} acknowledged records without an alert, the first is {first}", missing.len()));
        }
        let sent = OVER_TCP..OVER_TCP + over_tcp;
        let extra = told.difference(acked).filter(|record| !sent.contains(record)).count();
        if extra > 0 {
            violations.push(format!("{sink}: {extra} alerts of records that nobody sent to the end"));
        }
        if told.len() != self.by_id.len() {
            violations.push(format!("{sink}: {} ids for {} records", self.by_id.len(), told.len()));
        }
        if let Some(unlike) = self.unlike.first() {
            violations.push(format!("{sink}: {} alerts told in two ways, such as {unlike}", self.unlike.len()));
        }
        if self.broken > kills {
            violations.push(format!("{sink}: {} broken lines after {kills} kills", self.broken));
        }
    }
}

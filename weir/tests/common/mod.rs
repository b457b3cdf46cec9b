//! Runs the real binary in a folder of its own.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part")]

pub mod platform;
mod told;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[allow(unused_imports, reason = "each test file uses its part")]
pub use told::{Told, nobody};

/// A folder with a configuration in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The lines of an NDJSON file; one that is under way is not there yet.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        whole(&self.read(name)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same of a file that weir was killed over: what a kill broke off of a line stands alone, and is written again.
    pub fn lines_over_kills(&self, name: &str) -> Vec<Value> {
        whole(&self.read(name)).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.folder.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs `weir` to its end.
    pub fn weir(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `weir run --json` and gives its summary; the equation of conservation is checked.
    pub fn run(&self, args: &[&str]) -> Value {
        let all: Vec<&str> = ["run", "--json"].iter().chain(args).copied().collect();
        let output = self.weir(&all);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}");
        summary(&stdout)
    }

    /// Starts `weir run` with sources that listen; gives the first address it announces.
    pub fn start(&self, args: &[&str]) -> Running {
        let all: Vec<&str> = ["run", "--json"].iter().chain(args).copied().collect();
        listening(&mut self.command(&all)).unwrap_or_else(|said| panic!("weir does not listen: {said}"))
    }

    /// Starts `weir run` with sources that do not listen.
    pub fn launch(&self, args: &[&str]) -> Running {
        self.launch_with(args, Stdio::null())
    }

    /// The same, with something to read.
    pub fn launch_with(&self, args: &[&str], stdin: Stdio) -> Running {
        let all: Vec<&str> = ["run", "--json"].iter().chain(args).copied().collect();
        let mut child = self.command(&all).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Running { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// The same by way of another command; `None` if it ends before anything listens.
    pub fn start_as(&self, command: &[&str]) -> Option<Running> {
        let mut all = Command::new(command[0]);
        listening(all.args(&command[1..]).current_dir(self.folder.path()).env("NO_COLOR", "1").stdin(Stdio::null()))
            .ok()
    }
}

/// What a running weir tells a monitoring system: names with labels, and their values. Its configuration says where to ask.
pub fn metrics(place: &Place) -> BTreeMap<String, f64> {
    let config = place.read("weir.yaml");
    let address = config.lines().find_map(|line| line.strip_prefix("metrics: ")).expect("metrics are told");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/openmetrics-text"), "{head}");
    let body = body.strip_suffix("# EOF\n").expect("it is whole");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
}

/// Whether what became of a source's records adds up, and how many were judged.
pub fn judged(metrics: &BTreeMap<String, f64>, source: &str) -> f64 {
    let of = |name: &str| metrics[&format!("weir_records_total{{source=\"{source}\",outcome=\"{name}\"}}")];
    let ended: f64 = ["evaluated", "duplicate", "late", "rejected", "shed"].map(of).iter().sum();
    let one = |name: &str| metrics[&format!("weir_records_{name}{{source=\"{source}\"}}")];
    assert!((one("received_total") - ended - one("in_flight")).abs() < 0.5, "{metrics:?}");
    of("evaluated")
}

fn whole(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |at| at + 1)]
}

/// What is said instead, if it ends before anything listens.
fn listening(command: &mut Command) -> Result<Running, String> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| error.to_string())?;
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut said) = (String::new(), String::new());
    loop {
        line.clear();
        if stderr.read_line(&mut line).unwrap() == 0 {
            let _ = child.wait();
            return Err(said);
        }
        said.push_str(&line);
        if let Some(address) = line.trim().rsplit("listens on ").next().and_then(|text| text.parse().ok()) {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Ok(Running { child, address });
        }
    }
}

/// A `weir run` under way.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
}

impl Running {
    /// Asks it to drain, and gives its summary.
    pub fn stop(self) -> Value {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(self) -> Value {
        let output = self.child.wait_with_output().unwrap();
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}");
        summary(&stdout)
    }

    /// Kills it: no signal that it could see.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The summary of a run; every source's records must be conserved, with none in flight.
pub fn summary(stdout: &str) -> Value {
    let line = stdout.lines().rfind(|line| line.starts_with("{\"sources\"")).expect("a summary");
    let summary: Value = serde_json::from_str(line).unwrap();
    for (name, b) in summary["sources"].as_object().unwrap() {
        let n = |key: &str| b[key].as_u64().unwrap();
        let ended = n("evaluated") + n("duplicate") + n("late") + n("rejected") + n("shed") + n("in_flight");
        assert_eq!(n("received"), ended, "source {name} conserves its records");
        assert_eq!(n("in_flight"), 0);
    }
    summary
}

/// Waits until something is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One HTTP request; status and body.
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head =
        format!("POST {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server may answer and close before it has read a body it does not want.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = text(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

//! What every source is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Place, eventually, judged, metrics, nobody, text};
use crate::senders::{Kafka, Nats, Sender};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: device IS NOT NULL, say: "{event_id}", purpose: road }
  - { id: passages, kind: window, from: vehicle, key: [site], measure: reads, window: { every: 1m }, lateness: 10m, emit: windows, purpose: road }
"#;

/// Records of each part of a source's life.
const PART: u64 = 600;
/// Records that end all windows before them, one of each device.
const LAST: u64 = 1_000_000;
const DEVICES: u64 = 3;

pub fn place(source: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1\nmetrics: {}\npacks: [pack.yaml]\n\
         state: {{ dir: state, key_file: key, segment: 4MiB, reserve: 4MiB, status_file: status.json }}\n\
         sources:\n  gate:\n{source}\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [road], emit: [alerts, windows] }}\n  \
         refused: {{ type: file, path: refused.ndjson, emit: [dead_letters] }}\n",
        nobody()
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("key", [7; 32]);
    place
}

struct Life {
    place: Place,
    sender: Box<dyn Sender>,
}

impl Life {
    fn new(sender: Box<dyn Sender>) -> Self {
        let place = place(&sender.source());
        sender.prepare(&place);
        Self { place, sender }
    }

    fn alerts(&self) -> Vec<Value> {
        self.place.lines_over_kills("out.ndjson")
    }

    /// The ids of records that alerts speak of, in the order in which they were told first.
    fn told(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let alerts = self.alerts().into_iter().filter(|it| it["rule"] == "seen");
        let ids = alerts.map(|it| it["say"].as_str().unwrap().to_owned());
        ids.filter(|id| seen.insert(id.clone())).collect()
    }

    fn await_all(&self, numbers: Range<u64>) {
        let wanted: BTreeSet<String> = numbers.map(|n| self.sender.id(n)).collect();
        let started = Instant::now();
        loop {
            let told: BTreeSet<String> = self.told().into_iter().collect();
            if wanted.is_subset(&told) {
                return;
            }
            let missing = wanted.difference(&told).count();
            let status = self.place.read("status.json");
            assert!(started.elapsed() < Duration::from_mins(1), "{missing} of {} missing; {status}", wanted.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What `weir connect test` says of a source or sink.
pub fn tries(place: &Place, name: &str, works: bool) {
    let tried = place.weir(&["connect", "test", "weir.yaml", name]);
    let said = text(&tried.stdout) + &text(&tried.stderr);
    assert_eq!(tried.status.code(), Some(i32::from(!works)), "{said}");
    assert!(said.contains(&format!("`{name}`")), "{said}");
    assert!(said.contains(if works { "  works: " } else { "  FAILS: " }), "{said}");
}

/// Records come, are judged once and in order; what is wrong is told; weir is killed, the server restarted, weir held up: nothing
/// that was acknowledged is lost, nothing doubled.
pub fn whole_life(sender: Box<dyn Sender>) {
    let mut life = Life::new(sender);
    tries(&life.place, "gate", true);
    let mut running = life.sender.launch(&life.place);

    // Order, and what is wrong.
    life.sender.send(0..PART / 2);
    let rubbish = life.sender.send_rubbish();
    life.sender.send(PART / 2..PART);
    life.await_all(0..PART);
    eventually("what is wrong is told", || life.place.lines("refused.ndjson").len() == rubbish);
    for letter in life.place.lines("refused.ndjson") {
        assert_eq!(letter["source"], "gate", "{letter}");
        assert!(!letter["cause"].as_str().unwrap_or_default().is_empty(), "{letter}");
        assert!(!letter.to_string().contains("canary"), "{letter}");
    }
    let mut to = PART;

    // Killed under load.
    if life.sender.is_acknowledged() {
        for pause_ms in [30, 120] {
            let sender = &mut life.sender;
            running = std::thread::scope(|scope| {
                let sending = scope.spawn(move || sender.send(to..to + PART));
                std::thread::sleep(Duration::from_millis(pause_ms));
                running.kill();
                let next = life.place.launch(&["weir.yaml"]);
                sending.join().unwrap();
                next
            });
            to += PART;
        }
        life.await_all(0..to);
    }

    // The server goes and comes back.
    if life.sender.server().is_some() {
        life.sender.send(to..to + PART / 2);
        life.sender.server().unwrap().stop();
        eventually("the trouble is told", || life.place.read("status.json").contains("\"tries\":"));
        let told = text(&life.place.weir(&["status", "weir.yaml"]).stdout);
        assert!(told.contains("source gate: TRYING AGAIN since 20"), "{told}");
        tries(&life.place, "gate", false);
        life.sender.server().unwrap().start();
        life.sender.send(to + PART / 2..to + PART);
        to += PART;
        life.await_all(0..to);
        eventually("the trouble is over", || life.place.read("status.json").contains("\"in_trouble\":[]"));
    }

    // Held up: whoever sends waits, or the server holds what comes.
    let sender = &mut life.sender;
    std::thread::scope(|scope| {
        running.signal("-STOP");
        let sending = scope.spawn(move || sender.send(to..to + PART));
        std::thread::sleep(Duration::from_millis(500));
        running.signal("-CONT");
        sending.join().unwrap();
    });
    to += PART;
    life.await_all(0..to);

    // The windows have counted each once, whatever happened meanwhile.
    life.sender.send(LAST..LAST + DEVICES);
    let counted = || -> u64 {
        let windows = life.alerts().into_iter().filter(|it| it["rule"] == "passages");
        let windows = windows
            .map(|it| (it["start_ms"].to_string() + &it["key"].to_string(), it["value"].as_f64().unwrap() as u64));
        windows.collect::<BTreeMap<String, u64>>().into_values().sum()
    };
    eventually("the windows end", || counted() >= to);
    assert_eq!(counted(), to, "each record is counted once");

    assert!(judged(&metrics(&life.place), "gate") > 0.0, "it is counted");
    let started = Instant::now();
    let summary = running.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "it ends soon after it is asked to");
    if life.sender.is_exact() {
        assert_eq!(summary["sources"]["gate"]["duplicate"], 0, "it takes each once, by its place and not by its id");
    }
    let told = life.told();
    let numbers: BTreeMap<String, u64> =
        (0..to).chain(LAST..LAST + DEVICES).map(|number| (life.sender.id(number), number)).collect();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (id, number) in told.iter().map(|id| (id, numbers[id])) {
        if let Some(before) = last.insert(life.sender.device(number), number) {
            assert!(before < number, "{id} of {} comes after {before}", life.sender.device(number));
        }
    }
    assert_eq!(told.len() as u64, to + DEVICES);
    let ids: BTreeSet<String> =
        life.alerts().iter().filter(|it| it["rule"] == "seen").map(|it| it["alert_id"].to_string()).collect();
    assert_eq!(ids.len() as u64, to + DEVICES, "one alert a record");
}

/// Two members of one group: the second joins in the middle, and leaves again. Each record is judged by one of them, once.
pub fn shared(mut sender: Kafka) {
    let places = [place(&sender.source()), place(&sender.source())];
    let told = |place: &Place| -> Vec<String> {
        let whole = place.read("out.ndjson");
        let whole = &whole[..whole.rfind('\n').map_or(0, |at| at + 1)];
        let alerts = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        alerts.filter(|it| it["rule"] == "seen").map(|it| it["say"].as_str().unwrap().to_owned()).collect()
    };
    let await_all = |wanted: u64| {
        let started = Instant::now();
        while places.iter().map(|place| told(place).len() as u64).sum::<u64>() < wanted {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "{}, {}",
                told(&places[0]).len(),
                told(&places[1]).len()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let first = places[0].launch(&["weir.yaml"]);
    sender.send(0..PART);
    await_all(PART);
    // It joins while records come, and gets a share.
    let second = std::thread::scope(|scope| {
        let sender = &mut sender;
        let sending = scope.spawn(move || sender.send(PART..2 * PART));
        let second = places[1].launch(&["weir.yaml"]);
        sending.join().unwrap();
        second
    });
    await_all(2 * PART);
    let mut to = 2 * PART;
    while told(&places[1]).is_empty() {
        assert!(to < 20 * PART, "the second gets no share");
        sender.send(to..to + DEVICES);
        to += DEVICES;
        await_all(to);
    }
    sender.send(to..to + PART);
    to += PART;
    await_all(to);
    std::thread::scope(|scope| {
        let sender = &mut sender;
        let sending = scope.spawn(move || sender.send(to..to + PART));
        assert!(second.stop()["sources"]["gate"]["evaluated"].as_u64().unwrap() > 0);
        sending.join().unwrap();
    });
    to += PART;
    await_all(to);
    first.stop();
    let all: Vec<String> = places.iter().flat_map(told).collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len() as u64, distinct.len() as u64), (to, to), "each is judged by one of them");
}

/// A stream that is removed, and another of its name that numbers from its beginning again: nothing of it is taken for known, even
/// where no state is kept.
pub fn made_anew<S: Sender + 'static>(mut sender: S, make_anew: impl FnOnce(&mut S)) {
    let place = place(&sender.source());
    let config = place.read("weir.yaml");
    let state = config.lines().find(|line| line.starts_with("state:")).unwrap();
    place.write("weir.yaml", config.replace(state, "state: { status_file: status.json }"));
    let running = place.launch(&["weir.yaml"]);
    let told = || place.read("out.ndjson").matches("\"rule\":\"seen\"").count() as u64;
    sender.send(0..PART);
    eventually("the first stream is judged", || told() == PART);
    make_anew(&mut sender);
    // Fewer than there were.
    sender.send(PART..PART + PART / 2);
    let started = Instant::now();
    while told() < PART + PART / 2 {
        assert!(started.elapsed() < Duration::from_mins(1), "{} told; {}", told(), place.read("status.json"));
        std::thread::sleep(Duration::from_millis(50));
    }
    running.stop();
    assert_eq!(told(), PART + PART / 2);
}

/// Messages are lost between the server and weir: each record is judged all the same, once.
pub fn lossy(mut sender: Nats) {
    let line = sender.lose_messages();
    sender.send(0..PART);
    let mut life = Life::new(Box::new(sender));
    let running = life.sender.launch(&life.place);
    life.await_all(0..PART);
    assert!(line.lost() > 0, "the line loses messages");
    let summary = running.stop();
    assert_eq!(summary["sources"]["gate"]["duplicate"], 0, "it takes each once, by its place and not by its id");
    assert_eq!(life.told().len() as u64, PART);
}

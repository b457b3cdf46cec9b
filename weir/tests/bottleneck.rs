//! The bottleneck experiment, against values computed with pedpy: densities, distinct persons and
//! transitions, whatever the order, the repeats, the way in and the number of shards.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Place, post, workspace};
use serde_json::Value;

/// Zone and window end -> mean density, greatest density and distinct persons.
type Values = BTreeMap<(String, i64), [f64; 3]>;

fn records() -> Vec<String> {
    let path = workspace().join("examples/bottleneck/bottleneck.ndjson.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A small generator, so that the order is the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn ts(record: &str) -> u64 {
    record.split("\"event_time_ms\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

/// Each record arrives up to two seconds after its time.
fn shuffled() -> Vec<String> {
    let mut dice = Dice(7);
    let mut records: Vec<(u64, String)> =
        records().into_iter().map(|record| (ts(&record) + dice.below(2_000), record)).collect();
    records.sort_by_key(|(arrival, _)| *arrival);
    records.into_iter().map(|(_, record)| record).collect()
}

/// One record in a hundred comes a second time, within two seconds.
fn with_duplicates(records: Vec<String>) -> (Vec<String>, u64) {
    let mut dice = Dice(11);
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut duplicates = 0;
    for (at, record) in records.into_iter().enumerate() {
        if dice.below(100) == 0 {
            duplicates += 1;
            out.push((at + dice.below(500) as usize, record.clone()));
        }
        out.push((at, record));
    }
    out.sort_by_key(|(at, _)| *at);
    (out.into_iter().map(|(_, record)| record).collect(), duplicates)
}

fn place(source: &str) -> Place {
    let example = workspace().join("examples/bottleneck");
    let place = Place::new();
    let pack = std::fs::read_to_string(example.join("pack.yaml")).unwrap().replace("lateness: 1s", "lateness: 2s");
    let config = std::fs::read_to_string(example.join("weir.yaml")).unwrap();
    let config = config
        .replace("    type: file\n    path: bottleneck.ndjson.gz\n", source)
        .replace("  console: { type: stdout, purposes: [crowd_safety] }", "  alerts: { type: file, path: alerts.ndjson, purposes: [crowd_safety] }\n  windows: { type: file, path: windows.ndjson, emit: windows, purposes: [crowd_safety] }");
    place.write("pack.yaml", pack).write("weir.yaml", config);
    std::fs::copy(example.join("zones.csv"), place.path("zones.csv")).unwrap();
    place
}

fn expected() -> Values {
    let path = workspace().join("testdata/crowd/bottleneck.expected_1s.ndjson");
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let v: Value = serde_json::from_str(line).unwrap();
            let key = (v["zone"].as_str().unwrap().to_owned(), v["window_end_ms"].as_i64().unwrap());
            (key, ["density_mean", "density_max", "distinct_persons"].map(|name| v[name].as_f64().unwrap()))
        })
        .collect()
}

fn expected_transitions() -> Vec<(i64, String, String)> {
    let path = workspace().join("testdata/crowd/bottleneck.expected_alerts_and_flow.json");
    let v: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut transitions: Vec<_> = v["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let change = if alert["transition"] == "raised" { "enter" } else { "exit" };
            (alert["window_end_ms"].as_i64().unwrap(), alert["zone"].as_str().unwrap().to_owned(), change.to_owned())
        })
        .collect();
    transitions.sort();
    transitions
}

/// Compares what the run wrote with what pedpy computed. `closed_to_ms`: windows up to here must be there.
fn check_outputs(place: &Place) {
    let mut got = Values::new();
    for window in place.lines("windows.ndjson") {
        let key = (window["key"]["zone"].as_str().unwrap().to_owned(), window["end_ms"].as_i64().unwrap());
        let value = window["value"].as_f64().unwrap();
        let rule = ["density", "densest", "persons"].iter().position(|rule| window["rule"] == *rule).unwrap();
        let slot = &mut got.entry(key).or_insert([f64::NAN; 3])[rule];
        assert!(slot.is_nan(), "each window is told once: {window}");
        *slot = value;
    }
    let expected = expected();
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "every window of every zone");
    for (key, expected) in &expected {
        // The expected densities are written with six digits behind the point.
        let same = got[key].iter().zip(expected).all(|(got, expected)| (got - expected).abs() <= 5e-7);
        assert!(same, "{key:?}: {:?}, expected {expected:?}", got[key]);
    }
    let mut transitions: Vec<_> = place
        .lines("alerts.ndjson")
        .iter()
        .map(|alert| {
            let end: i64 = place
                .lines("windows.ndjson")
                .iter()
                .find(|window| window["window"]["end"] == alert["window"]["end"])
                .and_then(|window| window["end_ms"].as_i64())
                .unwrap();
            (end, alert["zone"].as_str().unwrap().to_owned(), alert["change"].as_str().unwrap().to_owned())
        })
        .collect();
    transitions.sort();
    assert_eq!(transitions, expected_transitions());
}

fn run_file(records: &[String], shards: usize, duplicates: u64) -> Place {
    let place = place("    type: file\n    path: in.ndjson\n");
    place.write("in.ndjson", records.join("\n"));
    let summary = place.run(&["--shards", &shards.to_string()]);
    let source = &summary["sources"]["positions"];
    assert_eq!(source["duplicate"].as_u64(), Some(duplicates));
    assert_eq!(source["evaluated"].as_u64(), Some(63_110));
    check_outputs(&place);
    place
}

/// Outputs without what differs from run to run.
fn without_latency(place: &Place) -> Vec<String> {
    let mut lines: Vec<String> = place
        .lines("alerts.ndjson")
        .into_iter()
        .chain(place.lines("windows.ndjson"))
        .map(|mut value| {
            value.as_object_mut().unwrap().remove("latency_us");
            value.to_string()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn in_order_with_1_2_and_7_shards() {
    let records = records();
    let outputs: Vec<_> = [1, 2, 7].iter().map(|shards| without_latency(&run_file(&records, *shards, 0))).collect();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn shuffled_within_the_lateness() {
    let in_order = without_latency(&run_file(&records(), 2, 0));
    for shards in [1, 2, 7] {
        assert_eq!(without_latency(&run_file(&shuffled(), shards, 0)), in_order);
    }
}

#[test]
fn shuffled_and_one_in_a_hundred_twice() {
    let (records, duplicates) = with_duplicates(shuffled());
    assert!(duplicates > 500);
    for shards in [1, 2, 7] {
        run_file(&records, shards, duplicates);
    }
}

#[test]
fn over_tcp() {
    let place = place("    type: tcp\n    address: 127.0.0.1:0\n    once: true\n");
    let running = place.start(&["--shards", "2"]);
    let (records, duplicates) = with_duplicates(shuffled());
    let text = records.join("\n");
    let mut stream = TcpStream::connect(running.address).unwrap();
    // In pieces that do not care where records end.
    for piece in text.as_bytes().chunks(7_001) {
        stream.write_all(piece).unwrap();
    }
    drop(stream);
    let summary = running.wait();
    assert_eq!(summary["sources"]["positions"]["duplicate"].as_u64(), Some(duplicates));
    check_outputs(&place);
}

#[test]
fn over_http() {
    let place = place("    type: http\n    address: 127.0.0.1:0\n");
    let running = place.start(&["--shards", "2"]);
    let mut taken = 0;
    let records = shuffled();
    for (number, part) in records.chunks(5_000).enumerate() {
        let (body, kind) = if number % 2 == 0 {
            (part.join("\n"), "application/x-ndjson")
        } else {
            (format!("[{}]", part.join(",")), "application/json")
        };
        let (status, answer) = post(running.address, "/records", &[("Content-Type", kind)], body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["rejected"].as_array().unwrap().len(), 0);
        taken += answer["evaluated"].as_u64().unwrap();
    }
    assert_eq!(taken, 63_110);
    // A later instant of the same camera, with nobody in view, closes the last windows.
    let last = r#"{"event_id":"end","event_time_ms":1700000600000,"person":"P0001","zones":[]}"#;
    assert_eq!(post(running.address, "/records", &[("Content-Type", "application/x-ndjson")], last.as_bytes()).0, 200);
    let summary = running.stop();
    assert_eq!(summary["sources"]["positions"]["evaluated"].as_u64(), Some(63_111));
    check_outputs(&place);
}

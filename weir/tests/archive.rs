//! The sink `archive`: what was told stands in Parquet files once, whatever happened to weir.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use common::{Place, eventually};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::Value;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: lane = '1', purpose: road, say: \"{device}\" }
  - { id: flow, kind: window, from: vehicle, key: site, window: { every: 10s }, measure: reads, emit: windows, purpose: road }
";

fn place(source: &str, state: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1
packs: [pack.yaml]
sources: {{ in: {{ {source} }} }}
sinks:
  out: {{ type: file, path: out.ndjson, emit: [alerts, windows], purposes: [road] }}
  kept: {{ type: archive, path: archive, every: 10s, emit: [alerts, windows], purposes: [road] }}
limits: {{ max_ahead: 3650d }}
{state}"
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("key", [4u8; 32]);
    place
}

fn record(n: u64) -> String {
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"{n}\",\"ts\":{},\"site\":\"s{}\",\"device\":\"d{n}\",\"lane\":\"1\"}}\n",
        1_790_000_000_000 + n * 100,
        n % 3
    )
}

/// The Parquet files of a stream.
fn files(place: &Place, stream: &str) -> Vec<PathBuf> {
    let pattern = place.path(&format!("archive/{stream}/date=*/weir-*.parquet"));
    glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap).collect()
}

fn rows(place: &Place, stream: &str) -> Vec<Row> {
    let read = |path| SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows =
        |file: SerializedFileReader<File>| file.get_row_iter(None).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    files(place, stream).into_iter().flat_map(|path| rows(read(path))).collect()
}

fn column(row: &Row, name: &str) -> Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap_or_else(|| panic!("{name}")).1.clone()
}

fn body(row: &Row) -> Value {
    let Field::Str(body) = column(row, "body") else { panic!("a text") };
    let mut body: Value = serde_json::from_str(&body).unwrap();
    // When a sink was told is its own matter.
    body.as_object_mut().unwrap().remove("latency_us");
    body
}

/// What the other sink was told, by id; each once.
fn told(place: &Place, is_alert: bool) -> BTreeMap<String, Value> {
    let of = |mut output: Value| {
        output.as_object_mut().unwrap().remove("latency_us");
        (output.get("alert_id").is_some() == is_alert).then_some(output)
    };
    place.lines_over_kills("out.ndjson").into_iter().filter_map(of).map(|output| (output.to_string(), output)).collect()
}

fn nothing_is_open(place: &Place) {
    for stream in ["alerts", "windows"] {
        let pattern = place.path(&format!("archive/{stream}/.open-*"));
        assert_eq!(glob::glob(pattern.to_str().unwrap()).unwrap().count(), 0, "{stream}");
    }
}

fn is_what_was_told(place: &Place) {
    for (stream, is_alert) in [("alerts", true), ("windows", false)] {
        let kept = rows(place, stream);
        let bodies: BTreeSet<String> = kept.iter().map(|row| body(row).to_string()).collect();
        assert_eq!(bodies.len(), kept.len(), "{stream}: each once");
        assert!(
            bodies.iter().eq(told(place, is_alert).keys()),
            "{stream}: {} of {}",
            bodies.len(),
            told(place, is_alert).len()
        );
    }
}

#[test]
fn a_run_leaves_parquet_files_with_columns() {
    let place = place("type: file, path: in.ndjson", "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    // A day that is past its time, and what is not ours.
    place.write("archive/alerts/date=2001-01-01/weir-1.parquet", "x").write("archive/alerts/notes.txt", "x");
    place.run(&["weir.yaml"]);
    nothing_is_open(&place);
    assert!(!place.path("archive/alerts/date=2001-01-01").exists() && place.path("archive/alerts/notes.txt").exists());
    is_what_was_told(&place);
    let alerts = rows(&place, "alerts");
    let first = alerts.iter().find(|row| column(row, "device") == Field::Str("d7".into())).unwrap();
    let said = body(first);
    assert_eq!(column(first, "alert_id"), Field::Str(said["alert_id"].as_str().unwrap().into()));
    assert_eq!(column(first, "ts"), Field::TimestampMillis(1_790_000_000_700));
    assert_eq!((column(first, "rule"), column(first, "value")), (Field::Str("seen".into()), Field::Null));
    let windows = rows(&place, "windows");
    let first = windows.iter().find(|row| column(row, "site") == Field::Str("s1".into())).unwrap();
    let said = body(first);
    assert_eq!(column(first, "value"), Field::Double(said["value"].as_f64().unwrap()));
    assert_eq!(column(first, "window_end"), Field::TimestampMillis(said["end_ms"].as_i64().unwrap()));
}

#[test]
fn kills_leave_each_output_in_it_once() {
    let state = "state: { dir: state, key_file: key, segment: 4MiB, reserve: 4MiB }\n";
    let place = place("type: tcp, address: 127.0.0.1:0", state);
    let mut sent = 0;
    for life in 0..5 {
        let running = place.start(&["weir.yaml"]);
        let mut post = TcpStream::connect(running.address).unwrap();
        let lines: String = (sent..sent + 600).map(record).collect();
        post.write_all(lines.as_bytes()).unwrap();
        sent += 600;
        let told = || place.read("out.ndjson").matches("\"rule\":\"seen\"").count();
        let before = told();
        eventually("it is told", || told() > before);
        if life == 4 {
            drop(post);
            running.stop();
        } else {
            // In the middle of it, or a while after.
            std::thread::sleep(Duration::from_millis(330 * (life / 2)));
            running.kill();
        }
    }
    nothing_is_open(&place);
    is_what_was_told(&place);
    assert_eq!(rows(&place, "alerts").len(), told(&place, true).len());
}

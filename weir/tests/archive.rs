//! The sink `archive`: what was told stands in its files once, whatever happened to weir, and reaches the store they go to.

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use arrow::array::AsArray;
use common::{Place, eventually};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use s3::{S3, files};
use serde_json::Value;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: lane = '1', purpose: road, say: \"{device}\" }
  - { id: flow, kind: window, from: vehicle, key: site, window: { every: 10s }, measure: reads, emit: windows, purpose: road }
";

fn place(source: &str, more: &str, state: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1
packs: [pack.yaml]
sources: {{ in: {{ {source} }} }}
sinks:
  out: {{ type: file, path: out.ndjson, emit: [alerts, windows], purposes: [road] }}
  kept: {{ type: archive, path: archive, every: 10s, {more} emit: [alerts, windows], purposes: [road] }}
limits: {{ max_ahead: 3650d }}
{state}"
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("key", [4u8; 32]).write("password", "s3cr3t");
    place
}

const STATE: &str = "state: { dir: state, key_file: key, segment: 4MiB, reserve: 4MiB, status_file: status.json }\n";

fn record(n: u64) -> String {
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"{n}\",\"ts\":{},\"site\":\"s{}\",\"device\":\"d{n}\",\"lane\":\"1\"}}\n",
        1_790_000_000_000 + n * 100,
        n % 3
    )
}

fn rows(archive: &Path, stream: &str) -> Vec<Row> {
    let read = |path| SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows =
        |file: SerializedFileReader<File>| file.get_row_iter(None).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    files(archive, stream, "parquet").into_iter().flat_map(|path| rows(read(path))).collect()
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

fn is_what_was_told(place: &Place, archive: &Path) {
    for (stream, is_alert) in [("alerts", true), ("windows", false)] {
        let kept = rows(archive, stream);
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
    let place = place("type: file, path: in.ndjson", "", "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    // A day that is past its time, and what is not ours.
    place.write("archive/alerts/date=2001-01-01/weir-1.parquet", "x").write("archive/alerts/notes.txt", "x");
    place.run(&["weir.yaml"]);
    nothing_is_open(&place);
    assert!(!place.path("archive/alerts/date=2001-01-01").exists() && place.path("archive/alerts/notes.txt").exists());
    let archive = place.path("archive");
    is_what_was_told(&place, &archive);
    let alerts = rows(&archive, "alerts");
    let first = alerts.iter().find(|row| column(row, "device") == Field::Str("d7".into())).unwrap();
    let said = body(first);
    assert_eq!(column(first, "alert_id"), Field::Str(said["alert_id"].as_str().unwrap().into()));
    assert_eq!(column(first, "ts"), Field::TimestampMillis(1_790_000_000_700));
    assert_eq!((column(first, "rule"), column(first, "value")), (Field::Str("seen".into()), Field::Null));
    let windows = rows(&archive, "windows");
    let first = windows.iter().find(|row| column(row, "site") == Field::Str("s1".into())).unwrap();
    let said = body(first);
    assert_eq!(column(first, "value"), Field::Double(said["value"].as_f64().unwrap()));
    assert_eq!(column(first, "window_end"), Field::TimestampMillis(said["end_ms"].as_i64().unwrap()));
}

#[test]
fn kills_leave_each_output_in_it_once() {
    let place = place("type: tcp, address: 127.0.0.1:0", "", STATE);
    let cursor = place.path("state/outbox/cursor-kept");
    let mut sent = 0;
    for life in 0..5 {
        let running = place.start(&["weir.yaml"]);
        let got_to = std::fs::read(&cursor).unwrap();
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
            // Where it had got to was not on the disk yet: it is told again.
            if life % 2 == 1 {
                std::fs::write(&cursor, got_to).unwrap();
            }
        }
    }
    nothing_is_open(&place);
    let archive = place.path("archive");
    is_what_was_told(&place, &archive);
    assert_eq!(rows(&archive, "alerts").len(), told(&place, true).len());
}

#[test]
fn arrow_files_hold_the_same() {
    let place = place("type: file, path: in.ndjson", "format: arrow,", "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    place.run(&["weir.yaml"]);
    let mut bodies = BTreeSet::new();
    for path in files(&place.path("archive"), "alerts", "arrow") {
        let reader = arrow::ipc::reader::FileReader::try_new(File::open(path).unwrap(), None).unwrap();
        for batch in reader.map(Result::unwrap) {
            let (ids, texts) = (&batch["alert_id"], &batch["body"]);
            for (id, text) in ids.as_string::<i32>().iter().zip(texts.as_string::<i32>()) {
                let body: Value = serde_json::from_str(text.unwrap()).unwrap();
                assert_eq!(body["alert_id"], id.unwrap());
                bodies.insert(id.unwrap().to_owned());
            }
        }
    }
    assert_eq!(bodies.len(), 500);
}

/// The store is there all the time: a run leaves nothing in the folder.
#[test]
fn files_go_to_the_store_and_days_past_their_time_leave_it() {
    let mut store = S3::new();
    store.start();
    for (name, day) in [("alerts", "2001-01-01"), ("windows", "2001-01-02"), ("theirs", "2001-01-01")] {
        let path = store.path(&format!("{name}/date={day}/old.parquet"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let place = place("type: file, path: in.ndjson", &format!("{},", store.store()), "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    place.run(&["weir.yaml"]);
    assert!(files(&place.path("archive"), "*", "parquet").is_empty(), "nothing is left behind");
    is_what_was_told(&place, &store.archive());
    let old = |name: &str| store.path(name).join("old.parquet").exists();
    assert!(!old("alerts/date=2001-01-01") && !old("windows/date=2001-01-02"));
    assert!(old("theirs/date=2001-01-01"), "what is not ours stays");
    assert_eq!(rows(&store.archive(), "alerts").len(), 500);
}

/// A store that is full, or lets nobody write, keeps nothing longer for it; and what is past its time is not carried there.
#[test]
fn a_store_that_takes_nothing_lets_go_of_what_is_old() {
    let mut store = S3::new();
    store.start();
    let place = place("type: file, path: in.ndjson", &format!("{},", store.store()), "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    let old = store.path("alerts/date=2001-01-01/old.parquet");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, "x").unwrap();
    place.write("archive/alerts/date=2001-01-02/weir-1.parquet", "x");
    // Where the folder of today would be stands something else.
    let now = jiff::Timestamp::now().to_string();
    std::fs::write(store.path(&format!("alerts/date={}", &now[..10])), "x").unwrap();
    let run = place.weir(&["run", "weir.yaml"]);
    let said = common::text(&run.stdout) + &common::text(&run.stderr);
    assert!(said.contains("files stay there, and go to the store with the next run"), "{said}");
    assert!(!old.exists(), "what is old is gone from the store");
    assert!(!place.path("archive/alerts/date=2001-01-02/weir-1.parquet").exists());
    assert!(!store.path("alerts/date=2001-01-02").exists(), "nor does anything of its kind come there");
    assert_eq!(files(&place.path("archive"), "alerts", "parquet").len(), 1, "the rest waits");
}

/// Another run of the same configuration takes what the store did not.
#[test]
fn a_store_that_is_away_gets_what_it_missed_from_the_next_run() {
    let mut store = S3::new();
    let place = place("type: file, path: in.ndjson", &format!("{},", store.store()), "");
    place.write("in.ndjson", (0..500).map(record).collect::<String>());
    let run = place.weir(&["run", "weir.yaml"]);
    let said = common::text(&run.stdout) + &common::text(&run.stderr);
    assert!(said.contains("2 files stay there, and go to the store with the next run"), "{said}");
    is_what_was_told(&place, &place.path("archive"));
    place.write("in.ndjson", (500..600).map(record).collect::<String>());
    store.start();
    place.run(&["weir.yaml"]);
    assert!(files(&place.path("archive"), "*", "parquet").is_empty(), "nothing is left behind");
    assert_eq!(rows(&store.archive(), "alerts").len(), 600);
}

/// One that is away in the middle of a run holds nobody up, and `weir status` says so.
#[test]
fn a_store_that_goes_and_comes_gets_everything() {
    let mut store = S3::new();
    let place = place("type: tcp, address: 127.0.0.1:0", &format!("{},", store.store()), STATE);
    let running = place.start(&["weir.yaml"]);
    let mut post = TcpStream::connect(running.address).unwrap();
    let mut send = |numbers: std::ops::Range<u64>| {
        post.write_all(numbers.map(record).collect::<String>().as_bytes()).unwrap();
    };
    let status = || common::text(&place.weir(&["status", "weir.yaml"]).stdout);
    eventually("it is told that the store is away", || status().contains("sink kept: TRYING AGAIN since 20"));
    assert!(status().contains("its files wait for the store"), "{}", status());
    send(0..300);
    store.start();
    eventually("it is there", || !status().contains("TRYING AGAIN"));
    eventually("files have come", || rows(&store.archive(), "alerts").len() == 300);
    store.stop();
    send(300..600);
    eventually("it is told that the store is away", || status().contains("sink kept: TRYING AGAIN since 20"));
    store.start();
    eventually("files have come", || rows(&store.archive(), "alerts").len() == 600);
    running.stop();
    is_what_was_told(&place, &store.archive());
}

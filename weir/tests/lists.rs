//! `weir list` and lists under a running `weir run`: built, verified, compared, swapped, refused, withdrawn.

mod common;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Place, Running, eventually, text};
use serde_json::Value;

const PACK: &str = "weir: 1
pack: p
owner: duty
purposes: { road: { legal_basis: act 1 } }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.wlist, key: plate, purpose: road, authority: police, max_growth: 100% }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road, say: \"{plate} {hit.entry_id}\" }
";

const CONFIG: &str = "weir: 1
packs: pack.yaml
sources: { posts: { type: tcp, address: 127.0.0.1:0 } }
sinks: { alerts: { type: file, path: alerts.ndjson, purposes: [road] } }
state: { key_file: root.key, status_file: status.json }
limits: { max_ahead: 3650d }
";

fn place() -> Place {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("weir.yaml", CONFIG).write("root.key", [5u8; 32]);
    place
}

fn csv(plates: &[(&str, &str)]) -> String {
    plates
        .iter()
        .fold("plate,entry_id,expires\n".to_owned(), |csv, (plate, id)| csv + &format!("{plate},{id},2099-01-01\n"))
}

/// Builds from a text; what was said.
fn build(place: &Place, source: &str, more: &[&str]) -> String {
    place.write("source.csv", source);
    let args = [&["list", "build", "weir.yaml", "stolen", "--from", "source.csv"], more].concat();
    let output = place.weir(&args);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn fails(place: &Place, args: &[&str]) -> String {
    let output = place.weir(args);
    assert!(!output.status.success());
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_list_is_built_looked_at_verified_and_compared() {
    let place = place();
    let said = build(
        &place,
        &(csv(&[("陕A·12345", "E1"), ("陕A1?3*", "E2")]) + "陕B00001,E1,2099-01-01\n"),
        &["--epoch", "2026-11"],
    );
    assert!(said.contains("source.csv:4: row left out: an entry with this `entry_id` came before"), "{said}");
    assert!(said.contains("2 entries (1 patterns, 0 expired)"), "{said}");
    let seen = text(&place.weir(&["list", "inspect", "stolen.wlist"]).stdout);
    for part in
        ["stolen_vehicle", "plate.v1", "act 1", "asked for by police, owned by duty", "epoch 2026-11", "full, number 1"]
    {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let verify = |args: &[&str]| text(&place.weir(&[&["list", "verify", "stolen.wlist"], args].concat()).stdout);
    assert!(verify(&[]).contains("not damaged"));
    assert!(verify(&["--key-file", "root.key"]).contains("sound, 2 entries"));
    place.write("other.key", [6u8; 32]);
    assert!(fails(&place, &["list", "verify", "stolen.wlist", "--key-file", "other.key"]).contains("another key"));
    assert!(fs::metadata(place.path("stolen.wlist")).unwrap().permissions().readonly(), "closed to writers");

    fs::copy(place.path("stolen.wlist"), place.path("old.wlist")).unwrap();
    build(&place, &csv(&[("陕A12345", "E1"), ("陕C00001", "E3")]), &["--epoch", "2026-11"]);
    let diff = text(&place.weir(&["list", "diff", "old.wlist", "stolen.wlist", "--key-file", "root.key"]).stdout);
    assert_eq!(diff, "1 added: E3\n0 changed\n1 removed: E2\n");

    let mut bytes = fs::read(place.path("old.wlist")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    place.write("bad.wlist", &bytes);
    for args in [&["list", "inspect", "bad.wlist"][..], &["list", "verify", "bad.wlist", "--key-file", "root.key"]] {
        let said = fails(&place, args);
        assert!(said.contains("damaged in "), "{said}");
    }
    place.write("short.wlist", &bytes[..at]);
    assert!(fails(&place, &["list", "inspect", "short.wlist"]).contains("cut short"));
}

#[test]
fn a_build_that_breaks_a_rule_leaves_what_was_there() {
    let place = place();
    build(&place, &csv(&[("陕A12345", "E1")]), &[]);
    let before = fs::read(place.path("stolen.wlist")).unwrap();
    place.write("grown.csv", csv(&[("陕A12345", "E1"), ("陕B00001", "E2"), ("陕C00001", "E3")]));
    place.write("bad.csv", "plate,entry_id,expires,religion\n");
    place.write("short.csv", "plate,entry_id\nA,E1\n");
    for (source, expected) in [
        ("grown.csv", "3 entries after 1"),
        ("bad.csv", "protected attribute"),
        ("short.csv", "column `expires` is missing"),
    ] {
        let said = fails(&place, &["list", "build", "weir.yaml", "stolen", "--from", source]);
        assert!(said.contains(expected), "{said}");
    }
    assert!(
        fails(&place, &["list", "build", "weir.yaml", "stole", "--from", "grown.csv"]).contains("declared: stolen")
    );
    assert!(fails(&place, &["list", "build", "pack.yaml", "stolen", "--from", "grown.csv"]).contains("--key-file"));
    assert_eq!(fs::read(place.path("stolen.wlist")).unwrap(), before);
    let left: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

/// systemd hands secrets over in a folder that it names (`LoadCredential=`).
#[test]
fn the_root_key_may_be_a_credential_of_systemd() {
    let place = place();
    place.write("weir.yaml", CONFIG.replace("root.key", "credential:weir-root")).write("secrets/weir-root", [5u8; 32]);
    fs::remove_file(place.path("root.key")).unwrap();
    place.write("source.csv", csv(&[("陕A12345", "E1")]));
    let args = ["list", "build", "weir.yaml", "stolen", "--from", "source.csv"];
    let output = place.command(&args).env("CREDENTIALS_DIRECTORY", place.path("secrets")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fails(&place, &args).contains("key file credential:weir-root cannot be read"));
    let verified = place.weir(&["list", "verify", "stolen.wlist", "--key-file", "secrets/weir-root"]);
    assert!(verified.status.success());
}

#[test]
fn foreign_columns_and_parquet_are_read() {
    use std::sync::Arc;

    use arrow::array::{Date32Array, RecordBatch, StringArray};
    let place = place();
    place.write("vrm.ndjson", "{\"no\":7,\"car\":{\"vrm\":[\"陕A12345\",\"陕B00001\"]}}\n{\"no\":8,\"car\":{}}\n");
    let args = [
        "list",
        "build",
        "weir.yaml",
        "stolen",
        "--from",
        "vrm.ndjson",
        "--column",
        "plate=car.vrm",
        "--column",
        "entry_id=no",
        "--set",
        "expires=2099-01-01",
        "--json",
    ];
    let built: Value = serde_json::from_str(text(&place.weir(&args).stdout).trim()).unwrap();
    assert_eq!(
        (built["manifest"]["total"].as_u64(), built["manifest"]["refused_rows"].as_u64()),
        (Some(2), Some(1)),
        "{built}"
    );
    assert_eq!(built["problems"][0]["line"], 2);

    let batch = RecordBatch::try_from_iter([
        ("plate", Arc::new(StringArray::from(vec!["陕A12345", "陕B00001"])) as _),
        ("entry_id", Arc::new(StringArray::from(vec!["E1", "E2"])) as _),
        ("expires", Arc::new(Date32Array::from(vec![47_000, 47_001])) as _),
    ])
    .unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(
        fs::File::create(place.path("list.parquet")).unwrap(),
        batch.schema(),
        None,
    )
    .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let args = ["list", "build", "weir.yaml", "stolen", "--from", "list.parquet", "--json"];
    let built: Value = serde_json::from_str(text(&place.weir(&args).stdout).trim()).unwrap();
    assert_eq!(built["manifest"]["total"].as_u64(), Some(2), "{built}");
}

fn send(running: &Running, plates: &[&str], first_id: usize) {
    let mut stream = TcpStream::connect(running.address).unwrap();
    for (at, plate) in plates.iter().enumerate() {
        let id = first_id + at;
        let line = format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"{id}\",\"ts\":{},\"site\":\"s\",\"device\":\"d\",\"plate\":\"{plate}\"}}\n",
            1_795_500_000_000i64 + id as i64
        );
        stream.write_all(line.as_bytes()).unwrap();
    }
}

fn status(place: &Place) -> Value {
    serde_json::from_str(&place.read("status.json")).unwrap_or_default()
}

#[test]
fn lists_are_swapped_under_a_run_and_a_bad_one_is_refused_within_a_second() {
    let place = place();
    build(&place, &csv(&[("陕A12345", "E1"), ("陕B00001", "E2")]), &["--epoch", "2026-11"]);
    let running = place.start(&["weir.yaml"]);
    let alerts = || place.lines("alerts.ndjson");
    send(&running, &["陕A12345", "陕B00001", "陕C00001"], 0);
    eventually("two alerts", || alerts().len() == 2);
    let version = |place: &Place| status(place)["lists"][0]["version"].as_str().unwrap_or_default().to_owned();
    eventually("a status", || !version(&place).is_empty());
    let first = version(&place);
    assert_eq!(alerts()[0]["hit"]["list_version"], first.as_str());

    // A delta takes E2 back and brings E3.
    build(&place, &csv(&[("陕A12345", "E1"), ("陕C00001", "E3")]), &["--delta"]);
    eventually("the delta is in force", || version(&place) != first);
    assert_eq!(status(&place)["lists"][0]["deltas"], 1);
    eventually("E2's alert is taken back", || alerts().iter().any(|alert| alert["change"] == "withdrawn"));
    let withdrawn = alerts().into_iter().find(|alert| alert["change"] == "withdrawn").unwrap();
    let told = alerts().into_iter().find(|alert| alert["hit"]["entry_id"] == "E2").unwrap();
    assert_eq!((&withdrawn["alert_id"], &withdrawn["revision"]), (&told["alert_id"], &Value::from(1)));
    assert!(!withdrawn.to_string().contains("陕B00001"), "a retraction names the entry, not the plate: {withdrawn}");
    send(&running, &["陕B00001", "陕C00001"], 10);
    eventually("E3", || alerts().iter().any(|alert| alert["hit"]["entry_id"] == "E3"));

    // A half-written file in its place: refused, told within a second, and the old version judges on.
    let sound = fs::read(place.path("stolen.wlist")).unwrap();
    let second = version(&place);
    fs::remove_file(place.path("stolen.wlist")).unwrap();
    place.write("stolen.wlist", &sound[..sound.len() / 2]);
    let started = Instant::now();
    eventually("the refusal shows", || {
        status(&place)["lists"][0]["refused"]["error"].as_str().is_some_and(|it| it.contains("cut short"))
    });
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    assert_eq!(version(&place), second);
    let shown = text(&place.weir(&["status", "weir.yaml"]).stdout);
    assert!(shown.contains("running") && shown.contains("the newest version was refused"), "{shown}");
    send(&running, &["陕C00001"], 20);
    eventually("it judges on", || alerts().iter().filter(|alert| alert["hit"]["entry_id"] == "E3").count() == 2);

    // A full snapshot of the same: sound again.
    fs::remove_file(place.path("stolen.wlist")).unwrap();
    build(&place, &csv(&[("陕A12345", "E1"), ("陕C00001", "E3"), ("陕D00001", "E4")]), &["--epoch", "2026-11"]);
    eventually("sound again", || status(&place)["lists"][0]["refused"].is_null() && version(&place) != second);
    send(&running, &["陕D00001"], 30);
    eventually("E4", || alerts().iter().any(|alert| alert["hit"]["entry_id"] == "E4"));
    let summary = running.stop();
    assert!(summary["reloads"].as_u64().unwrap() >= 2, "{summary}");
    assert_eq!(status(&place)["running"], false);
}

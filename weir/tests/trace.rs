//! No hit, no trace: marked identifiers in every column, in sound records and broken ones, that hit nothing.
//! Afterwards nothing that weir wrote or said holds any of them.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, text};
use serde_json::json;

/// In every identifier that is sent.
const MARK: &str = "ZQMARKED";

const PACK: &str = "weir: 1
pack: p
owner: duty
purposes: { road: { legal_basis: act 1 }, border: { legal_basis: act 2 }, crowd: { legal_basis: act 3 }, health: { legal_basis: act 4 } }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.wlist, key: plate, purpose: road }
  lost: { kind: lost_document, from: lost.csv, key: doc_number, purpose: border }
  revoked: { kind: revoked_credential, from: revoked.csv, key: credential_id, purpose: health }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, min_grade: partial_read, purpose: road, say: \"{plate}\", dedupe: { key: [plate], for: 1h } }
  - { id: lost, kind: watchlist, from: id, on: doc_number, list: lost, purpose: border, say: \"{doc_number}\" }
  - { id: fast, kind: match, from: vehicle, where: speed_kmh > 400, purpose: road, say: \"{plate} too fast\" }
  - { id: many, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { every: 10s }, levels: [{ name: full, enter: 100000 }], purpose: crowd }
  - { id: plates, kind: window, from: vehicle, key: [site], measure: distinct(plate), window: { every: 10s }, levels: [{ name: busy, enter: 100000 }], purpose: road }
  - { id: twice, kind: sequence, from: id, key: [site, doc_number], steps: [decision = 'refuse', decision = 'pass'], within: 10m, purpose: border }
  - { id: stays, kind: absence, from: vehicle, key: [site, plate], after: { where: direction = 'in' }, expect: { where: direction = 'out' }, within: 7d, purpose: road }
  - { id: invalid, kind: match, from: code, where: outcome = 'revoked', purpose: health }
";

const CONFIG: &str = "weir: 1
packs: pack.yaml
sources: { all: { type: file, path: in/records.ndjson, keep_refused: true }, table: { type: file, path: in/records.csv, kind: vehicle, keep_refused: true } }
sinks:
  desk: { type: file, path: out/alerts.ndjson, purposes: [road, border, crowd, health], audience: reviewers, emit: [alerts, windows, late] }
  dead: { type: file, path: out/dead.ndjson, emit: [dead_letters] }
  screen: { type: stdout, purposes: [road, border, crowd, health], emit: [alerts, windows, late] }
state: { key_file: root.key, status_file: out/status.json, dir: out/state, reserve: 4MiB, dead_letters_for: 7d }
credentials: { issuers: [issuers.json] }
";

fn records() -> String {
    let mut lines = Vec::new();
    let record = |kind: &str, at: usize, own: serde_json::Value| {
        let mut all = json!({
            "kind": kind, "event_id": format!("{kind}-{at}"), "ts": 1_764_000_000_000i64 + at as i64 * 100,
            "site": format!("s{}", at % 3), "device": format!("d{}", at % 5), "zone": "square",
        });
        for (name, value) in own.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.to_string()
    };
    for at in 0..500 {
        let mark = format!("{MARK}{at:04}");
        let state = ["new", "update", "lost"][at % 3];
        let direction = if at % 2 == 0 { "in" } else { "out" };
        lines.push(record(
            "vehicle",
            at,
            json!({
                "plate": mark, "candidates": [{ "text": format!("{mark}C"), "score": 0.5 }], "confidence": 0.9, "direction": direction,
                "read_id": format!("{mark}R"), "read_state": state, "speed_kmh": 50,
            }),
        ));
        lines.push(record("vehicle", 1000 + at, json!({ "plate": format!("陕{MARK}-{at}"), "direction": "in" })));
        lines.push(record("id", at, json!({ "doc_type": "passport", "doc_number": mark, "decision": "refuse" })));
        lines.push(record("person", at, json!({ "person_id": mark, "count": 1 })));
        lines.push(record("item", at, json!({ "item_class": "knife", "carrier": mark })));
        lines.push(record("code", at, json!({ "holder": mark, "credential": format!("HC1:{mark}") })));
        // Broken in ways whose messages are tempted to quote.
        lines.push(record("vehicle", 2000 + at, json!({ "plate": mark, "confidence": mark })));
        lines.push(record("id", 2000 + at, json!({ "doc_number": mark })));
        lines.push(record("vehicle", 3000 + at, json!({ "plate": { "text": mark } })));
        lines.push(record("vehicle", 4000 + at, json!({ "plate": mark, "ts": mark })));
        lines.push(record(&mark, at, json!({ "plate": mark })));
        lines.push(record("vehicle", 5000 + at, json!({ "plate": mark, "candidates": mark })));
        lines.push(record("code", 1000 + at, json!({ "holder": mark, "credential": { "of": mark } })));
        lines.push(format!("{{\"kind\":\"vehicle\",\"plate\":\"{mark}\""));
        lines.push(format!("{mark} is no JSON"));
    }
    lines.join("\n") + "\n"
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn who_hits_nothing_is_nowhere() {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("weir.yaml", CONFIG).write("root.key", [5u8; 32]);
    place.write("stolen.csv", "plate,entry_id,expires\n陕A12345,E1,2099-01-01\n陕A9?9*,E2,2099-01-01\n");
    place.write("lost.csv", "doc_number,entry_id,expires\nP1234567,E1,2099-01-01\n");
    place.write("revoked.csv", "credential_id,entry_id,expires\nURN:UVCI:1,E1,2099-01-01\n");
    place.write("issuers.json", "{ \"certificates\": [] }");
    assert!(place.weir(&["list", "build", "weir.yaml", "stolen", "--from", "stolen.csv"]).status.success());
    fs::create_dir(place.path("out")).unwrap();
    place.write("in/records.ndjson", records());
    let mut csv = "plate,ts,site,event_id,confidence\n".to_owned();
    for at in 0..200 {
        let confidence = if at % 2 == 0 { MARK } else { "0.9" };
        csv.push_str(&format!("{MARK}{at},{MARK}T{at},s1,c{at},{confidence}\n"));
    }
    place.write("in/records.csv", csv);
    let output = place.weir(&["run", "weir.yaml"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("bad_value") || said.contains("missing_field"), "records were refused: {said}");
    assert!(!place.read("out/dead.ndjson").is_empty(), "and told of");
    assert!(!place.read("out/alerts.ndjson").is_empty(), "windows were told");
    fs::remove_dir_all(place.path("in")).unwrap();
    let mut all = Vec::new();
    files(&place.path("."), &mut all);
    assert!(all.len() >= 9, "{all:?}");
    let mut of_journal = 0;
    for path in all {
        let bytes = fs::read(&path).unwrap();
        if path.parent().is_some_and(|folder| folder.ends_with("journal")) {
            of_journal += 1;
            assert!(bytes.iter().skip(64).all(|byte| *byte == 0), "{} holds a record, if sealed", path.display());
        }
        assert!(
            !bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()),
            "{} holds a marked identifier",
            path.display()
        );
    }
    assert_eq!(of_journal, 1, "one segment, its header and nothing else");
    assert!(!said.contains(MARK), "what was said holds a marked identifier");
}

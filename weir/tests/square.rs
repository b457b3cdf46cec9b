//! examples/square: the alert comes before the capacity is reached, is cleared once, and the run draws it.

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::{Place, text};
use flate2::read::GzDecoder;
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/square").join(name)
}

fn records() -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(example("records.ndjson.gz")).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// When stewards first count as many people on the whole square as it holds.
fn reached(capacity: f64) -> i64 {
    let mut counted: BTreeMap<i64, f64> = BTreeMap::new();
    for line in records().lines().filter(|line| line.contains("\"occupancy\"")) {
        let record: Value = serde_json::from_str(line).unwrap();
        *counted.entry(record["ts"].as_i64().unwrap()).or_default() += record["occupancy"].as_f64().unwrap();
    }
    *counted.iter().find(|(_, people)| **people >= capacity).expect("it is reached").0
}

#[test]
fn the_alert_comes_before_the_capacity_is_reached_and_is_cleared_once() {
    let place = Place::new();
    for name in ["pack.yaml", "zones.yaml", "records.ndjson.gz"] {
        place.write(name, std::fs::read(example(name)).unwrap());
    }
    let config = std::fs::read_to_string(example("weir.yaml")).unwrap();
    place.write(
        "weir.yaml",
        config.replace("sinks:\n", "state: { status_file: weir.status.json }\nsinks:\n  file: { type: file, path: out.ndjson, purposes: [crowd_safety], emit: [alerts, proposals] }\n"),
    );
    let summary = place.run(&["weir.yaml", "--report", "square.svg"]);
    assert_eq!(summary["sources"]["gates"]["rejected"], 0, "{summary}");
    let outputs = place.lines("out.ndjson");
    let of = |zone: &str, level: &str, change: &str| -> Vec<String> {
        let here = outputs.iter().filter(|it| it["zone"] == zone && it["level"] == level && it["change"] == change);
        here.map(|it| it["ts"].as_str().unwrap().to_owned()).collect()
    };
    let ms = |ts: &str| weir_engine::normalise::TimeReader::new(None).read_ms(ts).unwrap();
    let (entered, left) = (of("square", "stop-selling", "enter"), of("square", "stop-selling", "exit"));
    assert_eq!((entered.len(), left.len()), (1, 1), "{entered:?} {left:?}");
    let ahead_ms = reached(4_000.0) - ms(&entered[0]);
    assert!(ahead_ms >= 5 * 60_000, "only {ahead_ms} ms before the capacity is reached");
    assert!(ms(&left[0]) > ms(&entered[0]));
    // It was expected before it came.
    let expected = of("square", "stop-selling", "expected");
    assert!(expected.first().is_some_and(|at| ms(at) < ms(&entered[0])), "{expected:?}");
    let proposals: Vec<&Value> =
        outputs.iter().filter(|it| it["action"] == "limit_tickets" && it["key"]["zone"] == "square").collect();
    assert_eq!(proposals.len(), 1);
    assert_eq!(proposals[0]["status"], "proposed");
    let picture = place.read("square.svg");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    for part in ["square-inside · square", "<polyline", "<polygon", "stop-selling enter", "stop-selling exit"] {
        assert!(picture.contains(part), "the picture has no {part}");
    }
    // Where everything stood at the end.
    let status = text(&place.weir(&["status", "weir.yaml"]).stdout);
    for part in ["square (square-inside): 0.0", ", no level; -", "device north (gates): "] {
        assert!(status.contains(part), "{status}");
    }
    // Said and proposed in words, too.
    let said = text(&place.weir(&["run", "weir.yaml", "--quiet"]).stdout);
    assert!(said.contains("let in 30 people a minute until"), "{said}");
}

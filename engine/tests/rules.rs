//! Match and watchlist rules through the whole engine: hits, expiry, suppression, identity, and what
//! must leave no trace.

mod common;

use common::{NOW_MS, ONE_BATCH, Way, list, parse_pack, run};
use serde_json::Value;

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 1 }, goods: { legal_basis: act 2 } }
lists:
  stolen: { kind: stolen_vehicle, from: list.csv, key: plate, purpose: road }
rules:
  - id: stolen-plate
    kind: watchlist
    from: vehicle
    on: plate
    list: stolen
    where: confidence >= 0.85
    purpose: road
    severity: high
    dedupe: { key: [plate, site], for: 10m }
    say: "{plate} {hit.grade} {hit.entry_id} {site}"
  - id: dear-goods
    kind: match
    from: item
    where: quantity / (quantity - 5) > 2
    purpose: goods
"#;

const LIST: &str = "plate,entry_id,expires\n陕A·12345,E1,2027-01-01\n陕B00001,E2,2026-01-01\n陕C00001,E9,2027-01-01\n陕c-00001,E3,2027-01-01\n";

/// 2026-11-23T08:00:00+08:00.
const T0: i64 = 1_795_392_000_000;

fn vehicle(id: usize, seconds: i64, plate: &str, site: &str, confidence: f64) -> String {
    format!(
        r#"{{"kind":"vehicle","event_id":"{id}","ts":{},"site":"{site}","device":"{site}-1","plate":"{plate}","confidence":{confidence}}}"#,
        T0 + seconds * 1000
    )
}

fn alerts(lines: &[String], way: Way) -> Vec<Value> {
    let pack = parse_pack(PACK);
    let (outputs, _) = run(&pack, vec![list(&pack, 0, LIST)], "", lines, way);
    outputs.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A text that no number can be made of spoils its own record, and none before or after it.
#[test]
fn a_text_that_cannot_be_cast_takes_no_other_record_along() {
    let pack = parse_pack(
        "weir: 1\npack: p\nowner: o\npurposes: { p: { legal_basis: act 1 } }\nrules:\n  - { id: r, kind: match, from: vehicle, where: 'cast(lane as int) > 2', purpose: p }\n",
    );
    let lanes = ["3", "lane 3", "4", "1", "lane 3", "5"];
    let lines: Vec<String> = lanes
        .iter()
        .enumerate()
        .map(|(id, lane)| {
            format!(r#"{{"kind":"vehicle","event_id":"{id}","ts":{T0},"site":"s","device":"d","lane":"{lane}"}}"#)
        })
        .collect();
    for lines_per_block in [1, 2, 100] {
        let way = Way { lines_per_block, batch_bytes: 1, ..ONE_BATCH };
        let (alerts, summary) = run(&pack, Vec::new(), "", &lines, way);
        assert_eq!((alerts.len(), summary.rules[0].condition_errors), (3, 2), "{lines_per_block}");
    }
}

#[test]
fn two_reads_of_one_plate_give_one_alert() {
    let lines = [
        vehicle(1, 0, "陕A·12345", "BY-07", 0.97),
        vehicle(2, 30, "陕a12345", "BY-07", 0.95),
        vehicle(3, 31, "陕A12345", "BY-08", 0.95),
        vehicle(4, 32, "陕A12345", "BY-09", 0.5),
        vehicle(5, 601, "陕A12345", "BY-07", 0.95),
    ];
    let alerts = alerts(&lines, ONE_BATCH);
    let mut said: Vec<&str> = alerts.iter().map(|alert| alert["say"].as_str().unwrap()).collect();
    said.sort_unstable();
    assert_eq!(said, ["陕A12345 exact E1 BY-07", "陕A12345 exact E1 BY-07", "陕A12345 exact E1 BY-08"]);
    assert!(alerts.iter().all(|alert| alert["review"] == "required" && alert["hit"]["list"] == "stolen"));
}

#[test]
fn an_expired_entry_never_matches_and_the_order_of_the_list_does_not_matter() {
    assert!(alerts(&[vehicle(1, 0, "陕B00001", "BY-07", 0.97)], ONE_BATCH).is_empty());
    let alerts = alerts(&[vehicle(1, 0, "陕C00001", "BY-07", 0.97)], ONE_BATCH);
    assert_eq!(alerts[0]["hit"]["entry_id"], "E3");
}

#[test]
fn an_entry_that_has_expired_by_the_wall_clock_does_not_match_an_old_record() {
    // NOW is 2026-11-24; the record is of the day before, the entry ended in between.
    let pack = parse_pack(PACK);
    let csv = "plate,entry_id,expires\n陕A12345,E1,2026-11-23T12:00:00Z\n";
    let line = [vehicle(1, 0, "陕A12345", "BY-07", 0.97)];
    const { assert!(T0 < 1_795_435_200_000 && NOW_MS > 1_795_435_200_000) };
    assert!(run(&pack, vec![list(&pack, 0, csv)], "", &line, ONE_BATCH).0.is_empty());
}

#[test]
fn a_division_by_zero_hides_no_other_record() {
    let item = |id: usize, quantity: i64| {
        format!(
            r#"{{"kind":"item","event_id":"{id}","ts":{T0},"site":"s","device":"d","item_class":"UN 1203","quantity":{quantity}}}"#
        )
    };
    let pack = parse_pack(
        &PACK.replace("quantity / (quantity - 5) > 2", "cast(quantity as bigint) / (cast(quantity as bigint) - 5) > 2"),
    );
    let (outputs, summary) =
        run(&pack, vec![list(&pack, 0, LIST)], "", &[item(1, 5), item(2, 6), item(3, 50)], ONE_BATCH);
    assert_eq!(outputs.len(), 1);
    assert_eq!(summary.rules[1].condition_errors, 1);
}

#[test]
fn alerts_are_the_same_over_shards_and_batches_and_their_ids_hold() {
    let mut lines = Vec::new();
    for at in 0..400 {
        let plate = if at % 7 == 0 { "陕A12345".to_owned() } else { format!("京K{at:05}") };
        lines.push(vehicle(at % 390, at as i64 * 40, &plate, ["BY-01", "BY-02", "BY-03"][at % 3], 0.9));
    }
    let whole = alerts(&lines, ONE_BATCH);
    assert!(whole.len() > 10);
    for (shards, lines_per_block) in [(1, 1), (2, 3), (7, 10)] {
        assert_eq!(alerts(&lines, Way { shards, lines_per_block, batch_bytes: 1_000 }), whole);
    }
}

#[test]
fn a_late_record_is_told_and_still_looked_up() {
    let text = format!(
        "{PACK}  - {{ id: flow, kind: window, from: vehicle, key: [site], measure: reads, window: {{ every: 10s }}, lateness: 5s, emit: windows, purpose: road }}\n"
    );
    let pack = parse_pack(&text);
    let lines = [vehicle(1, 100, "京K00001", "BY-07", 0.9), vehicle(2, 0, "陕A12345", "BY-07", 0.9)];
    let (outputs, summary) = run(&pack, vec![list(&pack, 0, LIST)], "", &lines, ONE_BATCH);
    assert_eq!((summary.total().late, summary.total().evaluated), (1, 1));
    assert!(outputs.iter().any(|line| line.contains("\"late_by_ms\":95000")), "{outputs:?}");
    assert!(outputs.iter().any(|line| line.contains("E1")), "a stolen plate is told however late");
}

#[test]
fn asking_whether_an_identifier_is_there_does_not_tell_it() {
    let text = format!(
        "{PACK}  - {{ id: fast, kind: match, from: vehicle, where: \"plate is not null and confidence > 0.5\", purpose: road }}\n"
    );
    let pack = parse_pack(&text);
    let (outputs, _) =
        run(&pack, vec![list(&pack, 0, LIST)], "", &[vehicle(1, 0, "京Q00001", "BY-07", 0.9)], ONE_BATCH);
    assert_eq!(outputs.len(), 1);
    assert!(outputs[0].contains("\"confidence\":\"0.9\"") && !outputs[0].contains("京Q"), "{outputs:?}");
}

#[test]
fn who_hits_nothing_leaves_no_trace() {
    let marked = |at: usize| format!("京Q{at:05}");
    let mut lines: Vec<String> = (0..50).map(|at| vehicle(at, at as i64, &marked(at), "BY-07", 0.9)).collect();
    // Refused records too: a bad number, a missing device, broken JSON, a time that cannot be.
    lines.push(vehicle(60, 0, "京Q00060", "BY-07", 0.9).replace("0.9", "\"京Q00060\""));
    lines.push(vehicle(61, 0, "京Q00061", "BY-07", 0.9).replace("\"device\":\"BY-07-1\",", ""));
    lines.push(vehicle(62, 0, "京Q00062", "BY-07", 0.9).replace('}', ""));
    lines.push(vehicle(63, 9_000_000_000, "京Q00063", "BY-07", 0.9));
    lines.push(vehicle(64, 0, "京Q00064", "BY-07", 7.0));
    let pack = parse_pack(PACK);
    let (outputs, summary) = run(&pack, vec![list(&pack, 0, LIST)], "", &lines, ONE_BATCH);
    assert_eq!(summary.total().rejected, 5);
    assert_eq!(outputs.len(), 5, "five dead letters and nothing else");
    let all = outputs.join("\n") + &format!("{summary:?}");
    assert!(!all.contains("京Q"), "{all}");
}

#[test]
fn texts_are_as_long_as_their_column_bears() {
    let pack = parse_pack(
        "weir: 1\npack: p\nowner: o\npurposes: { p: { legal_basis: act 1 } }\nrules:\n  - { id: r, kind: window, from: vehicle, key: [lane], measure: distinct(plate), window: { every: 5s }, emit: windows, purpose: p }\n",
    );
    let line = |number: usize, lane: &str, plate: &str| {
        format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"e{number}\",\"ts\":{},\"site\":\"s\",\"device\":\"d\",\"lane\":\"{lane}\",\"plate\":\"{plate}\"}}",
            NOW_MS - 1_000
        )
    };
    let lines = [
        line(1, &"l".repeat(256), &"A".repeat(1_024)),
        line(2, &"l".repeat(257), "A12345"),
        line(3, "1", &"A".repeat(1_025)),
        line(4, "1", &format!("{}\\u0041", "A".repeat(1_024))),
    ];
    let (_, summary) = run(&pack, Vec::new(), "", &lines, ONE_BATCH);
    assert_eq!((summary.total().evaluated, summary.total().rejected), (1, 3));
    assert_eq!(summary.rejected_by_cause.get("over_limit"), Some(&3));
}

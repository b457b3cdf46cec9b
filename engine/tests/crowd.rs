//! Crowds as they are: counters that lose people, zones in zones, late data, forecasts, silence.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};

use common::{ONE_BATCH, Way, parse_pack, run, run_with_notices};
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;
use weir_engine::rng::SeededRng;
use weir_engine::{Limits, Trial, TrialParts};
use weir_rules::Catalog;

const START_MS: i64 = 1_790_000_000_000;

fn pack(rules: &str) -> weir_rules::Pack {
    parse_pack(&format!(
        "weir: 1\npack: p\nowner: o\npurposes: {{ safety: {{ legal_basis: act 1 }} }}\nrules:\n{rules}"
    ))
}

fn outputs(pack: &weir_rules::Pack, zones: &str, lines: &[String]) -> Vec<Value> {
    let (lines, _) = run_with_notices(pack, vec![], zones, lines, ONE_BATCH);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A room with people coming and going by chance; the counter at its door misses 2 % of those who come and 4 % of
/// those who go, and now and then somebody counts who is inside. Gives the mean absolute errors of passages alone, with
/// recounts, and with what is learned from them, and the share of windows in which the stated interval holds the truth.
fn lossy_counter(seed: u64, recount_s: i64) -> [f64; 4] {
    const SECONDS: i64 = 3_600;
    let pack = pack(
        "  - { id: learned, kind: window, from: person, key: [zone], measure: occupancy, window: { every: 1s }, lateness: 1s, emit: windows, purpose: safety }\n  - { id: plain, kind: window, from: person, key: [zone], measure: occupancy, occupancy: { learn: false }, window: { every: 1s }, lateness: 1s, emit: windows, purpose: safety }\n",
    );
    let mut rng = SeededRng::new(seed);
    let (mut inside, mut truth, mut lines) = (0_i64, BTreeMap::new(), Vec::new());
    for second in 0..SECONDS {
        // Up to three come in a second, and a share of those inside goes: the room fills to some 150.
        let come = (0..3).filter(|_| rng.unit() < 0.5).count() as i64;
        let go = (0..inside).filter(|_| rng.unit() < 0.01).count() as i64;
        let mut see = |n: i64, share: f64| (0..n).filter(|_| rng.unit() < share).count();
        let (entered, left) = (see(come, 0.98), see(go, 0.96));
        inside += come - go;
        let at_ms = START_MS + second * 1_000 + 500;
        for zone in ["counted", "raw"] {
            for (direction, count) in [("in", entered), ("out", left)] {
                lines.push(format!(
                    r#"{{"kind":"person","event_id":"{zone}{direction}{second}","ts":{at_ms},"site":"s","device":"door","zone":"{zone}","direction":"{direction}","count":{count}}}"#
                ));
            }
        }
        if second % recount_s == recount_s - 1 {
            lines.push(format!(
                r#"{{"kind":"person","event_id":"r{second}","ts":{at_ms},"site":"s","device":"door","zone":"counted","occupancy":{inside}}}"#
            ));
        }
        truth.insert(START_MS + (second + 1) * 1_000, inside as f64);
    }
    let mut errors: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut covered = 0.0;
    for value in outputs(&pack, "", &lines).into_iter().filter(|it| it["notice"].is_null()) {
        let text = |name: &Value| name.as_str().unwrap().to_owned();
        let error = (value["value"].as_f64().unwrap() - truth[&value["end_ms"].as_i64().unwrap()]).abs();
        let margin = value["margin"].as_f64().unwrap();
        let key = (text(&value["rule"]), text(&value["key"]["zone"]));
        if key == ("learned".to_owned(), "counted".to_owned()) {
            covered += f64::from(u8::from(error <= margin + 1e-9));
        }
        errors.entry(key).or_default().push(error);
    }
    let mean = |rule: &str, zone: &str| {
        let errors = &errors[&(rule.to_owned(), zone.to_owned())];
        assert_eq!(errors.len() as i64, SECONDS);
        errors.iter().sum::<f64>() / errors.len() as f64
    };
    [mean("plain", "raw"), mean("plain", "counted"), mean("learned", "counted"), covered / SECONDS as f64]
}

#[test]
fn a_lossy_counter_is_put_right_and_says_how_far_it_may_be_off() {
    for recount_s in [20, 300] {
        let mut means = [0.0; 4];
        for seed in 1..=5 {
            let [raw, plain, learned, coverage] = lossy_counter(seed, recount_s);
            println!(
                "recount every {recount_s} s, seed {seed}: mean absolute error raw {raw:.2}, recounted {plain:.2}, learned too {learned:.2}; the interval holds {:.1} %",
                coverage * 100.0
            );
            assert!(learned * 3.0 <= raw, "{learned} is not a third of {raw}");
            assert!(coverage >= 0.9, "the interval holds the truth in {coverage}");
            for (mean, figure) in means.iter_mut().zip([raw, plain, learned, coverage]) {
                *mean += figure / 5.0;
            }
        }
        let [raw, plain, learned, coverage] = means;
        println!(
            "recount every {recount_s} s, mean of five: raw {raw:.2}, recounted {plain:.2}, learned too {learned:.2}, interval {coverage:.3}"
        );
        // The nearer the recounts, the less there is to learn.
        let allowed = if recount_s == 20 { 1.05 } else { 0.7 };
        assert!(learned <= allowed * plain, "learning does not help: {learned} of {plain}");
    }
}

/// Hourly counts of eight sensors in Melbourne: two months to learn from, then every next hour is judged.
#[test]
fn the_forecast_beats_the_last_value_and_last_week() {
    const HOUR_MS: i64 = 3_600_000;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/streams/melbourne_2014_feb_jul.ndjson.gz");
    let mut counts: BTreeMap<(i64, String), f64> = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(File::open(path).unwrap())).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let at_ms = record["event_time_ms"].as_i64().unwrap();
        counts.insert((at_ms, format!("sensor-{}", record["sensor"])), record["count"].as_f64().unwrap());
    }
    let lines: Vec<String> = counts
        .iter()
        .map(|((at_ms, sensor), count)| {
            format!(
                r#"{{"kind":"person","event_id":"{sensor}{at_ms}","ts":{at_ms},"site":"melbourne","device":"{sensor}","zone":"{sensor}","count":{count}}}"#
            )
        })
        .collect();
    let pack = pack(
        "  - { id: hourly, kind: window, from: person, key: [zone], measure: count, window: { every: 1h }, lateness: 1s, forecast: 1h, emit: windows, purpose: safety }\n",
    );
    let judged_from_ms = counts.keys().next().unwrap().0 + 60 * 24 * HOUR_MS;
    let (mut judged, mut covered, mut forecast, mut last, mut week) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for value in outputs(&pack, "", &lines) {
        let sensor = value["key"]["zone"].as_str().unwrap().to_owned();
        // The hour that begins now.
        let hour_ms = value["end_ms"].as_i64().unwrap();
        let at = |ms: i64| counts.get(&(ms, sensor.clone())).copied();
        let (Some(truth), Some(week_ago)) = (at(hour_ms), at(hour_ms - 7 * 24 * HOUR_MS)) else { continue };
        if hour_ms < judged_from_ms {
            continue;
        }
        let ahead = &value["forecast"];
        let figure = |name: &str| ahead[name].as_f64().unwrap();
        judged += 1.0;
        forecast += (truth - figure("value")).abs();
        last += (truth - value["value"].as_f64().unwrap()).abs();
        week += (truth - week_ago).abs();
        covered += f64::from(u8::from(figure("low") <= truth && truth <= figure("high")));
    }
    let mean = |sum: f64| sum / judged;
    println!(
        "{judged} hours: mean absolute error of the forecast {:.1}, of the last value {:.1}, of the same hour last week {:.1}; the 80 % interval holds {:.1} %",
        mean(forecast),
        mean(last),
        mean(week),
        mean(covered) * 100.0
    );
    assert!(judged > 15_000.0);
    assert!(forecast < last && forecast < week, "the forecast beats neither or only one");
    assert!((0.7..0.9).contains(&mean(covered)), "the interval is what it says");
}

#[test]
fn what_is_in_a_part_is_in_the_whole_once() {
    let pack = pack(
        "  - { id: count, kind: window, from: person, key: [zone], measure: count, window: { every: 10s }, lateness: 1s, emit: windows, purpose: safety }\n  - { id: inside, kind: window, from: person, key: [zone], measure: occupancy, window: { every: 10s }, lateness: 1s, emit: windows, purpose: safety }\n",
    );
    let zones = "zone,parent\npark,\nsquare,park\nstage,square\ngarden,park\n";
    let line = |id: usize, at_s: i64, zone: &str, more: &str| {
        format!(
            r#"{{"kind":"person","event_id":"{id}","ts":{},"site":"s","device":"d","zone":{zone}{more}}}"#,
            START_MS + at_s * 1_000
        )
    };
    let lines = [
        line(1, 0, r#""stage""#, r#","direction":"in","count":5"#),
        line(2, 1, r#"["stage","garden"]"#, r#","direction":"in","count":1"#),
        line(3, 2, r#""garden""#, r#","occupancy":7"#),
        line(4, 3, r#""park""#, r#","direction":"in","count":2"#),
    ];
    let values: BTreeMap<(String, String), f64> = outputs(&pack, zones, &lines)
        .iter()
        .map(|it| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            ((text(&it["rule"]), text(&it["key"]["zone"])), it["value"].as_f64().unwrap())
        })
        .collect();
    let of = |rule: &str| {
        ["stage", "square", "garden", "park"].map(|zone| values[&(rule.to_owned(), zone.to_owned())] as i64)
    };
    // The second record lies in two parts of the park, and counts there once.
    assert_eq!(of("count"), [6, 6, 2, 9]);
    // The recount is of the garden alone; the park adds up what its parts hold.
    assert_eq!(of("inside"), [6, 6, 7, 15]);
}

#[test]
fn an_early_alert_comes_with_the_record_that_makes_it_certain() {
    let pack = pack(
        "  - { id: full, kind: window, from: person, key: [zone], measure: count, window: { every: 60s }, lateness: 5s, early: true, levels: [{ name: full, enter: 10, exit: 5, severity: high }], purpose: safety, say: \"{zone} {value}\" }\n",
    );
    let line = |id: usize, at_s: i64, count: u32| {
        format!(
            r#"{{"kind":"person","event_id":"{id}","ts":{},"site":"s","device":"d","zone":"hall","count":{count}}}"#,
            1_790_000_040_000 + at_s * 1_000
        )
    };
    let parts = TrialParts::new(Catalog::builtin(), vec![(pack, vec![])]);
    let mut trial = Trial::new(parts).unwrap();
    let mut told = |line: String| -> Vec<(u64, f64)> {
        trial.feed(&line);
        let alerts =
            trial.outputs().into_iter().map(|output| serde_json::from_str::<Value>(&output.to_json()).unwrap());
        alerts.map(|it| (it["revision"].as_u64().unwrap(), it["value"].as_f64().unwrap())).collect()
    };
    assert_eq!(told(line(1, 0, 6)), []);
    // With 40 seconds to go.
    assert_eq!(told(line(2, 20, 5)), [(0, 10.0)]);
    assert_eq!(told(line(3, 50, 8)), []);
    // The window closes, and confirms it with its value.
    assert_eq!(told(line(4, 66, 1)), [(1, 19.0)]);
}

/// Early alerts and what confirms them are the same whatever the order within the lateness, and each is confirmed.
#[test]
fn early_alerts_do_not_depend_on_the_order_of_arrival() {
    let pack = pack(
        "  - { id: full, kind: window, from: person, key: [zone], measure: count, window: { every: 10s }, lateness: 8s, early: true, levels: [{ name: full, enter: 4, for: 20s, exit: 3, severity: high }], purpose: safety }\n  - { id: hop, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { last: 20s, every: 10s }, lateness: 8s, early: true, levels: [{ name: many, enter: 3, exit: 2, severity: high }], purpose: safety }\n",
    );
    let mut rng = SeededRng::new(5);
    let mut told = 0;
    for _ in 0..200 {
        let mut records: Vec<(i64, i64, String)> = (0..60)
            .map(|n| {
                let at_ms = (rng.unit() * 90_000.0) as i64;
                let line = format!(
                    r#"{{"kind":"person","event_id":"e{n}","ts":{},"site":"s","device":"d{}","zone":"z{}","person_id":"p{}"}}"#,
                    START_MS + at_ms,
                    n % 2,
                    n % 3,
                    n % 5
                );
                (at_ms, at_ms + (rng.unit() * 7_000.0) as i64, line)
            })
            .collect();
        records.sort_by_key(|(at_ms, ..)| *at_ms);
        let in_order: Vec<String> = records.iter().map(|(.., line)| line.clone()).collect();
        records.sort_by_key(|(_, arrival_ms, _)| *arrival_ms);
        let shuffled: Vec<String> = records.iter().map(|(.., line)| line.clone()).collect();
        let (whole, summary) = run(&pack, vec![], "", &in_order, ONE_BATCH);
        assert_eq!(summary.total().late, 0);
        let single = Way { shards: 2, lines_per_block: 1, batch_bytes: 1 };
        assert_eq!(run(&pack, vec![], "", &in_order, single).0, whole);
        assert_eq!(run(&pack, vec![], "", &shuffled, single).0, whole);
        let enters = |revision: &str| {
            let of = |line: &&String| line.contains("\"change\":\"enter\"") && line.contains(revision);
            whole.iter().filter(of).count()
        };
        assert_eq!(enters("\"revision\":0"), enters("\"revision\":1"));
        told += enters("\"revision\":0");
    }
    assert!(told > 100, "{told}");
}

/// Event time and delay in milliseconds, whether in zone a, device.
type Arrival = (i64, i64, bool, u8);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    prop::collection::vec((0_i64..60_000, 0_i64..25_000, any::<bool>(), 0_u8..3), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Data that is late by up to 25 seconds: the last revision of every window is what all records together give, and
    /// neither batches nor shards change which revisions there are.
    #[test]
    fn the_last_revision_knows_every_record(mut arrivals in arrivals(), lines_per_block in 1_usize..20, shards in 1_usize..4) {
        let pack = pack(
            "  - { id: count, kind: window, from: person, key: [zone], measure: count, window: { every: 5s }, lateness: 1s, revise_for: 10m, emit: windows, purpose: safety }\n  - { id: hop, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { last: 15s, every: 5s }, lateness: 1s, revise_for: 10m, emit: windows, purpose: safety }\n  - { id: snap, kind: window, from: person, key: [zone], measure: snapshot, window: { last: 10s, every: 5s }, lateness: 1s, revise_for: 10m, emit: windows, purpose: safety }\n",
        );
        arrivals.sort_by_key(|(ts_ms, delay_ms, ..)| ts_ms + delay_ms);
        let lines: Vec<String> = arrivals
            .iter()
            .enumerate()
            .map(|(n, (ts_ms, _, zone, device))| {
                format!(
                    r#"{{"kind":"person","event_id":"e{n}","ts":{},"site":"s","device":"d{device}","zone":"{}","person_id":"p{}"}}"#,
                    START_MS + ts_ms, if *zone { "a" } else { "b" }, n % 7
                )
            })
            .collect();
        let (whole, summary) = run(&pack, vec![], "", &lines, ONE_BATCH);
        prop_assert_eq!(summary.total().late, 0);
        let mut last: BTreeMap<(String, String, i64), (u64, f64)> = BTreeMap::new();
        for line in &whole {
            let v: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let key = (text(&v["rule"]), text(&v["key"]["zone"]), v["end_ms"].as_i64().unwrap());
            let told = (v["revision"].as_u64().unwrap_or(0), v["value"].as_f64().unwrap());
            let known = last.entry(key).or_insert(told);
            if told.0 > known.0 {
                *known = told;
            }
        }
        for (rule, last_ms) in [("count", 5_000), ("hop", 15_000), ("snap", 10_000)] {
            for zone in ["a", "b"] {
                for end_ms in (START_MS / 5_000 * 5_000..START_MS + 80_000).step_by(5_000) {
                    let inside: Vec<(usize, &Arrival)> = arrivals
                        .iter()
                        .enumerate()
                        .filter(|(_, (ts_ms, ..))| (end_ms - last_ms..end_ms).contains(&(START_MS + ts_ms)))
                        .collect();
                    let here: Vec<_> = inside.iter().filter(|(_, (.., in_a, _))| *in_a == (zone == "a")).collect();
                    let got = last.get(&(rule.to_owned(), zone.to_owned(), end_ms));
                    if here.is_empty() {
                        prop_assert!(got.is_none());
                        continue;
                    }
                    let expected = match rule {
                        "count" => here.len() as f64,
                        "hop" => here.iter().map(|(n, _)| n % 7).collect::<BTreeSet<_>>().len() as f64,
                        _ => (0..3_u8)
                            .map(|device| {
                                let of = |(_, it): &(usize, &Arrival)| it.3 == device;
                                let instants: BTreeSet<i64> = inside.iter().filter(|it| of(it)).map(|(_, it)| it.0).collect();
                                let observed = here.iter().filter(|it| of(it)).count();
                                if instants.is_empty() { 0.0 } else { observed as f64 / instants.len() as f64 }
                            })
                            .sum(),
                    };
                    let value = got.map(|(_, value)| *value);
                    prop_assert!(value.is_some_and(|value| (value - expected).abs() < 1e-9), "{rule} {zone} {end_ms}: {value:?} for {expected}");
                }
            }
        }
        let single = Way { shards: 1, lines_per_block: 1, batch_bytes: 1 };
        prop_assert_eq!(&run(&pack, vec![], "", &lines, single).0, &whole);
        prop_assert_eq!(&run(&pack, vec![], "", &lines, Way { shards, lines_per_block, batch_bytes: 2_000 }).0, &whole);
    }
}

#[test]
fn devices_at_fault_are_told_by_name() {
    let pack = pack(
        "  - { id: inside, kind: window, from: person, key: [zone], measure: occupancy, window: { every: 10s }, lateness: 1s, emit: windows, purpose: safety }\n",
    );
    let line = |id: usize, device: &str, ts_ms: i64, more: &str| {
        format!(
            r#"{{"kind":"person","event_id":"{id}","ts":{ts_ms},"site":"s","device":"{device}","zone":"hall"{more}}}"#
        )
    };
    let mut lines = Vec::new();
    for step in 0..10_usize {
        let at_ms = START_MS + step as i64 * 10_000;
        lines.push(line(step, "door", at_ms, r#","direction":"in","count":20"#));
        // Its reading does not move, whoever comes in.
        lines.push(line(100 + step, "camera", at_ms + 1, r#","occupancy":30"#));
    }
    lines.push(line(200, "turnstile", START_MS + 100_000, r#","direction":"out","count":500"#));
    lines.push(line(201, "old-clock", START_MS - 1_200_000, r#","direction":"in","count":1"#));
    lines.push(line(202, "new-clock", common::NOW_MS + 3_600_000, r#","direction":"in","count":1"#));
    let outputs = outputs(&pack, "", &lines);
    let notices: BTreeSet<(&str, &str)> =
        outputs.iter().filter_map(|it| Some((it["notice"].as_str()?, it["device"].as_str().unwrap()))).collect();
    assert_eq!(
        notices,
        BTreeSet::from([
            ("stuck_reading", "camera"),
            ("negative_occupancy", "turnstile"),
            ("clock_behind", "old-clock"),
            ("clock_ahead", "new-clock"),
        ])
    );
    let values: Vec<f64> = outputs
        .iter()
        .filter(|it| it["rule"] == "inside" && it["measure"] == "occupancy")
        .map(|it| it["value"].as_f64().unwrap())
        .collect();
    // The stuck reading hides nobody: 30 and what has come since it was last believed.
    assert!(values.iter().any(|value| *value > 100.0), "{values:?}");
}

/// What finds no room is counted, and what is there stays right.
#[test]
fn windows_hold_no_more_values_than_they_may() {
    let pack = pack(
        "  - { id: pane, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { every: 10s }, lateness: 1s, emit: windows, purpose: safety }\n  - { id: session, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { gap: 5s }, lateness: 1s, emit: windows, purpose: safety }\n",
    );
    let parts = TrialParts {
        limits: Limits { window_values_max: 3, max_ahead_ms: i64::MAX, ..Limits::default() },
        ..TrialParts::new(Catalog::builtin(), vec![(pack, vec![])])
    };
    let mut trial = Trial::new(parts).unwrap();
    for (n, person) in [1, 2, 1, 3, 4, 5, 3].into_iter().enumerate() {
        trial.feed(&format!(
            r#"{{"kind":"person","event_id":"{n}","ts":{},"site":"s","device":"d","zone":"a","person_id":"p{person}"}}"#,
            START_MS + n as i64
        ));
    }
    // Time goes on without anybody, and then there is room again.
    for (at_ms, person) in [(20_000, ""), (40_000, r#","person_id":"p9""#)] {
        trial.feed(&format!(
            r#"{{"kind":"person","event_id":"x{at_ms}","ts":{},"site":"s","device":"d","zone":"a"{person}}}"#,
            START_MS + at_ms
        ));
    }
    trial.settle(None);
    let values: Vec<(String, i64)> = trial
        .outputs()
        .iter()
        .map(|output| serde_json::from_str::<Value>(&output.to_json()).unwrap())
        .map(|it| (it["rule"].as_str().unwrap().to_owned(), it["value"].as_f64().unwrap() as i64))
        .collect();
    let of = |rule: &str| values.iter().filter(|(name, _)| name == rule).map(|(_, value)| *value).collect::<Vec<_>>();
    assert_eq!((of("pane"), of("session")), (vec![3, 0, 1], vec![3, 0, 1]), "{values:?}");
    let summary = trial.into_summary();
    assert!(summary.rules.iter().all(|rule| rule.groups_overflow >= 2 && rule.open_values == 0), "{:?}", summary.rules);
}

/// Two gates that tell running totals, one of which starts anew and one of which rolls over: nobody is counted twice,
/// nobody is missed, and the order of arrival within the lateness does not matter.
#[test]
fn running_totals_count_what_is_new() {
    let pack = pack(
        "  - { id: flow, kind: window, from: person, key: [zone], measure: inflow, window: { every: 10s }, lateness: 10s, emit: windows, purpose: safety }\n  - { id: inside, kind: window, from: person, key: [zone], measure: occupancy, occupancy: { learn: false }, window: { every: 10s }, lateness: 10s, emit: windows, purpose: safety }\n",
    );
    let readings = [
        (0, "north", 100),
        (1, "south", 65_520),
        (5, "north", 110),
        (6, "south", 65_530),
        (12, "north", 7),
        (13, "south", 4),
        (22, "north", 9),
        (23, "south", 900_000),
    ];
    let line = |(at_s, device, total): &(i64, &str, i64)| {
        format!(
            r#"{{"kind":"person","event_id":"{device}{at_s}","ts":{},"site":"s","device":"{device}","zone":"hall","direction":"in","total":{total}}}"#,
            START_MS + at_s * 1_000
        )
    };
    let in_order: Vec<String> = readings.iter().map(line).collect();
    let all = outputs(&pack, "", &in_order);
    let of = |rule: &str| -> BTreeMap<i64, i64> {
        let values = all.iter().filter(|it| it["rule"] == rule);
        values
            .map(|it| ((it["end_ms"].as_i64().unwrap() - START_MS) / 1_000, it["value"].as_f64().unwrap() as i64))
            .collect()
    };
    // 10 and 10; 7 after the reset and 10 through the roll-over; 2, and a jump that is no crowd.
    assert_eq!(of("flow"), BTreeMap::from([(10, 20), (20, 17), (30, 2)]));
    assert_eq!(of("inside"), BTreeMap::from([(10, 20), (20, 37), (30, 39)]));
    let told: BTreeSet<(&str, &str)> =
        all.iter().filter_map(|it| Some((it["notice"].as_str()?, it["device"].as_str()?))).collect();
    assert_eq!(
        told,
        BTreeSet::from([("counter_reset", "north"), ("counter_rolled_over", "south"), ("counter_jumped", "south")])
    );
    let swapped = [1, 0, 3, 2, 5, 4, 7, 6].map(|at: usize| in_order[at].clone());
    let single = Way { shards: 2, lines_per_block: 1, batch_bytes: 1 };
    assert_eq!(run(&pack, vec![], "", &swapped, single).0, run(&pack, vec![], "", &in_order, ONE_BATCH).0);
}

/// A level that is left because nothing is heard says the threshold of its own zone.
#[test]
fn a_level_that_is_cleared_by_silence_tells_its_zones_threshold() {
    let pack = pack(
        "  - { id: full, kind: window, from: person, key: [zone], measure: count, window: { every: 10s }, lateness: 1s, levels: [{ name: full, enter: 9, exit: 8, for_zones: [{ class: school, enter: 4, exit: 3 }] }], when_silent: { after: 20s, do: clear }, purpose: safety }\n",
    );
    let line = |id: usize, zone: &str, at_s: i64, count: u32| {
        format!(
            r#"{{"kind":"person","event_id":"{id}","ts":{},"site":"s","device":"d","zone":"{zone}","count":{count}}}"#,
            START_MS + at_s * 1_000
        )
    };
    let lines = [line(1, "yard", 0, 5), line(2, "hall", 1, 5), line(3, "hall", 60, 5)];
    let told: Vec<(String, String, i64)> = outputs(&pack, "zone,class,devices\nyard,school,d2\nhall,,d\n", &lines)
        .iter()
        .filter(|it| it["level"] == "full")
        .map(|it| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&it["change"]),
                text(&it["evidence"]["threshold"]),
                weir_engine::normalise::TimeReader::new(None).read_ms(it["ts"].as_str().unwrap()).unwrap() - START_MS,
            )
        })
        .collect();
    let mut told = told;
    told.sort();
    assert_eq!(told, [("enter".to_owned(), "4".to_owned(), 10_000), ("exit".to_owned(), "3".to_owned(), 30_000)]);
}

//! Packs changed a hundred times while records stream: no record is judged by two versions, what means
//! the same keeps its state, and no alert is lost or doubled.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::{Collect, NOW_MS, parse_pack};
use weir_engine::clock::ManualClock;
use weir_engine::record::Pseudonyms;
use weir_engine::{Feed, Format, Output, Pipeline, ReloadReport, SinkSpec, Source, SourceError, SourceSpec, Summary};
use weir_rules::Pack;

const RECORDS: usize = 200_000;
const RELOADS: usize = 100;
const SITES: usize = 40;

/// 200 rules: 196 of five kinds that stay, two that tell which pack judged, and two that come and go.
fn pack(odd: bool) -> Pack {
    let mut text = format!(
        "weir: 1\npack: p\nowner: {}\npurposes: {{ road: {{ legal_basis: act 1 }} }}\nrules:\n",
        if odd { "odd" } else { "even" }
    );
    for number in 0..49 {
        let site = format!("site = 's{}'", number % SITES);
        text.push_str(&format!("  - {{ id: m{number}, kind: match, from: vehicle, purpose: road, where: [\"{site}\", speed_kmh > 94], dedupe: {{ key: [lane], for: 30s }} }}\n"));
        text.push_str(&format!("  - {{ id: w{number}, kind: window, from: vehicle, purpose: road, where: \"{site}\", key: [lane], measure: distinct(plate), window: {{ last: 20s, every: 5s }}, levels: [{{ name: l, enter: 29, for: 10s, exit: 27 }}], emit: windows }}\n"));
        text.push_str(&format!("  - {{ id: s{number}, kind: sequence, from: vehicle, purpose: road, where: \"{site}\", key: [site, plate], steps: [direction = 'in', direction = 'out'], within: 60s }}\n"));
        text.push_str(&format!("  - {{ id: a{number}, kind: absence, from: vehicle, purpose: road, where: \"{site}\", key: [site, plate], after: direction = 'in', expect: direction = 'out', within: 30s }}\n"));
    }
    for id in ["who-judged", "who-judged-too"] {
        text.push_str(&format!("  - {{ id: {id}, kind: match, from: vehicle, purpose: road, where: speed_kmh < 2, say: \"{{event_id}}\" }}\n"));
    }
    let (limit, other) = if odd { (1, "odd") } else { (3, "even") };
    text.push_str(&format!("  - {{ id: changing, kind: match, from: vehicle, purpose: road, where: speed_kmh < {limit}, say: \"{{event_id}}\" }}\n"));
    text.push_str(&format!("  - {{ id: only-{other}, kind: window, from: vehicle, purpose: road, key: [site], measure: reads, window: {{ every: 10s }}, emit: windows }}\n"));
    let pack = parse_pack(&text);
    assert_eq!(pack.rules.len(), 200);
    pack
}

fn line(number: usize) -> String {
    let ts = NOW_MS - 1_000_000 + number as i64 * 5;
    let scramble = number.wrapping_mul(2_654_435_761) >> 7;
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"e{number}\",\"ts\":{ts},\"site\":\"s{}\",\"device\":\"d{}\",\"lane\":\"{}\",\"plate\":\"陕A{:05}\",\"direction\":\"{}\",\"speed_kmh\":{}}}\n",
        scramble % SITES,
        number % 4,
        scramble % 3,
        scramble % 97,
        if (scramble >> 10) % 5 < 3 { "in" } else { "out" },
        scramble % 100
    )
}

struct Lines;

impl Source for Lines {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        for block in (0..RECORDS).collect::<Vec<_>>().chunks(200) {
            feed.send_ndjson(block.iter().map(|number| line(*number)).collect::<String>());
        }
        Ok(())
    }
}

/// Runs over all records; reloads in turn if asked to, spread over the run.
fn run(reloads: usize) -> (Vec<Output>, Summary, Vec<ReloadReport>) {
    let collect = Collect::default();
    let outputs = Arc::clone(&collect.0);
    let mut sink = SinkSpec::alerts("all", ["road"]);
    sink.streams.push(weir_engine::Stream::Windows);
    let pipeline = Pipeline::builder(weir_rules::Catalog::builtin())
        .pack(pack(false), vec![])
        .shards(2)
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .pseudonyms(Pseudonyms::from_root(&[7; 32]))
        .source(SourceSpec::new("test", Format::Ndjson), Lines)
        .sink(sink, collect)
        .build()
        .unwrap();
    let (handle, progress) = (pipeline.reload_handle(), pipeline.progress());
    let reloading = std::thread::spawn(move || {
        let packs = [pack(false), pack(true)];
        (1..=reloads)
            .map(|number| {
                while progress.received() < (number * RECORDS / (reloads + 1)) as u64 {
                    std::thread::sleep(Duration::from_micros(200));
                }
                handle.reload(&[(packs[number % 2].clone(), vec![])]).unwrap()
            })
            .collect::<Vec<_>>()
    });
    let summary = pipeline.run().unwrap();
    let reports = reloading.join().unwrap();
    (std::mem::take(&mut *outputs.lock().unwrap()), summary, reports)
}

/// Outputs of rules that mean the same under both packs, without what tells the packs and runs apart.
fn lasting(outputs: &[Output]) -> Vec<String> {
    let mut lines: Vec<String> = outputs
        .iter()
        .filter_map(|output| {
            let mut value: serde_json::Value = serde_json::from_str(&output.to_json()).unwrap();
            let rule = value["rule"].as_str().unwrap().to_owned();
            let object = value.as_object_mut().unwrap();
            object.remove("latency_us");
            object.remove("pack_version");
            (!rule.starts_with("only-") && rule != "changing").then(|| value.to_string())
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_hundred_reloads_under_load_change_nothing_that_means_the_same() {
    let (still, _, _) = run(0);
    let (outputs, summary, reports) = run(RELOADS);

    assert_eq!(reports.len(), RELOADS);
    for report in &reports {
        assert_eq!((report.kept, report.changed.as_slice()), (198, &["changing".to_owned()][..]));
        assert_eq!((report.added.len(), report.removed.len()), (1, 1));
    }
    let total = summary.total();
    assert!(total.conserved());
    assert_eq!((total.evaluated, total.late, total.duplicate), (RECORDS as u64, 0, 0));
    assert!(summary.reloads > RELOADS as u64 / 2, "{} reloads met a batch of their own", summary.reloads);

    // State kept, nothing lost, nothing doubled: all 198 rules say exactly what they say without any reload.
    let (ours, theirs) = (lasting(&outputs), lasting(&still));
    assert_eq!(ours.len(), theirs.len());
    assert!(ours == theirs, "{:?}", ours.iter().zip(&theirs).find(|(a, b)| a != b));
    let kinds: BTreeSet<char> = theirs
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["rule"].as_str()?.chars().next())
        .collect();
    assert!("mwsa".chars().all(|kind| kinds.contains(&kind)), "every kind spoke: {kinds:?}");

    // No record is judged by two versions: two rules that tell it agree, and so does the one that changes.
    let versions = [pack(false).version, pack(true).version];
    let mut judged_by: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for output in &outputs {
        let Output::Alert(alert) = output else { continue };
        if ["who-judged", "who-judged-too", "changing"].contains(&alert.rule.as_str()) {
            judged_by.entry(alert.say.as_deref().unwrap()).or_default().insert((&alert.rule, &alert.pack_version));
        }
    }
    let mut seen = BTreeSet::new();
    for (event, by) in &judged_by {
        let packs: BTreeSet<&str> = by.iter().map(|(_, version)| *version).collect();
        assert_eq!(packs.len(), 1, "{event}: {by:?}");
        let version = *packs.first().unwrap();
        seen.insert(version);
        let number: usize = event[1..].parse().unwrap();
        let speed = (number.wrapping_mul(2_654_435_761) >> 7) % 100;
        let limit = if version == versions[1] { 1 } else { 3 };
        assert_eq!(by.iter().any(|(rule, _)| *rule == "changing"), speed < limit, "{event} at {speed}: {by:?}");
        assert_eq!(by.iter().filter(|(rule, _)| rule.starts_with("who")).count(), if speed < 2 { 2 } else { 0 });
    }
    assert_eq!(seen.len(), 2, "both packs judged");
}

#[test]
fn a_pack_that_cannot_be_planned_is_refused_and_the_old_one_runs_on() {
    let pipeline = Pipeline::builder(weir_rules::Catalog::builtin())
        .pack(pack(false), vec![])
        .source(SourceSpec::new("test", Format::Ndjson), common::Blocks(vec![line(1)]))
        .build()
        .unwrap();
    let handle = pipeline.reload_handle();
    let twice = handle.reload(&[(pack(true), vec![]), (pack(true), vec![])]);
    assert!(twice.unwrap_err().to_string().contains("there are two rules"));
    let summary = pipeline.run().unwrap();
    assert_eq!((summary.reloads, summary.total().evaluated), (0, 1));
}

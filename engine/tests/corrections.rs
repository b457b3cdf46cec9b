//! Alerts that are taken back: a device corrects what it read, an authority withdraws an entry.

mod common;

use std::sync::Arc;

use common::{NOW_MS, list, parse_pack};
use weir_engine::{Output, Trial, TrialParts};
use weir_rules::{Catalog, Pack};

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 1 } }
lists:
  stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road }
rules:
  - id: seen
    kind: watchlist
    from: vehicle
    on: plate
    list: stolen
    purpose: road
    dedupe: { key: [plate, site], for: 10m }
    say: \"{plate} {hit.entry_id}\"
";

const LIST: &str = "plate,entry_id,expires\nAA7690EQ,E1,2099-01-01\nBB0001,E2,2099-01-01\n";

fn trial(pack: &Pack, csv: &str) -> Trial {
    Trial::new(TrialParts::new(Catalog::builtin(), vec![(pack.clone(), vec![list(pack, 0, csv)])])).unwrap()
}

fn read(id: u32, second: i64, car: &str, state: &str, plate: &str) -> String {
    let plate = if plate.is_empty() { String::new() } else { format!(",\"plate\":\"{plate}\"") };
    let ts = NOW_MS + second * 1000;
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"{id}\",\"ts\":{ts},\"site\":\"s\",\"device\":\"cam\",\"read_id\":\"{car}\",\"read_state\":\"{state}\"{plate}}}\n"
    )
}

/// What came: id (shortened to a letter in order of appearance), revision, change, text.
fn told(trial: &mut Trial, ids: &mut Vec<String>) -> Vec<String> {
    let mut told = Vec::new();
    for output in trial.outputs() {
        if let Output::Alert(alert) = output {
            let at = ids.iter().position(|id| *id == alert.alert_id).unwrap_or_else(|| {
                ids.push(alert.alert_id.clone());
                ids.len() - 1
            });
            let name = char::from(b'a' + at as u8);
            told.push(format!(
                "{name}{} {} {}",
                alert.revision,
                alert.change.unwrap_or("-"),
                alert.say.as_deref().unwrap_or("-")
            ));
        }
    }
    told
}

#[test]
fn a_corrected_plate_takes_its_alert_back_under_the_same_id() {
    // Axis's own table: UPDATE turns AA7690EQ into AA7690EO.
    let pack = parse_pack(PACK);
    let mut trial = trial(&pack, LIST);
    let mut ids = Vec::new();
    let mut step = |line: String| {
        trial.feed(&line);
        told(&mut trial, &mut ids)
    };
    assert_eq!(step(read(1, 0, "car1", "new", "AA7690EQ")), ["a0 - AA7690EQ E1"]);
    assert_eq!(step(read(2, 1, "car1", "update", "AA7690EQ")), [""; 0], "the same again is no news");
    assert_eq!(
        step(read(3, 2, "car1", "update", "AA7690EO")),
        ["a1 retracted retracted: the device corrected what it had read"]
    );
    assert_eq!(step(read(4, 3, "car1", "update", "AA7690EO")), [""; 0], "it has been taken back");
    assert_eq!(step(read(5, 4, "car1", "lost", "AA7690EQ")), ["a2 revised AA7690EQ E1"], "the last read counts");
    assert_eq!(step(read(6, 5, "car1", "lost", "")), [""; 0], "a record without a read corrects nothing");
    assert_eq!(step(read(7, 1, "car1", "update", "XX")), [""; 0], "what is older than the last read is out of date");
}

#[test]
fn a_correction_may_lead_to_another_entry_and_suppression_forgets_what_was_taken_back() {
    let pack = parse_pack(PACK);
    let mut trial = trial(&pack, LIST);
    let mut ids = Vec::new();
    trial.feed(&read(1, 0, "car1", "new", "AA7690EQ"));
    trial.feed(&read(2, 1, "car1", "update", "BB0001"));
    assert_eq!(
        told(&mut trial, &mut ids),
        ["a0 - AA7690EQ E1", "b0 - BB0001 E2", "a1 retracted retracted: the device corrected what it had read"]
    );
    // Within ten minutes of the alert that was taken back, the car itself comes.
    trial.feed(&read(3, 60, "car2", "new", "AA7690EQ"));
    assert_eq!(told(&mut trial, &mut ids), ["c0 - AA7690EQ E1"]);
    trial.feed(&read(4, 61, "car3", "new", "AA7690EQ"));
    assert_eq!(told(&mut trial, &mut ids), [""; 0], "a repeat");
}

#[test]
fn corrections_are_the_same_in_one_batch_and_over_a_checkpoint() {
    let pack = parse_pack(PACK);
    let lines = [
        read(1, 0, "car1", "new", "AA7690EQ"),
        read(2, 1, "car2", "new", "BB0001"),
        read(3, 2, "car1", "update", "AA7690EO"),
        read(4, 3, "car1", "update", "BB0001"),
        read(5, 4, "car2", "lost", "BB0002"),
    ];
    let mut whole = trial(&pack, LIST);
    whole.feed(&lines.concat());
    let expected = told(&mut whole, &mut Vec::new());
    assert_eq!(expected.len(), 4, "{expected:?}");
    let parts = TrialParts::new(Catalog::builtin(), vec![(pack.clone(), vec![list(&pack, 0, LIST)])]);
    let mut saved = Trial::new(parts.clone()).unwrap().checkpoint();
    let (mut came, mut ids) = (Vec::new(), Vec::new());
    for line in &lines {
        let mut trial = Trial::restore(parts.clone(), &saved).unwrap();
        trial.feed(line);
        came.extend(told(&mut trial, &mut ids));
        saved = trial.checkpoint();
        for plate in ["AA7690EQ", "BB0001", "car1"] {
            assert!(
                !saved.windows(plate.len()).any(|window| window == plate.as_bytes()),
                "{plate} is in the checkpoint"
            );
        }
    }
    assert_eq!(came, expected);
}

#[test]
fn a_withdrawn_entry_takes_its_alert_back_at_the_swap() {
    let pack = parse_pack(PACK);
    let mut trial = trial(&pack, LIST);
    let mut ids = Vec::new();
    trial.feed(&read(1, 0, "car1", "new", "AA7690EQ"));
    trial.feed(&read(2, 1, "car2", "new", "BB0001"));
    assert_eq!(told(&mut trial, &mut ids).len(), 2);
    let swap = |trial: &mut Trial, csv: &str| {
        trial.reload(&[(pack.clone(), vec![list(&pack, 0, csv)])]).unwrap();
        trial.feed("");
    };
    // E2 is still there, with another expiry: nothing to take back. E1 is gone.
    swap(&mut trial, "plate,entry_id,expires\nBB0001,E2,2098-01-01\n");
    let why = "withdrawn: the authority withdrew the entry it stood on";
    assert_eq!(told(&mut trial, &mut ids), [format!("a1 withdrawn {why}")]);
    trial.feed(&read(3, 2, "car3", "new", "AA7690EQ"));
    assert_eq!(told(&mut trial, &mut ids), [""; 0], "it is effective at once");
    swap(&mut trial, "plate,entry_id,expires\nBB0001,E2,2098-01-01\n");
    assert_eq!(told(&mut trial, &mut ids), [""; 0]);
    // Under another id the plate is another entry.
    swap(&mut trial, "plate,entry_id,expires\nBB0001,E9,2098-01-01\n");
    assert_eq!(told(&mut trial, &mut ids), [format!("b1 withdrawn {why}")]);
    assert_eq!(trial.into_summary().withdrawn, 2);
}

#[test]
fn an_unsure_match_goes_to_reviewers_only_and_its_retraction_to_those_who_heard_of_it() {
    use common::{Blocks, Collect};
    use weir_engine::clock::ManualClock;
    use weir_engine::{Format, Pipeline, SinkSpec, SourceSpec};
    let pack = parse_pack(&PACK.replace("    list: stolen\n", "    list: stolen\n    min_grade: confusable\n"));
    let (posts, desk) = (Collect::default(), Collect::default());
    let (at_posts, at_desk) = (Arc::clone(&posts.0), Arc::clone(&desk.0));
    let lines = [
        read(1, 0, "car1", "new", "AA7690EO"),
        read(2, 1, "car2", "new", "BB0001"),
        read(3, 2, "car2", "update", "BBO001"),
        read(4, 3, "car1", "update", "CC1"),
    ];
    let summary = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), vec![list(&pack, 0, LIST)])
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .source(SourceSpec::new("s", Format::Ndjson), Blocks(vec![lines.concat()]))
        .sink(SinkSpec::alerts("posts", ["road"]), posts)
        .sink(SinkSpec { reviewers: true, ..SinkSpec::alerts("desk", ["road"]) }, desk)
        .build()
        .unwrap()
        .run()
        .unwrap();
    let said = |outputs: &Arc<std::sync::Mutex<Vec<Output>>>| -> Vec<String> {
        let outputs = outputs.lock().unwrap();
        outputs
            .iter()
            .filter_map(|output| match output {
                Output::Alert(alert) => {
                    Some(format!("{} {}", alert.hit.as_ref()?.grade, alert.change.unwrap_or("new")))
                }
                _ => None,
            })
            .collect()
    };
    assert_eq!(said(&at_desk), ["confusable new", "exact new", "confusable revised", "confusable retracted"]);
    // The post was paged about BB0001 and hears that it is less sure now; of AA7690EO it never heard.
    assert_eq!(said(&at_posts), ["exact new", "confusable revised"]);
    assert_eq!(summary.alerts(), 2);
}

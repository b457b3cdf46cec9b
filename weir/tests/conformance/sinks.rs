//! What every sink is held to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{Place, eventually, metrics, text};
use crate::receivers::Receiver;
use crate::senders::{File, Sender};
use crate::sources;

/// Alerts of each part of a sink's life.
const PART: u64 = 500;

fn place(source: &str, sink: &str) -> Place {
    let place = sources::place(source);
    let config = place.read("weir.yaml").replace("emit: [alerts, windows]", "emit: [alerts]");
    place.write("weir.yaml", format!("{config}  under_test:\n    purposes: [road]\n{sink}\n"));
    place
}

fn ids(place: &Place) -> Vec<String> {
    let told = place.lines_over_kills("out.ndjson");
    distinct(told.iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()))
}

/// In the order in which they came first.
fn distinct(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

fn await_all(receiver: &dyn Receiver, place: &Place, wanted: u64) {
    let started = Instant::now();
    loop {
        let told = distinct(receiver.told()).len() as u64;
        if told == wanted && ids(place).len() as u64 == wanted {
            return;
        }
        assert!(told <= wanted, "nothing is told that nobody asked for");
        assert!(started.elapsed() < Duration::from_mins(1), "{told} of {wanted} are there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A receiver that is away, comes, goes in the middle and comes back, and weir killed in the middle: everything arrives, in order
/// and under the same ids, and no other sink waits for it.
pub fn delivers(mut receiver: Box<dyn Receiver>) {
    let mut source = File::new();
    let place = place(&source.source(), &receiver.sink());
    place.write("password", "s3cr3t");
    receiver.prepare(&place);
    sources::tries(&place, "under_test", false);
    let mut running = place.launch(&["weir.yaml"]);
    source.send(0..PART);
    eventually("another sink does not wait for it", || ids(&place).len() as u64 == PART);
    assert!(receiver.told().is_empty(), "nobody is there");
    let status = || text(&place.weir(&["status", "weir.yaml"]).stdout);
    eventually("the trouble is told", || status().contains("sink under_test: TRYING AGAIN since 20"));
    let since = "weir_trouble_since_seconds{who=\"sink under_test\",state=\"trying_again\"}";
    assert!(metrics(&place).contains_key(since), "{:?}", metrics(&place));
    receiver.start();
    await_all(receiver.as_ref(), &place, PART);
    eventually("the trouble is over", || !status().contains("TRYING AGAIN"));
    sources::tries(&place, "under_test", true);

    if receiver.can_stop() {
        source.send(PART..PART + PART / 2);
        receiver.stop();
        source.send(PART + PART / 2..2 * PART);
        std::thread::sleep(Duration::from_millis(300));
        receiver.start();
    } else {
        source.send(PART..2 * PART);
    }
    await_all(receiver.as_ref(), &place, 2 * PART);

    let outputs = |outcome: &str| format!("weir_outputs_total{{sink=\"under_test\",outcome=\"{outcome}\"}}");
    eventually("it is counted", || metrics(&place)[&outputs("delivered")] >= (2 * PART) as f64);
    let counted = metrics(&place);
    assert!(counted[&outputs("refused")] < 0.5 && !counted.contains_key(since), "{counted:?}");

    source.send(2 * PART..3 * PART);
    std::thread::sleep(Duration::from_millis(15));
    running.kill();
    running = place.launch(&["weir.yaml"]);
    await_all(receiver.as_ref(), &place, 3 * PART);
    let pid = format!("\"pid\":{},", running.id());
    eventually("it has started", || place.read("status.json").contains(&pid));

    let summary = running.stop();
    let under_test = &summary["sinks"]["under_test"];
    assert_eq!((&under_test["waiting"], &under_test["refused"]), (&0.into(), &0.into()), "{under_test}");
    let told = receiver.told();
    if receiver.is_in_order() {
        assert_eq!(distinct(told.clone()), ids(&place), "in the order of the other sink");
    }
    if receiver.tells_repeats() {
        assert_eq!(told.len() as u64, 3 * PART, "what was sent again is there once");
    }
}

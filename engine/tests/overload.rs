//! More than there is room for, from a source that cannot wait: the least urgent records go first, each of them is
//! counted, and windows say what they miss.

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{NOW_MS, list, parse_pack};
use weir_engine::clock::ManualClock;
use weir_engine::source::Class;
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::Catalog;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { p: { legal_basis: act 1 } }
lists: { stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: p } }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: p }
  - { id: crowd, kind: window, from: person, key: [zone], measure: count, window: { every: 1s }, emit: windows, purpose: p }
";

const SECONDS: i64 = 60;
const PEOPLE_PER_SECOND: usize = 2_000;
const VEHICLES_PER_SECOND: usize = 50;
const START_MS: i64 = NOW_MS - 1_000_000;

/// Sends everything as fast as it is taken, and opens the gate once half of it is gone.
struct Flood {
    gate: Sender<()>,
}

fn second(number: i64) -> Vec<String> {
    let ts = START_MS + number * 1_000;
    let of_person = |n: usize| {
        // Times as they are written by different devices, and a name that is not a kind.
        let ts = if n.is_multiple_of(2) { ts.to_string() } else { format!("\"{}\"", rfc3339(ts)) };
        format!(
            "{{\"kind\":\"person\",\"event_id\":\"p{number}-{n}\",\"ts\":{ts},\"site\":\"s\",\"device\":\"d{}\",\"zone\":\"Z\",\"person_id\":\"P{n:08}\",\"direction\":\"in\"}}",
            n % 4
        )
    };
    let of_vehicle = |n: usize| {
        format!(
            "{{\"event_id\":\"v{number}-{n}\",\"kind\": \"vehicle\",\"ts\":{ts},\"site\":\"s\",\"device\":\"d0\",\"plate\":\"陕A12345\"}}"
        )
    };
    let every = PEOPLE_PER_SECOND / VEHICLES_PER_SECOND;
    let mut lines = Vec::new();
    for n in 0..PEOPLE_PER_SECOND {
        if n.is_multiple_of(every) {
            lines.push(of_vehicle(n / every));
        }
        lines.push(of_person(n));
    }
    lines
}

fn rfc3339(ms: i64) -> String {
    weir_engine::alert::format_time(ms)
}

impl Source for Flood {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("flood");
        for number in 0..SECONDS {
            for block in second(number).chunks(100) {
                framer.push((block.join("\n") + "\n").as_bytes());
                feed.send_framed(&mut framer)?;
            }
            if number == SECONDS / 2 {
                self.gate.send(()).unwrap();
            }
        }
        Ok(())
    }
}

/// Takes nothing until the gate is open.
struct Gated {
    gate: Option<Receiver<()>>,
    outputs: Arc<Mutex<Vec<Output>>>,
}

impl Sink for Gated {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        if let Some(gate) = self.gate.take() {
            gate.recv().unwrap();
        }
        self.outputs.lock().unwrap().extend_from_slice(outputs);
        Ok(())
    }
}

/// With one output waiting for the sink at most, the third alert stops all judging until the gate opens. The clock
/// stands still, so that the pace is the first guess and the room for each class is known.
fn run(limits: &Limits, sheds: bool) -> (Vec<Output>, Summary) {
    let pack = parse_pack(PACK);
    let stolen = list(&pack, 0, "plate,entry_id,expires\n陕A12345,E1,2099-01-01\n");
    let (open, gate) = channel();
    let outputs = Arc::new(Mutex::new(Vec::new()));
    let sink =
        SinkSpec { streams: vec![Stream::Alerts, Stream::Windows, Stream::Shed], ..SinkSpec::alerts("all", ["p"]) };
    let summary = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack, vec![stolen])
        .limits(Limits { sink_queue_max: 1, ..limits.clone() })
        .shards(2)
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .source(SourceSpec { sheds, ..SourceSpec::new("gates", Format::Ndjson) }, Flood { gate: open })
        .sink(sink, Gated { gate: sheds.then_some(gate), outputs: Arc::clone(&outputs) })
        .build()
        .unwrap()
        .run()
        .unwrap();
    let outputs = outputs.lock().unwrap().clone();
    (outputs, summary)
}

#[test]
fn crowds_are_let_go_first_and_windows_say_what_they_miss() {
    let (outputs, summary) = run(&Limits::default(), true);
    let people = SECONDS as u64 * PEOPLE_PER_SECOND as u64;
    let vehicles = SECONDS as u64 * VEHICLES_PER_SECOND as u64;
    let kinds: BTreeMap<_, _> = summary.by_kind.iter().cloned().collect();
    assert_eq!((kinds["person"].received, kinds["vehicle"].received), (people, vehicles));
    assert_eq!((kinds["vehicle"].evaluated, kinds["vehicle"].shed), (vehicles, 0));
    let shed = kinds["person"].shed;
    assert!(shed > people / 4, "the room is for a few seconds of people: {shed}");
    assert_eq!(summary.shed, [("gates".to_owned(), Class::Crowd, shed)]);

    let mut told = 0;
    let mut alerts = 0;
    let mut counted = 0.0;
    let mut incomplete = 0;
    for output in &outputs {
        match output {
            Output::Alert(_) => alerts += 1,
            Output::Shed(it) => {
                assert_eq!((it.source.as_str(), it.kind.as_deref(), it.class), ("gates", Some("person"), "crowd"));
                told += it.count;
            }
            Output::Window(window) => {
                counted += window.value;
                let share = window.value / PEOPLE_PER_SECOND as f64;
                assert!((window.completeness.unwrap_or(1.0) - share).abs() < 1e-12, "{window:?}");
                incomplete += u32::from(share < 1.0);
            }
            _ => {}
        }
    }
    assert_eq!(alerts, vehicles, "whoever is on a list is told of");
    assert_eq!(told, shed, "what was let go is what the reports say");
    assert_eq!(counted as u64 + shed, people, "what is not counted was let go");
    assert!(incomplete > 0);
}

#[test]
fn without_room_for_anything_all_are_counted_by_class() {
    let (outputs, summary) =
        run(&Limits { intake_bytes_max: 100_000, batch_bytes_max: 20_000, ..Limits::default() }, true);
    let total = summary.total();
    assert_eq!(total.received, SECONDS as u64 * (PEOPLE_PER_SECOND + VEHICLES_PER_SECOND) as u64);
    assert_eq!(total.received, total.evaluated + total.shed);
    let by_class: BTreeMap<_, _> = summary.shed.iter().map(|(_, class, count)| (class.word(), *count)).collect();
    assert_eq!(by_class.keys().copied().collect::<Vec<_>>(), ["crowd", "safety"]);
    let kinds: BTreeMap<_, _> = summary.by_kind.iter().cloned().collect();
    assert_eq!((by_class["crowd"], by_class["safety"]), (kinds["person"].shed, kinds["vehicle"].shed));
    let told: u64 = outputs.iter().map(|output| if let Output::Shed(it) = output { it.count } else { 0 }).sum();
    assert_eq!(told, total.shed);
}

#[test]
fn a_source_that_can_wait_loses_nothing() {
    let (outputs, summary) =
        run(&Limits { intake_bytes_max: 100_000, batch_bytes_max: 20_000, ..Limits::default() }, false);
    let total = summary.total();
    assert_eq!((total.received, total.shed), (total.evaluated, 0));
    assert!(summary.shed.is_empty());
    assert!(outputs.iter().all(|output| match output {
        Output::Window(window) => window.completeness.is_none(),
        Output::Shed(_) => false,
        _ => true,
    }));
}

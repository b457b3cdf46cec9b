//! What windows cost: by panes in a window, by zones, by distinct persons, with the memory that they take.
//!
//! Usage: `windows [ROUNDS]` (5). Each case runs in a process of its own, cases in turn; medians are printed. One shard;
//! records are made on the way, which costs a tenth of judging them.
#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Instant;

use weir_benches::{Nothing, parse};
use weir_engine::{Feed, Format, Limits, Pipeline, SinkSpec, Source, SourceError, SourceSpec};
use weir_rules::Catalog;

/// One measurement.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    measure: &'static str,
    window: &'static str,
    zones: u64,
    persons: u64,
    /// Records in a second of event time.
    rate: u64,
    records: u64,
}

const USUAL: Case = Case {
    name: "",
    measure: "count",
    window: "every: 60s",
    zones: 1_000,
    persons: 100_000,
    rate: 10_000,
    records: 2_000_000,
};

const HOP_12: &str = "last: 60s, every: 5s";
const HOP_60: &str = "last: 60s, every: 1s";

const CASES: [Case; 16] = [
    Case { name: "no window (match that never fires)", measure: "", ..USUAL },
    Case { name: "count, 1 pane (tumbling 60 s)", ..USUAL },
    Case { name: "count, 12 panes (60 s every 5 s)", window: HOP_12, ..USUAL },
    Case { name: "count, 60 panes (60 s every 1 s)", window: HOP_60, ..USUAL },
    Case { name: "distinct, 1 pane", measure: "distinct(person_id)", ..USUAL },
    Case { name: "distinct, 12 panes", measure: "distinct(person_id)", window: HOP_12, ..USUAL },
    Case { name: "distinct, 60 panes", measure: "distinct(person_id)", window: HOP_60, ..USUAL },
    Case { name: "count, 12 panes, 10 zones", window: HOP_12, zones: 10, ..USUAL },
    Case { name: "count, 12 panes, 1,000 zones", window: HOP_12, ..USUAL },
    Case { name: "count, 12 panes, 100,000 zones", window: HOP_12, zones: 100_000, ..USUAL },
    Case {
        name: "distinct, 12 panes, 10^4 persons",
        measure: "distinct(person_id)",
        window: HOP_12,
        persons: 10_000,
        ..USUAL
    },
    Case { name: "distinct, 12 panes, 10^5 persons", measure: "distinct(person_id)", window: HOP_12, ..USUAL },
    Case {
        name: "distinct, 12 panes, 10^6 persons",
        measure: "distinct(person_id)",
        window: HOP_12,
        persons: 1_000_000,
        rate: 50_000,
        records: 6_000_000,
        ..USUAL
    },
    Case {
        name: "distinct, 12 panes, 10^7 persons",
        measure: "distinct(person_id)",
        window: HOP_12,
        persons: 10_000_000,
        rate: 200_000,
        records: 16_000_000,
        ..USUAL
    },
    Case {
        name: "approx_distinct, 12 panes, 10^5 persons",
        measure: "approx_distinct(person_id)",
        window: HOP_12,
        zones: 100,
        ..USUAL
    },
    Case { name: "occupancy, tumbling 5 s", measure: "occupancy", window: "every: 5s", ..USUAL },
];

fn main() {
    weir_memory::steady_memory();
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some("case") {
        let at: usize = args.next().and_then(|text| text.parse().ok()).expect("the number of a case");
        let (rate, state_mib) = run(&CASES[at]);
        println!("{rate} {state_mib}");
        return;
    }
    let rounds: usize = first.and_then(|text| text.parse().ok()).unwrap_or(5);
    let me = std::env::current_exe().expect("this program");
    let mut figures: Vec<Vec<(f64, f64)>> = vec![Vec::new(); CASES.len()];
    for _ in 0..rounds {
        for (at, figures) in figures.iter_mut().enumerate() {
            let output = Command::new(&me).args(["case", &at.to_string()]).output().expect("a process of its own");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut numbers = text.split_whitespace().filter_map(|text| text.parse::<f64>().ok());
            figures.push(numbers.next().zip(numbers.next()).expect("two figures"));
        }
    }
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    println!("| case | records/s (median of {rounds}; least, most) | memory above none, MiB |\n|---|---|---|");
    let without = median(figures[0].iter().map(|it| it.1).collect());
    for (case, figures) in CASES.iter().zip(figures) {
        let rates: Vec<f64> = figures.iter().map(|it| it.0).collect();
        let (least, most) = rates.iter().fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
        let state = median(figures.iter().map(|it| it.1).collect()) - without;
        println!("| {} | {:.0} ({least:.0}, {most:.0}) | {state:.0} |", case.name, median(rates));
    }
}

/// Records a second, and the peak of the process's memory, MiB.
fn run(case: &Case) -> (f64, f64) {
    let rule = if case.measure.is_empty() {
        "kind: match, from: person, where: \"zone = 'nowhere'\"".to_owned()
    } else {
        format!(
            "kind: window, from: person, key: [zone], measure: {}, window: {{ {} }}, lateness: 1s, levels: [{{ name: full, enter: 1000000000 }}]",
            case.measure, case.window
        )
    };
    let pack = parse(&format!(
        "weir: 1\npack: b\nowner: o\npurposes: {{ p: {{ legal_basis: act 1 }} }}\nrules:\n  - {{ id: r, {rule}, purpose: p }}\n"
    ));
    let limits = Limits {
        max_ahead_ms: i64::MAX,
        symbols_max: 1 << 18,
        window_groups_max: 1 << 24,
        event_ids_max: 100_000,
        ..Limits::default()
    };
    let pipeline = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack, Vec::new())
        .limits(limits)
        .shards(1)
        .source(SourceSpec::new("made", Format::Ndjson), Made { case: *case })
        .sink(SinkSpec::alerts("nothing", ["p"]), Nothing)
        .build()
        .expect("a pipeline");
    let started = Instant::now();
    let summary = pipeline.run().expect("a run");
    let seconds = started.elapsed().as_secs_f64();
    let total = summary.total();
    assert_eq!(total.evaluated, case.records, "every record is counted: {total:?}");
    assert!(summary.rules.iter().all(|rule| rule.groups_overflow == 0), "there was room for every key");
    (case.records as f64 / seconds, peak_mib())
}

/// `VmHWM` of this process.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}

/// Persons who pass one after the other, each zone and person as often as the next.
struct Made {
    case: Case,
}

/// Records made at once.
const BURST: u64 = 2_000;

impl Source for Made {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("made");
        let text = "{\"kind\":\"person\",\"event_id\":\"##########\",\"ts\":1795#########,\"site\":\"s\",\"device\":\"d\",\"zone\":\"Z#######\",\"person_id\":\"P########\",\"direction\":\"in\"}\n";
        let after = |mark: &str| text.find(mark).expect("it is there") + mark.len();
        let places = [
            (after("event_id\":\""), 10),
            (after("\"ts\":1795"), 9),
            (after("zone\":\"Z"), 7),
            (after("person_id\":\"P"), 8),
        ];
        let mut line = text.as_bytes().to_vec();
        let mut lines = Vec::new();
        let mut number = 0;
        while number < self.case.records {
            lines.clear();
            for _ in 0..BURST.min(self.case.records - number) {
                // A step through persons and zones that visits each as often as the next.
                let person = number.wrapping_mul(2_654_435_761) % self.case.persons;
                let zone = number.wrapping_mul(40_503) % self.case.zones;
                for ((at, count), value) in
                    places.into_iter().zip([number, number * 1_000 / self.case.rate, zone, person])
                {
                    let mut rest = value;
                    for place in (at..at + count).rev() {
                        line[place] = b'0' + (rest % 10) as u8;
                        rest /= 10;
                    }
                }
                lines.extend_from_slice(&line);
                number += 1;
            }
            framer.push(&lines);
            feed.send_framed(&mut framer)?;
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

//! Every measure and window shape against a plain reference, whatever the order within the
//! lateness, the size of batches and the number of shards.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{ONE_BATCH, Way, parse_pack, run};
use proptest::prelude::*;
use serde_json::Value;

const ZONES: &str = "zone,area_m2\na,2\nb,4\n";
/// (name, measure, last, every): seconds.
const RULES: &[(&str, &str, i64, i64)] = &[
    ("count", "count", 5, 5),
    ("count-hop", "count", 15, 5),
    ("reads-hop", "reads", 10, 4),
    ("sum", "sum(count)", 6, 3),
    ("avg", "avg(confidence)", 10, 5),
    ("min", "min(confidence)", 10, 5),
    ("max", "max(confidence)", 5, 5),
    ("distinct", "distinct(person_id)", 5, 5),
    ("distinct-hop", "distinct(person_id)", 15, 5),
    ("snapshot", "snapshot", 5, 5),
    ("snapshot-hop", "snapshot", 10, 5),
    ("peak", "snapshot_max", 5, 5),
    ("peak-hop", "snapshot_max", 15, 5),
    ("approx", "approx_distinct(person_id)", 5, 5),
    ("approx-hop", "approx_distinct(person_id)", 15, 5),
    ("quantile", "quantile(confidence, 0.9)", 5, 5),
    ("quantile-hop", "quantile(confidence, 0.5)", 15, 5),
    ("inflow", "inflow", 5, 5),
    ("outflow-hop", "outflow", 15, 5),
    ("net-hop", "net_flow", 10, 5),
    ("inside", "occupancy", 5, 5),
    ("session", "count", GAP_S, 0),
    ("session-distinct", "distinct(person_id)", GAP_S, 0),
];
/// Gap of the rules that count sessions, whose `every` is 0 here.
const GAP_S: i64 = 3;

fn pack() -> weir_rules::Pack {
    let mut text = "weir: 1\npack: p\nowner: o\npurposes: { safety: { legal_basis: act 1 } }\nrules:\n".to_owned();
    for (name, measure, last, every) in RULES {
        let window = match every {
            0 => format!("gap: {last}s"),
            _ if *measure == "occupancy" => format!("every: {every}s }}, occupancy: {{ learn: false"),
            _ => format!("last: {last}s, every: {every}s"),
        };
        text.push_str(&format!(
            "  - {{ id: {name}, kind: window, from: person, key: [zone], where: \"confidence > 0.1\", measure: \"{measure}\", window: {{ {window} }}, lateness: 4s, emit: windows, purpose: safety }}\n"
        ));
    }
    parse_pack(&text)
}

#[derive(Debug, Clone, Default)]
struct Seen {
    number: usize,
    ts_ms: i64,
    device: u8,
    zones: Vec<&'static str>,
    person: u8,
    count: u8,
    confidence: f64,
    delay_ms: i64,
    /// "in", "out" or nothing.
    direction: &'static str,
    /// An absolute reading of who is inside.
    reading: Option<u8>,
    /// Whether it is delivered twice.
    twice: bool,
}

const START_MS: i64 = 1_790_000_000_000;

impl Seen {
    fn line(&self) -> String {
        let zones: Vec<String> = self.zones.iter().map(|zone| format!("\"{zone}\"")).collect();
        let mut more = match self.direction {
            "" => String::new(),
            direction => format!(r#","direction":"{direction}""#),
        };
        if let Some(reading) = self.reading {
            more.push_str(&format!(r#","occupancy":{reading}"#));
        }
        format!(
            r#"{{"kind":"person","event_id":"e{}","ts":{},"site":"s","device":"d{}","zone":[{}],"person_id":"p{}","count":{},"confidence":{}{more}}}"#,
            self.number,
            START_MS + self.ts_ms,
            self.device,
            zones.join(","),
            self.person,
            self.count,
            self.confidence
        )
    }

    fn passes(&self) -> bool {
        self.confidence > 0.1
    }
}

fn seen() -> impl Strategy<Value = Vec<Seen>> {
    let zones = prop::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    let flow = (
        prop::sample::select(vec!["", "in", "in", "out"]),
        prop::option::weighted(0.1, 0_u8..9),
        prop::bool::weighted(0.1),
    );
    let one = (0_i64..40_000, 0_u8..3, zones, 0_u8..5, 1_u8..4, 0_u32..=100, 0_i64..4_000, flow);
    prop::collection::vec(one, 1..60).prop_map(|records| {
        records
            .into_iter()
            .enumerate()
            .map(|(number, (ts_ms, device, zones, person, count, confidence, delay_ms, flow))| Seen {
                number,
                ts_ms: ts_ms / 100 * 100,
                device,
                zones,
                person,
                count,
                confidence: f64::from(confidence) / 100.0,
                delay_ms,
                direction: flow.0,
                reading: flow.1,
                twice: flow.2,
            })
            .collect()
    })
}

/// (rule, zone, window end) -> value, computed the plain way.
fn reference(records: &[Seen]) -> BTreeMap<(String, String, i64), f64> {
    let mut values = BTreeMap::new();
    for (name, measure, last, every) in RULES {
        let (last_ms, every_ms) = (last * 1000, every * 1000);
        if every_ms == 0 {
            sessions(records, name, measure, &mut values);
            continue;
        }
        let mut pane_ms = last_ms;
        while last_ms % pane_ms != 0 || every_ms % pane_ms != 0 {
            pane_ms -= 1;
        }
        let mut end_ms = (START_MS - 30_000) / every_ms * every_ms;
        while end_ms < START_MS + 100_000 {
            end_ms += every_ms;
            let inside: Vec<&Seen> =
                records.iter().filter(|r| (end_ms - last_ms..end_ms).contains(&(START_MS + r.ts_ms))).collect();
            for zone in ["a", "b", "c"] {
                let here: Vec<&&Seen> = inside.iter().filter(|r| r.passes() && r.zones.contains(&zone)).collect();
                // A zone of the table has a value when a device that has seen somebody there reported.
                let watchers: BTreeSet<u8> = records
                    .iter()
                    .filter(|r| r.passes() && r.zones.contains(&zone))
                    .filter(|r| (START_MS + r.ts_ms).div_euclid(pane_ms) * pane_ms < end_ms)
                    .map(|r| r.device)
                    .collect();
                let watched = zone != "c" && inside.iter().any(|r| watchers.contains(&r.device));
                if here.is_empty() && !watched {
                    continue;
                }
                let numbers: Vec<f64> = here.iter().map(|r| r.confidence).collect();
                let people: f64 = here.iter().map(|r| f64::from(r.count)).sum();
                let value = match *measure {
                    "count" | "sum(count)" => Some(people),
                    "reads" => Some(here.len() as f64),
                    "avg(confidence)" if numbers.is_empty() => None,
                    "avg(confidence)" => Some(numbers.iter().sum::<f64>() / numbers.len() as f64),
                    "min(confidence)" => numbers.iter().copied().reduce(f64::min),
                    "max(confidence)" => numbers.iter().copied().reduce(f64::max),
                    "quantile(confidence, 0.9)" => quantile(numbers, 0.9),
                    "quantile(confidence, 0.5)" => quantile(numbers, 0.5),
                    "snapshot_max" => {
                        let mut at_once: BTreeMap<(u8, i64), f64> = BTreeMap::new();
                        for record in &here {
                            *at_once.entry((record.device, record.ts_ms)).or_default() += f64::from(record.count);
                        }
                        let of = |device| {
                            at_once.iter().filter(move |((it, _), _)| *it == device).map(|(_, people)| *people)
                        };
                        Some((0..3).map(|device| of(device).fold(0.0, f64::max)).sum())
                    }
                    "inflow" => Some(gone(&here, "in")),
                    "outflow" => Some(gone(&here, "out")),
                    "net_flow" => Some(gone(&here, "in") - gone(&here, "out")),
                    "occupancy" => Some(inside_at(records, zone, end_ms)),
                    "distinct(person_id)" | "approx_distinct(person_id)" => {
                        Some(here.iter().map(|r| r.person).collect::<BTreeSet<_>>().len() as f64)
                    }
                    _ => Some(
                        (0..3)
                            .map(|device| {
                                let instants: BTreeSet<i64> =
                                    inside.iter().filter(|r| r.device == device).map(|r| r.ts_ms).collect();
                                let observed: f64 =
                                    here.iter().filter(|r| r.device == device).map(|r| f64::from(r.count)).sum();
                                if instants.is_empty() { 0.0 } else { observed / instants.len() as f64 }
                            })
                            .sum(),
                    ),
                };
                if let Some(value) = value {
                    values.insert(((*name).to_owned(), zone.to_owned(), end_ms), value);
                }
            }
        }
    }
    values
}

/// The value at a share of all, the lower of two.
fn quantile(mut numbers: Vec<f64>, share: f64) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let rank = (numbers.len().checked_sub(1)? as f64 * share + 1e-9) as usize;
    Some(numbers[rank])
}

/// How many went one way.
fn gone(here: &[&&Seen], direction: &str) -> f64 {
    here.iter().filter(|r| r.direction == direction).map(|r| f64::from(r.count)).sum()
}

/// Who is inside a zone at a moment: instant by instant, never fewer than nobody, a reading counts from its instant on.
/// Not a number while the same reading comes again and again though people come and go: whether that is a stuck
/// counter is for `engine/tests/crowd.rs` to ask.
fn inside_at(records: &[Seen], zone: &str, end_ms: i64) -> f64 {
    let mut instants: BTreeMap<i64, Vec<&Seen>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.passes() && r.zones.contains(&zone) && START_MS + r.ts_ms < end_ms) {
        instants.entry(record.ts_ms).or_default().push(record);
    }
    let (mut inside, mut last, mut repeats, mut changed) = (0.0_f64, None, 0, 0.0_f64);
    for records in instants.values() {
        let net: f64 = records
            .iter()
            .map(|r| match r.direction {
                "in" => f64::from(r.count),
                "out" => -f64::from(r.count),
                _ => 0.0,
            })
            .sum();
        let reading = records.iter().filter_map(|r| r.reading).max();
        changed += net;
        (repeats, changed) = match reading {
            Some(_) if reading == last => (repeats + 1, changed),
            Some(_) => (0, 0.0),
            None => (repeats, changed),
        };
        last = reading.or(last);
        let may_be_stuck = reading.is_some() && repeats >= 3 && changed.abs() > 5.0;
        inside = match reading {
            _ if may_be_stuck => f64::NAN,
            Some(reading) => f64::from(reading),
            None if inside.is_nan() => f64::NAN,
            None => (inside + net).max(0.0),
        };
    }
    inside
}

/// Records of a zone without a gap between them, one after the other.
fn sessions(records: &[Seen], name: &str, measure: &str, values: &mut BTreeMap<(String, String, i64), f64>) {
    for zone in ["a", "b", "c"] {
        let mut here: Vec<&Seen> = records.iter().filter(|r| r.passes() && r.zones.contains(&zone)).collect();
        here.sort_by_key(|r| r.ts_ms);
        for session in here.chunk_by(|one, next| next.ts_ms < one.ts_ms + GAP_S * 1000) {
            let value = match measure {
                "count" => session.iter().map(|r| f64::from(r.count)).sum(),
                _ => session.iter().map(|r| r.person).collect::<BTreeSet<_>>().len() as f64,
            };
            let end_ms = START_MS + session.last().unwrap().ts_ms + GAP_S * 1000;
            values.insert((name.to_owned(), zone.to_owned(), end_ms), value);
        }
    }
}

/// What a device's clock is off by, at the worst, milliseconds.
const SKEWS_MS: [i64; 4] = [0, 0, 30_000, -20_000];

/// Wrong clocks: a device's records carry its own time, and come when they come. Each device is heard of before that,
/// the one whose clock is most behind first: one that appears later would start at the others' time.
fn with_clocks(records: &[Seen], skews_ms: [i64; 3]) -> (Vec<Seen>, Vec<Seen>) {
    let mut first: Vec<Seen> = (0..3_u8)
        .map(|device| Seen {
            number: 10_000 + usize::from(device),
            ts_ms: skews_ms[usize::from(device)],
            device,
            zones: vec!["a"],
            count: 1,
            confidence: 0.5,
            ..Seen::default()
        })
        .collect();
    first.sort_by_key(|r| r.ts_ms);
    let own_time = |r: &Seen| Seen { ts_ms: r.ts_ms + skews_ms[usize::from(r.device)], ..r.clone() };
    (first, records.iter().map(own_time).collect())
}

/// The lines in this order; some are delivered twice.
fn lines_of(records: &[Seen]) -> Vec<String> {
    records.iter().flat_map(|r| std::iter::repeat_n(r.line(), if r.twice { 2 } else { 1 })).collect()
}

fn values(outputs: &[String]) -> BTreeMap<(String, String, i64), f64> {
    outputs
        .iter()
        .map(|line| {
            let v: Value = serde_json::from_str(line).unwrap();
            let key = (
                v["rule"].as_str().unwrap().to_owned(),
                v["key"]["zone"].as_str().unwrap().to_owned(),
                v["end_ms"].as_i64().unwrap(),
            );
            (key, v["value"].as_f64().unwrap())
        })
        .collect()
}

/// Equal outputs; only what differs is shown.
fn same(got: &[String], expected: &[String]) -> Result<(), TestCaseError> {
    let (got, expected): (BTreeSet<_>, BTreeSet<_>) = (got.iter().collect(), expected.iter().collect());
    let extra: Vec<_> = got.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&got).collect();
    prop_assert!(extra.is_empty() && missing.is_empty(), "extra {extra:#?}, missing {missing:#?}");
    Ok(())
}

proptest! {
    // 480 streams under 23 rules: 11,040 cases.
    #![proptest_config(ProptestConfig::with_cases(480))]

    #[test]
    fn values_equal_the_reference(
        records in seen(),
        skews_ms in prop::array::uniform3(prop::sample::select(SKEWS_MS.to_vec())),
        lines_per_block in 1_usize..20,
        shards in 1_usize..5,
    ) {
        let pack = pack();
        let (first, records) = with_clocks(&records, skews_ms);
        let true_ms = |r: &Seen| r.ts_ms - skews_ms[usize::from(r.device)];
        let mut arrival = records.clone();
        arrival.sort_by_key(|r| (true_ms(r) + r.delay_ms, r.number));
        let lines = lines_of(&[first.clone(), arrival].concat());
        let (whole, summary) = run(&pack, vec![], ZONES, &lines, ONE_BATCH);
        prop_assert_eq!(summary.total().late, 0);
        prop_assert_eq!(summary.total().duplicate, records.iter().filter(|r| r.twice).count() as u64);
        let all = [first.clone(), records.clone()].concat();
        let (got, expected) = (values(&whole), reference(&all));
        prop_assert_eq!(got.len(), whole.len(), "each window once");
        prop_assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (key, value) in &expected {
            let tolerance = if key.0.starts_with("quantile") { 0.0101 * value } else { 1e-9 };
            prop_assert!(value.is_nan() || (got[key] - value).abs() <= tolerance, "{:?}: {} expected {}", key, got[key], value);
        }
        // In order, row by row, in random pieces and over several shards: the same bits.
        let mut in_order = records;
        in_order.sort_by_key(|r| (true_ms(r), r.number));
        let in_order = lines_of(&[first, in_order].concat());
        let single = Way { shards: 1, lines_per_block: 1, batch_bytes: 1 };
        same(&run(&pack, vec![], ZONES, &in_order, single).0, &whole)?;
        same(&run(&pack, vec![], ZONES, &lines, Way { shards, lines_per_block, batch_bytes: 2_000 }).0, &whole)?;
    }

    /// Disorder beyond the lateness: nothing is lost without a word, and cutting the input into
    /// batches in another way, or judging it on other shards, changes nothing.
    #[test]
    fn late_records_are_told_and_the_cut_does_not_matter(records in seen(), lines_per_block in 1_usize..20, shards in 2_usize..5) {
        let pack = pack();
        let lines = lines_of(&records);
        let (whole, summary) = run(&pack, vec![], ZONES, &lines, ONE_BATCH);
        let late = whole.iter().filter(|line| line.contains("late_by_ms")).count() as u64;
        prop_assert_eq!(late, summary.rules.iter().map(|rule| rule.late).sum::<u64>());
        let total = summary.total();
        prop_assert_eq!(total.evaluated + total.late + total.duplicate, lines.len() as u64);
        let single = Way { shards: 1, lines_per_block: 1, batch_bytes: 1 };
        same(&run(&pack, vec![], ZONES, &lines, single).0, &whole)?;
        same(&run(&pack, vec![], ZONES, &lines, Way { shards, lines_per_block, batch_bytes: 2_000 }).0, &whole)?;
    }
}

#[test]
fn levels_dwell_and_both_transitions_are_told() {
    let pack = parse_pack(
        "weir: 1\npack: p\nowner: o\npurposes: { safety: { legal_basis: act 1 } }\nrules:\n  - id: full\n    kind: window\n    from: person\n    key: [zone]\n    measure: count\n    per: capacity\n    window: { every: 10s }\n    lateness: 0s\n    levels: [{ name: full, enter: 0.8, for: 20s, exit: 0.5, exit_for: 20s, severity: critical }]\n    purpose: safety\n    say: \"{zone} {value} {change}\"\n",
    );
    let counts = [9, 9, 9, 4, 9, 4, 4, 1];
    let lines: Vec<String> = counts
        .iter()
        .enumerate()
        .map(|(at, count)| {
            format!(
                r#"{{"kind":"person","event_id":"{at}","ts":{},"site":"s","device":"d","zone":"a","count":{count}}}"#,
                START_MS + at as i64 * 10_000
            )
        })
        .collect();
    let (outputs, _) = run(&pack, vec![], "zone,capacity\na,10\n", &lines, ONE_BATCH);
    let told: BTreeSet<(i64, String)> = outputs
        .iter()
        .map(|line| {
            let v: Value = serde_json::from_str(line).unwrap();
            let end: jiff_free::Millis = v["window"]["end"].as_str().unwrap().into();
            (end.0 - START_MS, v["say"].as_str().unwrap().to_owned())
        })
        .collect();
    let told: Vec<(i64, &str)> = told.iter().map(|(end, say)| (*end, say.as_str())).collect();
    assert_eq!(told, [(20_000, "a 0.9 enter"), (70_000, "a 0.4 exit")]);
}

/// RFC 3339 in UTC to milliseconds, through the engine's own reader.
mod jiff_free {
    pub(crate) struct Millis(pub(crate) i64);

    impl From<&str> for Millis {
        fn from(text: &str) -> Self {
            Self(weir_engine::normalise::TimeReader::new(None).read_ms(text).unwrap())
        }
    }
}

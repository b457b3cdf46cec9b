//! Random packs over random records: weir against a plain reference that goes row by row, and, for
//! `match` and tumbling `window`, against `DataFusion` SQL over the same data. A case is one rule.

mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use reference::{Condition, Record, START_MS};
use weir_engine::rng::SeededRng;
use weir_engine::watchlist::{ListSpec, load_inline};
use weir_engine::{Limits, Output, Trial, TrialParts};
use weir_rules::{Catalog, Diagnostics, SourceFile, pack};

const PACKS: u64 = 500;
const RULES_PER_PACK: usize = 20;
const LATENESS_MS: i64 = 3_000;

/// What a rule says: lines that both sides write alike, sorted.
type Said = Vec<String>;

#[derive(Debug)]
enum Body {
    Match { dedupe: Option<i64> },
    Watchlist,
    Window { measure: &'static str, key: &'static [&'static str], last_s: i64, every_s: i64 },
    Sequence { steps: Vec<Condition>, within_s: i64 },
    Absence { after: Condition, expect: Condition, within_s: i64 },
}

#[derive(Debug)]
struct Case {
    condition: Condition,
    body: Body,
}

fn pick<T: Copy>(rng: &mut SeededRng, from: &[T]) -> T {
    from[rng.next_u64() as usize % from.len()]
}

fn case(rng: &mut SeededRng) -> Case {
    let condition = Condition::random(rng, 2);
    let key: &'static [&'static str] = pick(rng, &[&["site"][..], &["lane"], &["site", "lane"], &[]]);
    let body = match rng.next_u64() % 6 {
        0 => Body::Match { dedupe: None },
        1 => Body::Match { dedupe: Some(pick(rng, &[2, 10, 30])) },
        2 => Body::Watchlist,
        3 => {
            let measure = pick(
                rng,
                &["reads", "sum(speed_kmh)", "avg(speed_kmh)", "min(speed_kmh)", "max(speed_kmh)", "distinct(plate)"],
            );
            let (last_s, every_s) = pick(rng, &[(5, 5), (10, 10), (10, 5), (12, 4), (7, 7)]);
            Body::Window { measure, key, last_s, every_s }
        }
        4 => {
            let steps = (0..2 + rng.next_u64() % 2).map(|_| Condition::random(rng, 1)).collect();
            Body::Sequence { steps, within_s: pick(rng, &[3, 10, 60]) }
        }
        _ => Body::Absence {
            after: Condition::random(rng, 1),
            expect: Condition::random(rng, 1),
            within_s: pick(rng, &[2, 8, 30]),
        },
    };
    Case { condition, body }
}

fn rule_yaml(number: usize, case: &Case) -> String {
    let quoted = |condition: &Condition| serde_json::to_string(&condition.sql()).unwrap();
    let head = format!("  - {{ id: r{number}, from: vehicle, purpose: road, where: {}", quoted(&case.condition));
    let rest = match &case.body {
        Body::Match { dedupe } => {
            let dedupe =
                dedupe.map_or_else(String::new, |for_s| format!(", dedupe: {{ key: [site, lane], for: {for_s}s }}"));
            format!("kind: match, say: \"{{event_id}}\"{dedupe}")
        }
        Body::Watchlist => "kind: watchlist, on: plate, list: stolen, say: \"{event_id} {hit.entry_id}\"".to_owned(),
        Body::Window { measure, key, last_s, every_s } => format!(
            "kind: window, measure: \"{measure}\", key: [{}], window: {{ last: {last_s}s, every: {every_s}s }}, lateness: 3s, emit: windows",
            key.join(", ")
        ),
        Body::Sequence { steps, within_s } => format!(
            "kind: sequence, key: [site, plate], steps: [{}], within: {within_s}s, lateness: 3s",
            steps.iter().map(quoted).collect::<Vec<_>>().join(", ")
        ),
        Body::Absence { after, expect, within_s } => format!(
            "kind: absence, key: [site, plate], after: {}, expect: {}, within: {within_s}s, lateness: 3s",
            quoted(after),
            quoted(expect)
        ),
    };
    format!("{head}, {rest} }}\n")
}

const LIST: &str = r#"{"plate":"陕A00001","entry_id":"E1","expires":"2099-01-01"}
{"plate":"陕A00002","entry_id":"E2","expires":"2026-09-21T14:13:40Z"}
"#;
/// When E2 expires.
const E2_EXPIRES_MS: i64 = START_MS + 20_000;

/// What weir says to each rule, fed in random pieces.
fn weir(text: &str, arrival: &[Record], rng: &mut SeededRng) -> BTreeMap<String, Said> {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", text), &Catalog::builtin(), &mut diagnostics).unwrap();
    // A random condition may hold never or always, and two may mean the same; nothing else may be wrong.
    let real: Vec<String> = diagnostics
        .iter()
        .filter(|found| !["WR0217", "WR0231", "WR0232", "WR0233", "WR0309", "WR0310"].contains(&found.code.id))
        .map(|found| format!("{} {}", found.code.id, found.message))
        .collect();
    assert!(real.is_empty(), "{real:?}\n{text}");
    let list = load_inline("stolen", LIST, ListSpec::new(&pack, &pack.lists[0]), &Limits::default(), 0).unwrap().0;
    let parts = TrialParts::new(Catalog::builtin(), vec![(pack, vec![Arc::new(list)])]);
    let mut trial = Trial::new(parts).unwrap();
    let mut rest = arrival;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(1 + rng.next_u64() as usize % rest.len());
        trial.feed(&piece.iter().map(|record| record.line() + "\n").collect::<String>());
        rest = later;
    }
    trial.settle(None);
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    for output in trial.outputs() {
        let (rule, line) = match &output {
            Output::Alert(alert) => (
                alert.rule.clone(),
                [Some(alert.ts.as_str()), alert.say.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "),
            ),
            Output::Window(window) => {
                let key: Vec<&str> = window.key.values().map(String::as_str).collect();
                (window.rule.clone(), reference::window_line(&key.join(" "), window.end_ms, window.value))
            }
            Output::Late(late) => panic!("nothing is late: {late:?}"),
            Output::DeadLetter(letter) => panic!("{letter:?}"),
            Output::Proposal(_) | Output::Notice(_) | Output::Shed(_) => continue,
        };
        said.entry(rule).or_default().push(line);
    }
    for lines in said.values_mut() {
        lines.sort();
    }
    said
}

/// What the reference says.
fn expected(case: &Case, arrival: &[Record]) -> Said {
    let passes = |record: &Record| case.condition.holds(record) == Some(true);
    let passing: Vec<&Record> = arrival.iter().filter(|record| passes(record)).collect();
    let mut said: Said = match &case.body {
        Body::Match { dedupe } => reference::matches(&passing, *dedupe),
        Body::Watchlist => passing
            .iter()
            .filter_map(|record| match record.plate.as_deref()? {
                "陕A00001" => Some(record.said("E1")),
                "陕A00002" if record.ts_ms < E2_EXPIRES_MS => Some(record.said("E2")),
                _ => None,
            })
            .collect(),
        Body::Window { measure, key, last_s, every_s } => {
            reference::windows(&passing, measure, key, last_s * 1000, every_s * 1000)
        }
        Body::Sequence { steps, within_s } => reference::sequence(&passing, steps, within_s * 1000),
        Body::Absence { after, expect, within_s } => reference::absence(&passing, after, expect, within_s * 1000),
    };
    said.sort();
    said
}

/// The records as a table.
fn table(records: &[Record]) -> RecordBatch {
    let text = |of: fn(&Record) -> Option<&str>| Arc::new(records.iter().map(of).collect::<StringArray>());
    let number = |of: fn(&Record) -> Option<f64>| Arc::new(records.iter().map(of).collect::<Float64Array>());
    let schema = Schema::new(vec![
        Field::new("event_id", DataType::Utf8, true),
        Field::new("ts_ms", DataType::Int64, true),
        Field::new("site", DataType::Utf8, true),
        Field::new("lane", DataType::Utf8, true),
        Field::new("direction", DataType::Utf8, true),
        Field::new("plate", DataType::Utf8, true),
        Field::new("speed_kmh", DataType::Float64, true),
        Field::new("confidence", DataType::Float64, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            text(|record| Some(&record.event_id)),
            Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.ts_ms))),
            text(|record| Some(&record.site)),
            text(|record| record.lane.as_deref()),
            text(|record| record.direction.as_deref()),
            text(|record| record.plate.as_deref()),
            number(|record| record.speed),
            number(|record| record.confidence),
        ],
    )
    .unwrap()
}

/// What SQL says, for the rules it can express.
async fn sql(case: &Case, context: &SessionContext) -> Option<Said> {
    let condition = case.condition.sql();
    let query = match &case.body {
        Body::Match { dedupe: None } => format!("select event_id, ts_ms from records where {condition}"),
        Body::Window { measure, key, last_s, every_s } if last_s == every_s => {
            let value = match *measure {
                "reads" => "cast(count(*) as double)".to_owned(),
                "distinct(plate)" => "cast(count(distinct plate) as double)".to_owned(),
                // A sum of nothing is 0 here and null there.
                "sum(speed_kmh)" => "coalesce(sum(speed_kmh), 0.0)".to_owned(),
                measure => measure.to_owned(),
            };
            let every_ms = every_s * 1000;
            let key_text = match key {
                [] => "''".to_owned(),
                [one] => (*one).to_owned(),
                // The engine names the parts of a key in the order of their names.
                _ => "lane || ' ' || site".to_owned(),
            };
            let there: Vec<String> = key.iter().map(|name| format!(" and {name} is not null")).collect();
            let keys = there.concat();
            format!(
                "select k, (w + 1) * {every_ms} as e, v from (select {key_text} as k, ts_ms / {every_ms} as w, {value} as v \
                 from records where ({condition}){keys} group by 1, 2) where v is not null"
            )
        }
        _ => return None,
    };
    let batches = context.sql(&query).await.unwrap_or_else(|error| panic!("{error}: {query}")).collect().await.unwrap();
    let mut said = Vec::new();
    for batch in batches {
        let texts = datafusion::arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        let texts = texts.as_any().downcast_ref::<StringArray>().unwrap();
        let times = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        for row in 0..batch.num_rows() {
            said.push(match &case.body {
                Body::Window { .. } => {
                    let values = batch.column(2).as_any().downcast_ref::<Float64Array>().unwrap();
                    reference::window_line(texts.value(row), times.value(row), values.value(row))
                }
                _ => format!("{} {}", reference::time_text(times.value(row)), texts.value(row)),
            });
        }
    }
    said.sort();
    Some(said)
}

#[test]
fn random_packs_say_what_the_reference_and_sql_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut cases, mut against_sql, mut spoke) = (0, 0, 0);
    for seed in 0..PACKS {
        let mut rng = SeededRng::new(seed);
        let mut arrival = reference::records(&mut rng);
        reference::shuffle(&mut arrival, LATENESS_MS, &mut rng);
        let all: Vec<Case> = (0..RULES_PER_PACK).map(|_| case(&mut rng)).collect();
        let rules: String = all.iter().enumerate().map(|(number, case)| rule_yaml(number, case)).collect();
        let text = format!(
            "weir: 1\npack: p\nowner: o\npurposes: {{ road: {{ legal_basis: act 1 }} }}\nlists: {{ stolen: {{ kind: stolen_vehicle, from: s.csv, key: plate, purpose: road }} }}\nrules:\n{rules}"
        );
        let said = weir(&text, &arrival, &mut rng);
        let context = SessionContext::new();
        context.register_batch("records", table(&arrival)).unwrap();
        for (number, case) in all.iter().enumerate() {
            let ours = said.get(&format!("r{number}")).cloned().unwrap_or_default();
            let reference = expected(case, &arrival);
            assert_eq!(ours, reference, "weir, reference; seed {seed}, {}", rule_yaml(number, case));
            if let Some(sql) = runtime.block_on(sql(case, &context)) {
                assert_eq!(ours, sql, "weir, SQL; seed {seed}, {}", rule_yaml(number, case));
                against_sql += 1;
            }
            cases += 1;
            spoke += usize::from(!ours.is_empty());
        }
    }
    println!("{cases} cases, {against_sql} against SQL too, {spoke} in which the rule spoke");
    assert!(cases >= 10_000 && against_sql >= 2_000 && spoke >= 5_000, "{cases} {against_sql} {spoke}");
}

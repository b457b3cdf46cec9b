//! The plain reference: records as structs, conditions as trees, every rule kind in a few loops. It
//! shares nothing with the engine.
#![allow(unreachable_pub, missing_docs, reason = "a test's own module")]
#![allow(clippy::manual_is_multiple_of, clippy::float_cmp, reason = "lots are drawn, and equal means equal")]

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::rng::SeededRng;

pub const START_MS: i64 = 1_790_000_000_000;
/// Records of one pack.
const RECORDS: u64 = 90;
const SPAN_MS: u64 = 60_000;

#[derive(Debug, Clone)]
pub struct Record {
    pub event_id: String,
    pub ts_ms: i64,
    pub site: String,
    pub device: String,
    pub lane: Option<String>,
    pub direction: Option<String>,
    pub plate: Option<String>,
    pub speed: Option<f64>,
    pub confidence: Option<f64>,
}

impl Record {
    pub fn line(&self) -> String {
        serde_json::json!({
            "kind": "vehicle", "event_id": self.event_id, "ts": self.ts_ms, "site": self.site, "device": self.device,
            "lane": self.lane, "direction": self.direction, "plate": self.plate, "speed_kmh": self.speed,
            "confidence": self.confidence,
        })
        .to_string()
    }

    pub fn said(&self, more: &str) -> String {
        format!("{} {} {more}", time_text(self.ts_ms), self.event_id)
    }

    fn symbol(&self, column: &str) -> Option<&str> {
        match column {
            "site" => Some(&self.site),
            "lane" => self.lane.as_deref(),
            "direction" => self.direction.as_deref(),
            _ => unreachable!("{column}"),
        }
    }

    fn number(&self, column: &str) -> Option<f64> {
        if column == "speed_kmh" { self.speed } else { self.confidence }
    }
}

pub fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

pub fn window_line(key: &str, end_ms: i64, value: f64) -> String {
    // No sum is -0.
    format!("{end_ms} [{key}] {:.4}", value + 0.0)
}

fn one_of<'a>(rng: &mut SeededRng, from: &[&'a str]) -> &'a str {
    from[rng.next_u64() as usize % from.len()]
}

pub fn records(rng: &mut SeededRng) -> Vec<Record> {
    let mut records: Vec<Record> = (0..RECORDS)
        .map(|number| {
            // Coarse times and few values, so that ties and repeats are common.
            let mut sometimes = |text: String| (rng.next_u64() % 5 > 0).then_some(text);
            let plate = sometimes(String::new()).map(|_| format!("陕A0000{}", rng.next_u64() % 4));
            let lane = (rng.next_u64() % 5 > 0).then(|| one_of(rng, &["1", "2", "3"]).to_owned());
            let direction = (rng.next_u64() % 6 > 0).then(|| one_of(rng, &["in", "out"]).to_owned());
            let speed = (rng.next_u64() % 6 > 0).then(|| (rng.next_u64() % 30) as f64 * 5.0 + 0.25);
            let confidence = (rng.next_u64() % 8 > 0).then(|| (rng.next_u64() % 21) as f64 / 20.0);
            Record {
                event_id: format!("e{number}"),
                ts_ms: START_MS + (rng.next_u64() % SPAN_MS / 500 * 500) as i64,
                site: one_of(rng, &["a", "b"]).to_owned(),
                device: one_of(rng, &["d1", "d2"]).to_owned(),
                lane,
                direction,
                plate,
                speed,
                confidence,
            }
        })
        .collect();
    records.sort_by_key(|record| record.ts_ms);
    records
}

/// Out of order, but none more than the lateness behind.
pub fn shuffle(records: &mut Vec<Record>, lateness_ms: i64, rng: &mut SeededRng) {
    let mut keyed: Vec<(i64, Record)> = std::mem::take(records)
        .into_iter()
        .map(|record| (record.ts_ms + (rng.unit() * lateness_ms as f64) as i64, record))
        .collect();
    keyed.sort_by_key(|(at_ms, _)| *at_ms);
    records.extend(keyed.into_iter().map(|(_, record)| record));
}

#[derive(Debug, Clone)]
pub enum Condition {
    Symbol(&'static str, &'static str, bool),
    SymbolIn(&'static str, Vec<&'static str>),
    Like(&'static str, char),
    Number(&'static str, &'static str, f64),
    Between(&'static str, f64, f64),
    Sum(f64, &'static str, f64),
    Null(&'static str, bool),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    pub fn random(rng: &mut SeededRng, depth: usize) -> Self {
        let symbols = ["site", "lane", "direction"];
        let numbers = ["speed_kmh", "confidence"];
        let column = |rng: &mut SeededRng| symbols[rng.next_u64() as usize % 3];
        let values = |column: &str| -> &'static [&'static str] {
            match column {
                "site" => &["a", "b", "c"],
                "lane" => &["1", "2", "3"],
                _ => &["in", "out"],
            }
        };
        let scale = |column: &str| if column == "speed_kmh" { 150.0 } else { 1.0 };
        match rng.next_u64() % if depth == 0 { 7 } else { 12 } {
            0 | 1 => {
                let column = column(rng);
                Self::Symbol(column, one_of(rng, values(column)), rng.next_u64() % 4 > 0)
            }
            2 => {
                let column = column(rng);
                let some: BTreeSet<&str> = (0..2).map(|_| one_of(rng, values(column))).collect();
                Self::SymbolIn(column, some.into_iter().collect())
            }
            3 => Self::Like(column(rng), if rng.next_u64() % 2 == 0 { 'o' } else { '1' }),
            4 => {
                let column = numbers[rng.next_u64() as usize % 2];
                let number = (rng.unit() * 20.0).round() / 20.0 * scale(column);
                Self::Number(column, one_of(rng, &["<", "<=", ">", ">=", "=", "<>"]), number)
            }
            5 => {
                let column = numbers[rng.next_u64() as usize % 2];
                let low = (rng.unit() * 10.0).round() / 20.0 * scale(column);
                Self::Between(column, low, low + 0.4 * scale(column))
            }
            6 => {
                let all = ["lane", "direction", "speed_kmh", "confidence"];
                Self::Null(all[rng.next_u64() as usize % 4], rng.next_u64() % 3 == 0)
            }
            7 => Self::Sum((rng.next_u64() % 50) as f64, one_of(rng, &["<", ">"]), 90.0),
            8 => Self::Not(Box::new(Self::random(rng, depth - 1))),
            9 => Self::Or(Box::new(Self::random(rng, depth - 1)), Box::new(Self::random(rng, depth - 1))),
            _ => Self::And(Box::new(Self::random(rng, depth - 1)), Box::new(Self::random(rng, depth - 1))),
        }
    }

    pub fn sql(&self) -> String {
        match self {
            Self::Symbol(column, value, equal) => format!("{column} {} '{value}'", if *equal { "=" } else { "<>" }),
            Self::SymbolIn(column, values) => {
                let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("{column} in ({})", values.join(", "))
            }
            Self::Like(column, c) => format!("{column} like '{c}%'"),
            Self::Number(column, op, number) => format!("{column} {op} {number:?}"),
            Self::Between(column, low, high) => format!("{column} between {low:?} and {high:?}"),
            Self::Sum(number, op, limit) => format!("speed_kmh + {number:?} * confidence {op} {limit:?}"),
            Self::Null(column, null) => format!("{column} is {}null", if *null { "" } else { "not " }),
            Self::And(a, b) => format!("({} and {})", a.sql(), b.sql()),
            Self::Or(a, b) => format!("({} or {})", a.sql(), b.sql()),
            Self::Not(a) => format!("not ({})", a.sql()),
        }
    }

    /// In three values, as SQL has it.
    pub fn holds(&self, record: &Record) -> Option<bool> {
        let compare = |a: f64, op: &str, b: f64| match op {
            "<" => a < b,
            "<=" => a <= b,
            ">" => a > b,
            ">=" => a >= b,
            "=" => a == b,
            _ => a != b,
        };
        match self {
            Self::Symbol(column, value, equal) => Some((record.symbol(column)? == *value) == *equal),
            Self::SymbolIn(column, values) => Some(values.contains(&record.symbol(column)?)),
            Self::Like(column, c) => Some(record.symbol(column)?.starts_with(*c)),
            Self::Number(column, op, number) => Some(compare(record.number(column)?, op, *number)),
            Self::Between(column, low, high) => {
                let value = record.number(column)?;
                Some(*low <= value && value <= *high)
            }
            Self::Sum(number, op, limit) => Some(compare(record.speed? + number * record.confidence?, op, *limit)),
            Self::Null(column, null) => {
                let there = match *column {
                    "speed_kmh" | "confidence" => record.number(column).is_some(),
                    column => record.symbol(column).is_some(),
                };
                Some(there != *null)
            }
            Self::And(a, b) => match (a.holds(record), b.holds(record)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.holds(record), b.holds(record)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(a) => Some(!a.holds(record)?),
        }
    }
}

/// In order of arrival: a repeat less than `dedupe` seconds from an alert of its site and lane is held back.
pub fn matches(passing: &[&Record], dedupe_s: Option<i64>) -> Vec<String> {
    let mut told: Vec<(&str, Option<&str>, i64)> = Vec::new();
    let mut said = Vec::new();
    for record in passing {
        let lane = record.lane.as_deref();
        let repeat = dedupe_s.is_some_and(|for_s| {
            told.iter().any(|(site, l, ts_ms)| {
                *site == record.site && *l == lane && (ts_ms - record.ts_ms).abs() < for_s * 1000
            })
        });
        if !repeat {
            told.push((&record.site, lane, record.ts_ms));
            said.push(format!("{} {}", time_text(record.ts_ms), record.event_id));
        }
    }
    said
}

pub fn windows(passing: &[&Record], measure: &str, key: &[&str], last_ms: i64, every_ms: i64) -> Vec<String> {
    let mut said = Vec::new();
    let mut end_ms = START_MS / every_ms * every_ms;
    while end_ms < START_MS + 2 * SPAN_MS as i64 {
        end_ms += every_ms;
        let mut groups: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
        for record in passing.iter().filter(|record| (end_ms - last_ms..end_ms).contains(&record.ts_ms)) {
            let mut names = key.to_vec();
            names.sort_unstable();
            let parts: Option<Vec<&str>> = names.iter().map(|column| record.symbol(column)).collect();
            if let Some(parts) = parts {
                groups.entry(parts.join(" ")).or_default().push(record);
            }
        }
        for (key, group) in groups {
            let numbers: Vec<f64> = group.iter().filter_map(|record| record.speed).collect();
            let value = match measure {
                "reads" => Some(group.len() as f64),
                "sum(speed_kmh)" => Some(numbers.iter().sum()),
                "avg(speed_kmh)" => (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64),
                "min(speed_kmh)" => numbers.iter().copied().reduce(f64::min),
                "max(speed_kmh)" => numbers.iter().copied().reduce(f64::max),
                _ => {
                    let plates: BTreeSet<&str> = group.iter().filter_map(|record| record.plate.as_deref()).collect();
                    Some(plates.len() as f64)
                }
            };
            said.extend(value.map(|value| window_line(&key, end_ms, value)));
        }
    }
    said
}

type Moments<'a> = BTreeMap<i64, Vec<&'a Record>>;

/// Records by site and plate, then by time.
fn by_key<'a>(passing: &[&'a Record]) -> BTreeMap<(&'a str, &'a str), Moments<'a>> {
    let mut keys: BTreeMap<(&str, &str), Moments<'_>> = BTreeMap::new();
    for record in passing {
        if let Some(plate) = &record.plate {
            keys.entry((&record.site, plate)).or_default().entry(record.ts_ms).or_default().push(record);
        }
    }
    keys
}

/// Every way to choose the steps is followed; the engine keeps one number a step instead.
pub fn sequence(passing: &[&Record], steps: &[Condition], within_ms: i64) -> Vec<String> {
    let mut said = Vec::new();
    for moments in by_key(passing).into_values() {
        // Steps taken, and when the first was.
        let mut ways: BTreeSet<(usize, i64)> = BTreeSet::new();
        for (ts_ms, here) in moments {
            let takes = |step: usize| here.iter().any(|record| steps[step].holds(record) == Some(true));
            let mut longer: Vec<(usize, i64)> = ways
                .iter()
                .filter(|(taken, start_ms)| ts_ms - start_ms <= within_ms && takes(*taken))
                .map(|(taken, start_ms)| (taken + 1, *start_ms))
                .collect();
            if longer.iter().any(|(taken, _)| *taken == steps.len()) {
                ways.clear();
                // Of several records of that moment, any may be the one that is named.
                said.push(time_text(ts_ms));
                continue;
            }
            if takes(0) {
                longer.push((1, ts_ms));
            }
            ways.extend(longer);
        }
    }
    said
}

/// Looks ahead in the finished history, where the engine waits.
pub fn absence(passing: &[&Record], after: &Condition, expect: &Condition, within_ms: i64) -> Vec<String> {
    let mut said = Vec::new();
    for moments in by_key(passing).into_values() {
        let times = |condition: &Condition| -> Vec<i64> {
            moments
                .iter()
                .filter(|(_, here)| here.iter().any(|record| condition.holds(record) == Some(true)))
                .map(|(ts_ms, _)| *ts_ms)
                .collect()
        };
        let (happened, answered) = (times(after), times(expect));
        let mut free_from_ms = i64::MIN;
        for ts_ms in happened {
            if ts_ms < free_from_ms {
                continue;
            }
            match answered.iter().find(|answer_ms| **answer_ms > ts_ms && **answer_ms <= ts_ms + within_ms) {
                Some(answer_ms) => free_from_ms = *answer_ms,
                None => {
                    said.push(time_text(ts_ms + within_ms));
                    free_from_ms = ts_ms + within_ms + 1;
                }
            }
        }
    }
    said
}

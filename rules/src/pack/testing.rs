//! Tests of rules, as they stand in a pack: what happens in virtual time, and which alerts follow.
//!
//! This is the model and its parser; the engine runs them, each five ways. A test is exact: an
//! alert too many fails. Events and lists are data of their author, never of a person.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use regex::Regex;

use super::ListDecl;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, did_you_mean};
use crate::schema::{Catalog, Kind};
use crate::units::{format_duration_ms, parse_duration_ms};
use crate::yaml::{MapReader, Node, Value};

/// Most events of one test, those of series included.
pub const TEST_EVENTS_MAX: usize = 20_000;
/// Most tests of one file.
const TESTS_MAX: usize = 10_000;
/// Start of virtual time where a test says nothing.
const START_DEFAULT: &str = "2026-01-01T00:00:00Z";
/// What happens to records that do not say where they come from.
const DEFAULTS: [(&str, &str); 2] = [("site", "test-site"), ("device", "test-device")];

/// One test.
#[derive(Debug, Clone)]
pub struct PackTest {
    /// The file it stands in.
    pub file: Arc<SourceFile>,
    /// Where its name stands.
    pub span: Range<usize>,
    /// A sentence.
    pub name: String,
    /// The rules whose alerts are compared, by id.
    pub rules: Vec<String>,
    /// Lists by name, each as NDJSON.
    pub lists: BTreeMap<String, String>,
    /// Zones as CSV; empty for none.
    pub zones: String,
    /// Start of virtual time, epoch milliseconds.
    pub start_ms: i64,
    /// End of virtual time, from the start.
    pub until_ms: Option<i64>,
    /// Records in order of time.
    pub events: Vec<TestEvent>,
    /// Alerts that must come, and no others.
    pub expect: Vec<Expectation>,
}

/// One record of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestEvent {
    /// From the start.
    pub at_ms: i64,
    /// The record as one line of canonical JSON.
    pub line: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// One alert that must come.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Where it stands.
    pub span: Range<usize>,
    /// Event time of the alert, from the start.
    pub at_ms: Option<i64>,
    /// Fields of the alert, by name with dots: `severity`, `hit.entry_id`, `evidence.x`.
    pub fields: Vec<(String, Wanted)>,
}

/// What a field must be.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This text, or this number if both are numbers.
    Text(String),
    /// A text in which this matches.
    Matches(Regex),
}

impl Expectation {
    /// As a person would write it.
    pub fn text(&self) -> String {
        let at = self.at_ms.map(|at_ms| format!("at: {}", format_duration_ms(at_ms)));
        let fields = self.fields.iter().map(|(name, wanted)| match wanted {
            Wanted::Text(text) => format!("{name}: {text}"),
            Wanted::Matches(regex) => format!("{name}: /{}/", regex.as_str()),
        });
        format!("{{ {} }}", at.into_iter().chain(fields).collect::<Vec<_>>().join(", "))
    }
}

/// Fields of an alert that an expectation may name; `hit.*`, `window.*` and `evidence.*` besides.
const ALERT_FIELDS: &[&str] = &[
    "rule",
    "purpose",
    "severity",
    "review",
    "kind",
    "ts",
    "site",
    "zone",
    "device",
    "value",
    "level",
    "change",
    "say",
    "completeness",
    "revision",
];

pub(super) struct TestParser<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) catalog: &'a Catalog,
    pub(super) lists: &'a [ListDecl],
    /// Ids of all rules of the pack, whether they compiled or not.
    pub(super) rules: &'a [String],
}

impl TestParser<'_> {
    pub(super) fn parse_all(&self, nodes: &[Node], diagnostics: &mut Diagnostics) -> Vec<PackTest> {
        if let Some(node) = nodes.get(TESTS_MAX) {
            diagnostics.push(self.bad(node.span.clone(), format!("a file holds at most {TESTS_MAX} tests")));
        }
        nodes.iter().take(TESTS_MAX).filter_map(|node| self.parse(node, diagnostics)).collect()
    }

    fn bad(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&codes::BAD_TEST, self.file, span, message)
    }

    fn parse(&self, node: &Node, diagnostics: &mut Diagnostics) -> Option<PackTest> {
        let mut map = MapReader::open(self.file, node, "a test", diagnostics)?;
        let name = map.require_text("name", "a sentence that says what must be", diagnostics);
        let rules = self.parse_rules(&mut map, diagnostics);
        let lists = self.parse_lists(&mut map, diagnostics);
        let zones = self.parse_zones(&mut map, diagnostics);
        let start_ms = map
            .take_parsed("start", diagnostics, |text| {
                text.parse::<jiff::Timestamp>()
                    .map(jiff::Timestamp::as_millisecond)
                    .map_err(|_| format!("`{text}` is not a time with its zone, such as {START_DEFAULT}"))
            })
            .unwrap_or_else(|| START_DEFAULT.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond));
        let until_ms = map.take_duration_ms("until", diagnostics);
        let mut events = Vec::new();
        for node in map.take_list("events", diagnostics).unwrap_or_default() {
            self.parse_event(node, start_ms, &mut events, diagnostics);
        }
        for node in map.take_list("series", diagnostics).unwrap_or_default() {
            self.parse_series(node, start_ms, &mut events, diagnostics);
        }
        events.sort_by_key(|event| event.at_ms);
        if events.len() > TEST_EVENTS_MAX {
            diagnostics
                .push(self.bad(map.head(), format!("the test has {} events; at most {TEST_EVENTS_MAX}", events.len())));
        }
        if !map.has("expect") {
            map.missing("expect", "the alerts that must come; `expect: []` for none", diagnostics);
        }
        let expect = map
            .take_list("expect", diagnostics)
            .unwrap_or_default()
            .iter()
            .filter_map(|node| self.parse_expectation(node, diagnostics))
            .collect();
        map.finish(diagnostics);
        let (name, name_node) = name?;
        Some(PackTest {
            file: Arc::clone(self.file),
            span: name_node.span.clone(),
            name: name.to_owned(),
            rules,
            lists,
            zones,
            start_ms,
            until_ms,
            events,
            expect,
        })
    }

    fn parse_rules(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
        if !map.has("rule") {
            map.missing("rule", "the id of the rule that is tested, or several", diagnostics);
        }
        let mut rules = Vec::new();
        for (id, node) in map.take_texts("rule", diagnostics).unwrap_or_default() {
            if !self.rules.iter().any(|known| known == id) {
                diagnostics.push(
                    self.bad(node.span.clone(), format!("the pack has no rule `{id}`"))
                        .maybe_help(did_you_mean(id, self.rules.iter().map(String::as_str))),
                );
            }
            rules.push(id.to_owned());
        }
        rules
    }

    fn parse_lists(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> BTreeMap<String, String> {
        let mut lists = BTreeMap::new();
        let Some(mut declared) = map.take_map("lists", diagnostics) else { return lists };
        for (name, key, node) in declared.entries() {
            let Some(list) = self.lists.iter().find(|list| list.id == name) else {
                diagnostics.push(
                    self.bad(key.span.clone(), format!("the pack declares no list `{name}`"))
                        .maybe_help(did_you_mean(name, self.lists.iter().map(|list| list.id.as_str()))),
                );
                continue;
            };
            let Value::List(entries) = &node.value else {
                diagnostics.push(self.bad(
                    node.span.clone(),
                    format!("entries are a list, such as [{{ {}: ..., entry_id: E1, expires: 2030-01-01 }}]", list.key),
                ));
                continue;
            };
            let mut text = String::new();
            for entry in entries {
                let Value::Map(fields) = &entry.value else {
                    diagnostics.push(self.bad(entry.span.clone(), "an entry is a map"));
                    continue;
                };
                for needed in [list.key.as_str(), "entry_id", "expires"] {
                    if !fields.iter().any(|(key, _)| key.text() == Some(needed)) {
                        diagnostics.push(self.bad(entry.span.clone(), format!("the entry has no `{needed}`")));
                    }
                }
                text.push_str(&json_of(entry).to_string());
                text.push('\n');
            }
            lists.insert(name.to_owned(), text);
        }
        lists
    }

    fn parse_zones(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> String {
        let Some(mut zones) = map.take_map("zones", diagnostics) else { return String::new() };
        let mut text = "zone,area_m2,capacity,daily_capacity,class,parent,timezone,open,devices\n".to_owned();
        for (name, key, node) in zones.entries() {
            let Some(mut zone) = MapReader::open(self.file, node, format!("zone `{name}`"), diagnostics) else {
                continue;
            };
            if name.contains([',', '"', '\n']) {
                diagnostics.push(self.bad(key.span.clone(), "the name of a zone holds no comma, quote or line feed"));
            }
            let mut figure = |key| {
                let place = zone.place_of(key);
                let figure = zone.take_number(key, diagnostics);
                if figure.is_some_and(|figure| figure <= 0.0) {
                    diagnostics.push(self.bad(place, format!("`{key}` is above 0")));
                }
                figure.map_or_else(String::new, |figure| figure.to_string())
            };
            let figures = ["area_m2", "capacity", "daily_capacity"].map(&mut figure).join(",");
            let words = ["class", "parent", "timezone", "open"]
                .map(|key| zone.take_text(key, diagnostics).map_or("", |(text, _)| text))
                .join(",");
            let devices: Vec<&str> =
                zone.take_texts("devices", diagnostics).unwrap_or_default().into_iter().map(|(text, _)| text).collect();
            zone.finish(diagnostics);
            text.push_str(&format!("{name},{figures},{words},{}\n", devices.join(";")));
        }
        text
    }

    /// `{ at: 30s, vehicle: { plate: ..., site: ... } }`
    fn parse_event(&self, node: &Node, start_ms: i64, events: &mut Vec<TestEvent>, diagnostics: &mut Diagnostics) {
        let Some(mut map) = MapReader::open(self.file, node, "an event", diagnostics) else { return };
        let at_ms = take_at(&mut map, diagnostics);
        let record = self.take_record(&mut map, diagnostics);
        map.finish(diagnostics);
        let (Some((kind, fields)), Some(at_ms)) = (record, at_ms) else { return };
        let number = events.len();
        events.push(event(kind, fields, &[], at_ms, start_ms, number, node));
    }

    /// `{ at: 0s, person: { zone: square }, values: "410x12@5s 330x6@5s" }`: each value as `count`, or as
    /// so many records with a `distinct` column.
    fn parse_series(&self, node: &Node, start_ms: i64, events: &mut Vec<TestEvent>, diagnostics: &mut Diagnostics) {
        let Some(mut map) = MapReader::open(self.file, node, "a series", diagnostics) else { return };
        let at_ms = if map.has("at") { take_at(&mut map, diagnostics) } else { Some(0) };
        let record = self.take_record(&mut map, diagnostics);
        let column = map.take_text("column", diagnostics).map(|(text, node)| (text, node, false));
        let distinct = map.take_text("distinct", diagnostics).map(|(text, node)| (text, node, true));
        let values = map.require_text("values", "such as \"410x12@5s 330x6@5s\"", diagnostics);
        map.finish(diagnostics);
        let (Some((kind, fields)), Some(at_ms), Some((values, values_node))) = (record, at_ms, values) else { return };
        let (column, distinct) = match distinct.or(column) {
            Some((name, node, distinct)) => {
                if kind.column(name).is_none() {
                    diagnostics.push(super::window::unknown_column(self.file, node, name, kind));
                    return;
                }
                (name, distinct)
            }
            None => ("count", false),
        };
        let values = match parse_values(values) {
            Ok(values) => values,
            Err((range, message)) => {
                diagnostics.push(self.bad(values_node.locate(self.file, range), message).help(
                    "such as \"410x12@5s 330x6@5s\": 410 twelve times every 5 s, then 330 six times; _ for none",
                ));
                return;
            }
        };
        for (offset_ms, value) in values {
            if events.len() > TEST_EVENTS_MAX {
                return;
            }
            let Some(value) = value else { continue };
            if distinct {
                for number in 0..(value.max(0.0) as usize).min(TEST_EVENTS_MAX + 1) {
                    let own = [(column, serde_json::Value::from(format!("{column}-{number}")))];
                    let at = events.len();
                    events.push(event(kind, fields, &own, at_ms + offset_ms, start_ms, at, node));
                }
            } else {
                let at = events.len();
                events.push(event(kind, fields, &[(column, value.into())], at_ms + offset_ms, start_ms, at, node));
            }
        }
    }

    /// The one key that is the name of a kind, and the record under it.
    fn take_record<'n>(
        &self,
        map: &mut MapReader<'n>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(&Kind, &'n [(Node, Node)])> {
        let kinds = self.catalog.kinds();
        let Some(kind) = kinds.iter().find(|kind| map.has(&kind.name)) else {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
            let meant = map.take_only_map();
            let (place, message) = match meant {
                Some(key) => {
                    (key.span.clone(), format!("there is no kind of record `{}`", key.text().unwrap_or_default()))
                }
                None => (map.head(), "there is no record here".to_owned()),
            };
            let given = meant.and_then(Node::text).unwrap_or_default();
            diagnostics.push(
                self.bad(place, message)
                    .help(format!("give it under the name of its kind: {}", names.join(", ")))
                    .maybe_help(did_you_mean(given, names.iter().copied())),
            );
            return None;
        };
        let node = map.take_named(&kind.name)?;
        let Value::Map(fields) = &node.value else {
            diagnostics.push(self.bad(node.span.clone(), "a record is a map of its columns"));
            return None;
        };
        for (key, _) in fields {
            let name = key.text().unwrap_or_default();
            let known = kind.column(name).is_some_and(|_| !matches!(name, "ts" | "source" | "received"));
            if !known {
                diagnostics.push(super::window::unknown_column(self.file, key, name, kind));
            }
        }
        Some((kind, fields))
    }

    fn parse_expectation(&self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Expectation> {
        let mut map = MapReader::open(self.file, node, "an expectation", diagnostics)?;
        let at_ms = map.take_duration_ms("at", diagnostics);
        let mut fields = Vec::new();
        for (name, key, value) in map.entries() {
            if name == "at" {
                continue;
            }
            let dotted = ["hit.", "window.", "evidence."].iter().any(|prefix| name.starts_with(prefix));
            if !dotted && !ALERT_FIELDS.contains(&name) {
                diagnostics.push(
                    self.bad(key.span.clone(), format!("an alert has no field `{name}`"))
                        .help(format!("at, {}, hit.*, window.*, evidence.*", ALERT_FIELDS.join(", ")))
                        .maybe_help(did_you_mean(name, ALERT_FIELDS.iter().copied())),
                );
                continue;
            }
            let Some(text) = value.text() else {
                diagnostics.push(self.bad(value.span.clone(), "expect a text, a number, or /a regular expression/"));
                continue;
            };
            let wanted = match text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
                Some(pattern) => match Regex::new(pattern) {
                    Ok(regex) => Wanted::Matches(regex),
                    Err(error) => {
                        let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                        diagnostics.push(self.bad(value.span.clone(), format!("not a regular expression: {why}")));
                        continue;
                    }
                },
                None => Wanted::Text(text.to_owned()),
            };
            fields.push((name.to_owned(), wanted));
        }
        Some(Expectation { span: node.span.clone(), at_ms, fields })
    }
}

fn take_at(map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<i64> {
    if !map.has("at") {
        map.missing("at", "when it happens, from the start, such as `at: 30s`", diagnostics);
    }
    map.take_duration_ms("at", diagnostics)
}

fn event(
    kind: &Kind,
    fields: &[(Node, Node)],
    own: &[(&str, serde_json::Value)],
    at_ms: i64,
    start_ms: i64,
    number: usize,
    node: &Node,
) -> TestEvent {
    let mut record = serde_json::Map::new();
    record.insert("kind".to_owned(), kind.name.as_str().into());
    record.insert("event_id".to_owned(), format!("test-{number}").into());
    record.insert("ts".to_owned(), (start_ms + at_ms).into());
    for (name, value) in DEFAULTS {
        record.insert(name.to_owned(), value.into());
    }
    for (key, value) in fields {
        record.insert(key.text().unwrap_or_default().to_owned(), json_of(value));
    }
    for (name, value) in own {
        record.insert((*name).to_owned(), value.clone());
    }
    TestEvent { at_ms, line: serde_json::Value::Object(record).to_string(), span: node.span.clone() }
}

/// YAML as JSON: what is not in quotes and reads as a number, a truth or nothing is one.
fn json_of(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Scalar { text, quoted: true } => text.as_str().into(),
        Value::Scalar { text, quoted: false } => match text.as_str() {
            "" | "~" | "null" => serde_json::Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            text => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
        },
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), json_of(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Values with their distance from the start; `None` for a gap.
type Values = Vec<(i64, Option<f64>)>;

/// `VALUExTIMES@STEP ...`: a value so many times, a step apart; times and step of the one before hold on.
fn parse_values(text: &str) -> Result<Values, (Range<usize>, String)> {
    let mut values = Vec::new();
    let mut at_ms = 0;
    let mut step_ms = None;
    for piece in text.split_whitespace() {
        let start = piece.as_ptr() as usize - text.as_ptr() as usize;
        let bad = |message: String| (start..start + piece.len(), message);
        let (head, step) = match piece.split_once('@') {
            Some((head, step)) => (head, Some(parse_duration_ms(step).map_err(bad)?)),
            None => (piece, None),
        };
        step_ms = step.or(step_ms);
        let step_ms = step_ms.ok_or_else(|| bad(format!("`{piece}` does not say how far apart, such as @5s")))?;
        let (value, times) = match head.split_once('x') {
            Some((value, times)) => (
                value,
                times
                    .parse::<usize>()
                    .ok()
                    .filter(|times| *times <= TEST_EVENTS_MAX)
                    .ok_or_else(|| bad(format!("`{times}` is not a number of times")))?,
            ),
            None => (head, 1),
        };
        let value = match value {
            "_" => None,
            value => Some(
                value
                    .parse::<f64>()
                    .ok()
                    .filter(|value| value.is_finite())
                    .ok_or_else(|| bad(format!("`{value}` is not a number")))?,
            ),
        };
        if values.len() + times > TEST_EVENTS_MAX {
            return Err(bad(format!("a series has at most {TEST_EVENTS_MAX} values")));
        }
        for _ in 0..times {
            values.push((at_ms, value));
            at_ms += step_ms;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_compact() {
        assert_eq!(
            parse_values("410x2@5s _ 330@1s").unwrap(),
            [(0, Some(410.0)), (5_000, Some(410.0)), (10_000, None), (15_000, Some(330.0))]
        );
        assert_eq!(parse_values("4x2").unwrap_err().0, 0..3);
        assert_eq!(parse_values("4x2@5s fourx2").unwrap_err().0, 7..13);
        assert!(parse_values("1x999999@1s").is_err());
    }
}

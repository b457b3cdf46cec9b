//! `sequence` and `absence`: things that follow one another for one key, or fail to.
//!
//! Nobody's movements are followed (DESIGN.md 1): the key holds `site`, or the rule starts from a
//! hit on a list. What is kept about a key is a pseudonym, so the text of such a rule cannot name
//! whom it is about; a hit names its entry.

use super::rule::RuleParser;
use super::window::unknown_column;
use super::{LATENESS_DEFAULT_MS, Lookup};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::expr::Expression;
use crate::schema::{ColumnType, Kind};
use crate::yaml::{MapReader, Node, Value};

/// Most steps of a sequence.
pub const STEPS_MAX: usize = 8;
/// Longest `within`.
const WITHIN_MS_MAX: i64 = 7 * 86_400_000;
/// Most columns in a key.
const KEY_COLUMNS_MAX: usize = 4;

/// One thing that happens.
#[derive(Debug, Clone)]
pub struct Step {
    /// A word for people.
    pub name: String,
    /// Which records are it: all of these hold.
    pub conditions: Vec<Expression>,
    /// The list its record is on; only the first thing of a rule has one.
    pub lookup: Option<Lookup>,
}

impl Step {
    fn meaning(&self, list: &impl Fn(&Lookup) -> String) -> String {
        let conditions: Vec<String> = self.conditions.iter().map(Expression::meaning).collect();
        format!("{} {}", conditions.join(" AND "), self.lookup.as_ref().map_or_else(String::new, list))
    }
}

/// A sequence rule's own part.
#[derive(Debug, Clone)]
pub struct SequenceSpec {
    /// Columns whose values must agree.
    pub key: Vec<String>,
    /// In order; each strictly later than the one before.
    pub steps: Vec<Step>,
    /// From the first step to the last, at most.
    pub within_ms: i64,
    /// How much disorder is waited for.
    pub lateness_ms: i64,
}

/// An absence rule's own part.
#[derive(Debug, Clone)]
pub struct AbsenceSpec {
    /// Columns whose values must agree.
    pub key: Vec<String>,
    /// What happened.
    pub after: Step,
    /// What should have followed.
    pub expect: Step,
    /// How long it had time.
    pub within_ms: i64,
    /// How much disorder is waited for.
    pub lateness_ms: i64,
}

impl SequenceSpec {
    /// Canonical text of what it means; `list` tells what a look-up means.
    pub fn meaning(&self, list: impl Fn(&Lookup) -> String) -> String {
        let steps: Vec<String> = self.steps.iter().map(|step| step.meaning(&list)).collect();
        format!(
            "sequence by {} [{}] within {} lateness {}",
            self.key.join(","),
            steps.join("; "),
            self.within_ms,
            self.lateness_ms
        )
    }
}

impl AbsenceSpec {
    /// Canonical text of what it means; `list` tells what a look-up means.
    pub fn meaning(&self, list: impl Fn(&Lookup) -> String) -> String {
        format!(
            "absence by {} after [{}] expect [{}] within {} lateness {}",
            self.key.join(","),
            self.after.meaning(&list),
            self.expect.meaning(&list),
            self.within_ms,
            self.lateness_ms
        )
    }
}

impl RuleParser<'_> {
    pub(super) fn parse_sequence(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SequenceSpec> {
        if !map.has("steps") {
            map.missing("steps", "a list of what happens, in order", diagnostics);
        }
        let nodes = map.take_list("steps", diagnostics).unwrap_or_default();
        if map.has("steps") && !(2..=STEPS_MAX).contains(&nodes.len()) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::BAD_STEPS,
                    self.file,
                    map.place_of("steps"),
                    format!("a sequence has 2 to {STEPS_MAX} steps, this one has {}", nodes.len()),
                )
                .help("one step is a rule of kind `match` or `watchlist`"),
            );
        }
        let steps: Vec<Option<Step>> = nodes
            .iter()
            .take(STEPS_MAX)
            .enumerate()
            .map(|(at, node)| self.parse_step(node, &format!("step {}", at + 1), at == 0, kind, purpose, diagnostics))
            .collect();
        let started_by_hit = nodes.first().is_some_and(asks_a_list);
        let key = self.parse_step_key(map, kind, started_by_hit, diagnostics);
        let (within_ms, lateness_ms) = self.parse_within(map, diagnostics);
        let steps: Vec<Step> = steps.into_iter().collect::<Option<_>>()?;
        (steps.len() >= 2).then_some(())?;
        Some(SequenceSpec { key: key?, steps, within_ms: within_ms?, lateness_ms })
    }

    pub(super) fn parse_absence(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        diagnostics: &mut Diagnostics,
    ) -> Option<AbsenceSpec> {
        for (name, help) in
            [("after", "what happens, as a condition"), ("expect", "what should follow, as a condition")]
        {
            if !map.has(name) {
                map.missing(name, help, diagnostics);
            }
        }
        let after = map.take("after");
        let started_by_hit = after.is_some_and(asks_a_list);
        let after = after.and_then(|node| self.parse_step(node, "`after`", true, kind, purpose, diagnostics));
        let expect =
            map.take("expect").and_then(|node| self.parse_step(node, "`expect`", false, kind, purpose, diagnostics));
        let key = self.parse_step_key(map, kind, started_by_hit, diagnostics);
        let (within_ms, lateness_ms) = self.parse_within(map, diagnostics);
        Some(AbsenceSpec { key: key?, after: after?, expect: expect?, within_ms: within_ms?, lateness_ms })
    }

    /// A condition, a list of conditions, or a map of `name`, `where`, and for the first thing `on` and `list`.
    fn parse_step(
        &self,
        node: &Node,
        what: &str,
        first: bool,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Step> {
        if !matches!(node.value, Value::Map(_)) {
            let conditions = self.parse_conditions(node, what, kind, diagnostics).ok()?;
            return Some(Step { name: what.trim_matches('`').to_owned(), conditions, lookup: None });
        }
        let mut map = MapReader::open(self.file, node, what, diagnostics)?;
        let name = map.take_text("name", diagnostics).map_or(what.trim_matches('`'), |(text, _)| text).to_owned();
        let conditions = match map.take("where") {
            Some(node) => self.parse_conditions(node, "where", kind, diagnostics),
            None => Ok(Vec::new()),
        };
        let asks = map.has("on") || map.has("list");
        let lookup = if asks { self.parse_lookup(&mut map, kind, purpose, diagnostics) } else { None };
        if let Some(lookup) = lookup.as_ref().filter(|lookup| !lookup.min_grade.may_page()) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::NO_SUCH_GRADE,
                    self.file,
                    lookup.span.clone(),
                    format!("{what} starts from a match of grade `{}`", lookup.min_grade.word()),
                )
                .help("what follows from a hit follows from a sure one: `exact` or `pattern`"),
            );
        }
        if asks && !first {
            diagnostics.push(
                Diagnostic::new(
                    &codes::BAD_STEPS,
                    self.file,
                    map.head(),
                    format!("{what} looks something up; only what starts the rule may"),
                )
                .help("start from the hit, and let conditions follow"),
            );
        }
        if !asks && !map.has("where") {
            diagnostics.push(
                Diagnostic::new(&codes::BAD_STEPS, self.file, map.head(), format!("{what} asks for nothing"))
                    .help("give it a `where`, or `on` and `list`"),
            );
        }
        map.finish(diagnostics);
        (!asks || lookup.is_some()).then_some(())?;
        Some(Step { name, conditions: conditions.ok()?, lookup })
    }

    fn parse_step_key(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        started_by_hit: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<String>> {
        if !map.has("key") {
            map.missing("key", "the columns that tie the steps together, such as `key: [site, plate]`", diagnostics);
        }
        let texts = map.take_texts("key", diagnostics)?;
        if texts.is_empty() || texts.len() > KEY_COLUMNS_MAX {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("key"),
                format!("a key has 1 to {KEY_COLUMNS_MAX} columns"),
            ));
            return None;
        }
        let kind = kind?;
        let mut key = Vec::new();
        for (name, node) in texts {
            match kind.column(name).filter(|column| !column.transient) {
                None => diagnostics.push(unknown_column(self.file, node, name, kind)),
                Some(column) if !matches!(column.ty, ColumnType::Symbol | ColumnType::Text) || name == "event_id" => {
                    diagnostics.push(
                        Diagnostic::new(
                            &codes::KEY_NOT_ALLOWED,
                            self.file,
                            node.span.clone(),
                            format!("`{name}` cannot tie records together"),
                        )
                        .help("take site, zone, lane, device, or a text such as plate"),
                    );
                }
                Some(_) => key.push(name.to_owned()),
            }
        }
        if !started_by_hit && !key.iter().any(|name| name == "site") {
            let mut diagnostic = Diagnostic::new(
                &codes::FOLLOWS_SUBJECT,
                self.file,
                map.place_of("key"),
                "this would follow the same key from site to site",
            )
            .help("add `site` to the key, or let the rule start from a hit on a list");
            if let Some(node) = map.peek("key")
                && let Value::List(items) = &node.value
                && let Some(first) = items.first()
            {
                diagnostic = diagnostic.fix(first.span.start..first.span.start, "site, ");
            }
            diagnostics.push(diagnostic);
        }
        Some(key)
    }

    fn parse_within(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> (Option<i64>, i64) {
        if !map.has("within") {
            map.missing("within", "how long it may take, such as `within: 10m`", diagnostics);
        }
        let within_ms = map.take_duration_ms("within", diagnostics);
        if within_ms.is_some_and(|ms| !(1..=WITHIN_MS_MAX).contains(&ms)) {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("within"),
                "`within` is above 0 and at most 7 days",
            ));
        }
        let lateness_ms = map.take_duration_ms("lateness", diagnostics).unwrap_or(LATENESS_DEFAULT_MS);
        (within_ms, lateness_ms)
    }
}

fn asks_a_list(node: &Node) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.text() == Some("list")))
}

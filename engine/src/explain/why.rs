//! Why no alert came: every line of `where`, the look-up, what held a repeat back, and a window's
//! value over time.
//!
//! The records are those of the person who asks. What is told of them names no identifier: a
//! look-up says whether it hit, and conditions cannot read identifiers.

use arrow::array::{Array, AsArray};
use serde::Serialize;
use weir_rules::pack::{Body, Pack, Rule, Status, WindowSpec};

use crate::alert::{Alert, Output, cell_text, format_time};
use crate::operator::probe::Prober;
use crate::record::KindRows;
use crate::runtime::{BuildError, Trial, TrialParts};

/// One line of `where`, or of a step, and what a record says to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Step it belongs to; empty for `where`.
    pub step: String,
    /// As written.
    pub condition: String,
    /// `None`: unknown, or not to be computed; counts as no.
    pub holds: Option<bool>,
    /// Columns it reads, with their values.
    pub values: Vec<(String, String)>,
}

/// What a rule thought of one record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordWhy {
    /// Line of the input, from 1.
    pub line: usize,
    /// Event time.
    pub ts: String,
    /// Each condition, for the first of the record's zones that comes furthest.
    pub checks: Vec<Check>,
    /// What the look-up found.
    pub lookup: Option<String>,
    /// In one sentence.
    pub outcome: String,
}

/// One value of a window, and what it did to levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowStep {
    /// Key, as text.
    pub key: String,
    /// End of the window.
    pub end: String,
    /// Value, divided as the rule says.
    pub value: f64,
    /// Levels that changed with it: `enter overload`.
    pub changes: Vec<String>,
    /// For each level: how many windows in a row it needs, and whether this value speaks for a change.
    pub levels: Vec<String>,
}

/// Everything there is to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// Records of the rule's kind, in the order given.
    pub records: Vec<RecordWhy>,
    /// Values over time, of a window rule.
    pub windows: Vec<WindowStep>,
    /// Alerts that came.
    pub alerts: Vec<String>,
}

/// Feeds lines of canonical JSON to one rule, one by one, and tells what it thought of each.
///
/// # Errors
/// When the rule cannot be planned.
pub fn why(parts: &TrialParts, rule: &str, lines: &[String], until_ms: Option<i64>) -> Result<Why, BuildError> {
    let parts = only(parts, rule);
    let mut trial = Trial::new(parts)?;
    let Some(planned) = trial.plan().rule(rule).map(|planned| planned.rule.clone()) else {
        return Ok(Why { records: Vec::new(), windows: Vec::new(), alerts: Vec::new() });
    };
    let mut records = Vec::new();
    let mut outputs = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let rows = trial.decode(line);
        let suppressed = trial.suppressed(rule);
        trial.feed(&(line.clone() + "\n"));
        let came = trial.outputs();
        let held_back = trial.suppressed(rule) > suppressed;
        if let Some(record) = record_why(&trial, &planned, at + 1, &rows, &came, held_back) {
            records.push(record);
        }
        outputs.extend(came);
    }
    trial.settle(until_ms);
    outputs.extend(trial.outputs());
    let alerts: Vec<&Alert> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Alert(alert) => Some(alert.as_ref()),
            _ => None,
        })
        .collect();
    let windows = match &planned.body {
        Body::Window(spec) => window_steps(spec, &outputs, &alerts),
        _ => Vec::new(),
    };
    let alerts = alerts
        .iter()
        .map(|alert| format!("{} {} {}", alert.ts, alert.severity, alert.say.as_deref().unwrap_or(&alert.alert_id)))
        .collect();
    Ok(Why { records, windows, alerts })
}

/// The rule alone, active, and with all its values.
fn only(parts: &TrialParts, id: &str) -> TrialParts {
    let keep = |rule: &Rule| {
        let mut rule = Rule { status: Status::Active, ..rule.clone() };
        if let Body::Window(spec) = &mut rule.body {
            spec.emit_windows = true;
        }
        rule
    };
    let packs = parts
        .packs
        .iter()
        .map(|(pack, lists)| {
            let rules = pack.rules.iter().filter(|rule| rule.id == id).map(keep).collect();
            (Pack { rules, ..pack.clone() }, lists.clone())
        })
        .collect();
    TrialParts { packs, ..parts.clone() }
}

fn record_why(
    trial: &Trial,
    rule: &Rule,
    line: usize,
    rows: &Result<Vec<KindRows>, String>,
    came: &[Output],
    held_back: bool,
) -> Option<RecordWhy> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(refused) => {
            return Some(RecordWhy {
                line,
                ts: String::new(),
                checks: Vec::new(),
                lookup: None,
                outcome: format!("the record is refused: {refused}"),
            });
        }
    };
    let plan = trial.plan();
    let planned = plan.rule(&rule.id)?;
    let rows = rows.iter().find(|rows| rows.kind == planned.kind)?;
    let layout = &plan.layouts.kinds[usize::from(planned.kind)];
    let mut best: Option<(usize, Vec<Check>)> = None;
    for row in 0..rows.batch.num_rows() {
        let checks = checks_of(rule, layout, rows, row);
        let held = checks.iter().take_while(|check| check.holds == Some(true)).count();
        if best.as_ref().is_none_or(|(most, _)| held > *most) {
            best = Some((held, checks));
        }
    }
    let (_, checks) = best?;
    let prober = Prober::new(&plan.probes[usize::from(planned.kind)], rows, i64::MIN);
    let lookup = planned.probe.zip(rule.body.lookups().first().copied()).map(|(probe, lookup)| {
        let list = &plan.probes[usize::from(planned.kind)][probe].list;
        match prober.hits(probe).first() {
            None if !list.matches(trial.wall_ms()) => format!("list `{}` is stale, and stale means stop", list.spec.id),
            None => format!("its `{}` is not on list `{}`", lookup.on, list.spec.id),
            Some(row) => match prober.hit(probe, *row as usize) {
                Some(found) => {
                    format!("its `{}` hits entry {} ({})", lookup.on, found.hit.entry_id, found.hit.grade)
                }
                None => format!("its `{}` is on list `{}`, but the entry has expired", lookup.on, list.spec.id),
            },
        }
    });
    let outcome = outcome(rule, rows, &checks, lookup.as_deref(), came, held_back);
    Some(RecordWhy { line, ts: format_time(rows.ts[0]), checks, lookup, outcome })
}

fn checks_of(rule: &Rule, layout: &crate::record::KindLayout, rows: &KindRows, row: usize) -> Vec<Check> {
    let steps: Vec<_> = match &rule.body {
        Body::Sequence(spec) => spec.steps.iter().collect(),
        Body::Absence(spec) => vec![&spec.after, &spec.expect],
        Body::Match | Body::Watchlist(_) | Body::Window(_) => Vec::new(),
    };
    let of_steps = steps.iter().flat_map(|step| step.conditions.iter().map(|it| (step.name.as_str(), it)));
    let single = rows.batch.slice(row, 1);
    rule.conditions
        .iter()
        .map(|condition| ("", condition))
        .chain(of_steps)
        .map(|(step, condition)| {
            let holds = condition.physical(&layout.schema).ok().and_then(|compiled| {
                let array = compiled.evaluate(&single).ok()?.into_array(1).ok()?;
                let truth = array.as_boolean_opt()?;
                truth.is_valid(0).then(|| truth.value(0))
            });
            let value = |name: &String| {
                let column = layout.kind.column(name)?;
                if column.identifies != weir_rules::schema::Identifies::Nothing {
                    return Some((name.clone(), "(not shown)".to_owned()));
                }
                let position = layout.position_of(name)?;
                let text = cell_text(rows.batch.column(position), row).unwrap_or_else(|| "null".to_owned());
                Some((name.clone(), text))
            };
            Check {
                step: step.to_owned(),
                condition: condition.sql.clone(),
                holds,
                values: condition.columns.iter().filter_map(value).collect(),
            }
        })
        .collect()
}

fn outcome(
    rule: &Rule,
    rows: &KindRows,
    checks: &[Check],
    lookup: Option<&str>,
    came: &[Output],
    held_back: bool,
) -> String {
    if came.iter().any(
        |output| matches!(output, Output::Alert(alert) if alert.rule == rule.id && alert.ts == format_time(rows.ts[0])),
    ) && matches!(rule.body, Body::Match | Body::Watchlist(_))
    {
        return "an alert".to_owned();
    }
    if came.iter().any(|output| matches!(output, Output::Late(_))) {
        return "it came too late: what it belongs to had been closed".to_owned();
    }
    if held_back {
        let dedupe = rule.alerting.dedupe.as_ref();
        let key = dedupe.map_or_else(String::new, |dedupe| dedupe.key.join(", "));
        let for_ms = dedupe.map_or(0, |dedupe| dedupe.for_ms);
        return format!(
            "held back by `dedupe`: the same {key} alerted less than {} away",
            weir_rules::units::format_duration_ms(for_ms)
        );
    }
    if let Some(failed) = checks.iter().find(|check| check.step.is_empty() && check.holds != Some(true)) {
        let why = if failed.holds.is_none() { "is unknown" } else { "does not hold" };
        return format!("no alert: `{}` {why}", failed.condition);
    }
    let steps: Vec<&str> = step_names(rule, checks, lookup);
    match &rule.body {
        Body::Match => "no alert: it was seen before under its event id".to_owned(),
        Body::Watchlist(_) => lookup.map_or_else(String::new, |lookup| format!("no alert: {lookup}")),
        Body::Window(_) => "counted".to_owned(),
        Body::Sequence(_) | Body::Absence(_) if steps.is_empty() => "it is no step".to_owned(),
        Body::Sequence(_) | Body::Absence(_) => format!("it is: {}", steps.join(", ")),
    }
}

fn step_names<'r>(rule: &'r Rule, checks: &[Check], lookup: Option<&str>) -> Vec<&'r str> {
    let steps: Vec<_> = match &rule.body {
        Body::Sequence(spec) => spec.steps.iter().collect(),
        Body::Absence(spec) => vec![&spec.after, &spec.expect],
        Body::Match | Body::Watchlist(_) | Body::Window(_) => Vec::new(),
    };
    let hit = lookup.is_some_and(|lookup| lookup.contains("hits entry"));
    steps
        .into_iter()
        .filter(|step| checks.iter().filter(|check| check.step == step.name).all(|check| check.holds == Some(true)))
        .filter(|step| step.lookup.is_none() || hit)
        .map(|step| step.name.as_str())
        .collect()
}

fn window_steps(spec: &WindowSpec, outputs: &[Output], alerts: &[&Alert]) -> Vec<WindowStep> {
    let mut steps = Vec::new();
    for output in outputs {
        let Output::Window(value) = output else { continue };
        let key: Vec<String> = value.key.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let changes = alerts
            .iter()
            .filter(|alert| alert.ts == value.window.end)
            .filter(|alert| {
                value.key.iter().all(|(name, text)| match name.as_str() {
                    "zone" => alert.zone.as_ref() == Some(text),
                    "site" => alert.site.as_ref() == Some(text),
                    "device" => alert.device.as_ref() == Some(text),
                    name => alert.evidence.get(name) == Some(text),
                })
            })
            .filter_map(|alert| Some(format!("{} {}", alert.change?, alert.level.as_deref()?)))
            .collect();
        let levels = spec
            .levels
            .iter()
            .map(|level| {
                if value.value >= level.enter {
                    format!("{}: at or above {} ({} in a row needed)", level.name, level.enter, level.enter_windows)
                } else if value.value < level.exit {
                    format!("{}: below {} ({} in a row to leave)", level.name, level.exit, level.exit_windows)
                } else {
                    format!("{}: between {} and {}", level.name, level.exit, level.enter)
                }
            })
            .collect();
        steps.push(WindowStep {
            key: key.join(" "),
            end: value.window.end.clone(),
            value: value.value,
            changes,
            levels,
        });
    }
    steps
}

//! The operators: one kind of rule, one file.
//!
//! The first half of an operator looks at a batch and has no state ([`judge`]); it runs on every
//! shard at once. What needs state (windows, suppression) happens when the batch is applied, in
//! order of arrival, in the runtime's partition.

mod condition;
mod matching;
mod watchlist;
pub(crate) mod window;

use std::sync::Arc;

use datafusion_physical_expr::PhysicalExpr;
use weir_rules::pack::{Body, Rule};
use weir_rules::schema::Identifies;

use crate::alert::{Alert, AlertIdentity, cell_text, digest_bytes, format_time, render};
use crate::record::{Digest, KindId, KindLayout, KindRows, Pseudonyms};
use crate::watchlist::Watchlist;

/// A rule with everything it needs, laid out for this pipeline.
pub(crate) struct PlannedRule {
    /// Position in the plan.
    pub(crate) index: usize,
    pub(crate) rule: Rule,
    pub(crate) pack: String,
    pub(crate) kind: KindId,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) list: Option<Arc<Watchlist>>,
    /// Names of the sinks it is routed to; empty for all that serve its purpose.
    pub(crate) route: Vec<String>,
}

/// What a batch is judged with.
pub(crate) struct Judging<'a> {
    pub(crate) layout: &'a KindLayout,
    pub(crate) rows: &'a KindRows,
    pub(crate) pseudonyms: &'a Pseudonyms,
    pub(crate) wall_ms: i64,
}

/// An alert that goes out unless its record turns out a duplicate or its key has just alerted.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: usize,
    /// Record within its kind.
    pub(crate) record: u32,
    pub(crate) ts_ms: i64,
    /// Suppression key, if the rule has one.
    pub(crate) key: Option<Digest>,
    pub(crate) alert: Alert,
}

/// What a rule makes of a batch before any state is touched.
pub(crate) enum Verdict {
    /// Alerts of stateless rules.
    Candidates(Vec<Candidate>),
    /// What a window rule will add to its panes.
    Window(window::WindowInput),
}

/// Judges a batch by one rule. Also gives how often the condition could not be computed.
pub(crate) fn judge(planned: &PlannedRule, judging: &Judging<'_>) -> (Verdict, u64) {
    match &planned.rule.body {
        Body::Match => {
            let (candidates, errors) = matching::judge(planned, judging);
            (Verdict::Candidates(candidates), errors)
        }
        Body::Watchlist { on, .. } => {
            let (candidates, errors) = watchlist::judge(planned, on, judging);
            (Verdict::Candidates(candidates), errors)
        }
        Body::Window(spec) => {
            let (input, errors) = window::prepare(planned, spec, judging);
            (Verdict::Window(input), errors)
        }
    }
}

/// Columns of the kind that a rule reads; the decoder builds no others.
pub(crate) fn columns_read(rule: &Rule) -> Vec<String> {
    let mut columns: Vec<String> =
        rule.condition.iter().flat_map(|condition| condition.columns.iter().cloned()).collect();
    match &rule.body {
        Body::Match | Body::Watchlist { .. } => {
            columns.extend(["site", "zone", "device"].map(str::to_owned));
            columns.extend(rule.alerting.dedupe.iter().flat_map(|dedupe| dedupe.key.iter().cloned()));
            columns.extend(rule.alerting.say.iter().flat_map(|say| say.fields().map(str::to_owned)));
            if let Body::Watchlist { on, .. } = &rule.body {
                columns.push(on.clone());
            }
        }
        Body::Window(spec) => {
            columns.extend(spec.key.iter().cloned());
            columns.extend(spec.measure.column().map(str::to_owned));
            columns.push("count".to_owned());
        }
    }
    columns
}

/// Builds the alert of one record, and the candidate around it.
fn candidate(
    planned: &PlannedRule,
    judging: &Judging<'_>,
    row: usize,
    hit: Option<crate::alert::Hit>,
    stale: bool,
) -> Candidate {
    let rule = &planned.rule;
    let rows = judging.rows;
    let record = rows.record_of_row[row];
    let at = record as usize;
    let cell = |name: &str| {
        let position = judging.layout.position_of(name)?;
        cell_text(rows.batch.column(position), row)
    };
    let field = |name: &str| match (name, &hit) {
        ("hit.list", Some(hit)) => Some(hit.list.clone()),
        ("hit.entry_id", Some(hit)) => Some(hit.entry_id.clone()),
        ("hit.grade", Some(hit)) => Some(hit.grade.to_owned()),
        ("hit.list_version", Some(hit)) => Some(hit.list_version.clone()),
        ("hit.action", Some(hit)) => hit.action.clone(),
        ("hit.case_ref", Some(hit)) => hit.case_ref.clone(),
        ("hit.handling", Some(hit)) => hit.handling.clone(),
        (name, _) => cell(name),
    };
    let mut evidence = std::collections::BTreeMap::new();
    let on = if let Body::Watchlist { on, .. } = &rule.body { Some(on) } else { None };
    // A condition may ask whether an identifier is there; what it says is evidence only where it hit a list.
    let identifies =
        |name: &String| judging.layout.kind.column(name).is_some_and(|column| column.identifies != Identifies::Nothing);
    let asked = rule.condition.iter().flat_map(|condition| &condition.columns).filter(|name| !identifies(name));
    for name in asked.chain(on) {
        if let Some(text) = cell(name) {
            evidence.insert(name.clone(), text);
        }
    }
    if stale {
        evidence.insert("list_is_stale".to_owned(), "true".to_owned());
    }
    let identity = AlertIdentity {
        rule: &rule.id,
        rule_version: &rule.version,
        subject: &[],
        trigger: &digest_bytes(rows.event[at]),
        ordinal: hit.as_ref().map_or("", |hit| &hit.entry_id),
    };
    let key = rule.alerting.dedupe.as_ref().map(|dedupe| {
        let values: Vec<String> = dedupe.key.iter().map(|name| cell(name).unwrap_or_default()).collect();
        judging.pseudonyms.key(values.iter().map(String::as_str))
    });
    let alert_id = identity.id();
    let alert = Alert {
        site: cell("site"),
        zone: cell("zone"),
        device: cell("device"),
        say: rule.alerting.say.as_ref().map(|say| render(say, field)),
        evidence,
        hit,
        ..blank_alert(planned, alert_id, format_time(rows.ts[at]))
    };
    Candidate { rule: planned.index, record, ts_ms: rows.ts[at], key, alert }
}

/// What every alert of a rule says, whatever it was that fired.
fn blank_alert(planned: &PlannedRule, alert_id: String, ts: String) -> Alert {
    let rule = &planned.rule;
    Alert {
        alert_id,
        revision: 0,
        rule: rule.id.clone(),
        rule_version: rule.version.clone(),
        pack: planned.pack.clone(),
        purpose: rule.purpose.clone(),
        severity: rule.alerting.severity.word(),
        review: rule.alerting.review.word(),
        kind: rule.from.clone(),
        ts,
        site: None,
        zone: None,
        device: None,
        hit: None,
        window: None,
        value: None,
        level: None,
        change: None,
        completeness: None,
        say: None,
        evidence: std::collections::BTreeMap::new(),
        latency_us: 0,
        received_ns: 0,
    }
}

//! What a rule's plan is: what it reads, what it shares with which other rules, what it may keep,
//! and what it is expected to cost.

use std::collections::BTreeSet;

use serde::Serialize;
use weir_rules::pack::{Body, Grade};

use crate::operator::columns_read;
use crate::runtime::{BuildError, Trial, TrialParts};

/// Nanoseconds a part of a plan costs, as measured (benches/RESULTS.md, "Cost of a rule"): medians of one
/// core of the reference machine. What is shared is paid once.
mod cost {
    /// One row through a plain predicate.
    pub(super) const PLAIN_NS: f64 = 10.0;
    /// One row through the expression engine, in batches of a thousand.
    pub(super) const EXPRESSION_NS: f64 = 14.0;
    /// One row through an index of a symbol column.
    pub(super) const INDEX_NS: f64 = 5.0;
    /// One look-up.
    pub(super) const PROBE_NS: f64 = 10.0;
    /// One record into a pane.
    pub(super) const PANE_NS: f64 = 45.0;
    /// One pseudonym.
    pub(super) const DIGEST_NS: f64 = 90.0;
    /// One record of a sequence or an absence, about half of which are a step.
    pub(super) const STEP_NS: f64 = 400.0;
}

// A budget of memory reckons with more ([`crate::budget`]): it has to hold, this is told.

/// Bytes of one group of a pane, its table's share included.
const GROUP_BYTES: usize = 96;
/// Bytes of one distinct value.
const DISTINCT_BYTES: usize = 24;
/// Bytes of one key of a sequence or an absence.
const KEY_BYTES: usize = 160;
/// Bytes of one observation that waits.
const HELD_BYTES: usize = 320;
/// Bytes of one suppression entry.
const SUPPRESSED_BYTES: usize = 112;

/// One part of a rule's condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanCondition {
    /// As the engine sees it.
    pub text: String,
    /// `index`, `plain` or `expression`.
    pub how: &'static str,
    /// How many rules and steps ask for it; it is computed once.
    pub asked_by: usize,
}

/// How a rule is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RulePlan {
    /// Rule.
    pub rule: String,
    /// Digest of its meaning.
    pub version: String,
    /// match, watchlist, window, sequence, absence.
    pub kind: &'static str,
    /// Kind of record it looks at.
    pub from: String,
    /// Columns that are decoded for it.
    pub columns: Vec<String>,
    /// Parts of its condition, and of its steps' conditions.
    pub conditions: Vec<PlanCondition>,
    /// Its look-up, and the rules that share it.
    pub probe: Option<(String, Vec<String>)>,
    /// Its panes, and the rules that share them.
    pub panes: Option<(String, Vec<String>)>,
    /// Most bytes its state may take, and what bounds it.
    pub state_bytes_max: usize,
    /// What bounds the state.
    pub state_bound: String,
    /// Expected nanoseconds for a record of its kind, what is shared divided among those that share it.
    pub record_ns: f64,
}

/// The plan of one rule among the packs it runs with; `None` if there is no such rule, or it does not run.
///
/// # Errors
/// When the packs cannot be planned.
pub fn plan(parts: &TrialParts, rule: &str) -> Result<Option<RulePlan>, BuildError> {
    let trial = Trial::new(parts.clone())?;
    let plan = trial.plan();
    let Some(planned) = plan.rule(rule) else { return Ok(None) };
    let kind = usize::from(planned.kind);
    let limits = &plan.limits;
    let columns: BTreeSet<String> = columns_read(&planned.rule)
        .into_iter()
        .filter(|name| plan.layouts.kinds[kind].position_of(name).is_some())
        .collect();
    let filters = if planned.steps.is_empty() { std::slice::from_ref(&planned.filter) } else { &planned.steps };
    let mut conditions: Vec<PlanCondition> = Vec::new();
    for filter in filters {
        for (text, asked_by, how) in plan.predicates[kind].describe(filter) {
            if !conditions.iter().any(|known| known.text == text) {
                conditions.push(PlanCondition { text, how, asked_by });
            }
        }
    }
    let others = |ids: Vec<&str>| ids.into_iter().filter(|id| *id != rule).map(str::to_owned).collect::<Vec<_>>();
    let probe = planned.probe.map(|probe| {
        let lookup = planned.rule.body.lookups().first().map_or("", |lookup| lookup.on.as_str()).to_owned();
        let list = &plan.probes[kind][probe].list;
        let sharing = plan.rules.iter().filter(|other| other.kind == planned.kind && other.probe == Some(probe));
        let grade = match plan.probes[kind][probe].min_grade {
            Grade::Pattern => String::new(),
            grade => format!(", down to {}", grade.word()),
        };
        let text = format!("{lookup} in list {} ({} entries{grade})", list.spec.id, list.len());
        (text, others(sharing.map(|other| other.rule.id.as_str()).collect()))
    });
    let panes = planned.panes.map(|panes| {
        let shared = &plan.panes[panes];
        let sharing = shared.rules.iter().map(|index| plan.rules[*index].rule.id.as_str()).collect();
        let over =
            if shared.key.is_empty() { "over all".to_owned() } else { format!("for each {}", shared.key.join(", ")) };
        let pane = weir_rules::units::format_duration_ms(shared.clock.pane_ms);
        (format!("{} {over}, panes of {pane}", shared.measure.text()), others(sharing))
    });
    let mut record_ns: f64 = conditions
        .iter()
        .map(|condition| {
            let ns = match condition.how {
                "index" => cost::INDEX_NS,
                "expression" => cost::EXPRESSION_NS,
                _ => cost::PLAIN_NS,
            };
            ns / condition.asked_by.max(1) as f64
        })
        .sum();
    record_ns += probe.as_ref().map_or(0.0, |(_, others)| cost::PROBE_NS / (others.len() + 1) as f64);
    let dedupe = planned.rule.alerting.dedupe.is_some();
    let (state_bytes_max, state_bound) = match &planned.rule.body {
        Body::Match | Body::Watchlist(_) if dedupe => (
            limits.suppressed_keys_max * SUPPRESSED_BYTES,
            format!("limits.suppressed_keys = {} over all rules", limits.suppressed_keys_max),
        ),
        Body::Match | Body::Watchlist(_) => (0, "it keeps nothing".to_owned()),
        Body::Window(spec) => {
            let sharers = panes.as_ref().map_or(1, |(_, others)| others.len() + 1) as f64;
            let distinct = spec.measure.is_distinct();
            record_ns += (cost::PANE_NS + if distinct { cost::DIGEST_NS } else { 0.0 }) / sharers;
            let bytes = GROUP_BYTES + if distinct { DISTINCT_BYTES } else { 0 };
            (
                limits.window_groups_max * bytes,
                format!(
                    "limits.window_groups = {} groups over {} open panes{}",
                    limits.window_groups_max,
                    (spec.last_ms + spec.lateness_ms) / spec.pane_ms() + 1,
                    if distinct { "; a group grows with each distinct value" } else { "" }
                ),
            )
        }
        Body::Sequence(_) | Body::Absence(_) => {
            record_ns += cost::STEP_NS;
            (
                limits.sequence_keys_max * KEY_BYTES + limits.held_observations_max * HELD_BYTES,
                format!(
                    "limits.sequence_keys = {}, limits.held_observations = {}; what would end first leaves and is counted",
                    limits.sequence_keys_max, limits.held_observations_max
                ),
            )
        }
    };
    Ok(Some(RulePlan {
        rule: planned.rule.id.clone(),
        version: planned.rule.version.clone(),
        kind: planned.rule.body.word(),
        from: planned.rule.from.clone(),
        columns: columns.into_iter().collect(),
        conditions,
        probe,
        panes,
        state_bytes_max,
        state_bound,
        record_ns,
    }))
}

//! The operators: one kind of rule, one file.
//!
//! The first half of an operator looks at a batch and has no state ([`judge`]); it runs on every
//! shard at once. What needs state (windows, sequences, suppression) happens when the batch is
//! applied, in order of arrival, in the runtime's partition. What several rules ask of a batch is
//! found out once: parts of conditions ([`predicate`]), look-ups ([`probe`]), pseudonyms ([`digests`]),
//! what alerts would say ([`draft`]).

pub(crate) mod absence;
pub(crate) mod digests;
pub(crate) mod draft;
pub(crate) mod held;
mod matching;
pub(crate) mod predicate;
pub(crate) mod probe;
pub(crate) mod sequence;
pub(crate) mod steps;
mod watchlist;
pub(crate) mod window;

use weir_rules::pack::{Body, Rule};
use weir_rules::schema::Identifies;

use crate::alert::{Alert, AlertIdentity, Hit, cell_text, digest_bytes, format_time, render};
use crate::record::{Digest, KindId, KindLayout, KindRows, Subjects, Track};
use digests::{Digests, PurposeId};
use draft::Drafts;
use predicate::{Filter, Matcher};
use probe::{Found, ProbeId, Prober};

/// A rule with everything it needs, laid out for this pipeline.
pub(crate) struct PlannedRule {
    /// Position in the plan.
    pub(crate) index: usize,
    pub(crate) rule: Rule,
    pub(crate) pack: String,
    pub(crate) pack_version: String,
    pub(crate) kind: KindId,
    /// Position of its purpose in the plan.
    pub(crate) purpose: PurposeId,
    /// What its `where` asks.
    pub(crate) filter: Filter,
    /// Look-up of a watchlist rule, or of what starts a sequence or an absence.
    pub(crate) probe: Option<ProbeId>,
    /// What each step of a sequence asks beside `where`; of an absence: after, expect.
    pub(crate) steps: Vec<Filter>,
    /// What a sequence or an absence keeps of a record.
    pub(crate) step_layout: steps::StepLayout,
    /// The panes a window rule reads, among those of the plan.
    pub(crate) panes: Option<usize>,
    /// Names of the sinks it is routed to; empty for all that serve its purpose.
    pub(crate) route: Vec<String>,
}

impl PlannedRule {
    /// Whether something follows from nothing being heard.
    pub(crate) fn waits_for_silence(&self) -> bool {
        matches!(&self.rule.body, Body::Window(spec) if spec.silence.is_some())
    }
}

/// What a batch is judged with, and what has been found out about it.
pub(crate) struct Judging<'a> {
    pub(crate) layout: &'a KindLayout,
    pub(crate) rows: &'a KindRows,
    /// By purpose.
    pub(crate) subjects: &'a [Subjects],
    pub(crate) matcher: Matcher<'a>,
    pub(crate) prober: Prober<'a>,
    pub(crate) digests: Digests<'a>,
    pub(crate) drafts: Drafts<'a>,
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
    /// Stands for what the entry it hit is found by.
    pub(crate) listed: Option<Digest>,
    /// The passage it is about, if the device numbers them.
    pub(crate) track: Option<Track>,
    pub(crate) alert: Alert,
}

/// What a rule makes of a batch before any state is touched.
pub(crate) enum Verdict {
    /// Alerts of stateless rules.
    Candidates(Vec<Candidate>),
    /// What a sequence or an absence will take in.
    Steps(steps::StepInput),
}

/// Judges a batch by one rule. Also gives how often a condition could not be computed. Window rules are
/// not judged one by one: see [`window::prepare`].
pub(crate) fn judge(planned: &PlannedRule, judging: &Judging<'_>) -> (Verdict, u64) {
    match &planned.rule.body {
        Body::Match => {
            let (candidates, errors) = matching::judge(planned, judging);
            (Verdict::Candidates(candidates), errors)
        }
        Body::Watchlist(_) => {
            let (candidates, errors) = watchlist::judge(planned, judging);
            (Verdict::Candidates(candidates), errors)
        }
        Body::Sequence(_) | Body::Absence(_) => {
            let (input, errors) = steps::prepare(planned, judging);
            (Verdict::Steps(input), errors)
        }
        Body::Window(_) => (Verdict::Candidates(Vec::new()), 0),
    }
}

/// Columns of the kind that a rule reads; the decoder builds no others.
pub(crate) fn columns_read(rule: &Rule) -> Vec<String> {
    let mut columns: Vec<String> = rule.expressions().flat_map(|condition| condition.columns.iter().cloned()).collect();
    for lookup in rule.body.lookups() {
        columns.push(lookup.on.clone());
        columns.extend(lookup.candidates.iter().chain(&lookup.partial).cloned());
    }
    match &rule.body {
        Body::Window(spec) => {
            columns.extend(spec.key.iter().cloned());
            columns.extend(spec.measure.columns().map(str::to_owned));
            columns.push("count".to_owned());
            return columns;
        }
        Body::Sequence(spec) => columns.extend(spec.key.iter().cloned()),
        Body::Absence(spec) => columns.extend(spec.key.iter().cloned()),
        Body::Match | Body::Watchlist(_) => {}
    }
    columns.extend(["site", "zone", "device"].map(str::to_owned));
    columns.extend(rule.alerting.dedupe.iter().flat_map(|dedupe| dedupe.key.iter().cloned()));
    columns.extend(rule.alerting.say.iter().flat_map(|say| say.fields().map(str::to_owned)));
    columns
}

impl Judging<'_> {
    /// A value of the record as text.
    fn cell(&self, name: &str, row: usize) -> Option<String> {
        let position = self.layout.position_of(name)?;
        cell_text(self.rows.batch.column(position), row)
    }

    /// The conditions' columns that identify nobody, with their values: what the rule saw. A condition may
    /// ask whether an identifier is there; what it says is evidence only where it hit a list.
    fn evidence(&self, rule: &Rule, row: usize) -> std::collections::BTreeMap<String, String> {
        let identifies =
            |name: &str| self.layout.kind.column(name).is_some_and(|column| column.identifies != Identifies::Nothing);
        rule.expressions()
            .flat_map(|condition| &condition.columns)
            .filter(|name| !identifies(name))
            .filter_map(|name| Some((name.clone(), self.cell(name, row)?)))
            .collect()
    }
}

/// A field of a hit by its name in texts.
pub(crate) fn hit_field(hit: &Hit, name: &str) -> Option<String> {
    match name {
        "hit.list" => Some(hit.list.clone()),
        "hit.entry_id" => Some(hit.entry_id.clone()),
        "hit.grade" => Some(hit.grade.to_string()),
        "hit.list_version" => Some(hit.list_version.clone()),
        "hit.action" => hit.action.clone(),
        "hit.case_ref" => hit.case_ref.clone(),
        "hit.handling" => hit.handling.clone(),
        "hit.severity" => hit.severity.clone(),
        "hit.review_by" => hit.review_by.clone(),
        _ => None,
    }
}

/// Builds the alert of one record, and the candidate around it.
fn candidate(planned: &PlannedRule, judging: &Judging<'_>, row: usize, found: Option<Found>) -> Candidate {
    let rule = &planned.rule;
    let rows = judging.rows;
    let record = rows.record_of_row[row];
    let at = record as usize;
    let cell = |name: &str| judging.cell(name, row);
    let field = |name: &str| match &found {
        Some(found) if name.starts_with("hit.") => hit_field(&found.hit, name),
        _ => cell(name),
    };
    let mut evidence = judging.evidence(rule, row);
    for lookup in rule.body.lookups() {
        let read = lookup.partial.iter().chain([&lookup.on]);
        evidence.extend(read.filter_map(|name| Some((name.clone(), cell(name)?))));
    }
    if let Some(found) = &found {
        evidence.extend(found.evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if found.stale {
            evidence.insert("list_is_stale".to_owned(), "true".to_owned());
        }
    }
    let track = rows.track_of(record);
    let identity = AlertIdentity {
        rule: &rule.id,
        rule_version: &rule.version,
        subject: &[],
        // A correction of a read speaks of the same passage, and so of the same alert.
        trigger: &digest_bytes(track.map_or(rows.event[at], |track| track.id)),
        ordinal: found.as_ref().map_or("", |found| &found.hit.entry_id),
    };
    let key = rule.alerting.dedupe.as_ref().map(|dedupe| {
        let values: Vec<String> = dedupe.key.iter().map(|name| cell(name).unwrap_or_default()).collect();
        judging.subjects[usize::from(planned.purpose)].key(values.iter().map(String::as_str))
    });
    let alert_id = identity.id();
    let alert = Alert {
        site: cell("site"),
        zone: cell("zone"),
        device: cell("device"),
        say: rule.alerting.say.as_ref().map(|say| render(say, field)),
        evidence,
        hit: found.as_ref().map(|found| found.hit.clone()),
        ..blank_alert(planned, alert_id, format_time(rows.ts[at]))
    };
    let listed = found.map(|found| found.key);
    Candidate { rule: planned.index, record, ts_ms: rows.ts[at], key, listed, track, alert }
}

/// What every alert of a rule says, whatever it was that fired.
pub(crate) fn blank_alert(planned: &PlannedRule, alert_id: String, ts: String) -> Alert {
    let rule = &planned.rule;
    Alert {
        alert_id,
        rule: rule.id.clone(),
        rule_version: rule.version.clone(),
        pack: planned.pack.clone(),
        pack_version: planned.pack_version.clone(),
        purpose: rule.purpose.clone(),
        severity: rule.alerting.severity.word(),
        review: rule.alerting.review.word(),
        kind: rule.from.clone(),
        ts,
        ..Alert::default()
    }
}

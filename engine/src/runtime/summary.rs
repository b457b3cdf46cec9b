//! The account of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_rules::pack::{Rule, Status};

use super::tally::Tally;
use crate::metrics::{Buckets, Latency, SinkCounts};
use crate::source::Class;
use crate::state::{Found, Kept};

/// What a rule did.
#[derive(Debug, Clone)]
pub struct RuleCounts {
    /// Rule.
    pub id: String,
    /// match, watchlist, window, sequence, absence.
    pub kind: &'static str,
    /// Whether it only counted.
    pub shadow: bool,
    /// Alerts.
    pub alerts: u64,
    /// Those alerts by day and place; of shadow rules too, which go nowhere else.
    pub tally: Tally,
    /// Alerts told again under their id: revised, retracted, withdrawn.
    pub revisions: u64,
    /// Repeats held back.
    pub suppressed: u64,
    /// Values of windows that were emitted.
    pub windows: u64,
    /// Records that came too late.
    pub late: u64,
    /// Rows whose condition could not be computed.
    pub condition_errors: u64,
    /// Alerts that no sink took.
    pub unrouted: u64,
    /// Panes that were open at the end: their windows were not complete.
    pub open_panes: usize,
    /// Records that found no room among the groups.
    pub groups_overflow: u64,
    /// Keys of a sequence or an absence that were under way at the end.
    pub open_keys: usize,
    /// Keys of a sequence or an absence forgotten for want of room.
    pub keys_evicted: u64,
    /// Steps of a sequence or an absence that found no room to wait in.
    pub steps_overflow: u64,
    /// Time spent on it, if times were taken, nanoseconds.
    pub cost_ns: u64,
    /// Values left out because the zone table has no figure to divide them by.
    pub without_figure: u64,
    /// Keys in open windows.
    pub open_groups: usize,
    /// Values that open windows keep one by one.
    pub open_values: usize,
    /// Times at which more had gone out of a zone than were inside.
    pub floored: u64,
}

/// What was applied again at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Turns.
    pub turns: u64,
    /// Time it took.
    pub took: Duration,
    /// Files that cannot be found any more, with how many bytes of them had been judged since the checkpoint.
    pub missing: BTreeMap<String, u64>,
}

impl RuleCounts {
    pub(crate) fn new(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone(),
            kind: rule.body.word(),
            shadow: rule.status == Status::Shadow,
            alerts: 0,
            tally: Tally::default(),
            revisions: 0,
            suppressed: 0,
            windows: 0,
            late: 0,
            condition_errors: 0,
            unrouted: 0,
            open_panes: 0,
            groups_overflow: 0,
            open_keys: 0,
            keys_evicted: 0,
            steps_overflow: 0,
            cost_ns: 0,
            without_figure: 0,
            floored: 0,
            open_groups: 0,
            open_values: 0,
        }
    }
}

/// What a run did, from first record to last.
#[derive(Debug, Default)]
pub struct Summary {
    /// Where the records of each source ended.
    pub by_source: Vec<(String, Buckets)>,
    /// Where the records of each kind ended; refused records have no kind.
    pub by_kind: Vec<(String, Buckets)>,
    /// Records let go under overload, by source and class.
    pub shed: Vec<(String, Class, u64)>,
    /// Refused records by cause.
    pub rejected_by_cause: BTreeMap<String, u64>,
    /// What each rule did.
    pub rules: Vec<RuleCounts>,
    /// What rules did that a later set of packs no longer had.
    pub past_rules: Vec<RuleCounts>,
    /// How often the packs were changed while running.
    pub reloads: u64,
    /// What each sink did.
    pub sinks: Vec<(String, SinkCounts)>,
    /// What the state folder held at the start, where one is kept.
    pub found: Option<Found>,
    /// What was applied again of what an earlier run had taken in.
    pub replayed: Replayed,
    /// Outputs that an earlier run had told since its last checkpoint and that did not come out again: rules or lists have
    /// changed between the runs, or files are gone.
    pub not_retold: u64,
    /// Checkpoints.
    pub checkpoints: Kept,
    /// Outputs that were longer than the outbox can hold.
    pub outputs_too_long: u64,
    /// Latency of each rule's alerts.
    pub latency: BTreeMap<String, Latency>,
    /// Latency of the alerts that records of each source led to.
    pub latency_by_source: BTreeMap<String, Latency>,
    /// Devices seen.
    pub devices: usize,
    /// Event ids forgotten for want of room.
    pub event_ids_evicted: u64,
    /// Suppression keys forgotten for want of room.
    pub suppressed_evicted: u64,
    /// Alerts forgotten for want of room while they might still have been taken back.
    pub told_evicted: u64,
    /// Alerts that were told and stood on an entry that was withdrawn since.
    pub withdrawn: u64,
    /// Requests turned away, by source.
    pub refused_requests: Vec<(String, u64)>,
    /// Sources that failed, and why.
    pub source_errors: Vec<(String, String)>,
    /// Whether the run was stopped before its sources were drained.
    pub stopped: bool,
    /// From start to end.
    pub elapsed: Duration,
}

impl Summary {
    /// All sources together.
    pub fn total(&self) -> Buckets {
        let mut total = Buckets::default();
        for (_, buckets) in &self.by_source {
            total.add(buckets);
        }
        total
    }

    /// Alerts of all rules that are not in shadow.
    pub fn alerts(&self) -> u64 {
        self.rules.iter().chain(&self.past_rules).filter(|rule| !rule.shadow).map(|rule| rule.alerts).sum()
    }

    /// Latency over all rules.
    pub fn latency_total(&self) -> Latency {
        let mut total = Latency::default();
        for latency in self.latency.values() {
            total.merge(latency);
        }
        total
    }
}

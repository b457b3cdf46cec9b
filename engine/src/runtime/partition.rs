//! The state of a partition: event ids, devices, windows, suppression, counters.
//!
//! One owner at a time, batches in order of arrival. Whatever is decided here is decided record by
//! record in that order, so that the borders of batches leave no mark.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_rules::pack::{Body, Review, Status};

use super::event_ids::EventIds;
use super::plan::Plan;
use super::shard::Judged;
use super::summary::{RuleCounts, Summary};
use crate::alert::{Alert, DeadLetter, LateRecord, Output, Router, Stream, Suppression, format_time};
use crate::metrics::{Buckets, Progress};
use crate::operator::{PlannedRule, window::WindowOperator};
use crate::source::Outcome;
use crate::window::Devices;

/// How often silent devices are looked for.
const TICK_MS: i64 = 100;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Duplicate,
    /// The device's progress before the record.
    Admitted(i64),
    Late(i64),
}

pub(crate) struct Partition {
    plan: Arc<Plan>,
    router: Router,
    progress: Arc<Progress>,
    events: EventIds,
    devices: Devices,
    /// By rule; `None` for stateless ones.
    windows: Vec<Option<WindowOperator>>,
    suppression: Suppression,
    last_tick_ms: i64,
    last_received_ns: u64,
    by_source: Vec<Buckets>,
    by_kind: Vec<Buckets>,
    rejected_by_cause: BTreeMap<&'static str, u64>,
    rules: Vec<RuleCounts>,
}

impl Partition {
    pub(crate) fn new(plan: &Arc<Plan>, router: Router, progress: Arc<Progress>) -> Self {
        let limits = &plan.limits;
        let windows = plan
            .rules
            .iter()
            .map(|planned| match &planned.rule.body {
                Body::Window(spec) => {
                    Some(WindowOperator::new(spec, &plan.layouts, &plan.zones, limits.window_groups_max))
                }
                _ => None,
            })
            .collect();
        Self {
            router,
            progress,
            events: EventIds::new(limits.event_ids_max, limits.event_ids_for_ms),
            devices: Devices::new(plan.layouts.kinds.len(), limits.idle_after_ms),
            windows,
            suppression: Suppression::new(limits.suppressed_keys_max),
            last_tick_ms: 0,
            last_received_ns: 0,
            by_source: vec![Buckets::default(); plan.sources.len()],
            by_kind: vec![Buckets::default(); plan.layouts.kinds.len()],
            rejected_by_cause: BTreeMap::new(),
            rules: plan.rules.iter().map(|planned| RuleCounts::new(&planned.rule)).collect(),
            plan: Arc::clone(plan),
        }
    }

    /// Applies one batch. Its turn has come.
    pub(crate) fn apply(&mut self, mut judged: Judged) {
        let now_ms = self.plan.clock.wall_ms();
        if now_ms - self.last_tick_ms >= TICK_MS {
            self.devices.tick(now_ms);
            self.last_tick_ms = now_ms;
        }
        if let Some((received_ns, _)) = judged.blocks.last() {
            self.last_received_ns = *received_ns;
        }
        let mut fates = self.admit(&judged, now_ms);
        self.fill_windows(&judged, &mut fates);
        self.count(&judged, &fates);
        self.send_candidates(&mut judged, &fates);
        self.close_windows();
        self.send_dead_letters(&judged);
        let received: u64 = judged.received.values().sum();
        self.progress.add(received, 0);
        reply(judged, &fates);
    }

    /// Duplicates out, devices forward: record by record in order of arrival.
    fn admit(&mut self, judged: &Judged, now_ms: i64) -> Fates {
        let mut fates = Fates::new(self.plan.layouts.kinds.len());
        let mut rows_of_kind = vec![None; self.plan.layouts.kinds.len()];
        for kind in &judged.kinds {
            rows_of_kind[usize::from(kind.rows.kind)] = Some(&kind.rows);
            fates.of_kind[usize::from(kind.rows.kind)].reserve(kind.rows.ts.len());
        }
        for arrival in &judged.arrivals {
            let kind = usize::from(arrival.kind);
            let rows = rows_of_kind[kind].expect("an arrival has its kind's rows");
            let at = arrival.record as usize;
            let fate = if self.events.insert(rows.event[at], rows.ts[at]) {
                Fate::Admitted(self.devices.record(rows.source[at], rows.device[at], arrival.kind, rows.ts[at], now_ms))
            } else {
                Fate::Duplicate
            };
            debug_assert_eq!(fates.of_kind[kind].len(), at, "records of a kind arrive in their order");
            fates.of_kind[kind].push(fate);
        }
        fates
    }

    fn fill_windows(&mut self, judged: &Judged, fates: &mut Fates) {
        let plan = Arc::clone(&self.plan);
        for kind in &judged.kinds {
            let rows = &kind.rows;
            let fates = &mut fates.of_kind[usize::from(rows.kind)];
            for input in &kind.windows {
                let Some(operator) = &mut self.windows[input.rule] else {
                    continue;
                };
                let mut late: Vec<(usize, i64)> = Vec::new();
                let progress = |record: usize| match fates[record] {
                    Fate::Duplicate => None,
                    Fate::Admitted(progress_ms) | Fate::Late(progress_ms) => Some(progress_ms),
                };
                operator.take(rows, input, progress, |record, late_by_ms| late.push((record, late_by_ms)));
                let planned = &plan.rules[input.rule];
                for (record, late_by_ms) in late {
                    if let Fate::Admitted(progress_ms) = fates[record] {
                        fates[record] = Fate::Late(progress_ms);
                    }
                    self.rules[input.rule].late += 1;
                    if self.router.wants(Stream::Late) {
                        let late = LateRecord {
                            rule: planned.rule.id.clone(),
                            source: plan.sources[usize::from(rows.source[record])].name.to_string(),
                            device: plan.layouts.symbols["device"].text(rows.device[record]).to_string(),
                            ts: format_time(rows.ts[record]),
                            late_by_ms,
                        };
                        self.router.send(&Output::Late(Arc::new(late)), &planned.rule.purpose, false, &[]);
                    }
                }
            }
        }
    }

    /// Every record into exactly one bucket, per source and per kind.
    fn count(&mut self, judged: &Judged, fates: &Fates) {
        for (source, received) in &judged.received {
            self.by_source[usize::from(*source)].received += received;
        }
        for kind in &judged.kinds {
            let index = usize::from(kind.rows.kind);
            for (fate, source) in fates.of_kind[index].iter().zip(&kind.rows.source) {
                for buckets in [&mut self.by_source[usize::from(*source)], &mut self.by_kind[index]] {
                    match fate {
                        Fate::Duplicate => buckets.duplicate += 1,
                        Fate::Admitted(_) => buckets.evaluated += 1,
                        Fate::Late(_) => buckets.late += 1,
                    }
                }
                self.by_kind[index].received += 1;
            }
        }
        for (_, rejected) in &judged.rejected {
            self.by_source[usize::from(rejected.source)].rejected += 1;
            *self.rejected_by_cause.entry(rejected.cause.word()).or_default() += 1;
        }
        for (rule, errors) in &judged.condition_errors {
            self.rules[*rule].condition_errors += errors;
        }
        assert!(self.by_source.iter().all(Buckets::conserved), "every record ends in exactly one bucket");
    }

    fn send_candidates(&mut self, judged: &mut Judged, fates: &Fates) {
        if judged.candidates.is_empty() {
            return;
        }
        // Records of a kind arrive in their order: the n-th entry is where record n arrived.
        let mut positions: Vec<Vec<usize>> = vec![Vec::new(); self.plan.layouts.kinds.len()];
        for (position, arrival) in judged.arrivals.iter().enumerate() {
            positions[usize::from(arrival.kind)].push(position);
        }
        let plan = Arc::clone(&self.plan);
        let mut candidates: Vec<_> = std::mem::take(&mut judged.candidates)
            .into_iter()
            .map(|candidate| {
                let kind = usize::from(plan.rules[candidate.rule].kind);
                (positions[kind][candidate.record as usize], candidate)
            })
            .collect();
        candidates.sort_by_key(|(position, candidate)| (*position, candidate.rule));
        for (position, mut candidate) in candidates {
            let planned = &plan.rules[candidate.rule];
            if fates.of_kind[usize::from(planned.kind)][candidate.record as usize] == Fate::Duplicate {
                continue;
            }
            let repeat = match (&planned.rule.alerting.dedupe, candidate.key) {
                (Some(dedupe), Some(key)) => {
                    !self.suppression.admit(candidate.rule, key, candidate.ts_ms, dedupe.for_ms)
                }
                _ => false,
            };
            if repeat {
                self.rules[candidate.rule].suppressed += 1;
                continue;
            }
            let block = judged.arrivals[position].place.block as usize;
            candidate.alert.received_ns = judged.blocks[block].0;
            self.send_alert(planned, candidate.alert);
        }
    }

    fn send_alert(&mut self, planned: &PlannedRule, alert: Alert) {
        let counts = &mut self.rules[planned.index];
        counts.alerts += 1;
        if planned.rule.status == Status::Shadow {
            return;
        }
        self.progress.add(0, 1);
        let output = Output::Alert(Arc::new(alert));
        let required = planned.rule.alerting.review == Review::Required;
        let sent = self.router.send(&output, &planned.rule.purpose, required, &planned.route);
        counts.unrouted += u64::from(sent == 0);
    }

    fn close_windows(&mut self) {
        let plan = Arc::clone(&self.plan);
        for planned in &plan.rules {
            let Some(mut operator) = self.windows[planned.index].take() else {
                continue;
            };
            let watermark_ms = self.devices.advance(planned.kind);
            let mut values = Vec::new();
            let mut alerts = Vec::new();
            operator.close(planned, watermark_ms, |value| values.push(value), |change| alerts.push(change.alert));
            self.windows[planned.index] = Some(operator);
            self.rules[planned.index].windows += values.len() as u64;
            if planned.rule.status == Status::Active {
                for value in values {
                    self.router.send(&Output::Window(Arc::new(value)), &planned.rule.purpose, false, &planned.route);
                }
            }
            for mut alert in alerts {
                alert.received_ns = self.last_received_ns;
                self.send_alert(planned, alert);
            }
        }
    }

    fn send_dead_letters(&self, judged: &Judged) {
        if !self.router.wants(Stream::DeadLetters) {
            return;
        }
        for (_, rejected) in &judged.rejected {
            let letter = DeadLetter {
                source: self.plan.sources[usize::from(rejected.source)].name.to_string(),
                stream: rejected.stream.to_string(),
                record: rejected.record,
                cause: rejected.cause.word(),
                message: rejected.cause.to_string(),
                digest: rejected.digest.clone(),
                received: format_time(rejected.received_ms),
            };
            self.router.send_plain(&Output::DeadLetter(Arc::new(letter)));
        }
    }

    /// All sources are drained: every window is complete.
    pub(crate) fn end(&mut self) {
        self.devices.end();
        self.close_windows();
    }

    /// The account of the run; ends the sinks' queues.
    pub(crate) fn into_summary(self) -> Summary {
        let name = |source: &Arc<crate::decode::SourcePlan>| source.name.to_string();
        let mut rules = self.rules;
        for (counts, operator) in rules.iter_mut().zip(&self.windows) {
            if let Some(operator) = operator {
                counts.open_panes = operator.open().0;
                counts.groups_overflow = operator.overflow();
                counts.without_figure = operator.without_figure;
            }
        }
        Summary {
            by_source: self.plan.sources.iter().map(name).zip(self.by_source).collect(),
            by_kind: self.plan.layouts.kinds.iter().map(|layout| layout.kind.name.clone()).zip(self.by_kind).collect(),
            rejected_by_cause: self
                .rejected_by_cause
                .into_iter()
                .map(|(cause, count)| (cause.to_owned(), count))
                .collect(),
            rules,
            devices: self.devices.count().0,
            event_ids_evicted: self.events.evicted,
            suppressed_evicted: self.suppression.evicted,
            ..Summary::default()
        }
    }
}

/// Fates by kind and record.
struct Fates {
    of_kind: Vec<Vec<Fate>>,
}

impl Fates {
    fn new(kinds: usize) -> Self {
        Self { of_kind: vec![Vec::new(); kinds] }
    }
}

/// Answers the blocks whose senders wait.
fn reply(judged: Judged, fates: &Fates) {
    if judged.blocks.iter().all(|(_, reply)| reply.is_none()) {
        return;
    }
    let mut outcomes = vec![Outcome::default(); judged.blocks.len()];
    for arrival in &judged.arrivals {
        let outcome = &mut outcomes[arrival.place.block as usize];
        match fates.of_kind[usize::from(arrival.kind)][arrival.record as usize] {
            Fate::Duplicate => outcome.duplicate += 1,
            Fate::Admitted(_) => outcome.evaluated += 1,
            Fate::Late(_) => outcome.late += 1,
        }
    }
    for (place, rejected) in &judged.rejected {
        outcomes[place.block as usize].rejected.push((place.record, rejected.cause.to_string()));
    }
    for ((_, reply), outcome) in judged.blocks.into_iter().zip(outcomes) {
        if let Some(reply) = reply {
            reply(outcome);
        }
    }
}

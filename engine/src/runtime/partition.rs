//! The state of a partition: event ids, devices, windows, suppression, counters.
//!
//! One owner at a time, batches in order of arrival. Whatever is decided here is decided record by
//! record in that order, so that the borders of batches leave no mark.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_rules::pack::Status;

use super::event_ids::EventIds;
use super::fate::{Fate, Fates};
use super::files::Files;
use super::overload::Overload;
use super::plan::Plan;
use super::saver::Saver;
use super::shard::Judged;
use super::steps::StepSet;
use super::summary::{RuleCounts, Summary};
use super::told::Told;
use super::windows::WindowSet;
use crate::alert::{Alert, DeadLetter, Guards, LateRecord, Output, Router, Stream, Suppression, format_time};
use crate::decode::Arrival;
use crate::live::{LIVE_EVERY_MS, LIVE_MAX, Live, LiveDevice};
use crate::metrics::{Buckets, Passage, Progress};
use crate::operator::{PlannedRule, window::WindowOutcome};
use crate::record::{KindRows, SourceId, SymbolId};
use crate::source::{Outcome, RejectedRecords, Turn};
use crate::window::{Devices, FOREVER, Fault, FaultKind, TOLD_AGAIN_MS};

/// How often silent devices are looked for.
const TICK_MS: i64 = 100;

/// Records whose event ids are on their way from memory.
const EXPECTED_AHEAD: usize = 16;

pub(crate) struct Partition {
    pub(super) plan: Arc<Plan>,
    pub(super) router: Router,
    pub(super) progress: Arc<Progress>,
    pub(super) events: EventIds,
    pub(super) devices: Devices,
    pub(super) windows: WindowSet,
    pub(super) steps: StepSet,
    pub(super) suppression: Suppression,
    pub(super) told: Told,
    pub(super) overload: Overload,
    /// Alerts taken back because their entry was withdrawn.
    pub(super) withdrawn: u64,
    pub(super) last_tick_ms: i64,
    last_live_ms: i64,
    /// When it was told of a device that its clock is ahead.
    pub(super) ahead_told_ms: BTreeMap<(u16, SymbolId), i64>,
    /// The way of the last block so far: alerts that follow from state are due to it, since it moved the watermark.
    pub(super) last_passage: Passage,
    by_source: Vec<Buckets>,
    by_kind: Vec<Buckets>,
    rejected_by_cause: BTreeMap<&'static str, u64>,
    pub(super) rules: Vec<RuleCounts>,
    /// Of rules that are not in force any more.
    past_rules: Vec<RuleCounts>,
    reloads: u64,
    /// Turns that have been applied.
    pub(super) turns: u64,
    pub(super) files: Files,
    pub(super) saver: Option<Saver>,
}

impl Partition {
    pub(crate) fn new(plan: &Arc<Plan>, router: Router, progress: Arc<Progress>) -> Self {
        let limits = &plan.limits;
        Self {
            router,
            progress,
            events: EventIds::new(limits.event_ids_max, limits.event_ids_for_ms),
            devices: Devices::new(plan.layouts.kinds.len(), limits.idle_after_ms),
            windows: WindowSet::new(plan),
            steps: StepSet::new(plan),
            suppression: Suppression::new(limits.suppressed_keys_max),
            told: Told::new(limits.told_alerts_max, limits.told_for_ms),
            overload: Overload::new(plan),
            last_tick_ms: 0,
            last_live_ms: 0,
            ahead_told_ms: BTreeMap::new(),
            last_passage: Passage::default(),
            by_source: vec![Buckets::default(); plan.sources.len()],
            by_kind: vec![Buckets::default(); plan.layouts.kinds.len()],
            rejected_by_cause: BTreeMap::new(),
            rules: plan.rules.iter().map(|planned| RuleCounts::new(&planned.rule)).collect(),
            past_rules: Vec::new(),
            reloads: 0,
            turns: 0,
            files: Files::default(),
            saver: None,
            withdrawn: 0,
            plan: Arc::clone(plan),
        }
    }

    /// Applies one batch. Its turn has come. `passed` is called before anybody is answered for it.
    pub(crate) fn apply(&mut self, mut judged: Judged, passed: impl FnOnce()) {
        if judged.plan.generation != self.plan.generation {
            self.turn_to(Arc::clone(&judged.plan));
        }
        let Turn { now_ms, resumed, .. } = judged.turn;
        self.turns = judged.turn.number + 1;
        self.router.follow_from(self.turns);
        if resumed {
            self.devices.listen_anew(now_ms);
        }
        for (source, device) in &judged.heard {
            self.devices.alive(*source, *device, now_ms);
        }
        if now_ms - self.last_tick_ms >= TICK_MS {
            self.devices.tick(now_ms);
            self.last_tick_ms = now_ms;
        }
        for block in &judged.blocks {
            if let Some(extent) = &block.extent {
                self.files.advance(block.source, extent, self.turns);
            }
        }
        if let Some(block) = judged.blocks.last() {
            self.last_passage =
                Passage { source: block.source, read_ns: block.read_ns, taken_ns: judged.taken_ns, told_ns: 0 };
        }
        self.overload.shed(&judged.shed);
        let mut fates = self.admit(&judged, now_ms);
        self.fill(&mut judged, &mut fates);
        self.count(&judged, &fates);
        self.withdraw(judged.arrivals.is_empty());
        self.send_candidates(&mut judged, &fates);
        self.close_windows(FOREVER, FOREVER);
        self.advance_steps(now_ms, FOREVER);
        self.send_dead_letters(&judged);
        self.send_notices(&judged.ahead, now_ms);
        self.tell_shed(Some(now_ms));
        if now_ms - self.last_live_ms >= LIVE_EVERY_MS && self.progress.board.is_wanted() {
            self.last_live_ms = now_ms;
            self.progress.board.write(self.live());
        }
        let received: u64 = judged.received.values().sum();
        self.progress.add(received, 0);
        let (idle, replayed) = (judged.blocks.is_empty() && judged.shed.is_empty(), judged.turn.replayed);
        passed();
        self.reply(judged, &fates);
        if !replayed {
            self.save_if_due(idle);
        }
    }

    /// Duplicates out, devices forward: record by record in order of arrival.
    fn admit(&mut self, judged: &Judged, now_ms: i64) -> Fates {
        let mut fates = Fates::new(self.plan.layouts.kinds.len());
        let mut rows_of_kind = vec![None; self.plan.layouts.kinds.len()];
        for kind in &judged.kinds {
            rows_of_kind[usize::from(kind.rows.kind)] = Some(&kind.rows);
            fates.of_kind[usize::from(kind.rows.kind)].reserve(kind.rows.ts.len());
            self.overload.admitted(kind.rows.kind, &kind.rows.ts);
        }
        let expect = |events: &EventIds, ahead: &Arrival| {
            let rows = rows_of_kind[usize::from(ahead.kind)].expect("an arrival has its kind's rows");
            events.expect(rows.event[ahead.record as usize], rows.ts[ahead.record as usize]);
        };
        for ahead in judged.arrivals.iter().take(EXPECTED_AHEAD) {
            expect(&self.events, ahead);
        }
        for (place, arrival) in judged.arrivals.iter().enumerate() {
            if let Some(ahead) = judged.arrivals.get(place + EXPECTED_AHEAD) {
                expect(&self.events, ahead);
            }
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

    /// Windows, sequences and absences take the records in.
    fn fill(&mut self, judged: &mut Judged, fates: &mut Fates) {
        let plan = Arc::clone(&self.plan);
        for kind in &mut judged.kinds {
            let fates = &mut fates.of_kind[usize::from(kind.rows.kind)];
            let mut late: Vec<(usize, usize, i64)> = Vec::new();
            for it in self.windows.fill(&plan, kind, fates) {
                late.extend(plan.panes[it.panes].rules.iter().map(|rule| (*rule, it.record, it.late_by_ms)));
            }
            for it in self.steps.fill(kind, fates) {
                late.push((it.rule, it.record, it.late_by_ms));
            }
            for (rule, record, late_by_ms) in late {
                fates[record].turn_late();
                self.tell_late(&plan.rules[rule], &kind.rows, record, late_by_ms);
            }
        }
    }

    fn tell_late(&mut self, planned: &PlannedRule, rows: &KindRows, record: usize, late_by_ms: i64) {
        self.rules[planned.index].late += 1;
        if self.router.wants(Stream::Late) {
            let late = LateRecord {
                rule: planned.rule.id.clone(),
                source: self.plan.sources[usize::from(rows.source[record])].name.to_string(),
                device: self.plan.layouts.symbols["device"].text(rows.device[record]).to_string(),
                ts: format_time(rows.ts[record]),
                late_by_ms,
            };
            self.router.send(&Output::Late(Arc::new(late)), &planned.rule.purpose, Guards::default(), &[]);
        }
    }

    /// Every record into exactly one bucket, per source and per kind.
    fn count(&mut self, judged: &Judged, fates: &Fates) {
        for (source, received) in &judged.received {
            self.by_source[usize::from(*source)].received += received;
        }
        for kind in &judged.kinds {
            let index = usize::from(kind.rows.kind);
            let mut rest = fates.of_kind[index].as_slice();
            for of_source in kind.rows.source.chunk_by(|a, b| a == b) {
                let (fates, behind) = rest.split_at(of_source.len());
                rest = behind;
                let duplicate = fates.iter().filter(|fate| matches!(fate, Fate::Duplicate)).count() as u64;
                let late = fates.iter().filter(|fate| matches!(fate, Fate::Late(_))).count() as u64;
                for buckets in [&mut self.by_source[usize::from(of_source[0])], &mut self.by_kind[index]] {
                    buckets.duplicate += duplicate;
                    buckets.late += late;
                    buckets.evaluated += fates.len() as u64 - duplicate - late;
                }
                self.by_kind[index].received += fates.len() as u64;
            }
        }
        for (_, rejected) in &judged.rejected {
            self.by_source[usize::from(rejected.source)].rejected += rejected.records();
            *self.rejected_by_cause.entry(rejected.cause.word()).or_default() += rejected.records();
        }
        for (source, kind, shed) in judged.shed.iter() {
            let of_kind = kind.map(|kind| &mut self.by_kind[usize::from(kind)]);
            for buckets in std::iter::once(&mut self.by_source[usize::from(source)]).chain(of_kind) {
                buckets.received += shed.count;
                buckets.shed += shed.count;
            }
        }
        for (rule, errors) in &judged.condition_errors {
            self.rules[*rule].condition_errors += errors;
        }
        assert!(self.by_source.iter().all(Buckets::conserved), "every record ends in exactly one bucket");
    }

    /// Answers the blocks whose senders wait, once what came of them is durable.
    fn reply(&self, judged: Judged, fates: &Fates) {
        if judged.blocks.iter().all(|block| block.reply.is_none()) {
            return;
        }
        let mut outcomes = vec![Outcome::default(); judged.blocks.len()];
        for arrival in &judged.arrivals {
            let outcome = &mut outcomes[arrival.place.block as usize];
            fates.of_kind[usize::from(arrival.kind)][arrival.record as usize].count_in(outcome);
        }
        for (place, rejected) in &judged.rejected {
            let records = std::iter::once(place.record).chain(rejected.others.iter().copied()).collect();
            let cause = rejected.cause.to_string();
            outcomes[place.block as usize].rejected.push(RejectedRecords { records, cause });
        }
        for (block, outcome) in judged.blocks.into_iter().zip(outcomes) {
            if let Some(reply) = block.reply {
                self.router.acknowledge(move |_| reply(outcome));
            }
        }
    }

    /// Closes windows that end by `to_ms` and that the watermarks have passed; looks for silence up to `quiet_to_ms`.
    fn close_windows(&mut self, to_ms: i64, quiet_to_ms: i64) {
        let plan = Arc::clone(&self.plan);
        let mut outcomes = Vec::new();
        let now_ms = self.last_tick_ms;
        let quiet_to = |devices: &Devices, kind, passed_ms: i64| {
            passed_ms.max(devices.silent_until(kind, now_ms).unwrap_or(i64::MIN)).min(quiet_to_ms)
        };
        let kept = |kind, start_ms, end_ms| self.overload.kept_share(kind, start_ms, end_ms);
        let emit = |rule, outcome| outcomes.push((rule, outcome));
        self.windows.close(&plan, &mut self.devices, to_ms, quiet_to, kept, emit);
        for (rule, outcome) in outcomes {
            let planned = &plan.rules[rule];
            match outcome {
                WindowOutcome::Value(value) => {
                    self.rules[rule].windows += 1;
                    if planned.rule.status == Status::Active {
                        let output = Output::Window(Arc::new(*value));
                        self.router.send(&output, &planned.rule.purpose, Guards::default(), &planned.route);
                    }
                }
                WindowOutcome::Level(alert) => self.send_state_alert(planned, *alert),
                WindowOutcome::Proposal(proposal) => {
                    if planned.rule.status == Status::Active {
                        let output = Output::Proposal(Arc::new(*proposal));
                        let guards = Guards { review_required: true, unsure: false };
                        self.router.send(&output, &planned.rule.purpose, guards, &planned.route);
                    }
                }
            }
        }
    }

    /// Sequences and absences follow what the watermarks have passed.
    fn advance_steps(&mut self, now_ms: i64, deadlines_to_ms: i64) {
        let plan = Arc::clone(&self.plan);
        let mut alerts = Vec::new();
        self.steps.advance(&plan, &mut self.devices, now_ms, deadlines_to_ms, |rule, alert| alerts.push((rule, alert)));
        for (rule, alert) in alerts {
            self.send_state_alert(&plan.rules[rule], alert);
        }
    }

    fn send_state_alert(&mut self, planned: &PlannedRule, mut alert: Alert) {
        alert.passage = self.last_passage;
        self.send_alert(planned, alert, false);
    }

    fn send_dead_letters(&self, judged: &Judged) {
        if !self.router.wants(Stream::DeadLetters) {
            return;
        }
        for (place, rejected) in &judged.rejected {
            let last = rejected.others.iter().max().map(|last| rejected.record + u64::from(last - place.record));
            let letter = DeadLetter {
                source: self.plan.sources[usize::from(rejected.source)].name.to_string(),
                stream: rejected.stream.to_string(),
                record: rejected.record,
                records: rejected.records(),
                last_record: last,
                cause: rejected.cause.word(),
                message: rejected.cause.to_string(),
                digest: rejected.digest.clone(),
                sealed: rejected.sealed.clone(),
                received: format_time(rejected.received_ms),
            };
            self.router.send_plain(&Output::DeadLetter(Arc::new(letter)));
        }
    }

    /// Tells what was let go under overload: intervals that are over by now, or all at the end.
    pub(crate) fn tell_shed(&mut self, now_ms: Option<i64>) {
        for shed in self.overload.due(now_ms, &self.plan) {
            self.router.send_plain(&Output::Shed(Arc::new(shed)));
        }
    }

    /// Where zones, devices and sources stand.
    fn live(&self) -> Live {
        let newest_ms = self.devices.newest_ms();
        let mut devices: Vec<LiveDevice> = self
            .devices
            .list()
            .take(LIVE_MAX)
            .map(|(source, device, device_ms, silent)| LiveDevice {
                source: self.plan.sources[usize::from(source)].name.to_string(),
                device: self.plan.layouts.symbols["device"].text(device).to_string(),
                newest_ms: device_ms,
                behind_ms: newest_ms - device_ms,
                silent,
            })
            .collect();
        devices.sort_by(|a, b| (&a.source, &a.device).cmp(&(&b.source, &b.device)));
        let names = self.plan.sources.iter().map(|source| source.name.to_string());
        let sources = names.zip(self.by_source.iter().copied()).collect();
        Live { values: self.windows.live(&self.plan), devices, sources }
    }

    /// What is wrong with devices.
    fn send_notices(&mut self, ahead: &[(SourceId, SymbolId, i64)], now_ms: i64) {
        let mut faults = self.devices.take_faults();
        faults.extend(self.windows.take_faults());
        for &(source, device, ahead_ms) in ahead {
            let told_ms = self.ahead_told_ms.entry((source, device)).or_insert(i64::MIN / 2);
            if now_ms - *told_ms >= TOLD_AGAIN_MS {
                *told_ms = now_ms;
                let kind = FaultKind::ClockAhead { by_ms: ahead_ms + self.plan.limits.max_ahead_ms };
                faults.push(Fault { kind, source: Some(source), device, zone: None, at_ms: now_ms });
            }
        }
        if !self.router.wants(Stream::Notices) {
            return;
        }
        let symbols = &self.plan.layouts.symbols;
        for fault in faults {
            let source = fault.source.map(|source| self.plan.sources[usize::from(source)].name.to_string());
            let zone = fault.zone.map(|zone| symbols["zone"].text(zone).to_string());
            let notice = fault.notice(source, symbols["device"].text(fault.device).to_string(), zone);
            self.router.send_plain(&Output::Notice(Arc::new(notice)));
        }
    }

    /// All sources are drained: every window is complete. A deadline that the data did not reach has not passed.
    pub(crate) fn end(&mut self) {
        let newest_ms = self.devices.newest_ms();
        self.devices.end();
        self.close_windows(FOREVER, newest_ms);
        self.advance_steps(self.last_tick_ms, newest_ms);
        self.send_notices(&[], self.last_tick_ms);
        self.progress.board.write(self.live());
    }

    /// Time runs on to a moment without further records, or until nothing is left to happen.
    pub(crate) fn settle(&mut self, until_ms: Option<i64>) {
        let quiet_to_ms = until_ms.unwrap_or_else(|| self.devices.newest_ms());
        let until_ms = until_ms.unwrap_or(FOREVER - 1);
        self.devices.end();
        self.close_windows(until_ms, quiet_to_ms);
        self.advance_steps(self.last_tick_ms, until_ms);
    }

    /// Other packs are in force from here on. What means the same keeps its state.
    fn turn_to(&mut self, plan: Arc<Plan>) {
        let old_plan = std::mem::replace(&mut self.plan, plan);
        let plan = &self.plan;
        self.reloads += 1;
        self.told.review();
        if plan.has_rules_of(&old_plan) {
            // Other lists, the same rules: everything stays where it is.
            return;
        }
        if let Some(saver) = &mut self.saver {
            saver.rules_changed(plan.clock.monotonic_ns());
        }
        let old = std::mem::replace(&mut self.windows, WindowSet::new(plan));
        self.windows.take_over(old, &old_plan, plan);
        let old = std::mem::replace(&mut self.steps, StepSet::new(plan));
        self.steps.take_over(old, &old_plan, plan);
        self.suppression.move_rules(|rule| plan.place_of(&old_plan.rules[rule].rule));
        self.told.move_rules(|rule| plan.place_of(&old_plan.rules[rule].rule));
        let counts = plan.rules.iter().map(|planned| RuleCounts::new(&planned.rule)).collect();
        for (counts, planned) in std::mem::replace(&mut self.rules, counts).into_iter().zip(&old_plan.rules) {
            // What a rule did is counted on under its id, whatever it means now.
            match plan.rule(&planned.rule.id) {
                Some(now) if (now.rule.status == Status::Shadow) == counts.shadow => {
                    self.rules[now.index] = RuleCounts { kind: now.rule.body.word(), ..counts };
                }
                _ => self.past_rules.push(counts),
            }
        }
    }

    /// Repeats of a rule that were held back.
    pub(super) fn suppressed(&self, rule: usize) -> u64 {
        self.rules[rule].suppressed
    }

    /// The account of the run; ends the sinks' queues.
    pub(crate) fn into_summary(self) -> Summary {
        let name = |source: &Arc<crate::decode::SourcePlan>| source.name.to_string();
        let mut rules = self.rules;
        for (index, counts) in rules.iter_mut().enumerate() {
            let held = self.windows.account(&self.plan, index);
            (counts.open_panes, counts.groups_overflow) = (held.open, held.overflow);
            (counts.open_groups, counts.open_values) = (held.groups, held.values);
            (counts.without_figure, counts.floored) = (held.without_figure, held.floored);
            let steps = self.steps.account(index);
            counts.open_keys = steps.keys + steps.waiting;
            (counts.keys_evicted, counts.steps_overflow) = (steps.keys_evicted, steps.overflow);
            if let Some(costs) = &self.plan.costs {
                counts.cost_ns = costs[index].load(std::sync::atomic::Ordering::Relaxed);
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
            past_rules: self.past_rules,
            reloads: self.reloads,
            devices: self.devices.count().0,
            event_ids_evicted: self.events.evicted,
            suppressed_evicted: self.suppression.evicted,
            told_evicted: self.told.evicted,
            withdrawn: self.withdrawn,
            not_retold: self.router.not_retold(),
            shed: self
                .overload
                .totals()
                .iter()
                .map(|((source, class), n)| (name(&self.plan.sources[usize::from(*source)]), *class, *n))
                .collect(),
            ..Summary::default()
        }
    }
}

//! All window state of a partition: reporters and panes, shared between rules, and each rule's levels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::{Body, Measure};

use super::fate::{Fate, KindFates};
use super::plan::Plan;
use super::shard::JudgedKind;
use crate::operator::window::{SavedLevels, WindowOperator, WindowOutcome, roster};
use crate::window::{
    Closed, Devices, Observation, PaneClock, Panes, Reporters, SavedPanes, SavedReporters, ViewLength,
};

/// A record that came too late for some panes.
pub(super) struct LateFor {
    /// Position among the plan's panes.
    pub(super) panes: usize,
    pub(super) record: usize,
    pub(super) late_by_ms: i64,
}

pub(super) struct WindowSet {
    reporters: BTreeMap<PaneClock, Reporters>,
    /// By position in the plan's panes.
    panes: Vec<Panes>,
    /// By position in the plan's rules; `None` for other kinds of rule.
    rules: Vec<Option<WindowOperator>>,
}

/// A [`WindowSet`] as it is kept in a checkpoint; panes by meaning, rules by position.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedWindows {
    reporters: Vec<(PaneClock, SavedReporters)>,
    panes: Vec<(String, SavedPanes)>,
    rules: Vec<Option<SavedLevels>>,
}

impl WindowSet {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut set = Self { reporters: BTreeMap::new(), panes: Vec::new(), rules: Vec::new() };
        for planned in &plan.panes {
            let with_instants = planned.measure == Measure::Snapshot;
            set.reporters
                .entry(planned.clock)
                .or_insert_with(|| Reporters::new(planned.clock, with_instants))
                .keep_instants(with_instants);
            set.panes.push(Panes::new(
                &planned.measure,
                planned.clock.pane_ms,
                planned.clock.lateness_ms,
                plan.limits.window_groups_max,
                roster(&planned.key, &plan.layouts, &plan.zones),
                planned.views.iter().copied(),
            ));
        }
        set.rules = plan
            .rules
            .iter()
            .map(|planned| match &planned.rule.body {
                Body::Window(spec) => {
                    Some(WindowOperator::new(spec, &plan.layouts, &plan.zones, plan.limits.window_groups_max))
                }
                _ => None,
            })
            .collect();
        set
    }

    /// Takes over from the set of another plan what means the same under this one.
    pub(super) fn take_over(&mut self, mut old: Self, old_plan: &Plan, plan: &Plan) {
        for (clock, reporters) in &mut self.reporters {
            if let Some(known) = old.reporters.remove(clock) {
                *reporters = known;
            }
        }
        let mut old_panes: BTreeMap<&str, Panes> =
            old_plan.panes.iter().map(|planned| planned.meaning.as_str()).zip(old.panes).collect();
        for (planned, panes) in plan.panes.iter().zip(&mut self.panes) {
            if let Some(mut known) = old_panes.remove(planned.meaning.as_str()) {
                known.want_views(&planned.views);
                *panes = known;
            }
            if let Some(reporters) = self.reporters.get_mut(&planned.clock) {
                reporters.keep_instants(planned.measure == Measure::Snapshot);
            }
        }
        for (planned, operator) in old_plan.rules.iter().zip(old.rules) {
            if let (Some(place), Some(operator)) = (plan.place_of(&planned.rule), operator) {
                self.rules[place] = Some(operator);
            }
        }
    }

    /// Takes the records of a batch, in order of arrival. Gives those that came too late.
    pub(super) fn fill(&mut self, plan: &Plan, judged: &JudgedKind, fates: &KindFates) -> Vec<LateFor> {
        let rows = &judged.rows;
        let mut late_for = Vec::new();
        let clocks: Vec<PaneClock> = self.reporters.keys().filter(|clock| clock.kind == rows.kind).copied().collect();
        for clock in clocks {
            let reporters = self.reporters.get_mut(&clock).expect("it was just listed");
            let mut late: BTreeMap<usize, i64> = BTreeMap::new();
            for (record, fate) in fates.iter().enumerate() {
                let Some(progress_ms) = fate.progress_ms() else { continue };
                match clock.late_by_ms(rows.ts[record], progress_ms) {
                    Some(late_by_ms) => drop(late.insert(record, late_by_ms)),
                    None => reporters.report(rows.ts[record], rows.device[record]),
                }
            }
            for input in judged.windows.iter().filter(|input| plan.panes[input.panes].clock == clock) {
                let panes = &mut self.panes[input.panes];
                for row in input.selection.iter(rows.record_of_row.len()) {
                    let record = rows.record_of_row[row] as usize;
                    if matches!(fates[record], Fate::Duplicate) {
                        continue;
                    }
                    if let Some(late_by_ms) = late.get(&record) {
                        let told =
                            late_for.last().is_some_and(|it: &LateFor| it.panes == input.panes && it.record == record);
                        if !told {
                            late_for.push(LateFor { panes: input.panes, record, late_by_ms: *late_by_ms });
                        }
                        continue;
                    }
                    let contribution = input.contribution(row, rows.device[record], &judged.digests);
                    panes.observe(&Observation { ts_ms: rows.ts[record], key: input.key(row), contribution });
                }
            }
        }
        late_for
    }

    /// Closes windows that the watermarks have passed, and none that ends after `to_ms`. What follows goes to
    /// `emit` with the position of its rule, in the order of rules.
    pub(super) fn close(
        &mut self,
        plan: &Plan,
        devices: &mut Devices,
        to_ms: i64,
        mut emit: impl FnMut(usize, WindowOutcome),
    ) {
        let mut closed: BTreeMap<(usize, ViewLength), Vec<Closed>> = BTreeMap::new();
        let mut watermarks: Vec<Option<i64>> = vec![None; plan.layouts.kinds.len()];
        for (at, (planned, panes)) in plan.panes.iter().zip(&mut self.panes).enumerate() {
            let watermark_ms =
                *watermarks[usize::from(planned.kind)].get_or_insert_with(|| devices.advance(planned.kind));
            let reporters = &self.reporters[&planned.clock];
            panes.close(reporters, watermark_ms, to_ms, |length, it| {
                closed.entry((at, length)).or_default().push(it);
            });
        }
        if closed.is_empty() {
            return;
        }
        for (clock, reporters) in &mut self.reporters {
            let needed = plan.panes.iter().zip(&self.panes).filter(|(planned, _)| planned.clock == *clock);
            reporters.forget_before(needed.map(|(_, panes)| panes.needed_from()).min().unwrap_or(i64::MAX));
        }
        for planned in &plan.rules {
            let (Some(panes), Body::Window(spec)) = (planned.panes, &planned.rule.body) else { continue };
            let length = ViewLength { last_ms: spec.last_ms, every_ms: spec.every_ms };
            let (Some(closed), Some(operator)) = (closed.get(&(panes, length)), &mut self.rules[planned.index]) else {
                continue;
            };
            plan.timed(planned.index, || operator.take(planned, closed, |outcome| emit(planned.index, outcome)));
        }
    }

    /// Open panes, records without room and values without a figure, for one rule.
    pub(super) fn account(&self, plan: &Plan, rule: usize) -> (usize, u64, u64) {
        let Some(panes) = plan.rules[rule].panes else { return (0, 0, 0) };
        let open = self.reporters[&plan.panes[panes].clock].len();
        let without_figure = self.rules[rule].as_ref().map_or(0, |operator| operator.without_figure);
        (open, self.panes[panes].overflow, without_figure)
    }

    pub(super) fn save(&self, plan: &Plan) -> SavedWindows {
        SavedWindows {
            reporters: self.reporters.iter().map(|(clock, it)| (*clock, it.save())).collect(),
            panes: plan.panes.iter().map(|it| it.meaning.clone()).zip(self.panes.iter().map(Panes::save)).collect(),
            rules: self.rules.iter().map(|it| it.as_ref().map(WindowOperator::save)).collect(),
        }
    }

    pub(super) fn load(&mut self, plan: &Plan, saved: SavedWindows) {
        for (clock, saved) in saved.reporters {
            if let Some(reporters) = self.reporters.get_mut(&clock) {
                reporters.load(saved);
            }
        }
        let mut saved_panes: BTreeMap<String, SavedPanes> = saved.panes.into_iter().collect();
        for (planned, panes) in plan.panes.iter().zip(&mut self.panes) {
            if let Some(saved) = saved_panes.remove(&planned.meaning) {
                panes.load(saved);
            }
        }
        for (operator, saved) in self.rules.iter_mut().zip(saved.rules) {
            if let (Some(operator), Some(saved)) = (operator, saved) {
                operator.load(saved);
            }
        }
    }
}

//! All window state of a partition: reporters and panes, shared between rules, and each rule's levels.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use weir_rules::pack::{Body, Measure};

use super::fate::{Fate, KindFates};
use super::plan::Plan;
use super::shard::JudgedKind;
use crate::live::LiveValue;
use crate::operator::PlannedRule;
use crate::operator::window::{PlacedZones, PlannedPanes, SavedLevels, WindowOperator, WindowOutcome};
use crate::window::{
    Closed, Devices, Fault, Observation, PaneClock, Panes, PanesSpec, Reporters, Room, SavedPanes, SavedReporters,
    SavedSessions, Sessions, ViewLength,
};

/// Observations that are taken together, so that their memory is waited for at the same time.
const TOGETHER: usize = 16;

/// A record that came too late for some panes.
pub(super) struct LateFor {
    /// Position among the plan's panes.
    pub(super) panes: usize,
    pub(super) record: usize,
    pub(super) late_by_ms: i64,
}

/// Where records are gathered until their window closes.
enum Store {
    Panes(Box<Panes>),
    Sessions(Box<Sessions>),
}

#[derive(Serialize, Deserialize)]
enum SavedStore {
    Panes(SavedPanes),
    Sessions(SavedSessions),
}

impl Store {
    fn new(planned: &PlannedPanes, plan: &Plan, zones: &PlacedZones) -> Self {
        let room = Room { groups_max: plan.limits.window_groups_max, values_max: plan.limits.window_values_max };
        match planned.gap_ms {
            Some(gap_ms) => {
                Self::Sessions(Box::new(Sessions::new(&planned.measure, gap_ms, planned.clock.lateness_ms, room)))
            }
            None => Self::Panes(Box::new(Panes::new(PanesSpec {
                measure: planned.measure.clone(),
                clock: planned.clock,
                room,
                roster: zones.roster(&planned.key),
                parts: zones.parts(&planned.key),
                early: planned.early,
                views: planned.views.clone(),
            }))),
        }
    }

    /// Takes observations in their order, which are then gone.
    fn observe(&mut self, observations: &mut Vec<Observation>) {
        match self {
            Self::Panes(panes) => {
                panes.observe_all(observations);
                observations.clear();
            }
            Self::Sessions(sessions) => {
                observations.drain(..).for_each(|observation| sessions.observe(&observation));
            }
        }
    }

    fn needed_from(&self) -> i64 {
        match self {
            Self::Panes(panes) => panes.needed_from(),
            Self::Sessions(_) => i64::MAX,
        }
    }
}

/// What a rule's windows hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Panes or sessions that are open.
    pub(super) open: usize,
    /// Keys in them, and values that are kept one by one.
    pub(super) groups: usize,
    pub(super) values: usize,
    /// Records without room.
    pub(super) overflow: u64,
    /// Values without a figure.
    pub(super) without_figure: u64,
    /// Times at which more had gone out of a zone than were inside.
    pub(super) floored: u64,
}

pub(super) struct WindowSet {
    reporters: BTreeMap<PaneClock, Reporters>,
    /// By position in the plan's panes.
    stores: Vec<Store>,
    /// By position in the plan's rules; `None` for other kinds of rule.
    rules: Vec<Option<WindowOperator>>,
    /// What is wrong with devices and not yet told.
    faults: Vec<Fault>,
}

/// A [`WindowSet`] as it is kept in a checkpoint; panes by meaning, rules by position.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedWindows {
    reporters: Vec<(PaneClock, SavedReporters)>,
    stores: Vec<(String, SavedStore)>,
    rules: Vec<Option<SavedLevels>>,
}

impl SavedWindows {
    /// Keys that the rule at a position keeps something of.
    pub(super) fn keys(&self, rule: usize) -> usize {
        self.rules.get(rule).and_then(Option::as_ref).map_or(0, SavedLevels::keys)
    }
}

impl WindowSet {
    pub(super) fn new(plan: &Plan) -> Self {
        let by_zone = plan.panes.iter().any(|planned| planned.key.iter().any(|name| name == "zone"));
        let zones = if by_zone { PlacedZones::new(&plan.layouts, &plan.zones) } else { PlacedZones::default() };
        let mut set = Self { reporters: BTreeMap::new(), stores: Vec::new(), rules: Vec::new(), faults: Vec::new() };
        for planned in &plan.panes {
            let with_instants = planned.measure == Measure::Snapshot;
            set.reporters
                .entry(planned.clock)
                .or_insert_with(|| Reporters::new(planned.clock, with_instants))
                .keep_instants(with_instants);
            set.stores.push(Store::new(planned, plan, &zones));
        }
        set.rules = plan
            .rules
            .iter()
            .map(|planned| match &planned.rule.body {
                Body::Window(spec) => {
                    Some(WindowOperator::new(spec, &plan.layouts, &zones, plan.limits.window_groups_max))
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
        let mut old_stores: BTreeMap<&str, Store> =
            old_plan.panes.iter().map(|planned| planned.meaning.as_str()).zip(old.stores).collect();
        for (planned, store) in plan.panes.iter().zip(&mut self.stores) {
            if let Some(mut known) = old_stores.remove(planned.meaning.as_str()) {
                if let Store::Panes(panes) = &mut known {
                    panes.want(&planned.views, planned.early);
                }
                *store = known;
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
            // Record by record: by how much it is late, and how far its device had come.
            let mut late: Vec<(usize, i64, i64)> = Vec::new();
            for (record, fate) in fates.iter().enumerate() {
                let Some(progress_ms) = fate.progress_ms() else { continue };
                match clock.late_by_ms(rows.ts[record], progress_ms) {
                    Some(late_by_ms) => late.push((record, late_by_ms, progress_ms - clock.lateness_ms)),
                    None => reporters.report(rows.ts[record], rows.device[record]),
                }
            }
            for input in judged.windows.iter().filter(|input| plan.panes[input.panes].clock == clock) {
                let store = &mut self.stores[input.panes];
                let mut waiting = Vec::with_capacity(TOGETHER);
                let digests = input.digests(&judged.digests);
                // Rows are in the order of their records.
                let mut late = late.as_slice();
                for row in input.selection.iter(rows.record_of_row.len()) {
                    let record = rows.record_of_row[row] as usize;
                    if matches!(fates[record], Fate::Duplicate) {
                        continue;
                    }
                    let observation = || Observation {
                        ts_ms: rows.ts[record],
                        key: input.key(row),
                        inherited: rows.is_inherited(row),
                        contribution: input.contribution(row, rows.device[record], digests),
                    };
                    while late.first().is_some_and(|(earlier, ..)| *earlier < record) {
                        late = &late[1..];
                    }
                    match (late.first().filter(|(it, ..)| *it == record), &mut *store) {
                        (None, store) => {
                            waiting.push(observation());
                            if waiting.len() == TOGETHER {
                                store.observe(&mut waiting);
                            }
                        }
                        (Some((_, late_by_ms, passed_ms)), Store::Panes(panes))
                            if *late_by_ms <= clock.revise_for_ms =>
                        {
                            panes.revise(&observation(), *passed_ms);
                        }
                        (Some((_, late_by_ms, _)), _) => {
                            let told = late_for
                                .last()
                                .is_some_and(|it: &LateFor| it.panes == input.panes && it.record == record);
                            if !told {
                                late_for.push(LateFor { panes: input.panes, record, late_by_ms: *late_by_ms });
                            }
                        }
                    }
                }
                store.observe(&mut waiting);
            }
        }
        late_for
    }

    /// Closes windows that the watermarks have passed, and none that ends after `to_ms`. Silence is looked for up to
    /// what `quiet_to_ms` says of a kind that has come so far; `kept_share` says how much of a kind's records in a span of
    /// time was judged, if some were let go. What follows goes to `emit` with the position of its rule, in the order of rules.
    pub(super) fn close(
        &mut self,
        plan: &Plan,
        devices: &mut Devices,
        to_ms: i64,
        quiet_to_ms: impl Fn(&Devices, u16, i64) -> i64,
        kept_share: impl Fn(u16, i64, i64) -> Option<f64>,
        mut emit: impl FnMut(usize, WindowOutcome),
    ) {
        let mut closed: BTreeMap<(usize, ViewLength), Vec<Closed>> = BTreeMap::new();
        let mut watermarks: Vec<Option<i64>> = vec![None; plan.layouts.kinds.len()];
        for (at, (planned, store)) in plan.panes.iter().zip(&mut self.stores).enumerate() {
            let watermark_ms =
                *watermarks[usize::from(planned.kind)].get_or_insert_with(|| devices.advance(planned.kind));
            // What closes comes length by length.
            let mut of_length: Vec<(ViewLength, Vec<Closed>)> = Vec::new();
            let mut push = |length, it| match of_length.last_mut() {
                Some((last, all)) if *last == length => all.push(it),
                _ => of_length.push((length, vec![it])),
            };
            match store {
                Store::Panes(panes) => {
                    panes.close(&self.reporters[&planned.clock], watermark_ms, to_ms, push);
                    let place = planned.key.iter().position(|name| name == "zone");
                    self.faults.extend(panes.take_faults().into_iter().map(|(key, kind, device, at_ms)| Fault {
                        kind,
                        source: None,
                        device,
                        zone: place.map(|place| key[place]),
                        at_ms,
                    }));
                }
                Store::Sessions(sessions) => {
                    let length = planned.views[0];
                    sessions.close(watermark_ms, to_ms, |it| push(length, it));
                }
            }
            for (length, mut all) in of_length {
                match closed.entry((at, length)) {
                    Entry::Vacant(place) => {
                        place.insert(all);
                    }
                    Entry::Occupied(before) => before.into_mut().append(&mut all),
                }
            }
        }
        for ((at, _), closed) in &mut closed {
            weigh(closed, |start_ms, end_ms| kept_share(plan.panes[*at].kind, start_ms, end_ms));
        }
        let touched = self.take_touched();
        let waits = plan.rules.iter().any(PlannedRule::waits_for_silence);
        if closed.is_empty() && touched.is_empty() && !waits {
            return;
        }
        for (clock, reporters) in self.reporters.iter_mut().filter(|_| !closed.is_empty()) {
            let needed = plan.panes.iter().zip(&self.stores).filter(|(planned, _)| planned.clock == *clock);
            reporters.forget_before(needed.map(|(_, store)| store.needed_from()).min().unwrap_or(i64::MAX));
        }
        for planned in &plan.rules {
            let (Some(at), Body::Window(spec)) = (planned.panes, &planned.rule.body) else { continue };
            let length = ViewLength { last_ms: spec.last_ms, every_ms: spec.every_ms };
            let Some(operator) = &mut self.rules[planned.index] else { continue };
            let closed = closed.get(&(at, length)).map_or(&[][..], Vec::as_slice);
            let watermark_ms = watermarks[usize::from(planned.kind)].unwrap_or(i64::MIN / 4);
            let passed_ms = watermark_ms.saturating_sub(spec.lateness_ms).min(to_ms);
            let quiet_to_ms = spec.silence.map_or(i64::MIN, |_| quiet_to_ms(devices, planned.kind, passed_ms));
            if !closed.is_empty() || spec.silence.is_some() {
                plan.timed(planned.index, || {
                    operator.take(planned, closed, quiet_to_ms, |outcome| emit(planned.index, outcome));
                });
            }
            if let (Store::Panes(panes), Some(touched)) = (&self.stores[at], touched.get(&at)) {
                let reporters = &self.reporters[&plan.panes[at].clock];
                plan.timed(planned.index, || {
                    operator.take_early(planned, panes, reporters, touched, passed_ms, |outcome| {
                        emit(planned.index, outcome);
                    });
                });
            }
        }
    }

    /// Keys of panes with rules that want to know of them early.
    fn take_touched(&mut self) -> BTreeMap<usize, Vec<crate::window::GroupKey>> {
        let panes = self.stores.iter_mut().enumerate().filter_map(|(at, store)| match store {
            Store::Panes(panes) => Some((at, panes.take_touched())),
            Store::Sessions(_) => None,
        });
        panes.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// Where the keys of all rules stand.
    pub(super) fn live(&self, plan: &Plan) -> Vec<LiveValue> {
        let mut values = Vec::new();
        for planned in &plan.rules {
            if let Some(operator) = &self.rules[planned.index] {
                operator.live(planned, &mut values);
            }
        }
        values.sort_by(|a, b| (&a.rule, &a.key).cmp(&(&b.rule, &b.key)));
        values
    }

    /// What is wrong with devices since this was asked last.
    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// What the windows of one rule hold.
    pub(super) fn account(&self, plan: &Plan, rule: usize) -> Held {
        let Some(at) = plan.rules[rule].panes else { return Held::default() };
        let without_figure = self.rules[rule].as_ref().map_or(0, |operator| operator.without_figure);
        let (open, (groups, values), overflow, floored) = match &self.stores[at] {
            Store::Panes(panes) => {
                (self.reporters[&plan.panes[at].clock].len(), panes.held(), panes.overflow, panes.floored())
            }
            Store::Sessions(sessions) => (sessions.held().0, sessions.held(), sessions.overflow, 0),
        };
        Held { open, groups, values, overflow, without_figure, floored }
    }

    pub(super) fn save(&self, plan: &Plan) -> SavedWindows {
        let save = |store: &Store| match store {
            Store::Panes(panes) => SavedStore::Panes(panes.save()),
            Store::Sessions(sessions) => SavedStore::Sessions(sessions.save()),
        };
        SavedWindows {
            reporters: self.reporters.iter().map(|(clock, it)| (*clock, it.save())).collect(),
            stores: plan.panes.iter().map(|it| it.meaning.clone()).zip(self.stores.iter().map(save)).collect(),
            rules: self.rules.iter().map(|it| it.as_ref().map(WindowOperator::save)).collect(),
        }
    }

    /// `place` says where a rule of the state stands by now.
    pub(super) fn load(&mut self, plan: &Plan, saved: SavedWindows, place: impl Fn(usize) -> Option<usize>) {
        for (clock, saved) in saved.reporters {
            if let Some(reporters) = self.reporters.get_mut(&clock) {
                reporters.load(saved);
            }
        }
        let mut saved_stores: BTreeMap<String, SavedStore> = saved.stores.into_iter().collect();
        for (planned, store) in plan.panes.iter().zip(&mut self.stores) {
            match (store, saved_stores.remove(&planned.meaning)) {
                (Store::Panes(panes), Some(SavedStore::Panes(saved))) => panes.load(saved),
                (Store::Sessions(sessions), Some(SavedStore::Sessions(saved))) => sessions.load(saved),
                _ => {}
            }
        }
        for (rule, saved) in saved.rules.into_iter().enumerate() {
            let operator = place(rule).and_then(|rule| self.rules[rule].as_mut());
            if let (Some(operator), Some(saved)) = (operator, saved) {
                operator.load(saved);
            }
        }
    }
}

/// Says of windows how complete they are, where records were let go: of a whole kind, since the records were not looked
/// into far enough to know their zone.
fn weigh(closed: &mut [Closed], kept_share: impl Fn(i64, i64) -> Option<f64>) {
    let mut last = (i64::MIN, i64::MIN, None);
    for it in closed {
        if (it.start_ms, it.end_ms) != (last.0, last.1) {
            last = (it.start_ms, it.end_ms, kept_share(it.start_ms, it.end_ms));
        }
        if let Some(share) = last.2 {
            it.completeness = Some(it.completeness.unwrap_or(1.0) * share);
        }
    }
}

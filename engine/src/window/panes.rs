//! Panes of one measure over one set of records, and the windows they add up to.
//!
//! Rules that count the same records by the same key in panes of the same length share the panes,
//! however long their windows are: each length is a view that slides over them.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use super::counters::Counters;
use super::fault::FaultKind;
use super::ledgers::Ledgers;
use super::measure::{Accumulator, Adding, Contribution, Sliding};
use super::near::{Near, NearLength};
use super::reporters::{DeviceSet, PaneClock, Reporters};
use super::revisions::Revisions;
use super::roster::ZoneRoster;
use super::sightings;
use super::view::{View, ViewLength};
use crate::record::SymbolId;
use crate::testing::sabotage::{self, Wrong};

pub(crate) use saved::SavedPanes;

/// Numbers of the key's values; unused places are 0.
pub(crate) type GroupKey = [SymbolId; 4];

/// What is wrong: with which key, what, by which device, when.
pub(crate) type KeyFault = (GroupKey, FaultKind, SymbolId, i64);

/// One record, as a window rule sees it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Observation {
    /// Event time.
    pub(crate) ts_ms: i64,
    /// Key; `None` when a key column is empty, such as outside all zones.
    pub(crate) key: Option<GroupKey>,
    /// Whether it lies in a part of this zone, and counts here because of that.
    pub(crate) inherited: bool,
    /// What it adds.
    pub(crate) contribution: Contribution,
}

pub(super) type Groups = HashMap<GroupKey, Accumulator, RandomState>;

/// The value of one key in one closed window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closed {
    pub(crate) key: GroupKey,
    /// First moment inside.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) value: f64,
    /// Half of the interval in which the true value lies in 95 of 100 cases, where the measure states one.
    pub(crate) margin: Option<f64>,
    /// Share of the zone's devices that reported, where it is known which they are.
    pub(crate) completeness: Option<f64>,
    /// 0 at first; counts up when late records change the value.
    pub(crate) revision: u32,
}

/// How much windows may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Keys over all open panes, or open sessions.
    pub(crate) groups_max: usize,
    /// Values that are kept one by one, over all of them.
    pub(crate) values_max: usize,
}

/// What panes are made for.
pub(crate) struct PanesSpec {
    pub(crate) measure: Measure,
    pub(crate) clock: PaneClock,
    pub(crate) room: Room,
    pub(crate) roster: ZoneRoster,
    /// The zones that are part of a zone.
    pub(crate) parts: BTreeMap<GroupKey, Vec<GroupKey>>,
    /// Whether a rule wants to know of values before their window closes.
    pub(crate) early: bool,
    pub(crate) views: Vec<ViewLength>,
}

/// State of one measure over one set of records.
pub(crate) struct Panes {
    measure: Measure,
    adding: Adding,
    clock: PaneClock,
    open: BTreeMap<i64, Groups>,
    groups: usize,
    /// Values that are kept one by one.
    values: usize,
    /// In place of these three, where windows can be made of less.
    near: Option<Near>,
    room: Room,
    roster: ZoneRoster,
    views: Vec<View>,
    /// Who is inside, for `occupancy`.
    ledgers: Option<Ledgers>,
    /// Running totals, of which what is new counts.
    counters: Counters,
    /// What is wrong with counters and not yet told.
    faults: Vec<KeyFault>,
    /// Late records and what was told before them, where windows are revised.
    revisions: Option<Revisions>,
    /// Keys that got a record since the last time this was asked, where early alerts are wanted.
    touched: Option<HashSet<GroupKey, RandomState>>,
    /// Observations that found no room.
    pub(crate) overflow: u64,
}

impl Panes {
    pub(crate) fn new(spec: PanesSpec) -> Self {
        let mut panes = Self {
            adding: Adding::new(&spec.measure),
            ledgers: match &spec.measure {
                Measure::Occupancy(occupancy) => Some(Ledgers::new(occupancy, spec.parts)),
                _ => None,
            },
            revisions: (spec.clock.revise_for_ms > 0).then(Revisions::default),
            counters: Counters::default(),
            faults: Vec::new(),
            touched: spec.early.then(HashSet::default),
            measure: spec.measure,
            clock: spec.clock,
            open: BTreeMap::new(),
            groups: 0,
            values: 0,
            room: spec.room,
            roster: spec.roster,
            views: spec.views.into_iter().map(View::new).collect(),
            near: None,
            overflow: 0,
        };
        panes.near = panes.new_near();
        panes
    }

    /// What these panes and views can be made of in place of accumulators, if nothing is revised.
    fn new_near(&self) -> Option<Near> {
        let length = |view: &View| NearLength {
            panes: view.length.last_ms / self.clock.pane_ms,
            slides: self.slides(&view.length),
            closed_to: view.closed_to_ms.map(|end_ms| self.clock.pane_of(end_ms)),
        };
        let may_be = self.revisions.is_none() && !sabotage::is(Wrong::FirstPaneDropped);
        may_be.then(|| Near::new(&self.measure, &self.views.iter().map(length).collect::<Vec<_>>())).flatten()
    }

    /// Keeps the views that are wanted and adds those that are new.
    pub(crate) fn want(&mut self, wanted: &[ViewLength], early: bool) {
        let before: Vec<ViewLength> = self.views.iter().map(|view| view.length).collect();
        self.views.retain(|view| wanted.contains(&view.length));
        for length in wanted {
            if !self.views.iter().any(|view| view.length == *length) {
                self.views.push(View::new(*length));
            }
        }
        if self.views.iter().map(|view| view.length).ne(before) {
            self.reshape();
        }
        match (early, &self.touched) {
            (true, None) => self.touched = Some(HashSet::default()),
            (false, Some(_)) => self.touched = None,
            _ => {}
        }
    }

    /// Adds records that pass the condition, in their order. Their memory lies far apart and would be waited for one by one,
    /// so that it is asked for together.
    pub(crate) fn observe_all(&mut self, observations: &[Observation]) {
        for observations in observations.chunks(sightings::TOGETHER) {
            if self.near.is_some() && observations.iter().all(|it| it.contribution.total.is_none()) {
                self.see_all(observations);
                continue;
            }
            for observation in observations {
                let groups = self.open.get(&self.clock.pane_of(observation.ts_ms));
                if let Some(accumulator) = observation.key.and_then(|key| groups?.get(&key)) {
                    accumulator.expect(&observation.contribution);
                }
            }
            for observation in observations {
                self.observe(observation);
            }
        }
    }

    fn see_all(&mut self, observations: &[Observation]) {
        let Some(near) = &mut self.near else { return };
        let (clock, overflow) = (self.clock, &mut self.overflow);
        for (key, observation) in observations.iter().filter_map(|it| Some((it.key?, it))) {
            self.roster.learn(&key, observation.contribution.device, clock.pane_of(observation.ts_ms));
        }
        near.observe(observations, clock, self.room, |key, had_room| match &mut self.touched {
            _ if !had_room => *overflow += 1,
            Some(touched) => drop(touched.insert(key)),
            None => {}
        });
    }

    /// Adds a record that passes the condition.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        let Some(key) = observation.key else { return };
        let pane = self.clock.pane_of(observation.ts_ms);
        self.roster.learn(&key, observation.contribution.device, pane);
        // Who is inside a part of a zone is inside the zone: parts are added when a window closes.
        if observation.inherited && self.ledgers.is_some() {
            return;
        }
        if observation.contribution.total.is_some() {
            if self.counters.len() >= self.room.values_max {
                self.overflow += 1;
            } else {
                self.counters.add(pane, *observation);
            }
            return;
        }
        if self.near.is_some() {
            return self.see_all(std::slice::from_ref(observation));
        }
        let groups = self.open.entry(pane).or_default();
        let accumulator = match groups.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) if self.groups < self.room.groups_max => {
                self.groups += 1;
                place.insert(Accumulator::new(&self.measure))
            }
            Entry::Vacant(_) => {
                self.overflow += 1;
                return;
            }
        };
        let (ts_ms, contribution) = (observation.ts_ms, &observation.contribution);
        if self.values >= self.room.values_max && accumulator.would_keep(ts_ms, contribution) {
            self.overflow += 1;
            return;
        }
        let before = accumulator.values();
        accumulator.add(ts_ms, contribution, self.adding);
        self.values += accumulator.values() - before;
        if let Some(touched) = &mut self.touched {
            touched.insert(key);
        }
    }

    /// Takes a late record whose windows may be revised. `passed_ms` is how far its device had come.
    pub(crate) fn revise(&mut self, observation: &Observation, passed_ms: i64) {
        let Some(revisions) = &mut self.revisions else { return };
        if observation.contribution.total.is_some() {
            // A later reading of the counter holds what this one would have told.
            return;
        }
        if revisions.len() >= self.room.groups_max {
            self.overflow += 1;
            return;
        }
        let every_ms = self.views.first().map_or(1, |view| view.length.every_ms);
        revisions.add((passed_ms.div_euclid(every_ms) + 1) * every_ms, *observation);
    }

    /// Whether the sums of a view's windows move on instead of being made anew.
    fn slides(&self, length: &ViewLength) -> bool {
        length.last_ms > self.clock.pane_ms && self.revisions.is_none() && Sliding::new(&self.measure).is_some()
    }

    /// Closes every window that the watermark has passed, those of one length in order of their ends; keys
    /// are not ordered. `to_ms` is the last end that may close at all.
    pub(crate) fn close(
        &mut self,
        reporters: &Reporters,
        watermark_ms: i64,
        to_ms: i64,
        mut emit: impl FnMut(ViewLength, Closed),
    ) {
        let passed_ms = watermark_ms.saturating_sub(self.clock.lateness_ms).min(to_ms);
        let (counted, faults) = self.counters.take_before(self.clock.pane_of(passed_ms));
        self.faults.extend(faults);
        for observation in counted {
            self.observe(&observation);
        }
        for at in 0..self.views.len() {
            let length = self.views[at].length;
            let slides = self.slides(&length);
            loop {
                let next_end_ms = self.next_end(&self.views[at], reporters).filter(|end_ms| *end_ms <= passed_ms);
                if self.apply_next_revision(reporters, at, next_end_ms.unwrap_or(passed_ms), &mut emit) {
                    continue;
                }
                let Some(end_ms) = next_end_ms else { break };
                if slides && self.near.is_none() {
                    self.views[at].slide_to(&self.open, &self.measure, self.clock.pane_of(end_ms));
                }
                self.close_one(at, reporters, end_ms, slides, |closed| emit(length, closed));
                let view = &mut self.views[at];
                view.closed_to_ms = Some(end_ms);
                view.from = self.clock.pane_of(end_ms + length.every_ms - length.last_ms);
                if slides && self.near.is_some() {
                    view.pass(self.clock.pane_of(end_ms));
                } else if slides {
                    view.slide_out(&self.open);
                }
            }
            if let Some(revisions) = &mut self.revisions {
                revisions.forget_before(
                    passed_ms.saturating_sub(self.clock.revise_for_ms + length.last_ms + 2 * length.every_ms),
                );
            }
        }
        let from = self.needed_from();
        if let Some(near) = &mut self.near {
            near.forget_before(from);
        }
        while self.open.first_key_value().is_some_and(|(first, _)| *first < from) {
            let Some((_, gone)) = self.open.pop_first() else { break };
            self.groups -= gone.len();
            self.values -= gone.values().map(Accumulator::values).sum::<usize>();
        }
    }

    /// The end of the next window in which a device reported.
    fn next_end(&self, view: &View, reporters: &Reporters) -> Option<i64> {
        let every_ms = view.length.every_ms;
        let reported = reporters.first_from(view.from);
        // Where nobody reported in time somebody may have reported late.
        let late = self.revisions.as_ref().and_then(|_| self.open.range(view.from..).next()).map(|(pane, _)| *pane);
        let first_end_ms = (reported.into_iter().chain(late).min()? + 1) * self.clock.pane_ms;
        let mut end_ms = first_end_ms.div_euclid(every_ms) * every_ms;
        if end_ms < first_end_ms {
            end_ms += every_ms;
        }
        Some(view.closed_to_ms.map_or(end_ms, |closed_to_ms| end_ms.max(closed_to_ms + every_ms)))
    }

    /// The first pane that a window still open, or one that may be revised, may hold.
    pub(crate) fn needed_from(&self) -> i64 {
        let from = self.views.iter().map(|view| view.from).min().unwrap_or(i64::MAX);
        if self.revisions.is_none() || from == i64::MIN {
            return from;
        }
        // A late record takes effect with the next window, and its own window may lie as far back as it may be late.
        let every_ms = self.views.iter().map(|view| view.length.every_ms).max().unwrap_or(0);
        from - (self.clock.revise_for_ms + every_ms) / self.clock.pane_ms - 1
    }

    fn panes_of(&self, length: ViewLength, end_ms: i64) -> Range<i64> {
        self.clock.pane_of(end_ms - length.last_ms)..self.clock.pane_of(end_ms)
    }

    /// At how many distinct instants a device reported, late reports that have taken effect included.
    fn instants(&self, reporters: &Reporters, range: &Range<i64>, device: SymbolId) -> u64 {
        let late = self.revisions.as_ref().map_or(0, |revisions| {
            revisions.instants(range.start * self.clock.pane_ms..range.end * self.clock.pane_ms, device)
        });
        reporters.instants(range.clone(), device) + late
    }

    fn close_one(&mut self, at: usize, reporters: &Reporters, end_ms: i64, slides: bool, mut emit: impl FnMut(Closed)) {
        let length = self.views[at].length;
        let range = self.panes_of(length, end_ms);
        let (range, slides) =
            if sabotage::is(Wrong::FirstPaneDropped) { (range.start + 1..range.end, false) } else { (range, slides) };
        let reported = reporters.reported_in(range.clone());
        if self.ledgers.is_some() {
            return self.close_ledgers(&reported, length, end_ms, &range, emit);
        }
        let mut told = self.values_of(at, reporters, &range, slides);
        let among = self.roster.among(told.iter().map(|(key, _)| key));
        let silent = self.roster.keys().filter(|key| !among[key[0] as usize]);
        let seen_empty =
            silent.filter(|key| self.roster.watch(key, range.end, &reported).is_some_and(|(_, here)| here > 0));
        told.extend(seen_empty.map(|key| (key, Accumulator::zero(&self.measure))));
        for (key, value) in told {
            let Some(value) = value else { continue };
            if let Some(revisions) = &mut self.revisions {
                revisions.told(end_ms, key, 0);
            }
            let completeness = self.completeness(&key, &reported, &range);
            emit(Closed {
                key,
                start_ms: end_ms - length.last_ms,
                end_ms,
                value,
                margin: None,
                completeness,
                revision: 0,
            });
        }
    }

    /// The values of a window over these panes, by key.
    fn values_of(
        &mut self,
        at: usize,
        reporters: &Reporters,
        range: &Range<i64>,
        slides: bool,
    ) -> Vec<(GroupKey, Option<f64>)> {
        if let Some(near) = &mut self.near {
            return near.close(at, range.end);
        }
        let instants = |device: u32| self.instants(reporters, range, device);
        if slides {
            let values = self.views[at].sliding.iter();
            return values.map(|(key, sliding)| (*key, sliding.value(&self.measure, instants))).collect();
        }
        if range.end - range.start == 1 {
            let values = self.open.get(&range.start).into_iter().flatten();
            return values.map(|(key, accumulator)| (*key, accumulator.value(&self.measure, instants))).collect();
        }
        let mut sums: Groups = HashMap::default();
        for (key, accumulator) in self.open.range(range.clone()).flat_map(|(_, groups)| groups) {
            sums.entry(*key).or_insert_with(|| Accumulator::new(&self.measure)).merge(accumulator);
        }
        sums.iter().map(|(key, sum)| (*key, sum.value(&self.measure, instants))).collect()
    }

    fn completeness(&self, key: &GroupKey, reported: &DeviceSet, range: &Range<i64>) -> Option<f64> {
        let (known, reported) = self.roster.watch(key, range.end, reported)?;
        (known > 0).then(|| reported as f64 / known as f64)
    }

    /// Who is inside at the end of a window: of every zone in which something happened or whose devices reported.
    fn close_ledgers(
        &mut self,
        reported: &DeviceSet,
        length: ViewLength,
        end_ms: i64,
        range: &Range<i64>,
        mut emit: impl FnMut(Closed),
    ) {
        let Some(mut ledgers) = self.ledgers.take() else { return };
        let happened = self.open.get(&range.start);
        ledgers.take(happened, end_ms);
        let seen = |key: &GroupKey| self.roster.watch(key, range.end, reported).is_some_and(|(_, here)| here > 0);
        let roster = self.roster.keys().filter(seen);
        let keys: BTreeSet<GroupKey> =
            happened.into_iter().flat_map(|groups| groups.keys().copied()).chain(roster).collect();
        for key in ledgers.with_wholes(&keys) {
            let inside = ledgers.told(ledgers.inside(&key));
            emit(Closed {
                key,
                start_ms: end_ms - length.last_ms,
                end_ms,
                value: inside.people,
                margin: Some(inside.margin()),
                completeness: self.completeness(&key, reported, range),
                revision: 0,
            });
        }
        self.ledgers = Some(ledgers);
    }

    /// The late records whose turn comes next, by `to_ms`, change their panes, and windows that have closed are told
    /// anew. Whether there were any.
    fn apply_next_revision(
        &mut self,
        reporters: &Reporters,
        at: usize,
        to_ms: i64,
        emit: &mut impl FnMut(ViewLength, Closed),
    ) -> bool {
        let Some(late) = self.revisions.as_mut().and_then(|revisions| revisions.next(to_ms)) else { return false };
        let View { length, closed_to_ms, .. } = self.views[at];
        let mut changed: BTreeSet<(i64, GroupKey)> = BTreeSet::new();
        for observation in late {
            let Some(key) = observation.key else { continue };
            self.observe(&observation);
            if let Some(revisions) = &mut self.revisions
                && !reporters.has(observation.ts_ms, observation.contribution.device)
            {
                revisions.report(observation.ts_ms, observation.contribution.device);
            }
            let first_end_ms = (observation.ts_ms.div_euclid(length.every_ms) + 1) * length.every_ms;
            let ends = (0..).map(|n| first_end_ms + n * length.every_ms);
            // Windows that have not closed yet will close with it.
            let holds = |end_ms: &i64| {
                closed_to_ms.is_some_and(|closed_to_ms| *end_ms <= closed_to_ms)
                    && end_ms - length.last_ms <= observation.ts_ms
            };
            for end_ms in ends.take_while(holds) {
                changed.insert((end_ms, key));
                // What the device saw elsewhere is divided by one instant more.
                let panes = self.open.range(self.panes_of(length, end_ms)).flat_map(|(_, groups)| groups);
                let divided = panes.filter(|(_, pane)| pane.is_seen_by(observation.contribution.device));
                changed.extend(divided.map(|(key, _)| (end_ms, *key)));
            }
        }
        for (end_ms, key) in changed {
            let range = self.panes_of(length, end_ms);
            let instants = |device: u32| self.instants(reporters, &range, device);
            let mut sum = Accumulator::new(&self.measure);
            for accumulator in self.open.range(range.clone()).filter_map(|(_, groups)| groups.get(&key)) {
                sum.merge(accumulator);
            }
            let Some(value) = sum.value(&self.measure, instants) else { continue };
            let completeness = self.completeness(&key, &reporters.reported_in(range.clone()), &range);
            let Some(revisions) = &mut self.revisions else { continue };
            let revision = revisions.next_revision(end_ms, key);
            let start_ms = end_ms - length.last_ms;
            emit(length, Closed { key, start_ms, end_ms, value, margin: None, completeness, revision });
        }
        true
    }

    /// Keys that got a record since this was asked last.
    pub(crate) fn take_touched(&mut self) -> Vec<GroupKey> {
        self.touched.as_mut().map_or_else(Vec::new, |touched| {
            let mut keys: Vec<GroupKey> = touched.drain().collect();
            keys.sort_unstable();
            keys
        })
    }

    /// The end of the first window of this length that is still open.
    pub(crate) fn first_open_end(&self, length: ViewLength, reporters: &Reporters) -> Option<i64> {
        self.next_end(self.views.iter().find(|view| view.length == length)?, reporters)
    }

    /// The value of a key in a window that is still open, if it may have reached `at_least` already. For measures that
    /// only grow.
    pub(crate) fn partial(&self, key: &GroupKey, length: ViewLength, end_ms: i64, at_least: f64) -> Option<f64> {
        if let Some(near) = &self.near {
            return near.partial(key, &self.panes_of(length, end_ms), at_least);
        }
        let inside = || self.open.range(self.panes_of(length, end_ms)).filter_map(|(_, groups)| groups.get(key));
        let no_more_than: f64 = inside().filter_map(|pane| pane.value(&self.measure, |_| 1)).sum();
        if no_more_than < at_least {
            return None;
        }
        let mut sum = Accumulator::new(&self.measure);
        for pane in inside() {
            sum.merge(pane);
        }
        sum.value(&self.measure, |_| 1).filter(|value| *value >= at_least)
    }

    /// Keys in panes, and values kept one by one.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.near.as_ref().map_or((self.groups, self.values), Near::held)
    }

    /// What is wrong with devices since this was asked last, with the key it is about.
    pub(crate) fn take_faults(&mut self) -> Vec<KeyFault> {
        let mut faults = std::mem::take(&mut self.faults);
        faults.extend(self.ledgers.as_mut().map_or_else(Vec::new, Ledgers::take_faults));
        faults
    }

    /// Times at which more had gone out of a zone than were inside.
    pub(crate) fn floored(&self) -> u64 {
        self.ledgers.as_ref().map_or(0, Ledgers::floored)
    }
}

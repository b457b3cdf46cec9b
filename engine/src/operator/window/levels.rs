//! What one window rule keeps for itself: where each key stands among the levels, and what it will be.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_rules::pack::{Body, Level, Silence, WhenSilent, WindowSpec};

use super::keys::{KeyState, KeyTexts, Keys, LastValue, SavedKey, Texts};
use super::outlook::outlook;
use super::outputs::{Told, WindowOutcome, tell};
use super::placed::{PlacedZones, ZonesBySymbol};
use crate::live::{LIVE_MAX, LiveValue};
use crate::operator::PlannedRule;
use crate::record::{Layouts, Symbols};
use crate::window::{Change, Closed, Forecaster, GroupKey, LevelState, Panes, Reporters, Thresholds, ViewLength, Zone};

/// Keys of one rule that are forecast; a forecast takes 3 KiB.
const FORECASTS_MAX: usize = 10_000;
/// How many times in a row it is looked whether a zone that was closed when it fell silent is open again.
const SILENCE_CHECKS_MAX: i64 = 100_000;

/// What one window rule keeps for itself.
pub(crate) struct WindowOperator {
    symbols: Vec<Symbols>,
    /// Zones of the zone table, by symbol.
    zones: Arc<ZonesBySymbol>,
    /// Place of the zone in the key, if it is there.
    zone_place: Option<usize>,
    keys: Keys,
    forecasts: usize,
    /// No key falls silent before this.
    quiet_from_ms: i64,
    texts: Texts,
    groups_max: usize,
    /// Values of zones that the zone table does not have, left out because nothing can divide them.
    pub(crate) without_figure: u64,
}

/// A [`WindowOperator`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedLevels {
    keys: Vec<(GroupKey, SavedKey)>,
    without_figure: u64,
}

impl SavedLevels {
    /// Keys of which something is kept.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl WindowOperator {
    pub(crate) fn new(spec: &WindowSpec, layouts: &Layouts, zones: &PlacedZones, groups_max: usize) -> Self {
        Self {
            symbols: spec.key.iter().map(|name| layouts.symbols[name].clone()).collect(),
            zones: Arc::clone(&zones.by_symbol),
            zone_place: spec.key.iter().position(|name| name == "zone"),
            keys: Keys::new(spec.levels.len()),
            forecasts: 0,
            quiet_from_ms: i64::MIN,
            texts: Texts::default(),
            groups_max,
            without_figure: 0,
        }
    }

    fn zone(&self, key: &GroupKey) -> Option<&Zone> {
        self.zones.get(&key[self.zone_place?])
    }

    /// What the values of a key are divided by; `None` if the zone table does not say.
    fn figure(&self, spec: &WindowSpec, key: &GroupKey) -> Option<f64> {
        match spec.per {
            None => Some(1.0),
            Some(per) => self.zone(key)?.figure(per),
        }
    }

    fn thresholds(&self, level: &Level, key: &GroupKey, end_ms: i64) -> Thresholds {
        if level.for_zones.is_empty() {
            return Thresholds { enter: level.enter, exit: level.exit };
        }
        let zone = self.zone(key);
        let minute = zone.map_or_else(|| Zone::default().minute_of_day(end_ms), |zone| zone.minute_of_day(end_ms));
        let (enter, exit) = level.thresholds(zone.and_then(|zone| zone.class.as_deref()), minute);
        Thresholds { enter, exit }
    }

    /// Takes closed windows; what follows goes to `emit`, ordered by window end and key text. Silence is looked for up
    /// to `quiet_to_ms`.
    pub(crate) fn take(
        &mut self,
        planned: &PlannedRule,
        closed: &[Closed],
        quiet_to_ms: i64,
        mut emit: impl FnMut(WindowOutcome),
    ) {
        let Body::Window(spec) = &planned.rule.body else { return };
        // Windows of one key come in order of their ends. Most values change nothing and go nowhere; only those
        // that do need names and their place in the order.
        let mut told: Vec<Told<'_>> = Vec::new();
        let keeps_keys = !spec.levels.is_empty() || spec.forecast.is_some();
        // Where they come in the order in which they are told, each is told before the next one is looked at.
        let by_window = spec.silence.is_none() && closed.is_sorted_by_key(|closed| closed.end_ms);
        let mut keys = std::mem::take(&mut self.keys);
        for window in closed.chunk_by(|a, b| !by_window || a.end_ms == b.end_ms) {
            for closed in window {
                self.take_value(spec, &mut keys, closed.clone(), keeps_keys, &mut told);
            }
            if by_window {
                tell(planned, spec, &told, &mut emit);
                told.clear();
            }
        }
        self.keys = keys;
        if let Some(silence) = spec.silence {
            self.look_for_silence(spec, silence, quiet_to_ms, &mut told);
        }
        tell(planned, spec, &told, emit);
    }

    /// The value of a key in a window.
    fn take_value<'s>(
        &mut self,
        spec: &'s WindowSpec,
        keys: &mut Keys,
        mut closed: Closed,
        keeps_keys: bool,
        told: &mut Vec<Told<'s>>,
    ) {
        let Some(figure) = self.figure(spec, &closed.key) else {
            self.without_figure += 1;
            return;
        };
        closed.value /= figure;
        closed.margin = closed.margin.map(|margin| margin / figure);
        // What is told anew, or for the first time after later windows, is a value; levels have gone on.
        let known = keys.number_in_order(&closed.key);
        let is_past = known.is_some_and(|it| keys.state(it).last_end_ms >= closed.end_ms) && !spec.session;
        if closed.revision > 0 || is_past || !keeps_keys {
            if closed.revision > 0 || is_past || spec.emit_windows {
                told.push(Told::value(self.texts_of(&closed.key), closed, None));
            }
            return;
        }
        let number = known.unwrap_or_else(|| keys.add(closed.key, KeyState::new(spec, closed.end_ms)));
        self.step(spec, keys.at(number), &closed, told);
    }

    /// A key's next value, of which its levels hear.
    fn step<'s>(
        &mut self,
        spec: &'s WindowSpec,
        (state, levels): (&mut KeyState, &mut [LevelState]),
        closed: &Closed,
        told: &mut Vec<Told<'s>>,
    ) {
        let (key, end_ms) = (closed.key, closed.end_ms);
        if let Some(silence) = spec.silence
            && let Some(at_ms) = state.falls_silent(spec, silence, self.zone(&key), end_ms - 1)
        {
            self.tell_silence(spec, silence, (key, at_ms), (state, levels), told);
        }
        if std::mem::take(&mut state.silent) && spec.silence.is_some_and(|it| it.action == WhenSilent::Alert) {
            told.push(Told::change(self.texts_of(&key), closed.clone(), Change::Heard));
        }
        let follows = !spec.session && state.last_end_ms + spec.every_ms == end_ms;
        (state.last_end_ms, state.quiet_to_ms) = (end_ms, end_ms);
        self.expect_from(spec, end_ms);
        if spec.forecast.is_some() && state.forecaster.is_none() && self.forecasts < FORECASTS_MAX {
            self.forecasts += 1;
            state.forecaster = spec.forecast.map(|it| Box::new(Forecaster::new(spec.every_ms, it.horizon_ms)));
        }
        if let Some(forecaster) = &mut state.forecaster {
            forecaster.learn(end_ms, closed.value);
        }
        // A value that may be off by so much is held against a level with all of it.
        let off_by = closed.margin.unwrap_or(0.0);
        let upper = closed.value + off_by;
        let looked = state.forecaster.as_deref().zip(spec.forecast).and_then(|(forecaster, forecast)| {
            let enter = spec.levels.iter().zip(&*levels).find(|(_, state)| !state.is_active());
            let enter = enter.map(|(level, _)| (level, self.thresholds(level, &key, end_ms).enter));
            outlook(forecaster, forecast, spec.every_ms, (closed.value, off_by), enter)
        });
        if spec.emit_windows {
            told.push(Told::value(self.texts_of(&key), closed.clone(), looked.clone().map(Box::new)));
        }
        for (level, holds) in spec.levels.iter().zip(levels) {
            let thresholds = self.thresholds(level, &key, end_ms);
            let told_early = holds.told_early.take() == Some(end_ms);
            let changed = holds.step(level, thresholds, upper, follows);
            let mut tell = |change, closed: Closed, revision| {
                let texts = self.texts_of(&key);
                let (level, outlook) = (Some((level, thresholds)), looked.clone().map(Box::new));
                told.push(Told { level, revision, outlook, ..Told::change(texts, closed, change) });
            };
            match changed {
                Some(Change::Enter) if spec.early => {
                    if !told_early {
                        tell(Change::Enter, early(closed, thresholds), 0);
                    }
                    tell(Change::Enter, closed.clone(), 1);
                }
                Some(change) => tell(change, closed.clone(), 0),
                None => {}
            }
            let comes = looked
                .as_ref()
                .is_some_and(|it| it.level.as_deref() == Some(&level.name) && it.minutes_to_level.is_some());
            if holds.is_active() || upper < thresholds.exit && !comes {
                holds.expected = false;
            } else if comes && !holds.expected && changed.is_none() {
                holds.expected = true;
                tell(Change::Expected, closed.clone(), 0);
            }
        }
        state.last = Some(LastValue::of(closed, looked));
    }

    /// Where each key stands.
    pub(crate) fn live(&self, planned: &PlannedRule, values: &mut Vec<LiveValue>) {
        let Body::Window(spec) = &planned.rule.body else { return };
        for (key, state, levels) in self.keys.iter() {
            let Some(last) = state.last.as_ref().filter(|_| values.len() < LIVE_MAX) else { continue };
            let texts = self.symbols.iter().zip(key).map(|(symbols, id)| symbols.text(*id).to_string());
            let holding = spec.levels.iter().zip(levels).filter(|(_, state)| state.is_active());
            values.push(LiveValue {
                rule: planned.rule.id.clone(),
                key: spec.key.iter().cloned().zip(texts).collect(),
                end_ms: state.last_end_ms,
                value: last.value,
                margin: last.margin,
                completeness: last.completeness,
                levels: holding.map(|(level, _)| level.name.clone()).collect(),
                silent: state.silent,
                forecast: last.outlook.as_deref().cloned(),
            });
        }
    }

    /// Keys that got a record: a level that will surely be entered with the window still open is told at once.
    pub(crate) fn take_early(
        &mut self,
        planned: &PlannedRule,
        panes: &Panes,
        reporters: &Reporters,
        touched: &[GroupKey],
        passed_ms: i64,
        emit: impl FnMut(WindowOutcome),
    ) {
        let Body::Window(spec) = &planned.rule.body else { return };
        let length = ViewLength { last_ms: spec.last_ms, every_ms: spec.every_ms };
        // While the window before may still get a value, it may be the one that enters the level.
        let is_next = |end_ms: &i64| spec.early && end_ms - spec.every_ms <= passed_ms;
        let Some(end_ms) = panes.first_open_end(length, reporters).filter(is_next) else { return };
        let mut told: Vec<Told<'_>> = Vec::new();
        for key in touched {
            let Some(figure) = self.figure(spec, key) else { continue };
            for (at, level) in spec.levels.iter().enumerate() {
                let thresholds = self.thresholds(level, key, end_ms);
                let fresh = LevelState::default();
                let known = self.keys.number(key);
                let state = known.map_or(&fresh, |known| &self.keys.levels(known)[at]);
                let follows = known.is_none_or(|it| self.keys.state(it).last_end_ms + spec.every_ms == end_ms);
                if state.told_early == Some(end_ms) || !state.would_enter(level, follows) {
                    continue;
                }
                if panes.partial(key, length, end_ms, thresholds.enter * figure).is_none() {
                    continue;
                }
                let closed = Closed {
                    key: *key,
                    start_ms: end_ms - spec.last_ms,
                    end_ms,
                    value: thresholds.enter,
                    margin: None,
                    completeness: None,
                    revision: 0,
                };
                let number = known.unwrap_or_else(|| {
                    let quiet_to_ms = end_ms - spec.every_ms;
                    self.keys.add(*key, KeyState { quiet_to_ms, ..KeyState::new(spec, end_ms) })
                });
                self.keys.at(number).1[at].told_early = Some(end_ms);
                self.expect_from(spec, end_ms - spec.every_ms);
                let texts = self.texts_of(key);
                let change = Told::change(texts, closed, Change::Enter);
                told.push(Told { level: Some((level, thresholds)), ..change });
            }
        }
        tell(planned, spec, &told, emit);
    }

    /// A key had its last value then.
    fn expect_from(&mut self, spec: &WindowSpec, end_ms: i64) {
        if let Some(silence) = spec.silence {
            self.quiet_from_ms = self.quiet_from_ms.min(end_ms + silence.after_ms);
        }
    }

    fn look_for_silence<'s>(&mut self, spec: &'s WindowSpec, silence: Silence, to_ms: i64, told: &mut Vec<Told<'s>>) {
        if to_ms < self.quiet_from_ms {
            return;
        }
        let waiting = |state: &KeyState| !state.silent && state.last_end_ms + silence.after_ms <= to_ms;
        let mut keys = std::mem::take(&mut self.keys);
        let found: Vec<(usize, GroupKey)> = keys
            .iter()
            .enumerate()
            .filter_map(|(number, (key, state, _))| waiting(state).then_some((number, *key)))
            .collect();
        for (number, key) in found {
            let (state, levels) = keys.at(number);
            if let Some(at_ms) = state.falls_silent(spec, silence, self.zone(&key), to_ms) {
                self.tell_silence(spec, silence, (key, at_ms), (state, levels), told);
            }
        }
        self.keys = keys;
        let heard = self.keys.iter().filter(|(_, state, _)| !state.silent);
        self.quiet_from_ms = heard.map(|(_, state, _)| state.quiet_to_ms + silence.after_ms).min().unwrap_or(i64::MAX);
    }

    fn tell_silence<'s>(
        &mut self,
        spec: &'s WindowSpec,
        silence: Silence,
        (key, at_ms): (GroupKey, i64),
        (state, levels): (&KeyState, &mut [LevelState]),
        told: &mut Vec<Told<'s>>,
    ) {
        let texts = self.texts_of(&key);
        let nothing = Closed {
            key,
            start_ms: state.last_end_ms,
            end_ms: at_ms,
            value: f64::NAN,
            margin: None,
            completeness: Some(0.0),
            revision: 0,
        };
        match silence.action {
            WhenSilent::Hold => {}
            WhenSilent::Alert => told.push(Told::change(texts, nothing, Change::Silent)),
            WhenSilent::Clear => {
                for (level, state) in spec.levels.iter().zip(levels).filter(|(_, state)| state.is_active()) {
                    state.clear();
                    let thresholds = self.thresholds(level, &key, at_ms);
                    let change = Told::change(Arc::clone(&texts), nothing.clone(), Change::Exit);
                    told.push(Told { level: Some((level, thresholds)), ..change });
                }
            }
        }
    }

    fn texts_of(&mut self, key: &GroupKey) -> KeyTexts {
        let symbols = &self.symbols;
        let make = || symbols.iter().zip(key).map(|(symbols, id)| symbols.text(*id)).collect();
        self.texts.of(key, self.groups_max, make)
    }

    pub(crate) fn save(&self) -> SavedLevels {
        SavedLevels { keys: self.keys.save(), without_figure: self.without_figure }
    }

    pub(crate) fn load(&mut self, saved: SavedLevels) {
        self.keys.load(saved.keys);
        self.forecasts = self.keys.iter().filter(|(_, state, _)| state.forecaster.is_some()).count();
        self.without_figure = saved.without_figure;
    }
}

/// A window as it is told before it closes: it has reached the threshold, and may grow.
fn early(closed: &Closed, thresholds: Thresholds) -> Closed {
    Closed { value: thresholds.enter, completeness: None, margin: None, ..closed.clone() }
}

impl KeyState {
    /// Of a key whose first window ends then.
    fn new(spec: &WindowSpec, end_ms: i64) -> Self {
        Self { last_end_ms: end_ms - spec.every_ms, quiet_to_ms: end_ms, silent: false, forecaster: None, last: None }
    }

    /// When the key fell silent, if it did by `to_ms`: no value for so long, while its zone was open.
    fn falls_silent(&mut self, spec: &WindowSpec, silence: Silence, zone: Option<&Zone>, to_ms: i64) -> Option<i64> {
        if self.silent {
            return None;
        }
        let open = |at_ms: i64| zone.is_none_or(|zone| zone.is_open(at_ms));
        for _ in 0..SILENCE_CHECKS_MAX {
            let at_ms = self.quiet_to_ms + silence.after_ms;
            if at_ms > to_ms {
                return None;
            }
            if open(at_ms) && open(self.quiet_to_ms) {
                self.silent = true;
                return Some(at_ms);
            }
            self.quiet_to_ms += spec.every_ms;
        }
        None
    }
}

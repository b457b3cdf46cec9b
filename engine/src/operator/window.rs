//! `window`: a measure per key over time, and the levels it crosses.
//!
//! [`prepare`] computes on the shard what needs no state, once for all rules that share panes. The
//! panes themselves are the runtime's; a [`WindowOperator`] is what a rule keeps for itself: it
//! divides values, steps levels and tells which changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use weir_rules::pack::{Body, Level, Measure, Per, WindowSpec};

use super::digests::PurposeId;
use super::predicate::{Filter, Selection};
use super::{Judging, PlannedRule, blank_alert};
use crate::alert::{Alert, AlertIdentity, WindowRange, WindowValue, format_time, format_value, render};
use crate::record::{Digest, KindId, KindLayout, Layouts, SymbolId, Symbols};
use crate::window::{
    Change, Closed, Contribution, GroupKey, LevelState, PaneClock, ViewLength, ZoneDevices, ZoneRoster, ZoneTable,
    to_micro,
};

/// Panes that one or several window rules read: same kind, conditions, key, measure, pane length and lateness.
pub(crate) struct PlannedPanes {
    pub(crate) kind: KindId,
    /// Canonical text of what they hold: equal texts, equal panes.
    pub(crate) meaning: String,
    pub(crate) filter: Filter,
    /// Whose pseudonyms are counted.
    pub(crate) purpose: PurposeId,
    pub(crate) measure: Measure,
    pub(crate) key: Vec<String>,
    /// Where what it reads stands in a batch.
    pub(crate) positions: PanePositions,
    pub(crate) clock: PaneClock,
    pub(crate) views: Vec<ViewLength>,
    /// The rules that read them, by position in the plan.
    pub(crate) rules: Vec<usize>,
}

/// Where the columns that panes read stand in a batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct PanePositions {
    keys: Vec<usize>,
    weights: Option<usize>,
    numbers: Option<usize>,
    digests: Option<usize>,
}

impl PanePositions {
    /// Whether pseudonyms are counted.
    pub(crate) fn count_subjects(&self) -> bool {
        self.digests.is_some()
    }

    pub(crate) fn new(spec: &WindowSpec, layout: &KindLayout) -> Self {
        let measured = spec.measure.column().and_then(|name| layout.position_of(name));
        let distinct = matches!(spec.measure, Measure::Distinct(_));
        Self {
            keys: spec.key.iter().filter_map(|name| layout.position_of(name)).collect(),
            weights: layout.position_of("count"),
            numbers: measured.filter(|_| !distinct),
            digests: measured.filter(|_| distinct),
        }
    }
}

/// What the shard has computed of a batch for one set of panes.
pub(crate) struct WindowInput {
    /// Position among the plan's panes.
    pub(crate) panes: usize,
    pub(crate) selection: Selection,
    numbers: Option<ArrayRef>,
    weights: Option<ArrayRef>,
    /// Purpose, and position of the column whose digests are counted.
    digests: Option<(PurposeId, usize)>,
    keys: Vec<ArrayRef>,
}

/// Digests of a batch by purpose and position of their column.
pub(crate) type BatchDigests = BTreeMap<(PurposeId, usize), Vec<Option<Digest>>>;

/// Computes what needs no state. O(rows that pass). Also gives how many could not be computed.
pub(crate) fn prepare(planned: &PlannedPanes, index: usize, judging: &Judging<'_>) -> (WindowInput, u64) {
    let (selection, errors) = judging.matcher.select(&planned.filter);
    let positions = &planned.positions;
    let column = |position: usize| judging.rows.batch.column(position).clone();
    if let Some(position) = positions.digests.filter(|_| !selection.is_empty()) {
        judging.digests.want((planned.purpose, position), &selection);
    }
    let input = WindowInput {
        panes: index,
        selection,
        numbers: positions.numbers.map(column),
        weights: positions.weights.map(column),
        digests: positions.digests.map(|position| (planned.purpose, position)),
        keys: positions.keys.iter().map(|position| column(*position)).collect(),
    };
    (input, errors)
}

impl WindowInput {
    /// The key of a row; `None` where a part of it has no value.
    pub(crate) fn key(&self, row: usize) -> Option<GroupKey> {
        let mut key = [0; 4];
        for (place, column) in key.iter_mut().zip(&self.keys) {
            let keys = column.as_dictionary::<Int32Type>().keys();
            if keys.is_null(row) {
                return None;
            }
            *place = keys.value(row) as SymbolId;
        }
        Some(key)
    }

    /// What a row adds to its pane.
    pub(crate) fn contribution(&self, row: usize, device: SymbolId, digests: &BatchDigests) -> Contribution {
        let number = |array: &ArrayRef| match array.data_type() {
            _ if array.is_null(row) => None,
            DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
            DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row) as f64),
            _ => None,
        };
        Contribution {
            weight: to_micro(self.weights.as_ref().and_then(number).unwrap_or(1.0)),
            number: self.numbers.as_ref().and_then(number),
            digest: self.digests.and_then(|place| digests.get(&place)?[row]),
            device,
        }
    }
}

/// Which devices watch which keys, where the key is the zone alone: only then it is known which keys should
/// have a value.
pub(crate) fn roster(key: &[String], layouts: &Layouts, zones: &ZoneTable) -> ZoneRoster {
    let mut roster = ZoneRoster::default();
    if key != ["zone"] {
        return roster;
    }
    for zone in zones.iter() {
        let Some(id) = layouts.symbols["zone"].intern(&zone.id) else { continue };
        let devices: Vec<SymbolId> =
            zone.devices.iter().filter_map(|device| layouts.symbols["device"].intern(device)).collect();
        let devices =
            if devices.is_empty() { ZoneDevices::Learned(Vec::new()) } else { ZoneDevices::Declared(devices) };
        roster.insert([id, 0, 0, 0], devices);
    }
    roster
}

/// What one window rule keeps for itself.
pub(crate) struct WindowOperator {
    symbols: Vec<Symbols>,
    figures: HashMap<SymbolId, f64, RandomState>,
    /// Place of the zone in the key, when values are divided.
    zone_place: Option<usize>,
    divides: bool,
    levels: HashMap<GroupKey, KeyLevels, RandomState>,
    /// Texts of keys, as they are needed at every close.
    texts: HashMap<GroupKey, KeyTexts, RandomState>,
    groups_max: usize,
    /// Values of zones that the zone table does not have, left out because nothing can divide them.
    pub(crate) without_figure: u64,
}

/// Texts of a key's values, in the order of its columns.
type KeyTexts = Arc<[Arc<str>]>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeyLevels {
    states: Vec<LevelState>,
    last_end_ms: i64,
}

/// A [`WindowOperator`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedLevels {
    levels: Vec<(GroupKey, KeyLevels)>,
    without_figure: u64,
}

/// A value that somebody will hear of.
struct Told<'s> {
    texts: KeyTexts,
    closed: Closed,
    changes: Vec<(&'s Level, Change)>,
}

/// What became of a closed window.
pub(crate) enum WindowOutcome {
    /// Its value is an output.
    Value(WindowValue),
    /// A level changed.
    Level(Box<Alert>),
}

impl WindowOperator {
    pub(crate) fn new(spec: &WindowSpec, layouts: &Layouts, zones: &ZoneTable, groups_max: usize) -> Self {
        let symbols: Vec<Symbols> = spec.key.iter().map(|name| layouts.symbols[name].clone()).collect();
        let zone_place = spec.key.iter().position(|name| name == "zone");
        let mut figures = HashMap::default();
        if let (Some(place), Some(per)) = (zone_place, spec.per) {
            for zone in zones.iter() {
                let figure = match per {
                    Per::Area => zone.area_m2,
                    Per::Capacity => zone.capacity,
                };
                figures.extend(symbols[place].intern(&zone.id).zip(figure));
            }
        }
        Self {
            symbols,
            figures,
            zone_place,
            divides: spec.per.is_some(),
            levels: HashMap::default(),
            texts: HashMap::default(),
            groups_max,
            without_figure: 0,
        }
    }

    /// Takes closed windows; what follows goes to `emit`, ordered by window end and key text.
    pub(crate) fn take(&mut self, planned: &PlannedRule, closed: &[Closed], mut emit: impl FnMut(WindowOutcome)) {
        let Body::Window(spec) = &planned.rule.body else { return };
        // Windows of one key come in order of their ends. Most values change nothing and go nowhere; only those
        // that do need names and their place in the order.
        let mut told: Vec<Told<'_>> = Vec::new();
        for closed in closed {
            let mut closed = closed.clone();
            if self.divides {
                let figure = self.zone_place.and_then(|place| self.figures.get(&closed.key[place]));
                let Some(figure) = figure else {
                    self.without_figure += 1;
                    continue;
                };
                closed.value /= figure;
            }
            let changes = self.step_levels(spec, &closed);
            if spec.emit_windows || !changes.is_empty() {
                told.push(Told { texts: self.texts_of(&closed.key), closed, changes });
            }
        }
        told.sort_by(|a, b| (a.closed.end_ms, &a.texts).cmp(&(b.closed.end_ms, &b.texts)));
        for Told { texts, closed, changes } in told {
            let key: BTreeMap<String, String> =
                spec.key.iter().cloned().zip(texts.iter().map(ToString::to_string)).collect();
            if spec.emit_windows {
                emit(WindowOutcome::Value(window_value(planned, spec, &closed, &key)));
            }
            for (level, changed) in changes {
                let alert = level_alert(planned, spec, &closed, &key, level, changed);
                emit(WindowOutcome::Level(Box::new(alert)));
            }
        }
    }

    fn texts_of(&mut self, key: &GroupKey) -> KeyTexts {
        if let Some(texts) = self.texts.get(key) {
            return Arc::clone(texts);
        }
        if self.texts.len() >= self.groups_max {
            self.texts.clear();
        }
        let texts: KeyTexts = self.symbols.iter().zip(key).map(|(symbols, id)| symbols.text(*id)).collect();
        self.texts.insert(*key, Arc::clone(&texts));
        texts
    }

    /// Takes a key's next value; the levels that changed.
    fn step_levels<'s>(&mut self, spec: &'s WindowSpec, closed: &Closed) -> Vec<(&'s Level, Change)> {
        if spec.levels.is_empty() {
            return Vec::new();
        }
        let levels = self.levels.entry(closed.key).or_insert_with(|| KeyLevels {
            states: vec![LevelState::default(); spec.levels.len()],
            last_end_ms: closed.end_ms - spec.every_ms,
        });
        let follows = levels.last_end_ms + spec.every_ms == closed.end_ms;
        levels.last_end_ms = closed.end_ms;
        spec.levels
            .iter()
            .zip(&mut levels.states)
            .filter_map(|(level, state)| Some((level, state.step(level, closed.value, follows)?)))
            .collect()
    }

    pub(crate) fn save(&self) -> SavedLevels {
        let mut levels: Vec<_> = self.levels.iter().map(|(key, it)| (*key, it.clone())).collect();
        levels.sort_unstable_by_key(|(key, _)| *key);
        SavedLevels { levels, without_figure: self.without_figure }
    }

    pub(crate) fn load(&mut self, saved: SavedLevels) {
        self.levels = saved.levels.into_iter().collect();
        self.without_figure = saved.without_figure;
    }
}

fn range(spec: &WindowSpec, closed: &Closed) -> WindowRange {
    WindowRange { start: format_time(closed.end_ms - spec.last_ms), end: format_time(closed.end_ms) }
}

fn window_value(
    planned: &PlannedRule,
    spec: &WindowSpec,
    closed: &Closed,
    key: &BTreeMap<String, String>,
) -> WindowValue {
    WindowValue {
        rule: planned.rule.id.clone(),
        purpose: planned.rule.purpose.clone(),
        key: key.clone(),
        window: range(spec, closed),
        start_ms: closed.end_ms - spec.last_ms,
        end_ms: closed.end_ms,
        measure: spec.measure.text(),
        value: closed.value,
        completeness: closed.completeness,
    }
}

fn level_alert(
    planned: &PlannedRule,
    spec: &WindowSpec,
    closed: &Closed,
    key: &BTreeMap<String, String>,
    level: &Level,
    changed: Change,
) -> Alert {
    let rule = &planned.rule;
    let window = range(spec, closed);
    let threshold = if changed == Change::Enter { level.enter } else { level.exit };
    let field = |name: &str| match name {
        "value" => Some(format_value(closed.value)),
        "level" => Some(level.name.clone()),
        "change" => Some(changed.word().to_owned()),
        "threshold" => Some(format_value(threshold)),
        "window.start" => Some(window.start.clone()),
        "window.end" => Some(window.end.clone()),
        "completeness" => closed.completeness.map(format_value),
        name => key.get(name).cloned(),
    };
    let mut subject = Vec::new();
    for (name, text) in key {
        subject.extend_from_slice(name.as_bytes());
        subject.push(0);
        subject.extend_from_slice(text.as_bytes());
        subject.push(0);
    }
    let identity = AlertIdentity {
        rule: &rule.id,
        rule_version: &rule.version,
        subject: &subject,
        trigger: &(closed.end_ms - spec.last_ms).to_le_bytes(),
        ordinal: &format!("{} {}", level.name, changed.word()),
    };
    let named = |name: &str| key.get(name).cloned();
    let mut evidence: BTreeMap<String, String> = key
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "site" | "zone" | "device"))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect();
    evidence.insert("measure".to_owned(), spec.measure.text());
    evidence.insert("threshold".to_owned(), format_value(threshold));
    Alert {
        severity: level.severity.word(),
        site: named("site"),
        zone: named("zone"),
        device: named("device"),
        value: Some(closed.value),
        level: Some(level.name.clone()),
        change: Some(changed.word()),
        completeness: closed.completeness,
        say: rule.alerting.say.as_ref().map(|say| render(say, field)),
        window: Some(window.clone()),
        evidence,
        ..blank_alert(planned, identity.id(), window.end.clone())
    }
}

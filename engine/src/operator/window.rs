//! `window`: a measure per key over time, and the levels it crosses.
//!
//! [`prepare`] computes on the shard what needs no state: condition, numbers, digests. A
//! [`WindowOperator`] holds the state: it takes the records of a batch in order of arrival, closes
//! windows when the watermark passes, and tells which levels changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_rules::pack::{Body, Level, Measure, Per, WindowSpec};

use super::condition::{Mask, passes};
use super::{Judging, PlannedRule, blank_alert};
use crate::alert::{Alert, AlertIdentity, WindowRange, WindowValue, format_time, format_value, render};
use crate::record::{Digest, KindRows, Layouts, Pseudonyms, SymbolId, Symbols};
use crate::window::{
    Change, Closed, Contribution, GroupKey, LevelState, Observation, Panes, ZoneDevices, ZoneRoster, ZoneTable,
    to_micro,
};

/// What the shard has computed of a batch.
pub(crate) struct WindowInput {
    pub(crate) rule: usize,
    mask: Option<BooleanArray>,
    numbers: Option<ArrayRef>,
    weights: Option<ArrayRef>,
    digests: Option<Vec<Option<Digest>>>,
    keys: Vec<ArrayRef>,
}

/// Computes what needs no state. O(rows).
pub(super) fn prepare(planned: &PlannedRule, spec: &WindowSpec, judging: &Judging<'_>) -> (WindowInput, u64) {
    let batch = &judging.rows.batch;
    let column = |name: &str| judging.layout.position_of(name).map(|position| batch.column(position).clone());
    let (mask, errors) = match &planned.condition {
        Some(condition) => {
            let (mask, errors) = passes(condition, batch);
            (Some(mask), errors)
        }
        None => (None, 0),
    };
    let measured = spec.measure.column().and_then(column);
    let (numbers, digests) = match (&spec.measure, measured) {
        (Measure::Distinct(_), Some(texts)) => (None, Some(digests(&texts, mask.as_ref(), judging.pseudonyms))),
        (_, numbers) => (numbers, None),
    };
    let input = WindowInput {
        rule: planned.index,
        mask,
        numbers,
        weights: column("count"),
        digests,
        keys: spec.key.iter().filter_map(|name| column(name)).collect(),
    };
    (input, errors)
}

/// Pseudonyms of a text column; symbols are their own numbers.
fn digests(column: &ArrayRef, mask: Option<&BooleanArray>, pseudonyms: &Pseudonyms) -> Vec<Option<Digest>> {
    let wanted = |row: usize| column.is_valid(row) && mask.is_none_or(|mask| mask.is_valid_and_true(row));
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            (0..texts.len()).map(|row| wanted(row).then(|| pseudonyms.subject(texts.value(row)))).collect()
        }
        DataType::Dictionary(..) => {
            let keys = column.as_dictionary::<Int32Type>().keys();
            (0..keys.len()).map(|row| wanted(row).then(|| keys.value(row) as Digest)).collect()
        }
        _ => vec![None; column.len()],
    }
}

impl WindowInput {
    fn passes(&self, row: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.is_valid_and_true(row))
    }

    fn key(&self, row: usize) -> Option<GroupKey> {
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

    fn contribution(&self, row: usize, device: SymbolId) -> Contribution {
        let number = |array: &ArrayRef| match array.data_type() {
            _ if array.is_null(row) => None,
            DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
            DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row) as f64),
            _ => None,
        };
        Contribution {
            weight: to_micro(self.weights.as_ref().and_then(number).unwrap_or(1.0)),
            number: self.numbers.as_ref().and_then(number),
            digest: self.digests.as_ref().and_then(|digests| digests[row]),
            device,
        }
    }
}

/// A level that changed, with everything an alert says about it.
pub(crate) struct LevelAlert {
    pub(crate) alert: Alert,
}

/// State of one window rule.
pub(crate) struct WindowOperator {
    panes: Panes,
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
    closed: Vec<Closed>,
}

/// Texts of a key's values, in the order of its columns.
type KeyTexts = Arc<[Arc<str>]>;

struct KeyLevels {
    states: Vec<LevelState>,
    last_end_ms: i64,
}

impl WindowOperator {
    pub(crate) fn new(spec: &WindowSpec, layouts: &Layouts, zones: &ZoneTable, groups_max: usize) -> Self {
        let symbols: Vec<Symbols> = spec.key.iter().map(|name| layouts.symbols[name].clone()).collect();
        let zone_place = spec.key.iter().position(|name| name == "zone");
        let mut figures = HashMap::default();
        let mut roster = ZoneRoster::default();
        if let Some(place) = zone_place {
            for zone in zones.iter() {
                let Some(id) = symbols[place].intern(&zone.id) else {
                    continue;
                };
                let figure = match spec.per {
                    Some(Per::Area) => zone.area_m2,
                    Some(Per::Capacity) => zone.capacity,
                    None => Some(1.0),
                };
                figures.extend(figure.map(|figure| (id, figure)));
                // Only a rule keyed by zone alone knows which keys should have a value.
                if spec.key.len() == 1 {
                    let devices: Vec<SymbolId> =
                        zone.devices.iter().filter_map(|device| layouts.symbols["device"].intern(device)).collect();
                    let devices = if devices.is_empty() {
                        ZoneDevices::Learned(Vec::new())
                    } else {
                        ZoneDevices::Declared(devices)
                    };
                    roster.insert([id, 0, 0, 0], devices);
                }
            }
        }
        Self {
            panes: Panes::new(spec, groups_max, roster),
            symbols,
            figures,
            zone_place,
            divides: spec.per.is_some(),
            levels: HashMap::default(),
            texts: HashMap::default(),
            groups_max,
            without_figure: 0,
            closed: Vec::new(),
        }
    }

    /// Takes the records of a batch. `progress` gives each record's device progress before it, or
    /// nothing for a duplicate. Calls `late` for each record that came too late. O(rows).
    pub(crate) fn take(
        &mut self,
        rows: &KindRows,
        input: &WindowInput,
        progress: impl Fn(usize) -> Option<i64>,
        mut late: impl FnMut(usize, i64),
    ) {
        let mut row = 0;
        let total = rows.record_of_row.len();
        while row < total {
            let record = rows.record_of_row[row] as usize;
            let end = row + rows.record_of_row[row..].iter().take_while(|other| **other as usize == record).count();
            if let Some(progress_ms) = progress(record) {
                let ts_ms = rows.ts[record];
                let device = rows.device[record];
                if let Some(late_by_ms) = self.panes.late_by_ms(ts_ms, progress_ms) {
                    if (row..end).any(|row| input.passes(row)) {
                        late(record, late_by_ms);
                    }
                } else {
                    self.panes.report(ts_ms, device);
                    for row in row..end {
                        if input.passes(row) {
                            let contribution = input.contribution(row, device);
                            self.panes.observe(&Observation { ts_ms, key: input.key(row), contribution });
                        }
                    }
                }
            }
            row = end;
        }
    }

    /// Closes windows up to the watermark. Values go to `value`, changes of level to `change`, ordered
    /// by window end and key text.
    pub(crate) fn close(
        &mut self,
        planned: &PlannedRule,
        watermark_ms: i64,
        mut value: impl FnMut(WindowValue),
        mut change: impl FnMut(LevelAlert),
    ) {
        let Body::Window(spec) = &planned.rule.body else {
            return;
        };
        let mut closed = std::mem::take(&mut self.closed);
        self.panes.close(watermark_ms, &mut closed);
        let mut named: Vec<(KeyTexts, Closed)> =
            closed.drain(..).map(|closed| (self.texts_of(&closed.key), closed)).collect();
        self.closed = closed;
        named.sort_by(|a, b| (a.1.end_ms, &a.0).cmp(&(b.1.end_ms, &b.0)));
        for (texts, mut closed) in named {
            if self.divides {
                let figure = self.zone_place.and_then(|place| self.figures.get(&closed.key[place]));
                let Some(figure) = figure else {
                    self.without_figure += 1;
                    continue;
                };
                closed.value /= figure;
            }
            // Most values change nothing and go nowhere; only those that do need names.
            let key = || -> BTreeMap<String, String> {
                spec.key.iter().cloned().zip(texts.iter().map(ToString::to_string)).collect()
            };
            if spec.emit_windows {
                value(window_value(planned, spec, &closed, &key()));
            }
            for (level, changed) in self.step_levels(spec, &closed) {
                change(LevelAlert { alert: level_alert(planned, spec, &closed, &key(), level, changed) });
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

    /// Records that found no room among the groups.
    pub(crate) fn overflow(&self) -> u64 {
        self.panes.overflow
    }

    /// Panes that are open, and the groups they hold.
    pub(crate) fn open(&self) -> (usize, usize) {
        self.panes.size()
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

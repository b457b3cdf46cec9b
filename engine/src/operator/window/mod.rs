//! `window`: a measure per key over time, and the levels it crosses.
//!
//! [`prepare`] computes on the shard what needs no state, once for all rules that share panes. The
//! panes themselves are the runtime's; a [`WindowOperator`] is what a rule keeps for itself: it
//! divides values, steps levels and tells which changed.

mod keys;
mod levels;
mod outlook;
mod outputs;
mod placed;

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use weir_rules::pack::{Measure, WindowSpec};

pub(crate) use levels::{SavedLevels, WindowOperator};
pub(crate) use outputs::WindowOutcome;
pub(crate) use placed::PlacedZones;

use super::Judging;
use super::digests::PurposeId;
use super::predicate::{Filter, Selection};
use crate::record::{Digest, KindId, KindLayout, Layouts, SymbolId};
use crate::window::{Contribution, Direction, GroupKey, ONE, PaneClock, ViewLength, to_micro};

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
    /// Of sessions, the gap that ends them.
    pub(crate) gap_ms: Option<i64>,
    /// Whether a rule wants to know of values before their window closes.
    pub(crate) early: bool,
    pub(crate) views: Vec<ViewLength>,
    /// The rules that read them, by position in the plan.
    pub(crate) rules: Vec<usize>,
}

/// The kind whose `total` is a running total.
const COUNTED_KIND: &str = "person";

/// Where the columns that panes read stand in a batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct PanePositions {
    keys: Vec<usize>,
    weights: Option<usize>,
    numbers: Option<usize>,
    digests: Option<usize>,
    /// Where the direction stands, and the symbols that mean in and out.
    directions: Option<(usize, [SymbolId; 2])>,
    readings: Option<usize>,
    totals: Option<usize>,
}

impl PanePositions {
    /// Whether pseudonyms are counted.
    pub(crate) fn count_subjects(&self) -> bool {
        self.digests.is_some()
    }

    pub(crate) fn new(spec: &WindowSpec, layout: &KindLayout, layouts: &Layouts) -> Self {
        let measured = spec.measure.column().and_then(|name| layout.position_of(name));
        let distinct = spec.measure.is_distinct();
        let directions = layout.position_of("direction").filter(|_| spec.measure.reads_direction());
        let symbol = |word| layouts.symbols["direction"].intern(word).unwrap_or(SymbolId::MAX);
        Self {
            keys: spec.key.iter().filter_map(|name| layout.position_of(name)).collect(),
            weights: layout.position_of("count"),
            numbers: measured.filter(|_| !distinct),
            digests: measured.filter(|_| distinct),
            directions: directions.map(|position| (position, ["in", "out"].map(symbol))),
            readings: layout.position_of("occupancy").filter(|_| matches!(spec.measure, Measure::Occupancy(_))),
            // Another kind's column of this name means what its integrator says.
            totals: layout
                .position_of("total")
                .filter(|_| spec.measure.reads_totals() && layout.kind.name == COUNTED_KIND),
        }
    }
}

/// What the shard has computed of a batch for one set of panes.
pub(crate) struct WindowInput {
    /// Position among the plan's panes.
    pub(crate) panes: usize,
    pub(crate) selection: Selection,
    numbers: Option<Numbers>,
    weights: Option<Numbers>,
    /// Purpose, and position of the column whose digests are counted.
    digests: Option<(PurposeId, usize)>,
    directions: Option<(Int32Array, [SymbolId; 2])>,
    readings: Option<Numbers>,
    totals: Option<Numbers>,
    keys: Vec<Int32Array>,
}

/// A column of numbers, its type found out once.
enum Numbers {
    Float(Float64Array),
    Integer(Int64Array),
}

impl Numbers {
    fn of(column: &ArrayRef) -> Option<Self> {
        match column.data_type() {
            DataType::Float64 => Some(Self::Float(column.as_primitive::<Float64Type>().clone())),
            DataType::Int64 => Some(Self::Integer(column.as_primitive::<Int64Type>().clone())),
            _ => None,
        }
    }

    fn value(&self, row: usize) -> Option<f64> {
        match self {
            Self::Float(numbers) => numbers.is_valid(row).then(|| numbers.value(row)),
            Self::Integer(numbers) => numbers.is_valid(row).then(|| numbers.value(row) as f64),
        }
    }
}

/// Digests of a batch by purpose and position of their column.
pub(crate) type BatchDigests = BTreeMap<(PurposeId, usize), Vec<Option<Digest>>>;

/// Computes what needs no state; `None` if no row passes. O(rows that pass). Also gives how many could not be computed.
pub(crate) fn prepare(planned: &PlannedPanes, index: usize, judging: &Judging<'_>) -> (Option<WindowInput>, u64) {
    let (selection, errors) = judging.matcher.select(&planned.filter);
    let positions = &planned.positions;
    if selection.is_empty() {
        return (None, errors);
    }
    let column = |position: usize| judging.rows.batch.column(position);
    let numbers = |position: Option<usize>| position.and_then(|position| Numbers::of(column(position)));
    let symbols = |position: usize| column(position).as_dictionary::<Int32Type>().keys().clone();
    if let Some(position) = positions.digests {
        judging.digests.want((planned.purpose, position), &selection);
    }
    let input = WindowInput {
        panes: index,
        selection,
        numbers: numbers(positions.numbers),
        weights: numbers(positions.weights),
        digests: positions.digests.map(|position| (planned.purpose, position)),
        directions: positions.directions.map(|(position, words)| (symbols(position), words)),
        readings: numbers(positions.readings),
        totals: numbers(positions.totals),
        keys: positions.keys.iter().map(|position| symbols(*position)).collect(),
    };
    (Some(input), errors)
}

impl WindowInput {
    /// The key of a row; `None` where a part of it has no value.
    pub(crate) fn key(&self, row: usize) -> Option<GroupKey> {
        let mut key = [0; 4];
        for (place, keys) in key.iter_mut().zip(&self.keys) {
            if keys.is_null(row) {
                return None;
            }
            *place = keys.value(row) as SymbolId;
        }
        Some(key)
    }

    /// The digests that are counted, by row.
    pub(crate) fn digests<'a>(&self, of_batch: &'a BatchDigests) -> Option<&'a [Option<Digest>]> {
        of_batch.get(&self.digests?).map(Vec::as_slice)
    }

    /// What a row adds to its pane.
    #[inline]
    pub(crate) fn contribution(
        &self,
        row: usize,
        device: SymbolId,
        digests: Option<&[Option<Digest>]>,
    ) -> Contribution {
        let number = |numbers: &Option<Numbers>| numbers.as_ref().and_then(|numbers| numbers.value(row));
        Contribution {
            weight: number(&self.weights).map_or(ONE, to_micro),
            number: number(&self.numbers),
            digest: digests.and_then(|digests| digests[row]),
            device,
            direction: self.directions.as_ref().and_then(|(keys, [inward, outward])| {
                match keys.value(row) as SymbolId {
                    _ if keys.is_null(row) => None,
                    word if word == *inward => Some(Direction::In),
                    word if word == *outward => Some(Direction::Out),
                    _ => None,
                }
            }),
            reading: number(&self.readings).map(to_micro),
            total: number(&self.totals).map(to_micro),
        }
    }
}

//! Look-ups of a column in a list, each done once for a batch however many rules ask for it.
//!
//! The whole column is probed first, and conditions are computed for the hits alone: on a day like
//! any other one record in ten thousand hits (DOMAIN.md 4), and the others should not pay.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use weir_rules::pack::{Grade, WhenStale};

use crate::alert::{Hit, cell_text, format_time};
use crate::record::{Digest, KindRows};
use crate::testing::sabotage::{self, Wrong};
use crate::watchlist::{Reading, ReadingColumns, Watchlist};

/// Position of a look-up among those of its kind.
pub(crate) type ProbeId = usize;

/// A column, and the list it is looked up in.
pub(crate) struct Probe {
    pub(crate) position: usize,
    pub(crate) list: Arc<Watchlist>,
    /// Least sure kind of match that counts.
    pub(crate) min_grade: Grade,
    /// Column with further readings, if they count.
    pub(crate) candidates: Option<usize>,
    /// Column with partial readings, if they count.
    pub(crate) partial: Option<usize>,
    /// How many rules ask for it.
    pub(crate) users: usize,
}

impl Probe {
    /// Whether another look-up finds the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.position == other.position && self.min_grade == other.min_grade && Arc::ptr_eq(&self.list, &other.list)
    }

    fn columns<'a>(&self, rows: &'a KindRows) -> Option<ReadingColumns<'a>> {
        let text = rows.batch.column(self.position);
        (text.data_type() == &DataType::Utf8View).then(|| ReadingColumns {
            text: text.as_string_view(),
            candidates: self.candidates.map(|at| rows.batch.column(at).as_list()),
            partial: self.partial.map(|at| rows.batch.column(at).as_string_view()),
        })
    }
}

/// A hit, and what follows from it.
pub(crate) struct Found {
    pub(crate) hit: Hit,
    /// Stands for what the entry is found by.
    pub(crate) key: Digest,
    /// What led to it, by name.
    pub(crate) evidence: Vec<(&'static str, String)>,
    /// Whether the list is stale and the rule should say so.
    pub(crate) stale: bool,
}

/// A batch, and the look-ups that have been done in it.
pub(crate) struct Prober<'a> {
    probes: &'a [Probe],
    rows: &'a KindRows,
    wall_ms: i64,
    hits: Vec<OnceCell<Vec<u32>>>,
}

impl<'a> Prober<'a> {
    pub(crate) fn new(probes: &'a [Probe], rows: &'a KindRows, wall_ms: i64) -> Self {
        Self { probes, rows, wall_ms, hits: probes.iter().map(|_| OnceCell::new()).collect() }
    }

    /// Rows that may be on the list, alive or not; ascending. None that is on it is missing.
    pub(crate) fn hits(&self, id: ProbeId) -> &[u32] {
        self.hits[id].get_or_init(|| {
            let probe = &self.probes[id];
            if probe.list.matches(self.wall_ms) { self.probe(probe) } else { Vec::new() }
        })
    }

    fn probe(&self, probe: &Probe) -> Vec<u32> {
        if let Some(columns) = probe.columns(self.rows) {
            return probe.list.rows(&columns, probe.min_grade);
        }
        let column = self.rows.batch.column(probe.position);
        let DataType::Dictionary(..) = column.data_type() else { return Vec::new() };
        let symbols = column.as_dictionary::<Int32Type>();
        let texts = symbols.values().as_string::<i32>();
        let is_hit = |value: usize| {
            let reading = Reading { text: Some(texts.value(value)), ..Reading::default() };
            probe.list.look_up(&reading, probe.min_grade, i64::MIN).is_some()
        };
        // There may be far more symbols than rows: those are looked up that a row has.
        let mut hits: Vec<Option<bool>> = vec![None; texts.len()];
        (0..symbols.len())
            .filter(|row| {
                let value = symbols.keys().is_valid(*row).then(|| symbols.keys().value(*row) as usize);
                value.is_some_and(|value| *hits[value].get_or_insert_with(|| is_hit(value)))
            })
            .map(|row| row as u32)
            .collect()
    }

    /// What a row hits. `None` where the entry has expired, by event time or by the wall clock.
    pub(crate) fn hit(&self, id: ProbeId, row: usize) -> Option<Found> {
        let probe = &self.probes[id];
        let list = &probe.list;
        let ts_ms = self.rows.ts[self.rows.record_of_row[row] as usize];
        let as_of_ms = if sabotage::is(Wrong::ExpiryIgnored) { i64::MIN } else { ts_ms.max(self.wall_ms) };
        let found = match probe.columns(self.rows) {
            Some(columns) => list.look_up(&columns.reading(row), probe.min_grade, as_of_ms)?,
            None => {
                let text = cell_text(self.rows.batch.column(probe.position), row)?;
                let reading = Reading { text: Some(&text), ..Reading::default() };
                list.look_up(&reading, probe.min_grade, as_of_ms)?
            }
        };
        let entry = found.entry;
        let hit = Hit {
            list: list.spec.id.clone(),
            entry_id: entry.entry_id.to_owned(),
            grade: found.grade.word().into(),
            list_version: list.version.clone(),
            action: entry.action.map(|action| action.word().to_owned()),
            case_ref: entry.case_ref.map(str::to_owned),
            handling: entry.handling.map(str::to_owned),
            severity: entry.severity.map(str::to_owned),
            review_by: entry.review_by_ms.map(format_time),
        };
        let stale = list.spec.when_stale == WhenStale::Degrade && list.is_stale(self.wall_ms);
        Some(Found { hit, key: found.key, evidence: found.evidence, stale })
    }
}

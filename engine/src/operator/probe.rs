//! Look-ups of a column in a list, each done once for a batch however many rules ask for it.
//!
//! The whole column is probed first, and conditions are computed for the hits alone: on a day like
//! any other one record in ten thousand hits (DOMAIN.md 4), and the others should not pay.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use weir_rules::pack::WhenStale;

use crate::alert::{Hit, cell_text};
use crate::record::KindRows;
use crate::testing::sabotage::{self, Wrong};
use crate::watchlist::Watchlist;

/// Position of a look-up among those of its kind.
pub(crate) type ProbeId = usize;

/// A column, and the list it is looked up in.
pub(crate) struct Probe {
    pub(crate) position: usize,
    pub(crate) list: Arc<Watchlist>,
    /// How many rules ask for it.
    pub(crate) users: usize,
}

/// A batch, and the look-ups that have been done in it.
pub(crate) struct Prober<'a> {
    probes: &'a [Probe],
    rows: &'a KindRows,
    hits: Vec<OnceCell<Vec<u32>>>,
}

impl<'a> Prober<'a> {
    pub(crate) fn new(probes: &'a [Probe], rows: &'a KindRows) -> Self {
        Self { probes, rows, hits: probes.iter().map(|_| OnceCell::new()).collect() }
    }

    /// Rows whose value is on the list, alive or not; ascending.
    pub(crate) fn hits(&self, id: ProbeId) -> &[u32] {
        self.hits[id].get_or_init(|| {
            let probe = &self.probes[id];
            if probe.list.matches() { self.probe(probe) } else { Vec::new() }
        })
    }

    fn probe(&self, probe: &Probe) -> Vec<u32> {
        let column = self.rows.batch.column(probe.position);
        let list = &probe.list;
        match column.data_type() {
            DataType::Utf8View => {
                let keys = column.as_string_view();
                (0..keys.len())
                    .filter(|row| keys.is_valid(*row) && list.contains(keys.value(*row)))
                    .map(|row| row as u32)
                    .collect()
            }
            DataType::Dictionary(..) => {
                let symbols = column.as_dictionary::<Int32Type>();
                let texts = symbols.values().as_string::<i32>();
                let hits: Vec<bool> = (0..texts.len()).map(|value| list.contains(texts.value(value))).collect();
                (0..symbols.len())
                    .filter(|row| symbols.keys().is_valid(*row) && hits[symbols.keys().value(*row) as usize])
                    .map(|row| row as u32)
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// What a row hits, and whether the list is stale and the rule should say so. `None` where the entry has
    /// expired, by event time or by the wall clock.
    pub(crate) fn hit(&self, id: ProbeId, row: usize, wall_ms: i64) -> Option<(Hit, bool)> {
        let probe = &self.probes[id];
        let list = &probe.list;
        let key = cell_text(self.rows.batch.column(probe.position), row)?;
        let ts_ms = self.rows.ts[self.rows.record_of_row[row] as usize];
        let as_of_ms = if sabotage::is(Wrong::ExpiryIgnored) { i64::MIN } else { ts_ms.max(wall_ms) };
        let entry = list.entry(list.find(&key, as_of_ms)?);
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let hit = Hit {
            list: list.spec.id.clone(),
            entry_id: entry.entry_id.to_string(),
            grade: "exact".into(),
            list_version: list.version.clone(),
            action: text(&entry.action),
            case_ref: text(&entry.case_ref),
            handling: text(&entry.handling),
        };
        Some((hit, list.stale && list.spec.when_stale == WhenStale::Degrade))
    }
}

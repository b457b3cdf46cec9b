//! `watchlist`: records whose key is on a list. No state.
//!
//! The whole column is probed first, and the condition computed for the hits alone: on a day like
//! any other one record in ten thousand hits (DOMAIN.md 4), and the others should not pay.

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int32Type};
use weir_rules::pack::WhenStale;

use super::condition::{Mask, passes};
use super::{Candidate, Judging, PlannedRule, candidate};
use crate::alert::Hit;

/// One candidate for each record that hits a live entry and passes the condition. O(rows).
pub(super) fn judge(planned: &PlannedRule, on: &str, judging: &Judging<'_>) -> (Vec<Candidate>, u64) {
    let (Some(list), Some(position)) = (&planned.list, judging.layout.position_of(on)) else {
        return (Vec::new(), 0);
    };
    if !list.matches() {
        return (Vec::new(), 0);
    }
    let rows = judging.rows;
    let column = rows.batch.column(position);
    let mut found: Vec<u32> = Vec::new();
    match column.data_type() {
        DataType::Utf8View => {
            let keys = column.as_string_view();
            found.extend(
                (0..keys.len())
                    .filter(|row| keys.is_valid(*row) && list.contains(keys.value(*row)))
                    .map(|row| row as u32),
            );
        }
        DataType::Dictionary(..) => {
            let symbols = column.as_dictionary::<Int32Type>();
            let texts = symbols.values().as_string::<i32>();
            let hits: Vec<bool> = (0..texts.len()).map(|value| list.contains(texts.value(value))).collect();
            found.extend(
                (0..symbols.len())
                    .filter(|row| symbols.keys().is_valid(*row) && hits[symbols.keys().value(*row) as usize])
                    .map(|row| row as u32),
            );
        }
        _ => {}
    }
    if found.is_empty() {
        return (Vec::new(), 0);
    }
    let (mask, errors) = match &planned.condition {
        None => (None, 0),
        Some(condition) => {
            let hits =
                take_record_batch(&rows.batch, &UInt32Array::from(found.clone())).expect("hits are rows of the batch");
            let (mask, errors) = passes(condition, &hits);
            (Some(mask), errors)
        }
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    for (at, row) in found.iter().map(|row| *row as usize).enumerate() {
        let record = rows.record_of_row[row];
        let told = candidates.last().is_some_and(|last| last.record == record);
        if told || !mask.as_ref().is_none_or(|mask| mask.is_valid_and_true(at)) {
            continue;
        }
        let Some(key) = crate::alert::cell_text(column, row) else {
            continue;
        };
        // An entry must be alive both when the record was made and now.
        let at_ms = rows.ts[record as usize].max(judging.wall_ms);
        let Some(number) = list.find(&key, at_ms) else {
            continue;
        };
        let entry = list.entry(number);
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let hit = Hit {
            list: list.spec.id.clone(),
            entry_id: entry.entry_id.to_string(),
            grade: "exact",
            list_version: list.version.clone(),
            action: text(&entry.action),
            case_ref: text(&entry.case_ref),
            handling: text(&entry.handling),
        };
        let stale = list.stale && list.spec.when_stale == WhenStale::Degrade;
        candidates.push(candidate(planned, judging, row, Some(hit), stale));
    }
    (candidates, errors)
}

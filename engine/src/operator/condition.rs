//! A rule's `where` over a batch.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;

/// The rows that pass; unknown counts as no. Also gives how many rows could not be computed: they
/// are tried one by one, so that a division by zero in one record hides no other.
pub(super) fn passes(condition: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> (BooleanArray, u64) {
    if let Some(mask) = evaluate(condition, batch) {
        return (mask, 0);
    }
    let mut errors = 0;
    let mask = (0..batch.num_rows())
        .map(|row| {
            let single = evaluate(condition, &batch.slice(row, 1));
            errors += u64::from(single.is_none());
            Some(single.is_some_and(|mask| mask.is_valid_and_true(0)))
        })
        .collect();
    (mask, errors)
}

fn evaluate(condition: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Option<BooleanArray> {
    let value = condition.evaluate(batch).ok()?;
    let array = value.into_array(batch.num_rows()).ok()?;
    array.as_boolean_opt().cloned()
}

/// Reads a mask whose unknowns count as no.
pub(crate) trait Mask {
    /// Whether the row passes.
    fn is_valid_and_true(&self, row: usize) -> bool;
}

impl Mask for BooleanArray {
    fn is_valid_and_true(&self, row: usize) -> bool {
        use arrow::array::Array;
        self.is_valid(row) && self.value(row)
    }
}

//! `match`: every record that passes the condition. No state.

use super::condition::{Mask, passes};
use super::{Candidate, Judging, PlannedRule, candidate};

/// One candidate for each record that passes in any of its zones. O(rows).
pub(super) fn judge(planned: &PlannedRule, judging: &Judging<'_>) -> (Vec<Candidate>, u64) {
    let rows = judging.rows.batch.num_rows();
    let (mask, errors) = match &planned.condition {
        Some(condition) => {
            let (mask, errors) = passes(condition, &judging.rows.batch);
            if mask.true_count() == 0 {
                return (Vec::new(), errors);
            }
            (Some(mask), errors)
        }
        None => (None, 0),
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    for row in 0..rows {
        let passes = mask.as_ref().is_none_or(|mask| mask.is_valid_and_true(row));
        let told = candidates.last().is_some_and(|last| last.record == judging.rows.record_of_row[row]);
        if passes && !told {
            candidates.push(candidate(planned, judging, row, None, false));
        }
    }
    (candidates, errors)
}

//! `match`: every record that passes the condition. No state.

use super::{Candidate, Judging, PlannedRule, candidate};

/// One candidate for each record that passes in any of its zones. O(rows that pass).
pub(super) fn judge(planned: &PlannedRule, judging: &Judging<'_>) -> (Vec<Candidate>, u64) {
    let (selection, errors) = judging.matcher.select(&planned.filter);
    let mut candidates: Vec<Candidate> = Vec::new();
    for row in selection.iter(judging.rows.batch.num_rows()) {
        let told = candidates.last().is_some_and(|last| last.record == judging.rows.record_of_row[row]);
        if !told {
            candidates.push(candidate(planned, judging, row, None));
        }
    }
    (candidates, errors)
}

//! `watchlist`: records whose key is on a list. No state.

use super::{Candidate, Judging, PlannedRule, candidate};

/// One candidate for each record that hits a live entry and passes the condition. O(hits) beyond the shared
/// look-up.
pub(super) fn judge(planned: &PlannedRule, judging: &Judging<'_>) -> (Vec<Candidate>, u64) {
    let Some(probe) = planned.probe else { return (Vec::new(), 0) };
    let found = judging.prober.hits(probe);
    if found.is_empty() {
        return (Vec::new(), 0);
    }
    let (selection, errors) = judging.matcher.select_from(found.to_vec(), &planned.filter);
    let mut candidates: Vec<Candidate> = Vec::new();
    for row in selection.iter(judging.rows.batch.num_rows()) {
        let told = candidates.last().is_some_and(|last| last.record == judging.rows.record_of_row[row]);
        if !told && let Some(found) = judging.prober.hit(probe, row) {
            candidates.push(candidate(planned, judging, row, Some(found)));
        }
    }
    (candidates, errors)
}

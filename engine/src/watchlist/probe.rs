//! Look-ups of a whole column at once.
//!
//! Rows go in groups: all hashes of a group first, each asking the processor to bring its word of the
//! prefilter near; then all tests, when the words have arrived. What passes (1.2 % of the rows that are on
//! no list) is digested and looked up one by one. Expected: 6 ns to hash and fetch, 1 ns to test, 1 ns for
//! the few that pass; measured in benches/RESULTS.md.

use arrow::array::{Array, AsArray, ListArray, StringViewArray};
use weir_memory::prefetch;
use weir_rules::pack::Grade;

use super::look_up::Reading;
use super::{Watchlist, fold, prefilter};

/// Rows of a group: as many fetches as are on their way at once.
const GROUP: usize = 128;

/// The columns of a kind that a look-up reads.
pub(crate) struct ReadingColumns<'a> {
    pub(crate) text: &'a StringViewArray,
    pub(crate) candidates: Option<&'a ListArray>,
    pub(crate) partial: Option<&'a StringViewArray>,
}

impl<'a> ReadingColumns<'a> {
    /// What was read in one row.
    pub(crate) fn reading(&self, row: usize) -> Reading<'a> {
        let text = |column: &'a StringViewArray| column.is_valid(row).then(|| column.value(row));
        let candidates = self.candidates.filter(|column| column.is_valid(row)).map_or_else(Vec::new, |column| {
            let range = column.value_offsets()[row] as usize..column.value_offsets()[row + 1] as usize;
            let (texts, scores) = candidate_columns(column);
            range
                .filter(|at| texts.is_valid(*at))
                .map(|at| (texts.value(at), scores.is_valid(at).then(|| scores.value(at))))
                .collect()
        });
        Reading { text: text(self.text), candidates, partial: self.partial.and_then(text) }
    }
}

fn candidate_columns(column: &ListArray) -> (&StringViewArray, &arrow::array::Float64Array) {
    let fields = column.values().as_struct();
    (fields.column(0).as_string_view(), fields.column(1).as_primitive())
}

impl Watchlist {
    /// Rows whose text is a key of the list, alive or not; ascending.
    ///
    /// ```
    /// # use weir_engine::watchlist::doc_list;
    /// let list = doc_list(&["陕A12345"]);
    /// let column = arrow::array::StringViewArray::from(vec![Some("京B00001"), None, Some("陕A12345")]);
    /// assert_eq!(list.exact_rows(&column), [2]);
    /// ```
    pub fn exact_rows(&self, column: &StringViewArray) -> Vec<u32> {
        let mut rows = Vec::new();
        let filters: Vec<&[u8]> = self.layers.iter().map(|layer| layer.prefilter()).collect();
        let keys = self.keys();
        passing(
            column,
            &filters,
            |text| keys.hash(text.as_bytes()),
            |row| {
                if self.holds(column.value(row as usize)) {
                    rows.push(row);
                }
            },
        );
        rows
    }

    /// Rows that may match at one of the grades from `min` on, alive or not; ascending. Every row that does match is
    /// among them.
    pub(crate) fn rows(&self, columns: &ReadingColumns<'_>, min: Grade) -> Vec<u32> {
        let mut rows = self.exact_rows(columns.text);
        let exact = rows.len();
        if min <= Grade::Pattern && self.layers.iter().any(|layer| !layer.patterns.is_empty()) {
            let fits = |text: &str| self.layers.iter().any(|layer| !layer.patterns.matches(text).is_empty());
            let fitting =
                (0..columns.text.len()).filter(|row| columns.text.is_valid(*row) && fits(columns.text.value(*row)));
            rows.extend(fitting.map(|row| row as u32));
        }
        if let Some(candidates) = columns.candidates.filter(|_| min <= Grade::Candidate) {
            let flat = self.exact_rows(candidate_columns(candidates).0);
            let ends = &candidates.value_offsets()[1..];
            rows.extend(flat.into_iter().map(|at| ends.partition_point(|end| *end as u32 <= at) as u32));
        }
        if min <= Grade::Confusable && self.folds() {
            let filters: Vec<&[u8]> = self.layers.iter().map(|layer| layer.folded()).collect();
            let (keys, mut folded) = (self.keys(), Vec::new());
            let hash = |text: &str| {
                folded.clear();
                fold::fold(text, &mut folded);
                keys.hash(&folded)
            };
            passing(columns.text, &filters, hash, |row| rows.push(row));
        }
        if let Some(partial) = columns.partial.filter(|_| min <= Grade::PartialRead) {
            rows.extend((0..partial.len()).filter(|row| partial.is_valid(*row)).map(|row| row as u32));
        }
        if rows.len() > exact {
            rows.sort_unstable();
            rows.dedup();
        }
        rows
    }
}

/// Calls `pass` with every row whose hash one of the filters lets through, ascending.
fn passing(column: &StringViewArray, filters: &[&[u8]], mut hash: impl FnMut(&str) -> u64, mut pass: impl FnMut(u32)) {
    let mut hashes = [0u64; GROUP];
    let nulls = column.null_count() > 0;
    for start in (0..column.len()).step_by(GROUP) {
        let len = GROUP.min(column.len() - start);
        for (at, slot) in hashes[..len].iter_mut().enumerate() {
            let row = start + at;
            if nulls && column.is_null(row) {
                continue;
            }
            let value = hash(column.value(row));
            *slot = value;
            for filter in filters {
                prefetch(filter, prefilter::place(value, filter.len() / 8) * 8);
            }
        }
        for (at, value) in hashes[..len].iter().enumerate() {
            let row = start + at;
            if filters.iter().any(|filter| prefilter::passes(filter, *value)) && !(nulls && column.is_null(row)) {
                pass(row as u32);
            }
        }
    }
}

//! Pseudonyms of a text column, made once for a batch however many rules ask for them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};

use super::predicate::Selection;
use crate::record::{Digest, KindRows, Pseudonyms};

/// Digests of one column by row; 0 where nobody asked or there is no value.
type Column = Vec<Option<Digest>>;

/// A batch, and the pseudonyms that have been made of it.
pub(crate) struct Digests<'a> {
    rows: &'a KindRows,
    pseudonyms: &'a Pseudonyms,
    columns: RefCell<BTreeMap<usize, Column>>,
}

impl<'a> Digests<'a> {
    pub(crate) fn new(rows: &'a KindRows, pseudonyms: &'a Pseudonyms) -> Self {
        Self { rows, pseudonyms, columns: RefCell::default() }
    }

    /// Makes those of a column for the selected rows. Symbols are their own numbers.
    pub(crate) fn want(&self, position: usize, selection: &Selection) {
        let column = self.rows.batch.column(position);
        let total = column.len();
        let mut columns = self.columns.borrow_mut();
        let made = columns.entry(position).or_insert_with(|| vec![None; total]);
        match column.data_type() {
            DataType::Utf8View => {
                let texts = column.as_string_view();
                for row in selection.iter(total) {
                    if made[row].is_none() && texts.is_valid(row) {
                        made[row] = Some(self.pseudonyms.subject(texts.value(row)));
                    }
                }
            }
            DataType::Dictionary(..) => {
                let keys = column.as_dictionary::<Int32Type>().keys();
                for row in selection.iter(total) {
                    made[row] = keys.is_valid(row).then(|| keys.value(row) as Digest);
                }
            }
            _ => {}
        }
    }

    /// All that were made, by position of their column.
    pub(crate) fn into_columns(self) -> BTreeMap<usize, Column> {
        self.columns.into_inner()
    }
}

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
    /// Digests of several columns taken together, by their positions and row.
    keys: RefCell<BTreeMap<Vec<usize>, Vec<KeyCell>>>,
}

/// A key of a row.
#[derive(Clone, Copy)]
enum KeyCell {
    NotMade,
    /// A part of it has no value.
    Nothing,
    Made(Digest),
}

impl<'a> Digests<'a> {
    pub(crate) fn new(rows: &'a KindRows, pseudonyms: &'a Pseudonyms) -> Self {
        Self { rows, pseudonyms, columns: RefCell::default(), keys: RefCell::default() }
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

    /// The pseudonym of several columns of a row taken together; `None` where one has no value.
    pub(crate) fn key(&self, positions: &[usize], row: usize) -> Option<Digest> {
        let mut keys = self.keys.borrow_mut();
        if !keys.contains_key(positions) {
            keys.insert(positions.to_vec(), vec![KeyCell::NotMade; self.rows.batch.num_rows()]);
        }
        let cell = &mut keys.get_mut(positions).expect("it is there now")[row];
        if let KeyCell::NotMade = cell {
            let texts: Option<Vec<&str>> = positions.iter().map(|position| self.text(*position, row)).collect();
            *cell = texts.map_or(KeyCell::Nothing, |texts| KeyCell::Made(self.pseudonyms.key(texts.into_iter())));
        }
        match cell {
            KeyCell::Made(digest) => Some(*digest),
            KeyCell::NotMade | KeyCell::Nothing => None,
        }
    }

    fn text(&self, position: usize, row: usize) -> Option<&'a str> {
        let column = self.rows.batch.column(position);
        if column.is_null(row) {
            return None;
        }
        match column.data_type() {
            DataType::Utf8View => Some(column.as_string_view().value(row)),
            DataType::Dictionary(..) => {
                let symbols = column.as_dictionary::<Int32Type>();
                Some(symbols.values().as_string::<i32>().value(symbols.keys().value(row) as usize))
            }
            _ => None,
        }
    }

    /// All that were made, by position of their column.
    pub(crate) fn into_columns(self) -> BTreeMap<usize, Column> {
        self.columns.into_inner()
    }
}

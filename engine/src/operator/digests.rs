//! Pseudonyms of a text column, made once for a batch and purpose however many rules ask for them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};

use super::predicate::Selection;
use crate::record::{Digest, KindRows, ShortTexts, Subjects};

/// Position of a purpose in the plan: what is made for one says nothing to another.
pub(crate) type PurposeId = u16;

/// Digests of one column by row; 0 where nobody asked or there is no value.
type Column = Vec<Option<Digest>>;

/// Keys by row.
type KeyCells = Vec<KeyCell>;

/// A batch, and the pseudonyms that have been made of it.
pub(crate) struct Digests<'a> {
    rows: &'a KindRows,
    /// By purpose.
    subjects: &'a [Subjects],
    columns: RefCell<BTreeMap<(PurposeId, usize), Column>>,
    /// Digests of several columns taken together, by purpose, their positions and row.
    keys: RefCell<BTreeMap<(PurposeId, Vec<usize>), KeyCells>>,
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
    pub(crate) fn new(rows: &'a KindRows, subjects: &'a [Subjects]) -> Self {
        Self { rows, subjects, columns: RefCell::default(), keys: RefCell::default() }
    }

    /// Makes those of a column for the selected rows. Symbols are their own numbers.
    pub(crate) fn want(&self, (purpose, position): (PurposeId, usize), selection: &Selection) {
        let column = self.rows.batch.column(position);
        let total = column.len();
        let mut columns = self.columns.borrow_mut();
        let made = columns.entry((purpose, position)).or_insert_with(|| vec![None; total]);
        match column.data_type() {
            DataType::Utf8View => {
                let texts = column.as_string_view();
                let (mut rows, mut wanted) = (Vec::new(), ShortTexts::default());
                for row in selection.iter(total) {
                    if made[row].is_none() && texts.is_valid(row) {
                        rows.push(row);
                        wanted.push(0, texts.value(row));
                    }
                }
                let digests = self.subjects[usize::from(purpose)].subjects(&mut wanted);
                for (row, digest) in rows.into_iter().zip(digests) {
                    made[row] = Some(digest);
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

    /// The pseudonyms of several columns of a row taken together, of these rows; `None` where one has no value.
    pub(crate) fn keys(
        &self,
        (purpose, positions): (PurposeId, &[usize]),
        rows: impl Iterator<Item = usize>,
    ) -> Vec<Option<Digest>> {
        let mut keys = self.keys.borrow_mut();
        let total = self.rows.batch.num_rows();
        let cells = keys.entry((purpose, positions.to_vec())).or_insert_with(|| vec![KeyCell::NotMade; total]);
        let subjects = &self.subjects[usize::from(purpose)];
        let key = |row: usize| {
            if let KeyCell::NotMade = cells[row] {
                let texts: Option<Vec<&str>> = positions.iter().map(|position| self.text(*position, row)).collect();
                cells[row] = texts.map_or(KeyCell::Nothing, |texts| KeyCell::Made(subjects.key(texts.into_iter())));
            }
            match cells[row] {
                KeyCell::Made(digest) => Some(digest),
                KeyCell::NotMade | KeyCell::Nothing => None,
            }
        };
        rows.map(key).collect()
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

    /// All that were made, by purpose and position of their column.
    pub(crate) fn into_columns(self) -> BTreeMap<(PurposeId, usize), Column> {
        self.columns.into_inner()
    }
}

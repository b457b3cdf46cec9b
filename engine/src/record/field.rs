//! One value of a record as a decoder found it, before its column's type is known.

use super::SymbolId;
use super::symbols::SymbolLookup;

/// A value, borrowed from the input where that is possible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// Not in the record, or `null`.
    Missing,
    /// Text as it stands.
    Text(&'a str),
    /// The inside of a JSON string that holds escapes; valid, not yet resolved.
    Escaped(&'a str),
    /// A JSON number; valid, not yet converted.
    Number(&'a str),
    /// A number of a typed source.
    Float(f64),
    /// A whole number of a typed source; timestamps are milliseconds.
    Integer(i64),
    /// True or false.
    Truth(bool),
    /// A JSON array or object; valid, not yet taken apart.
    Json(&'a str),
    /// Several texts of a typed source.
    Texts(&'a [String]),
}

impl Field<'_> {
    /// Whether there is no value.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// The values of many records of one kind, to be asked for column by column.
pub(crate) trait Offered<'a> {
    /// The values of a column, by its position in the kind's declaration: those of the records by their numbers.
    fn column(&self, column: usize) -> impl Fn(usize) -> Field<'a>;

    /// The plain texts among them. `None` says only that a value has to be asked for otherwise.
    fn texts(&self, column: usize) -> impl Fn(usize) -> Option<&'a str> {
        let fields = self.column(column);
        move |record| if let Field::Text(text) = fields(record) { Some(text) } else { None }
    }

    /// The symbols that are known of them. `None` says only that a value has to be asked for otherwise.
    #[inline]
    fn symbols(&self, column: usize) -> impl Fn(SymbolLookup<'_>, usize) -> Option<SymbolId> {
        let texts = self.texts(column);
        move |symbols, record| symbols.get(texts(record)?)
    }
}

/// One column of many records, which a function gives.
pub(crate) struct Column<F>(pub(crate) F);

impl<'a, F: Fn(usize) -> Field<'a>> Offered<'a> for Column<F> {
    fn column(&self, _: usize) -> impl Fn(usize) -> Field<'a> {
        &self.0
    }
}

/// One record, whose fields a function gives.
pub(crate) struct One<F>(pub(crate) F);

impl<'a, F: Fn(usize) -> Field<'a>> Offered<'a> for One<F> {
    fn column(&self, column: usize) -> impl Fn(usize) -> Field<'a> {
        move |_| self.0(column)
    }
}

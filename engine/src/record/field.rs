//! One value of a record as a decoder found it, before its column's type is known.

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

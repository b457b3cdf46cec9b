//! Kinds of record and their columns: the allow-list of everything that is ever decoded.
//!
//! The five built-in kinds are declared in `builtin.yaml`, in the same language in which a
//! configuration declares further kinds. Only what stands here is decoded; all else in a record is
//! skipped unread. Names of protected attributes are refused ([`protected_attribute`]).

mod parse;
mod protected;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

pub use parse::check_protected as check_protected_name;
pub use parse::parse_kinds;
pub use protected::protected_attribute;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Free text: `Utf8View`.
    Text,
    /// Text with few values: `Dictionary(Int32, Utf8)`.
    Symbol,
    /// `Float64`.
    Number,
    /// `Int64`.
    Integer,
    /// `Boolean`.
    Boolean,
    /// `Timestamp(Millisecond, "UTC")`; RFC 3339 or epoch milliseconds in the record.
    Timestamp,
    /// `Date32`; `YYYY-MM-DD` in the record.
    Date,
    /// `List<Struct<text: Utf8View, score: Float64>>`.
    ScoredTexts,
    /// `List<Utf8>`: only in the foreign fields of a mapped source.
    Texts,
}

impl ColumnType {
    /// The words of the schema language, `texts` included.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("symbol", Self::Symbol),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("timestamp", Self::Timestamp),
        ("date", Self::Date),
        ("scored_texts", Self::ScoredTexts),
        ("texts", Self::Texts),
    ];

    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8View,
            Self::Symbol => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Number => DataType::Float64,
            Self::Integer => DataType::Int64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::ScoredTexts => {
                DataType::List(Arc::new(Field::new("item", DataType::Struct(scored_text_fields()), true)))
            }
            Self::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }

    /// What a person calls it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, ty)| *ty == self).map_or("text", |(word, _)| word)
    }
}

/// Fields of one scored text.
pub fn scored_text_fields() -> Fields {
    Fields::from(vec![Field::new("text", DataType::Utf8View, true), Field::new("score", DataType::Float64, true)])
}

/// Whom or what a column identifies. Such a column never leaves a batch in the clear unless it hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identifies {
    /// Nobody.
    Nothing,
    /// A person.
    Person,
    /// A vehicle, and so its driver.
    Vehicle,
    /// A document, and so its holder.
    Document,
}

/// The versioned functions that bring an identifier into its one canonical form, by name.
///
/// Streams and lists of one column use the same function, so that equal things compare equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normaliser {
    /// GA 36 plates.
    PlateV1,
    /// Document numbers: upper case without separators; resident ids by GB 11643.
    DocumentV1,
    /// UN numbers in four digits, other item classes in lower case.
    ItemClassV1,
    /// GA 36 plates of which some characters were not read: `-` for each; all others give no value.
    PartialPlateV1,
    /// A health credential, verified: only the outcome remains.
    CredentialV1,
}

impl Normaliser {
    /// The words of the schema language.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("plate.v1", Self::PlateV1),
        ("document.v1", Self::DocumentV1),
        ("item_class.v1", Self::ItemClassV1),
        ("partial_plate.v1", Self::PartialPlateV1),
        ("credential.v1", Self::CredentialV1),
    ];

    /// Name with version, as it stands in the schema and in the meaning of a rule.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

/// One column of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name in JSON, CSV and Arrow.
    pub name: String,
    /// What it holds.
    pub ty: ColumnType,
    /// A record without it goes to the dead letter.
    pub required: bool,
    /// Value where a record has none.
    pub default: Option<f64>,
    /// Whom it identifies.
    pub identifies: Identifies,
    /// How it is brought into canonical form.
    pub normaliser: Option<Normaliser>,
    /// Values outside go to the dead letter; inclusive.
    pub range: Option<(f64, f64)>,
    /// Closed set of values, if it is one.
    pub values: Vec<String>,
    /// Dropped before any rule sees it.
    pub transient: bool,
    /// Column whose field in the record it is made of, if not that of its own name.
    pub made_of: Option<String>,
    /// Column of which it holds further readings, with scores.
    pub readings_of: Option<String>,
    /// One sentence for people.
    pub doc: String,
}

impl Column {
    /// A column of this type with nothing more to say.
    pub fn plain(name: &str, ty: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            required: false,
            default: None,
            identifies: Identifies::Nothing,
            normaliser: None,
            range: None,
            values: Vec::new(),
            transient: false,
            made_of: None,
            readings_of: None,
            doc: String::new(),
        }
    }
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Name, as in the record's `kind`.
    pub name: String,
    /// One sentence for people.
    pub doc: String,
    /// Common columns first, in [`COMMON_COLUMNS`] order, then its own.
    pub columns: Vec<Column>,
}

/// Columns that every kind has, in this order, before its own.
pub const COMMON_COLUMNS: &[&str] = &["event_id", "ts", "site", "device", "zone", "lane", "source", "received"];

/// Key of lists of revoked credentials: the number inside a credential, which no rule ever sees.
pub const CREDENTIAL_ID_COLUMN: &str = "credential_id";

/// What verifying a credential gave.
pub const OUTCOME_COLUMN: &str = "outcome";

/// Names that a kind cannot declare.
pub const RESERVED: &[&str] = &["kind", "event_id", "ts", "site", "device", "zone", "lane", "source", "received"];

impl Kind {
    /// The column with this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Position of a column.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The column with partial readings of another: what it could not read of it is `-`.
    pub fn partial_of(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| {
            column.normaliser == Some(Normaliser::PartialPlateV1) && column.made_of.as_deref() == Some(name)
        })
    }

    /// The column with further readings of another.
    pub fn readings_of(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.readings_of.as_deref() == Some(name))
    }

    /// What rules see: every column but the transient ones. `zone` is one zone of the record at a time.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns
                .iter()
                .filter(|column| !column.transient)
                .map(|column| Field::new(&column.name, column.ty.arrow(), true))
                .collect::<Vec<_>>(),
        ))
    }
}

/// Every kind a process knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    kinds: Vec<Kind>,
}

impl Catalog {
    /// The five built-in kinds.
    ///
    /// # Panics
    /// Never: `builtin.yaml` is part of the crate and a test loads it.
    pub fn builtin() -> Self {
        let file = crate::SourceFile::new("<built-in kinds>", include_str!("builtin.yaml"));
        let mut diagnostics = crate::Diagnostics::new();
        let mut catalog = Self { kinds: Vec::new() };
        let node = crate::yaml::parse(&file, &mut diagnostics).expect("built-in kinds are YAML");
        parse_kinds(&file, &node, &mut catalog, &mut diagnostics);
        assert!(diagnostics.is_empty(), "built-in kinds are in order");
        catalog
    }

    /// The kind with this name.
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// Position of the kind with this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name == name)
    }

    /// The same kinds for tests of packs, whose records say the outcome of verifying a credential themselves: an
    /// author of rules has no issuer's key to make one with.
    #[must_use]
    pub fn with_given_outcomes(&self) -> Self {
        let mut catalog = self.clone();
        for column in catalog.kinds.iter_mut().flat_map(|kind| &mut kind.columns) {
            if column.normaliser == Some(Normaliser::CredentialV1) {
                (column.normaliser, column.made_of) = (None, None);
            }
        }
        catalog
    }

    /// All kinds, in order of declaration.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(crate) fn add(&mut self, kind: Kind) {
        self.kinds.push(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_kinds_are_those_of_the_design() {
        let catalog = Catalog::builtin();
        let names: Vec<&str> = catalog.kinds().iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["person", "vehicle", "item", "id", "code"]);
        let vehicle = catalog.kind("vehicle").unwrap();
        assert_eq!(vehicle.column("plate").unwrap().normaliser, Some(Normaliser::PlateV1));
        assert_eq!(vehicle.columns[1].name, "ts");
        assert!(catalog.kind("code").unwrap().arrow_schema().column_with_name("credential").is_none());
    }
}

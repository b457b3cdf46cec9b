//! Records as columns: layouts, symbols, row-wise building.
//!
//! A decoder offers a record as a slice of [`Field`]s; a [`KindBuilder`] checks, normalises and
//! appends it to typed columns. A record that breaks a rule of its schema is refused whole, with a
//! [`Cause`] that never quotes the record's values.

mod builder;
mod cause;
mod convert;
mod field;
mod layout;
mod pseudonym;
mod symbols;

pub(crate) use builder::{Columns, Origin, ReadState, Track};
pub use builder::{KindBuilder, KindRows};
pub use cause::{Cause, Reason};
pub use field::Field;
pub(crate) use layout::Wholes;
pub use layout::{KindLayout, Layouts, SymbolTables};
pub(crate) use pseudonym::low;
pub use pseudonym::{Digest, Pseudonyms, RootKey, Subjects};
pub use symbols::{SymbolId, Symbols};

/// Position of a source in the pipeline.
pub type SourceId = u16;
/// Position of a kind in the catalog.
pub type KindId = u16;

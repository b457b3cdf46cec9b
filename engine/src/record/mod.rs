//! Records as columns: layouts, symbols, building.
//!
//! A decoder offers the [`Field`]s of many records of a kind; a [`KindBuilder`] checks, normalises and appends them, one
//! column after the other. A record that breaks a rule of its schema is refused whole, with a [`Cause`] that never
//! quotes the record's values.

mod builder;
mod cause;
mod columns;
mod common;
mod convert;
mod decimal;
mod field;
mod kind_rows;
mod layout;
mod packed;
mod pseudonym;
mod seal;
mod short_ids;
mod short_texts;
mod symbols;

pub use builder::KindBuilder;
pub(crate) use builder::{Means, Origin};
pub use cause::{Cause, Reason};
pub(crate) use columns::{Columns, Refused};
pub use field::Field;
pub(crate) use field::{Offered, One};
pub use kind_rows::KindRows;
pub(crate) use kind_rows::{ReadState, Track};
pub(crate) use layout::Wholes;
pub use layout::{KindLayout, Layouts, SymbolTables};
pub(crate) use packed::{pack, pack_within};
pub(crate) use pseudonym::low;
pub use pseudonym::{Digest, Pseudonyms, RootKey, Subjects};
pub(crate) use seal::{Opener, Sealed, Sealer};
pub(crate) use short_texts::ShortTexts;
pub(crate) use symbols::{SymbolCaches, SymbolLookup};
pub use symbols::{SymbolId, Symbols};

/// Position of a source in the pipeline.
pub type SourceId = u16;
/// Position of a kind in the catalog.
pub type KindId = u16;

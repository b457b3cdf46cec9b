//! From bytes to columns.
//!
//! A [`SourcePlan`] says which fields of a source are decoded and where they go; a `SourceDecoder`
//! (one a shard and source) takes a block's records apart and puts them into the shard's
//! `Assembly`, which has one builder for each kind and fills its columns for many records at once. A source with a mapping goes through a raw
//! stage first: its foreign fields become columns, SQL expressions make canonical columns of them.

mod arrays;
mod assembly;
mod at_a_glance;
mod csv;
mod found;
pub mod json;
mod mapping;
mod onward;
mod plan;
mod reader;
mod refusals;

pub(crate) use arrays::Values as ColumnValues;
pub use assembly::Rejected;
pub(crate) use assembly::{Arrival, Assembly, Place};
pub(crate) use csv::{Row as CsvRow, parse_row as parse_csv_row};
pub use mapping::{MapSpec, MappedField};
pub use plan::{KindChoice, PlanError, SourcePlan};
pub(crate) use reader::SourceDecoder;

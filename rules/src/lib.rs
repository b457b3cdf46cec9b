//! What an analyst writes: the schema of kinds, rule packs, their checker and its diagnostics.
//!
//! This crate turns text into checked, typed declarations and says what is wrong with them, all
//! problems in one run. It knows no threads, no clock and no I/O: whoever calls it has read the
//! files already. The engine compiles what comes out of here against its own column layout.
//!
//! Reading order: [`yaml`] (a strict tree with places), [`diagnostic`] (what is said about a
//! place), [`schema`] (kinds of record), [`expr`] (SQL conditions), [`pack`] (rules).
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod expr;
pub mod pack;
pub mod schema;
pub mod units;
pub mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile};
pub use pack::{Pack, Rule};
pub use schema::{Catalog, Kind};

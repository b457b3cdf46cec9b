//! weir-engine: records in, alerts out.
//!
//! The folders read in the order in which data flows: [`source`] (blocks of whole records),
//! [`decode`] (bytes to columns), [`normalise`] (one spelling for equal things), [`record`] (typed
//! columns), [`watchlist`] and [`window`] (what is looked up and counted), `operator` (rules),
//! [`alert`] (identity, suppression, text, routing), [`runtime`] (shards, order, the account), [`state`]
//! (what survives a crash).
//! The outside world stands behind [`clock`], [`vfs`] and [`rng`].
//!
//! An embedder builds a [`Pipeline`] out of checked packs, lists, sources and sinks, and runs it;
//! `examples/src/bin/embed.rs` shows it in under sixty lines.
#![forbid(unsafe_code)]

pub mod alert;
pub mod backoff;
pub mod budget;
pub mod clock;
mod computed;
pub mod credential;
pub mod decode;
pub mod explain;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod normalise;
mod operator;
pub mod record;
pub mod rng;
pub mod runtime;
mod slots;
pub mod source;
pub mod state;
pub mod testing;
pub mod vfs;
pub mod watchlist;
pub mod window;

pub use alert::{Output, Sink, SinkError, SinkSpec, Stream};
pub use limits::Limits;
pub use runtime::{ListStatus, Pipeline, ReloadHandle, ReloadReport, SourceSpec, Summary, Trial, TrialParts};
pub use source::{Feed, Format, Source, SourceError};
pub use state::{JOURNAL_FOR_MS_MAX, StateSpec};

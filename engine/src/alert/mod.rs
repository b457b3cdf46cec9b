//! Alerts: what leaves, under which identity, with which words, and where to.

mod identity;
mod output;
mod routing;
mod suppression;
mod text;

pub(crate) use identity::{AlertIdentity, digest_bytes};
pub use output::{Alert, DeadLetter, Hit, LateRecord, Output, Stream, WindowRange, WindowValue};
pub(crate) use routing::Router;
pub use routing::{Sink, SinkError, SinkSpec};
pub(crate) use suppression::{SavedSuppression, Suppression};
pub(crate) use text::{Cell, cell_text, format_time, format_value, render};

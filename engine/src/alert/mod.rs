//! Alerts: what leaves, under which identity, with which words, and where to.

mod delivery;
mod identity;
mod output;
pub(crate) mod plain_hit;
mod routing;
mod suppression;
mod text;
mod word;

pub(crate) use delivery::{Delivered, Desk, Outlet, SinkThread};
pub use delivery::{Sink, SinkError};
pub(crate) use identity::{AlertIdentity, digest_bytes};
pub use output::{
    Alert, DeadLetter, Hit, LateRecord, Notice, Outlook, Output, Proposed, ShedRecord, Stream, WindowRange, WindowValue,
};
pub use routing::SinkSpec;
pub(crate) use routing::{Guards, Retold, Router};
pub(crate) use suppression::{SavedSuppression, Suppression};
pub use text::format_time;
pub(crate) use text::{Cell, cell_text, format_value, render};
pub use word::Word;

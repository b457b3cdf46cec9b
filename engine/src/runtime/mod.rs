//! The pipeline: threads, batches, order, and the account at the end.
//!
//! Shards take what has arrived and do everything that needs no state, each on its own core
//! (`shard`). Batches are then applied to the partition's state strictly in the order in which
//! they were taken (`sequencer`), by whichever shard finished the next one. So nothing that is
//! emitted depends on the number of shards or on the size of batches, nor on whether the thread of a
//! source did all of this with a few records itself (`crew`).

mod crew;
mod event_ids;
mod export;
mod fate;
mod files;
mod going_on;
mod overload;
mod partition;
mod pipeline;
mod plan;
#[cfg(test)]
mod recovery;
mod reload;
mod saver;
mod saving;
mod sequencer;
mod shard;
#[cfg(test)]
pub(crate) mod simulator;
mod state;
mod steps;
mod summary;
mod tally;
mod telling;
mod told;
mod trial;
mod windows;

pub use export::{Export, ExportError, ExportedKind, ExportedPlace, ExportedRule, ExportedSource, export};
pub use overload::ShedTotals;
pub use pipeline::{BuildError, Pipeline, PipelineBuilder, RunError, SourceSpec, StopHandle};
pub use reload::{ListStatus, ReloadHandle, ReloadReport};
pub use state::{StateError, read_checkpoint};
pub use summary::{Replayed, RuleCounts, Summary};
pub use tally::Tally;
pub use trial::{Trial, TrialParts};

//! A seeded synthetic city: nobody in it is real, and the same seed gives the same city.
//!
//! 76 sites (25 checkpoints, 51 bayonets), 1,000 zones, five kinds of record in the shares of the
//! design, up to five seconds of disorder, lists with a chosen hit rate, and crowds that build up,
//! stay and dissolve.

mod arrow_ipc;
mod city;
mod files;
mod ndjson;

pub(crate) use arrow_ipc::ArrowWriter;
pub(crate) use city::{City, CitySpec, Detail, Record};
pub(crate) use files::write_side_files;
pub(crate) use ndjson::write_line;

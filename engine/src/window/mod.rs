//! Windows: devices and their watermarks, panes and measures, levels, the zone table.
//!
//! A record updates one pane, whatever the overlap; a window is the sum of its panes and closes
//! when the watermark passes its end. Whether a record is late is decided by its own device's
//! progress, so that the values depend on the order within a device only, never on batching or on
//! how devices interleave.

mod counters;
mod devices;
mod digests;
mod fault;
mod forecast;
mod ledgers;
mod level;
mod measure;
mod near;
mod numbers;
mod occupancy;
mod panes;
mod reporters;
mod revisions;
mod roster;
mod seen;
mod sessions;
mod sightings;
mod sketch;
mod sums;
mod view;
mod zones;

pub(crate) use devices::{Devices, FOREVER, SavedDevices, SavedHeard};
pub(crate) use fault::{Fault, FaultKind, TOLD_AGAIN_MS};
pub(crate) use forecast::{Forecaster, normal_quantile};
pub(crate) use level::{Change, LevelState, Thresholds};
pub(crate) use measure::{Contribution, Direction, ONE, to_micro};
pub(crate) use numbers::Numbers;
pub(crate) use panes::{Closed, GroupKey, Observation, Panes, PanesSpec, Room, SavedPanes};
pub(crate) use reporters::{PaneClock, Reporters, SavedReporters};
pub(crate) use roster::{ZoneDevices, ZoneRoster};
pub(crate) use sessions::{SavedSessions, Sessions};
pub(crate) use sketch::APPROX_DISTINCT_ERROR;
pub(crate) use view::ViewLength;
pub use zones::{ZONE_DEPTH_MAX, Zone, ZoneError, ZoneTable, zone_of};

//! Windows: devices and their watermarks, panes and measures, levels, the zone table.
//!
//! A record updates one pane, whatever the overlap; a window is the sum of its panes and closes
//! when the watermark passes its end. Whether a record is late is decided by its own device's
//! progress, so that the values depend on the order within a device only, never on batching or on
//! how devices interleave.

mod devices;
mod level;
mod measure;
mod panes;
mod reporters;
mod zones;

pub(crate) use devices::{Devices, FOREVER, SavedDevices};
pub(crate) use level::{Change, LevelState};
pub(crate) use measure::{Contribution, to_micro};
pub(crate) use panes::{Closed, GroupKey, Observation, Panes, SavedPanes, ViewLength, ZoneDevices, ZoneRoster};
pub(crate) use reporters::{PaneClock, Reporters, SavedReporters};
pub use zones::{Zone, ZoneError, ZoneTable};

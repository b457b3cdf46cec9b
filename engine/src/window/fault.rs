//! What can be wrong with a device, and what it means for a crowd.

use crate::alert::{Notice, format_time};
use crate::record::SymbolId;

/// A device is told of again after so long, if it is still at fault.
pub(crate) const TOLD_AGAIN_MS: i64 = 3_600_000;

/// Something that is wrong with a device, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nothing is heard of it.
    Silent,
    /// It is heard of again.
    Heard,
    /// Its clock is behind those of the other devices of its source.
    ClockBehind { by_ms: i64 },
    /// Its clock is ahead of ours.
    ClockAhead { by_ms: i64 },
    /// Its absolute reading does not change, though people come and go.
    StuckReading,
    /// More people went out than were inside.
    NegativeOccupancy,
    /// Its running total has started anew.
    CounterReset,
    /// Its running total has gone over the end of its register.
    CounterRolledOver,
    /// Its running total has grown by more than can have passed.
    CounterJumped,
}

/// A fault with its place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) source: Option<u16>,
    pub(crate) device: SymbolId,
    pub(crate) zone: Option<SymbolId>,
    pub(crate) at_ms: i64,
}

impl Fault {
    /// For people.
    pub(crate) fn notice(&self, source: Option<String>, device: String, zone: Option<String>) -> Notice {
        let place = zone.as_ref().map_or_else(String::new, |zone| format!(" of zone {zone}"));
        let minutes = |ms: i64| format!("{} min", (ms + 30_000) / 60_000);
        let (notice, say) = match self.kind {
            FaultKind::Silent => (
                "silent",
                format!(
                    "nothing is heard of {device}; windows no longer wait for it, and the completeness of its zones falls"
                ),
            ),
            FaultKind::Heard => ("heard", format!("{device} is heard of again; what it brings from before is late")),
            FaultKind::ClockBehind { by_ms } => (
                "clock_behind",
                format!(
                    "the clock of {device} is {} behind the others of its source; set it, its records come late",
                    minutes(by_ms)
                ),
            ),
            FaultKind::ClockAhead { by_ms } => (
                "clock_ahead",
                format!(
                    "the clock of {device} is {} ahead; its records go to the dead letter until it is set",
                    minutes(by_ms)
                ),
            ),
            FaultKind::StuckReading => (
                "stuck_reading",
                format!(
                    "the reading{place} by {device} does not change though people come and go; it is left out, look at the device"
                ),
            ),
            FaultKind::CounterReset => (
                "counter_reset",
                format!("the total of {device}{place} has started anew; what it has counted since is taken"),
            ),
            FaultKind::CounterRolledOver => {
                ("counter_rolled_over", format!("the total of {device}{place} has rolled over; it is counted on"))
            }
            FaultKind::CounterJumped => (
                "counter_jumped",
                format!(
                    "the total of {device}{place} has grown by more than can have passed; nothing is counted, look at the device"
                ),
            ),
            FaultKind::NegativeOccupancy => (
                "negative_occupancy",
                format!(
                    "more people have left{place} past {device} than were inside; the number goes on from 0, recount it"
                ),
            ),
        };
        Notice { notice, source, device: Some(device), zone, ts: format_time(self.at_ms), say }
    }
}

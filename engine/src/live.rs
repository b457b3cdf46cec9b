//! Where zones, devices and sources stand, for whoever asks. Counts, names and times; nothing about anybody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::alert::Outlook;
use crate::metrics::Buckets;

/// How often it is written down, once somebody has asked.
pub(crate) const LIVE_EVERY_MS: i64 = 250;
/// Most values of keys, and most devices, that are written down.
pub const LIVE_MAX: usize = 10_000;

/// A key of a window rule with levels or a forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveValue {
    /// Rule.
    pub rule: String,
    /// Values of the key's columns.
    pub key: BTreeMap<String, String>,
    /// End of the last window, epoch milliseconds.
    pub end_ms: i64,
    /// Its value.
    pub value: f64,
    /// Half of the interval in which the truth lies in 95 of 100 cases, where the measure states one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Share of the zone's devices that reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// Levels that hold.
    pub levels: Vec<String>,
    /// Whether no values come any more.
    pub silent: bool,
    /// A look ahead, with trend and time to the next level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Outlook>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveDevice {
    /// Source.
    pub source: String,
    /// Device.
    pub device: String,
    /// Its newest event time, epoch milliseconds.
    pub newest_ms: i64,
    /// How far it is behind the newest of all, milliseconds: so much the watermark waits for it, unless it is silent.
    pub behind_ms: i64,
    /// Whether nothing has been heard of it for a while.
    pub silent: bool,
}

/// Where everything stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Live {
    /// By rule and key.
    pub values: Vec<LiveValue>,
    /// By source and device.
    pub devices: Vec<LiveDevice>,
    /// What became of the records of each source.
    pub sources: BTreeMap<String, Buckets>,
}

/// Where it is written down.
#[derive(Debug, Default)]
pub(crate) struct LiveBoard {
    wanted: AtomicBool,
    live: Mutex<Live>,
}

impl LiveBoard {
    /// What was written down last; from the first call on it is.
    pub(crate) fn read(&self) -> Live {
        self.wanted.store(true, Ordering::Relaxed);
        self.live.lock().clone()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, live: Live) {
        *self.live.lock() = live;
    }
}

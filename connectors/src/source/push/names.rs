//! What devices are called besides: a heartbeat of ISAPI may name no more than an address, where events name a number.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// Names that are kept.
const NAMES_MAX: usize = 10_000;
/// Devices behind one of them, such as the regions of a counter.
const DEVICES_MAX: usize = 64;

/// Devices by what else they are called, as their events tell.
#[derive(Default)]
pub(in crate::source) struct Names(Mutex<HashMap<String, BTreeSet<Arc<str>>>>);

impl Names {
    /// Notes that these devices are called so, too.
    pub(super) fn learn(&self, name: &str, devices: impl Iterator<Item = Arc<str>>) {
        let mut names = self.0.lock();
        if !names.contains_key(name) {
            if names.len() == NAMES_MAX {
                return;
            }
            names.insert(name.to_owned(), BTreeSet::new());
        }
        let known = names.get_mut(name).expect("it is there by now");
        for device in devices {
            if known.len() < DEVICES_MAX {
                known.insert(device);
            }
        }
    }

    /// The devices that are called so.
    pub(super) fn of(&self, name: &str) -> Vec<Arc<str>> {
        self.0.lock().get(name).into_iter().flatten().cloned().collect()
    }
}

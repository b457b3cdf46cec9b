//! Which devices watch which zones: what a window's completeness is told from.

use super::panes::GroupKey;
use super::reporters::DeviceSet;
use crate::record::SymbolId;

/// Devices of one zone of the zone table.
#[derive(Debug, Clone)]
pub(crate) enum ZoneDevices {
    /// As the table says.
    Declared(Vec<SymbolId>),
    /// As reported so far: device, and the first pane in which it saw somebody there.
    Learned(Vec<(SymbolId, i64)>),
}

/// What was learned, by key.
pub(super) type SavedRoster = Vec<(GroupKey, Vec<(SymbolId, i64)>)>;

/// The zones of the zone table with their devices; empty for rules that are not keyed by the zone alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ZoneRoster {
    /// By the zone's symbol.
    zones: Vec<Option<ZoneDevices>>,
}

fn key_of(zone: usize) -> GroupKey {
    [zone as SymbolId, 0, 0, 0]
}

impl ZoneRoster {
    /// Adds a zone.
    pub(crate) fn insert(&mut self, zone: SymbolId, devices: ZoneDevices) {
        let zone = zone as usize;
        if self.zones.len() <= zone {
            self.zones.resize(zone + 1, None);
        }
        self.zones[zone] = Some(devices);
    }

    fn get(&self, key: &GroupKey) -> Option<&ZoneDevices> {
        self.zones.get(key[0] as usize)?.as_ref()
    }

    /// Keys of its zones, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = GroupKey> {
        self.zones.iter().enumerate().filter(|(_, devices)| devices.is_some()).map(|(zone, _)| key_of(zone))
    }

    /// Which of its zones are among these keys, by the zone's symbol.
    pub(super) fn among<'a>(&self, keys: impl Iterator<Item = &'a GroupKey>) -> Vec<bool> {
        let mut among = vec![false; self.zones.len()];
        for key in keys {
            if let Some(zone) = among.get_mut(key[0] as usize) {
                *zone = true;
            }
        }
        among
    }

    /// A device saw somebody in a zone.
    pub(super) fn learn(&mut self, key: &GroupKey, device: SymbolId, pane: i64) {
        if let Some(Some(ZoneDevices::Learned(devices))) = self.zones.get_mut(key[0] as usize) {
            match devices.iter_mut().find(|(known, _)| *known == device) {
                Some((_, first)) => *first = pane.min(*first),
                None => devices.push((device, pane)),
            }
        }
    }

    /// How many devices a zone has before a pane, and how many of them are among those that reported.
    pub(super) fn watch(&self, key: &GroupKey, before_pane: i64, reported: &DeviceSet) -> Option<(usize, usize)> {
        Some(match self.get(key)? {
            ZoneDevices::Declared(devices) => {
                (devices.len(), devices.iter().filter(|device| reported.holds(**device)).count())
            }
            ZoneDevices::Learned(devices) => {
                let known = devices.iter().filter(|(_, first)| *first < before_pane).map(|(device, _)| *device);
                known.fold((0, 0), |(all, here), device| (all + 1, here + usize::from(reported.holds(device))))
            }
        })
    }

    pub(super) fn save(&self) -> SavedRoster {
        let learned = self.zones.iter().enumerate().filter_map(|(zone, devices)| match devices {
            Some(ZoneDevices::Learned(devices)) if !devices.is_empty() => Some((key_of(zone), devices.clone())),
            _ => None,
        });
        learned.collect()
    }

    pub(super) fn load(&mut self, saved: SavedRoster) {
        for (key, devices) in saved {
            if let Some(Some(known @ ZoneDevices::Learned(_))) = self.zones.get_mut(key[0] as usize) {
                *known = ZoneDevices::Learned(devices);
            }
        }
    }
}

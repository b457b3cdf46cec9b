//! The zone table by the symbols that its zones have in batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::record::{Layouts, SymbolId};
use crate::window::{GroupKey, Zone, ZoneDevices, ZoneRoster, ZoneTable};

/// Zones by symbol.
pub(crate) type ZonesBySymbol = HashMap<SymbolId, Zone, RandomState>;

/// What all window rules know of zones; made once, however many rules there are.
pub(crate) struct PlacedZones {
    pub(super) by_symbol: Arc<ZonesBySymbol>,
    roster: ZoneRoster,
    parts: BTreeMap<GroupKey, Vec<GroupKey>>,
}

impl PlacedZones {
    pub(crate) fn new(layouts: &Layouts, zones: &ZoneTable) -> Self {
        let symbol = |id: &str| layouts.symbols["zone"].intern(id);
        let (mut by_symbol, mut roster, mut parts) = (ZonesBySymbol::default(), ZoneRoster::default(), BTreeMap::new());
        for zone in zones.iter() {
            let Some(id) = symbol(&zone.id) else { continue };
            by_symbol.insert(id, zone.clone());
            let devices: Vec<SymbolId> =
                zone.devices.iter().filter_map(|device| layouts.symbols["device"].intern(device)).collect();
            let devices =
                if devices.is_empty() { ZoneDevices::Learned(Vec::new()) } else { ZoneDevices::Declared(devices) };
            roster.insert(id, devices);
            if let Some(whole) = zone.parent.as_deref().and_then(symbol) {
                parts.entry([whole, 0, 0, 0]).or_insert_with(Vec::new).push([id, 0, 0, 0]);
            }
        }
        Self { by_symbol: Arc::new(by_symbol), roster, parts }
    }

    /// Which devices watch which keys, where the key is the zone alone: only then it is known which keys should
    /// have a value.
    pub(crate) fn roster(&self) -> ZoneRoster {
        self.roster.clone()
    }

    /// The zones that are part of a zone, where the key is the zone alone.
    pub(crate) fn parts(&self) -> BTreeMap<GroupKey, Vec<GroupKey>> {
        self.parts.clone()
    }
}

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
#[derive(Default)]
pub(crate) struct PlacedZones {
    pub(super) by_symbol: Arc<ZonesBySymbol>,
    roster: ZoneRoster,
    parts: BTreeMap<GroupKey, Vec<GroupKey>>,
}

impl PlacedZones {
    pub(crate) fn new(layouts: &Layouts, zones: &ZoneTable) -> Self {
        let symbol = |id: &str| layouts.symbols["zone"].intern(id);
        let placed: Vec<(SymbolId, &Zone)> = zones.iter().filter_map(|zone| Some((symbol(&zone.id)?, zone))).collect();
        let mut roster = ZoneRoster::default();
        let mut parts: BTreeMap<GroupKey, Vec<GroupKey>> = BTreeMap::new();
        for (id, zone) in &placed {
            let devices: Vec<SymbolId> =
                zone.devices.iter().filter_map(|device| layouts.symbols["device"].intern(device)).collect();
            let devices =
                if devices.is_empty() { ZoneDevices::Learned(Vec::new()) } else { ZoneDevices::Declared(devices) };
            roster.insert(*id, devices);
            if let Some(whole) = zone.parent.as_deref().and_then(symbol) {
                parts.entry([whole, 0, 0, 0]).or_default().push([*id, 0, 0, 0]);
            }
        }
        let by_symbol = placed.into_iter().map(|(id, zone)| (id, zone.clone())).collect();
        Self { by_symbol: Arc::new(by_symbol), roster, parts }
    }

    /// Which devices watch which keys of these columns: it is known which keys should have a value where they are zones and
    /// nothing else.
    pub(crate) fn roster(&self, key: &[String]) -> ZoneRoster {
        if key == ["zone"] { self.roster.clone() } else { ZoneRoster::default() }
    }

    /// The zones that are part of a zone, by keys of these columns, likewise.
    pub(crate) fn parts(&self, key: &[String]) -> BTreeMap<GroupKey, Vec<GroupKey>> {
        if key == ["zone"] { self.parts.clone() } else { BTreeMap::new() }
    }
}

//! The zone table as YAML: a map of zones, each mistake at its line and column.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_engine::window::{Zone, ZoneTable, zone_of};
use weir_rules::diagnostic::codes;
use weir_rules::yaml::{self, MapReader};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

const KEYS: [&str; 7] = ["area_m2", "capacity", "daily_capacity", "class", "parent", "timezone", "open"];

/// Reads `square: { area_m2: 400, capacity: 1200, ... }`, one for each zone.
pub(super) fn from_yaml(file: &Arc<SourceFile>, diagnostics: &mut Diagnostics) -> ZoneTable {
    let Some(root) = yaml::parse(file, diagnostics) else { return ZoneTable::default() };
    let Some(mut map) = MapReader::open(file, &root, "a zone table", diagnostics) else { return ZoneTable::default() };
    let mut zones: Vec<Zone> = Vec::new();
    for (name, key, node) in map.entries() {
        let Some(mut zone) = MapReader::open(file, node, format!("zone `{name}`"), diagnostics) else { continue };
        let mut cells: BTreeMap<&str, &str> = BTreeMap::from([("zone", name)]);
        for key in KEYS {
            cells.extend(zone.take_text(key, diagnostics).map(|(text, _)| (key, text)));
        }
        let devices: Vec<&str> =
            zone.take_texts("devices", diagnostics).unwrap_or_default().into_iter().map(|(text, _)| text).collect();
        let devices = devices.join(";");
        cells.insert("devices", &devices);
        zone.finish(diagnostics);
        match zone_of(|name| cells.get(name).copied().filter(|text| !text.is_empty())) {
            Ok(zone) => zones.push(zone),
            Err(message) => diagnostics.push(Diagnostic::new(
                &codes::BAD_ZONES,
                file,
                key.span.clone(),
                format!("zone `{name}`: {message}"),
            )),
        }
    }
    ZoneTable::new(zones).unwrap_or_else(|error| {
        diagnostics.push(Diagnostic::new(&codes::BAD_ZONES, file, 0..0, error.to_string()));
        ZoneTable::default()
    })
}

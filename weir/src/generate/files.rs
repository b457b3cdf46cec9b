//! What goes with the records: lists, the zone table, a pack and a configuration.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;

use super::city::{CitySpec, ZONES, listed_document, listed_plate, zone_area_m2, zone_name};

/// The pack of the demo city: what a generated city is run with.
const PACK: &str = include_str!("../../../examples/city/pack.yaml");

/// Entries are valid for this long after the city's start.
const VALID_FOR_MS: i64 = 400 * 86_400_000;

/// Epoch milliseconds as RFC 3339 with milliseconds.
pub(crate) fn utc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

/// Writes `lists/`, `zones.csv`, `pack.yaml` and `weir.yaml`. `records` names the records' file, or
/// nothing for standard input.
pub(crate) fn write_side_files(folder: &Path, spec: &CitySpec, records: Option<&str>, arrow: bool) -> io::Result<()> {
    fs::create_dir_all(folder.join("lists"))?;
    let expires = &utc(spec.start_ms + VALID_FOR_MS)[..10];
    let mut plates = BufWriter::new(fs::File::create(folder.join("lists/stolen_plates.csv"))?);
    writeln!(plates, "plate,entry_id,expires,action,case_ref")?;
    for entry in 0..spec.list_entries {
        writeln!(plates, "{},SV-{entry:07},{expires},stop,CASE-{}", listed_plate(entry), entry % 9_973)?;
    }
    plates.flush()?;
    let mut documents = BufWriter::new(fs::File::create(folder.join("lists/lost_documents.csv"))?);
    writeln!(documents, "doc_number,entry_id,expires,action,case_ref")?;
    for entry in 0..spec.list_entries {
        writeln!(documents, "{},LD-{entry:07},{expires},check,CASE-{}", listed_document(entry), entry % 9_973)?;
    }
    documents.flush()?;
    let mut zones = BufWriter::new(fs::File::create(folder.join("zones.csv"))?);
    writeln!(zones, "zone,area_m2,capacity")?;
    for zone in 0..ZONES {
        let area_m2 = zone_area_m2(zone);
        writeln!(zones, "{},{area_m2},{}", zone_name(zone), (area_m2 * 2.5).round())?;
    }
    zones.flush()?;
    fs::write(folder.join("pack.yaml"), PACK)?;
    let format = if arrow { "arrow" } else { "ndjson" };
    let source = match records {
        Some(path) => format!("type: file, path: {path}, format: {format}"),
        None => format!("type: stdin, format: {format}"),
    };
    let config = format!(
        "# Written by `weir generate`, seed {}.\nweir: 1\nzones: zones.csv\npacks: [pack.yaml]\nsources:\n  gates: {{ {source} }}\nsinks:\n  alerts:\n    type: file\n    path: alerts.ndjson\n    purposes: [road_safety, document_safety, goods_safety, health_safety, crowd_safety]\n",
        spec.seed
    );
    fs::write(folder.join("weir.yaml"), config)
}

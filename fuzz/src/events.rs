//! Events of devices: whatever comes in, what goes on are lines of canonical JSON with columns that are known.

use weir_connectors::source::{PushDialect, push_lines_of, viid_lines_of};

const BODY_BYTES_MAX: usize = 1 << 20;
/// Columns that an event may become.
const COLUMNS: [&str; 17] = [
    "kind",
    "event_id",
    "ts",
    "site",
    "device",
    "zone",
    "lane",
    "plate",
    "candidates",
    "plate_color",
    "vehicle_class",
    "direction",
    "speed_kmh",
    "confidence",
    "count",
    "total",
    "read_id",
];

/// Bodies of `/VIID/MotorVehicles`.
///
/// # Panics
/// On a finding.
pub fn viid_json(data: &[u8]) {
    look_at(viid_lines_of(data));
}

/// The first byte says what is spoken and whether it comes as a form with the boundary `b`; the rest is the body.
///
/// # Panics
/// On a finding.
pub fn push_event(data: &[u8]) {
    let Some((how, body)) = data.split_first() else { return };
    let dialects = [PushDialect::Isapi, PushDialect::PlateRecognizer, PushDialect::Ngsi];
    let dialect = dialects[usize::from(how % 3)];
    let content_type = if how / 3 % 2 == 0 { "application/json" } else { "multipart/form-data; boundary=b" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    look_at(runtime.block_on(push_lines_of(dialect, content_type, body.to_vec().into(), BODY_BYTES_MAX)));
}

fn look_at(lines: Option<Vec<u8>>) {
    let lines = String::from_utf8(lines.unwrap_or_default()).expect("lines are UTF-8");
    for line in lines.lines() {
        let record: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).expect("a line is an object");
        assert!(["vehicle", "person"].contains(&record["kind"].as_str().unwrap_or_default()), "{line}");
        for column in record.keys() {
            assert!(COLUMNS.contains(&column.as_str()), "{column}");
        }
    }
}

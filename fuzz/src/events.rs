//! Events of devices: whatever comes in, what goes on are lines of canonical JSON with columns that are known.

use serde_json::Value;
use weir_connectors::source::{PushDialect, message_lines_of, push_lines_of, viid_lines_of};
use weir_engine::decode::json::array_elements;

const BODY_BYTES_MAX: usize = 1 << 20;
/// Columns that an event may become.
const COLUMNS: [&str; 21] = [
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
    "read_state",
    "length_m",
    "headway_s",
    "occupied",
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
    let dialects = [
        PushDialect::Isapi,
        PushDialect::PlateRecognizer,
        PushDialect::Ngsi,
        PushDialect::AxisPlates,
        PushDialect::Rekor,
    ];
    let dialect = dialects[usize::from(how % 8) % dialects.len()];
    let content_type = if how / 8 % 2 == 0 { "application/json" } else { "multipart/form-data; boundary=b" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    look_at(runtime.block_on(push_lines_of(dialect, content_type, body.to_vec().into(), BODY_BYTES_MAX)));
}

/// Messages of brokers (MQTT, NATS, Kafka): the first byte says whether the topic is to become a column; the rest is the message.
/// Each record of a message that is JSON comes out on a line of its own, and means what it meant.
///
/// # Panics
/// On a finding.
pub fn broker_message(data: &[u8]) {
    let Some((how, message)) = data.split_first() else { return };
    let (column, topic) = ("topic of the message", "gates/\"7\"\n");
    let lines = message_lines_of((how % 2 == 1).then_some(column), topic, message);
    assert!(lines.is_empty() || lines.ends_with(b"\n"), "a line has an end");
    let Ok(meant) = serde_json::from_slice::<Value>(message) else { return };
    let expected = match meant {
        // What is more than is read of an array stays whole, and is refused where records are.
        Value::Array(records)
            if std::str::from_utf8(message.trim_ascii()).is_ok_and(|it| array_elements(it).is_ok()) =>
        {
            records
        }
        record => vec![record],
    };
    let mut lines = lines.split(|byte| *byte == b'\n');
    for record in expected {
        let line = lines.next().expect("a line of each record");
        let mut got: Value = serde_json::from_slice(line).expect("a line is JSON");
        if let (1, Value::Object(fields)) = (how % 2, &mut got) {
            let there = record.get(column).is_some();
            let said = if there { fields.get(column).cloned() } else { fields.shift_remove(column) };
            assert!(there || said == Some(topic.into()), "{said:?}");
        }
        assert!(got == record || record.to_string().contains(column), "{got}, not {record}");
    }
    assert!(lines.eq([b""]), "nothing else comes out");
}

fn look_at(lines: Option<Vec<u8>>) {
    let lines = String::from_utf8(lines.unwrap_or_default()).expect("lines are UTF-8");
    for line in lines.lines() {
        let record: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).expect("a line is an object");
        assert!(["vehicle", "person", "traffic"].contains(&record["kind"].as_str().unwrap_or_default()), "{line}");
        for column in record.keys() {
            assert!(COLUMNS.contains(&column.as_str()), "{column}");
        }
    }
}

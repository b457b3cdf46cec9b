//! AXIS License Plate Verifier, and others that run in Axis cameras and speak as it does: an event for each passage, and for each
//! correction of it (`carState`: new, update, lost). Other fields, pictures among them, are passed over unread.

use serde::Deserialize;

use super::{Record, no_json};
use crate::source::loose::Loose;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    #[serde(rename = "packetCounter")]
    packet: Loose,
    /// Milliseconds since 1970.
    capture_timestamp: Loose,
    #[serde(rename = "plateUTF8")]
    plate_utf8: Loose,
    #[serde(rename = "plateText")]
    plate: Loose,
    #[serde(rename = "plateConfidence")]
    confidence: Loose,
    #[serde(rename = "carState")]
    state: Loose,
    #[serde(rename = "carID")]
    car: Loose,
    #[serde(rename = "carMoveDirection")]
    direction: Loose,
    #[serde(rename = "roiID")]
    lane: Loose,
    camera_info: Camera,
    vehicle_info: Vehicle,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Camera {
    #[serde(rename = "SerialNumber")]
    serial: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vehicle {
    #[serde(rename = "type")]
    class: Loose,
}

pub(super) fn records(json: &str) -> Result<Vec<Record>, String> {
    let event: Event = serde_json::from_str(json).map_err(|error| no_json(&error))?;
    let Some(state) = event.state.text().map(str::to_lowercase) else {
        return Err("there is no carState".to_owned());
    };
    let (serial, packet) = (event.camera_info.serial.text(), event.packet.text());
    let ts = event.capture_timestamp.number();
    let mut record = Record::of("vehicle");
    // The counter of packets begins anew with the camera; with the time it is of one event.
    let id = serial.zip(packet).zip(event.capture_timestamp.text());
    record.put("event_id", id.map(|((serial, packet), ts)| format!("{serial} {packet} {ts}")));
    record.put("ts", ts.map(|ms| ms as i64));
    record.put("device", serial);
    record.put("lane", event.lane.text());
    record.put("plate", event.plate_utf8.text().or(event.plate.text()));
    record.put("confidence", event.confidence.number());
    record.put("read_id", event.car.text());
    record.put("read_state", Some(state).filter(|state| ["new", "update", "lost"].contains(&state.as_str())));
    record.put("direction", event.direction.text().filter(|direction| *direction != "unknown"));
    record.put("vehicle_class", event.vehicle_info.class.text());
    Ok(vec![record])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_refused_without_its_words() {
        for json in ["", "[]", "7", "{}", r#"{"carState":""}"#, r#"{"carState":"new","camera_info":"canary"}"#] {
            let said = records(json).err().unwrap_or_default();
            assert!(!said.is_empty() && !said.contains("canary"), "{json}: {said}");
        }
    }
}

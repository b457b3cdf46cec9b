//! OpenALPR and Rekor Scout: groups of reads of one passage (`alpr_group`), with candidates and their confidence. Other messages,
//! such as heartbeats, bring nothing; other fields, pictures among them, are passed over unread.

use serde::Deserialize;

use super::{Events, Record, no_json};
use crate::source::loose::Loose;

/// Candidates of a group that are looked at.
const CANDIDATES_MAX: usize = 64;
/// Cameras of an agent that are looked at.
const STREAMS_MAX: usize = 256;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    data_type: Loose,
    epoch_start: Loose,
    best_uuid: Loose,
    best_uuid_epoch_ms: Loose,
    camera_id: Loose,
    /// Of agents up to 2016.
    site_id: Loose,
    best_plate_number: Loose,
    best_confidence: Loose,
    best_plate: BestPlate,
    candidates: Vec<Candidate>,
    travel_direction: Loose,
    is_preview: Loose,
    vehicle: Vehicle,
    /// Of a heartbeat.
    video_streams: Vec<Stream>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Stream {
    camera_id: Loose,
    is_streaming: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BestPlate {
    candidates: Vec<Candidate>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Candidate {
    plate: Loose,
    confidence: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vehicle {
    body_type: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: Loose,
}

pub(super) fn events(json: &str) -> Result<Events, String> {
    let group: Group = serde_json::from_str(json).map_err(|error| no_json(&error))?;
    match group.data_type.text() {
        Some("alpr_group") => Ok(vec![vehicle(&group)].into()),
        Some("heartbeat") => {
            let streams = group.video_streams.iter().take(STREAMS_MAX);
            let running = streams.filter(|stream| stream.is_streaming.text() == Some("1"));
            let alive = running.filter_map(|stream| stream.camera_id.text().map(str::to_owned)).collect();
            Ok(Events { alive, ..Events::default() })
        }
        Some(_) => Ok(Events::default()),
        None => Err("there is no data_type".to_owned()),
    }
}

/// Per cent as a share.
fn share(per_cent: &Loose) -> Option<f64> {
    per_cent.number().map(|it| it / 100.0)
}

fn vehicle(group: &Group) -> Record {
    let mut record = Record::of("vehicle");
    // A group that is told before it is complete is told again.
    let preview = if group.is_preview.text() == Some("1") { " preview" } else { "" };
    record.put("event_id", group.best_uuid.text().map(|uuid| format!("{uuid}{preview}")));
    let ts = group.best_uuid_epoch_ms.number().or(group.epoch_start.number());
    record.put("ts", ts.map(|ms| ms as i64));
    record.put("device", group.camera_id.text());
    record.put("site", group.site_id.text());
    let plate = group.best_plate_number.text();
    record.put("plate", plate);
    record.put("confidence", share(&group.best_confidence));
    let candidates = if group.candidates.is_empty() { &group.best_plate.candidates } else { &group.candidates };
    let others: Vec<_> = candidates
        .iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.plate.text().is_some() && candidate.plate.text() != plate)
        .map(|other| serde_json::json!({ "text": other.plate.text(), "score": share(&other.confidence) }))
        .collect();
    record.put("candidates", (!others.is_empty()).then_some(others));
    record.put("vehicle_class", group.vehicle.body_type.first().and_then(|class| class.name.text()));
    // Degrees, clockwise from upwards in the picture.
    record.put("direction", group.travel_direction.text());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_group_brings_nothing_or_is_refused() {
        let heartbeat = r#"{"data_type":"heartbeat","video_streams":[{"camera_id":7,"is_streaming":true},{"camera_id":8,"is_streaming":false}]}"#;
        let Events { records, alive, .. } = events(heartbeat).unwrap();
        assert!(records.is_empty() && alive == ["7"]);
        for json in ["", "[]", "7", "{}", r#"{"data_type":"alpr_group","candidates":"canary"}"#] {
            let said = events(json).err().unwrap_or_default();
            assert!(!said.is_empty() && !said.contains("canary"), "{json}: {said}");
        }
    }
}

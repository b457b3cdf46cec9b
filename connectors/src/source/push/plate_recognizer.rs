//! Plate Recognizer Stream: the `json` of its webhook, a record for each plate in a frame.

use serde_json::Value;

use super::{Record, no_json};

/// Plates in a frame.
const RESULTS_MAX: usize = 256;

pub(super) fn records(json: &str) -> Result<Vec<Record>, String> {
    let body: Value = serde_json::from_str(json).map_err(|error| no_json(&error))?;
    let data = &body["data"];
    let results = data["results"].as_array().ok_or("there is no data.results")?;
    if results.len() > RESULTS_MAX {
        return Err(format!("there are more than {RESULTS_MAX} results"));
    }
    Ok(results.iter().enumerate().map(|(at, result)| vehicle(data, at, result)).collect())
}

fn vehicle(data: &Value, at: usize, result: &Value) -> Record {
    let (camera, ts) = (data["camera_id"].as_str(), data["timestamp"].as_str());
    let mut record = Record::of("vehicle");
    // It has no id of its own: a frame is known by camera and time.
    record.put("event_id", camera.zip(ts).map(|(camera, ts)| format!("{camera} {ts} {at}")));
    record.put("ts", ts);
    record.put("device", camera);
    let plate = result["plate"].as_str();
    record.put("plate", plate);
    let others: Vec<Value> = result["candidates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|candidate| candidate["plate"].is_string() && candidate["plate"].as_str() != plate)
        .map(|candidate| serde_json::json!({ "text": candidate["plate"], "score": candidate["score"] }))
        .collect();
    record.put("candidates", (!others.is_empty()).then_some(others));
    record.put("vehicle_class", result["vehicle"]["type"].as_str());
    // Degrees, clockwise from upwards in the picture.
    record.put("direction", result["direction"].as_f64().map(|degrees| degrees.to_string()));
    record.put("confidence", result["score"].as_f64());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recognition_is_refused_and_an_empty_frame_is_none() {
        for json in ["", "[]", "{}", r#"{"data":{"results":7}}"#] {
            assert!(records(json).is_err(), "{json}");
        }
        assert!(records(r#"{"data":{"camera_id":"a","results":[]}}"#).unwrap().is_empty());
        let many = format!(r#"{{"data":{{"results":[{}]}}}}"#, vec!["{}"; RESULTS_MAX + 1].join(","));
        assert!(records(&many).is_err());
    }
}

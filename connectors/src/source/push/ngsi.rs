//! NGSI: `CrowdFlowObserved`, `AnprFlowObserved` and `TrafficFlowObserved` of the smart-data models (Transportation), as an entity, a list of
//! entities, or a broker's notification; plain values, or properties with a `value`.

use serde_json::Value;

use super::{Record, no_json};

/// Entities of a request.
const ENTITIES_MAX: usize = 10_000;

pub(super) fn records(json: &str) -> Result<Vec<Record>, String> {
    let body: Value = serde_json::from_str(json).map_err(|error| no_json(&error))?;
    let entities = match (&body, &body["data"]) {
        (_, Value::Array(entities)) | (Value::Array(entities), _) => entities.as_slice(),
        _ => std::slice::from_ref(&body),
    };
    if entities.len() > ENTITIES_MAX {
        return Err(format!("there are more than {ENTITIES_MAX} entities"));
    }
    entities.iter().map(record).collect()
}

fn record(entity: &Value) -> Result<Record, String> {
    match entity["type"].as_str().map(|name| name.rsplit(['/', '#']).next().unwrap_or(name)) {
        Some("CrowdFlowObserved") => Ok(crowd(entity)),
        Some("AnprFlowObserved") => Ok(vehicle(entity)),
        Some("TrafficFlowObserved") => Ok(traffic(entity)),
        Some(_) => Err("only CrowdFlowObserved, AnprFlowObserved and TrafficFlowObserved are taken".to_owned()),
        None => Err("an entity has no type".to_owned()),
    }
}

/// A value, bare or of a property, whichever way it is written.
fn plain(value: &Value) -> &Value {
    let inner = value.get("value").unwrap_or(value);
    inner.get("@value").unwrap_or(inner)
}

fn text(value: &Value) -> Option<String> {
    match plain(value) {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    plain(value).as_f64()
}

/// What was counted in a time stands at its end.
fn counted(kind: &str, entity: &Value) -> Record {
    let mut record = Record::of(kind);
    let observed = || text(&entity["dateObserved"]).map(|it| it.rsplit('/').next().unwrap_or_default().to_owned());
    let (id, ts) = (text(&entity["id"]), text(&entity["dateObservedTo"]).or_else(observed));
    record.put("event_id", id.as_ref().zip(ts.as_ref()).map(|(id, ts)| format!("{id} {ts}")));
    record.put("ts", ts);
    record.put("device", id);
    record
}

/// Of a kind that whoever wants it declares: it tells of a stretch of road, not of a vehicle.
fn traffic(entity: &Value) -> Record {
    let mut record = counted("traffic", entity);
    record.put("lane", text(&entity["laneId"]));
    record.put("direction", text(&entity["laneDirection"]));
    record.put("count", number(&entity["intensity"]));
    record.put("speed_kmh", number(&entity["averageVehicleSpeed"]));
    record.put("length_m", number(&entity["averageVehicleLength"]));
    record.put("headway_s", number(&entity["averageHeadwayTime"]));
    record.put("occupied", number(&entity["occupancy"]));
    record
}

fn crowd(entity: &Value) -> Record {
    let mut record = counted("person", entity);
    let direction = text(&entity["direction"]);
    record.put(
        "direction",
        direction.and_then(|it| match it.as_str() {
            "inbound" => Some("in"),
            "outbound" => Some("out"),
            _ => None,
        }),
    );
    record.put("count", number(&entity["peopleCount"]));
    record
}

fn vehicle(entity: &Value) -> Record {
    let (id, ts) = (text(&entity["id"]), text(&entity["dateObserved"]));
    let seen = plain(&entity["observedVehicle"]);
    let mut record = Record::of("vehicle");
    record.put("event_id", id.as_ref().zip(ts.as_ref()).map(|(id, ts)| format!("{id} {ts}")));
    record.put("ts", ts);
    record.put("device", text(&entity["observedBy"]).or(id));
    record.put("lane", text(&entity["laneId"]));
    let unread = plain(&entity["vehiclePlateNotRead"]).as_bool() == Some(true);
    let plate = &seen["licensePlate"];
    record.put("plate", text(&plate["identifier"]).filter(|_| !unread));
    record.put("confidence", number(&plate["confidence"]).filter(|_| !unread));
    record.put("plate_color", text(&seen["plateColor"]["name"]));
    record.put("direction", text(&seen["direction"]));
    record.put("speed_kmh", number(&seen["speed"]));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_the_same_however_it_is_written() {
        let plain = serde_json::json!({ "id": "urn:1", "type": "CrowdFlowObserved", "dateObserved": "2018-08-07T11:15:00Z", "peopleCount": 7 });
        let normalized = serde_json::json!({
            "id": "urn:1", "type": "https://smartdatamodels.org/dataModel.Transportation/CrowdFlowObserved",
            "dateObserved": { "type": "Property", "value": { "@type": "DateTime", "@value": "2018-08-07T11:15:00Z" } },
            "peopleCount": { "type": "Property", "value": 7, "unitCode": "C62" },
        });
        let expected = serde_json::json!({
            "kind": "person", "event_id": "urn:1 2018-08-07T11:15:00Z", "ts": "2018-08-07T11:15:00Z", "device": "urn:1", "count": 7.0,
        });
        let notified = serde_json::json!({ "id": "urn:n", "type": "Notification", "data": [plain, normalized] });
        for body in [serde_json::json!([plain, normalized]), notified] {
            let records: Vec<Value> = records(&body.to_string()).unwrap().into_iter().map(|it| it.0.into()).collect();
            assert_eq!(records, [expected.clone(), expected.clone()]);
        }
    }

    #[test]
    fn what_is_of_another_type_is_refused() {
        for json in
            ["", "7", "{}", r#"{"type":"NoiseLevelObserved"}"#, r#"[{"type":"CrowdFlowObserved"},{"type":"Person"}]"#]
        {
            assert!(records(json).is_err(), "{json}");
        }
    }
}

//! Devices that post events of their own form: the samples of real ones, through the real binary.

mod common;

use std::net::SocketAddr;

use common::{Place, Running, eventually, post, workspace};
use serde_json::{Value, json};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 }, crowd: { legal_basis: act 3 } }
rules:
  - id: seen
    kind: match
    from: vehicle
    where: received IS NOT NULL
    say: "{event_id}|{ts}|{site}|{device}|{lane}|{plate}|{plate_color}|{vehicle_class}|{direction}|{speed_kmh}|{confidence}"
    purpose: road
  - id: counted
    kind: match
    from: person
    where: received IS NOT NULL
    say: "{event_id}|{ts}|{zone}|{device}|{direction}|{count}|{total}"
    purpose: crowd
"#;

fn start(kind: &str, more: &str) -> (Place, Running) {
    let place = Place::new();
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nsources:\n  in:\n    type: {kind}\n    address: 127.0.0.1:0\n    {more}\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [road, crowd] }}\n"
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config);
    let running = place.start(&["weir.yaml"]);
    (place, running)
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("testdata/connectors").join(name)).unwrap()
}

fn send(address: SocketAddr, kind: &str, body: &[u8]) -> (u16, Value) {
    let (status, answer) = post(address, "/events", &[("Content-Type", kind)], body);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

fn said(place: &Place) -> Vec<String> {
    place.lines("out.ndjson").iter().map(|alert| alert["say"].as_str().unwrap().to_owned()).collect()
}

/// A form as cameras send it: the event, and pictures beside it.
fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, content) in parts {
        body.extend(
            format!("--boundary\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n").bytes(),
        );
        body.extend(format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", content.len()).bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--boundary--\r\n");
    body
}

const FORM: &str = "multipart/form-data; boundary=boundary";

#[test]
fn events_of_isapi_are_taken_with_and_without_pictures() {
    let (place, running) = start("isapi", "site: east-gate\n    zone: hall");
    let picture = vec![0xff; 300_000];
    let parts: &[(&str, &str, &[u8])] = &[
        ("licensePlatePicture.jpg", "image/jpeg", &[]),
        ("anpr.xml", "text/xml", &sample("isapi_anpr.xml")),
        ("detectionPicture.jpg", "image/jpeg", &picture),
    ];
    let (status, account) = send(running.address, FORM, &form(parts));
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    let (status, account) = send(running.address, "application/xml", &sample("isapi_people_counting.xml"));
    assert_eq!((status, &account["evaluated"]), (200, &json!(2)), "{account}");
    let again = send(running.address, "application/xml; charset=\"UTF-8\"", &sample("isapi_people_counting.xml"));
    assert_eq!((again.0, &again.1["duplicate"]), (200, &json!(2)));
    let (status, account) = send(running.address, "application/xml", &sample("isapi_heartbeat.xml"));
    assert_eq!((status, &account["received"]), (200, &json!(0)), "a heartbeat brings nothing");
    for (kind, body) in [
        ("application/xml", b"<canary".to_vec()),
        (FORM, form(&[("detectionPicture.jpg", "image/jpeg", &picture)])),
        (FORM, b"--boundary\r\ncanary".to_vec()),
        ("application/xml", vec![0xff, 0xfe]),
    ] {
        let (status, account) = send(running.address, kind, &body);
        assert_eq!(status, 400, "{account}");
        assert!(!account.to_string().contains("canary"), "{account}");
    }
    assert_eq!(send(running.address, "application/xml", &vec![b' '; 9 << 20]).0, 413);
    assert_eq!(send(running.address, FORM, &form(&[("anpr.xml", "text/xml", &vec![b' '; 2 << 20])])).0, 413);
    let summary = running.stop();
    assert_eq!(summary["sources"]["in"]["rejected"], 4, "what is no event is a dead letter");
    assert_eq!(
        said(&place),
        [
            "00000000-0000-4000-8000-000000000001|2024-05-07T10:48:03.847Z|east-gate|88/1|1|A13709|-|SUVMPV|forward|-|0.98",
            "00:00:5e:00:53:11/1/1 2021-10-12T19:15:00+08:00 in|2021-10-12T11:15:00Z|hall|00:00:5e:00:53:11/1/1|in|0|-",
            "00:00:5e:00:53:11/1/1 2021-10-12T19:15:00+08:00 out|2021-10-12T11:15:00Z|hall|00:00:5e:00:53:11/1/1|out|1|-",
        ]
    );
}

#[test]
fn the_webhook_of_plate_recognizer_is_taken_as_form_and_as_json() {
    let (place, running) = start("plate_recognizer", "site: east-gate");
    let json = sample("platerecognizer_stream_webhook.json");
    let with_picture = form(&[("json", "application/json", &json), ("upload", "image/jpeg", &[0xff; 1_000])]);
    let (status, account) = send(running.address, FORM, &with_picture);
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    let (status, account) = send(running.address, "application/json", &json);
    assert_eq!((status, &account["duplicate"]), (200, &json!(1)), "{account}");
    running.stop();
    assert_eq!(
        said(&place),
        [
            "camera-1 2024-05-07T10:48:03.847000+00:00 0|2024-05-07T10:48:03.847Z|east-gate|camera-1|-|PL8REC|-|Sedan|210|-|0.902"
        ]
    );
}

#[test]
fn entities_of_ngsi_are_taken_alone_and_in_notifications() {
    let (place, running) = start("ngsi", "zone: bridge");
    let [anpr, crowd] = ["ngsi_AnprFlowObserved.json", "ngsi_CrowdFlowObserved.json"].map(sample);
    let (status, account) = send(running.address, "application/json", &anpr);
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    let crowd: Value = serde_json::from_slice(&crowd).unwrap();
    let notified = json!({ "id": "urn:n", "type": "Notification", "subscriptionId": "urn:s", "data": [crowd] });
    let (status, account) = send(running.address, "application/ld+json", notified.to_string().as_bytes());
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    let unknown = send(running.address, "application/json", br#"{"type":"Person","id":"canary"}"#);
    assert!(unknown.0 == 400 && !unknown.1.to_string().contains("canary"), "{unknown:?}");
    running.stop();
    assert_eq!(
        said(&place),
        [
            "anprFlowObserved:LEZ-Noorderlaan 2022-09-01T16:30:00Z|2022-09-01T16:30:00Z|ANPR1_Noorderlaan|ANPR1_Noorderlaan|ABC123|1ABC123|white|-|towards|50|0.96",
            "urn:ngsi-ld:CrowdFlowObserved:Valladolid_1 2018-08-07T11:15:00Z|2018-08-07T11:15:00Z|bridge|urn:ngsi-ld:CrowdFlowObserved:Valladolid_1|in|100|-",
        ]
    );
}

#[test]
fn traffic_of_ngsi_is_of_a_kind_that_is_declared() {
    let place = Place::new();
    let kinds = "kinds:\n  traffic:\n    columns:\n      count: { type: number }\n      speed_kmh: { type: number }\n      direction: { type: symbol }\n      occupied: { type: number, range: [0, 1] }\n";
    let config = format!(
        "weir: 1\n{kinds}packs: [pack.yaml]\nsources:\n  in: {{ type: ngsi, address: 127.0.0.1:0, zone: avenue }}\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [road] }}\n"
    );
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { road: { legal_basis: act 2 } }\nrules:\n  - id: seen\n    kind: match\n    from: traffic\n    where: occupied > 0.5\n    say: \"{event_id}|{ts}|{zone}|{lane}|{direction}|{count}|{speed_kmh}|{occupied}\"\n    purpose: road\n";
    place.write("pack.yaml", pack).write("weir.yaml", config);
    let running = place.start(&["weir.yaml"]);
    let (status, account) = send(running.address, "application/json", &sample("ngsi_TrafficFlowObserved.json"));
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    running.stop();
    assert_eq!(
        said(&place),
        [
            "TrafficFlowObserved-Valladolid-osm-60821110 2016-12-07T11:15:00Z|2016-12-07T11:15:00Z|avenue|1|forward|197|52.6|0.76"
        ]
    );
}

/// The group of the OpenALPR manual.
const GROUP: &str = r#"{ "version": 1, "data_type": "alpr_group", "epoch_start": 1448326208789, "epoch_end": 1448326210046,
    "site_id": "dimitar-video", "camera_id": 1414799424, "uuids": ["dimitar-video-cam1414799424-1448326208789"],
    "best_plate": { "plate": "A13709", "confidence": 92.075203, "region": "mo", "coordinates": [{ "x": 204, "y": 134 }],
        "candidates": [{ "plate": "A13709", "confidence": 92.075203 }, { "plate": "A137O9", "confidence": 83.32373 }] },
    "vehicle_crop_jpeg": "canary", "best_confidence": 92.075203,
    "best_uuid": "dimitar-video-cam1414799424-1448326208789", "best_plate_number": "A13709" }"#;

#[test]
fn groups_of_rekor_are_taken_and_their_candidates_found_on_lists() {
    let (place, running) = start("rekor", "");
    let list = "lists:\n  stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road }\n";
    let rule = "  - id: listed\n    kind: watchlist\n    from: vehicle\n    on: plate\n    list: stolen\n    min_grade: candidate\n    purpose: road\n    say: \"{hit.entry_id} {hit.grade}\"\n";
    running.stop();
    place.write("l.csv", "plate,entry_id,expires\nA137O9,E1,2099-01-01\n");
    place.write("pack.yaml", PACK.replace("rules:\n", &format!("{list}rules:\n{rule}")));
    let config =
        place.read("weir.yaml").replace("purposes: [road, crowd] }", "audience: reviewers, purposes: [road, crowd] }");
    place.write("weir.yaml", config);
    let running = place.start(&["weir.yaml"]);
    let (status, account) = send(running.address, "application/json", GROUP.as_bytes());
    assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    let again = send(running.address, "application/json", GROUP.as_bytes());
    assert_eq!((again.0, &again.1["duplicate"]), (200, &json!(1)));
    let (status, account) = send(running.address, "application/json", br#"{"data_type":"heartbeat","cpu_cores":4}"#);
    assert_eq!((status, &account["received"]), (200, &json!(0)), "a heartbeat brings nothing");
    running.stop();
    let mut said = said(&place);
    said.sort();
    assert_eq!(
        said,
        [
            "E1 candidate",
            "dimitar-video-cam1414799424-1448326208789|2015-11-24T00:50:08.789Z|dimitar-video|1414799424|-|A13709|-|-|-|-|0.9208"
        ]
    );
}

#[test]
fn a_corrected_read_of_an_axis_camera_takes_its_alert_back() {
    let (place, running) = start("axis_plates", "site: car-park");
    running.stop();
    place.write("l.csv", "plate,entry_id,expires\nAA7690EQ,E1,2099-01-01\n");
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { road: { legal_basis: act 2 } }\nlists:\n  stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road }\nrules:\n  - { id: listed, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road, say: \"{hit.entry_id} {device} {lane}\" }\n";
    place.write("pack.yaml", pack);
    place.write("weir.yaml", place.read("weir.yaml").replace(", crowd]", "]"));
    let running = place.start(&["weir.yaml"]);
    // The table of Axis's own manual: the plate is corrected from AA7690EQ to AA7690EO as the car is followed.
    for (packet, (state, direction, plate)) in [
        ("new", "unknown", "AA7690EQ"),
        ("update", "in", "AA7690EQ"),
        ("update", "in", "AA7690EO"),
        ("lost", "in", "AA7690EO"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = json!({
            "packetCounter": packet.to_string(), "capture_timestamp": (1_702_297_625_507_u64 + packet as u64 * 300).to_string(),
            "datetime": "20231211 142705507", "plateText": plate, "plateUTF8": plate, "plateConfidence": "0.737210",
            "carState": state, "roiID": "1", "carMoveDirection": direction, "carID": "123", "plateImageSize": "0",
            "camera_info": { "SerialNumber": "ACCC8EBFB452", "ProdShortName": "AXIS Q1700-LE" },
            "vehicle_info": { "view": "front", "type": "CAR", "color": "BLACK" }, "ImageArray": [{ "BinaryImage": "canary" }],
        });
        let (status, account) = send(running.address, "application/json", event.to_string().as_bytes());
        assert_eq!((status, &account["evaluated"]), (200, &json!(1)), "{account}");
    }
    running.stop();
    let told: Vec<(String, u64)> = place
        .lines("out.ndjson")
        .iter()
        .map(|alert| (alert["change"].as_str().unwrap_or("-").to_owned(), alert["revision"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("-".to_owned(), 0), ("retracted".to_owned(), 1)], "{}", place.read("out.ndjson"));
    let ids: std::collections::BTreeSet<String> =
        place.lines("out.ndjson").iter().map(|alert| alert["alert_id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "under the same id");
    assert_eq!(said(&place)[0], "E1 ACCC8EBFB452 1");
}

/// A camera that sees nobody is not silent as long as it says that it is there, by an address that its events go with.
#[test]
fn a_heartbeat_keeps_a_camera_from_being_silent() {
    let (place, running) = start("isapi", "site: east-gate");
    running.stop();
    let config = place.read("weir.yaml")
        + "  faults: { type: file, path: faults.ndjson, emit: [notices] }\nlimits: { idle_after: 1s }\n";
    place.write("weir.yaml", config);
    let running = place.start(&["weir.yaml"]);
    let heartbeat = || assert_eq!(send(running.address, "application/xml", &sample("isapi_heartbeat.xml")).0, 200);
    assert_eq!(send(running.address, "application/xml", &sample("isapi_anpr.xml")).0, 200);
    for _ in 0..12 {
        std::thread::sleep(std::time::Duration::from_millis(250));
        heartbeat();
    }
    assert_eq!(place.read("faults.ndjson"), "", "it is there");
    let faults = || -> Vec<String> {
        let lines = place.lines("faults.ndjson");
        lines
            .iter()
            .map(|it| {
                format!("{} {}", it["notice"].as_str().unwrap_or_default(), it["device"].as_str().unwrap_or_default())
            })
            .collect()
    };
    eventually("it is silent", || faults().len() == 1);
    heartbeat();
    eventually("it is heard again", || faults().len() == 2);
    running.stop();
    assert_eq!(faults(), ["silent 88/1", "heard 88/1"]);
}

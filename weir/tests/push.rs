//! Devices that post events of their own form: the samples of real ones, through the real binary.

mod common;

use std::net::SocketAddr;

use common::{Place, Running, post, workspace};
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
    running.stop();
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

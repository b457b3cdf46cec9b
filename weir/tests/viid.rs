//! GA/T 1400 (VIID): the real binary, and a device that behaves as real ones do.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use common::platform::{Platform, lists};
use common::{Place, Running, eventually, nobody, workspace};
use serde_json::{Value, json};
use weir_examples::viid::{Answer, Device, ha1, passage};

const ID: &str = "61010000001190000001";
const OTHER: &str = "61010000001190000002";
const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 } }
rules:
  - id: seen
    kind: match
    from: vehicle
    where: device IS NOT NULL
    say: "{event_id} {ts} {device} {site} {lane} {plate} {partial_plate} {plate_color} {vehicle_class} {direction} {speed_kmh} {confidence}"
    purpose: road
"#;

/// A folder whose configuration listens there.
fn place(address: &str, more: &str) -> Place {
    let place = Place::new();
    let [gate, other] = [ha1("gate", "viid", "s3cr3t-canary"), ha1("other", "viid", "s3cr3t-canary")];
    let accounts = format!("device_id,user,ha1,timezone\n{ID},gate,{gate},\n{OTHER},other,{other},Europe/Vienna\n");
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nstate: {{ dir: state, key_file: key }}\nsources:\n  cameras:\n    type: viid\n    address: {address}\n    \
         server_id: \"61010000002020000001\"\n    accounts: accounts.csv\n    timezone: Asia/Shanghai\n    {more}\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [road] }}\n"
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("accounts.csv", accounts).write("key", [7; 32]);
    place
}

fn start(more: &str) -> (Place, Running) {
    let place = place("127.0.0.1:0", more);
    let running = place.start(&["weir.yaml"]);
    (place, running)
}

fn device(server: SocketAddr) -> Device {
    Device::new(server, ID, "gate", "s3cr3t-canary")
}

fn codes(answer: &Answer) -> Vec<&Value> {
    let statuses = answer.body["ResponseStatusListObject"]["ResponseStatusObject"].as_array();
    statuses.into_iter().flatten().map(|status| &status["StatusCode"]).collect()
}

fn code(answer: &Answer) -> (u16, &Value) {
    (answer.status, &answer.body["ResponseStatusObject"]["StatusCode"])
}

#[test]
fn the_exchange_of_the_sample_is_held_as_it_stands() {
    let sample = std::fs::read(workspace().join("testdata/connectors/viid_vehicle_exchange.json")).unwrap();
    let sample: Value = serde_json::from_slice(&sample).unwrap();
    let (place, running) = start("");
    let mut device = device(running.address);
    let refused = device.post("/VIID/System/Keepalive", &sample["keepalive_request"]["body"]).unwrap();
    assert_eq!(Value::from(refused.status), sample["keepalive_not_registered"]["status"]);
    let asked = device.request("POST", "/VIID/System/Register", &[], &sample["register_request"]["body"]).unwrap();
    let challenge = asked.challenge.as_deref().unwrap();
    assert!(
        challenge.starts_with("Digest realm=\"viid\", qop=\"auth\"") && challenge.contains("opaque="),
        "{challenge}"
    );
    device.register().unwrap();
    assert_eq!(code(&device.keep_alive().unwrap()), (200, &json!(0)));
    let time = device.request("GET", "/VIID/System/Time", &[], &Value::Null).unwrap();
    let told = &time.body["SystemTimeObject"];
    let expected = &sample["time"]["response"]["SystemTimeObject"];
    assert_eq!((&told["VIIDServerID"], &told["TimeZone"]), (&expected["VIIDServerID"], &expected["TimeZone"]));
    assert_eq!(told["LocalTime"].as_str().map(str::len), Some(14));

    let answer = device.post("/VIID/MotorVehicles", &sample["motor_vehicles_request"]["body"]).unwrap();
    assert_eq!((answer.status, codes(&answer)), (200, vec![&json!(0); 4]));
    let again = device.post("/VIID/MotorVehicles", &sample["motor_vehicles_request"]["body"]).unwrap();
    assert_eq!(codes(&again), vec![&json!(0); 4], "sent twice is no fault");
    let summary = running.stop();
    assert_eq!(summary["sources"]["cameras"]["duplicate"], 4);
    let said: Vec<Value> = place.lines("out.ndjson").into_iter().map(|alert| alert["say"].clone()).collect();
    let common = "61010000001190000001 61010000001210000051";
    assert_eq!(
        said,
        [
            format!(
                "610100000011900000010220231101080001000010200001 2023-11-01T00:00:01Z {common} 1 陕A12345 - blue K33 1 42 0.96"
            ),
            format!(
                "610100000011900000010220231101080002000020200002 2023-11-01T00:00:02Z {common} 2 陕AD12345 - green K33 1 42 0.96"
            ),
            format!(
                "610100000011900000010220231101080003000030200003 2023-11-01T00:00:03Z {common} 1 - - other K33 1 42 0.96"
            ),
            format!(
                "610100000011900000010220231101080004000040200004 2023-11-01T00:00:04Z {common} 1 - 陕A1-3-5 blue K33 1 42 0.96"
            ),
        ]
    );
}

#[test]
fn a_name_counts_only_with_its_password_and_from_where_it_was_proved() {
    let (place, running) = start("peer_header: X-Real-IP");
    let mut device = device(running.address);
    let vehicles = json!({ "MotorVehicleObject": passage(ID, 0, "20261101080000", "陕A12345") });
    let from = |device: &mut Device, address: &str, path: &str, body: &Value| {
        device.request("POST", path, &[("User-Identify", ID), ("X-Real-IP", address)], body).unwrap()
    };
    for id in [ID, "61010000001190000009", "", "../../etc"] {
        let answer = device.request("POST", "/VIID/MotorVehicles", &[("User-Identify", id)], &vehicles).unwrap();
        assert_eq!(answer.status, 401, "{id}: nobody has registered");
        assert!(answer.challenge.is_some());
    }
    let unnamed = device.request("POST", "/VIID/MotorVehicles", &[], &vehicles).unwrap();
    assert_eq!(unnamed.status, 401);
    let wrong = Device::new(running.address, ID, "gate", "guessed").register().unwrap_err();
    assert!(wrong.to_string().contains("not its password"), "{wrong}");
    let unknown = Device::new(running.address, "61010000001190000009", "gate", "s3cr3t-canary").register();
    assert!(unknown.is_err(), "a device without an account");

    device.register().unwrap();
    assert_eq!(from(&mut device, "127.0.0.1", "/VIID/MotorVehicles", &vehicles).status, 200);
    assert_eq!(from(&mut device, "192.0.2.66", "/VIID/MotorVehicles", &vehicles).status, 401, "from elsewhere");
    assert_eq!(from(&mut device, "192.0.2.66", "/VIID/System/UnRegister", &Value::Null).status, 401);
    let of_other = json!({ "MotorVehicleObject": [passage(OTHER, 1, "20261101080000", "陕A12345")] });
    let answer = device.post("/VIID/MotorVehicles", &of_other).unwrap();
    assert_eq!((answer.status, codes(&answer)), (200, vec![&json!(4)]), "another device's object");
    let other = json!({ "KeepaliveObject": { "DeviceID": OTHER } });
    assert_eq!(code(&device.post("/VIID/System/Keepalive", &other).unwrap()), (403, &json!(4)));
    assert_eq!(
        device.post("/VIID/System/UnRegister", &json!({ "UnRegisterObject": { "DeviceID": ID } })).unwrap().status,
        200
    );
    assert_eq!(device.keep_alive().unwrap().status, 401);

    // Guessing comes to an end.
    let mut guesser = Device::new(running.address, ID, "gate", "guess");
    let refused: Vec<String> = (0..15).map(|_| guesser.register().unwrap_err().to_string()).collect();
    assert!(refused.iter().any(|it| it.contains("too many wrong passwords")), "{refused:?}");
    let summary = running.stop();
    assert_eq!(summary["sources"]["cameras"]["evaluated"], 1);
    assert!(!place.read("out.ndjson").contains("s3cr3t-canary"));
}

#[test]
fn whatever_is_about_people_is_refused_and_leaves_nothing() {
    let (place, running) = start("");
    let mut device = device(running.address);
    device.register().unwrap();
    let person =
        json!({ "PersonListObject": { "PersonObject": [{ "Name": "canary-name", "EthicCode": "canary-code" }] } });
    for path in [
        "/VIID/Persons",
        "/VIID/Faces",
        "/VIID/Persons/1",
        "/VIID/Faces/1",
        "/VIID/faces",
        "/VIID/NonMotorVehicles",
        "/VIID/Images",
        "/VIID/Images/1/Info",
        "/VIID/VideoSlices",
        "/VIID/Files",
        "/VIID/Cases",
        "/VIID/Dispositions",
    ] {
        assert_eq!(code(&device.post(path, &person).unwrap()), (403, &json!(4)), "{path}");
    }
    for path in
        ["/VIID/Subscribes/1", "/VIID", "/viid/MotorVehicles", "/VIID/MotorVehicles/", "//VIID/MotorVehicles", "/"]
    {
        assert_eq!(device.post(path, &person).unwrap().status, 404, "{path}");
    }
    assert_eq!(
        device.request("GET", "/VIID/MotorVehicles", &[("User-Identify", ID)], &Value::Null).unwrap().status,
        405
    );
    let notified = json!({ "SubscribeNotificationListObject": { "SubscribeNotificationObject": [
        { "NotificationID": "n1", "MotorVehicleObjectList": { "MotorVehicleObject": [passage(ID, 2, "20261101080000", "陕A12345")] } },
        { "NotificationID": "n3", "MotorVehicleObjectList": { "MotorVehicleObject": [{ "MotorVehicleID": "x" }] } },
        { "NotificationID": "n2", "FaceObjectList": { "FaceObject": [{ "FaceID": "canary-name" }] } },
    ]}});
    let answer = device.post("/VIID/SubscribeNotifications", &notified).unwrap();
    assert_eq!((answer.status, codes(&answer)), (200, vec![&json!(0), &json!(8), &json!(4)]));
    let of_each = answer.body["ResponseStatusListObject"]["ResponseStatusObject"].as_array().unwrap();
    assert!(of_each.iter().map(|status| &status["Id"]).eq(["n1", "n3", "n2"]));
    let summary = running.stop();
    assert_eq!(summary["sources"]["cameras"]["evaluated"], 1);
    let mut folders = vec![place.path("")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|it| it == b"canary-"), "{}", path.display());
        }
    }
    assert!(files > 5, "the state folder was looked through");
}

#[test]
fn what_is_wrong_is_told_of_each_object_and_of_the_whole() {
    let (_place, running) = start("body_bytes: 1MiB");
    let mut device = device(running.address);
    device.register().unwrap();
    let mut bad = passage(ID, 3, "20261101080000", "陕A12345");
    bad["PassTime"] = json!("yesterday");
    let mixed = json!({ "MotorVehicleListObject": { "MotorVehicleObject": [
        passage(ID, 4, "20261101080000", "陕A12345"), bad, 7, { "MotorVehicleID": "x" },
        passage(ID, 5, "20261101080000", "无车牌"),
    ]}});
    let answer = device.post("/VIID/MotorVehicles", &mixed).unwrap();
    assert_eq!(codes(&answer), [&json!(0), &json!(8), &json!(8), &json!(8), &json!(0)], "{}", answer.body);
    let told = answer.body["ResponseStatusListObject"]["ResponseStatusObject"][1]["StatusString"].as_str().unwrap();
    assert!(told.contains("ts") && !told.contains("yesterday"), "{told}");
    for body in [json!([]), json!({}), json!({ "MotorVehicleListObject": {} }), json!({ "MotorVehicleListObject": 7 })]
    {
        let answer = device.post("/VIID/MotorVehicles", &body).unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!([json!(7), json!(8)].contains(code(&answer).1), "{}", answer.body);
    }
    let long = json!({ "MotorVehicleObject": { "MotorVehicleID": "x".repeat(2 << 20) } });
    assert_eq!(device.post("/VIID/MotorVehicles", &long).map_or(413, |answer| answer.status), 413);
    device.lose_connection();
    let tollgates = json!({ "TollgateListObject": { "TollgateObject": { "TollgateID": "61010000001210000051" } } });
    assert_eq!(codes(&device.post("/VIID/Tollgates", &tollgates).unwrap()), [&json!(0)]);
    let summary = running.stop();
    let cameras = &summary["sources"]["cameras"];
    assert_eq!((&cameras["evaluated"], &cameras["rejected"]), (&json!(2), &json!(3)));
}

#[test]
fn a_backlog_outlives_a_lost_connection_and_a_killed_server() {
    let address = nobody();
    let place = place(&address.to_string(), "");
    let mut running = place.start(&["weir.yaml"]);
    let mut device = device(address);
    let mut answered = BTreeSet::new();
    let mut number = 0;
    for round in 0..6 {
        for _ in 0..250 {
            let time = format!("2026110108{:02}{:02}", number / 60 % 60, number % 60);
            device.pass(passage(ID, number, &time, &format!("陕A{:05}", number % 100_000)));
            number += 1;
        }
        match round {
            1 => device.lose_connection(),
            3 => {
                running.kill();
                assert!(device.deliver().is_err(), "nobody is there");
                running = place.start(&["weir.yaml"]);
                continue;
            }
            _ => {}
        }
        let statuses = device.deliver().unwrap();
        for status in statuses {
            assert_eq!(status["StatusCode"], 0, "{status}");
            answered.insert(status["Id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((answered.len() as u64, device.backlog()), (number, 0));
    eventually("every alert is written", || place.lines_over_kills("out.ndjson").len() as u64 >= number);
    running.stop();
    // By id each is told once; after a kill the file may hold some twice, in the same words.
    let ids: BTreeSet<String> =
        place.lines_over_kills("out.ndjson").iter().map(|it| it["alert_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len() as u64, number);
}

#[test]
fn the_check_says_what_is_missing_and_where() {
    let place = place("127.0.0.1:0", "");
    assert_eq!(place.weir(&["check", "weir.yaml"]).status.code(), Some(0));
    place.write("accounts.csv", format!("device_id,user,ha1\n{ID},gate,{}\n12,gate,{0}\n", ha1("gate", "viid", "x")));
    let said = |place: &Place| {
        common::text(&place.weir(&["check", "weir.yaml"]).stderr)
            + &common::text(&place.weir(&["check", "weir.yaml"]).stdout)
    };
    let told = said(&place);
    assert!(told.contains("accounts.csv:3:1") && told.contains("20 digits"), "{told}");
    let config = place.read("weir.yaml");
    for (from, to, wanted) in [
        ("    accounts: accounts.csv\n", "", "has no `accounts`"),
        ("    timezone: Asia/Shanghai\n", "", "name no zone"),
        ("\"61010000002020000001\"", "7", "no id of GA/T 1400"),
        ("type: viid\n", "type: viid\n    format: csv\n", "format"),
        ("type: viid\n", "type: viid\n    peer_header: \"X Y\"\n", "no name of a header"),
    ] {
        place.write("weir.yaml", config.replace(from, to));
        let told = said(&place);
        assert!(told.contains(wanted) && told.contains("weir.yaml:"), "{wanted}: {told}");
    }
}

#[test]
fn a_platform_is_asked_for_its_vehicles_and_nobody_is_handed_ours() {
    let (platform, at) = (Platform::default(), nobody());
    platform.listen(at);
    let address = nobody();
    let subscription = format!(
        "subscriptions:\n      - url: http://{at}\n        user: up\n        password_file: password\n        receive_at: http://{address}\n        \
         applicant: Duty officer\n        organisation: Traffic police\n        reason: stolen vehicles, act 2\n        report_every: 3s"
    );
    let place = place(&address.to_string(), &subscription);
    place.write("password", "s3cr3t\n");
    let tried = common::text(&place.weir(&["connect", "test", "weir.yaml", "cameras"]).stdout);
    assert!(tried.contains("lets us in as 61010000002020000001"), "{tried}");
    platform.forget();
    let running = place.start(&["weir.yaml"]);
    eventually("it has asked", || platform.told("/VIID/Subscribes").len() == 1);
    let (method, _, asked) = platform.told("/VIID/Subscribes").remove(0);
    let asked = lists(&asked).remove(0);
    assert_eq!(method, "POST");
    for (field, wanted) in [
        ("SubscribeDetail", json!("13")),
        ("ReceiveAddr", json!(format!("http://{address}/VIID/SubscribeNotifications"))),
        ("ApplicantName", json!("Duty officer")),
        ("ReportInterval", json!(3)),
        ("OperateType", json!(0)),
        ("ResultImageDeclare", json!("-1")),
        ("SubscribeID", json!("610100000020030000000000000000000")),
    ] {
        assert_eq!(asked[field], wanted, "{field}");
    }
    // The platform registers, and posts what it sees.
    let mut device = device(address);
    device.register().unwrap();
    let notified = json!({ "SubscribeNotificationListObject": { "SubscribeNotificationObject": [
        { "NotificationID": "n1", "SubscribeID": asked["SubscribeID"],
          "MotorVehicleObjectList": { "MotorVehicleObject": [passage(ID, 2, "20261101080000", "陕A12345")] } } ]}});
    assert_eq!(codes(&device.post("/VIID/SubscribeNotifications", &notified).unwrap()), [&json!(0)]);
    // Nobody is handed what passes here.
    let theirs = json!({ "SubscribeListObject": { "SubscribeObject": [{ "SubscribeID": "s1", "SubscribeDetail": "13", "ReceiveAddr": "http://192.0.2.1" }] } });
    let answer = device.post("/VIID/Subscribes", &theirs).unwrap();
    assert_eq!((answer.status, codes(&answer)), (200, vec![&json!(4)]), "{}", answer.body);
    assert!(answer.body.to_string().contains("leaves no trace"), "{}", answer.body);
    running.stop();
    let (method, _, cancelled) = platform.told("/VIID/Subscribes").pop().unwrap();
    let cancelled = lists(&cancelled).remove(0);
    assert_eq!((method.as_str(), &cancelled["OperateType"]), ("PUT", &json!(1)));
    assert_eq!(cancelled["SubscribeID"], asked["SubscribeID"]);
    assert_eq!(place.lines("out.ndjson").len(), 1);

    // One that it has already is gone on with; one that it does not want is told.
    for (codes, trouble) in [([1, 0], false), ([1, 1], true)] {
        platform.forget();
        place.write(
            "weir.yaml",
            place.read("weir.yaml").replace("key_file: key }", "key_file: key, status_file: status.json }"),
        );
        // Keep-alive and registration are no objects; the subscription is asked for by POST, then by PUT.
        platform.will_answer(&codes);
        let before = platform.told("/VIID/Subscribes").len();
        let running = place.start(&["weir.yaml"]);
        eventually("it has asked twice", || platform.told("/VIID/Subscribes").len() >= before + 2);
        if trouble {
            eventually("it is told", || place.read("status.json").contains("it refuses the subscription"));
        }
        running.stop();
    }
}

/// Sink `viid`: platforms are told of hits, each once by its id, and of no other vehicle.
#[test]
fn a_platform_is_told_of_hits_and_of_nothing_else() {
    let (platform, at) = (Platform::default(), nobody());
    let place = Place::new();
    let pack = PACK.replace("rules:\n", "lists:\n  stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road }\nrules:\n  - { id: listed, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road, say: \"stolen, {hit.entry_id}\" }\n");
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nstate: {{ dir: state, key_file: key }}\nsources: {{ in: {{ type: file, path: in.ndjson, follow: true }} }}\n\
         sinks:\n  up:\n    {{ type: viid, url: \"http://{at}\", user: up, password_file: password, device_id: \"61010000002020000001\",\n      timezone: Asia/Shanghai, purposes: [road] }}\n"
    );
    let entry = |n| format!("PL{n:05},E{n},2099-01-01\n");
    let list: String = (0..600).step_by(20).map(entry).collect();
    place.write("pack.yaml", pack).write("weir.yaml", config).write("key", [7; 32]).write("password", "s3cr3t");
    place.write("l.csv", format!("plate,entry_id,expires\n{list}"));
    let record = |n: u64| {
        format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"{n}\",\"ts\":{},\"site\":\"s1\",\"device\":\"d{n}\",\"plate\":\"PL{n:05}\"}}\n",
            1_790_000_000_000 + n * 1_000
        )
    };
    place.write("in.ndjson", (0..300).map(record).collect::<String>());
    let tried = common::text(&place.weir(&["connect", "test", "weir.yaml", "up"]).stdout);
    assert!(tried.contains("FAILS"), "{tried}");
    let notified = || -> Vec<Value> {
        let told = platform.told("/VIID/DispositionNotifications");
        told.iter().flat_map(|(_, _, body)| lists(body)).collect()
    };
    let distinct = || notified().iter().map(|it| it["NotificationID"].to_string()).collect::<BTreeSet<String>>().len();
    let running = place.launch(&["weir.yaml"]);
    // It comes late, has no room at first, and refuses one.
    platform.will_answer(&[0, 0, 2, 0, 0]);
    platform.listen(at);
    eventually("all hits are told", || distinct() == 15);
    platform.forget();
    platform.will_answer(&[1]);
    let mut file = std::fs::OpenOptions::new().append(true).open(place.path("in.ndjson")).unwrap();
    std::io::Write::write_all(&mut file, (300..600).map(record).collect::<String>().as_bytes()).unwrap();
    eventually("all hits are told", || distinct() == 30);
    let summary = running.stop();
    assert_eq!(summary["sinks"]["up"]["refused"], 1, "{summary}");
    let mut order: Vec<u64> = Vec::new();
    for it in notified() {
        let plate = it["MotorVehicleObject"]["PlateNo"].as_str().unwrap();
        let number: u64 = plate[2..].parse().unwrap();
        assert_eq!(number % 20, 0, "{it}");
        assert_eq!(
            (&it["DispositionID"], &it["Title"]),
            (&json!(format!("E{number}")), &json!(format!("stolen, E{number}")))
        );
        assert_eq!(it["TriggerTime"].as_str().map(str::len), Some(14));
        if !order.contains(&number) {
            order.push(number);
        }
    }
    assert!(order.is_sorted(), "in order");
}

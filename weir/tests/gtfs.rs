//! GTFS-realtime: a feed over HTTP, written here byte by byte after gtfs-realtime.proto 2.0.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use common::{Place, eventually, text};

/// A varint.
fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn number(tag: u64, number: u64) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3, &mut field);
    varint(number, &mut field);
    field
}

fn bytes(tag: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3 | 2, &mut field);
    varint(content.as_ref().len() as u64, &mut field);
    field.extend(content.as_ref());
    field
}

/// A vehicle on route 7: id, time, status, per cent. Where it is, its label and its plate are in the feed, and not taken.
fn vehicle(id: &str, at: u64, status: Option<u64>, per_cent: Option<u64>) -> Vec<u8> {
    let trip = [bytes(1, "trip-1"), bytes(5, "7")].concat();
    let position = [0x0d_u8, 0, 0, 0x30, 0x42, 0x15, 0, 0, 0x80, 0x41];
    let descriptor = [bytes(1, id), bytes(2, "canary-label"), bytes(3, "CANARY1")].concat();
    let mut vehicle =
        [bytes(1, trip), bytes(2, position), number(5, at), bytes(7, "stop-9"), bytes(8, descriptor)].concat();
    vehicle.extend(status.into_iter().flat_map(|status| number(9, status)));
    vehicle.extend(per_cent.into_iter().flat_map(|per_cent| number(10, per_cent)));
    bytes(2, [bytes(1, format!("entity-{id}")), bytes(4, vehicle)].concat())
}

fn feed(vehicles: &[Vec<u8>]) -> Vec<u8> {
    let header = [bytes(1, "2.0"), number(2, 0), number(3, 1_790_000_000)].concat();
    [bytes(1, header), vehicles.concat()].concat()
}

#[test]
fn how_full_vehicles_are_is_taken_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let says = Arc::new(Mutex::new(b"canary, no feed".to_vec()));
    let answering = Arc::clone(&says);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut piece) = (Vec::new(), [0; 4_096]);
            while !head.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut piece).unwrap();
                head.extend_from_slice(&piece[..read]);
            }
            let is_ours = text(&head).to_lowercase().contains("authorization: bearer t0ken\r\n");
            let body = if is_ours { answering.lock().unwrap().clone() } else { Vec::new() };
            let status = if is_ours { "200 OK" } else { "403 Forbidden" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    let place = Place::new();
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { crowd: { legal_basis: act 3 } }\nrules:\n  - id: full\n    kind: match\n    from: transit\n    where: occupied IS NOT NULL OR occupancy_status = 'full'\n    say: \"{event_id}|{ts}|{site}|{zone}|{route}|{stop}|{occupancy_status}|{occupied}\"\n    purpose: crowd\n";
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nstate: {{ status_file: status.json }}\nkinds:\n  transit:\n    columns:\n      route: {{ type: symbol }}\n      stop: {{ type: symbol }}\n      \
         occupancy_status: {{ type: symbol }}\n      occupied: {{ type: number, range: [0, 10] }}\n\
         sources:\n  trams: {{ type: gtfs_realtime, url: \"http://{address}/vp.pb\", token_file: token, every: 1s, zone: line-7 }}\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [crowd] }}\n"
    );
    place.write("pack.yaml", pack).write("weir.yaml", config).write("token", "t0ken\n");
    let tried = text(&place.weir(&["connect", "test", "weir.yaml", "trams"]).stdout);
    assert!(tried.contains("FAILS: the answer is no feed of GTFS-realtime"), "{tried}");
    let running = place.launch(&["weir.yaml"]);
    eventually("the trouble is told", || place.read("status.json").contains("no feed of GTFS-realtime"));
    let t = 1_790_000_000;
    let nothing = vehicle("tram-3", t, Some(7), None);
    *says.lock().unwrap() =
        feed(&[vehicle("tram-1", t, Some(5), None), vehicle("tram-2", t + 1, None, Some(85)), nothing.clone()]);
    let tried = text(&place.weir(&["connect", "test", "weir.yaml", "trams"]).stdout);
    assert!(tried.contains("works: the feed has 3 vehicles, of which 2 say how full they are"), "{tried}");
    eventually("both are told", || place.lines("out.ndjson").len() == 2);
    *says.lock().unwrap() =
        feed(&[vehicle("tram-1", t, Some(5), None), vehicle("tram-2", t + 31, None, Some(110)), nothing]);
    eventually("what is new is told", || place.lines("out.ndjson").len() == 3);
    let summary = running.stop();
    let trams = &summary["sources"]["trams"];
    assert_eq!((&trams["evaluated"], &trams["duplicate"], &trams["rejected"]), (&3.into(), &0.into(), &0.into()));
    let said: Vec<String> =
        place.lines("out.ndjson").iter().map(|alert| alert["say"].as_str().unwrap().to_owned()).collect();
    let at = |s: u64| format!("2026-09-21T14:13:{s:02}Z|7|line-7|7|stop-9");
    assert_eq!(
        said,
        [
            format!("tram-1 {t}|{}|full|-", at(20)),
            format!("tram-2 {}|{}|-|0.85", t + 1, at(21)),
            format!("tram-2 {}|{}|-|1.1", t + 31, at(51)),
        ]
    );
    let all = place.read("out.ndjson") + &place.read("status.json");
    assert!(!all.contains("canary") && !all.contains("CANARY"), "{all}");
}

//! GTFS-realtime: a feed over HTTP.

mod common;
#[path = "common/transit.rs"]
mod transit;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use common::{Place, eventually, text};
use transit::{feed, vehicle};

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

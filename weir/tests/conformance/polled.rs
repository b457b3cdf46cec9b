//! What sources are held to that are asked now and then how things stand: whoever is asked tells what is now, and knows of no
//! acknowledgement. A state that was told already is told again, and is taken once.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Place, eventually, text};
use crate::servers::{Listening, read_head};
use crate::sources::tries;
use crate::transit::{feed, vehicle};

/// Somebody who is asked.
pub struct Asked {
    /// The source, as it is configured for this address.
    source: fn(SocketAddr) -> String,
    kind: &'static str,
    /// What is answered at a step, and the ids of its records.
    answer: fn(u64) -> (Vec<u8>, Vec<String>),
}

/// A feed of public transport.
pub const GTFS: Asked = Asked {
    source: |address| format!("type: gtfs_realtime, url: \"http://{address}/vp.pb\", every: 1s, zone: line-7"),
    kind: "transit",
    answer: |step| {
        let at = 1_790_000_000 + step * 30;
        let trams = ["tram-1", "tram-2"];
        let body = feed(&trams.map(|tram| vehicle(tram, at, None, Some(80))));
        (body, trams.map(|tram| format!("{tram} {at}")).to_vec())
    },
};

/// A people counter.
pub const AXIS: Asked = Asked {
    source: |address| {
        let url = format!("http://{address}/local/people-counter/.api?live-sum.json");
        format!("type: axis, url: \"{url}\", timezone: UTC, every: 1s, zone: hall")
    },
    kind: "person",
    answer: |step| {
        let stamp = format!("201705030927{:02}", step + 1);
        let body = json!({
            "serial": "00408CAC512B", "name": "door", "timestamp": stamp, "in": 12 + step, "out": 318 + step,
        });
        let id = |direction| format!("00408CAC512B 2017-05-03T09:27:{:02}Z {direction}", step + 1);
        (body.to_string().into_bytes(), ["in", "out"].map(id).to_vec())
    },
};

/// Answers with what is said, whatever is asked.
fn answer(mut stream: TcpStream, body: &[u8]) {
    if read_head(&mut stream).is_some() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // Whoever asked may be gone.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    }
}

fn place(source: &str, kind: &str) -> Place {
    let place = Place::new();
    let pack = format!(
        "weir: 1\npack: p\nowner: o\npurposes: {{ crowd: {{ legal_basis: act 3 }} }}\nrules:\n  \
         - {{ id: seen, kind: match, from: {kind}, where: device IS NOT NULL, say: \"{{event_id}}\", purpose: crowd }}\n"
    );
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nkinds: {{ transit: {{ columns: {{ occupied: {{ type: number }} }} }} }}\n\
         state: {{ dir: state, key_file: key, segment: 4MiB, reserve: 4MiB, status_file: status.json }}\n\
         sources: {{ gate: {{ {source} }} }}\nsinks: {{ out: {{ type: file, path: out.ndjson, purposes: [crowd] }} }}\n"
    );
    place.write("pack.yaml", pack).write("weir.yaml", config).write("key", [7; 32]);
    place
}

/// It is asked, says nonsense, is away and comes back; weir is killed and held up. Every state is taken, once and in order.
pub fn polled_life(asked: &Asked) {
    let says: Arc<Mutex<Vec<u8>>> = Arc::default();
    let mut server = Listening::new();
    let answers = || {
        let says = Arc::clone(&says);
        move |stream| answer(stream, &says.lock().unwrap())
    };
    let place = place(&(asked.source)(server.address), asked.kind);
    let mut expected = Vec::new();
    let mut next = |says: &Mutex<Vec<u8>>| -> Vec<String> {
        let (body, ids) = (asked.answer)(expected.len() as u64 / 2);
        *says.lock().unwrap() = body;
        expected.extend(ids);
        expected.clone()
    };
    let told = || -> Vec<String> {
        let alerts = place.lines_over_kills("out.ndjson").into_iter();
        let mut seen = BTreeSet::new();
        alerts
            .filter(|alert| seen.insert(alert["alert_id"].to_string()))
            .map(|alert| alert["say"].as_str().unwrap().to_owned())
            .collect()
    };
    let is_told = |all: &[String]| eventually("the state is told", || told() == all);
    let status = || text(&place.weir(&["status", "weir.yaml"]).stdout);
    let is_in_trouble =
        || eventually("the trouble is told", || status().contains("source gate: TRYING AGAIN since 20"));
    let is_well = || eventually("the trouble is over", || !status().contains("TRYING AGAIN"));

    tries(&place, "gate", false);
    let all = next(&says);
    server.start(answers());
    tries(&place, "gate", true);
    let running = place.launch(&["weir.yaml"]);
    is_told(&all);

    *says.lock().unwrap() = b"{\"serial\":\"canary\",\"in\":\"canary\"}".to_vec();
    is_in_trouble();
    tries(&place, "gate", false);
    assert!(!(status() + &place.read("out.ndjson")).contains("canary"), "{}", status());
    let all = next(&says);
    is_told(&all);
    is_well();

    running.kill();
    let running = place.launch(&["weir.yaml"]);
    let all = next(&says);
    is_told(&all);

    server.stop();
    is_in_trouble();
    let all = next(&says);
    server.start(answers());
    is_told(&all);
    is_well();

    running.signal("-STOP");
    let all = next(&says);
    std::thread::sleep(Duration::from_millis(500));
    running.signal("-CONT");
    is_told(&all);

    let started = Instant::now();
    let summary = running.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "it ends soon after it is asked to");
    assert_eq!(summary["sources"]["gate"]["rejected"], 0);
    assert_eq!(told(), all, "each once");
}

//! Axis people counters: a counter that wants HTTP Digest, the sample of a real one, totals that begin anew.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use common::{Place, eventually, text, workspace};
use digest_auth::{AuthContext, AuthorizationHeader};
use serde_json::{Value, json};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { crowd: { legal_basis: act 3 } }
rules:
  - id: counted
    kind: match
    from: person
    where: received IS NOT NULL
    say: "{event_id}|{ts}|{site}|{zone}|{device}|{direction}|{total}"
    purpose: crowd
"#;
const CHALLENGE: &str = r#"Digest realm="AXIS", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", algorithm=MD5, qop="auth""#;

/// A counter: it answers what it holds to whoever proves his password.
#[derive(Clone)]
struct Counter {
    says: Arc<Mutex<String>>,
    address: SocketAddr,
}

impl Counter {
    fn start(says: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counter = Self { says: Arc::new(Mutex::new(says.to_owned())), address: listener.local_addr().unwrap() };
        let answering = counter.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answering) = (stream.unwrap(), answering.clone());
                std::thread::spawn(move || while answering.answer(&mut stream).is_some() {});
            }
        });
        counter
    }

    fn answer(&self, stream: &mut std::net::TcpStream) -> Option<()> {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
        while !bytes.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&piece[..read]);
        }
        let head = text(&bytes);
        assert!(head.starts_with("GET /local/people-counter/.api?live-sum.json HTTP/1.1\r\n"), "{head}");
        let proof = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        let body = self.says.lock().unwrap().clone();
        let answer = if proof.is_some_and(is_proof) {
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        } else {
            format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {CHALLENGE}\r\nContent-Length: 0\r\n\r\n")
        };
        stream.write_all(answer.as_bytes()).ok()
    }
}

fn is_proof(header: &str) -> bool {
    let given = AuthorizationHeader::parse(header).unwrap();
    let mut context = AuthContext::new("viewer", "s3cr3t", "/local/people-counter/.api?live-sum.json");
    context.set_custom_cnonce(given.cnonce.clone().unwrap());
    let mut expected = digest_auth::parse(CHALLENGE).unwrap();
    expected.respond(&context).unwrap().response == given.response
}

fn place(counter: &Counter, password: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nstate: {{ status_file: status.json }}\nsources:\n  door:\n    type: axis\n    \
         url: http://{}/local/people-counter/.api?live-sum.json\n    user: viewer\n    password_file: password\n    \
         timezone: Europe/Stockholm\n    zone: hall\n    every: 1s\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [crowd] }}\n",
        counter.address
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("password", password);
    place
}

fn said(place: &Place) -> Vec<String> {
    place.lines("out.ndjson").iter().map(|alert| alert["say"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_counter_is_asked_for_its_totals() {
    let sample =
        std::fs::read_to_string(workspace().join("testdata/connectors/axis_people_counter_live_sum.json")).unwrap();
    let counter = Counter::start(&sample);
    let place = place(&counter, "s3cr3t\n");
    let tried = place.weir(&["connect", "test", "weir.yaml", "door"]);
    assert!(text(&tried.stdout).contains("works: counter 00408CAC512B says 12 in, 318 out"), "{}", text(&tried.stdout));
    let running = place.launch(&["weir.yaml"]);
    eventually("the totals are told", || said(&place).len() == 2);
    let told = |direction: &str, total: u64| {
        format!(
            "00408CAC512B 2017-05-03T09:27:56Z {direction}|2017-05-03T09:27:56Z|00408CAC512B|hall|00408CAC512B|{direction}|{total}"
        )
    };
    assert_eq!(said(&place), [told("in", 12), told("out", 318)]);
    // It says nothing of use for a while, then goes on.
    *counter.says.lock().unwrap() = r#"{"serial":"canary","timestamp":"canary","in":"canary","out":1}"#.to_owned();
    eventually("the trouble is told", || place.read("status.json").contains("no `live-sum.json`"));
    assert!(!place.read("status.json").contains("canary"));
    let mut later: Value = serde_json::from_str(&sample).unwrap();
    (later["timestamp"], later["in"]) = (json!("20170503112856"), json!(13));
    *counter.says.lock().unwrap() = later.to_string();
    eventually("the next totals are told", || said(&place).len() == 4);
    let summary = running.stop();
    assert_eq!(
        (&summary["sources"]["door"]["evaluated"], &summary["sources"]["door"]["duplicate"]),
        (&json!(4), &json!(0))
    );
    assert!(said(&place)[2].ends_with("|in|13"), "{:?}", said(&place));
}

#[test]
fn a_wrong_password_is_told() {
    let counter = Counter::start("{}");
    let tried = place(&counter, "guessed").weir(&["connect", "test", "weir.yaml", "door"]);
    assert_eq!(tried.status.code(), Some(1));
    assert!(text(&tried.stdout).contains("FAILS: the counter does not let us in"), "{}", text(&tried.stdout));
}

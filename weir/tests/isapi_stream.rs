//! ISAPI `alertStream`: a device that wants HTTP Digest and tells its events in one answer that never ends, with pictures between
//! them, and that goes away in the middle.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{Place, eventually, nobody, text, workspace};
use digest_auth::{AuthContext, AuthorizationHeader};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 2 }, crowd: { legal_basis: act 3 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: received IS NOT NULL, say: "{event_id}|{ts}|{site}|{plate}", purpose: road }
  - { id: counted, kind: match, from: person, where: received IS NOT NULL, say: "{ts}|{zone}|{direction}|{count}", purpose: crowd }
"#;
const PATH: &str = "/ISAPI/Event/notification/alertStream";
const CHALLENGE: &str = r#"Digest qop="auth", realm="DS-2CD", nonce="4d7a", stale="FALSE""#;

/// A device. What it is given to say it says to whoever is connected and has proved his password.
struct Device {
    says: Sender<Vec<u8>>,
}

impl Device {
    fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (says, to_say) = channel();
        let to_say = Arc::new(Mutex::new(to_say));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, to_say) = (stream.unwrap(), Arc::clone(&to_say));
                std::thread::spawn(move || while serve(&mut stream, &to_say).is_some() {});
            }
        });
        Self { says }
    }

    fn part(&self, kind: &str, content: &[u8]) {
        let head = format!("--boundary\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", content.len());
        self.says.send([head.as_bytes(), content, b"\r\n"].concat()).unwrap();
    }

    fn hang_up(&self) {
        self.says.send(Vec::new()).unwrap();
    }
}

fn serve(stream: &mut TcpStream, to_say: &Mutex<Receiver<Vec<u8>>>) -> Option<()> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
    let head = text(&bytes);
    assert!(head.starts_with(&format!("GET {PATH} HTTP/1.1\r\n")), "{head}");
    let proof = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    if !proof.is_some_and(is_proof) {
        let refusal =
            format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {CHALLENGE}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(refusal.as_bytes()).ok();
    }
    let answer = "HTTP/1.1 200 OK\r\nMIME-Version: 1.0\r\nConnection: close\r\nContent-Type: multipart/mixed; boundary=boundary\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()?;
    // Only one at a time is told.
    let to_say = to_say.lock().unwrap();
    loop {
        let said = to_say.recv().ok()?;
        if said.is_empty() {
            return None;
        }
        stream.write_all(&said).ok()?;
    }
}

fn is_proof(header: &str) -> bool {
    let mut said = AuthorizationHeader::parse(header).unwrap();
    let response = said.response.clone();
    said.digest(&AuthContext::new("viewer", "s3cr3t", PATH));
    said.response == response
}

fn place(address: SocketAddr, password: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1\npacks: [pack.yaml]\nstate: {{ status_file: status.json }}\nsources:\n  gate:\n    type: isapi_stream\n    \
         url: http://{address}\n    user: viewer\n    password_file: password\n    timezone: Asia/Shanghai\n    \
         site: east-gate\n    zone: hall\n\
         sinks:\n  out: {{ type: file, path: out.ndjson, purposes: [road, crowd] }}\n  \
         refused: {{ type: file, path: refused.ndjson, emit: [dead_letters] }}\n"
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("password", password);
    place
}

fn said(place: &Place) -> Vec<String> {
    place.lines("out.ndjson").iter().map(|alert| alert["say"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_device_tells_its_events_in_an_answer_that_never_ends() {
    let sample = |name: &str| std::fs::read(workspace().join("testdata/connectors").join(name)).unwrap();
    let address = nobody();
    let place = place(address, "s3cr3t\n");
    let running = place.launch(&["weir.yaml"]);
    eventually("the trouble is told", || place.read("status.json").contains("\"tries\":"));
    let device = Device::start(address);
    device.part("application/xml; charset=\"UTF-8\"", &sample("isapi_heartbeat.xml"));
    eventually("the trouble is over", || place.read("status.json").contains("\"in_trouble\":[]"));
    device.part("application/xml; charset=\"UTF-8\"", &sample("isapi_anpr.xml"));
    device.part("image/jpeg", &vec![0xff; 3 << 20]);
    device.part("application/xml", b"<canary");
    device.part("application/xml", &sample("isapi_people_counting.xml"));
    eventually("all of it is told", || said(&place).len() == 3);
    // It goes away, comes back, and tells the same again.
    device.hang_up();
    eventually("the trouble is told", || place.read("status.json").contains("\"tries\":"));
    device.part("application/xml", &sample("isapi_people_counting.xml"));
    let mut again = text(&sample("isapi_anpr.xml"));
    again = again.replace("000000000001", "000000000002");
    device.part("application/xml", again.as_bytes());
    eventually("all of it is told", || said(&place).len() == 4);
    let summary = running.stop();
    let gate = &summary["sources"]["gate"];
    assert_eq!((&gate["evaluated"], &gate["duplicate"], &gate["rejected"]), (&4.into(), &2.into(), &1.into()));
    let refused = place.read("refused.ndjson");
    assert!(refused.contains("bad_event") && !refused.contains("canary"), "{refused}");
    let seen = |n| format!("00000000-0000-4000-8000-00000000000{n}|2024-05-07T10:48:03.847Z|east-gate|A13709");
    let counted = |direction, count| format!("2021-10-12T11:15:00Z|hall|{direction}|{count}");
    assert_eq!(said(&place), [seen(1), counted("in", 0), counted("out", 1), seen(2)]);
}

#[test]
fn a_device_that_does_not_let_us_in_is_told() {
    let address = nobody();
    let _device = Device::start(address);
    let tried = place(address, "guessed").weir(&["connect", "test", "weir.yaml", "gate"]);
    assert_eq!(tried.status.code(), Some(1));
    assert!(text(&tried.stdout).contains("FAILS: the device does not let us in"), "{}", text(&tried.stdout));
    let tried = place(address, "s3cr3t").weir(&["connect", "test", "weir.yaml", "gate"]);
    assert!(text(&tried.stdout).contains("works: the device lets us in"), "{}", text(&tried.stdout));
}

//! A platform of GA/T 1400 as seen by those who speak to it: lets them register with HTTP Digest, and keeps what it is told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use digest_auth::{AuthContext, AuthorizationHeader, HttpMethod};
use serde_json::{Value, json};

use super::text;

/// What it was told: method, path, body.
pub type Request = (String, String, Value);

#[derive(Default)]
struct Kept {
    told: Vec<Request>,
    registered: bool,
    /// Status codes of the objects that come next; 0 beyond.
    codes: VecDeque<u8>,
}

/// A platform; its user is `up`, his password `s3cr3t`.
#[derive(Clone, Default)]
pub struct Platform(Arc<Mutex<Kept>>);

impl Platform {
    /// Listens from now on.
    pub fn listen(&self, address: SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let platform = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (platform, mut stream) = (platform.clone(), stream.unwrap());
                std::thread::spawn(move || while platform.answer(&mut stream).is_some() {});
            }
        });
    }

    /// The next objects are answered so.
    pub fn will_answer(&self, codes: &[u8]) {
        self.0.lock().unwrap().codes.extend(codes);
    }

    /// Whoever has registered has to do so again.
    pub fn forget(&self) {
        self.0.lock().unwrap().registered = false;
    }

    /// What came under this path.
    pub fn told(&self, path: &str) -> Vec<Request> {
        self.0.lock().unwrap().told.iter().filter(|(_, at, _)| at == path).cloned().collect()
    }

    fn answer(&self, stream: &mut TcpStream) -> Option<()> {
        let (head, body) = request(stream)?;
        let mut line = head.split_whitespace();
        let (method, path) = (line.next()?.to_owned(), line.next()?.to_owned());
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.to_owned()))
        };
        assert_eq!(header("user-identify").as_deref(), Some("61010000002020000001"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let mut kept = self.0.lock().unwrap();
        if path == "/VIID/System/Register" {
            kept.registered = header("authorization").is_some_and(|proof| is_proved(&proof, &method));
        }
        let answer = if kept.registered {
            let objects = lists(&body);
            let statuses: Vec<Value> = objects
                .iter()
                .map(|_| json!({ "StatusCode": kept.codes.pop_front().unwrap_or(0).to_string() }))
                .collect();
            kept.told.push((method, path, body));
            let answer = json!({ "ResponseStatusListObject": { "ResponseStatusObject": statuses } }).to_string();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())
        } else {
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"up\", qop=\"auth\", nonce=\"n1\", opaque=\"o\"\r\n\
             Content-Length: 0\r\n\r\n"
                .to_owned()
        };
        stream.write_all(answer.as_bytes()).ok()
    }
}

/// The objects in a body: what stands in a list within a list object.
pub fn lists(body: &Value) -> Vec<Value> {
    let inner = body.as_object().into_iter().flat_map(|it| it.values()).filter_map(Value::as_object);
    inner.flat_map(|it| it.values()).filter_map(Value::as_array).flatten().cloned().collect()
}

fn is_proved(said: &str, method: &str) -> bool {
    let mut said = AuthorizationHeader::parse(said).unwrap();
    let (response, uri) = (said.response.clone(), said.uri.clone());
    said.digest(&AuthContext::new_with_method("up", "s3cr3t", &*uri, Option::<&[u8]>::None, HttpMethod::from(method)));
    said.response == response
}

/// Head and body of the next request.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let whole = text(&bytes);
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned));
        if body.len() >= length.and_then(|it| it.trim().parse().ok()).unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

//! A webhook that keeps what it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::text;

/// An address that nobody listens on.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What a webhook was told: key and alert, in order.
#[derive(Clone, Default)]
pub struct Told(pub Arc<Mutex<Vec<(String, Value)>>>);

impl Told {
    /// Listens from now on.
    pub fn listen(&self, address: SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let told = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let told = told.clone();
                let mut stream = stream.unwrap();
                std::thread::spawn(move || while told.take(&mut stream).is_some() {});
            }
        });
    }

    fn take(&self, stream: &mut std::net::TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4_096];
        loop {
            let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&piece[..read]);
            let request = text(&bytes);
            let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
            if head.starts_with("OPTIONS ") {
                return stream.write_all(b"HTTP/1.1 204 No Content\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n").ok();
            }
            let header = |name: &str| {
                head.lines()
                    .find_map(|line| line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
            };
            if body.len() < header("content-length:").and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) {
                continue;
            }
            let key = header("idempotency-key:").expect("an alert has a key");
            self.0.lock().unwrap().push((key, serde_json::from_str(body).unwrap()));
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok();
        }
    }

    pub fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, alert)| alert["alert_id"].as_str().unwrap().to_owned()).collect()
    }
}

//! A device of ISAPI that is asked for its events, and tells them in an answer that never ends to whoever is connected.

use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::common::eventually;
use crate::posts::isapi_event;
use crate::senders::Sender;
use crate::servers::{Listening, Outage, read_head};

type Listeners = Arc<Mutex<Vec<TcpStream>>>;

pub struct IsapiDevice {
    listening: Listening,
    /// Who is connected, and has been answered.
    listeners: Listeners,
}

impl IsapiDevice {
    pub fn new() -> Self {
        let mut device = Self { listening: Listening::new(), listeners: Listeners::default() };
        device.start();
        device
    }

    /// Tells it to whoever listens; waits until somebody does.
    fn tell(&self, content: &str) {
        let head = format!("--b\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n", content.len());
        let part = [head.as_bytes(), content.as_bytes(), b"\r\n"].concat();
        eventually("somebody listens", || {
            let mut listeners = self.listeners.lock().unwrap();
            listeners.retain(is_there);
            listeners.retain_mut(|stream| stream.write_all(&part).is_ok());
            !listeners.is_empty()
        });
    }
}

/// Whoever has gone has closed the connection.
fn is_there(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let gone = stream.peek(&mut [0]).is_ok_and(|bytes| bytes == 0);
    stream.set_nonblocking(false).unwrap();
    !gone
}

fn answer(stream: &mut TcpStream) -> Option<()> {
    read_head(stream)?;
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()
}

impl Outage for IsapiDevice {
    fn start(&mut self) {
        let listeners = Arc::clone(&self.listeners);
        self.listening.start(move |mut stream| {
            if answer(&mut stream).is_some() {
                listeners.lock().unwrap().push(stream);
            }
        });
    }

    fn stop(&mut self) {
        self.listening.stop();
        self.listeners.lock().unwrap().clear();
    }
}

impl Sender for IsapiDevice {
    fn source(&self) -> String {
        let address = self.listening.address;
        format!(
            "    type: isapi_stream\n    url: http://{address}\n    user: viewer\n    password_file: password\n    site: CP-01"
        )
    }

    fn prepare(&self, place: &crate::common::Place) {
        place.write("password", "s3cr3t");
    }

    fn send(&mut self, numbers: Range<u64>) {
        numbers.for_each(|number| self.tell(&isapi_event(number)));
    }

    fn send_rubbish(&mut self) -> usize {
        self.tell("<canary");
        self.tell("<a><dateTime>canary</b>");
        2
    }

    /// What happens while nobody listens it tells nobody.
    fn is_acknowledged(&self) -> bool {
        false
    }

    fn server(&mut self) -> Option<&mut dyn Outage> {
        Some(self)
    }
}

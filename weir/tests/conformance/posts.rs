//! Devices and platforms that post their events: one by one (ISAPI), or several at once (NGSI). What the other forms of posts have
//! of their own is how they are taken apart, which `weir/tests/push.rs` looks at.

use std::net::SocketAddr;
use std::ops::Range;

use serde_json::{Value, json};

use crate::common::{nobody, post};
use crate::senders::{BATCH, Sender, post_until_taken};

/// When a record is seen, RFC 3339; as late as those of the other senders.
fn time(number: u64) -> String {
    let ms = i64::try_from(1_795_420_800_000 + number * 100).unwrap();
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

/// What is no event is told to whoever posts it, and is a dead letter.
fn post_rubbish(address: SocketAddr, bodies: &[&str]) -> usize {
    for body in bodies {
        let (status, answer) = post(address, "/events", &[("content-type", "application/xml")], body.as_bytes());
        assert!(status == 400 && !answer.contains("canary"), "{status} {answer}");
    }
    bodies.len()
}

/// A number-plate camera of ISAPI.
pub struct Isapi {
    address: SocketAddr,
}

impl Isapi {
    pub fn new() -> Self {
        Self { address: nobody() }
    }
}

impl Sender for Isapi {
    fn source(&self) -> String {
        format!("    type: isapi\n    address: {}\n    site: CP-01", self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        for number in numbers {
            let event = format!(
                "<EventNotificationAlert xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><dateTime>{}</dateTime><eventType>ANPR</eventType>\
                 <UUID>{number}</UUID><macAddress>{}</macAddress><ANPR><licensePlate>A{number:05}</licensePlate></ANPR></EventNotificationAlert>",
                time(number),
                self.device(number)
            );
            post_until_taken(self.address, "/events", "application/xml", event.as_bytes());
        }
    }

    fn send_rubbish(&mut self) -> usize {
        post_rubbish(self.address, &["<canary", "<a><dateTime>canary</b>"])
    }
}

/// A city platform of NGSI.
pub struct Ngsi {
    address: SocketAddr,
}

impl Ngsi {
    pub fn new() -> Self {
        Self { address: nobody() }
    }
}

impl Sender for Ngsi {
    fn source(&self) -> String {
        format!("    type: ngsi\n    address: {}\n    site: CP-01", self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        let numbers: Vec<u64> = numbers.collect();
        for some in numbers.chunks(BATCH) {
            let entity = |number: &u64| {
                json!({
                    "id": format!("urn:{number}"), "type": "AnprFlowObserved", "dateObserved": time(*number),
                    "observedBy": self.device(*number), "observedVehicle": { "licensePlate": { "identifier": "A1" } },
                })
            };
            let notified = json!({ "type": "Notification", "data": some.iter().map(entity).collect::<Vec<Value>>() });
            post_until_taken(self.address, "/events", "application/ld+json", notified.to_string().as_bytes());
        }
    }

    fn send_rubbish(&mut self) -> usize {
        post_rubbish(self.address, &["canary", "{\"type\":\"canary\"}", "7"])
    }

    fn id(&self, number: u64) -> String {
        format!("urn:{number} {}", time(number))
    }

    fn number(&self, id: &str) -> u64 {
        id.strip_prefix("urn:").unwrap().split(' ').next().unwrap().parse().unwrap()
    }
}

//! Devices and platforms that post their events: one by one, or several at once (NGSI). What else is of a form, which is how it is
//! taken apart, `weir/tests/push.rs` looks at.

use std::net::SocketAddr;
use std::ops::Range;

use serde_json::{Value, json};

use crate::common::{nobody, post};
use crate::senders::{BATCH, Sender, post_until_taken};

/// When a record is seen; as late as those of the other senders.
fn ms(number: u64) -> u64 {
    1_795_420_800_000 + number * 100
}

/// The same, RFC 3339.
fn time(number: u64) -> String {
    jiff::Timestamp::from_millisecond(ms(number).cast_signed()).unwrap().to_string()
}

/// Three of them.
fn camera(number: u64) -> u64 {
    number % 3
}

/// What is no event is told to whoever posts it, and is a dead letter.
fn post_rubbish(address: SocketAddr, bodies: &[&str]) -> usize {
    for body in bodies {
        let (status, answer) = post(address, "/events", &[("content-type", "application/xml")], body.as_bytes());
        assert!(status == 400 && !answer.contains("canary"), "{status} {answer}");
    }
    bodies.len()
}

/// A form of events that are posted one by one.
pub struct Form {
    /// The type of the source.
    name: &'static str,
    media: &'static str,
    event: fn(u64) -> String,
    /// The id of its record.
    id: fn(u64) -> String,
    rubbish: &'static [&'static str],
}

/// An event of ISAPI; also as its devices tell it to those who ask.
pub fn isapi_event(number: u64) -> String {
    format!(
        "<EventNotificationAlert xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><dateTime>{}</dateTime><eventType>ANPR</eventType>\
         <UUID>{number}</UUID><macAddress>d{}</macAddress><ANPR><licensePlate>A{number:05}</licensePlate></ANPR></EventNotificationAlert>",
        time(number),
        camera(number)
    )
}

pub const ISAPI: Form = Form {
    name: "isapi",
    media: "application/xml",
    event: isapi_event,
    id: |number| number.to_string(),
    rubbish: &["<canary", "<a><dateTime>canary</b>"],
};

pub const PLATE_RECOGNIZER: Form = Form {
    name: "plate_recognizer",
    media: "application/json",
    event: |number| {
        let results = json!([{ "plate": "a1", "score": 0.9, "candidates": [] }]);
        let camera = format!("d{}", camera(number));
        json!({ "hook": {}, "data": { "camera_id": camera, "timestamp": time(number), "results": results } })
            .to_string()
    },
    id: |number| format!("d{} {} 0", camera(number), time(number)),
    rubbish: &["canary", "{\"data\":{\"results\":\"canary\"}}"],
};

pub const AXIS_PLATES: Form = Form {
    name: "axis_plates",
    media: "application/json",
    event: |number| {
        json!({
            "packetCounter": number.to_string(), "capture_timestamp": ms(number).to_string(), "plateText": "A1", "plateUTF8": "A1",
            "carState": "new", "carID": number.to_string(), "camera_info": { "SerialNumber": format!("d{}", camera(number)) },
        })
        .to_string()
    },
    id: |number| format!("d{} {number} {}", camera(number), ms(number)),
    rubbish: &["canary", "[\"canary\"]"],
};

pub const REKOR: Form = Form {
    name: "rekor",
    media: "application/json",
    event: |number| {
        json!({
            "data_type": "alpr_group", "epoch_start": ms(number), "site_id": "CP-01", "camera_id": camera(number),
            "best_uuid": number.to_string(), "best_plate": { "plate": "A1", "candidates": [] }, "best_confidence": 90.0,
        })
        .to_string()
    },
    id: |number| number.to_string(),
    rubbish: &["canary", "{\"data_type\":\"alpr_group\",\"best_plate\":\"canary\"}"],
};

/// Somebody who posts events of a form.
pub struct Poster {
    form: Form,
    address: SocketAddr,
}

impl Poster {
    pub fn of(form: Form) -> Self {
        Self { form, address: nobody() }
    }
}

impl Sender for Poster {
    fn source(&self) -> String {
        format!("    type: {}\n    address: {}\n    site: CP-01", self.form.name, self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        for number in numbers {
            post_until_taken(self.address, "/events", self.form.media, (self.form.event)(number).as_bytes());
        }
    }

    fn send_rubbish(&mut self) -> usize {
        post_rubbish(self.address, self.form.rubbish)
    }

    fn id(&self, number: u64) -> String {
        (self.form.id)(number)
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
}

//! Hikvision ISAPI: `EventNotificationAlert` of number-plate cameras (`ANPR`) and people counters (`PeopleCounting`).
//!
//! Namespaces differ from firmware to firmware and are not looked at. What is said of who sits in the vehicle (belts,
//! telephones, masks, children) and of children counted is not taken.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Events, Record};

/// Elements in elements.
const DEPTH_MAX: usize = 16;
/// Longest value that is taken.
const VALUE_BYTES_MAX: usize = 256;
/// All that is taken, by path below the root.
const WANTED: [&str; 19] = [
    "dateTime",
    "eventType",
    "macAddress",
    "deviceID",
    "ipAddress",
    "channelID",
    "UUID",
    "ANPR/licensePlate",
    "ANPR/line",
    "ANPR/direction",
    "ANPR/confidenceLevel",
    "ANPR/plateColor",
    "ANPR/vehicleType",
    "ANPR/vehicleInfo/speed",
    "peopleCounting/statisticalMethods",
    "peopleCounting/TimeRange/endTime",
    "peopleCounting/enter",
    "peopleCounting/exit",
    "peopleCounting/regionsID",
];
/// What stands for a value that there is none of.
const NOTHING: [&str; 4] = ["unknown", "unknow", "noPlate", "无车牌"];

/// The values of an event that are wanted.
struct Values([Option<String>; WANTED.len()]);

impl Values {
    fn read(xml: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(xml);
        let mut values = Self([const { None }; WANTED.len()]);
        // Names from the root down; the root itself may be called anything.
        let mut path: Vec<String> = Vec::new();
        let mut seen_root = false;
        loop {
            let event = reader.read_event();
            let event = event.map_err(|_| format!("this is no XML from byte {} on", reader.error_position()))?;
            match event {
                Event::Start(element) => {
                    if path.len() == DEPTH_MAX {
                        return Err(format!("there are more than {DEPTH_MAX} elements in each other"));
                    }
                    path.push(element.local_name().as_ref().to_owned());
                    seen_root = true;
                }
                Event::End(_) => drop(path.pop()),
                Event::Text(text) => values.add(&path, &text.xml10_content()),
                Event::CData(text) => values.add(&path, &text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let named = match reference.xml10_content().as_ref() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => reference.resolve_char_ref().map_err(|_| "a reference stands for no character")?,
                    };
                    // Entities of its own a device has none.
                    let named = named.ok_or("an entity is not known")?;
                    values.add(&path, named.encode_utf8(&mut [0; 4]));
                }
                Event::DocType(_) => return Err("it has a document type, which no device needs".to_owned()),
                Event::Eof if seen_root && path.is_empty() => return Ok(values),
                Event::Eof => return Err("it ends too early".to_owned()),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn add(&mut self, path: &[String], text: &str) {
        let [_, below @ ..] = path else { return };
        let is_this = |wanted: &&str| wanted.split('/').eq(below.iter().map(String::as_str));
        if let Some(at) = WANTED.iter().position(is_this) {
            let value = self.0[at].get_or_insert_default();
            if value.len() + text.len() <= VALUE_BYTES_MAX {
                value.push_str(text);
            }
        }
    }

    /// A value, if it says something.
    fn text(&self, path: &str) -> Option<&str> {
        let at = WANTED.iter().position(|wanted| *wanted == path).expect("it is wanted");
        self.0[at].as_deref().map(str::trim).filter(|text| !text.is_empty() && !NOTHING.contains(text))
    }

    fn number(&self, path: &str) -> Option<f64> {
        self.text(path)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// What the device is called: by its number, else by its network card.
    fn device(&self) -> Option<String> {
        let device = self.text("deviceID").or(self.text("macAddress")).or(self.text("ipAddress"))?;
        Some(self.of_channel(device))
    }

    fn of_channel(&self, device: &str) -> String {
        self.text("channelID").map_or_else(|| device.to_owned(), |channel| format!("{device}/{channel}"))
    }
}

/// The records of an event. A heartbeat (`videoloss`, `inactive`) has none, nor has an event of another kind; who sends it is there.
pub(super) fn events(xml: &str) -> Result<Events, String> {
    let values = Values::read(xml)?;
    let events = match values.text("eventType") {
        Some("ANPR") => vec![vehicle(&values)].into(),
        Some("PeopleCounting") => people(&values).into(),
        Some(_) => Events { alive: values.device().into_iter().collect(), ..Events::default() },
        None => return Err("there is no eventType".to_owned()),
    };
    // All that some heartbeats say of who sends them.
    let also_called = values.text("ipAddress").map(|address| values.of_channel(address));
    Ok(Events { also_called, ..events })
}

fn vehicle(values: &Values) -> Record {
    let mut record = Record::of("vehicle");
    record.put("event_id", values.text("UUID"));
    record.put("ts", values.text("dateTime"));
    record.put("device", values.device());
    record.put("lane", values.text("ANPR/line"));
    record.put("plate", values.text("ANPR/licensePlate"));
    record.put("plate_color", values.text("ANPR/plateColor"));
    record.put("vehicle_class", values.text("ANPR/vehicleType"));
    record.put("direction", values.text("ANPR/direction"));
    // A camera that does not measure it says 0.
    record.put("speed_kmh", values.number("ANPR/vehicleInfo/speed").filter(|speed| *speed > 0.0));
    record.put("confidence", values.number("ANPR/confidenceLevel").map(|percent| percent / 100.0));
    record
}

/// Two records: in and out. What was counted in a time stands at its end.
fn people(values: &Values) -> Vec<Record> {
    let of_time = values.text("peopleCounting/TimeRange/endTime");
    let running = values.text("peopleCounting/statisticalMethods") == Some("realTime");
    let ts = of_time.or(values.text("dateTime"));
    let device = values.device().map(|device| match values.text("peopleCounting/regionsID") {
        Some(region) => format!("{device}/{region}"),
        None => device,
    });
    let record = |(direction, path): (&str, &str)| {
        let count = values.number(path)?;
        let mut record = Record::of("person");
        let id = device.as_ref().zip(ts).map(|(device, ts)| format!("{device} {ts} {direction}"));
        record.put("event_id", id);
        record.put("ts", ts);
        record.put("device", device.clone());
        record.put("direction", Some(direction));
        record.put(if running { "total" } else { "count" }, Some(count));
        Some(record)
    };
    [("in", "peopleCounting/enter"), ("out", "peopleCounting/exit")].into_iter().filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><EventNotificationAlert xmlns=\"urn:psialliance-org\">{inner}</EventNotificationAlert>"
        )
    }

    fn only(xml: &str) -> serde_json::Value {
        let records = events(xml).unwrap().records;
        assert_eq!(records.len(), 1);
        serde_json::Value::Object(records.into_iter().next().unwrap().0)
    }

    #[test]
    fn prefixes_and_references_are_seen_through_and_other_elements_are_not() {
        let xml = "<h:EventNotificationAlert xmlns:h=\"http://www.hikvision.com/ver20/XMLSchema\"><h:eventType>ANPR</h:eventType>\
                   <h:other><h:dateTime>never</h:dateTime></h:other><h:ANPR><h:licensePlate>A&#49;&amp;<![CDATA[<2>]]></h:licensePlate>\
                   <h:pilotmask>yes</h:pilotmask></h:ANPR></h:EventNotificationAlert>";
        assert_eq!(only(xml), serde_json::json!({ "kind": "vehicle", "plate": "A1&<2>" }));
        let unread = event("<eventType>ANPR</eventType><ANPR><licensePlate>unknown</licensePlate></ANPR>");
        assert_eq!(only(&unread), serde_json::json!({ "kind": "vehicle" }));
    }

    #[test]
    fn running_totals_are_totals() {
        let xml = event(
            "<eventType>PeopleCounting</eventType><dateTime>2021-10-12T19:15:00+08:00</dateTime><deviceID>7</deviceID>\
             <peopleCounting><statisticalMethods>realTime</statisticalMethods><enter>41</enter></peopleCounting>",
        );
        let expected = serde_json::json!({
            "kind": "person", "event_id": "7 2021-10-12T19:15:00+08:00 in", "ts": "2021-10-12T19:15:00+08:00", "device": "7",
            "direction": "in", "total": 41.0,
        });
        assert_eq!(only(&xml), expected);
    }

    #[test]
    fn what_is_no_event_is_refused_without_being_quoted() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        let document_type = "<!DOCTYPE a [<!ENTITY b \"canary\">]><a><eventType>&b;</eventType></a>";
        for xml in [
            "",
            "canary",
            "<a>canary",
            "<a></b>",
            "<a><eventType>&canary;</eventType></a>",
            &deep,
            document_type,
            &event(""),
        ] {
            let why = events(xml).map(|events| events.records.len()).unwrap_err();
            assert!(!why.contains("canary"), "{xml}: {why}");
        }
        let heartbeat = event("<deviceID>88</deviceID><channelID>1</channelID><eventType>videoloss</eventType>");
        let Events { records, alive, .. } = events(&heartbeat).unwrap();
        assert!(records.is_empty() && alive == ["88/1"], "a heartbeat");
    }
}

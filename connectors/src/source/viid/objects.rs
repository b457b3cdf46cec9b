//! What devices say of vehicles (GA/T 1400.3, table A.10), as records.
//!
//! Fields are taken by name, and no others: pictures, features, who sits in the vehicle are passed over unread. Devices are
//! loose with types (numbers as texts, one object where a list is due), and leave out half of what the standard wants; an
//! id, a time, and a plate or that there is none are enough.

use std::fmt;

use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};

use weir_engine::record::{Cause, Reason};

use super::accounts::Account;
use crate::source::local_time;
use crate::source::loose::Loose;

/// Objects of one request.
pub(super) const OBJECTS_MAX: usize = 10_000;
/// What stands for a plate where there is none.
const NO_PLATE: &str = "无车牌";

/// The body of `/VIID/MotorVehicles`: a list, or one object.
#[derive(DeserializeDerive, Default)]
#[serde(default)]
pub(super) struct MotorVehicles {
    #[serde(rename = "MotorVehicleListObject")]
    list: Vehicles,
    #[serde(rename = "MotorVehicleObjectList")]
    other_list: Vehicles,
    #[serde(rename = "MotorVehicleObject")]
    objects: OneOrMore<Vehicle>,
}

impl MotorVehicles {
    pub(super) fn into_objects(self) -> Vec<Element<Vehicle>> {
        let lists = [self.list.objects.0, self.other_list.objects.0, self.objects.0];
        lists.into_iter().flatten().collect()
    }
}

#[derive(DeserializeDerive, Default)]
#[serde(default)]
struct Vehicles {
    #[serde(rename = "MotorVehicleObject")]
    objects: OneOrMore<Vehicle>,
}

/// The body of `/VIID/SubscribeNotifications`.
#[derive(DeserializeDerive, Default)]
#[serde(default)]
pub(super) struct Notifications {
    #[serde(rename = "SubscribeNotificationListObject")]
    list: NotificationList,
    #[serde(rename = "SubscribeNotificationObject")]
    objects: OneOrMore<Notification>,
}

impl Notifications {
    pub(super) fn into_objects(self) -> Vec<Element<Notification>> {
        [self.list.objects.0, self.objects.0].into_iter().flatten().collect()
    }
}

#[derive(DeserializeDerive, Default)]
#[serde(default)]
struct NotificationList {
    #[serde(rename = "SubscribeNotificationObject")]
    objects: OneOrMore<Notification>,
}

/// One notification: of vehicles, or of what is passed over.
#[derive(DeserializeDerive, Default)]
#[serde(default)]
pub(super) struct Notification {
    #[serde(rename = "NotificationID")]
    pub(super) id: Loose,
    #[serde(rename = "MotorVehicleObjectList")]
    vehicles: Vehicles,
    #[serde(rename = "PersonObjectList")]
    persons: Passed,
    #[serde(rename = "FaceObjectList")]
    faces: Passed,
}

impl Notification {
    /// Whether it tells of people.
    pub(super) fn is_about_people(&self) -> bool {
        self.persons.0 || self.faces.0
    }

    pub(super) fn into_vehicles(self) -> Vec<Element<Vehicle>> {
        self.vehicles.objects.0
    }
}

/// What a device says of a vehicle, as far as it is wanted.
#[derive(DeserializeDerive, Default)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Vehicle {
    #[serde(rename = "MotorVehicleID")]
    id: Loose,
    #[serde(rename = "DeviceID")]
    device_id: Loose,
    #[serde(rename = "TollgateID")]
    tollgate_id: Loose,
    pass_time: Loose,
    appear_time: Loose,
    mark_time: Loose,
    lane_no: Loose,
    has_plate: Loose,
    plate_no: Loose,
    plate_color: Loose,
    plate_reliability: Loose,
    #[serde(rename = "VehicleClass")]
    class: Loose,
    direction: Loose,
    speed: Loose,
}

/// A vehicle as a line of canonical JSON.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    event_id: &'a str,
    ts: &'a str,
    device: &'a str,
    site: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plate_color: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vehicle_class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_kmh: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

/// Why an object was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is something else than an object.
    NoObject,
    /// This field is missing.
    Missing(&'static str),
    /// It is another device's.
    NotIts,
}

impl Refused {
    /// As it stands in the dead letter.
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::NoObject => Reason::Json { at: 0, what: "an object of the list is none" },
            Self::Missing(field) => Reason::Missing { column: field.to_owned() },
            Self::NotIts => Reason::NotAValue { column: "DeviceID".to_owned() },
        }
        .into()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject => f.write_str("this is no object"),
            Self::Missing("PlateNo") => f.write_str("PlateNo is missing, and HasPlate is not 0"),
            Self::Missing(field) => write!(f, "{field} is missing"),
            Self::NotIts => f.write_str("this account may not bring what that device saw"),
        }
    }
}

impl Vehicle {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.text()
    }

    /// Appends it to NDJSON. Times that name no zone are of this one.
    pub(super) fn write(&self, account: &Account, zone: &TimeZone, to: &mut Vec<u8>) -> Result<(), Refused> {
        let event_id = self.id().ok_or(Refused::Missing("MotorVehicleID"))?;
        let device = self.device_id.text().unwrap_or(&account.device_id);
        if !account.may_bring(device) {
            return Err(Refused::NotIts);
        }
        let time = self.pass_time.text().or(self.appear_time.text()).or(self.mark_time.text());
        let time = time.ok_or(Refused::Missing("PassTime"))?;
        let utc = local_time::to_utc(time, zone);
        let has_none = self.has_plate.text().is_some_and(|text| text == "0" || text.eq_ignore_ascii_case("false"));
        let plate = self.plate_no.text().filter(|text| *text != NO_PLATE);
        if plate.is_none() && !has_none && self.plate_no.text() != Some(NO_PLATE) {
            return Err(Refused::Missing("PlateNo"));
        }
        let line = Line {
            kind: "vehicle",
            event_id,
            ts: utc.as_deref().unwrap_or(time),
            device,
            // A device stands somewhere: that is its site, if it belongs to no tollgate.
            site: self.tollgate_id.text().unwrap_or(device),
            lane: self.lane_no.text(),
            plate: plate.filter(|_| !has_none),
            plate_color: self.plate_color.text().and_then(plate_color),
            vehicle_class: self.class.text(),
            direction: self.direction.text(),
            speed_kmh: self.speed.number(),
            confidence: self.plate_reliability.number().map(|percent| percent / 100.0),
        };
        serde_json::to_writer(&mut *to, &line).expect("a line is plain data");
        to.push(b'\n');
        Ok(())
    }
}

/// Colours of plates (GA/T 1400.3, table B.22, as haoxianrui/gat1400 has it); older tollgate tables number them otherwise.
fn plate_color(code: &str) -> Option<&'static str> {
    Some(match code {
        "1" => "black",
        "2" => "white",
        "3" => "grey",
        "4" => "red",
        "5" => "blue",
        "6" => "yellow",
        "9" => "green",
        "99" => "other",
        _ => return None,
    })
}

/// Whether something stands there; it is not read.
#[derive(Default)]
struct Passed(bool);

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// An object of a list, or something else in its place.
pub(super) enum Element<T> {
    Object(T),
    Other,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = OneOrMore::deserialize(deserializer)?;
        // A list of one in its place will do; any other is no object.
        let one = if elements.0.len() == 1 { elements.0.pop() } else { None };
        Ok(one.unwrap_or(Element::Other))
    }
}

/// A list, or one object in place of a list of one.
pub(super) struct OneOrMore<T>(Vec<Element<T>>);

impl<T> OneOrMore<T> {
    pub(super) fn into_elements(self) -> Vec<Element<T>> {
        self.0
    }
}

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMore(vec![Element::Object(one)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == OBJECTS_MAX {
                        return Err(serde::de::Error::custom(format_args!("more than {OBJECTS_MAX} objects")));
                    }
                    elements.push(element);
                }
                Ok(OneOrMore(elements))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(OneOrMore(Vec::new()))
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![Element::Other]))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![Element::Other]))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![Element::Other]))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![Element::Other]))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![Element::Other]))
            }
        }
        deserializer.deserialize_any(Elements(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::super::accounts::ViidAccounts;
    use super::*;

    const ID: &str = "61010000001190000001";

    /// The lines of a body, or why an object of it was refused.
    fn lines(body: &str) -> Vec<Result<serde_json::Value, Refused>> {
        let accounts = format!("device_id,user,ha1\n{ID},gate,00000000000000000000000000000000\n");
        let accounts = ViidAccounts::parse(&accounts, "viid").unwrap();
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let parsed: MotorVehicles = serde_json::from_str(body).unwrap();
        let line = |element| match element {
            Element::Object(vehicle) => {
                let mut line = Vec::new();
                Vehicle::write(&vehicle, accounts.of(ID).unwrap(), &zone, &mut line)?;
                Ok(serde_json::from_slice(&line).unwrap())
            }
            Element::Other => Err(Refused::NoObject),
        };
        parsed.into_objects().into_iter().map(line).collect()
    }

    #[test]
    fn types_are_loose_and_what_is_not_wanted_is_not_read() {
        let full = serde_json::json!({ "MotorVehicleListObject": { "MotorVehicleObject": [{
            "MotorVehicleID": 17, "DeviceID": ID, "PassTime": "20231101080001", "LaneNo": 3, "HasPlate": true,
            "PlateNo": " 陕A12345 ", "PlateColor": 5, "PlateReliability": "96", "Speed": "42.5", "VehicleClass": "K33",
            "Direction": "", "TollgateID": null, "SafetyBelt": "1", "NumOfPassenger": 3, "Calling": 1,
            "SubImageList": { "SubImageInfoObject": [{ "Data": "/9j/4AAQ" }] }, "StorageUrl1": "http://10.0.0.9/1.jpg",
        }]}});
        let expected = serde_json::json!({
            "kind": "vehicle", "event_id": "17", "ts": "2023-11-01T00:00:01Z", "device": ID, "site": ID, "lane": "3",
            "plate": "陕A12345", "plate_color": "blue", "vehicle_class": "K33", "speed_kmh": 42.5, "confidence": 0.96,
        });
        assert_eq!(lines(&full.to_string()), [Ok(expected.clone())]);
        // One object where a list is due, under each of the names that are seen.
        let one = &full["MotorVehicleListObject"]["MotorVehicleObject"][0];
        for body in [
            serde_json::json!({ "MotorVehicleListObject": { "MotorVehicleObject": one } }),
            serde_json::json!({ "MotorVehicleObjectList": { "MotorVehicleObject": [one] } }),
            serde_json::json!({ "MotorVehicleObject": one }),
            serde_json::json!({ "MotorVehicleObject": [one] }),
        ] {
            assert_eq!(lines(&body.to_string()), [Ok(expected.clone())], "{body}");
        }
    }

    #[test]
    fn each_object_is_judged_by_itself() {
        let body = serde_json::json!({ "MotorVehicleObject": [
            { "DeviceID": ID, "PassTime": "20231101080001", "PlateNo": "陕A12345" },
            { "MotorVehicleID": "a", "PlateNo": "陕A12345" },
            { "MotorVehicleID": "b", "AppearTime": "20231101080001" },
            7,
            [{ "MotorVehicleID": "c" }, { "MotorVehicleID": "d" }],
            { "MotorVehicleID": "e", "DeviceID": "61010000001190000002", "PassTime": "20231101080001", "HasPlate": 0 },
            { "MotorVehicleID": "f", "MarkTime": "20231101080001", "HasPlate": "0", "PlateNo": "陕A00000" },
            { "MotorVehicleID": "g", "PassTime": "yesterday", "PlateNo": "无车牌" },
        ]});
        let lines = lines(&body.to_string());
        assert_eq!(lines[0], Err(Refused::Missing("MotorVehicleID")));
        assert_eq!(lines[1], Err(Refused::Missing("PassTime")));
        assert_eq!(lines[2], Err(Refused::Missing("PlateNo")));
        assert_eq!(lines[3], Err(Refused::NoObject));
        assert_eq!(lines[4], Err(Refused::NoObject));
        assert_eq!(lines[5], Err(Refused::NotIts));
        let [.., without, odd] = &lines[..] else { panic!() };
        let without = without.as_ref().unwrap();
        assert_eq!((&without["plate"], &without["device"]), (&serde_json::Value::Null, &ID.into()));
        assert_eq!(odd.as_ref().unwrap()["ts"], "yesterday", "the engine says what is wrong with it");
    }

    #[test]
    fn what_tells_of_people_is_not_read() {
        let body = serde_json::json!({ "SubscribeNotificationListObject": { "SubscribeNotificationObject": [
            { "NotificationID": "1", "MotorVehicleObjectList": { "MotorVehicleObject": [{ "MotorVehicleID": "a" }] } },
            { "NotificationID": "2", "FaceObjectList": { "FaceObject": [{ "FaceID": "x", "EthicCode": "1" }] } },
        ]}});
        let parsed: Notifications = serde_json::from_value(body).unwrap();
        let seen: Vec<_> = parsed
            .into_objects()
            .into_iter()
            .map(|element| {
                let Element::Object(notification) = element else { panic!() };
                let id = notification.id.text().map(str::to_owned);
                (id, notification.is_about_people(), notification.into_vehicles().len())
            })
            .collect();
        assert_eq!(seen, [(Some("1".to_owned()), false, 1), (Some("2".to_owned()), true, 0)]);
    }
}

//! GTFS-realtime: how full vehicles of public transport are (`VehiclePosition`), asked for again and again.
//!
//! A feed is all that is known now, so that what is older is in none of the next ones; what it said before it need not say
//! again. Where vehicles are, and their plates, is not taken.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use reqwest::{Client, header};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use weir_engine::source::{Format, Payload};
use weir_engine::{Feed, Source, SourceError};

use super::PushPlace;
use crate::client::{Finding, digest};

/// Longest feed that is read.
const FEED_BYTES_MAX: usize = 64 << 20;
/// Vehicles of a feed.
const VEHICLES_MAX: usize = 100_000;
/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// `OccupancyStatus` of gtfs-realtime.proto 2.0, by number.
const STATUSES: [&str; 9] = [
    "empty",
    "many_seats",
    "few_seats",
    "standing_room",
    "crushed_standing",
    "full",
    "not_accepting",
    "no_data",
    "not_boardable",
];
/// Number of the status that says nothing.
const NO_DATA: i32 = 7;

/// Asks for a feed.
pub struct GtfsSource {
    /// Where it is.
    pub url: String,
    /// `Authorization: Bearer`, if it wants one.
    pub token: Option<String>,
    /// How often it is asked for.
    pub every: Duration,
    /// Where its vehicles are, where that is not their route.
    pub place: PushPlace,
    /// Where the connection runs.
    pub runtime: Handle,
}

/// What is read of a feed; all else is passed over.
#[derive(Clone, PartialEq, Message)]
struct FeedMessage {
    #[prost(message, optional, tag = "1")]
    header: Option<FeedHeader>,
    #[prost(message, repeated, tag = "2")]
    entity: Vec<Entity>,
}

#[derive(Clone, PartialEq, Message)]
struct FeedHeader {
    #[prost(uint64, optional, tag = "3")]
    timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Entity {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "4")]
    vehicle: Option<VehiclePosition>,
}

#[derive(Clone, PartialEq, Message)]
struct VehiclePosition {
    #[prost(message, optional, tag = "1")]
    trip: Option<Trip>,
    #[prost(uint64, optional, tag = "5")]
    timestamp: Option<u64>,
    #[prost(string, optional, tag = "7")]
    stop_id: Option<String>,
    #[prost(message, optional, tag = "8")]
    vehicle: Option<Vehicle>,
    #[prost(int32, optional, tag = "9")]
    occupancy_status: Option<i32>,
    #[prost(uint32, optional, tag = "10")]
    occupancy_percentage: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trip {
    #[prost(string, optional, tag = "1")]
    trip_id: Option<String>,
    #[prost(string, optional, tag = "5")]
    route_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Vehicle {
    #[prost(string, optional, tag = "1")]
    id: Option<String>,
}

impl Source for GtfsSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let client = digest::client(TIMEOUT).map_err(|error| SourceError::new(format!("gtfs {}", self.url), error))?;
        let mut known = HashMap::new();
        let ask = async || {
            let lines = self.lines(self.ask(&client).await?, &mut known);
            if !lines.is_empty() {
                let payload = Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None };
                block_in_place(|| feed.send(self.url.as_str().into(), 0, payload));
            }
            Ok(())
        };
        self.runtime.block_on(super::keep_asking(&feed, self.every, ask));
        Ok(())
    }
}

impl GtfsSource {
    /// Asks once.
    pub fn probe(&self) -> Finding {
        let message = self.runtime.block_on(self.ask(&digest::client(TIMEOUT)?))?;
        let vehicles = message.entity.iter().filter_map(|entity| entity.vehicle.as_ref());
        let (all, say) = vehicles.fold((0, 0), |(all, say), it| (all + 1, say + usize::from(it.says_something())));
        Ok(format!("the feed has {all} vehicles, of which {say} say how full they are"))
    }

    async fn ask(&self, client: &Client) -> Result<FeedMessage, String> {
        let mut request = client.get(&self.url);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = request.send().await.map_err(digest::told)?;
        if !answer.status().is_success() {
            return Err(format!("the feed is answered with {}", answer.status()));
        }
        let bytes = digest::read(answer, FEED_BYTES_MAX).await?;
        // Whatever else may stand there is quoted nowhere.
        let message = FeedMessage::decode(&*bytes).map_err(|_| "the answer is no feed of GTFS-realtime".to_owned())?;
        match message.entity.len() {
            0..=VEHICLES_MAX => Ok(message),
            many => Err(format!("the feed has {many} entities; {VEHICLES_MAX} are taken")),
        }
    }

    /// A record of each vehicle that says something it had not said before. `known` is what the last feed said.
    fn lines(&self, message: FeedMessage, known: &mut HashMap<String, u64>) -> String {
        let mut lines = String::new();
        let mut said = HashMap::new();
        let of_feed = message.header.and_then(|header| header.timestamp);
        for Entity { id, vehicle } in message.entity {
            let Some(position) = vehicle.filter(VehiclePosition::says_something) else { continue };
            let trip = position.trip.unwrap_or_default();
            let id = position.vehicle.and_then(|vehicle| vehicle.id).unwrap_or(id);
            let Some(at) = position.timestamp.or(of_feed).filter(|_| !id.is_empty()) else { continue };
            if said.insert(id.clone(), at).is_some() || known.get(&id) == Some(&at) {
                continue;
            }
            let status = position.occupancy_status.and_then(|it| STATUSES.get(usize::try_from(it).ok()?));
            let record = json!({
                "kind": "transit", "event_id": format!("{id} {at}"), "ts": at.saturating_mul(1_000), "device": id,
                "site": self.place.site.as_deref().or(trip.route_id.as_deref()).unwrap_or(&id),
                "zone": self.place.zone, "route": trip.route_id, "trip": trip.trip_id, "stop": position.stop_id,
                "occupancy_status": status, "occupied": position.occupancy_percentage.map(|it| f64::from(it) / 100.0),
            });
            lines.push_str(&record.to_string());
            lines.push('\n');
        }
        *known = said;
        lines
    }
}

impl VehiclePosition {
    /// Whether it says how full it is.
    fn says_something(&self) -> bool {
        self.occupancy_percentage.is_some() || self.occupancy_status.is_some_and(|it| it != NO_DATA)
    }
}

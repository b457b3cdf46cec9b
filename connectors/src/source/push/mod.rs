//! Devices and platforms that post each event as it happens, in a form of their own: `POST` of one event, or of a few.
//!
//! Of a body the fields are taken that are named in the dialect's file, and no others; pictures beside them are passed over
//! as they come in. 200 with an account once all of it has been judged (and is durable, where a state folder is kept),
//! also for a heartbeat, which brings nothing; 400 for what is not of this form; 503 with `Retry-After` when there is no
//! room.

mod axis_plates;
mod form;
mod isapi;
mod names;
mod ngsi;
mod plate_recognizer;
mod rekor;

pub(super) use self::names::Names;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use weir_engine::record::Reason;
use weir_engine::source::{Format, Outcome, Payload};
use weir_engine::{Feed, Source, SourceError};

use super::OnBound;
use super::web::{self, BodyFault, HttpLimits, PeerRates, account, compression, discard, plain, read_body};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushDialect {
    /// Hikvision ISAPI: event notifications of number-plate cameras and people counters.
    Isapi,
    /// Plate Recognizer Stream: its webhook.
    PlateRecognizer,
    /// AXIS License Plate Verifier: its events over HTTP, corrections among them.
    AxisPlates,
    /// OpenALPR and Rekor Scout: groups of reads.
    Rekor,
    /// NGSI: entities of smart-data models, as brokers notify of them.
    Ngsi,
}

impl PushDialect {
    /// The NDJSON of canonical records in a body, and the devices that say only that they are there. An error says what is wrong
    /// with it, without its values.
    pub(super) fn told(self, body: &str, of: &PushPlace, names: &Names) -> Result<Told, String> {
        let Events { records, alive, also_called } = match self {
            Self::Isapi => isapi::events(body)?,
            Self::PlateRecognizer => plate_recognizer::records(body)?.into(),
            Self::AxisPlates => axis_plates::records(body)?.into(),
            Self::Rekor => rekor::events(body)?,
            Self::Ngsi => ngsi::records(body)?.into(),
        };
        let mut alive: Vec<Arc<str>> = alive.into_iter().map(Arc::from).collect();
        if let Some(name) = &also_called {
            if records.is_empty() {
                alive.extend(names.of(name));
            }
            names.learn(name, records.iter().filter_map(|record| record.0.get("device")?.as_str().map(Arc::from)));
        }
        let mut lines = Vec::new();
        for mut record in records {
            record.put("site", of.site.as_deref());
            record.put("zone", of.zone.as_deref());
            // A device stands somewhere: that is its site, if there is no other name for it.
            record.put("site", record.0.get("device").cloned());
            serde_json::to_writer(&mut lines, &record.0).expect("a record is plain data");
            lines.push(b'\n');
        }
        Ok(Told { lines, alive })
    }
}

/// What a body tells.
pub(super) struct Told {
    pub(super) lines: Vec<u8>,
    pub(super) alive: Vec<Arc<str>>,
}

/// The same, before it is written down.
#[derive(Default)]
struct Events {
    records: Vec<Record>,
    alive: Vec<String>,
    /// What else the device that tells is called.
    also_called: Option<String>,
}

impl From<Vec<Record>> for Events {
    fn from(records: Vec<Record>) -> Self {
        Self { records, ..Self::default() }
    }
}

/// Where devices are that do not say it.
#[derive(Debug, Clone, Default)]
pub struct PushPlace {
    /// Site of every record that names none.
    pub site: Option<String>,
    /// Zone of every record that names none.
    pub zone: Option<String>,
}

/// A canonical record that is being put together.
struct Record(Map<String, Value>);

impl Record {
    fn of(kind: &str) -> Self {
        Self(Map::from_iter([("kind".to_owned(), kind.into())]))
    }

    /// Sets a column, if there is something to set and it is not set yet.
    fn put(&mut self, column: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.entry(column).or_insert_with(|| value.into());
        }
    }
}

/// What is wrong with a body, and where, without its words.
fn no_json(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "this is JSON of another form" } else { "this is no JSON" };
    format!("{what}, at line {}, column {}", error.line(), error.column())
}

/// Listens for events that are posted.
pub struct PushSource {
    /// Where to listen; loopback.
    pub address: SocketAddr,
    /// Path that takes events.
    pub path: String,
    /// What is spoken.
    pub dialect: PushDialect,
    /// Where the devices are.
    pub place: PushPlace,
    /// Bounds.
    pub limits: HttpLimits,
    /// Called with the address it got.
    pub on_bound: Option<OnBound>,
    /// Where its connections run.
    pub runtime: Handle,
}

struct Shared {
    feed: Feed,
    dialect: PushDialect,
    place: PushPlace,
    names: Names,
    limits: HttpLimits,
    rates: PeerRates,
}

impl Source for PushSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let Self { address, path, dialect, place, limits, on_bound, runtime } = *self;
        let per_second = f64::from(limits.requests_per_second_max);
        let rates = PeerRates::new(per_second, per_second);
        let shared = Arc::new(Shared {
            feed: feed.clone(),
            dialect,
            place,
            names: Names::default(),
            limits: limits.clone(),
            rates,
        });
        let router = |peer| Router::new().route(&path, post(receive)).with_state((Arc::clone(&shared), peer));
        let serving = web::serve(address, on_bound.as_ref(), &limits, &feed, router);
        runtime.block_on(serving).map_err(|error| SourceError::new(format!("push {address}"), error))
    }
}

/// What the body of a request tells.
async fn told_by(
    dialect: PushDialect,
    headers: &HeaderMap,
    body: Body,
    (place, names): (&PushPlace, &Names),
    limits: &HttpLimits,
) -> Result<Told, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let compression = compression(text(header::CONTENT_ENCODING))?;
    let bytes = match text(header::CONTENT_TYPE).map(multer::parse_boundary) {
        Some(Ok(boundary)) => form::event(dialect, body, boundary, limits).await?,
        _ => {
            let bytes = read_body(body, limits).await?;
            plain(bytes, compression, limits.body_bytes_max)?.to_vec()
        }
    };
    let event = String::from_utf8(bytes).map_err(|_| Refusal::Form("the event is not UTF-8".to_owned()))?;
    // Some put a byte-order mark before their XML.
    dialect.told(event.trim_start_matches('\u{feff}'), place, names).map_err(Refusal::Form)
}

/// The lines in a body under this content type, as the source takes them; `None` if it is refused.
pub async fn push_lines_of(dialect: PushDialect, content_type: &str, body: Bytes, bytes_max: usize) -> Option<Vec<u8>> {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().ok()?)]);
    let limits = HttpLimits { body_bytes_max: bytes_max, ..HttpLimits::default() };
    told_by(dialect, &headers, body.into(), (&PushPlace::default(), &Names::default()), &limits)
        .await
        .ok()
        .map(|told| told.lines)
}

enum Refusal {
    Busy,
    TooMany,
    Body(BodyFault),
    Form(String),
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        Self::Body(fault)
    }
}

async fn receive(State((shared, peer)): State<(Arc<Shared>, SocketAddr)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let taken = shared.take(peer, &parts.headers, &mut body).await;
    if let Some(unread) = body {
        discard(unread, &shared.limits).await;
    }
    match taken {
        Ok(outcome) => web::answer(StatusCode::OK, &account(&outcome)),
        Err(refusal) => {
            let (status, why) = match refusal {
                Refusal::Busy => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the pipeline is busy; nothing was taken".to_owned())
                }
                Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests".to_owned()),
                Refusal::Body(fault) => (fault.status(), fault.to_string()),
                Refusal::Form(why) => (StatusCode::BAD_REQUEST, why),
            };
            if web::comes_back(status) {
                shared.feed.count_refused(1);
            }
            web::answer(status, &serde_json::json!({ "error": why }))
        }
    }
}

impl Shared {
    async fn take(&self, peer: SocketAddr, headers: &HeaderMap, body: &mut Option<Body>) -> Result<Outcome, Refusal> {
        if !self.rates.take(peer.ip()) {
            return Err(Refusal::TooMany);
        }
        // Turned away before a byte of it is read.
        if !self.feed.has_room() {
            return Err(Refusal::Busy);
        }
        let body = body.take().expect("it is read once");
        let Told { lines, alive } =
            match told_by(self.dialect, headers, body, (&self.place, &self.names), &self.limits).await {
                // The device will not send it again: it is told to somebody who looks.
                Err(Refusal::Form(why)) => {
                    let cause = Reason::bad_event(why.clone()).into();
                    let payload = Payload::Refused(vec![(cause, String::new())]);
                    web::judged(&self.feed, format!("push {peer}"), payload).await.map_err(|_| Refusal::Busy)?;
                    return Err(Refusal::Form(why));
                }
                told => told?,
            };
        if !alive.is_empty() {
            self.feed.alive(alive);
        }
        if lines.is_empty() {
            return Ok(Outcome::default());
        }
        let payload = Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None };
        web::judged(&self.feed, format!("push {peer}"), payload).await.map_err(|_| Refusal::Busy)
    }
}

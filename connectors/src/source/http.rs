//! Records over HTTP: `POST` of NDJSON or of a JSON array, with an answer for every record.
//!
//! 200 with the account of the request once every record has been judged; 400 for a body that is
//! no JSON array or cannot be inflated; 413 above the body limit; 415 for another content type or
//! encoding; 429 above the rate of one peer; 503 with `Retry-After` when the pipeline has no room,
//! before anything is read into it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use tokio::runtime::Handle;
use weir_engine::decode::json::array_elements;
use weir_engine::source::{Format, Outcome, Payload};
use weir_engine::{Feed, Source, SourceError};

use super::OnBound;
use super::web::{self, BodyFault, HttpLimits, PeerRates, account, compression, discard, plain, read_body};

/// Listens for requests that bring records.
pub struct HttpSource {
    /// Where to listen; loopback.
    pub address: SocketAddr,
    /// Path that takes records.
    pub path: String,
    /// Bounds.
    pub limits: HttpLimits,
    /// Called with the address it got.
    pub on_bound: Option<OnBound>,
    /// Where its connections run.
    pub runtime: Handle,
}

struct Shared {
    feed: Feed,
    limits: HttpLimits,
    rates: PeerRates,
}

impl Source for HttpSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let place = format!("http {}", self.address);
        self.runtime.clone().block_on(self.listen(feed)).map_err(|error| SourceError::new(place, error))
    }
}

impl HttpSource {
    async fn listen(self, feed: Feed) -> std::io::Result<()> {
        let per_second = f64::from(self.limits.requests_per_second_max);
        let rates = PeerRates::new(per_second, per_second);
        let shared = Arc::new(Shared { feed: feed.clone(), limits: self.limits.clone(), rates });
        web::serve(self.address, self.on_bound.as_ref(), &self.limits, &feed, |peer| {
            axum::Router::new().route(&self.path, post(receive)).with_state((Arc::clone(&shared), peer))
        })
        .await
    }
}

enum Answer {
    BadBody(String),
    Body(BodyFault),
    WrongType,
    TooMany,
    Busy,
    Judged(Outcome),
}

impl From<BodyFault> for Answer {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::UnknownEncoding => Self::WrongType,
            fault => Self::Body(fault),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::BadBody(why) => (StatusCode::BAD_REQUEST, serde_json::json!({ "error": why })),
            Self::Body(fault) => (fault.status(), serde_json::json!({ "error": fault.to_string() })),
            Self::WrongType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                serde_json::json!({ "error": "send application/x-ndjson or application/json, plain or with content-encoding gzip or zstd" }),
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                serde_json::json!({ "error": "too many requests; put more records into one" }),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                serde_json::json!({ "error": "the pipeline is busy; nothing was taken" }),
            ),
            Self::Judged(outcome) => (StatusCode::OK, account(&outcome)),
        };
        web::answer(status, &body)
    }
}

async fn receive(State((shared, peer)): State<(Arc<Shared>, SocketAddr)>, request: Request) -> Answer {
    match take(&shared, peer, request).await {
        Ok(outcome) => Answer::Judged(outcome),
        Err(answer) => {
            if matches!(answer, Answer::Busy | Answer::TooMany) {
                shared.feed.count_refused(1);
            }
            answer
        }
    }
}

async fn take(shared: &Shared, peer: SocketAddr, request: Request) -> Result<Outcome, Answer> {
    if !shared.rates.take(peer.ip()) {
        return Err(Answer::TooMany);
    }
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let kind = body_kind(text(header::CONTENT_TYPE))?;
    let compression = compression(text(header::CONTENT_ENCODING))?;
    // Turned away before a record of it is looked at. Whoever sends sees an answer only once all of it is sent.
    if !shared.feed.has_room() {
        discard(body, &shared.limits).await;
        return Err(Answer::Busy);
    }
    let bytes = read_body(body, &shared.limits).await?;
    let bytes = plain(bytes, compression, shared.limits.body_bytes_max)?;
    let payload = payload(bytes, kind)?;
    web::judged(&shared.feed, format!("http {peer}"), payload).await.map_err(|_| Answer::Busy)
}

#[derive(Clone, Copy, PartialEq)]
enum BodyKind {
    Ndjson,
    Json,
}

fn body_kind(content_type: Option<&str>) -> Result<BodyKind, Answer> {
    match content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(BodyKind::Ndjson),
        "application/json" => Ok(BodyKind::Json),
        _ => Err(Answer::WrongType),
    }
}

/// What a body under these headers brings, as the source takes it; `None` if it is refused.
pub fn payload_of(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: Bytes,
    bytes_max: usize,
) -> Option<Payload> {
    let (kind, compression) = (body_kind(content_type).ok()?, compression(content_encoding).ok()?);
    payload(plain(body, compression, bytes_max).ok()?, kind).ok()
}

fn payload(bytes: Bytes, kind: BodyKind) -> Result<Payload, Answer> {
    let array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if kind == BodyKind::Ndjson || !array {
        return Ok(Payload::Lines { bytes, format: Format::Ndjson, header: None });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Answer::BadBody("the body is not UTF-8".to_owned()))?;
    let ranges = array_elements(text).map_err(|cause| Answer::BadBody(cause.to_string()))?;
    Ok(Payload::Objects { bytes: bytes.clone(), ranges: ranges.into() })
}

//! Records over HTTP: `POST` of NDJSON or of a JSON array, with an answer for every record.
//!
//! 200 with the account of the request once every record has been judged; 400 for a body that is
//! no JSON array or cannot be inflated; 413 above the body limit; 415 for another content type or
//! encoding; 429 above the rate of one peer; 503 with `Retry-After` when the pipeline has no room,
//! before anything is read into it.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use weir_engine::decode::json::array_elements;
use weir_engine::source::{Compression, Format, Outcome, Payload, inflate};
use weir_engine::{Feed, Source, SourceError};

use super::{OnBound, STOP_POLL};

/// Peers whose rate is remembered.
const PEERS_MAX: usize = 10_000;

/// Bounds of an HTTP source.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Longest body, as sent and as inflated.
    pub body_bytes_max: usize,
    /// Requests a peer may make in a second; 0 for no bound.
    pub requests_per_second_max: u32,
    /// Connections at once.
    pub connections_max: usize,
    /// Time for the head of a request.
    pub head_timeout: Duration,
    /// Time for its body.
    pub body_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            requests_per_second_max: 0,
            connections_max: 200,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
        }
    }
}

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
    peers: Mutex<HashMap<IpAddr, (Instant, f64)>>,
}

impl Source for HttpSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let place = format!("http {}", self.address);
        self.runtime.clone().block_on(self.listen(feed)).map_err(|error| SourceError::new(place, error))
    }
}

impl HttpSource {
    async fn listen(self, feed: Feed) -> std::io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        if let Some(on_bound) = &self.on_bound {
            on_bound(listener.local_addr()?);
        }
        let shared = Arc::new(Shared { feed: feed.clone(), limits: self.limits.clone(), peers: Mutex::default() });
        let room = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut connections = JoinSet::new();
        while !feed.stopping() {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::time::timeout(STOP_POLL, listener.accept()).await;
            let Ok(Ok((stream, peer))) = accepted else {
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                feed.count_refused(1);
                continue;
            };
            let router = axum::Router::new().route(&self.path, post(receive)).with_state((Arc::clone(&shared), peer));
            let head_timeout = self.limits.head_timeout;
            connections.spawn(async move {
                // Without a timer hyper's header time-out is silently off.
                let serving = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(head_timeout)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                let _ = serving.await;
                drop(permit);
            });
        }
        // Requests whose records have been taken get their answer; idle connections do not hold us up.
        let _ =
            tokio::time::timeout(Duration::from_secs(1), async { while connections.join_next().await.is_some() {} })
                .await;
        Ok(())
    }
}

enum Answer {
    BadBody(String),
    TooLarge(usize),
    TooSlow,
    WrongType,
    TooMany,
    Busy,
    Judged(Outcome),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::BadBody(why) => (StatusCode::BAD_REQUEST, serde_json::json!({ "error": why })),
            Self::TooLarge(max) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                serde_json::json!({ "error": format!("a body has at most {max} bytes; send several requests") }),
            ),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, serde_json::json!({ "error": "the body did not arrive in time" }))
            }
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
            Self::Judged(outcome) => {
                let rejected: Vec<_> = outcome
                    .rejected
                    .iter()
                    .map(|(record, cause)| serde_json::json!({ "record": record, "cause": cause }))
                    .collect();
                let taken = outcome.evaluated + outcome.duplicate + outcome.late;
                let body = serde_json::json!({
                    "received": taken + rejected.len() as u64,
                    "evaluated": outcome.evaluated,
                    "duplicate": outcome.duplicate,
                    "late": outcome.late,
                    "rejected": rejected,
                });
                (StatusCode::OK, body)
            }
        };
        let json = [(header::CONTENT_TYPE, "application/json")];
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return (status, json, [(header::RETRY_AFTER, "1")], body.to_string()).into_response();
        }
        (status, json, body.to_string()).into_response()
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
    if !shared.within_rate(peer.ip()) {
        return Err(Answer::TooMany);
    }
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let kind = body_kind(text(header::CONTENT_TYPE))?;
    let compression = compression(text(header::CONTENT_ENCODING))?;
    if shared.feed.stopping() {
        return Err(Answer::Busy);
    }
    let bytes = read_body(body, &shared.limits).await?;
    let bytes = plain(bytes, compression, shared.limits.body_bytes_max)?;
    let payload = payload(bytes, kind)?;
    let (sender, receiver) = oneshot::channel();
    let reply = Box::new(move |outcome| drop(sender.send(outcome)));
    shared.feed.offer(Arc::from(format!("http {peer}")), payload, reply).map_err(|_| Answer::Busy)?;
    receiver.await.map_err(|_| Answer::Busy)
}

impl Shared {
    /// A token bucket for each peer, one second deep.
    fn within_rate(&self, peer: IpAddr) -> bool {
        let per_second = f64::from(self.limits.requests_per_second_max);
        if per_second == 0.0 {
            return true;
        }
        let now = Instant::now();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, (last, _)| now.duration_since(*last) < Duration::from_secs(1));
        }
        let (last, tokens) = peers.entry(peer).or_insert((now, per_second));
        *tokens = (*tokens + now.duration_since(*last).as_secs_f64() * per_second).min(per_second);
        *last = now;
        let within = *tokens >= 1.0;
        if within {
            *tokens -= 1.0;
        }
        within
    }
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

fn compression(content_encoding: Option<&str>) -> Result<Compression, Answer> {
    match content_encoding {
        None | Some("identity") => Ok(Compression::Plain),
        Some("gzip") => Ok(Compression::Gzip),
        Some("zstd") => Ok(Compression::Zstd),
        Some(_) => Err(Answer::WrongType),
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

async fn read_body(body: Body, limits: &HttpLimits) -> Result<Bytes, Answer> {
    let limited = Limited::new(body, limits.body_bytes_max);
    match tokio::time::timeout(limits.body_timeout, limited.collect()).await {
        Err(_) => Err(Answer::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Answer::TooLarge(limits.body_bytes_max)),
        Ok(Err(_)) => Err(Answer::BadBody("the body ended early".to_owned())),
    }
}

fn plain(bytes: Bytes, compression: Compression, bytes_max: usize) -> Result<Bytes, Answer> {
    if compression == Compression::Plain {
        return Ok(bytes);
    }
    let bad = |error: std::io::Error| Answer::BadBody(format!("the body cannot be inflated: {error}"));
    let reader = inflate(Box::new(std::io::Cursor::new(bytes)), compression).map_err(bad)?;
    let mut out = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(bad)?;
    if out.len() > bytes_max { Err(Answer::TooLarge(bytes_max)) } else { Ok(out.into()) }
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

//! What sources that are asked over HTTP share: connections, bounds, bodies.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use weir_engine::Feed;
use weir_engine::source::{Busy, Compression, Outcome, Payload, RejectedRecords, inflate};

use super::{OnBound, STOP_POLL};

/// Records that are listed in an answer with why they were refused; of more their number is told.
const REJECTED_LISTED_MAX: usize = 1_000;
/// Peers whose rate is remembered.
const PEERS_MAX: usize = 10_000;

/// Bounds of a source that is asked over HTTP.
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

/// Listens and answers until the feed stops. `router` makes the routes of a connection.
pub(super) async fn serve(
    address: SocketAddr,
    on_bound: Option<&OnBound>,
    limits: &HttpLimits,
    feed: &Feed,
    router: impl Fn(SocketAddr) -> Router,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    if let Some(on_bound) = on_bound {
        on_bound(listener.local_addr()?);
    }
    let room = Arc::new(Semaphore::new(limits.connections_max));
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
        let (router, head_timeout) = (router(peer), limits.head_timeout);
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
        tokio::time::timeout(Duration::from_secs(1), async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyFault {
    #[error("a body has at most {0} bytes; send less at once")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body ended early")]
    EndedEarly,
    #[error("send it plain or with content-encoding gzip or zstd")]
    UnknownEncoding,
    #[error("the body cannot be inflated: {0}")]
    NotInflated(String),
}

impl BodyFault {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::EndedEarly | Self::NotInflated(_) => StatusCode::BAD_REQUEST,
            Self::UnknownEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// What became of the records of a request, as it is told.
pub(super) fn account(outcome: &Outcome) -> serde_json::Value {
    let rejected: usize = outcome.rejected.iter().map(|it| it.records.len()).sum();
    let mut listed = Vec::new();
    for RejectedRecords { records, cause } in &outcome.rejected {
        listed.extend(records.iter().take(REJECTED_LISTED_MAX).map(|record| (*record, cause)));
    }
    listed.sort_unstable_by_key(|(record, _)| *record);
    listed.truncate(REJECTED_LISTED_MAX);
    let not_listed = rejected - listed.len();
    let listed: Vec<_> =
        listed.into_iter().map(|(record, cause)| serde_json::json!({ "record": record, "cause": cause })).collect();
    let taken = outcome.evaluated + outcome.duplicate + outcome.late;
    let mut account = serde_json::json!({
        "received": taken + rejected as u64,
        "evaluated": outcome.evaluated,
        "duplicate": outcome.duplicate,
        "late": outcome.late,
        "rejected": listed,
    });
    if not_listed > 0 {
        account["rejected_not_listed"] = not_listed.into();
    }
    account
}

/// How a body is compressed, by its `content-encoding`.
pub(super) fn compression(content_encoding: Option<&str>) -> Result<Compression, BodyFault> {
    match content_encoding {
        None | Some("identity") => Ok(Compression::Plain),
        Some("gzip") => Ok(Compression::Gzip),
        Some("zstd") => Ok(Compression::Zstd),
        Some(_) => Err(BodyFault::UnknownEncoding),
    }
}

/// A whole body, as it was sent.
pub(super) async fn read_body(body: Body, limits: &HttpLimits) -> Result<Bytes, BodyFault> {
    let limited = Limited::new(body, limits.body_bytes_max);
    match tokio::time::timeout(limits.body_timeout, limited.collect()).await {
        Err(_) => Err(BodyFault::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge(limits.body_bytes_max)),
        Ok(Err(_)) => Err(BodyFault::EndedEarly),
    }
}

/// Lets a body that nobody wants come in, up to the bounds of one that is wanted, and keeps nothing of it.
pub(super) async fn discard(body: Body, limits: &HttpLimits) {
    let mut limited = Limited::new(body, limits.body_bytes_max);
    let _ = tokio::time::timeout(limits.body_timeout, async { while let Some(Ok(_)) = limited.frame().await {} }).await;
}

/// A JSON answer; one that says to come back says when.
pub(super) fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    if comes_back(status) {
        return (status, json, [(header::RETRY_AFTER, "1")], body.to_string()).into_response();
    }
    (status, json, body.to_string()).into_response()
}

/// Whether nothing was taken for want of room, and may be later.
pub(super) fn comes_back(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

/// Hands records over and waits until they are judged.
pub(super) async fn judged(feed: &Feed, stream: String, payload: Payload) -> Result<Outcome, Busy> {
    let (sender, receiver) = oneshot::channel();
    let reply = Box::new(move |outcome| drop(sender.send(outcome)));
    feed.offer(Arc::from(stream), payload, reply)?;
    receiver.await.map_err(|_| Busy)
}

/// What was compressed, up to so many bytes.
pub(super) fn plain(bytes: Bytes, compression: Compression, bytes_max: usize) -> Result<Bytes, BodyFault> {
    if compression == Compression::Plain {
        return Ok(bytes);
    }
    let bad = |error: std::io::Error| BodyFault::NotInflated(error.to_string());
    let reader = inflate(Box::new(std::io::Cursor::new(bytes)), compression).map_err(bad)?;
    let mut out = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(bad)?;
    if out.len() > bytes_max { Err(BodyFault::TooLarge(bytes_max)) } else { Ok(out.into()) }
}

/// A token bucket for each peer.
pub(super) struct PeerRates {
    per_second: f64,
    depth: f64,
    peers: Mutex<HashMap<IpAddr, (Instant, f64)>>,
}

impl PeerRates {
    /// So many a second, and `depth` at once; a rate of 0 bounds nothing.
    pub(super) fn new(per_second: f64, depth: f64) -> Self {
        Self { per_second, depth, peers: Mutex::default() }
    }

    /// Takes a token of this peer, if there is one.
    pub(super) fn take(&self, peer: IpAddr) -> bool {
        self.look(peer, 1.0)
    }

    /// Whether there is one.
    pub(super) fn has(&self, peer: IpAddr) -> bool {
        self.look(peer, 0.0)
    }

    fn look(&self, peer: IpAddr, taken: f64) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let now = Instant::now();
        let filled = |(last, tokens): (Instant, f64)| {
            (tokens + now.duration_since(last).as_secs_f64() * self.per_second).min(self.depth)
        };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, bucket| filled(*bucket) < self.depth);
        }
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            return false;
        }
        let bucket = peers.entry(peer).or_insert((now, self.depth));
        let tokens = filled(*bucket);
        let within = tokens >= 1.0;
        *bucket = (now, if within { tokens - taken } else { tokens });
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_own_bucket() {
        let rates = PeerRates::new(0.001, 3.0);
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert!((0..3).all(|_| rates.take(one)));
        assert!(!rates.has(one) && !rates.take(one) && rates.has(other));
        assert!((0..100).all(|_| PeerRates::new(0.0, 0.0).take(one)), "no bound");
    }

    #[test]
    fn an_answer_lists_so_many_refused_records_and_counts_all() {
        let refused = |records: Vec<u32>, cause: &str| RejectedRecords { records, cause: cause.to_owned() };
        let few = Outcome {
            evaluated: 1,
            rejected: vec![refused(vec![2, 5], "a"), refused(vec![3], "b")],
            ..Outcome::default()
        };
        let told = account(&few);
        assert_eq!((&told["received"], told.get("rejected_not_listed")), (&4.into(), None));
        assert_eq!(
            told["rejected"],
            serde_json::json!([{ "record": 2, "cause": "a" }, { "record": 3, "cause": "b" }, { "record": 5, "cause": "a" }])
        );
        let odd = (0..3_000).filter(|number| number % 2 == 1).collect();
        let even = (0..3_000).filter(|number| number % 2 == 0).collect();
        let many = Outcome { rejected: vec![refused(odd, "a"), refused(even, "b")], ..Outcome::default() };
        let told = account(&many);
        let listed: Vec<u64> =
            told["rejected"].as_array().unwrap().iter().map(|it| it["record"].as_u64().unwrap()).collect();
        assert_eq!(listed, (0..1_000).collect::<Vec<u64>>());
        assert_eq!((&told["received"], &told["rejected_not_listed"]), (&3_000.into(), &2_000.into()));
    }

    #[test]
    fn a_body_that_inflates_beyond_its_bound_is_refused() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packed, &vec![b'x'; 100_000]).unwrap();
        let packed: Bytes = packed.finish().unwrap().into();
        assert!(packed.len() < 1_000);
        assert_eq!(plain(packed.clone(), Compression::Gzip, 99_999), Err(BodyFault::TooLarge(99_999)));
        assert_eq!(plain(packed, Compression::Gzip, 100_000).unwrap().len(), 100_000);
    }
}

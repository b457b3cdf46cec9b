//! How a run stands, for a monitoring system to ask: `GET /metrics` on this machine, as OpenMetrics 1.0.
//!
//! Counts, names and versions, and nothing about anybody. Everything is counted anyway; a request reads it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use weir_engine::ReloadHandle;
use weir_engine::metrics::{Buckets, Progress, SinkCounts};

/// Where it is asked.
const PATH: &str = "/metrics";
/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// Time for the head of a request, and to send the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers on this address from now on, until the runtime ends.
pub(crate) fn serve(
    address: SocketAddr,
    progress: Arc<Progress>,
    handle: ReloadHandle,
    runtime: &Handle,
) -> Result<(), String> {
    let listener = runtime.block_on(TcpListener::bind(address));
    let listener = listener.map_err(|error| format!("metrics cannot be told on {address}: {error}"))?;
    let mut registry = Registry::with_prefix("weir");
    registry.register_collector(Box::new(Standing { progress, handle }));
    let registry = Arc::new(registry);
    runtime.spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Whoever comes while there is no room waits in the kernel's queue.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                let answer = service_fn(|request| {
                    let answer = answer(&request, &registry);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // A connection that breaks off concerns nobody else.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                drop(permit);
            });
        }
    });
    Ok(())
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let with = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != PATH {
        return with(StatusCode::NOT_FOUND, format!("metrics are at {PATH}\n"));
    }
    if request.method() != Method::GET {
        let mut response = with(StatusCode::METHOD_NOT_ALLOWED, "metrics are asked for with GET\n".to_owned());
        response.headers_mut().insert(ALLOW, "GET".parse().expect("a header"));
        return response;
    }
    let mut told = String::new();
    match text::encode(&mut told, registry) {
        Ok(()) => {
            let mut response = with(StatusCode::OK, told);
            response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS.parse().expect("a header"));
            response
        }
        Err(error) => with(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// What is told, read anew with each request.
struct Standing {
    progress: Arc<Progress>,
    handle: ReloadHandle,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

/// Labels and a value.
type Sample<'a> = (Vec<(&'a str, &'a str)>, u64);

/// A family of counters or gauges.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    ty: MetricType,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, ty)?;
    for (labels, value) in samples {
        let mut sample = metric.encode_family(&labels)?;
        match ty {
            MetricType::Counter => sample.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)?,
            _ => sample.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?,
        }
    }
    Ok(())
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (progress, encoder) = (&self.progress, &mut encoder);
        let live = progress.live();
        records(encoder, &live.sources)?;
        sinks(encoder, &progress.sinks())?;
        let alerts = ("alerts", "Alerts told, revisions included", None);
        family(encoder, alerts, MetricType::Counter, [(Vec::new(), progress.alerts())])?;
        let troubles = progress.troubles();
        let trouble =
            ("trouble_since", "Since when somebody cannot do its work (source, sink or list)", Some(&Unit::Seconds));
        let since = troubles.iter().map(|(who, it)| {
            let state = if it.given_up { "gave_up" } else { "trying_again" };
            (vec![("who", who.as_str()), ("state", state)], seconds(it.since_ms))
        });
        family(encoder, trouble, MetricType::Gauge, since)?;
        let mut devices: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for device in &live.devices {
            *devices.entry((&device.source, if device.silent { "silent" } else { "heard" })).or_default() += 1;
        }
        let devices = devices.into_iter().map(|((source, state), n)| (vec![("source", source), ("state", state)], n));
        family(encoder, ("devices", "Devices that have sent records", None), MetricType::Gauge, devices)?;
        let lists = self.handle.list_status();
        let ids: Vec<(&str, _)> = lists.iter().map(|status| (status.list.spec.id.as_str(), status)).collect();
        let entries = ids.iter().map(|(id, it)| (vec![("list", *id)], it.list.len()));
        family(encoder, ("list_entries", "Entries of a list in force", None), MetricType::Gauge, entries)?;
        let created = ids.iter().map(|(id, it)| (vec![("list", *id)], seconds(it.list.created_ms)));
        let name = ("list_created", "When the version in force was made", Some(&Unit::Seconds));
        family(encoder, name, MetricType::Gauge, created)?;
        let refused = ids.iter().map(|(id, it)| (vec![("list", *id)], it.refused));
        family(encoder, ("list_refused", "Versions that were refused", None), MetricType::Counter, refused)
    }
}

fn records(encoder: &mut DescriptorEncoder<'_>, sources: &BTreeMap<String, Buckets>) -> fmt::Result {
    let received = sources.iter().map(|(source, it)| (vec![("source", source.as_str())], it.received));
    family(encoder, ("records_received", "Records read", None), MetricType::Counter, received)?;
    let outcomes = sources.iter().flat_map(|(source, it)| {
        [
            ("evaluated", it.evaluated),
            ("duplicate", it.duplicate),
            ("late", it.late),
            ("rejected", it.rejected),
            ("shed", it.shed),
        ]
        .map(|(outcome, n)| (vec![("source", source.as_str()), ("outcome", outcome)], n))
    });
    let name = ("records", "What became of records; with those in flight, all that were read", None);
    family(encoder, name, MetricType::Counter, outcomes)?;
    let flying = sources.iter().map(|(source, it)| (vec![("source", source.as_str())], it.in_flight));
    family(encoder, ("records_in_flight", "Records read and not yet judged", None), MetricType::Gauge, flying)
}

fn sinks(encoder: &mut DescriptorEncoder<'_>, sinks: &BTreeMap<String, SinkCounts>) -> fmt::Result {
    let outcomes = sinks.iter().flat_map(|(sink, it)| {
        [("delivered", it.delivered), ("refused", it.refused), ("undelivered", it.undelivered), ("lost", it.lost)]
            .map(|(outcome, n)| (vec![("sink", sink.as_str()), ("outcome", outcome)], n))
    });
    family(encoder, ("outputs", "What became of outputs", None), MetricType::Counter, outcomes)?;
    let retries = sinks.iter().map(|(sink, it)| (vec![("sink", sink.as_str())], it.retries));
    family(encoder, ("sink_retries", "Times that outputs were given again", None), MetricType::Counter, retries)?;
    let waiting = sinks.iter().map(|(sink, it)| (vec![("sink", sink.as_str())], it.waiting));
    let name = ("outbox_behind", "Outputs in the outbox that a sink has not come to, those of others included", None);
    family(encoder, name, MetricType::Gauge, waiting)
}

fn seconds(ms: i64) -> u64 {
    (ms / 1_000).max(0) as u64
}

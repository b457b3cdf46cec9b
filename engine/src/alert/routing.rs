//! Where outputs go: purposes must meet, routes are followed, and each sink has a bounded queue
//! and a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{Output, Stream};
use crate::clock::Clock;
use crate::metrics::{LatencyBook, SinkCounts};

/// What the pipeline knows of a sink.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Name.
    pub name: String,
    /// Purposes whose alerts it takes.
    pub purposes: Vec<String>,
    /// Which outputs it takes.
    pub streams: Vec<Stream>,
    /// Whether it opens, closes or stops something by itself.
    pub actuator: bool,
    /// Whether those who read it look into unsure matches before anybody is paged.
    pub reviewers: bool,
}

impl SinkSpec {
    /// A sink that takes the alerts of these purposes, for people to read.
    pub fn alerts<'a>(name: &str, purposes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            name: name.to_owned(),
            purposes: purposes.into_iter().map(str::to_owned).collect(),
            streams: vec![Stream::Alerts],
            actuator: false,
            reviewers: false,
        }
    }
}

/// A sink failed for good.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Something that outputs go to. Runs on a thread of its own.
pub trait Sink: Send {
    /// Delivers outputs in order. Returns when they are handed over; waits and retries as it sees fit.
    ///
    /// # Errors
    /// When the sink will never work again; what it was given then counts as undelivered.
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError>;

    /// Outputs that the receiver refused for good, one by one, while others went through.
    fn refused(&self) -> u64 {
        0
    }

    /// Called once at the end.
    ///
    /// # Errors
    /// When something delivered may not have arrived.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What keeps an output from some sinks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guards {
    /// A person decides: no actuator gets it.
    pub(crate) review_required: bool,
    /// Less sure than a pattern: a reviewer looks first.
    pub(crate) unsure: bool,
}

struct Route {
    spec: SinkSpec,
    queue: Sender<Output>,
}

/// Hands outputs to the queues of the sinks that may take them.
pub(crate) struct Router {
    routes: Vec<Route>,
    /// Whether any sink takes the stream: others are not built at all.
    wanted: [bool; STREAMS],
    /// Takes everything, whatever its purpose: for those who feed a pipeline by hand and read it at once.
    collector: Option<Sender<Output>>,
}

/// A sink's thread, and what it gives back.
pub(super) type SinkThread = JoinHandle<(String, SinkCounts, LatencyBook)>;

/// How many streams there are.
const STREAMS: usize = Stream::WORDS.len();
/// Outputs taken from a queue at once.
const DELIVERY_MAX: usize = 1024;

impl Router {
    /// Starts a thread for each sink.
    pub(crate) fn start(
        sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
        queue_max: usize,
        bound_us: u64,
        clock: &Arc<dyn Clock>,
    ) -> (Self, Vec<SinkThread>) {
        let mut routes = Vec::new();
        let mut threads = Vec::new();
        for (spec, sink) in sinks {
            let (queue, receiver) = bounded(queue_max);
            let clock = Arc::clone(clock);
            let name = spec.name.clone();
            let thread = std::thread::Builder::new()
                .name(format!("sink {name}"))
                .spawn(move || {
                    let (counts, latency) = run_sink(&receiver, sink, clock.as_ref(), bound_us);
                    (name, counts, latency)
                })
                .expect("a thread can be started");
            threads.push(thread);
            routes.push(Route { spec, queue });
        }
        let mut wanted = [false; STREAMS];
        for stream in routes.iter().flat_map(|route| &route.spec.streams) {
            wanted[*stream as usize] = true;
        }
        (Self { routes, wanted, collector: None }, threads)
    }

    /// Collects everything; whoever feeds the pipeline reads what comes out.
    pub(crate) fn collecting() -> (Self, Receiver<Output>) {
        let (collector, outputs) = unbounded();
        (Self { routes: Vec::new(), wanted: [true; STREAMS], collector: Some(collector) }, outputs)
    }

    fn collect(&self, output: &Output) -> usize {
        self.collector.as_ref().map_or(0, |collector| usize::from(collector.send(output.clone()).is_ok()))
    }

    /// Whether any sink takes this stream.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        self.wanted[stream as usize]
    }

    /// Sends an output of a rule to every sink that serves its purpose; by name, if `route` names any.
    /// A full queue holds the caller back. What is `unsure` goes to reviewers only.
    pub(crate) fn send(&self, output: &Output, purpose: &str, guards: Guards, named: &[String]) -> usize {
        let mut sent = self.collect(output);
        for route in &self.routes {
            let spec = &route.spec;
            let takes = spec.streams.contains(&output.stream())
                && spec.purposes.iter().any(|served| served == purpose)
                && !(guards.review_required && spec.actuator)
                && (spec.reviewers || !guards.unsure)
                && (named.is_empty() || named.contains(&spec.name));
            // A sink that has failed has dropped its receiver; its thread counted what it lost.
            if takes && route.queue.send(output.clone()).is_ok() {
                sent += 1;
            }
        }
        sent
    }

    /// Sends an output that belongs to no purpose (a dead letter) to every sink that asks for it.
    pub(crate) fn send_plain(&self, output: &Output) {
        self.collect(output);
        for route in self.routes.iter().filter(|route| route.spec.streams.contains(&output.stream())) {
            let _ = route.queue.send(output.clone());
        }
    }
}

fn run_sink(
    queue: &Receiver<Output>,
    mut sink: Box<dyn Sink>,
    clock: &dyn Clock,
    bound_us: u64,
) -> (SinkCounts, LatencyBook) {
    let mut counts = SinkCounts::default();
    let mut latency = LatencyBook::new();
    while let Ok(first) = queue.recv() {
        let mut outputs = vec![first];
        outputs.extend(queue.try_iter().take(DELIVERY_MAX - 1));
        let now_ns = clock.monotonic_ns();
        for output in &mut outputs {
            if let Output::Alert(alert) = output {
                let latency_us = now_ns.saturating_sub(alert.passage.read_ns) / 1000;
                Arc::make_mut(alert).latency_us = latency_us;
            }
        }
        if counts.error.is_some() {
            counts.undelivered += outputs.len() as u64;
            continue;
        }
        if let Err(error) = sink.deliver(&outputs) {
            counts.error = Some(error.to_string());
            counts.undelivered += outputs.len() as u64;
            continue;
        }
        counts.delivered += outputs.len() as u64;
        let now_ns = clock.monotonic_ns();
        for output in &outputs {
            if let Output::Alert(alert) = output {
                let key = (alert.rule.clone(), alert.passage.source);
                latency.entry(key).or_default().record(&alert.passage, now_ns, bound_us);
            }
        }
    }
    counts.refused = sink.refused();
    counts.delivered -= counts.refused.min(counts.delivered);
    if let (None, Err(error)) = (&counts.error, sink.finish()) {
        counts.error = Some(error.to_string());
    }
    (counts, latency)
}

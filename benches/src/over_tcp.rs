//! Watchlist alerts over TCP, timed from the moment a record was meant to be sent until a sink has its alert.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use weir_connectors::source::TcpSource;
use weir_engine::alert::Alert;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::metrics::Passage;
use weir_engine::runtime::{PipelineBuilder, ReloadHandle};
use weir_engine::watchlist::Watchlist;
use weir_engine::{Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, SourceSpec};
use weir_rules::{Catalog, Pack};

use crate::paced::{HIT_EVERY, LANES, send};

/// What an alert's time goes by, in this order.
pub const STAGES: [&str; 5] = ["sent late", "under way", "waiting for a shard", "judged", "to the sink"];

/// An alert.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// When its record was meant to be sent, seconds from the start.
    pub due_s: f64,
    /// From then until the sink had it, milliseconds.
    pub ms: f64,
    /// How much of that each of [`STAGES`] took.
    pub stages_ms: [f64; STAGES.len()],
}

/// Sends records at a rate and runs a pipeline over them; `with` adds to it. Every alert, in order.
///
/// # Panics
/// When an alert is missing or out of order.
pub fn over_tcp(
    pack: &Pack,
    list: &Arc<Watchlist>,
    rate: f64,
    seconds: f64,
    with: impl FnOnce(PipelineBuilder) -> PipelineBuilder,
) -> Vec<Timed> {
    over_tcp_beside(pack, list, rate, seconds, with, |_| {}, |_| {})
}

/// The same, and `begins` has what changes the pipeline while it runs, `sees` each alert.
///
/// # Panics
/// When an alert is missing or out of order.
pub fn over_tcp_beside(
    pack: &Pack,
    list: &Arc<Watchlist>,
    rate: f64,
    seconds: f64,
    with: impl FnOnce(PipelineBuilder) -> PipelineBuilder,
    begins: impl FnOnce(ReloadHandle),
    sees: impl FnMut(&Alert) + Send + 'static,
) -> Vec<Timed> {
    let (bound, address) = mpsc::channel();
    let source = TcpSource {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        idle_timeout: Duration::from_mins(1),
        stay_awake: true,
        once: true,
        on_bound: Some(Arc::new(move |address| bound.send(address).expect("the sender waits"))),
    };
    let clock = Arc::new(SystemClock::default());
    // All of its memory is there before anything is measured.
    let mut seen =
        vec![(1, Passage { read_ns: 1, ..Passage::default() }); (rate * seconds) as usize / HIT_EVERY as usize + 1];
    seen.clear();
    let seen = Arc::new(Mutex::new(seen));
    let builder = Pipeline::builder(Catalog::builtin())
        .clock(Arc::<SystemClock>::clone(&clock))
        .shared_pack(pack.clone(), vec![Arc::clone(list)])
        .limits(Limits { max_ahead_ms: i64::MAX, ..Limits::default() })
        .source(SourceSpec::new("tcp", Format::Ndjson), source)
        .sink(SinkSpec::alerts("timing", ["p"]), Timing { clock: Arc::clone(&clock), seen: Arc::clone(&seen), sees });
    let pipeline = with(builder).build().expect("a pipeline");
    begins(pipeline.reload_handle());
    let sender = std::thread::spawn(move || {
        let address = address.recv().expect("the source listens");
        let connection = TcpStream::connect(address).expect("a connection");
        let mut begin = None;
        let sent = send(&connection, rate, seconds, |now| begin = Some(now));
        (begin.expect("it began"), sent)
    });
    pipeline.run().expect("a run");
    let (begin, sent) = sender.join().expect("the sender");
    let begin_ns = clock.ns_at(begin);
    let seen = seen.lock().expect("the sink is done");
    assert_eq!(seen.len(), sent.len(), "every hit is told");
    let ms = |ns: u64| (ns as f64 - begin_ns as f64) / 1e6;
    seen.iter()
        .zip(sent)
        .enumerate()
        .map(|(number, ((seen_ns, passage), sent))| {
            let due_s = (number as u64 * HIT_EVERY) as f64 / rate;
            let ends =
                [ms(clock.ns_at(sent)), ms(passage.read_ns), ms(passage.taken_ns), ms(passage.told_ns), ms(*seen_ns)];
            let mut from = due_s * 1e3;
            let stages_ms = ends.map(|end| end - std::mem::replace(&mut from, end));
            Timed { due_s, ms: ms(*seen_ns) - due_s * 1e3, stages_ms }
        })
        .collect()
}

struct Timing<F> {
    clock: Arc<SystemClock>,
    seen: Arc<Mutex<Vec<(u64, Passage)>>>,
    sees: F,
}

impl<F: FnMut(&Alert) + Send + 'static> Sink for Timing<F> {
    fn takes_at_once(&self) -> bool {
        true
    }

    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now_ns = self.clock.monotonic_ns();
        let mut seen = self.seen.lock().expect("one sink");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            // Hits come in the order in which they were sent, as the lane shows.
            let number = seen.len() as u64;
            assert_eq!(alert.say.as_deref(), Some(format!("{:05}", number % LANES).as_str()));
            seen.push((now_ns, alert.passage));
            (self.sees)(alert);
        }
        Ok(())
    }
}

//! Watchlist alerts over TCP, timed from the moment a record was meant to be sent until a sink has its alert.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use weir_connectors::source::TcpSource;
use weir_engine::runtime::PipelineBuilder;
use weir_engine::watchlist::Watchlist;
use weir_engine::{Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, SourceSpec};
use weir_rules::{Catalog, Pack};

use crate::paced::{HIT_EVERY, LANES, send};

/// Sends records at a rate and runs a pipeline over them; `with` adds to it. Of every alert: when its record was meant to be
/// sent, seconds from the start, and how long it took from then, milliseconds.
///
/// # Panics
/// When an alert is missing or out of order.
pub fn over_tcp(
    pack: &Pack,
    list: &Arc<Watchlist>,
    rate: f64,
    seconds: f64,
    with: impl FnOnce(PipelineBuilder) -> PipelineBuilder,
) -> Vec<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(weir_memory::go_first)
        .enable_all()
        .build()
        .expect("a runtime");
    let (bound, address) = mpsc::channel();
    let source = TcpSource {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        idle_timeout: Duration::from_mins(1),
        once: true,
        on_bound: Some(Arc::new(move |address| bound.send(address).expect("the sender waits"))),
        runtime: runtime.handle().clone(),
    };
    let started: Arc<Mutex<Option<Instant>>> = Arc::default();
    // All of its memory is there before anything is measured.
    let mut seen = vec![(1.0, 1.0); (rate * seconds) as usize / HIT_EVERY as usize + 1];
    seen.clear();
    let seen = Arc::new(Mutex::new(seen));
    let timing = Timing { started: Arc::clone(&started), rate, seen: Arc::clone(&seen) };
    let builder = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), vec![Arc::clone(list)])
        .limits(Limits { max_ahead_ms: i64::MAX, ..Limits::default() })
        .source(SourceSpec::new("tcp", Format::Ndjson), source)
        .sink(SinkSpec::alerts("timing", ["p"]), timing);
    let pipeline = with(builder).build().expect("a pipeline");
    let sender = std::thread::spawn(move || {
        let address = address.recv().expect("the source listens");
        let connection = TcpStream::connect(address).expect("a connection");
        send(&connection, rate, seconds, |begin| *started.lock().expect("nobody died") = Some(begin))
    });
    pipeline.run().expect("a run");
    let expected = sender.join().expect("the sender");
    let timed = std::mem::take(&mut *seen.lock().expect("the sink is done"));
    assert_eq!(timed.len() as u64, expected, "every hit is told");
    timed
}

struct Timing {
    started: Arc<Mutex<Option<Instant>>>,
    rate: f64,
    seen: Arc<Mutex<Vec<(f64, f64)>>>,
}

impl Sink for Timing {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now = Instant::now();
        let begin = self.started.lock().expect("nobody died").expect("records come after the start");
        let mut seen = self.seen.lock().expect("one sink");
        for output in outputs {
            let Output::Alert(alert) = output else { continue };
            // Hits come in the order in which they were sent, as the lane shows.
            let number = seen.len() as u64;
            assert_eq!(alert.say.as_deref(), Some(format!("{:05}", number % LANES).as_str()));
            let due_s = (number * HIT_EVERY) as f64 / self.rate;
            seen.push((due_s, (now.duration_since(begin).as_secs_f64() - due_s) * 1e3));
        }
        Ok(())
    }
}

//! Sinks that are handed outputs by whoever has them, beside one with a thread and a queue.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::alert::SinkSpec;
use crate::runtime::simulator::world::{STREAMS, World, history};
use crate::runtime::{SourceSpec, Summary};
use crate::source::{Feed, Format, Source, SourceError};

struct Lines(Vec<String>);

impl Source for Lines {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        self.0.into_iter().for_each(|line| feed.send_ndjson(line));
        Ok(())
    }
}

#[derive(Default)]
struct Seen {
    /// What came, with the thread that brought it.
    outputs: Mutex<Vec<(String, String)>>,
    finished: AtomicBool,
}

/// Takes outputs at once, so many of them.
struct Takes(usize, Arc<Seen>);

impl Sink for Takes {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let [output] = outputs else { panic!("one at a time") };
        let mut seen = self.1.outputs.lock();
        assert!(seen.len() < self.0, "on purpose");
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        seen.push((output.idempotency_key().unwrap_or_else(|| output.to_json()), thread));
        Ok(())
    }

    fn takes_at_once(&self) -> bool {
        true
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.1.finished.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Runs over a world's records with a sink that takes so many outputs at once, beside that of the world.
fn run(takes: usize) -> (World, Arc<Seen>, Summary) {
    let (world, seen) = (World::new(3, false, 160), Arc::<Seen>::default());
    let spec = SinkSpec { streams: STREAMS.to_vec(), ..SinkSpec::alerts("gate", ["p"]) };
    let pipeline = world
        .builder(history(), None)
        .shards(2)
        .sink(spec, Takes(takes, Arc::clone(&seen)))
        .source(SourceSpec::new("lines", Format::Ndjson), Lines(world.records.to_vec()))
        .build()
        .expect("a pipeline");
    let summary = pipeline.run().unwrap_or_else(|error| panic!("{error}"));
    (world, seen, summary)
}

fn counts<'a>(summary: &'a Summary, sink: &str) -> &'a SinkCounts {
    &summary.sinks.iter().find(|(name, _)| name == sink).expect("it has an account").1
}

#[test]
fn whoever_judged_brings_them_and_they_are_what_others_get() {
    let (world, seen, summary) = run(usize::MAX);
    let outputs = seen.outputs.lock();
    assert!(outputs.iter().all(|(_, thread)| !thread.starts_with("sink ")));
    let told = world.told.by_id();
    assert!(!told.is_empty());
    assert!(told.keys().all(|id| outputs.iter().any(|(seen, _)| seen == id)));
    assert_eq!(counts(&summary, "gate").delivered, outputs.len() as u64);
    assert_eq!(counts(&summary, "gate").delivered, counts(&summary, "desk").delivered);
    assert!(seen.finished.load(Ordering::Relaxed));
}

#[test]
fn one_that_panics_has_failed_and_the_others_go_on() {
    let (_, seen, summary) = run(2);
    assert_eq!(seen.outputs.lock().len(), 2);
    let (gate, desk) = (counts(&summary, "gate"), counts(&summary, "desk"));
    assert_eq!((gate.delivered, gate.error.as_deref()), (2, Some("the sink panicked")));
    assert!(desk.error.is_none());
    assert_eq!(gate.delivered + gate.undelivered, desk.delivered);
}

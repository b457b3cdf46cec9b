//! Where outputs go: purposes must meet, routes are followed. An output goes into the queue of each sink that may take
//! it, or, where state is kept, once into the outbox with the names of them all.

use std::cell::RefCell;
use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::delivery::{self, AtOnce, Desk, Outlet, Sink, SinkThread, sink_thread};
use super::{Output, Stream};
use crate::metrics::SinkCounts;
use crate::state::outbox::{Item, Letter, Outbox, Writer};

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

/// What keeps an output from some sinks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guards {
    /// A person decides: no actuator gets it.
    pub(crate) review_required: bool,
    /// Less sure than a pattern: a reviewer looks first.
    pub(crate) unsure: bool,
}

/// Hands outputs over to the sinks that may take them.
pub(crate) struct Router {
    routes: Vec<SinkSpec>,
    exit: Exit,
    /// Whether any sink takes the stream: others are not built at all.
    wanted: [bool; STREAMS],
    /// Turns that what is sent follows from.
    turns: u64,
    /// What earlier runs have told since the checkpoint that this one goes on from.
    retold: RefCell<Retold>,
}

/// Outputs that are in the outbox already and come out of turns that are applied again.
#[derive(Default)]
pub(crate) struct Retold(HashMap<blake3::Hash, u64>);

impl Retold {
    pub(crate) fn new(outputs: &[Output]) -> Self {
        let mut retold = HashMap::new();
        for output in outputs {
            *retold.entry(Self::key(output)).or_default() += 1;
        }
        Self(retold)
    }

    /// What an output is known by: its id, or all it says.
    fn key(output: &Output) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(output.stream().word().as_bytes());
        match output.idempotency_key() {
            Some(key) => hasher.update(b"id").update(key.as_bytes()),
            None => hasher.update(b"text").update(output.to_json().as_bytes()),
        };
        hasher.finalize()
    }

    /// Whether an output was told before; once for each time it was.
    fn take(&mut self, output: &Output) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let key = Self::key(output);
        let Some(times) = self.0.get_mut(&key) else { return false };
        *times -= 1;
        if *times == 0 {
            self.0.remove(&key);
        }
        true
    }
}

enum Exit {
    /// A way to each sink.
    Ways(Vec<Way>),
    /// One queue to the outbox, from where each sink takes at its own pace.
    Outbox(Sender<Item>),
    /// Takes everything, whatever its purpose: for those who feed a pipeline by hand and read it at once.
    Collector(Sender<Output>),
}

enum Way {
    /// A queue; a full one holds the caller back.
    Queue(Sender<Output>),
    AtOnce(AtOnce),
}

impl Way {
    /// Whether the sink still takes anything: one that has failed has dropped its receiver; its thread counted what it lost.
    fn give(&self, output: Output) -> bool {
        match self {
            Self::Queue(queue) => queue.send(output).is_ok(),
            Self::AtOnce(sink) => {
                sink.give(output);
                true
            }
        }
    }
}

/// How many streams there are.
const STREAMS: usize = Stream::WORDS.len();

impl Router {
    /// Starts a thread for each sink, with a queue of its own if it does not take outputs at once.
    pub(crate) fn start(
        sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
        queue_max: usize,
        desk: &Desk,
    ) -> (Self, Vec<SinkThread>) {
        let (mut routes, mut ways, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (spec, sink) in sinks {
            desk.progress.note_sink(&spec.name, SinkCounts::default());
            let (name, desk) = (spec.name.clone(), desk.clone());
            let (way, thread) = if sink.takes_at_once() {
                let (sink, thread) = AtOnce::start(name, sink, desk);
                (Way::AtOnce(sink), thread)
            } else {
                let (queue, receiver) = bounded(queue_max);
                let run = move || Ok(delivery::from_queue(name, &receiver, sink, desk));
                (Way::Queue(queue), sink_thread(&spec.name, run))
            };
            routes.push(spec);
            ways.push(way);
            threads.push(thread);
        }
        (Self::new(routes, Exit::Ways(ways)), threads)
    }

    /// Has outputs go to the outbox, and sinks take them from their places in it. Sinks come in the order of its places.
    pub(crate) fn kept(
        sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
        outbox: Outbox,
        desk: &Desk,
    ) -> (Self, Vec<Outlet>, Writer) {
        let (mut routes, mut outlets) = (Vec::new(), Vec::new());
        for ((spec, sink), place) in sinks.into_iter().zip(outbox.places) {
            let waiting = place.behind();
            desk.progress.note_sink(&spec.name, SinkCounts { waiting, ..SinkCounts::default() });
            outlets.push(Outlet::new(spec.name.clone(), place, sink, desk.clone()));
            routes.push(spec);
        }
        (Self::new(routes, Exit::Outbox(outbox.queue)), outlets, outbox.writer)
    }

    /// Collects everything; whoever feeds the pipeline reads what comes out.
    pub(crate) fn collecting() -> (Self, Receiver<Output>) {
        let (collector, outputs) = unbounded();
        (Self { wanted: [true; STREAMS], ..Self::new(Vec::new(), Exit::Collector(collector)) }, outputs)
    }

    fn new(routes: Vec<SinkSpec>, exit: Exit) -> Self {
        Self { wanted: wanted(&routes), routes, exit, turns: 0, retold: RefCell::default() }
    }

    /// What is sent from here on follows from so many turns.
    pub(crate) fn follow_from(&mut self, turns: u64) {
        self.turns = turns;
    }

    /// Of what is sent from here on, what is in the outbox already is not put there again.
    pub(crate) fn pass_over(&mut self, retold: Retold) {
        self.retold = RefCell::new(retold);
    }

    /// Outputs of earlier runs that did not come out again.
    pub(crate) fn not_retold(&self) -> u64 {
        self.retold.borrow().0.values().sum()
    }

    /// Whether any sink takes this stream.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        self.wanted[stream as usize]
    }

    /// Sends an output of a rule to every sink that serves its purpose; by name, if `route` names any.
    /// A full queue holds the caller back. What is `unsure` goes to reviewers only. To how many sinks it went.
    pub(crate) fn send(&self, output: &Output, purpose: &str, guards: Guards, named: &[String]) -> usize {
        self.hand_over(output, |spec| {
            spec.purposes.iter().any(|served| served == purpose)
                && !(guards.review_required && spec.actuator)
                && (spec.reviewers || !guards.unsure)
                && (named.is_empty() || named.contains(&spec.name))
        })
    }

    /// Sends an output that belongs to no purpose (a dead letter) to every sink that asks for it.
    pub(crate) fn send_plain(&self, output: &Output) {
        self.hand_over(output, |_| true);
    }

    /// Calls this once everything that was sent before, and what it follows from, is durable; at once where nothing is kept.
    /// It is told which output comes next.
    pub(crate) fn acknowledge(&self, ack: impl FnOnce(u64) + Send + 'static) {
        match &self.exit {
            // An outbox that has failed acknowledges nothing.
            Exit::Outbox(queue) => drop(queue.send(Item::Ack(Box::new(ack), self.turns))),
            Exit::Ways(_) | Exit::Collector(_) => ack(0),
        }
    }

    fn hand_over(&self, output: &Output, may: impl Fn(&SinkSpec) -> bool) -> usize {
        let stream = output.stream();
        let takes = |spec: &SinkSpec| spec.streams.contains(&stream) && may(spec);
        match &self.exit {
            Exit::Collector(collector) => usize::from(collector.send(output.clone()).is_ok()),
            Exit::Ways(ways) => {
                let gets = |(spec, way): &(&SinkSpec, &Way)| takes(spec) && way.give(output.clone());
                self.routes.iter().zip(ways).filter(gets).count()
            }
            Exit::Outbox(queue) => {
                let bit = |(at, spec)| u64::from(takes(spec)) << at;
                let sinks = self.routes.iter().enumerate().map(bit).fold(0, |sinks, bit| sinks | bit);
                let send = || {
                    let letter = Letter { output: output.clone(), sinks };
                    // An outbox that has failed takes nothing more, and the run ends.
                    self.retold.borrow_mut().take(output) || queue.send(Item::Letter(letter, self.turns)).is_ok()
                };
                if sinks != 0 && send() { sinks.count_ones() as usize } else { 0 }
            }
        }
    }
}

fn wanted(routes: &[SinkSpec]) -> [bool; STREAMS] {
    let mut wanted = [false; STREAMS];
    for stream in routes.iter().flat_map(|spec| &spec.streams) {
        wanted[*stream as usize] = true;
    }
    wanted
}

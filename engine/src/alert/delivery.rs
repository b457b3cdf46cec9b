//! A sink's thread: takes outputs out of its queue, or from its place in the outbox, and hands them over. A sink that waits
//! for nobody is handed them by whoever has them ([`AtOnce`]).

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Output;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::metrics::{LatencyBook, Progress, SinkCounts};
use crate::state::log::LogError;
#[cfg(test)]
use crate::state::outbox::Polled;
use crate::state::outbox::{Batch, Opened, Place};

/// Outputs handed over at once.
const DELIVERY_MAX: usize = 1024;

/// A sink did not take what it was given.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What is wrong, and what to do about it.
    pub message: String,
    /// How many of the outputs it was given, from the first on, it has handed over all the same.
    pub delivered: usize,
}

impl SinkError {
    /// None of the outputs was handed over.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), delivered: 0 }
    }

    /// The first so many were.
    #[must_use]
    pub fn after(self, delivered: usize) -> Self {
        Self { delivered, ..self }
    }
}

/// Something that outputs go to. Runs on a thread of its own, unless it [takes them at once](Sink::takes_at_once).
pub trait Sink: Send {
    /// Delivers outputs in order. Returns when they are handed over; waits and retries as it sees fit.
    ///
    /// # Errors
    /// When it gives up. Where an outbox is kept it is asked again, from the first output that was not handed over; else it
    /// has failed for good, and what it was given counts as undelivered.
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError>;

    /// Whether [`Self::deliver`] waits for nobody: it hands outputs over within the process, and neither network nor disk nor a
    /// lock that is held for long is in its way. It is called by whoever judged the record then, one output at a time, and
    /// waking up another thread, 5 to 50 us, is saved; all judging stands still meanwhile. Where an outbox is kept outputs
    /// come from there all the same.
    fn takes_at_once(&self) -> bool {
        false
    }

    /// Outputs that the receiver refused for good, one by one, while others went through.
    fn refused(&self) -> u64 {
        0
    }

    /// Makes sure that what was handed over stays so after a power loss. Called about once a second where an outbox is kept,
    /// before it forgets what was delivered.
    ///
    /// # Errors
    /// When that cannot be done now; it is asked again.
    fn settle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// What keeps it from finishing what it has taken, while it takes more; told to those who look at how the run stands.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Called once at the end.
    ///
    /// # Errors
    /// When something delivered may not have arrived.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a sink's thread has done.
pub(crate) struct Delivered {
    pub(crate) name: String,
    pub(crate) counts: SinkCounts,
    pub(crate) latency: LatencyBook,
}

impl Delivered {
    fn new(name: String) -> Self {
        Self { name, counts: SinkCounts::default(), latency: LatencyBook::new() }
    }

    /// Notes outputs that were handed over.
    fn note<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Output>, now_ns: u64, bound_us: u64) {
        for output in outputs {
            self.counts.delivered += 1;
            if let Output::Alert(alert) = output {
                let key = (alert.rule.clone(), alert.passage.source);
                self.latency.entry(key).or_default().record(&alert.passage, now_ns, bound_us);
            }
        }
    }

    /// What was refused was not delivered.
    fn so_far(&self, sink: &dyn Sink) -> SinkCounts {
        let (refused, delivered) = (sink.refused(), self.counts.delivered);
        SinkCounts { refused, delivered: delivered - refused.min(delivered), ..self.counts.clone() }
    }

    fn end(mut self, mut sink: Box<dyn Sink>) -> Self {
        self.counts = self.so_far(sink.as_ref());
        if let (None, Err(error)) = (&self.counts.error, sink.finish()) {
            self.counts.error = Some(error.to_string());
        }
        self
    }
}

fn stamp(output: &mut Output, latency_us: impl FnOnce(&super::Alert) -> u64) {
    if let Output::Alert(alert) = output {
        let latency_us = latency_us(alert);
        Arc::make_mut(alert).latency_us = latency_us;
    }
}

/// What every sink's thread works with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) clock: Arc<dyn Clock>,
    /// Where it is told how a sink stands.
    pub(crate) progress: Arc<Progress>,
    pub(crate) bound_us: u64,
}

/// What has been told of a sink.
struct Standing {
    who: String,
    /// It did not take what it was given last.
    refuses: bool,
    told: Option<String>,
}

impl Standing {
    fn of(sink: &str) -> Self {
        Self { who: format!("sink {sink}"), refuses: false, told: None }
    }

    /// It was given something, and did not take all of it for this reason.
    fn gave(&mut self, desk: &Desk, fault: Option<&str>) {
        self.refuses = fault.is_some();
        if let Some(message) = fault {
            let message = message.to_owned();
            self.told = Some(message.clone());
            desk.progress.note_trouble(&self.who, Some((desk.clock.wall_ms(), message)));
        }
    }

    /// It was asked whether all is well.
    fn asked(&mut self, desk: &Desk, trouble: Option<String>) {
        if !self.refuses && self.told != trouble {
            self.told.clone_from(&trouble);
            desk.progress.note_trouble(&self.who, trouble.map(|message| (desk.clock.wall_ms(), message)));
        }
    }
}

/// A sink without an outbox, and the account of what it was given.
struct Outgoing {
    sink: Box<dyn Sink>,
    done: Delivered,
    standing: Standing,
    desk: Desk,
}

impl Outgoing {
    fn new(name: String, sink: Box<dyn Sink>, desk: Desk) -> Self {
        Self { sink, standing: Standing::of(&name), done: Delivered::new(name), desk }
    }

    /// What a sink that has failed is given counts as undelivered.
    fn hand_over(&mut self, outputs: &mut [Output]) {
        let Self { sink, done, standing, desk } = self;
        let now_ns = desk.clock.monotonic_ns();
        for output in outputs.iter_mut() {
            stamp(output, |alert| now_ns.saturating_sub(alert.passage.read_ns) / 1000);
        }
        let mut delivered = 0;
        if done.counts.error.is_none() {
            delivered = outputs.len();
            match sink.deliver(outputs) {
                Ok(()) => standing.asked(desk, sink.trouble()),
                Err(error) => {
                    delivered = error.delivered;
                    desk.progress.note_failure(&standing.who, desk.clock.wall_ms(), error.message.clone());
                    done.counts.error = Some(error.message);
                }
            }
        }
        done.note(&outputs[..delivered], desk.clock.monotonic_ns(), desk.bound_us);
        done.counts.undelivered += (outputs.len() - delivered) as u64;
        desk.progress.note_sink(&done.name, done.so_far(sink.as_ref()));
    }
}

/// Until the queue is closed and empty.
pub(super) fn from_queue(name: String, queue: &Receiver<Output>, sink: Box<dyn Sink>, desk: Desk) -> Delivered {
    let mut outgoing = Outgoing::new(name, sink, desk);
    while let Ok(first) = queue.recv() {
        let mut outputs = vec![first];
        outputs.extend(queue.try_iter().take(DELIVERY_MAX - 1));
        outgoing.hand_over(&mut outputs);
    }
    outgoing.done.end(outgoing.sink)
}

/// A sink that is handed outputs by whoever has them.
pub(super) struct AtOnce {
    outgoing: RefCell<Option<Box<Outgoing>>>,
    /// Whoever brings it to its end.
    back: Sender<Box<Outgoing>>,
}

impl AtOnce {
    /// Its thread has nothing to do until the end.
    pub(super) fn start(name: String, sink: Box<dyn Sink>, desk: Desk) -> (Self, SinkThread) {
        let (back, ending) = bounded::<Box<Outgoing>>(1);
        let outgoing = Box::new(Outgoing::new(name.clone(), sink, desk));
        let thread = sink_thread(&name.clone(), move || {
            let ended = ending.recv().map(|outgoing| outgoing.done.end(outgoing.sink));
            Ok(ended.unwrap_or_else(|_| Delivered::new(name)))
        });
        (Self { outgoing: RefCell::new(Some(outgoing)), back }, thread)
    }

    /// Hands one output over. A sink that panics has failed.
    pub(super) fn give(&self, output: Output) {
        let mut outgoing = self.outgoing.borrow_mut();
        let Some(outgoing) = outgoing.as_mut() else { return };
        let mut outputs = [output];
        if catch_unwind(AssertUnwindSafe(|| outgoing.hand_over(&mut outputs))).is_err() {
            outgoing.done.counts.error = Some("the sink panicked".to_owned());
            outgoing.done.counts.undelivered += 1;
        }
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        // Nobody waits for it in a run that failed.
        let _ = self.outgoing.take().map(|outgoing| self.back.send(outgoing));
    }
}

/// A sink at its place in the outbox.
pub(crate) struct Outlet {
    place: Place,
    sink: Box<dyn Sink>,
    done: Delivered,
    lost_before: u64,
    standing: Standing,
    desk: Desk,
}

impl Outlet {
    pub(super) fn new(name: String, place: Place, sink: Box<dyn Sink>, desk: Desk) -> Self {
        let lost_before = place.lost();
        let standing = Standing::of(&name);
        Self { place, sink, done: Delivered::new(name), lost_before, standing, desk }
    }

    /// Starts its thread. `failed` is called when what lies in the outbox cannot be read: a sink that stops without a word
    /// is worse than a run that ends.
    pub(crate) fn start(self, drain_for_ms: u64, failed: Arc<dyn Fn() + Send + Sync>) -> SinkThread {
        let name = self.done.name.clone();
        sink_thread(&name, move || self.run(drain_for_ms).inspect_err(|_| failed()))
    }

    /// Until the outbox is closed and this sink has taken all that is its own, or has not answered for so long after the end.
    pub(crate) fn run(mut self, drain_for_ms: u64) -> Result<Delivered, LogError> {
        let mut backoff = Backoff::endless();
        let mut ended_ns = None;
        while let Some(batch) =
            self.place.next(DELIVERY_MAX, || settle(self.sink.as_mut(), &mut self.standing, &self.desk))?
        {
            if self.hand_over(&batch)? {
                backoff = Backoff::endless();
                continue;
            }
            let pause = backoff.pause().expect("it never gives up");
            let now_ns = self.desk.clock.monotonic_ns();
            if self.place.rest(pause) {
                let since_ns = now_ns - *ended_ns.get_or_insert(now_ns);
                if since_ns > drain_for_ms * 1_000_000 {
                    break;
                }
                backoff = Backoff::endless();
            }
        }
        // What may not stay delivered is delivered again by the next run.
        if settle(self.sink.as_mut(), &mut self.standing, &self.desk) {
            self.place.finish()?;
        }
        self.done.counts.waiting = self.place.waiting()?;
        self.done.counts.lost = self.place.lost() - self.lost_before;
        Ok(self.done.end(self.sink))
    }

    /// Hands over what there is, without waiting for more.
    #[cfg(test)]
    pub(crate) fn step(&mut self) -> Result<(), LogError> {
        match self.place.poll(DELIVERY_MAX, || settle(self.sink.as_mut(), &mut self.standing, &self.desk))? {
            Polled::Batch(batch) => self.hand_over(&batch).map(drop),
            Polled::Nothing | Polled::Ended => Ok(()),
        }
    }

    /// Hands a batch over. Whether the sink took all of it.
    fn hand_over(&mut self, batch: &Batch) -> Result<bool, LogError> {
        let clock = Arc::clone(&self.desk.clock);
        let (now_ns, now_ms) = (clock.monotonic_ns(), clock.wall_ms());
        let outputs: Vec<Output> = batch.letters.iter().map(|(_, opened)| stamped(opened, now_ns, now_ms)).collect();
        let result = self.sink.deliver(&outputs);
        let delivered = result.as_ref().map_or_else(|error| error.delivered, |()| outputs.len());
        self.place.delivered(batch, delivered)?;
        // How late an alert of an earlier run is says more of the time between the runs than of this one.
        let of_this_run = batch.letters.iter().map(|(_, opened)| opened.earlier_ms.is_none());
        let (own, earlier): (Vec<_>, Vec<_>) =
            outputs[..delivered].iter().zip(of_this_run).partition(|(_, of_this_run)| *of_this_run);
        self.done.note(own.into_iter().map(|(output, _)| output), clock.monotonic_ns(), self.desk.bound_us);
        self.done.counts.delivered += earlier.len() as u64;
        self.standing.gave(&self.desk, result.as_ref().err().map(|error| error.message.as_str()));
        let is_done = result.is_ok();
        match result {
            Ok(()) => self.standing.asked(&self.desk, self.sink.trouble()),
            Err(error) => {
                self.done.counts.retries += 1;
                self.done.counts.trouble = Some(error.message);
            }
        }
        let so_far = SinkCounts { waiting: self.place.behind(), ..self.done.so_far(self.sink.as_ref()) };
        self.desk.progress.note_sink(&self.done.name, so_far);
        Ok(is_done)
    }
}

/// Whether what was handed over stays so. What keeps it from that is told.
fn settle(sink: &mut dyn Sink, standing: &mut Standing, desk: &Desk) -> bool {
    let settled = sink.settle();
    let is_settled = settled.is_ok();
    standing.asked(desk, settled.err().map(|error| error.message).or_else(|| sink.trouble()));
    is_settled
}

/// A sink's thread, and what it gives back. An error means that what lies in the outbox cannot be read.
pub(crate) type SinkThread = JoinHandle<Result<Delivered, LogError>>;

pub(super) fn sink_thread(
    name: &str,
    run: impl FnOnce() -> Result<Delivered, LogError> + Send + 'static,
) -> SinkThread {
    let run = || {
        weir_memory::go_first();
        run()
    };
    std::thread::Builder::new().name(format!("sink {name}")).spawn(run).expect("a thread can be started")
}

fn stamped(opened: &Opened, now_ns: u64, now_ms: i64) -> Output {
    let mut output = opened.output.clone();
    stamp(&mut output, |alert| match opened.earlier_ms {
        None => now_ns.saturating_sub(alert.passage.read_ns) / 1_000,
        Some(read_ms) => now_ms.saturating_sub(read_ms).max(0) as u64 * 1_000,
    });
    output
}

#[cfg(test)]
mod tests;

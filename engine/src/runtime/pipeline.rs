//! Building and running a pipeline: the door for embedders.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use weir_rules::pack::Pack;
use weir_rules::schema::Catalog;

use super::crew::Crew;
use super::export::Export;
use super::going_on::GoingOn;
use super::overload;
use super::partition::Partition;
use super::plan::{Blueprint, PackWithLists};
use super::reload::{Plans, ReloadHandle};
use super::state::StateError;
use super::summary::{Replayed, Summary};
use crate::alert::{Delivered, Desk, Router, Sink, SinkSpec};
use crate::budget::TooLittleMemory;
use crate::clock::{Clock, SystemClock};
use crate::credential::Issuers;
use crate::decode::{MapSpec, PlanError};
use crate::limits::Limits;
use crate::metrics::Progress;
use crate::record::{Layouts, Pseudonyms};
use crate::rng::{OsRng, Rng};
use crate::source::{Feed, Format, Hand, Intake, Position, Source};
use crate::state::log::LogError;
use crate::state::{OpenError, ReplayError, StateSpec};
use crate::watchlist::Watchlist;
use crate::window::ZoneTable;

/// What the pipeline needs to know of a source.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Name.
    pub name: String,
    /// How its bytes are read.
    pub format: Format,
    /// Kind of all its records; `None` if they say it themselves.
    pub kind: Option<String>,
    /// Zone of times that state none, such as `Asia/Shanghai`.
    pub timezone: Option<String>,
    /// How foreign fields become canonical columns.
    pub map: Option<MapSpec>,
    /// Whether it cannot wait: when there is no room its records are let go, the least urgent first, and counted.
    pub sheds: bool,
    /// Whether dead letters hold the bytes of refused records, sealed under the pipeline's key.
    pub keeps_refused: bool,
}

impl SourceSpec {
    /// A source of canonical records.
    pub fn new(name: impl Into<String>, format: Format) -> Self {
        Self { name: name.into(), format, kind: None, timezone: None, map: None, sheds: false, keeps_refused: false }
    }
}

/// A pipeline cannot be built.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum BuildError {
    #[error(transparent)]
    Source(#[from] PlanError),
    #[error("there are two rules `{rule}`")]
    RuleTwice { rule: String },
    #[error("rule `{rule}`: there is no kind of record `{kind}`")]
    UnknownKind { rule: String, kind: String },
    #[error("rule `{rule}`: `where` cannot be compiled: {error}")]
    Condition { rule: String, error: String },
    #[error("rule `{rule}`: list `{list}` was not loaded")]
    ListMissing { rule: String, list: String },
    #[error("no pack has a list `{list}` that is declared like this one")]
    ListUnknown { list: String },
    #[error("more than 65,535 purposes")]
    TooManyPurposes,
    #[error("more than 65,535 sources")]
    TooManySources,
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// The state folder cannot be used; nothing was started.
    #[error("the state folder cannot be used: {0}")]
    State(#[from] OpenError),
    /// The state in it cannot.
    #[error(
        "the state of earlier runs cannot be gone on with: {0}. Or give up what was counted so far with \
         `--accept-state-loss`"
    )]
    Saved(#[from] StateError),
    #[error("the places where an earlier state stopped can only be begun at with a state of one's own (`state`)")]
    PlacesWithoutState,
    #[error(
        "there is a state to go on from, of checkpoint {epoch}, and so nothing to begin at; to begin at the places of an export \
         all the same, move the state folder away"
    )]
    PlacesBesideState { epoch: u64 },
    #[error(
        "the export says how far source `{name}` has been read, and there is no source of that name; if it is not needed any \
         more, take it out of the export"
    )]
    PlacesOfNoSource { name: String },
}

/// A run came to a bad end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A shard panicked: the pipeline's state is unsound, and it stopped.
    #[error("a shard failed: {0}")]
    Shard(String),
    /// Outputs, or what came in, can no longer be kept: what was not told yet is told by the next start.
    #[error("the state can no longer be kept, and the run was ended: {0}")]
    State(#[from] LogError),
    /// The state folder cannot be used; no source was started.
    #[error("the state folder cannot be used: {0}")]
    Folder(#[from] OpenError),
    /// What an earlier run had taken in cannot be read.
    #[error("what came in before cannot be applied again, and the run was ended: {0}")]
    Replay(#[from] ReplayError),
}

/// Asks a running pipeline to drain and end. Cheap to clone.
#[derive(Clone)]
pub struct StopHandle {
    intake: Arc<Intake>,
}

impl StopHandle {
    /// Sources come to an end; what was read is judged and delivered.
    pub fn stop(&self) {
        self.intake.stop();
    }
}

/// Collects the parts of a pipeline.
pub struct PipelineBuilder {
    catalog: Catalog,
    packs: Vec<PackWithLists>,
    zones: ZoneTable,
    sources: Vec<(SourceSpec, Box<dyn Source>)>,
    sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
    limits: Limits,
    shards: usize,
    clock: Arc<dyn Clock>,
    pseudonyms: Option<Pseudonyms>,
    issuers: Issuers,
    timed: bool,
    state: Option<StateSpec>,
    begin_at: Option<Export>,
    rng: Box<dyn Rng>,
}

impl PipelineBuilder {
    /// Adds a checked pack and the lists its rules look things up in.
    #[must_use]
    pub fn pack(self, pack: Pack, lists: Vec<Watchlist>) -> Self {
        self.shared_pack(pack, lists.into_iter().map(Arc::new).collect())
    }

    /// Adds a checked pack whose lists are shared with others.
    #[must_use]
    pub fn shared_pack(mut self, pack: Pack, lists: Vec<Arc<Watchlist>>) -> Self {
        self.packs.push((pack, lists));
        self
    }

    /// Sets the zone table.
    #[must_use]
    pub fn zones(mut self, zones: ZoneTable) -> Self {
        self.zones = zones;
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, spec: SourceSpec, source: impl Source + 'static) -> Self {
        self.sources.push((spec, Box::new(source)));
        self
    }

    /// Adds a source that is boxed already.
    #[must_use]
    pub fn boxed_source(mut self, spec: SourceSpec, source: Box<dyn Source>) -> Self {
        self.sources.push((spec, source));
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(mut self, spec: SinkSpec, sink: impl Sink + 'static) -> Self {
        self.sinks.push((spec, Box::new(sink)));
        self
    }

    /// Adds a sink that is boxed already.
    #[must_use]
    pub fn boxed_sink(mut self, spec: SinkSpec, sink: Box<dyn Sink>) -> Self {
        self.sinks.push((spec, sink));
        self
    }

    /// Sets the bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the number of shards; one per core is the default.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the key of pseudonyms and alert ids; without one it lives and dies with the pipeline.
    #[must_use]
    pub fn pseudonyms(mut self, pseudonyms: Pseudonyms) -> Self {
        self.pseudonyms = Some(pseudonyms);
        self
    }

    /// Sets the keys of those who issue credentials; without any, no credential is valid.
    #[must_use]
    pub fn issuers(mut self, issuers: Issuers) -> Self {
        self.issuers = issuers;
        self
    }

    /// Keeps outputs in this folder until their sinks have taken them; without one, they wait in memory.
    #[must_use]
    pub fn state(mut self, state: StateSpec) -> Self {
        self.state = Some(state);
        self
    }

    /// Reads files and streams on where the state that was exported had got to. For a state folder with nothing in it to go on
    /// from: one that is new, or that was given up.
    #[must_use]
    pub fn begin_at(mut self, export: Export) -> Self {
        self.begin_at = Some(export);
        self
    }

    /// Sets where ids of logs, the number of the run and nonces come from: a simulation repeats itself to the byte.
    #[cfg(test)]
    pub(super) fn rng(mut self, rng: impl Rng + 'static) -> Self {
        self.rng = Box::new(rng);
        self
    }

    /// Takes the time of every rule, for the account at the end.
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Compiles the rules and lays out the columns they read; opens the state folder, if there is to be one.
    pub fn build(mut self) -> Result<Pipeline, BuildError> {
        let (specs, running): (Vec<_>, Vec<_>) =
            self.sources.into_iter().map(|(spec, it)| (spec.clone(), (spec, it))).unzip();
        let columns = Layouts::new(&self.catalog, &BTreeMap::new(), &self.limits).symbols.len();
        let limits = self.limits.within_memory(self.shards, self.sinks.len(), columns)?;
        let intake = Intake::new(&limits, self.shards, running.len(), Arc::clone(&self.clock));
        let blueprint = Blueprint {
            symbols: Blueprint::symbols(&self.catalog, &limits),
            catalog: self.catalog,
            sources: specs,
            zones: Arc::new(self.zones),
            limits,
            pseudonyms: self.pseudonyms.unwrap_or_else(|| Pseudonyms::ephemeral(self.rng.as_mut())),
            clock: self.clock,
            issuers: Arc::new(self.issuers),
            timed: self.timed,
            classes: Arc::default(),
        };
        let mut going_on = match self.state {
            Some(spec) => Some(GoingOn::open(spec, &self.sinks, &blueprint, self.rng)?),
            None => None,
        };
        let plan = blueprint.plan(0, &self.packs)?;
        if let Some(going_on) = &mut going_on {
            going_on.check(&plan)?;
        }
        match (self.begin_at, &mut going_on) {
            (Some(export), Some(going_on)) => going_on.begin_at(export, &plan)?,
            (Some(_), None) => return Err(BuildError::PlacesWithoutState),
            (None, _) => {}
        }
        blueprint.classes.set(overload::classes(&plan));
        let plans = Plans::new(plan, self.packs);
        Ok(Pipeline {
            intake: Arc::new(intake),
            blueprint: Arc::new(blueprint),
            plans: Arc::new(plans),
            sources: running,
            sinks: self.sinks,
            shards: self.shards,
            going_on,
            progress: Arc::default(),
        })
    }
}

/// A pipeline, ready to run.
pub struct Pipeline {
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) plans: Arc<Plans>,
    pub(super) intake: Arc<Intake>,
    sources: Vec<(SourceSpec, Box<dyn Source>)>,
    pub(super) sinks: Vec<(SinkSpec, Box<dyn Sink>)>,
    pub(super) shards: usize,
    pub(super) going_on: Option<GoingOn>,
    pub(super) progress: Arc<Progress>,
}

impl Pipeline {
    /// Starts collecting parts.
    pub fn builder(catalog: Catalog) -> PipelineBuilder {
        PipelineBuilder {
            catalog,
            packs: Vec::new(),
            zones: ZoneTable::default(),
            sources: Vec::new(),
            sinks: Vec::new(),
            limits: Limits::default(),
            shards: thread::available_parallelism().map_or(1, std::num::NonZero::get),
            clock: Arc::new(SystemClock::default()),
            pseudonyms: None,
            issuers: Issuers::default(),
            timed: false,
            state: None,
            begin_at: None,
            rng: Box::new(OsRng),
        }
    }

    /// A way to end the run from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { intake: Arc::clone(&self.intake) }
    }

    /// A way to change the packs while it runs.
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle { blueprint: Arc::clone(&self.blueprint), plans: Arc::clone(&self.plans) }
    }

    /// Live figures.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs until all sources are drained, or until it is stopped and what was read is judged.
    ///
    /// # Errors
    /// When a shard panics, or the state cannot be kept. Failed sources and sinks do not end the run; the summary names them.
    ///
    /// # Panics
    /// When a thread cannot be started.
    pub fn run(self) -> Result<Summary, RunError> {
        let started = Instant::now();
        let names: Vec<String> = self.sources.iter().map(|(spec, _)| spec.name.clone()).collect();
        let Blueprint { limits, clock, .. } = &*self.blueprint;
        let bound_us = limits.latency_bound_ms * 1000;
        let plan = self.plans.current();
        let progress = Arc::clone(&self.progress);
        let (partition, sink_threads, keeping, found) = match self.going_on {
            None => {
                let desk = Desk { clock: Arc::clone(clock), progress: Arc::clone(&progress), bound_us };
                let (router, sink_threads) = Router::start(self.sinks, limits.sink_queue_max, &desk);
                (Partition::new(&plan, router, self.progress), sink_threads, None, None)
            }
            Some(going_on) => {
                let found = going_on.found().clone();
                let started = going_on.assemble(self.sinks, &plan, self.progress, bound_us)?.start(&self.intake);
                (started.partition, started.sink_threads, Some(started.keeping), Some(found))
            }
        };
        let crew = Arc::new(Crew::new(self.shards, Arc::clone(&self.plans), Arc::clone(&self.intake), partition));
        let sources = self.sources;
        let run = thread::scope(|scope| {
            let shards = start_shards(scope, self.shards, &crew);
            let replayed = match keeping {
                None => Ok((Replayed::default(), None)),
                Some(keeping) => {
                    keeping.replay(&self.blueprint, names.len(), &self.intake).map(|(it, on)| (it, Some(on)))
                }
            };
            if replayed.is_err() {
                self.intake.fail();
            }
            let positions = |source| {
                let keeps = matches!(&replayed, Ok((_, Some(_))));
                keeps.then(|| crew.sequencer.look(|partition| partition.files_of(source)).into())
            };
            let hand: Weak<dyn Hand> = Arc::<Crew>::downgrade(&crew);
            let source_threads = start_sources(sources, &self.blueprint, &self.intake, &progress, &hand, positions);
            for shard in shards {
                shard.join().expect("a shard says what it dies of");
            }
            (replayed, source_threads)
        });
        let (replayed, source_threads) = run;
        self.intake.await_applied();
        if let Some(failure) = crew.died_of() {
            return Err(RunError::Shard(failure));
        }
        let (replayed, keeping) = replayed?;
        let failed = self.intake.has_failed();
        let mut source_errors = Vec::new();
        // Where the state has failed nobody waits for sources any more.
        let source_threads = if failed { Vec::new() } else { source_threads };
        for (name, thread) in names.iter().zip(source_threads) {
            if let Some(error) = thread.join().unwrap_or_else(|_| Some("the source panicked".to_owned())) {
                source_errors.push((name.clone(), error));
            }
        }
        let stopped = self.intake.stopping();
        let mut partition = crew.sequencer.end();
        if !stopped {
            partition.end();
        }
        partition.tell_shed(None);
        if !failed {
            partition.save_last(!stopped);
        }
        let mut summary = partition.into_summary();
        if let Some(keeping) = keeping {
            (summary.outputs_too_long, summary.checkpoints) = keeping.end(&self.intake)?;
        }
        for thread in sink_threads {
            let Ok(delivered) = thread.join() else {
                continue;
            };
            let Delivered { name, counts, latency } = delivered?;
            summary.sinks.push((name, counts));
            for ((rule, source), latency) in latency {
                summary.latency.entry(rule).or_default().merge(&latency);
                let source = names[usize::from(source)].clone();
                summary.latency_by_source.entry(source).or_default().merge(&latency);
            }
        }
        (summary.found, summary.replayed) = (found, replayed);
        summary.refused_requests =
            self.intake.refused().into_iter().map(|(source, n)| (names[usize::from(source)].clone(), n)).collect();
        summary.source_errors = source_errors;
        summary.stopped = stopped;
        summary.elapsed = started.elapsed();
        Ok(summary)
    }
}

fn start_sources(
    sources: Vec<(SourceSpec, Box<dyn Source>)>,
    blueprint: &Blueprint,
    intake: &Arc<Intake>,
    progress: &Arc<Progress>,
    hand: &Weak<dyn Hand>,
    positions: impl Fn(u16) -> Option<Arc<[Position]>>,
) -> Vec<thread::JoinHandle<Option<String>>> {
    let mut threads = Vec::new();
    for (index, (spec, source)) in sources.into_iter().enumerate() {
        let feed = Feed {
            source: index as u16,
            name: Arc::from(spec.name.as_str()),
            progress: Arc::clone(progress),
            format: spec.format,
            intake: Arc::clone(intake),
            clock: Arc::clone(&blueprint.clock),
            pseudonyms: blueprint.pseudonyms.clone(),
            record_bytes_max: blueprint.limits.record_bytes_max,
            block_bytes: blueprint.limits.batch_bytes_max,
            sheds: spec.sheds,
            classes: Arc::clone(&blueprint.classes),
            positions: positions(index as u16),
            hand: Weak::clone(hand),
        };
        let intake = Arc::clone(intake);
        let thread = thread::Builder::new()
            .name(format!("source {}", spec.name))
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| source.run(feed)));
                intake.source_ended();
                match result {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some("the source panicked".to_owned()),
                }
            })
            .expect("a thread can be started");
        threads.push(thread);
    }
    threads
}

fn start_shards<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    shards: usize,
    crew: &Arc<Crew>,
) -> Vec<thread::ScopedJoinHandle<'scope, ()>> {
    let start = |number| {
        let crew = Arc::clone(crew);
        let run = move || {
            weir_memory::go_first();
            crew.run_shard(number);
        };
        thread::Builder::new()
            .name(format!("shard {number}"))
            .spawn_scoped(scope, run)
            .expect("a thread can be started")
    };
    (0..shards).map(start).collect()
}

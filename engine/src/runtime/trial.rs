//! A pipeline without threads, in virtual time: for tests of rules, and for asking why.
//!
//! It is the same code: the same decoder, judging and partition, fed by hand. Time is event time
//! only; the wall clock stands before all records, so nothing expires but by the record's own time.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use weir_rules::pack::Pack;
use weir_rules::schema::Catalog;

use super::partition::Partition;
use super::pipeline::{BuildError, SourceSpec};
use super::plan::{Blueprint, PackWithLists, Plan};
use super::shard::Workbench;
use super::state::{SavedState, StateError};
use super::summary::Summary;
use crate::alert::{Output, Router};
use crate::clock::ManualClock;
use crate::credential::Issuers;
use crate::limits::Limits;
use crate::record::{KindRows, Pseudonyms};
use crate::source::{Block, Format, Payload, ShedTally, Taken, Turn};
use crate::watchlist::Watchlist;
use crate::window::ZoneTable;

/// What a trial is made of.
#[derive(Clone)]
pub struct TrialParts {
    /// Kinds of record.
    pub catalog: Catalog,
    /// Packs with their lists.
    pub packs: Vec<(Pack, Vec<Arc<Watchlist>>)>,
    /// Zones.
    pub zones: Arc<ZoneTable>,
    /// Bounds.
    pub limits: Limits,
    /// Key of pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// Keys of those who issue credentials.
    pub issuers: Arc<Issuers>,
}

impl TrialParts {
    /// Without lists and zones.
    pub fn new(catalog: Catalog, packs: Vec<(Pack, Vec<Arc<Watchlist>>)>) -> Self {
        Self {
            catalog,
            packs,
            zones: Arc::default(),
            limits: Limits { max_ahead_ms: i64::MAX, ..Limits::default() },
            pseudonyms: Pseudonyms::from_root(&[0; 32]),
            issuers: Arc::default(),
        }
    }
}

/// A pipeline that is fed by hand.
pub struct Trial {
    blueprint: Blueprint,
    plan: Arc<Plan>,
    bench: Workbench,
    partition: Partition,
    outputs: Receiver<Output>,
    turn: u64,
}

impl Trial {
    /// Plans and starts from nothing.
    pub fn new(parts: TrialParts) -> Result<Self, BuildError> {
        Self::start(parts, None)
    }

    fn start(parts: TrialParts, saved: Option<&SavedState>) -> Result<Self, BuildError> {
        let blueprint = Blueprint {
            symbols: Blueprint::symbols(&parts.catalog, &parts.limits),
            catalog: parts.catalog,
            sources: vec![SourceSpec::new("trial", Format::Ndjson)],
            zones: parts.zones,
            limits: parts.limits,
            pseudonyms: parts.pseudonyms,
            clock: Arc::new(ManualClock::at(0)),
            issuers: parts.issuers,
            timed: false,
            classes: Arc::default(),
        };
        if let Some(saved) = saved {
            saved.seed(&blueprint.symbols);
        }
        let packs: Vec<PackWithLists> = parts.packs;
        let plan = Arc::new(blueprint.plan(0, &packs)?);
        let (router, outputs) = Router::collecting();
        Ok(Self {
            bench: Workbench::new(Arc::clone(&plan)),
            partition: Partition::new(&plan, router, Arc::default()),
            blueprint,
            plan,
            outputs,
            turn: 0,
        })
    }

    /// Goes on from a saved state, as a new process would.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn restore(parts: TrialParts, state: &[u8]) -> Result<Self, StateError> {
        let saved = SavedState::from_bytes(state)?;
        let mut trial = Self::start(parts, Some(&saved)).map_err(|_| StateError::OtherRules)?;
        trial.partition.load(saved)?;
        Ok(trial)
    }

    /// The state as bytes.
    pub fn checkpoint(&self) -> Vec<u8> {
        self.partition.save().to_bytes()
    }

    /// Judges lines of canonical JSON as one batch.
    pub fn feed(&mut self, lines: &str) {
        self.feed_payload(Payload::Lines {
            bytes: Bytes::from(lines.to_owned()),
            format: Format::Ndjson,
            header: None,
        });
    }

    /// Judges what a source has brought as one batch.
    pub fn feed_payload(&mut self, payload: Payload) {
        let block = Block::plain(0, "trial", payload);
        let taken = self.taken(self.turn, block);
        self.turn += 1;
        let judged = self.bench.judge(taken);
        self.partition.apply(judged, || ());
    }

    fn taken(&self, number: u64, block: Block) -> Taken {
        Taken { turn: Turn::at(number, self.wall_ms()), blocks: vec![block], shed: ShedTally::default() }
    }

    /// Takes one line apart without judging it.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn decode(&self, line: &str) -> Result<Vec<KindRows>, String> {
        let payload = Payload::Lines { bytes: Bytes::from(line.to_owned()), format: Format::Ndjson, header: None };
        let taken = self.taken(0, Block::plain(0, "trial", payload));
        let judged = Workbench::new(Arc::clone(&self.plan)).judge(taken);
        match judged.rejected.first() {
            Some((_, rejected)) => Err(rejected.cause.to_string()),
            None => Ok(judged.kinds.into_iter().map(|kind| kind.rows).collect()),
        }
    }

    /// Puts other packs in force, as a reload would.
    pub fn reload(&mut self, packs: &[(Pack, Vec<Arc<Watchlist>>)]) -> Result<(), BuildError> {
        self.plan = Arc::new(self.blueprint.plan(self.plan.generation + 1, packs)?);
        self.bench.turn_to(Arc::clone(&self.plan));
        Ok(())
    }

    /// Lets time run on to a moment, or until nothing is left to happen: windows close, deadlines pass.
    pub fn settle(&mut self, until_ms: Option<i64>) {
        self.partition.settle(until_ms);
    }

    /// What has come out since the last call.
    pub fn outputs(&mut self) -> Vec<Output> {
        self.outputs.try_iter().collect()
    }

    /// The account so far, and the end of the trial.
    pub fn into_summary(self) -> Summary {
        self.partition.into_summary()
    }

    /// The wall clock of the trial.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.plan.clock.wall_ms()
    }

    /// The plan, for those who explain it.
    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Repeats that a rule's `dedupe` has held back so far.
    pub fn suppressed(&self, rule: &str) -> u64 {
        self.plan.rule(rule).map_or(0, |planned| self.partition.suppressed(planned.index))
    }
}

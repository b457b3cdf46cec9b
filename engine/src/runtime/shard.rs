//! What a shard does with what has arrived: all that needs no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::Plan;
use crate::decode::{Arrival, Assembly, Place, Rejected, SourceDecoder};
use crate::operator::digests::Digests;
use crate::operator::draft::Drafts;
use crate::operator::predicate::Matcher;
use crate::operator::probe::Prober;
use crate::operator::steps::StepInput;
use crate::operator::window::{self, BatchDigests, WindowInput};
use crate::operator::{Candidate, Judging, Verdict, judge};
use crate::record::{KindRows, SourceId, SymbolId};
use crate::source::{Block, Extent, Reply, ShedTally, Taken, Turn};

/// The records of one kind, judged as far as that needs no state.
pub(crate) struct JudgedKind {
    pub(crate) rows: KindRows,
    pub(crate) windows: Vec<WindowInput>,
    /// Pseudonyms that windows count.
    pub(crate) digests: BatchDigests,
    pub(crate) steps: Vec<StepInput>,
}

/// What is known of a block whose records have been judged.
pub(crate) struct JudgedBlock {
    pub(crate) source: SourceId,
    pub(crate) read_ns: u64,
    /// Where in a file it lies.
    pub(crate) extent: Option<Extent>,
    /// Who waits for an answer.
    pub(crate) reply: Option<Reply>,
}

/// A batch on its way to the partition.
pub(crate) struct Judged {
    pub(crate) turn: Turn,
    /// The plan it was judged by.
    pub(crate) plan: Arc<Plan>,
    pub(crate) kinds: Vec<JudgedKind>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) rejected: Vec<(Place, Rejected)>,
    pub(crate) received: BTreeMap<SourceId, u64>,
    /// Devices that said that they are there.
    pub(crate) heard: Vec<(SourceId, SymbolId)>,
    /// Devices whose clocks are too far ahead, and by how much, ms.
    pub(crate) ahead: Vec<(SourceId, SymbolId, i64)>,
    pub(crate) blocks: Vec<JudgedBlock>,
    /// When a shard took it up.
    pub(crate) taken_ns: u64,
    /// Records that were let go before this batch.
    pub(crate) shed: ShedTally,
    /// Rows whose condition could not be computed, by rule.
    pub(crate) condition_errors: BTreeMap<usize, u64>,
}

/// What a shard works with under one plan.
pub(super) struct Workbench {
    plan: Arc<Plan>,
    decoders: Vec<SourceDecoder>,
    assembly: Assembly,
}

impl Workbench {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let assembly = Assembly::new(&plan.layouts, &plan.pseudonyms);
        let (layouts, bytes_max) = (&plan.layouts, plan.limits.record_bytes_max);
        let decoder = |source: &Arc<crate::decode::SourcePlan>| {
            SourceDecoder::new(Arc::clone(source), layouts, bytes_max, plan.pseudonyms.clone(), &assembly)
        };
        Self { decoders: plan.sources.iter().map(decoder).collect(), assembly, plan }
    }

    /// What comes next is judged by this plan. Where it reads the same columns as the one before, what builds them is kept
    /// with its symbols: to learn sixty thousand again takes a shard 15 ms.
    pub(super) fn turn_to(&mut self, plan: Arc<Plan>) {
        if plan.generation == self.plan.generation {
            return;
        }
        if plan.read == self.plan.read {
            self.assembly.verify_with(&plan.layouts.verifier);
            self.plan = plan;
        } else {
            *self = Self::new(plan);
        }
    }

    /// Does with a turn all that needs no state.
    pub(super) fn judge(&mut self, taken: Taken) -> Judged {
        let plan = &self.plan;
        let (wall_ms, taken_ns) = (taken.turn.now_ms, plan.clock.monotonic_ns());
        self.assembly.start(wall_ms.saturating_add(plan.limits.max_ahead_ms));
        let mut blocks = Vec::with_capacity(taken.blocks.len());
        for (index, block) in taken.blocks.into_iter().enumerate() {
            self.decoders[usize::from(block.source)].decode(index as u32, &block, &mut self.assembly);
            let Block { source, received_ns: read_ns, extent, reply, .. } = block;
            blocks.push(JudgedBlock { source, read_ns, extent, reply });
        }
        let kinds = self.assembly.finish();
        let mut judged = Judged {
            turn: taken.turn,
            plan: Arc::clone(plan),
            kinds: Vec::with_capacity(kinds.len()),
            candidates: Vec::new(),
            arrivals: std::mem::take(&mut self.assembly.arrivals),
            rejected: std::mem::take(&mut self.assembly.rejected),
            received: std::mem::take(&mut self.assembly.received),
            heard: std::mem::take(&mut self.assembly.heard),
            ahead: std::mem::take(&mut self.assembly.ahead),
            blocks,
            taken_ns,
            shed: taken.shed,
            condition_errors: BTreeMap::new(),
        };
        for rows in kinds {
            judge_kind(plan, rows, wall_ms, &mut judged);
        }
        judged
    }
}

fn judge_kind(plan: &Plan, rows: KindRows, wall_ms: i64, judged: &mut Judged) {
    let kind = usize::from(rows.kind);
    let judging = Judging {
        layout: &plan.layouts.kinds[kind],
        rows: &rows,
        subjects: &plan.subjects,
        matcher: Matcher::new(&plan.predicates[kind], &rows.batch),
        prober: Prober::new(&plan.probes[kind], &rows, wall_ms),
        digests: Digests::new(&rows, &plan.subjects),
        drafts: Drafts::new(&rows),
    };
    let mut steps = Vec::new();
    for &index in &plan.rules_of_kind[kind] {
        let (verdict, errors) = plan.timed(index, || judge(&plan.rules[index], &judging));
        if errors > 0 {
            *judged.condition_errors.entry(index).or_default() += errors;
        }
        match verdict {
            Verdict::Candidates(mut candidates) => judged.candidates.append(&mut candidates),
            Verdict::Steps(input) if input.observations.is_empty() => {}
            Verdict::Steps(input) => steps.push(input),
        }
    }
    let mut windows = Vec::new();
    for &index in &plan.panes_of_kind[kind] {
        let panes = &plan.panes[index];
        let (input, errors) = plan.timed(panes.rules[0], || window::prepare(panes, index, &judging));
        if errors > 0 {
            for rule in &panes.rules {
                *judged.condition_errors.entry(*rule).or_default() += errors;
            }
        }
        windows.extend(input);
    }
    let digests = judging.digests.into_columns();
    judged.kinds.push(JudgedKind { rows, windows, digests, steps });
}

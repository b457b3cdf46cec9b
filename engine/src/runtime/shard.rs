//! A shard: takes what has arrived, and does all that needs no state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::plan::Plan;
use super::sequencer::Sequencer;
use crate::decode::{Arrival, Assembly, Place, Rejected, SourceDecoder};
use crate::operator::{Candidate, Judging, Verdict, judge, window::WindowInput};
use crate::record::{KindRows, SourceId};
use crate::source::{Intake, Reply};

/// How long a shard waits for records before it lets time pass.
const PATIENCE: Duration = Duration::from_millis(50);

/// The records of one kind, judged as far as that needs no state.
pub(crate) struct JudgedKind {
    pub(crate) rows: KindRows,
    pub(crate) windows: Vec<WindowInput>,
}

/// A batch on its way to the partition.
pub(crate) struct Judged {
    pub(crate) turn: u64,
    pub(crate) kinds: Vec<JudgedKind>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) rejected: Vec<(Place, Rejected)>,
    pub(crate) received: BTreeMap<SourceId, u64>,
    /// For each block: when it was read, and who waits for an answer.
    pub(crate) blocks: Vec<(u64, Option<Reply>)>,
    /// Rows whose condition could not be computed, by rule.
    pub(crate) condition_errors: BTreeMap<usize, u64>,
}

/// Runs until nothing will come any more.
pub(super) fn run(plan: &Arc<Plan>, intake: &Intake, sequencer: &Sequencer) {
    let mut decoders: Vec<SourceDecoder> = plan
        .sources
        .iter()
        .map(|source| {
            SourceDecoder::new(Arc::clone(source), &plan.layouts, plan.limits.record_bytes_max, plan.pseudonyms.clone())
        })
        .collect();
    let mut assembly = Assembly::new(&plan.layouts, &plan.pseudonyms);
    while let Some(taken) = intake.take(PATIENCE) {
        let wall_ms = plan.clock.wall_ms();
        assembly.start(wall_ms.saturating_add(plan.limits.max_ahead_ms));
        let mut blocks = Vec::with_capacity(taken.blocks.len());
        for (index, block) in taken.blocks.into_iter().enumerate() {
            decoders[usize::from(block.source)].decode(index as u32, &block, &mut assembly);
            blocks.push((block.received_ns, block.reply));
        }
        let kinds = assembly.finish();
        let mut judged = Judged {
            turn: taken.turn,
            kinds: Vec::with_capacity(kinds.len()),
            candidates: Vec::new(),
            arrivals: std::mem::take(&mut assembly.arrivals),
            rejected: std::mem::take(&mut assembly.rejected),
            received: std::mem::take(&mut assembly.received),
            blocks,
            condition_errors: BTreeMap::new(),
        };
        for rows in kinds {
            judge_kind(plan, rows, wall_ms, &mut judged);
        }
        sequencer.submit(judged);
    }
}

fn judge_kind(plan: &Plan, rows: KindRows, wall_ms: i64, judged: &mut Judged) {
    let kind = usize::from(rows.kind);
    let judging = Judging { layout: &plan.layouts.kinds[kind], rows: &rows, pseudonyms: &plan.pseudonyms, wall_ms };
    let mut windows = Vec::new();
    for &index in &plan.rules_of_kind[kind] {
        let (verdict, errors) = judge(&plan.rules[index], &judging);
        if errors > 0 {
            *judged.condition_errors.entry(index).or_default() += errors;
        }
        match verdict {
            Verdict::Candidates(mut candidates) => judged.candidates.append(&mut candidates),
            Verdict::Window(input) => windows.push(input),
        }
    }
    judged.kinds.push(JudgedKind { rows, windows });
}

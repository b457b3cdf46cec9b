//! The sequences and absences of a partition.

use serde::{Deserialize, Serialize};
use weir_rules::pack::Body;

use super::fate::KindFates;
use super::plan::Plan;
use super::shard::JudgedKind;
use crate::alert::Alert;
use crate::operator::absence::{AbsenceOperator, SavedAbsence};
use crate::operator::held::Held;
use crate::operator::sequence::{SavedSequence, SequenceOperator};
use crate::window::Devices;

enum StepOperator {
    Sequence(SequenceOperator),
    Absence(AbsenceOperator),
}

impl StepOperator {
    fn held(&mut self) -> &mut Held {
        match self {
            Self::Sequence(operator) => &mut operator.held,
            Self::Absence(operator) => &mut operator.held,
        }
    }
}

/// By position in the plan's rules; `None` for other kinds of rule.
pub(super) struct StepSet {
    rules: Vec<Option<StepOperator>>,
}

/// A [`StepSet`] as it is kept in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) enum SavedSteps {
    None,
    Sequence(SavedSequence),
    Absence(SavedAbsence),
}

impl SavedSteps {
    /// Keys of which something is kept.
    pub(super) fn keys(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Sequence(saved) => saved.keys(),
            Self::Absence(saved) => saved.keys(),
        }
    }
}

/// A record that came too late for a rule.
pub(super) struct LateStep {
    pub(super) rule: usize,
    pub(super) record: usize,
    pub(super) late_by_ms: i64,
}

/// What a rule keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepAccount {
    pub(super) keys: usize,
    pub(super) keys_evicted: u64,
    pub(super) waiting: usize,
    pub(super) overflow: u64,
}

impl StepSet {
    pub(super) fn new(plan: &Plan) -> Self {
        let operator = |body: &Body| match body {
            Body::Sequence(spec) => Some(StepOperator::Sequence(SequenceOperator::new(spec, &plan.limits))),
            Body::Absence(spec) => Some(StepOperator::Absence(AbsenceOperator::new(spec, &plan.limits))),
            Body::Match | Body::Watchlist(_) | Body::Window(_) => None,
        };
        Self { rules: plan.rules.iter().map(|planned| operator(&planned.rule.body)).collect() }
    }

    /// Takes over from the set of another plan what means the same under this one.
    pub(super) fn take_over(&mut self, old: Self, old_plan: &Plan, plan: &Plan) {
        for (planned, operator) in old_plan.rules.iter().zip(old.rules) {
            if let (Some(place), Some(operator)) = (plan.place_of(&planned.rule), operator) {
                self.rules[place] = Some(operator);
            }
        }
    }

    /// Takes the records of a batch. Gives those that came too late.
    pub(super) fn fill(&mut self, judged: &mut JudgedKind, fates: &KindFates) -> Vec<LateStep> {
        let mut late = Vec::new();
        for input in std::mem::take(&mut judged.steps) {
            let Some(operator) = &mut self.rules[input.rule] else { continue };
            for observation in input.observations {
                let record = observation.record as usize;
                let Some(progress_ms) = fates[record].progress_ms() else { continue };
                match operator.held().late_by_ms(observation.ts_ms, progress_ms) {
                    Some(late_by_ms) => late.push(LateStep { rule: input.rule, record, late_by_ms }),
                    None => operator.held().add(observation),
                }
            }
        }
        late
    }

    /// Follows what the watermarks have passed; no deadline after `deadlines_to_ms` is over yet. Alerts go to
    /// `emit` with the position of their rule.
    pub(super) fn advance(
        &mut self,
        plan: &Plan,
        devices: &mut Devices,
        now_ms: i64,
        deadlines_to_ms: i64,
        mut emit: impl FnMut(usize, Alert),
    ) {
        let symbols = &plan.layouts.symbols;
        let mut watermarks: Vec<Option<i64>> = vec![None; plan.layouts.kinds.len()];
        for (index, operator) in self.rules.iter_mut().enumerate() {
            let Some(operator) = operator else { continue };
            let planned = &plan.rules[index];
            let watermark_ms = *watermarks[usize::from(planned.kind)].get_or_insert_with(|| {
                let silent_ms = devices.silent_until(planned.kind, now_ms).unwrap_or(i64::MIN);
                devices.advance(planned.kind).max(silent_ms)
            });
            plan.timed(index, || match (operator, &planned.rule.body) {
                (StepOperator::Sequence(operator), Body::Sequence(spec)) => {
                    operator.advance(planned, spec, symbols, watermark_ms, |alert| emit(index, alert));
                }
                (StepOperator::Absence(operator), Body::Absence(spec)) => {
                    operator.advance(planned, spec, symbols, watermark_ms, deadlines_to_ms, |alert| emit(index, alert));
                }
                _ => debug_assert!(false, "an operator is of its rule's kind"),
            });
        }
    }

    /// What a rule keeps.
    pub(super) fn account(&self, rule: usize) -> StepAccount {
        let (held, (keys, keys_evicted)) = match &self.rules[rule] {
            Some(StepOperator::Sequence(operator)) => (&operator.held, operator.keys()),
            Some(StepOperator::Absence(operator)) => (&operator.held, operator.keys()),
            None => return StepAccount::default(),
        };
        StepAccount { keys, keys_evicted, waiting: held.len(), overflow: held.overflow }
    }

    pub(super) fn save(&self) -> Vec<SavedSteps> {
        self.rules
            .iter()
            .map(|operator| match operator {
                Some(StepOperator::Sequence(operator)) => SavedSteps::Sequence(operator.save()),
                Some(StepOperator::Absence(operator)) => SavedSteps::Absence(operator.save()),
                None => SavedSteps::None,
            })
            .collect()
    }

    /// `place` says where a rule of the state stands by now.
    pub(super) fn load(&mut self, saved: Vec<SavedSteps>, place: impl Fn(usize) -> Option<usize>) {
        for (rule, saved) in saved.into_iter().enumerate() {
            match (place(rule).and_then(|rule| self.rules[rule].as_mut()), saved) {
                (Some(StepOperator::Sequence(operator)), SavedSteps::Sequence(saved)) => operator.load(saved),
                (Some(StepOperator::Absence(operator)), SavedSteps::Absence(saved)) => operator.load(saved),
                _ => {}
            }
        }
    }
}

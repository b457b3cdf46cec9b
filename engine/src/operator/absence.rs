//! `absence`: something happened for a key, and what should have followed did not come in time.
//!
//! A key waits once: what happens again while it waits does not extend its time. What should follow
//! counts if it is strictly later, and at the last moment at the latest. The alert is of the moment
//! at which the time was over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::AbsenceSpec;

use super::PlannedRule;
use super::held::{Held, Keyed, SavedKeys, groups};
use super::steps::Observation;
use crate::alert::{Alert, AlertIdentity, digest_bytes, format_time};
use crate::limits::Limits;
use crate::record::SymbolTables;
use crate::testing::sabotage::{self, Wrong};

const AFTER: u16 = 1;
const EXPECT: u16 = 2;

/// State of one absence rule.
pub(crate) struct AbsenceOperator {
    pub(crate) held: Held,
    /// By key, what happened; each ends at its deadline.
    waits: Keyed<Observation>,
}

/// The state as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedAbsence {
    waiting: Vec<Observation>,
    overflow: u64,
    waits: SavedKeys<Observation>,
}

impl SavedAbsence {
    /// What is waited for.
    pub(crate) fn keys(&self) -> usize {
        self.waits.len()
    }
}

impl AbsenceOperator {
    pub(crate) fn new(spec: &AbsenceSpec, limits: &Limits) -> Self {
        Self {
            held: Held::new(spec.lateness_ms, limits.held_observations_max),
            waits: Keyed::new(limits.sequence_keys_max),
        }
    }

    /// Follows what lies before the watermark, lateness taken off. No deadline after `deadlines_to_ms` is over
    /// yet, whatever the watermark. Alerts go to `emit` in order of time.
    pub(crate) fn advance(
        &mut self,
        planned: &PlannedRule,
        spec: &AbsenceSpec,
        symbols: &SymbolTables,
        watermark_ms: i64,
        deadlines_to_ms: i64,
        mut emit: impl FnMut(Alert),
    ) {
        let before_ms = watermark_ms.saturating_sub(self.held.lateness_ms());
        let passed = self.held.take_before(before_ms);
        for group in groups(&passed) {
            let (ts_ms, key) = (group[0].ts_ms, group[0].key);
            self.let_pass(planned, symbols, ts_ms, &mut emit);
            let steps = group.iter().fold(0, |steps, it| steps | it.steps);
            let steps = if sabotage::is(Wrong::ExpectIgnored) { steps & !EXPECT } else { steps };
            if steps & EXPECT != 0 && self.waits.get(key).is_some_and(|wait| wait.ts_ms < ts_ms) {
                self.waits.remove(key);
            }
            if steps & AFTER != 0
                && self.waits.get(key).is_none()
                && let Some(first) = group.iter().find(|it| it.steps & AFTER != 0)
            {
                self.waits.set(key, ts_ms + spec.within_ms, first.clone());
            }
        }
        self.let_pass(planned, symbols, before_ms.min(deadlines_to_ms.saturating_add(1)), &mut emit);
    }

    /// Deadlines before a moment are over.
    fn let_pass(
        &mut self,
        planned: &PlannedRule,
        symbols: &SymbolTables,
        before_ms: i64,
        emit: &mut impl FnMut(Alert),
    ) {
        while let Some((_, deadline_ms, wait)) = self.waits.pop_before(before_ms) {
            emit(alert(planned, symbols, &wait, deadline_ms));
        }
    }

    /// Keys that wait, and those that left for want of room.
    pub(crate) fn keys(&self) -> (usize, u64) {
        (self.waits.len(), self.waits.evicted)
    }

    pub(crate) fn save(&self) -> SavedAbsence {
        SavedAbsence { waiting: self.held.save(), overflow: self.held.overflow, waits: self.waits.save() }
    }

    pub(crate) fn load(&mut self, saved: SavedAbsence) {
        self.held.load(saved.waiting);
        self.held.overflow = saved.overflow;
        self.waits.load(saved.waits);
    }
}

fn alert(planned: &PlannedRule, symbols: &SymbolTables, wait: &Observation, deadline_ms: i64) -> Alert {
    let identity = AlertIdentity {
        rule: &planned.rule.id,
        rule_version: &planned.rule.version,
        subject: &digest_bytes(wait.key),
        trigger: &digest_bytes(wait.event),
        ordinal: "",
    };
    let own = BTreeMap::from([("since", format_time(wait.ts_ms)), ("deadline", format_time(deadline_ms))]);
    let draft = wait.draft.as_ref().expect("what happened has a draft");
    draft.alert(planned, symbols, identity.id(), format_time(deadline_ms), wait.hit.as_deref(), &own)
}

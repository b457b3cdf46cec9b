//! `sequence`: steps in order for one key, within a time.
//!
//! Of all ways in which the steps so far can be chosen, the one that started last is kept for each
//! step: if any way leads to the end in time, it does (skip-till-any-match of one key; Agrawal et
//! al., SIGMOD 2008, with what is kept cut down to one number a step). Steps are strictly later
//! than the one before; records of one instant are taken together. After an alert its key starts
//! from nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::SequenceSpec;
use weir_rules::units::format_duration_ms;

use super::PlannedRule;
use super::held::{Held, Keyed, SavedKeys, groups};
use super::steps::Observation;
use crate::alert::plain_hit;
use crate::alert::{Alert, AlertIdentity, Hit, digest_bytes, format_time};
use crate::limits::Limits;
use crate::record::SymbolTables;
use crate::testing::sabotage::{self, Wrong};

/// Where a way began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Start {
    ts_ms: i64,
    #[serde(with = "plain_hit")]
    hit: Option<Box<Hit>>,
}

/// For each step but the last, the latest start of a way that has reached it.
type Reached = Vec<Option<Start>>;

/// State of one sequence rule.
pub(crate) struct SequenceOperator {
    pub(crate) held: Held,
    keys: Keyed<Reached>,
}

/// The state as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedSequence {
    waiting: Vec<Observation>,
    overflow: u64,
    keys: SavedKeys<Reached>,
}

impl SavedSequence {
    /// Ways that have begun.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl SequenceOperator {
    pub(crate) fn new(spec: &SequenceSpec, limits: &Limits) -> Self {
        Self {
            held: Held::new(spec.lateness_ms, limits.held_observations_max),
            keys: Keyed::new(limits.sequence_keys_max),
        }
    }

    /// Follows what lies before the watermark, lateness taken off. Alerts go to `emit` in order of time.
    pub(crate) fn advance(
        &mut self,
        planned: &PlannedRule,
        spec: &SequenceSpec,
        symbols: &SymbolTables,
        watermark_ms: i64,
        mut emit: impl FnMut(Alert),
    ) {
        let before_ms = watermark_ms.saturating_sub(self.held.lateness_ms());
        let passed = self.held.take_before(before_ms);
        for group in groups(&passed) {
            while self.keys.pop_before(group[0].ts_ms).is_some() {}
            if let Some((start, last)) = self.follow(spec, group) {
                emit(alert(planned, symbols, &start, last));
            }
        }
        while self.keys.pop_before(before_ms).is_some() {}
    }

    /// Takes the records of one key and instant; the start and the last record of a way that is complete.
    fn follow<'g>(&mut self, spec: &SequenceSpec, group: &'g [Observation]) -> Option<(Start, &'g Observation)> {
        let (ts_ms, key) = (group[0].ts_ms, group[0].key);
        let steps = group.iter().fold(0, |steps, it| steps | it.steps);
        let last = spec.steps.len() - 1;
        let known = self.keys.get(key);
        let order_ignored = sabotage::is(Wrong::OrderIgnored);
        // Most of what could be a later step follows nothing.
        if known.is_none() && steps & 1 == 0 && !order_ignored {
            return None;
        }
        let mut reached: Reached = known.cloned().unwrap_or_else(|| vec![None; last]);
        if order_ignored {
            for step in (0..last).filter(|step| steps >> step & 1 == 1) {
                reached[step].get_or_insert(Start { ts_ms, hit: None });
            }
            if steps >> last & 1 == 1 && reached.iter().any(Option::is_none) {
                reached[last - 1].get_or_insert(Start { ts_ms, hit: None });
            }
        }
        let in_time = |start: &Start| ts_ms - start.ts_ms <= spec.within_ms;
        // From the end to the start, so that no record is two steps of one way.
        if steps >> last & 1 == 1
            && let Some(start) = reached[last - 1].clone().filter(in_time)
            && let Some(told) = group.iter().find(|it| it.steps >> last & 1 == 1)
        {
            self.keys.remove(key);
            return Some((start, told));
        }
        for step in (1..last).rev().filter(|step| steps >> step & 1 == 1) {
            let Some(start) = reached[step - 1].clone().filter(in_time) else { continue };
            if reached[step].as_ref().is_none_or(|known| known.ts_ms < start.ts_ms) {
                reached[step] = Some(start);
            }
        }
        if let Some(first) = group.iter().find(|it| it.steps & 1 == 1) {
            reached[0] = Some(Start { ts_ms, hit: first.hit.clone() });
        }
        if let Some(newest_ms) = reached.iter().flatten().map(|start| start.ts_ms).max() {
            self.keys.set(key, newest_ms + spec.within_ms, reached);
        }
        None
    }

    /// Keys that are under way, and those that left for want of room.
    pub(crate) fn keys(&self) -> (usize, u64) {
        (self.keys.len(), self.keys.evicted)
    }

    pub(crate) fn save(&self) -> SavedSequence {
        SavedSequence { waiting: self.held.save(), overflow: self.held.overflow, keys: self.keys.save() }
    }

    pub(crate) fn load(&mut self, saved: SavedSequence) {
        self.held.load(saved.waiting);
        self.held.overflow = saved.overflow;
        self.keys.load(saved.keys);
    }
}

fn alert(planned: &PlannedRule, symbols: &SymbolTables, start: &Start, last: &Observation) -> Alert {
    let identity = AlertIdentity {
        rule: &planned.rule.id,
        rule_version: &planned.rule.version,
        subject: &digest_bytes(last.key),
        trigger: &digest_bytes(last.event),
        ordinal: "",
    };
    let own =
        BTreeMap::from([("started", format_time(start.ts_ms)), ("took", format_duration_ms(last.ts_ms - start.ts_ms))]);
    let draft = last.draft.as_ref().expect("the last step has a draft");
    draft.alert(planned, symbols, identity.id(), format_time(last.ts_ms), start.hit.as_deref(), &own)
}

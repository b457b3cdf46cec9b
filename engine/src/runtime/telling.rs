//! The partition's last step: what is told, told again, or taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_rules::pack::{Review, Status};

use super::fate::{Fate, Fates};
use super::partition::Partition;
use super::shard::{Judged, JudgedKind};
use super::told::{Telling, ToldAlert};
use crate::alert::{Alert, Guards, Output};
use crate::metrics::Passage;
use crate::operator::{Candidate, PlannedRule, blank_alert};
use crate::record::{KindId, ReadState};

/// Time of a turn that may go into looking for alerts to take back.
const REVIEW_BUDGET_NS: u64 = 20_000;
/// The same of a turn in which nothing has arrived.
const REVIEW_BUDGET_IDLE_NS: u64 = 2_000_000;

impl Partition {
    /// Alerts of rules that answer at once, and corrections of those that were told before: record by record in
    /// order of arrival.
    pub(super) fn send_candidates(&mut self, judged: &mut Judged, fates: &Fates) {
        let corrects =
            |kind: &JudgedKind| kind.rows.tracks.iter().flatten().any(|it| it.state == ReadState::Correction);
        if judged.candidates.is_empty() && !judged.kinds.iter().any(corrects) {
            return;
        }
        // Records of a kind arrive in their order: the n-th entry is where record n arrived.
        let mut positions: Vec<Vec<usize>> = vec![Vec::new(); self.plan.layouts.kinds.len()];
        for (position, arrival) in judged.arrivals.iter().enumerate() {
            positions[usize::from(arrival.kind)].push(position);
        }
        let plan = Arc::clone(&self.plan);
        let mut by_position: BTreeMap<usize, Vec<Candidate>> = BTreeMap::new();
        for candidate in std::mem::take(&mut judged.candidates) {
            let kind = usize::from(plan.rules[candidate.rule].kind);
            by_position.entry(positions[kind][candidate.record as usize]).or_default().push(candidate);
        }
        for kind in &judged.kinds {
            let tracks = kind.rows.tracks.iter().enumerate();
            for (record, _) in tracks.filter(|(_, it)| it.is_some_and(|it| it.state == ReadState::Correction)) {
                by_position.entry(positions[usize::from(kind.rows.kind)][record]).or_default();
            }
        }
        let rows_of = |kind: KindId| judged.kinds.iter().map(|judged| &judged.rows).find(|rows| rows.kind == kind);
        for (position, mut candidates) in by_position {
            let arrival = &judged.arrivals[position];
            if fates.of_kind[usize::from(arrival.kind)][arrival.record as usize] == Fate::Duplicate {
                continue;
            }
            let Some(rows) = rows_of(arrival.kind) else { continue };
            let (track, ts_ms) = (rows.track_of(arrival.record), rows.ts[arrival.record as usize]);
            let block = &judged.blocks[arrival.place.block as usize];
            let passage =
                Passage { source: block.source, read_ns: block.read_ns, taken_ns: judged.taken_ns, told_ns: 0 };
            if track.is_some_and(|track| self.told.is_outdated(track, ts_ms)) {
                continue;
            }
            candidates.sort_by_key(|candidate| candidate.rule);
            let mut confirmed = Vec::new();
            for mut candidate in candidates {
                candidate.alert.passage = passage;
                confirmed.extend(track.is_some().then(|| candidate.alert.alert_id.clone()));
                self.tell(&plan.rules[candidate.rule], candidate);
            }
            if let Some(track) = track.filter(|track| track.state == ReadState::Correction && track.reads) {
                for told in self.told.correct(track, ts_ms, &confirmed) {
                    if let Some(key) = told.key {
                        self.suppression.take_back(told.rule, key, told.ts_ms);
                    }
                    self.take_back(&told, "retracted", "the device corrected what it had read", passage);
                }
            }
        }
    }

    /// Tells of a candidate, unless it is a repeat.
    fn tell(&mut self, planned: &PlannedRule, mut candidate: Candidate) {
        let telling = match candidate.track {
            Some(_) => self.told.telling(&candidate.alert),
            None => Telling::New,
        };
        let mut posts_know = false;
        let repeat = match (&telling, &planned.rule.alerting.dedupe, candidate.key) {
            (Telling::Repeat, ..) => true,
            (Telling::New, Some(dedupe), Some(key)) => {
                !self.suppression.admit(candidate.rule, key, candidate.ts_ms, dedupe.for_ms)
            }
            _ => false,
        };
        if repeat {
            self.rules[candidate.rule].suppressed += 1;
            return;
        }
        if let Telling::Revision(revision, known) = telling {
            candidate.alert.revision = revision;
            candidate.alert.change = Some("revised");
            posts_know = known;
        }
        self.told.note(&candidate);
        self.send_alert(planned, candidate.alert, posts_know);
    }

    /// Tells those who heard of an alert that it does not hold.
    fn take_back(&mut self, told: &ToldAlert, change: &'static str, why: &str, passage: Passage) {
        let plan = Arc::clone(&self.plan);
        let planned = &plan.rules[told.rule];
        let [site, zone, device] = told.place.clone();
        let alert = Alert {
            revision: told.revision,
            change: Some(change),
            site,
            zone,
            device,
            hit: told.hit.as_deref().cloned(),
            say: Some(format!("{change}: {why}")),
            passage,
            ..blank_alert(planned, told.alert_id.clone(), told.ts.clone())
        };
        self.send_alert(planned, alert, told.paged);
    }

    /// Sends an alert to the sinks that may take it. What posts have been told they are told the rest of.
    pub(super) fn send_alert(&mut self, planned: &PlannedRule, mut alert: Alert, posts_know: bool) {
        alert.passage.told_ns = self.plan.clock.monotonic_ns();
        let counts = &mut self.rules[planned.index];
        if alert.revision == 0 {
            counts.alerts += 1;
            counts.tally.add(&alert);
        } else {
            counts.revisions += 1;
        }
        if planned.rule.status == Status::Shadow {
            return;
        }
        self.progress.add(0, 1);
        let guards = Guards {
            review_required: planned.rule.alerting.review == Review::Required,
            unsure: !posts_know && alert.hit.as_ref().is_some_and(|hit| !hit.may_page()),
        };
        let output = Output::Alert(Arc::new(alert));
        let sent = self.router.send(&output, &planned.rule.purpose, guards, &planned.route);
        counts.unrouted += u64::from(sent == 0);
    }

    /// Takes back what stands on entries that the lists in force do not hold any more: as far as a turn's budget allows.
    /// Turns are applied one after the other, so what this takes everybody waits for; a swap must hold nobody up
    /// however much has been told.
    pub(super) fn withdraw(&mut self, idle: bool) {
        let budget_ns = if idle { REVIEW_BUDGET_IDLE_NS } else { REVIEW_BUDGET_NS };
        let started_ns = self.plan.clock.monotonic_ns();
        while self.told.is_reviewing() {
            self.withdraw_some();
            if self.plan.clock.monotonic_ns().saturating_sub(started_ns) > budget_ns {
                break;
            }
        }
    }

    fn withdraw_some(&mut self) {
        let plan = Arc::clone(&self.plan);
        let withdrawn = self.told.withdraw(|told, hit, listed| {
            let planned = &plan.rules[told.rule];
            planned.probe.is_none_or(|probe| {
                let list = &plan.probes[usize::from(planned.kind)][probe].list;
                list.still_lists(&hit.entry_id, listed, i64::MIN)
            })
        });
        for told in withdrawn {
            if let Some(key) = told.key {
                self.suppression.take_back(told.rule, key, told.ts_ms);
            }
            self.withdrawn += 1;
            let why = "the authority withdrew the entry it stood on";
            let now_ns = plan.clock.monotonic_ns();
            let passage = Passage { read_ns: now_ns, taken_ns: now_ns, ..self.last_passage };
            self.take_back(&told, "withdrawn", why, passage);
        }
    }
}

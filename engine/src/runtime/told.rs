//! What has been told, as long as it may have to be taken back.
//!
//! A device may correct a read (Axis UPDATE and LOST, DOMAIN.md 2.3), and an authority may withdraw an
//! entry: the alert that stood on it is revised under its id. What is kept of an alert holds no clear
//! identifier: its id, place and time, the entry it hit, and pseudonyms of the passage and of the key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Hit, plain_hit};
use crate::operator::Candidate;
use crate::record::{Digest, Track};
use crate::slots::{Slots, Snapshot};

/// Alerts looked at in one go: some ten microseconds.
const REVIEW_SLICE: usize = 32;

/// An alert that was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ToldAlert {
    /// Position of its rule.
    pub(crate) rule: usize,
    pub(crate) alert_id: String,
    pub(crate) revision: u32,
    /// Whether it has not been taken back.
    pub(crate) standing: bool,
    /// Whether a post was ever paged about it.
    pub(crate) paged: bool,
    pub(crate) ts: String,
    pub(crate) ts_ms: i64,
    pub(crate) place: [Option<String>; 3],
    #[serde(with = "plain_hit")]
    pub(crate) hit: Option<Box<Hit>>,
    /// Stands for what the entry is found by.
    pub(crate) listed: Option<Digest>,
    /// Stands for the passage, if the device numbers them.
    track: Option<Digest>,
    /// Suppression key.
    pub(crate) key: Option<Digest>,
    /// Digest of what it said.
    content: u64,
}

/// What becomes of an alert that a rule wants to give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It has not been told.
    New,
    /// It has been told, in these words.
    Repeat,
    /// It has been told in other words, or was taken back: this is its next revision. Whether posts know of it.
    Revision(u32, bool),
}

/// All alerts that may have to be taken back.
pub(crate) struct Told {
    alerts: Slots<ToldAlert>,
    by_id: BTreeMap<Arc<str>, u32>,
    /// Each passage, and its newest record.
    passages: Slots<(Digest, i64)>,
    /// The slot of a passage, and ids of its alerts.
    tracks: BTreeMap<Digest, (u32, Vec<Arc<str>>)>,
    /// By the time at which they may be forgotten.
    forget: BTreeSet<(i64, Arc<str>)>,
    alerts_max: usize,
    for_ms: i64,
    newest_ms: i64,
    /// The last alert that was looked at since lists changed; `None` when all have been.
    reviewed_to: Option<String>,
    /// Forgotten before their time because there was no room.
    pub(crate) evicted: u64,
}

/// [`Told`] as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedTold {
    alerts: Snapshot<ToldAlert>,
    tracks: Snapshot<(Digest, i64)>,
    newest_ms: i64,
    reviewed_to: Option<String>,
    evicted: u64,
}

impl SavedTold {
    /// Alerts that may have to be taken back.
    pub(crate) fn alerts(&self) -> usize {
        self.alerts.len()
    }
}

impl Told {
    pub(crate) fn new(alerts_max: usize, for_ms: i64) -> Self {
        Self {
            alerts: Slots::new(),
            by_id: BTreeMap::new(),
            passages: Slots::new(),
            tracks: BTreeMap::new(),
            forget: BTreeSet::new(),
            alerts_max,
            for_ms,
            newest_ms: i64::MIN,
            reviewed_to: None,
            evicted: 0,
        }
    }

    fn get(&self, id: &str) -> Option<&ToldAlert> {
        self.by_id.get(id).map(|slot| self.alerts.get(*slot))
    }

    /// What becomes of a candidate of a passage.
    pub(crate) fn telling(&self, alert: &Alert) -> Telling {
        match self.get(&alert.alert_id) {
            None => Telling::New,
            Some(told) if told.standing && told.content == content_of(alert) => Telling::Repeat,
            Some(told) => Telling::Revision(told.revision + 1, told.paged),
        }
    }

    /// Notes what has been told, if it may have to be taken back.
    pub(crate) fn note(&mut self, candidate: &Candidate) {
        let Candidate { alert, track, listed, ts_ms, .. } = candidate;
        if track.is_none() && listed.is_none() {
            return;
        }
        let may_page = alert.hit.as_ref().is_none_or(Hit::may_page);
        let paged = may_page || self.get(&alert.alert_id).is_some_and(|told| told.paged);
        let told = ToldAlert {
            rule: candidate.rule,
            alert_id: alert.alert_id.clone(),
            revision: alert.revision,
            standing: true,
            paged,
            ts: alert.ts.clone(),
            ts_ms: *ts_ms,
            place: [alert.site.clone(), alert.zone.clone(), alert.device.clone()],
            hit: alert.hit.clone().map(Box::new),
            listed: *listed,
            track: track.map(|track| track.id),
            key: candidate.key,
            content: content_of(alert),
        };
        self.insert(told);
        self.sweep(*ts_ms);
    }

    fn insert(&mut self, told: ToldAlert) {
        let ts_ms = told.ts_ms;
        let known = self.by_id.get_key_value(told.alert_id.as_str()).map(|(id, slot)| (Arc::clone(id), *slot));
        let id = known.as_ref().map_or_else(|| Arc::from(told.alert_id.as_str()), |(id, _)| Arc::clone(id));
        if let Some(track) = told.track {
            let (slot, ids) =
                self.tracks.entry(track).or_insert_with(|| (self.passages.insert((track, ts_ms)), Vec::new()));
            if self.passages.get(*slot).1 < ts_ms {
                self.passages.change(*slot).1 = ts_ms;
            }
            if !ids.contains(&id) {
                ids.push(Arc::clone(&id));
            }
        }
        self.forget.insert((ts_ms.saturating_add(self.for_ms), Arc::clone(&id)));
        match known {
            None => drop(self.by_id.insert(id, self.alerts.insert(told))),
            Some((_, slot)) => {
                let before = std::mem::replace(self.alerts.change(slot), told);
                if before.ts_ms != ts_ms {
                    self.forget.remove(&(before.ts_ms.saturating_add(self.for_ms), id));
                }
            }
        }
    }

    /// Whether a record of a passage is older than one that has been taken in: what it says is out of date.
    pub(crate) fn is_outdated(&self, track: Track, ts_ms: i64) -> bool {
        self.tracks.get(&track.id).is_some_and(|(slot, _)| ts_ms < self.passages.get(*slot).1)
    }

    /// Takes back what a passage led to and its newest record does not lead to: all standing alerts of its but
    /// `confirmed`. Each is given with its next revision.
    pub(crate) fn correct(&mut self, track: Track, ts_ms: i64, confirmed: &[String]) -> Vec<ToldAlert> {
        let Some((slot, ids)) = self.tracks.get(&track.id) else { return Vec::new() };
        if self.passages.get(*slot).1 < ts_ms {
            self.passages.change(*slot).1 = ts_ms;
        }
        let unconfirmed = ids.iter().filter(|id| confirmed.iter().all(|confirmed| **confirmed != ***id));
        let standing: Vec<u32> = unconfirmed
            .filter_map(|id| self.by_id.get(id).copied())
            .filter(|slot| self.alerts.get(*slot).standing)
            .collect();
        standing.into_iter().map(|slot| self.take_back(slot)).collect()
    }

    fn take_back(&mut self, slot: u32) -> ToldAlert {
        let told = self.alerts.change(slot);
        told.standing = false;
        told.revision += 1;
        told.clone()
    }

    /// Other lists are in force: every alert is to be looked at again.
    pub(crate) fn review(&mut self) {
        self.reviewed_to = Some(String::new());
    }

    /// Whether alerts are still to be looked at.
    pub(crate) fn is_reviewing(&self) -> bool {
        self.reviewed_to.is_some()
    }

    /// Looks at the next few alerts and takes back the standing ones whose entry `is_there` does not find any more.
    pub(crate) fn withdraw(&mut self, is_there: impl Fn(&ToldAlert, &Hit, Digest) -> bool) -> Vec<ToldAlert> {
        let Some(from) = self.reviewed_to.take() else { return Vec::new() };
        let mut gone = Vec::new();
        let mut last = None;
        let rest = self.by_id.range::<str, _>((Bound::Excluded(from.as_str()), Bound::Unbounded));
        for (id, slot) in rest.take(REVIEW_SLICE) {
            last = Some(id.to_string());
            let told = self.alerts.get(*slot);
            if let (true, Some(hit), Some(listed)) = (told.standing, &told.hit, told.listed)
                && !is_there(told, hit, listed)
            {
                gone.push(*slot);
            }
        }
        self.reviewed_to = last;
        gone.into_iter().map(|slot| self.take_back(slot)).collect()
    }

    /// Rules have new places, or none any more.
    pub(crate) fn move_rules(&mut self, place: impl Fn(usize) -> Option<usize>) {
        let all: Vec<(Arc<str>, u32)> = self.by_id.iter().map(|(id, slot)| (Arc::clone(id), *slot)).collect();
        for (id, slot) in all {
            let told = self.alerts.get(slot);
            match place(told.rule) {
                Some(rule) if rule == told.rule => {}
                Some(rule) => self.alerts.change(slot).rule = rule,
                None => self.remove(&id),
            }
        }
    }

    fn remove(&mut self, id: &Arc<str>) {
        let Some(slot) = self.by_id.remove(id) else { return };
        let told = self.alerts.remove(slot);
        self.forget.remove(&(told.ts_ms.saturating_add(self.for_ms), Arc::clone(id)));
        if let Some(track) = told.track
            && let Some((slot, ids)) = self.tracks.get_mut(&track)
        {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.passages.remove(*slot);
                self.tracks.remove(&track);
            }
        }
    }

    fn sweep(&mut self, ts_ms: i64) {
        self.newest_ms = self.newest_ms.max(ts_ms);
        while let Some((at_ms, _)) = self.forget.first() {
            let due = *at_ms <= self.newest_ms;
            if !due && self.alerts.len() <= self.alerts_max {
                return;
            }
            self.evicted += u64::from(!due);
            let (_, id) = self.forget.pop_first().expect("just looked at");
            self.remove(&id);
        }
    }

    pub(crate) fn save(&self) -> SavedTold {
        SavedTold {
            alerts: self.alerts.snapshot(),
            tracks: self.passages.snapshot(),
            newest_ms: self.newest_ms,
            reviewed_to: self.reviewed_to.clone(),
            evicted: self.evicted,
        }
    }

    pub(crate) fn load(&mut self, saved: SavedTold) {
        *self = Self::new(self.alerts_max, self.for_ms);
        saved.alerts.iter().for_each(|told| self.insert(told.clone()));
        for (track, newest_ms) in saved.tracks.iter() {
            if let Some((slot, _)) = self.tracks.get(track) {
                self.passages.change(*slot).1 = *newest_ms;
            }
        }
        (self.newest_ms, self.reviewed_to, self.evicted) = (saved.newest_ms, saved.reviewed_to, saved.evicted);
    }
}

/// Digest of what an alert says to people.
fn content_of(alert: &Alert) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in [alert.say.as_deref(), alert.hit.as_ref().map(|hit| hit.grade.as_ref())].into_iter().flatten() {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    for (name, value) in &alert.evidence {
        hasher.update(name.as_bytes()).update(&[1]).update(value.as_bytes()).update(&[2]);
    }
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests;

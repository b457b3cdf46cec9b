//! Session windows: a key's records with no gap between them.
//!
//! A session is the union of what its records cover, `[ts, ts + gap)` each: the same set of records gives the same
//! sessions in any order. It closes when the watermark has passed its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::Measure;

use super::measure::{Accumulator, Adding, SavedAccumulator};
use super::panes::{Closed, GroupKey, Observation, Room};

struct Session {
    last_ms: i64,
    sum: Accumulator,
}

/// Open sessions of one measure over one set of records.
pub(crate) struct Sessions {
    measure: Measure,
    adding: Adding,
    gap_ms: i64,
    lateness_ms: i64,
    /// By key and first record.
    open: BTreeMap<GroupKey, BTreeMap<i64, Session>>,
    count: usize,
    /// Values that are kept one by one.
    values: usize,
    room: Room,
    /// Observations that found no room.
    pub(crate) overflow: u64,
}

/// [`Sessions`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedSessions {
    open: Vec<(GroupKey, i64, i64, SavedAccumulator)>,
    overflow: u64,
}

impl Sessions {
    pub(crate) fn new(measure: &Measure, gap_ms: i64, lateness_ms: i64, room: Room) -> Self {
        Self {
            measure: measure.clone(),
            adding: Adding::new(measure),
            gap_ms,
            lateness_ms,
            open: BTreeMap::new(),
            count: 0,
            values: 0,
            room,
            overflow: 0,
        }
    }

    /// Adds a record that passes the condition.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        // A running total says nothing of a session's beginning.
        let Some(key) = observation.key.filter(|_| observation.contribution.total.is_none()) else { return };
        let ts_ms = observation.ts_ms;
        let sessions = self.open.entry(key).or_default();
        let mut session = Session { last_ms: ts_ms, sum: Accumulator::new(&self.measure) };
        session.sum.add(ts_ms, &observation.contribution, self.adding);
        let mut start_ms = ts_ms;
        // At most one session lies around or before the record within the gap, and one after it.
        let before = sessions.range(..=ts_ms).next_back().filter(|(_, it)| it.last_ms + self.gap_ms > ts_ms);
        let after = sessions.range(ts_ms + 1..).next().filter(|(first, _)| **first < ts_ms + self.gap_ms);
        let joined: Vec<i64> = before.into_iter().chain(after).map(|(first, _)| *first).collect();
        let keeps = session.sum.values() > 0 && self.values >= self.room.values_max;
        if keeps || joined.is_empty() && self.count >= self.room.groups_max {
            self.overflow += 1;
            return;
        }
        for first_ms in joined {
            let Some(other) = sessions.remove(&first_ms) else { continue };
            self.count -= 1;
            self.values -= other.sum.values();
            start_ms = start_ms.min(first_ms);
            session.last_ms = session.last_ms.max(other.last_ms);
            session.sum.merge(&other.sum);
        }
        self.count += 1;
        self.values += session.sum.values();
        sessions.insert(start_ms, session);
    }

    /// Closes the sessions that the watermark has passed. `to_ms` is the last end that may close at all.
    pub(crate) fn close(&mut self, watermark_ms: i64, to_ms: i64, mut emit: impl FnMut(Closed)) {
        let passed_ms = watermark_ms.saturating_sub(self.lateness_ms).min(to_ms);
        let (measure, gap_ms) = (&self.measure, self.gap_ms);
        let (count, values) = (&mut self.count, &mut self.values);
        self.open.retain(|key, sessions| {
            sessions.retain(|start_ms, session| {
                let end_ms = session.last_ms + gap_ms;
                if end_ms > passed_ms {
                    return true;
                }
                *count -= 1;
                *values -= session.sum.values();
                if let Some(value) = session.sum.value(measure, |_| 1) {
                    let (key, start_ms) = (*key, *start_ms);
                    emit(Closed { key, start_ms, end_ms, value, margin: None, completeness: None, revision: 0 });
                }
                false
            });
            !sessions.is_empty()
        });
    }

    /// Sessions that are open, and values kept one by one.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.count, self.values)
    }

    pub(crate) fn save(&self) -> SavedSessions {
        let open = self.open.iter().flat_map(|(key, sessions)| {
            sessions.iter().map(|(start_ms, it)| (*key, *start_ms, it.last_ms, it.sum.save()))
        });
        SavedSessions { open: open.collect(), overflow: self.overflow }
    }

    pub(crate) fn load(&mut self, saved: SavedSessions) {
        self.overflow = saved.overflow;
        for (key, start_ms, last_ms, sum) in saved.open {
            self.count += 1;
            let session = Session { last_ms, sum: Accumulator::load(sum) };
            self.values += session.sum.values();
            self.open.entry(key).or_default().insert(start_ms, session);
        }
    }
}

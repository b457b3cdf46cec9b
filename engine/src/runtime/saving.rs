//! The partition's state, out and in: for checkpoints, for trials, and for those who go on where others stopped.

use std::sync::Arc;

use super::partition::Partition;
use super::plan::Plan;
use super::saver::Saver;
use super::state::{SavedClocks, SavedState, StateError, Written};
use super::steps::StepSet;
use super::windows::WindowSet;
use crate::record::Digest;
use crate::source::Position;
use crate::testing::sabotage::{self, Wrong};
use crate::window::{Devices, SavedHeard};

impl Partition {
    /// The state as it is kept.
    pub(super) fn save(&self) -> SavedState {
        SavedState {
            symbols: SavedState::symbols_of(&self.plan),
            events: Some(self.events.save()),
            ..self.save_without_events()
        }
    }

    /// The state without what grows with every record: symbols and event ids.
    pub(super) fn save_without_events(&self) -> SavedState {
        SavedState {
            written: Written::under(&self.plan),
            symbols: Vec::new(),
            events: None,
            files: self.files.save(),
            clocks: SavedClocks {
                tick_ms: self.last_tick_ms,
                ahead_told_ms: self.ahead_told_ms.iter().map(|(device, ms)| (*device, *ms)).collect(),
            },
            devices: self.devices.save(),
            windows: self.windows.save(&self.plan),
            steps: self.steps.save(),
            suppression: self.suppression.save(),
            told: self.told.save(),
            overload: self.overload.save(),
            heard: self.devices.save_heard(),
            lists: self.plan.lists.clone(),
        }
    }

    /// All windows are complete and told: whoever goes on from here begins them anew.
    fn save_ended(&self) -> SavedState {
        let Plan { layouts, limits, .. } = &*self.plan;
        SavedState {
            devices: Devices::new(layouts.kinds.len(), limits.idle_after_ms).save(),
            heard: SavedHeard::default(),
            windows: WindowSet::new(&self.plan).save(&self.plan),
            steps: StepSet::new(&self.plan).save(),
            ..self.save_without_events()
        }
    }

    /// Takes over a saved state. The symbols must have the numbers they had.
    pub(super) fn load(&mut self, saved: SavedState) -> Result<(), StateError> {
        saved.written.check(&self.plan)?;
        let plan = Arc::clone(&self.plan);
        let place = |rule| saved.written.place_in(&plan, rule);
        if let Some(events) = saved.events {
            self.events.load(events);
        }
        self.files.load(saved.files);
        self.last_tick_ms = saved.clocks.tick_ms;
        self.ahead_told_ms = saved.clocks.ahead_told_ms.into_iter().collect();
        self.devices.load(saved.devices);
        self.devices.load_heard(saved.heard);
        if sabotage::is(Wrong::StateLost) {
            return Ok(());
        }
        self.windows.load(&plan, saved.windows, place);
        self.steps.load(saved.steps, place);
        self.suppression.load(&saved.suppression);
        self.suppression.move_rules(place);
        self.told.load(saved.told);
        self.told.move_rules(place);
        self.overload.load(saved.overload);
        Ok(())
    }

    /// Takes over how far files have been read, and nothing else.
    pub(super) fn load_places(&mut self, places: Vec<Position>) {
        self.files.load(places);
    }

    /// From here on the state is kept.
    pub(super) fn keep_by(&mut self, saver: Saver) {
        self.events.note_fresh();
        self.saver = Some(saver);
    }

    /// An event id that was seen by an earlier run.
    pub(super) fn know(&mut self, second: i64, id: Digest) {
        self.events.insert(id, second.saturating_mul(1_000));
    }

    /// How far the files of a source have been read.
    pub(super) fn files_of(&self, source: u16) -> Vec<Position> {
        self.files.of(source)
    }

    /// Has a checkpoint made, if it is time for one.
    pub(super) fn save_if_due(&mut self, idle: bool) {
        let now_ns = self.plan.clock.monotonic_ns();
        if self.saver.as_mut().is_some_and(|saver| saver.is_due(now_ns, idle)) {
            let state = self.save_without_events();
            self.have_saved(state, false);
            let took_ns = self.plan.clock.monotonic_ns() - now_ns;
            self.saver.as_mut().expect("it is there").took(now_ns, took_ns);
        }
    }

    /// The last checkpoint of a run. `drained` if all sources have come to their end.
    pub(super) fn save_last(&mut self, drained: bool) {
        if self.saver.is_some() {
            let state = if drained { self.save_ended() } else { self.save_without_events() };
            self.have_saved(state, true);
        }
    }

    fn have_saved(&mut self, state: SavedState, last: bool) {
        let events = self.events.take_fresh();
        let plan = Arc::clone(&self.plan);
        let Some(saver) = &self.saver else { return };
        saver.hand_over(&self.router, self.turns, events, state, plan, last);
    }
}

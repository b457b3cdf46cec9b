//! One figure for all memory: what each bound may be so that everything that records make weir keep stays below it.
//!
//! Shares are fixed, so that a change of packs moves nothing but the parts of windows and sequences. What one entry takes is
//! counted generously; `engine/tests/memory` fills every part under a counting allocator.

use crate::limits::Limits;

/// What the process holds that does not depend on records: code, threads, plans.
const BASE_BYTES: usize = 16 << 20;
/// The least that makes sense.
pub const MEMORY_MIN: usize = 64 << 20;

/// Shares of what is left, in hundredths. Together 100.
mod share {
    pub(super) const BATCHES: usize = 15;
    pub(super) const INTAKE: usize = 8;
    pub(super) const SINKS: usize = 8;
    pub(super) const SYMBOLS: usize = 10;
    pub(super) const EVENT_IDS: usize = 30;
    pub(super) const WINDOW_GROUPS: usize = 10;
    pub(super) const WINDOW_VALUES: usize = 10;
    pub(super) const STEPS: usize = 5;
    pub(super) const SUPPRESSION: usize = 1;
    pub(super) const TOLD: usize = 3;
}

/// What a key in a pane takes.
pub(crate) const KEY_IN_A_PANE_BYTES: usize = 400;

/// What an event id that is remembered takes: its share of a segment that is half full at worst, 43, and the same once more
/// where state is kept, until a checkpoint knows it, in a list that is copied as it grows. A second that holds any takes a
/// segment of its own besides, 1 KiB, which is not reckoned here.
pub(crate) const EVENT_ID_BYTES: usize = 96;

/// Bytes of one entry, tables that grow included. More than `weir explain` reckons with ([`crate::explain`]): a budget has
/// to hold.
mod each {
    /// Bytes of a batch in columns, indexes and outputs for each byte of its text.
    pub(super) const BATCH_FACTOR: usize = 8;
    /// A block may hold twice what it uses of its buffer.
    pub(super) const INTAKE_FACTOR: usize = 2;
    pub(super) const OUTPUT: usize = 2_048;
    pub(super) const EVENT_ID: usize = super::EVENT_ID_BYTES;
    pub(super) const WINDOW_GROUP: usize = super::KEY_IN_A_PANE_BYTES;
    pub(super) const WINDOW_VALUE: usize = 200;
    pub(super) const STEP_KEY: usize = 400;
    pub(super) const STEP_HELD: usize = 400;
    pub(super) const SUPPRESSED: usize = 400;
    pub(super) const TOLD: usize = 2_048;
}

/// The budget is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.memory = {given} bytes is too little; {MEMORY_MIN} are the least")]
pub struct TooLittleMemory {
    given: usize,
}

impl Limits {
    /// Lowers every bound so that all parts together stay within `memory_max`, if there is one: for so many shards,
    /// sinks and symbol columns. Windows and sequences of all rules share theirs ([`Self::shared_by`]).
    pub(crate) fn within_memory(self, shards: usize, sinks: usize, columns: usize) -> Result<Self, TooLittleMemory> {
        let Some(memory) = self.memory_max else { return Ok(self) };
        if memory < MEMORY_MIN {
            return Err(TooLittleMemory { given: memory });
        }
        let left = memory - BASE_BYTES;
        let entries = |share: usize, bytes: usize| left / 100 * share / bytes;
        let batches = shards * (self.turns_ahead_per_shard_max + 2) * each::BATCH_FACTOR;
        Ok(Self {
            batch_bytes_max: self.batch_bytes_max.min(entries(share::BATCHES, batches)),
            intake_bytes_max: self.intake_bytes_max.min(entries(share::INTAKE, each::INTAKE_FACTOR)),
            record_bytes_max: self.record_bytes_max.min(entries(share::INTAKE, 4 * each::INTAKE_FACTOR)),
            sink_queue_max: self.sink_queue_max.min(entries(share::SINKS, each::OUTPUT * sinks.max(1))),
            symbol_bytes_max: self.symbol_bytes_max.min(entries(share::SYMBOLS, columns.max(1))),
            event_ids_max: self.event_ids_max.min(entries(share::EVENT_IDS, each::EVENT_ID)),
            window_groups_max: self.window_groups_max.min(entries(share::WINDOW_GROUPS, each::WINDOW_GROUP)),
            window_values_max: self.window_values_max.min(entries(share::WINDOW_VALUES, each::WINDOW_VALUE)),
            sequence_keys_max: self.sequence_keys_max.min(entries(share::STEPS, 2 * each::STEP_KEY)),
            held_observations_max: self.held_observations_max.min(entries(share::STEPS, 2 * each::STEP_HELD)),
            suppressed_keys_max: self.suppressed_keys_max.min(entries(share::SUPPRESSION, each::SUPPRESSED)),
            told_alerts_max: self.told_alerts_max.min(entries(share::TOLD, each::TOLD)),
            ..self
        })
    }

    /// Divides what windows and sequences share under a budget among so many sets of panes and window rules, and so many
    /// rules of steps.
    pub(crate) fn shared_by(&self, windows: usize, steps: usize) -> Self {
        if self.memory_max.is_none() {
            return self.clone();
        }
        let part = |all: usize, of: usize| (all / of.max(1)).max(1);
        Self {
            window_groups_max: part(self.window_groups_max, windows),
            window_values_max: part(self.window_values_max, windows),
            sequence_keys_max: part(self.sequence_keys_max, steps),
            held_observations_max: part(self.held_observations_max, steps),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lowers_what_is_above_it_and_nothing_else() {
        let limits = Limits { memory_max: Some(256 << 20), event_ids_max: 1_000, ..Limits::default() };
        let within = limits.clone().within_memory(2, 1, 10).unwrap();
        assert_eq!(within.event_ids_max, 1_000);
        assert_eq!(within.window_groups_max, (240 << 20) / 100 * 10 / 400);
        assert_eq!(within.shared_by(4, 0).window_groups_max, within.window_groups_max / 4);
        assert_eq!(within.latency_bound_ms, limits.latency_bound_ms);
        let plenty = Limits { memory_max: Some(64 << 30), ..Limits::default() };
        assert_eq!(plenty.clone().within_memory(2, 1, 10).unwrap(), plenty);
        assert_eq!(Limits::default().within_memory(2, 1, 10).unwrap(), Limits::default());
        assert_eq!(Limits::default().shared_by(9, 9), Limits::default());
        assert!(Limits { memory_max: Some(1 << 20), ..Limits::default() }.within_memory(2, 1, 10).is_err());
    }

    #[test]
    fn shares_add_up() {
        use share::*;
        let all = [BATCHES, INTAKE, SINKS, SYMBOLS, EVENT_IDS, WINDOW_GROUPS, WINDOW_VALUES, STEPS, SUPPRESSION, TOLD];
        assert_eq!(all.iter().sum::<usize>(), 100);
    }
}

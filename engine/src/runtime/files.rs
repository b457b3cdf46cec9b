//! How far files have been read, so that the next run goes on there.

use std::collections::BTreeMap;

use crate::source::{Extent, Position};

/// Files whose place is known at most; the one that was read longest ago leaves first.
const FILES_MAX: usize = 65_536;

/// By source and identity of the file: its place, and the turn that moved it last.
#[derive(Default)]
pub(super) struct Files(BTreeMap<(u16, (u64, u64)), (Position, u64)>);

impl Files {
    /// Notes that a part of a file has been applied.
    pub(super) fn advance(&mut self, source: u16, extent: &Extent, turn: u64) {
        let key = (source, extent.file.identity);
        if let Some((position, moved)) = self.0.get_mut(&key)
            && position.file == *extent.file
        {
            (position.to, position.records, *moved) = (extent.to, extent.records_to, turn);
            return;
        }
        if self.0.len() >= FILES_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, moved))| *moved).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        let position = Position {
            source,
            file: (*extent.file).clone(),
            to: extent.to,
            records: extent.records_to,
            header: extent.header.as_ref().map(|header| header.to_vec()),
            is_plain: extent.is_plain,
        };
        self.0.insert(key, (position, turn));
    }

    pub(super) fn of(&self, source: u16) -> Vec<Position> {
        self.0
            .values()
            .filter(|(position, _)| position.source == source)
            .map(|(position, _)| position.clone())
            .collect()
    }

    pub(super) fn save(&self) -> Vec<Position> {
        self.0.values().map(|(position, _)| position.clone()).collect()
    }

    pub(super) fn load(&mut self, saved: Vec<Position>) {
        self.0 = saved.into_iter().map(|it| ((it.source, it.file.identity), (it, 0))).collect();
    }
}

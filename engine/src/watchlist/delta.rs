//! What changed from one version of a list to the next.

use std::cmp::Ordering;
use std::sync::Arc;

use super::build::RawKey;
use super::entry::RawEntry;
use super::{Extent, Manifest, Previous, Snapshot, SnapshotBuilder, Watchlist};
use crate::record::{Digest, low};

/// Entries that came, changed, went, by digest of their id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the new version only.
    pub added: Vec<Digest>,
    /// In both, and not the same: key, expiry or anything else.
    pub changed: Vec<Digest>,
    /// In the old version only.
    pub removed: Vec<Digest>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Compares two versions. O(n log n) in the entries of both. They must be built with the same keys, or all entries
/// differ.
pub fn changes(old: &Watchlist, new: &Watchlist) -> Changes {
    compare(&contents_of(old), &contents_of(new))
}

/// What leads from a list to what a builder holds. O(n log n) in the entries of both. The list must be built with the builder's
/// keys, or all entries differ.
pub fn changes_to(builder: &SnapshotBuilder, old: &Watchlist) -> Changes {
    let mut entries = Vec::with_capacity(builder.len());
    builder.each(|key, raw| entries.push((builder.keys().entry(raw.entry_id), content(key, raw))));
    compare(&contents_of(old), &by_id(entries))
}

/// The delta that leads from a list to what a builder holds by these `changes`, as [`changes_to`] found them.
pub fn build_delta(mut builder: SnapshotBuilder, old: &Watchlist, changes: &Changes, manifest: Manifest) -> Vec<u8> {
    let total = builder.len() as u64;
    let mut written: Vec<Digest> = [&changes.added[..], &changes.changed].concat();
    written.sort_unstable();
    let keys = builder.keys().clone();
    builder.retain(|entry_id| written.binary_search(&keys.entry(entry_id)).is_ok());
    let gone = [&changes.removed[..], &changes.changed].concat();
    let newest = &old.layers()[0];
    let manifest = Manifest {
        extent: Extent::Delta,
        sequence: newest.manifest.sequence + 1,
        previous: Some(Previous { version: newest.version.clone(), total: old.len() }),
        total,
        ..manifest
    };
    builder.finish(manifest, gone)
}

fn compare(old: &[(Digest, Digest)], new: &[(Digest, Digest)]) -> Changes {
    let mut changes = Changes::default();
    let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        match order {
            Ordering::Less => changes.removed.extend(left.next().map(|(id, _)| *id)),
            Ordering::Greater => changes.added.extend(right.next().map(|(id, _)| *id)),
            Ordering::Equal => {
                if let (Some((id, before)), Some((_, now))) = (left.next(), right.next())
                    && before != now
                {
                    changes.changed.push(*id);
                }
            }
        }
    }
}

/// Every entry in force: digest of its id, and of all else about it.
fn contents_of(list: &Watchlist) -> Vec<(Digest, Digest)> {
    let mut entries = Vec::new();
    list.each_entry(|id, snapshot, number| {
        let key = match number.checked_sub(snapshot.first_pattern()) {
            Some(pattern) => RawKey::Pattern(snapshot.patterns.text(pattern)),
            None => RawKey::Exact(snapshot.digest(number)),
        };
        entries.push((id, content(key, snapshot.raw(number))));
    });
    by_id(entries)
}

/// In the order of ids, several keys of one entry taken together.
fn by_id(mut entries: Vec<(Digest, Digest)>) -> Vec<(Digest, Digest)> {
    entries.sort_unstable();
    entries.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same.iter().fold(0, |all, one| all ^ one.1))).collect()
}

fn content(key: RawKey<'_>, raw: RawEntry<'_>) -> Digest {
    let RawEntry { entry_id: _, expires_s, review_by_s, flags, case_ref, handling } = raw;
    let mut hasher = blake3::Hasher::new();
    match key {
        RawKey::Pattern(pattern) => hasher.update(pattern.as_bytes()),
        RawKey::Exact(digest) => hasher.update(&digest.to_le_bytes()),
    };
    hasher.update(&expires_s.to_le_bytes()).update(&review_by_s.to_le_bytes()).update(&[flags]);
    for text in [case_ref, handling] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    low(&hasher.finalize())
}

impl Watchlist {
    /// Calls `look` with every entry that no later version took back: digest of its id, and where it is.
    pub(super) fn each_entry(&self, mut look: impl FnMut(Digest, &Arc<Snapshot>, u32)) {
        for (depth, layer) in self.layers.iter().enumerate() {
            for number in 0..layer.len() {
                let id = self.keys().entry(layer.entry(number).entry_id);
                if !self.layers[..depth].iter().any(|newer| newer.removes(id)) {
                    look(id, layer, number);
                }
            }
        }
    }

    /// Ids of entries by their digests: for those who tell people what changed. O(n).
    pub fn ids_of(&self, digests: &[Digest]) -> Vec<String> {
        let mut wanted = digests.to_vec();
        wanted.sort_unstable();
        let mut ids = Vec::new();
        self.each_entry(|id, layer, number| {
            if wanted.binary_search(&id).is_ok() {
                ids.push(layer.entry(number).entry_id.to_owned());
            }
        });
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

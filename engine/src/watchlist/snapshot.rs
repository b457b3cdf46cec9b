//! A snapshot, opened: the index and the columns of entries, read where they lie.
//!
//! Entries with a key stand in the order of their digests. A directory over the first bits of digests
//! leads to the few that may be it: 1 byte an entry, where an open-addressed table would take 4 to name
//! entries and another 4 of empty places; and equal content gives equal bytes, whatever the order of the
//! source. Accessors are total: what a forger with the key could write gives wrong answers, no panic.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, RawEntry};
use super::format::{self, Effort, Front, Section, SnapshotError};
use super::manifest::Manifest;
use super::pattern::Patterns;
use super::{ListKeys, ListSpec, cover, prefilter};
use weir_rules::pack::{BadRows, ListKind, WhenStale};
use weir_rules::schema::{Identifies, Normaliser};

use crate::record::Digest;
use crate::vfs::{FileBytes, Stat};

/// An open snapshot. Immutable; shared by all that read it.
pub struct Snapshot {
    bytes: FileBytes,
    /// The file it was opened from, as it was then.
    pub(super) file: Option<Stat>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its name: the first 16 hexadecimal digits of its seal.
    pub version: String,
    pub(super) keys: Arc<ListKeys>,
    pub(super) patterns: Patterns,
    exact: u32,
    entries: u32,
    directory_bits: u32,
    at: Places,
}

/// Its patterns are nearly identifiers, and must not reach a log by way of a `{:?}`.
impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({} {}, {} entries, content withheld)", self.manifest.list, self.version, self.entries)
    }
}

/// Where the sections lie.
struct Places {
    prefilter: Range<usize>,
    directory: Range<usize>,
    digests: Range<usize>,
    expires: Range<usize>,
    review_by: Range<usize>,
    flags: Range<usize>,
    entry_id: (Range<usize>, Range<usize>),
    case_ref: (Range<usize>, Range<usize>),
    handling: (Range<usize>, Range<usize>),
    folded: Range<usize>,
    removed: Range<usize>,
}

/// Bits of the directory for so many digests: two to four of them a place.
pub(super) fn directory_bits(digests: usize) -> u32 {
    (digests / 4).max(1).next_power_of_two().trailing_zeros()
}

/// The place in the directory of a digest.
pub(super) fn directory_place(digest: Digest, bits: u32) -> usize {
    if bits == 0 { 0 } else { (digest >> (128 - bits)) as usize }
}

impl Snapshot {
    /// Reads the manifest without a key. It is checked for damage, not for forgery.
    pub fn peek(bytes: &[u8]) -> Result<Manifest, SnapshotError> {
        let front = format::read_front(bytes)?;
        match format::damage_in(bytes, &front, Section::Manifest) {
            Some(place) => Err(SnapshotError::Damaged { place }),
            None => Self::manifest_of(bytes, &front),
        }
    }

    /// Checks everything that can be checked without a key: lengths and checksums.
    pub fn check(bytes: &[u8]) -> Result<Manifest, SnapshotError> {
        let front = format::read_front(bytes)?;
        if let Some(place) = format::first_damage(bytes, &front) {
            return Err(SnapshotError::Damaged { place });
        }
        Self::manifest_of(bytes, &front)
    }

    fn manifest_of(bytes: &[u8], front: &Front) -> Result<Manifest, SnapshotError> {
        serde_json::from_slice(&bytes[front.sections.range(Section::Manifest)])
            .map_err(|_| SnapshotError::Malformed { what: "manifest" })
    }

    /// Verifies and opens. O(bytes) for the seal; nothing is copied and nothing else is read but patterns.
    pub fn open(bytes: FileBytes, keys: &Arc<ListKeys>, effort: Effort) -> Result<Self, SnapshotError> {
        let front = format::read_front(&bytes)?;
        format::verify(&bytes, &front, keys, effort)?;
        Self::trusting(bytes, &front, keys)
    }

    /// Opens what this process has just built.
    pub(super) fn of_own(bytes: Vec<u8>, keys: &Arc<ListKeys>) -> Result<Self, SnapshotError> {
        let front = format::read_front(&bytes)?;
        Self::trusting(FileBytes::Read(bytes), &front, keys)
    }

    fn trusting(bytes: FileBytes, front: &Front, keys: &Arc<ListKeys>) -> Result<Self, SnapshotError> {
        let manifest = Self::manifest_of(&bytes, front)?;
        let section = |section| front.sections.range(section);
        let at = Places {
            prefilter: section(Section::Prefilter),
            directory: section(Section::Directory),
            digests: section(Section::Digests),
            expires: section(Section::Expires),
            review_by: section(Section::ReviewBy),
            flags: section(Section::Flags),
            entry_id: (section(Section::EntryIdEnds), section(Section::EntryIdText)),
            case_ref: (section(Section::CaseRefEnds), section(Section::CaseRefText)),
            handling: (section(Section::HandlingEnds), section(Section::HandlingText)),
            folded: section(Section::Folded),
            removed: section(Section::Removed),
        };
        let malformed = |what| SnapshotError::Malformed { what };
        let covered = &bytes[section(Section::Patterns)];
        let patterns = if covered.is_empty() {
            Vec::new()
        } else {
            let plain = cover::uncover(covered, &keys.cover).ok_or(malformed("patterns"))?;
            serde_json::from_slice(&plain).map_err(|_| malformed("patterns"))?
        };
        let exact = u32::try_from(manifest.exact).map_err(|_| malformed("counts"))?;
        let entries =
            u32::try_from(patterns.len()).ok().and_then(|more| exact.checked_add(more)).ok_or(malformed("counts"))?;
        let count = entries as usize;
        let bits = directory_bits(exact as usize);
        let optional = |range: &Range<usize>, len: usize| range.is_empty() || range.len() == len;
        let sound = manifest.patterns == patterns.len() as u64
            && at.digests.len() == exact as usize * 16
            && at.directory.len() == ((1usize << bits) + 1) * 4
            && at.prefilter.len() == prefilter::words_for(exact as usize) * 8
            && optional(&at.folded, at.prefilter.len())
            && at.expires.len() == count * 4
            && optional(&at.review_by, count * 4)
            && optional(&at.flags, count)
            && at.entry_id.0.len() == count * 4
            && optional(&at.case_ref.0, count * 4)
            && optional(&at.handling.0, count * 4)
            && at.removed.len() as u64 == manifest.removed.saturating_mul(16);
        if !sound {
            return Err(malformed("counts"));
        }
        let patterns = Patterns::new(patterns).map_err(|_| malformed("patterns"))?;
        Ok(Self {
            version: format::version_of(&bytes),
            bytes,
            file: None,
            manifest,
            keys: Arc::clone(keys),
            patterns,
            exact,
            entries,
            directory_bits: bits,
            at,
        })
    }

    /// Names and sizes of the sections of a file, bytes. Needs no key.
    pub fn sizes(bytes: &[u8]) -> Result<Vec<(&'static str, u64)>, SnapshotError> {
        Ok(format::read_front(bytes)?.sections.sizes())
    }

    /// The list as its manifest tells of it, for those who have no pack at hand. `None` if its kind does not exist.
    pub fn spec(&self) -> Option<ListSpec> {
        let Manifest { list, kind, key, normaliser, purpose, legal_basis, authority, owner, .. } =
            self.manifest.clone();
        Some(ListSpec {
            id: list,
            kind: ListKind::WORDS.iter().find(|(word, _)| *word == kind)?.1,
            key,
            normaliser: Normaliser::WORDS.iter().find(|(word, _)| *word == normaliser).map(|(_, it)| *it),
            identifies: Identifies::Nothing,
            purpose,
            legal_basis,
            authority,
            owner,
            max_age_ms: None,
            when_stale: WhenStale::Degrade,
            max_growth: None,
            bad_rows: BadRows::Report,
        })
    }

    /// Entries, with a key or a pattern.
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether the file is mapped, not read.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, FileBytes::Mapped(_))
    }

    /// Bytes that a look-up touches whoever passes: prefilters, directory, digests.
    pub fn index_bytes(&self) -> u64 {
        [&self.at.prefilter, &self.at.folded, &self.at.directory, &self.at.digests]
            .into_iter()
            .map(|range| range.len() as u64)
            .sum()
    }

    /// The prefilter's words.
    #[inline]
    pub(super) fn prefilter(&self) -> &[u8] {
        &self.bytes[self.at.prefilter.clone()]
    }

    /// The words of the prefilter over folded keys; empty if the list has none.
    pub(super) fn folded(&self) -> &[u8] {
        &self.bytes[self.at.folded.clone()]
    }

    /// Whether it may hold a key, by its hash.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        prefilter::passes(self.prefilter(), hash)
    }

    /// Looks at every entry: that digests are in order and the directory leads to them, that texts are text. The seal
    /// says that the file is as it was built; this says that it was built rightly. `progress` counts entries.
    pub fn audit(&self, progress: &AtomicU64) -> Result<(), SnapshotError> {
        let malformed = |what| Err(SnapshotError::Malformed { what });
        let columns = [
            ("entry ids", &self.at.entry_id),
            ("case references", &self.at.case_ref),
            ("handling codes", &self.at.handling),
        ];
        let mut before = 0;
        let mut starts = [0; 3];
        for entry in 0..self.entries {
            if entry < self.exact {
                let digest = self.digest(entry);
                if digest < before || !self.find(digest).contains(&entry) {
                    return malformed("digests");
                }
                before = digest;
            }
            for ((what, (ends, text)), start) in columns.iter().zip(&mut starts) {
                let end = number(&self.bytes[ends.clone()], entry as usize);
                let piece = self.bytes[text.clone()].get(*start as usize..end as usize);
                if !ends.is_empty() && piece.is_none_or(|piece| std::str::from_utf8(piece).is_err()) {
                    return malformed(what);
                }
                *start = end;
            }
            if self.raw(entry).entry_id.is_empty() {
                return malformed("entry ids");
            }
            progress.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Entries with this digest.
    pub(super) fn find(&self, digest: Digest) -> Range<u32> {
        let place = directory_place(digest, self.directory_bits);
        let directory = &self.bytes[self.at.directory.clone()];
        let (low, high) = (number(directory, place), number(directory, place + 1).min(self.exact));
        let mut start = low;
        while start < high && self.digest(start) < digest {
            start += 1;
        }
        let mut end = start;
        while end < high && self.digest(end) == digest {
            end += 1;
        }
        start..end
    }

    /// Digest of an entry's key; 0 for one with a pattern.
    pub(super) fn digest(&self, entry: u32) -> Digest {
        let digests = &self.bytes[self.at.digests.clone()];
        let at = entry as usize * 16;
        digests.get(at..at + 16).map_or(0, |bytes| u128::from_le_bytes(bytes.try_into().expect("sixteen bytes")))
    }

    /// Number of the first entry with a pattern.
    pub(super) fn first_pattern(&self) -> u32 {
        self.exact
    }

    /// An entry by its number.
    pub fn entry(&self, entry: u32) -> Entry<'_> {
        self.raw(entry).entry()
    }

    /// An entry as it is kept.
    pub(super) fn raw(&self, entry: u32) -> RawEntry<'_> {
        RawEntry {
            entry_id: self.text(&self.at.entry_id, entry),
            expires_s: number(&self.bytes[self.at.expires.clone()], entry as usize),
            review_by_s: number(&self.bytes[self.at.review_by.clone()], entry as usize),
            flags: self.bytes[self.at.flags.clone()].get(entry as usize).copied().unwrap_or(0),
            case_ref: self.text(&self.at.case_ref, entry),
            handling: self.text(&self.at.handling, entry),
        }
    }

    /// Entries that have ended.
    pub(super) fn expired(&self, now_ms: i64, effort: Effort) -> u64 {
        let now_s = u32::try_from(now_ms.div_euclid(1000)).unwrap_or(0);
        let has_ended = |bytes: &&[u8]| u32::from_le_bytes((*bytes).try_into().expect("four bytes")) <= now_s;
        let mut expired = 0;
        effort.pieces(&self.bytes[self.at.expires.clone()], |piece| {
            expired += piece.chunks_exact(4).filter(has_ended).count() as u64;
        });
        expired
    }

    /// When an entry ends.
    pub(super) fn expires_ms(&self, entry: u32) -> i64 {
        i64::from(number(&self.bytes[self.at.expires.clone()], entry as usize)) * 1000
    }

    /// Whether an entry of an earlier version is no more, by the digest of its id.
    pub(super) fn removes(&self, entry_id: Digest) -> bool {
        let removed = &self.bytes[self.at.removed.clone()];
        let at = |index: usize| {
            u128::from_le_bytes(removed[index * 16..][..16].try_into().expect("a digest has sixteen bytes"))
        };
        let (mut low, mut high) = (0, removed.len() / 16);
        while low < high {
            let middle = usize::midpoint(low, high);
            match at(middle).cmp(&entry_id) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }

    fn text(&self, place: &(Range<usize>, Range<usize>), entry: u32) -> &str {
        let ends = &self.bytes[place.0.clone()];
        let start = entry.checked_sub(1).map_or(0, |before| number(ends, before as usize));
        let end = number(ends, entry as usize);
        let bytes = self.bytes[place.1.clone()].get(start as usize..end as usize).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A little-endian number of an array; 0 outside.
#[inline]
fn number(array: &[u8], at: usize) -> u32 {
    array.get(at * 4..at * 4 + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

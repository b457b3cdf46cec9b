//! Entries into a snapshot file.

use std::sync::Arc;

use super::entry::{Action, RawEntry, flags};
use super::format::{self, Section};
use super::manifest::Manifest;
use super::snapshot::{directory_bits, directory_place};
use super::{ListKeys, Snapshot, cover, fold, prefilter};
use crate::record::Digest;

/// Longest entry id, case reference or handling code.
pub const ENTRY_TEXT_BYTES_MAX: usize = 1024;

/// What an entry is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A canonical key.
    Exact(String),
    /// A canonical pattern.
    Pattern(String),
}

/// An entry on its way into a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEntry<'a> {
    /// The authority's own number.
    pub entry_id: &'a str,
    /// When it ends, epoch milliseconds; cut to whole seconds.
    pub expires_ms: i64,
    /// When the authority looks at it again.
    pub review_by_ms: Option<i64>,
    /// What the authority asks for.
    pub action: Option<Action>,
    /// Position among the words of severity.
    pub severity: Option<usize>,
    /// File reference.
    pub case_ref: &'a str,
    /// Handling code.
    pub handling: &'a str,
}

/// One entry, with its texts in the builder's arena.
struct Draft {
    digest: Digest,
    hash: u64,
    folded: u64,
    text_at: u64,
    expires_s: u32,
    review_by_s: u32,
    text_lens: [u16; 3],
    flags: u8,
}

impl Draft {
    fn text<'a>(&self, texts: &'a str, which: usize) -> &'a str {
        let before: usize = self.text_lens[..which].iter().map(|len| usize::from(*len)).sum();
        let at = self.text_at as usize + before;
        &texts[at..at + usize::from(self.text_lens[which])]
    }
}

/// What an entry is found by, as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum RawKey<'a> {
    Exact(Digest),
    Pattern(&'a str),
}

/// Collects entries. Memory: about 64 bytes an entry and its texts.
pub struct SnapshotBuilder {
    keys: Arc<ListKeys>,
    folds: bool,
    exact: Vec<Draft>,
    patterns: Vec<(String, Draft)>,
    texts: String,
    scratch: Vec<u8>,
}

impl SnapshotBuilder {
    /// An empty one. `folds` says whether keys are plates, which cameras misread.
    pub fn new(keys: Arc<ListKeys>, folds: bool) -> Self {
        Self { keys, folds, exact: Vec::new(), patterns: Vec::new(), texts: String::new(), scratch: Vec::new() }
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it digests keys with.
    pub(super) fn keys(&self) -> &ListKeys {
        &self.keys
    }

    /// Entries with a pattern.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// When a text is longer than [`ENTRY_TEXT_BYTES_MAX`].
    pub fn push(&mut self, key: &Key, entry: &NewEntry<'_>) {
        let texts = [entry.entry_id, entry.case_ref, entry.handling];
        assert!(texts.iter().all(|text| text.len() <= ENTRY_TEXT_BYTES_MAX), "the reader refuses longer texts");
        let text_at = self.texts.len() as u64;
        for text in texts {
            self.texts.push_str(text);
        }
        let seconds = |ms: i64| (ms.div_euclid(1000)).clamp(0, i64::from(u32::MAX)) as u32;
        let mut draft = Draft {
            digest: 0,
            hash: 0,
            folded: 0,
            text_at,
            expires_s: seconds(entry.expires_ms),
            review_by_s: entry.review_by_ms.map_or(0, seconds),
            text_lens: texts.map(|text| text.len() as u16),
            flags: flags(entry.action, entry.severity),
        };
        match key {
            Key::Exact(key) => {
                draft.digest = self.keys.digest(key);
                draft.hash = self.keys.hash(key.as_bytes());
                if self.folds {
                    self.scratch.clear();
                    fold::fold(key, &mut self.scratch);
                    draft.folded = self.keys.hash(&self.scratch);
                }
                self.exact.push(draft);
            }
            Key::Pattern(pattern) => self.patterns.push((pattern.clone(), draft)),
        }
    }

    /// Calls `look` with every entry: its key or pattern, and what is kept of it.
    pub(super) fn each(&self, mut look: impl FnMut(RawKey<'_>, RawEntry<'_>)) {
        for draft in &self.exact {
            look(RawKey::Exact(draft.digest), self.raw(draft));
        }
        for (pattern, draft) in &self.patterns {
            look(RawKey::Pattern(pattern), self.raw(draft));
        }
    }

    fn raw(&self, draft: &Draft) -> RawEntry<'_> {
        RawEntry {
            entry_id: draft.text(&self.texts, 0),
            expires_s: draft.expires_s,
            review_by_s: draft.review_by_s,
            flags: draft.flags,
            case_ref: draft.text(&self.texts, 1),
            handling: draft.text(&self.texts, 2),
        }
    }

    /// Keeps the entries whose id `wanted` accepts.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        let Self { exact, patterns, texts, .. } = self;
        exact.retain(|draft| wanted(draft.text(texts, 0)));
        patterns.retain(|(_, draft)| wanted(draft.text(texts, 0)));
    }

    /// Puts the file together: O(n log n). `manifest` has its counts filled in; `removed` are digests of ids of
    /// entries that are no more.
    ///
    /// # Panics
    /// Never.
    pub fn finish(mut self, manifest: Manifest, mut removed: Vec<Digest>) -> Vec<u8> {
        let texts = std::mem::take(&mut self.texts);
        let by_id = |a: &Draft, b: &Draft| a.text(&texts, 0).cmp(b.text(&texts, 0));
        self.exact.sort_unstable_by(|a, b| a.digest.cmp(&b.digest).then_with(|| by_id(a, b)));
        self.patterns.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| by_id(x, y)));
        removed.sort_unstable();
        removed.dedup();
        let manifest = Manifest {
            exact: self.exact.len() as u64,
            patterns: self.patterns.len() as u64,
            removed: removed.len() as u64,
            ..manifest
        };
        let drafts = || self.exact.iter().chain(self.patterns.iter().map(|(_, draft)| draft));
        let mut sections = vec![
            (Section::Manifest, serde_json::to_vec(&manifest).expect("a manifest is plain data")),
            (Section::Prefilter, prefilter::build(self.exact.iter().map(|draft| draft.hash))),
            (Section::Directory, directory(&self.exact)),
            (Section::Digests, self.exact.iter().flat_map(|draft| draft.digest.to_le_bytes()).collect()),
            (Section::Expires, drafts().flat_map(|draft| draft.expires_s.to_le_bytes()).collect()),
        ];
        if drafts().any(|draft| draft.review_by_s > 0) {
            sections.push((Section::ReviewBy, drafts().flat_map(|draft| draft.review_by_s.to_le_bytes()).collect()));
        }
        if drafts().any(|draft| draft.flags > 0) {
            sections.push((Section::Flags, drafts().map(|draft| draft.flags).collect()));
        }
        let columns = [
            (Section::EntryIdEnds, Section::EntryIdText),
            (Section::CaseRefEnds, Section::CaseRefText),
            (Section::HandlingEnds, Section::HandlingText),
        ];
        for (which, (ends_section, text_section)) in columns.into_iter().enumerate() {
            if which > 0 && drafts().all(|draft| draft.text_lens[which] == 0) {
                continue;
            }
            let mut ends = Vec::with_capacity(self.len() * 4);
            let mut arena = Vec::new();
            for draft in drafts() {
                arena.extend_from_slice(draft.text(&texts, which).as_bytes());
                ends.extend_from_slice(&(arena.len() as u32).to_le_bytes());
            }
            sections.push((ends_section, ends));
            sections.push((text_section, arena));
        }
        if self.folds {
            sections.push((Section::Folded, prefilter::build(self.exact.iter().map(|draft| draft.folded))));
        }
        if !self.patterns.is_empty() {
            let patterns: Vec<&str> = self.patterns.iter().map(|(pattern, _)| pattern.as_str()).collect();
            let plain = serde_json::to_vec(&patterns).expect("texts are plain data");
            sections.push((Section::Patterns, cover::cover(&plain, &self.keys.cover)));
        }
        if !removed.is_empty() {
            sections.push((Section::Removed, removed.iter().flat_map(|digest| digest.to_le_bytes()).collect()));
        }
        format::write(&sections, &self.keys)
    }

    /// Puts the list together in memory and opens it.
    pub(super) fn into_snapshot(self, manifest: Manifest) -> Snapshot {
        let keys = Arc::clone(&self.keys);
        Snapshot::of_own(self.finish(manifest, Vec::new()), &keys).expect("what was just built can be opened")
    }
}

/// For each place of the directory, the first entry of it; one more at the end.
fn directory(sorted: &[Draft]) -> Vec<u8> {
    let bits = directory_bits(sorted.len());
    let mut starts = Vec::with_capacity(((1 << bits) + 1) * 4);
    let mut next = 0;
    for (at, draft) in sorted.iter().enumerate() {
        let place = directory_place(draft.digest, bits);
        while next <= place {
            starts.extend_from_slice(&(at as u32).to_le_bytes());
            next += 1;
        }
    }
    while next <= 1 << bits {
        starts.extend_from_slice(&(sorted.len() as u32).to_le_bytes());
        next += 1;
    }
    starts
}

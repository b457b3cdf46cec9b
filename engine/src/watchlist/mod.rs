//! Watchlists: who is looked for, on what ground, until when.
//!
//! A list is loaded whole and immutable ([`load()`]); canonical keys of the stream are looked up in it
//! ([`Watchlist::find`]). An entry that has expired, by the record's time or by the
//! wall clock, never matches. Grades below `exact`, snapshot files and reload are not here yet.

mod index;
mod load;

use weir_rules::pack::{ListDecl, ListKind, Pack, WhenStale};
use weir_rules::schema::{Identifies, Normaliser};

use index::Index;
pub use load::{ListError, LoadReport, RowProblem, load, load_inline};

/// What a pack says of a list.
#[derive(Debug, Clone)]
pub struct ListSpec {
    /// Name.
    pub id: String,
    /// Which of the closed set.
    pub kind: ListKind,
    /// Name of the key column.
    pub key: String,
    /// How keys are normalised: as in the stream.
    pub normaliser: Option<Normaliser>,
    /// Whom a key identifies.
    pub identifies: Identifies,
    /// Purpose.
    pub purpose: String,
    /// Legal basis of the purpose.
    pub legal_basis: String,
    /// Who answers for it.
    pub owner: String,
    /// Age beyond which the file is stale.
    pub max_age_ms: Option<i64>,
    /// What to do then.
    pub when_stale: WhenStale,
}

impl ListSpec {
    /// Takes together what pack and list say.
    pub fn new(pack: &Pack, list: &ListDecl) -> Self {
        Self {
            id: list.id.clone(),
            kind: list.kind,
            key: list.key.clone(),
            normaliser: list.normaliser,
            identifies: list.identifies,
            purpose: list.purpose.clone(),
            legal_basis: pack.purpose(&list.purpose).map_or_else(String::new, |purpose| purpose.legal_basis.clone()),
            owner: pack.owner.clone(),
            max_age_ms: list.max_age_ms,
            when_stale: list.when_stale,
        }
    }
}

/// One entry without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The authority's own number of the entry.
    pub entry_id: Box<str>,
    /// It matches before this moment only.
    pub expires_ms: i64,
    /// What the authority asks for: inform, check, stop.
    pub action: Option<Box<str>>,
    /// File reference.
    pub case_ref: Option<Box<str>>,
    /// Handling code.
    pub handling: Option<Box<str>>,
}

/// A loaded list.
#[derive(Debug)]
pub struct Watchlist {
    /// What the pack says of it.
    pub spec: ListSpec,
    /// Digest of the file it was loaded from: 16 hexadecimal digits.
    pub version: String,
    /// Whether the file was older than `max_age` when it was loaded.
    pub stale: bool,
    entries: Vec<Entry>,
    index: Index,
}

impl Watchlist {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry by the number that [`Watchlist::find`] gave.
    pub fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    /// Whether the list may match at all: a stale one with `when_stale: stop` may not.
    pub fn matches(&self) -> bool {
        !(self.stale && self.spec.when_stale == WhenStale::Stop)
    }

    /// Looks up a canonical key as of a moment. Of several live entries the one with the smallest
    /// `entry_id` speaks, whatever the order of the file.
    pub fn find(&self, key: &str, at_ms: i64) -> Option<u32> {
        self.index
            .find(key)
            .filter(|number| self.entries[*number as usize].expires_ms > at_ms)
            .min_by(|a, b| self.entry(*a).entry_id.cmp(&self.entry(*b).entry_id))
    }

    /// Whether any entry has this key, live or not: the quick first look.
    pub fn contains(&self, key: &str) -> bool {
        self.index.find(key).next().is_some()
    }
}

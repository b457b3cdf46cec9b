//! Watchlists: who is looked for, on what ground, until when.
//!
//! A list is a stack of immutable [`Snapshot`]s: a full one, and the deltas since. It comes from a
//! snapshot file that `weir list build` made ([`load()`] maps and verifies it) or straight from CSV or
//! NDJSON, which is built into a snapshot in memory: one representation, one index. Readings of the
//! stream are looked up in it, a column at a time ([`Watchlist::exact_rows`]) or one by one
//! ([`Watchlist::look_up`]). An entry that has expired, by the record's time or by the wall clock, never
//! matches.
//!
//! | file | what |
//! |---|---|
//! | `source` | rows of CSV, NDJSON or columns into entries |
//! | `build`, `delta` | entries into a snapshot; what changed since another |
//! | `format`, `manifest`, `entry`, `cover` | the file: container, description, columns, hidden patterns |
//! | `keys` | secrets by purpose and epoch |
//! | `snapshot`, `prefilter`, `pattern` | the open file: index, columns, automaton |
//! | `load` | files to lists: verify, stack deltas, guards |
//! | `probe`, `look_up`, `fold` | a column, a reading, a misreading |

mod build;
mod cover;
mod delta;
mod entry;
mod fold;
mod format;
mod keys;
mod load;
mod look_up;
mod manifest;
mod pattern;
mod prefilter;
mod probe;
mod snapshot;
mod source;

use std::sync::Arc;

use weir_rules::pack::{BadRows, ListDecl, ListKind, Pack, WhenStale};
use weir_rules::schema::{Identifies, Normaliser};

pub use build::{ENTRY_TEXT_BYTES_MAX, Key, NewEntry, SnapshotBuilder};
pub use delta::{Changes, build_delta, changes, changes_to};
pub use entry::{Action, Entry};
pub use format::{Effort, SnapshotError, reseal};
pub use keys::ListKeys;
pub use load::{
    DELTAS_MAX, ListError, LoadReport, Loading, delta_files, guard, is_delta_of, is_snapshot, load, load_inline,
};
pub use look_up::{Match, Reading};
pub use manifest::{Extent, Manifest, Previous};
pub use pattern::{PATTERN_LITERALS_MIN, PATTERNS_MAX};
pub(crate) use probe::ReadingColumns;
pub use snapshot::Snapshot;
pub use source::{ListSource, RowProblem, SourceReport, read_columns, read_source};

/// What a pack says of a list.
#[derive(Debug, Clone, PartialEq)]
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
    /// Who asked for it.
    pub authority: String,
    /// Who answers for it.
    pub owner: String,
    /// Age beyond which the list is stale.
    pub max_age_ms: Option<i64>,
    /// What to do then.
    pub when_stale: WhenStale,
    /// Share by which it may grow from one version to the next.
    pub max_growth: Option<f64>,
    /// What happens if rows cannot be used.
    pub bad_rows: BadRows,
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
            authority: list.authority.clone().unwrap_or_else(|| pack.owner.clone()),
            owner: pack.owner.clone(),
            max_age_ms: list.max_age_ms,
            when_stale: list.when_stale,
            max_growth: list.max_growth,
            bad_rows: list.bad_rows,
        }
    }

    /// Whether keys are read by cameras, which confuse characters.
    pub fn folds(&self) -> bool {
        self.normaliser == Some(Normaliser::PlateV1)
    }

    fn manifest_normaliser(&self) -> String {
        self.normaliser.map_or("", Normaliser::word).to_owned()
    }

    /// A manifest with what the pack says, and nothing yet of the entries.
    pub fn manifest(&self, keys: &ListKeys, created_ms: i64) -> Manifest {
        Manifest {
            list: self.id.clone(),
            kind: self.kind.word().to_owned(),
            key: self.key.clone(),
            normaliser: self.manifest_normaliser(),
            purpose: self.purpose.clone(),
            legal_basis: self.legal_basis.clone(),
            authority: self.authority.clone(),
            owner: self.owner.clone(),
            epoch: keys.epoch.clone(),
            created_ms,
            extent: Extent::Full,
            sequence: 1,
            exact: 0,
            patterns: 0,
            removed: 0,
            total: 0,
            previous: None,
            source: String::new(),
            refused_rows: 0,
            check_warnings: 0,
        }
    }
}

/// A list in force: never changes, and is freed when the last batch that sees it ends.
#[derive(Debug)]
pub struct Watchlist {
    /// What the pack says of it.
    pub spec: ListSpec,
    /// 16 hexadecimal digits: of the newest snapshot's seal, or of the text it was read from.
    pub version: String,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// Newest first; never empty.
    layers: Vec<Arc<Snapshot>>,
    total: u64,
}

impl Watchlist {
    /// A list out of snapshots, newest first.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(spec: ListSpec, layers: Vec<Arc<Snapshot>>, version: String, created_ms: i64) -> Self {
        let total = layers.first().expect("a list has a snapshot").manifest.total;
        Self { spec, version, created_ms, layers, total }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Its snapshots, newest first: deltas, and the full one they build on.
    pub fn layers(&self) -> &[Arc<Snapshot>] {
        &self.layers
    }

    /// Whether it was read from these files, as they are now.
    fn is_of(&self, files: &[crate::vfs::Stat]) -> bool {
        self.layers.len() == files.len() && self.layers.iter().zip(files).all(|(layer, file)| layer.file == Some(*file))
    }

    /// Whether another list is the same stack of snapshots.
    fn has_layers_of(&self, other: &Self) -> bool {
        self.layers.len() == other.layers.len() && self.layers.iter().zip(&other.layers).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Whether it is older than its `max_age`.
    pub fn is_stale(&self, wall_ms: i64) -> bool {
        self.spec.max_age_ms.is_some_and(|max_ms| wall_ms.saturating_sub(self.created_ms) > max_ms)
    }

    /// Whether the list may match at all: a stale one with `when_stale: stop` may not.
    pub fn matches(&self, wall_ms: i64) -> bool {
        !(self.spec.when_stale == WhenStale::Stop && self.is_stale(wall_ms))
    }

    /// Entries that have ended. O(n), a few nanoseconds each.
    pub fn expired(&self, now_ms: i64, effort: Effort) -> u64 {
        if let [only] = &self.layers[..] {
            return only.expired(now_ms, effort);
        }
        let mut expired = 0;
        self.each_entry(|_, layer, number| expired += u64::from(layer.expires_ms(number) <= now_ms));
        expired
    }

    fn keys(&self) -> &ListKeys {
        &self.layers[0].keys
    }

    fn folds(&self) -> bool {
        self.spec.folds()
    }
}

/// A list of plates for examples in the documentation.
///
/// # Panics
/// Never.
#[doc(hidden)]
pub fn doc_list(plates: &[&str]) -> Watchlist {
    let spec = ListSpec {
        id: "stolen".into(),
        kind: ListKind::StolenVehicle,
        key: "plate".into(),
        normaliser: Some(Normaliser::PlateV1),
        identifies: Identifies::Vehicle,
        purpose: "road_safety".into(),
        legal_basis: "road traffic act s.12".into(),
        authority: "police".into(),
        owner: "police".into(),
        max_age_ms: None,
        when_stale: WhenStale::Degrade,
        max_growth: None,
        bad_rows: BadRows::Report,
    };
    let lines: Vec<String> = plates
        .iter()
        .enumerate()
        .map(|(at, plate)| format!("{{\"plate\":\"{plate}\",\"entry_id\":\"E{at}\",\"expires\":\"2099-01-01\"}}"))
        .collect();
    load_inline("doc", &lines.join("\n"), spec, &crate::Limits::default(), 0).expect("the rows are sound").0
}

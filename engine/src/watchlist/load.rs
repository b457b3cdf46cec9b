//! From files to a list in force: verified, stacked, guarded.
//!
//! A snapshot `x.wlist` may have deltas beside it, `x.wlist.delta-1`, `x.wlist.delta-2`, ...: each is
//! applied in time proportional to itself, by laying it over what is there. CSV and NDJSON are built into a
//! snapshot in memory. Whatever the file, the same guards stand: legal basis, purpose, size, growth.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{
    Effort, Extent, ListKeys, ListSource, ListSpec, Manifest, RowProblem, Snapshot, SnapshotBuilder, SnapshotError,
    SourceReport, Watchlist, read_source,
};
use crate::limits::Limits;
use crate::record::RootKey;
use crate::vfs::{Stat, Vfs};

/// Share of the population above which a list of persons is warned about.
const POPULATION_SHARE_WARNED: f64 = 0.001;
/// Share of the population above which it is refused.
const POPULATION_SHARE_REFUSED: f64 = 0.005;
/// Deltas on a full snapshot; each costs every look-up a little.
pub const DELTAS_MAX: usize = 16;
/// Largest snapshot.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;
/// First bytes of a snapshot, by which it is told from text.
const SNAPSHOT_MAGIC: &[u8] = b"weirlist";

/// Why a list does not load.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum ListError {
    #[error("{file}: cannot be read: {error}")]
    Io { file: String, error: String },
    #[error(
        "{file}: column `{column}` is missing; a list has {key}, entry_id and expires, and may have action, case_ref, handling, review_by, severity"
    )]
    MissingColumn { file: String, column: String, key: String },
    #[error("{file}: column `{column}` names a protected attribute; the list is refused")]
    Protected { file: String, column: String },
    #[error("{file}: names {entries} of a population of {population}; a list of persons may name 0.5 % of it at most")]
    TooManyPersons { file: String, entries: u64, population: u64 },
    #[error("{file}: more than {max} entries (limits.list_entries)")]
    TooManyEntries { file: String, max: usize },
    #[error("{file}: more than {max} patterns")]
    TooManyPatterns { file: String, max: usize },
    #[error("{file}: the purpose `{purpose}` states no legal basis; without one the list must not exist")]
    NoLegalBasis { file: String, purpose: String },
    #[error(
        "{file}: {rows} rows cannot be used and the list says `bad_rows: refuse`; the first, line {line}: {message}"
    )]
    BadRows { file: String, rows: u64, line: u64, message: String },
    #[error(
        "{file}: has {total} entries after {before}, more than `max_growth` of {allowed} % allows; if that is meant, raise it for this version"
    )]
    Grew { file: String, total: u64, before: u64, allowed: f64 },
    #[error("{file}: {error}")]
    Snapshot { file: String, error: SnapshotError },
    #[error("{file}: was built for {what} `{found}`, and the pack says `{expected}`; build it for this pack")]
    OtherList { file: String, what: &'static str, found: String, expected: String },
    #[error(
        "{file}: a delta of version {found}, and the version before it is {expected}; put the missing delta or a full snapshot in place"
    )]
    DeltaOutOfLine { file: String, found: String, expected: String },
    #[error("{file}: more than {max} deltas; build a full snapshot")]
    TooManyDeltas { file: String, max: usize },
    #[error("{file}: {message}")]
    Broken { file: String, message: String },
}

/// What loading found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Entries that can match.
    pub live: u64,
    /// Entries whose expiry has passed; they never match.
    pub expired: u64,
    /// Rows left out.
    pub refused_rows: u64,
    /// The first of them.
    pub problems: Vec<RowProblem>,
    /// Keys whose check digit does not fit; they are kept.
    pub check_warnings: u64,
    /// Lines of the first of them.
    pub check_lines: Vec<u64>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What lists are loaded with.
pub struct Loading<'a> {
    /// Files.
    pub vfs: &'a dyn Vfs,
    /// Bounds.
    pub limits: &'a Limits,
    /// People that lists of persons are drawn from.
    pub population: Option<u64>,
    /// Wall clock, epoch milliseconds.
    pub now_ms: i64,
    /// Root of all keys.
    pub root: &'a RootKey,
    /// How much of the machine may be taken.
    pub effort: Effort,
    /// The list that is in force.
    pub previous: Option<&'a Arc<Watchlist>>,
}

/// Whether a file is a snapshot, by its first bytes.
pub fn is_snapshot(vfs: &dyn Vfs, path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    vfs.open(path)?.take(SNAPSHOT_MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == SNAPSHOT_MAGIC)
}

/// Whether a file name is that of a delta of a snapshot's.
pub fn is_delta_of(name: &str, snapshot: &str) -> bool {
    name.strip_prefix(snapshot)
        .and_then(|rest| rest.strip_prefix(".delta-"))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The deltas beside a snapshot, in the order of their numbers.
pub fn delta_files(vfs: &dyn Vfs, path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let own = name_of(path);
    let mut deltas: Vec<(u64, PathBuf)> = vfs
        .list(folder)?
        .into_iter()
        .filter(|path| is_delta_of(&name_of(path), &own))
        .filter_map(|path| Some((name_of(&path).rsplit('-').next()?.parse().ok()?, path)))
        .collect();
    deltas.sort();
    Ok(deltas.into_iter().map(|(_, path)| path).collect())
}

/// Loads a list: a snapshot with its deltas, or a text. Gives the list in force if nothing has changed.
pub fn load(path: &Path, spec: ListSpec, with: &Loading<'_>) -> Result<(Arc<Watchlist>, LoadReport), ListError> {
    let file = path.display().to_string();
    if spec.legal_basis.trim().is_empty() {
        return Err(ListError::NoLegalBasis { file, purpose: spec.purpose });
    }
    let io = |error: std::io::Error| ListError::Io { file: file.clone(), error: error.to_string() };
    let (list, mut report) = if is_snapshot(with.vfs, path).map_err(io)? {
        load_snapshot(path, spec, with)?
    } else {
        let stat = with.vfs.stat(path).map_err(io)?;
        if let Some(known) = with.previous.filter(|list| list.spec == spec && list.is_of(&[stat])) {
            let expired = known.expired(with.now_ms, with.effort);
            let mut report = LoadReport { live: known.len().saturating_sub(expired), expired, ..LoadReport::default() };
            guard(&file, known, with, &mut report)?;
            return Ok((Arc::clone(known), report));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let keys = ListKeys::derive(with.root.bytes(), &spec.purpose, OWN_EPOCH);
        let reader = with.vfs.open(path).map_err(io)?;
        let names = (file.as_str(), name.as_str());
        read_text(Box::new(reader), names, spec, &keys, (with.limits, with.now_ms), (stat.modified_ms, Some(stat)))?
    };
    guard(&file, &list, with, &mut report)?;
    let same = with.previous.filter(|known| known.spec == list.spec && known.has_layers_of(&list));
    Ok((same.map_or_else(|| Arc::new(list), Arc::clone), report))
}

/// The epoch of lists that never leave the process.
const OWN_EPOCH: &str = "process";

/// Loads a list that stands in a test: NDJSON, never stale, checked like any other.
pub fn load_inline(
    name: &str,
    ndjson: &str,
    spec: ListSpec,
    limits: &Limits,
    now_ms: i64,
) -> Result<(Watchlist, LoadReport), ListError> {
    let reader = Box::new(std::io::Cursor::new(ndjson.as_bytes().to_vec()));
    let keys = ListKeys::derive(&[0; 32], &spec.purpose, OWN_EPOCH);
    let spec = ListSpec { max_age_ms: None, ..spec };
    read_text(reader, (name, "inline.ndjson"), spec, &keys, (limits, now_ms), (now_ms, None))
}

/// Builds a list in memory. `names` are the file's name for messages, and the one that tells its format.
fn read_text(
    reader: Box<dyn std::io::Read + Send>,
    names: (&str, &str),
    spec: ListSpec,
    keys: &ListKeys,
    (limits, now_ms): (&Limits, i64),
    (created_ms, stat): (i64, Option<Stat>),
) -> Result<(Watchlist, LoadReport), ListError> {
    let mut builder = SnapshotBuilder::new(Arc::new(keys.clone()), spec.folds());
    let source = ListSource::default();
    let SourceReport { expired, refused_rows, problems, check_warnings, check_lines, digest, .. } =
        read_source(reader, names.0, names.1, &spec, &source, limits, now_ms, &AtomicU64::new(0), &mut builder)?;
    let total = builder.len() as u64;
    let manifest = Manifest { total, ..spec.manifest(keys, created_ms) };
    let mut snapshot = builder.into_snapshot(manifest);
    snapshot.file = stat;
    let report = LoadReport {
        live: total.saturating_sub(expired),
        expired,
        refused_rows,
        problems,
        check_warnings,
        check_lines,
        warnings: Vec::new(),
    };
    Ok((Watchlist::new(spec, vec![Arc::new(snapshot)], digest, created_ms), report))
}

fn load_snapshot(path: &Path, spec: ListSpec, with: &Loading<'_>) -> Result<(Watchlist, LoadReport), ListError> {
    let io = |path: &Path, error: std::io::Error| ListError::Io {
        file: path.display().to_string(),
        error: error.to_string(),
    };
    let full = open_snapshot(path, &spec, with)?;
    if full.manifest.extent == Extent::Delta {
        let message = "is a delta; put the full snapshot here and the delta beside it".to_owned();
        return Err(ListError::Broken { file: path.display().to_string(), message });
    }
    let mut layers = vec![full];
    for path in delta_files(with.vfs, path).map_err(|error| io(path, error))? {
        let delta = open_snapshot(&path, &spec, with)?;
        let (manifest, before) = (&delta.manifest, &layers[0]);
        if manifest.sequence <= before.manifest.sequence {
            // Left over from before the full snapshot was built.
            continue;
        }
        let follows = manifest.previous.as_ref().map_or("", |previous| previous.version.as_str());
        if manifest.extent != Extent::Delta || follows != before.version || manifest.epoch != before.manifest.epoch {
            let (found, expected) = (follows.to_owned(), before.version.clone());
            return Err(ListError::DeltaOutOfLine { file: path.display().to_string(), found, expected });
        }
        if layers.len() > DELTAS_MAX {
            return Err(ListError::TooManyDeltas { file: path.display().to_string(), max: DELTAS_MAX });
        }
        layers.insert(0, delta);
    }
    let newest = &layers[0];
    let mut report = LoadReport {
        refused_rows: newest.manifest.refused_rows,
        check_warnings: newest.manifest.check_warnings,
        ..LoadReport::default()
    };
    if newest.manifest.legal_basis != spec.legal_basis {
        report.warnings.push(format!(
            "was built on the legal basis `{}`; the pack now says `{}`",
            newest.manifest.legal_basis, spec.legal_basis
        ));
    }
    let (version, created_ms) = (newest.version.clone(), newest.manifest.created_ms);
    let list = Watchlist::new(spec, layers, version, created_ms);
    report.expired = list.expired(with.now_ms, with.effort);
    report.live = list.len().saturating_sub(report.expired);
    Ok((list, report))
}

/// Verifies and opens one file, or takes the one that is in force if it is the same.
fn open_snapshot(path: &Path, spec: &ListSpec, with: &Loading<'_>) -> Result<Arc<Snapshot>, ListError> {
    let file = path.display().to_string();
    let refused = |error| ListError::Snapshot { file: file.clone(), error };
    let io = |error: std::io::Error| ListError::Io { file: file.clone(), error: error.to_string() };
    let stat = with.vfs.stat(path).map_err(io)?;
    let known = with.previous.iter().flat_map(|list| list.layers()).find(|layer| layer.file == Some(stat));
    if let Some(known) = known {
        return Ok(Arc::clone(known));
    }
    let bytes = with.vfs.map(path, SNAPSHOT_BYTES_MAX).map_err(io)?;
    let manifest = Snapshot::peek(&bytes).map_err(refused)?;
    let expected = [
        ("list", &manifest.list, spec.id.clone()),
        ("kind", &manifest.kind, spec.kind.word().to_owned()),
        ("key", &manifest.key, spec.key.clone()),
        ("normaliser", &manifest.normaliser, spec.manifest_normaliser()),
        ("purpose", &manifest.purpose, spec.purpose.clone()),
    ];
    if let Some((what, found, expected)) = expected.into_iter().find(|(_, found, expected)| *found != expected) {
        return Err(ListError::OtherList { file, what, found: found.clone(), expected });
    }
    if manifest.legal_basis.trim().is_empty() {
        return Err(ListError::NoLegalBasis { file, purpose: manifest.purpose });
    }
    let keys = Arc::new(ListKeys::derive(with.root.bytes(), &manifest.purpose, &manifest.epoch));
    let mut opened = Snapshot::open(bytes, &keys, with.effort).map_err(refused)?;
    opened.file = Some(stat);
    Ok(Arc::new(opened))
}

/// The guards that stand before every list: size, share of the population, growth, age.
pub fn guard(file: &str, list: &Watchlist, with: &Loading<'_>, report: &mut LoadReport) -> Result<(), ListError> {
    let file = || file.to_owned();
    let total = list.len();
    let max = with.limits.list_entries_max;
    if total > max as u64 {
        return Err(ListError::TooManyEntries { file: file(), max });
    }
    if let Some(population) = with.population.filter(|_| list.spec.kind.names_persons()) {
        let share = total as f64 / population.max(1) as f64;
        if share > POPULATION_SHARE_REFUSED {
            return Err(ListError::TooManyPersons { file: file(), entries: total, population });
        }
        if share > POPULATION_SHARE_WARNED {
            let percent = share * 100.0;
            report.warnings.push(format!("names {percent:.2} % of the population; above 0.5 % it will be refused"));
        }
    }
    let built_on = list.layers()[0].manifest.previous.as_ref().map(|previous| previous.total);
    let before = with.previous.map(|list| list.len()).or(built_on).filter(|before| *before > 0);
    if let (Some(max_growth), Some(before)) = (list.spec.max_growth, before)
        && total as f64 > before as f64 * (1.0 + max_growth)
    {
        return Err(ListError::Grew { file: file(), total, before, allowed: max_growth * 100.0 });
    }
    if list.is_stale(with.now_ms) {
        let age_ms = with.now_ms - list.created_ms;
        report.warnings.push(format!(
            "is {} old and stale (max_age {}); when_stale says {:?}",
            weir_rules::units::format_duration_ms(age_ms / 60_000 * 60_000),
            weir_rules::units::format_duration_ms(list.spec.max_age_ms.unwrap_or(0)),
            list.spec.when_stale
        ));
    }
    if total == 0 {
        report.warnings.push("the list is empty".to_owned());
    } else if report.live == 0 {
        report.warnings.push(format!("no entry can match: {} of {total} have expired", report.expired));
    }
    Ok(())
}

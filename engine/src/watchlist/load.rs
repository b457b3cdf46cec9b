//! A list from CSV or NDJSON: the same framing, scanner and normaliser as the stream.

use std::io::Read;
use std::path::Path;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use weir_rules::schema::protected_attribute;

use super::{Entry, Index, ListSpec, Watchlist};
use crate::decode::json::{FieldTree, Token, scan, unescape};
use crate::decode::{CsvRow, parse_csv_row};
use crate::limits::Limits;
use crate::normalise::{self, TimeReader, date_days};
use crate::record::{Cause, Field};
use crate::source::{Compression, Format, Framer, Payload, inflate, records_of};
use crate::vfs::Vfs;

/// Share of the population above which a list of persons is warned about.
const POPULATION_SHARE_WARNED: f64 = 0.001;
/// Share of the population above which it is refused.
const POPULATION_SHARE_REFUSED: f64 = 0.005;
/// Row problems that are kept word for word; the rest is counted.
const ROW_PROBLEMS_MAX: usize = 20;

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
    TooManyPersons { file: String, entries: usize, population: u64 },
    #[error("{file}: more than {max} entries (limits.list_entries)")]
    TooManyEntries { file: String, max: usize },
    #[error("{file}: the purpose `{purpose}` states no legal basis; without one the list must not exist")]
    NoLegalBasis { file: String, purpose: String },
    #[error("{file}: {message}")]
    Broken { file: String, message: String },
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// Record number in the file, from 1, the header not counted.
    pub row: u64,
    /// What is wrong, without the row's values.
    pub message: String,
}

/// What loading found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Entries that can match.
    pub live: usize,
    /// Entries whose expiry has passed; they never match.
    pub expired: usize,
    /// Rows left out.
    pub refused_rows: u64,
    /// The first of them.
    pub problems: Vec<RowProblem>,
    /// Keys whose check digit does not fit; they are kept.
    pub check_warnings: u64,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Columns of a list beside its key. Others are skipped unread.
const COLUMNS: &[&str] = &["entry_id", "expires", "action", "case_ref", "handling", "review_by", "severity"];

/// Loads a list.
pub fn load(
    vfs: &dyn Vfs,
    path: &Path,
    spec: ListSpec,
    limits: &Limits,
    population: Option<u64>,
    now_ms: i64,
) -> Result<(Watchlist, LoadReport), ListError> {
    let file = path.display().to_string();
    if spec.legal_basis.trim().is_empty() {
        return Err(ListError::NoLegalBasis { file, purpose: spec.purpose });
    }
    let io = |error: std::io::Error| ListError::Io { file: file.clone(), error: error.to_string() };
    let stat = vfs.stat(path).map_err(io)?;
    let reader = vfs.open(path).map_err(io)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut list, mut report) = read_list(reader, (&file, &name), stat.len, spec, limits, now_ms)?;

    if let Some(population) = population.filter(|_| list.spec.kind.names_persons()) {
        let share = list.len() as f64 / population.max(1) as f64;
        if share > POPULATION_SHARE_REFUSED {
            return Err(ListError::TooManyPersons { file, entries: list.len(), population });
        }
        if share > POPULATION_SHARE_WARNED {
            report
                .warnings
                .push(format!("names {:.2} % of the population; above 0.5 % it will be refused", share * 100.0));
        }
    }
    let age_ms = now_ms - stat.modified_ms;
    list.stale = list.spec.max_age_ms.is_some_and(|max| age_ms > max);
    if list.stale {
        report.warnings.push(format!(
            "the file is {} old and stale (max_age {}); when_stale says {:?}",
            weir_rules::units::format_duration_ms(age_ms / 60_000 * 60_000),
            weir_rules::units::format_duration_ms(list.spec.max_age_ms.unwrap_or(0)),
            list.spec.when_stale
        ));
    }
    if report.live == 0 {
        report.warnings.push(format!("no entry can match: {} of {} have expired", report.expired, list.len()));
    }
    Ok((list, report))
}

/// Loads a list that stands in a test: NDJSON, never stale, checked like any other.
pub fn load_inline(
    name: &str,
    ndjson: &str,
    spec: ListSpec,
    limits: &Limits,
    now_ms: i64,
) -> Result<(Watchlist, LoadReport), ListError> {
    let reader = Box::new(std::io::Cursor::new(ndjson.as_bytes().to_vec()));
    read_list(reader, (name, "inline.ndjson"), ndjson.len() as u64, spec, limits, now_ms)
}

/// Reads the entries. `names` are the file's name for messages, and the one that tells its format.
fn read_list(
    reader: Box<dyn Read + Send>,
    names: (&str, &str),
    len: u64,
    spec: ListSpec,
    limits: &Limits,
    now_ms: i64,
) -> Result<(Watchlist, LoadReport), ListError> {
    let mut reader = Hashing { inner: reader, hasher: blake3::Hasher::new() };
    let mut loader = Loader {
        file: names.0,
        spec: &spec,
        limits,
        now_ms,
        entries: Vec::new(),
        index: Index::with_capacity((len / 48) as usize),
        seen: HashSet::default(),
        report: LoadReport::default(),
        time: TimeReader::new(None),
        scratch: String::new(),
    };
    loader.read(&mut reader, names.1)?;
    let Loader { entries, index, report, .. } = loader;
    let version = reader.hasher.finalize().to_hex()[..16].to_owned();
    Ok((Watchlist { spec, version, stale: false, entries, index }, report))
}

/// Digests what is read, for the version.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

struct Loader<'a> {
    file: &'a str,
    spec: &'a ListSpec,
    limits: &'a Limits,
    now_ms: i64,
    entries: Vec<Entry>,
    index: Index,
    seen: HashSet<u64, RandomState>,
    report: LoadReport,
    time: TimeReader,
    scratch: String,
}

impl Loader<'_> {
    fn read(&mut self, reader: &mut (impl Read + Send), name: &str) -> Result<(), ListError> {
        let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let format = if plain.ends_with(".csv") { Format::Csv } else { Format::Ndjson };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
        let mut reader = inflate(Box::new(std::io::Cursor::new(bytes)), Compression::Auto)
            .map_err(|error| self.broken(error.to_string()))?;
        let mut framer = Framer::detached(format, self.limits.record_bytes_max);
        let wanted: Vec<String> =
            std::iter::once(self.spec.key.as_str()).chain(COLUMNS.iter().copied()).map(str::to_owned).collect();
        let mut tree = FieldTree::new(&wanted);
        let mut tokens = vec![Token::default(); wanted.len()];
        let mut row = CsvRow::default();
        let mut columns: Option<Vec<Option<usize>>> = None;
        let mut number = 0;
        loop {
            let read = framer.read_from(&mut *reader, 1 << 20).map_err(|error| self.broken(error.to_string()))?;
            if read == 0 {
                framer.finish();
            }
            while let Some(payload) = framer.next_payload().map_err(|error| self.broken(error.to_string()))? {
                let (bytes, header) = match payload {
                    Payload::Lines { bytes, header, .. } => (bytes, header),
                    Payload::Refused(causes) => {
                        for (cause, _) in causes {
                            number += 1;
                            self.refuse(number, cause.to_string());
                        }
                        continue;
                    }
                    Payload::Objects { .. } | Payload::Columns(_) => continue,
                };
                if let (Some(header), None) = (&header, &columns) {
                    columns = Some(self.columns(header, &wanted)?);
                }
                for range in records_of(&bytes, format) {
                    let record = &bytes[range];
                    if record.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    number += 1;
                    let Ok(text) = std::str::from_utf8(record) else {
                        self.refuse(number, "not UTF-8".to_owned());
                        continue;
                    };
                    let result = match &columns {
                        Some(columns) => {
                            parse_csv_row(text, &mut row).map_err(|cause| cause.to_string()).and_then(|()| {
                                self.entry(number, |slot| {
                                    columns[slot].and_then(|column| row.get(column)).map_or(Field::Missing, Field::Text)
                                })
                            })
                        }
                        None => scan(text, &mut tree, &mut tokens)
                            .map_err(|cause| cause.to_string())
                            .and_then(|()| self.entry(number, |slot| tokens[slot].field(text))),
                    };
                    if let Err(message) = result {
                        self.refuse(number, message);
                    }
                    if self.entries.len() > self.limits.list_entries_max {
                        return Err(ListError::TooManyEntries {
                            file: self.file.to_owned(),
                            max: self.limits.list_entries_max,
                        });
                    }
                }
            }
            if read == 0 {
                break;
            }
        }
        if format == Format::Csv && columns.is_none() {
            // A header and nothing else, or nothing at all: an empty list with its columns is fine.
            self.report.warnings.push("the list is empty".to_owned());
        }
        Ok(())
    }

    fn broken(&self, message: String) -> ListError {
        ListError::Broken { file: self.file.to_owned(), message }
    }

    fn columns(&self, header: &[String], wanted: &[String]) -> Result<Vec<Option<usize>>, ListError> {
        if let Some(column) = header.iter().find(|column| protected_attribute(column).is_some()) {
            return Err(ListError::Protected { file: self.file.to_owned(), column: column.clone() });
        }
        let found: Vec<Option<usize>> =
            wanted.iter().map(|name| header.iter().position(|column| column == name)).collect();
        // Key, entry_id and expires must be there.
        if let Some(missing) = (0..3).find(|at| found[*at].is_none()) {
            return Err(ListError::MissingColumn {
                file: self.file.to_owned(),
                column: wanted[missing].clone(),
                key: self.spec.key.clone(),
            });
        }
        Ok(found)
    }

    fn refuse(&mut self, row: u64, message: String) {
        self.report.refused_rows += 1;
        if self.report.problems.len() < ROW_PROBLEMS_MAX {
            self.report.problems.push(RowProblem { row, message });
        }
    }

    fn entry<'a>(&mut self, _number: u64, field: impl Fn(usize) -> Field<'a>) -> Result<(), String> {
        let text = |slot: usize| -> Option<String> {
            match field(slot) {
                Field::Text(text) | Field::Number(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Field::Escaped(text) => {
                    let mut out = String::new();
                    unescape(text, &mut out);
                    Some(out)
                }
                _ => None,
            }
        };
        let missing = |name: &str| format!("`{name}` is missing");
        let raw_key = text(0).ok_or_else(|| missing(&self.spec.key))?;
        let entry_id = text(1).ok_or_else(|| missing("entry_id"))?;
        let expires =
            text(2).ok_or_else(|| format!("{}; an entry without an expiry is not kept", missing("expires")))?;
        let expires_ms = date_days(&expires)
            .map(|days| days * 86_400_000)
            .or_else(|| self.time.read_ms(&expires))
            .ok_or_else(|| "`expires` is neither a date (YYYY-MM-DD) nor a time with its zone".to_owned())?;
        self.scratch.clear();
        let usable = match self.spec.normaliser {
            Some(normaliser) => {
                normalise::apply(normaliser, &raw_key, &mut self.scratch).map_err(|cause: Cause| cause.to_string())?
            }
            None => {
                self.scratch.push_str(&raw_key);
                true
            }
        };
        if !usable {
            return Err(format!("`{}` says nothing once normalised; it could never match", self.spec.key));
        }
        let id_digest = blake3::hash(entry_id.as_bytes());
        let id_digest = u64::from_le_bytes(id_digest.as_bytes()[..8].try_into().expect("eight bytes"));
        if !self.seen.insert(id_digest) {
            return Err("an entry with this `entry_id` came before; the first one is kept".to_owned());
        }
        if looks_like_resident_id(&self.scratch) && !normalise::check_resident_id(&self.scratch).valid_check {
            self.report.check_warnings += 1;
        }
        if !self.index.push(&self.scratch) {
            return Err("the list's keys take more than 4 GiB".to_owned());
        }
        if expires_ms > self.now_ms {
            self.report.live += 1;
        } else {
            self.report.expired += 1;
        }
        self.entries.push(Entry {
            entry_id: entry_id.into(),
            expires_ms,
            action: text(3).map(Into::into),
            case_ref: text(4).map(Into::into),
            handling: text(5).map(Into::into),
        });
        Ok(())
    }
}

fn looks_like_resident_id(key: &str) -> bool {
    key.len() == 18 && key.bytes().take(17).all(|byte| byte.is_ascii_digit())
}

//! Rows of a list's source into entries: CSV and NDJSON through the same framing, scanner and
//! normaliser as the stream, and typed columns (Parquet).
//!
//! Columns are an allow-list: what is not one of them is skipped unread, and one that names a protected
//! attribute refuses the list. A row that cannot be used is left out and told with its line.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use weir_rules::pack::BadRows;
use weir_rules::schema::protected_attribute;

use super::entry::{Action, SEVERITIES};
use super::{ENTRY_TEXT_BYTES_MAX, Key, ListError, ListSpec, NewEntry, SnapshotBuilder, pattern};
use crate::decode::json::{FieldTree, Tokens, scan, texts, unescape};
use crate::decode::{ColumnValues, CsvRow, parse_csv_row};
use crate::limits::Limits;
use crate::normalise::{self, PlateReading, TimeReader, date_days, read_plate};
use crate::record::{Cause, Field};
use crate::source::{Compression, Format, Framer, Payload, inflate, records_of};

/// Row problems that are kept word for word; the rest is counted.
const ROW_PROBLEMS_MAX: usize = 20;
/// Keys of one entry.
const KEYS_PER_ENTRY_MAX: usize = 64;
/// Bytes of all texts of a list: their places are 32 bits wide.
const TEXT_BYTES_MAX: usize = u32::MAX as usize;
/// Columns of a list beside its key. Others are skipped unread.
const COLUMNS: [&str; 7] = ["entry_id", "expires", "action", "case_ref", "handling", "review_by", "severity"];
/// Positions of columns that must be there: key, entry id, expiry.
const NEEDED: usize = 3;

/// How a foreign source is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListSource {
    /// Names of fields in the source, by our name; dots lead into nested objects. Of its own name if not here.
    pub columns: BTreeMap<String, String>,
    /// Values that every row has, by our name.
    pub fixed: BTreeMap<String, String>,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// Line in the file, from 1; of columns, the row.
    pub line: u64,
    /// What is wrong, without the row's values.
    pub message: String,
}

/// What reading a source found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// Rows read.
    pub rows: u64,
    /// Entries that have expired already; they never match.
    pub expired: u64,
    /// Rows left out.
    pub refused_rows: u64,
    /// The first of them.
    pub problems: Vec<RowProblem>,
    /// Keys whose check digit does not fit; they are kept (70 of the 477 IMO numbers of a public list do not fit).
    pub check_warnings: u64,
    /// The first rows with such keys.
    pub check_lines: Vec<u64>,
    /// Digest of the source's bytes: 16 hexadecimal digits; empty for columns.
    pub digest: String,
}

/// A source to read, and what for.
pub(super) struct Rows<'a> {
    pub(super) file: &'a str,
    pub(super) spec: &'a ListSpec,
    pub(super) source: &'a ListSource,
    pub(super) limits: &'a Limits,
    pub(super) now_ms: i64,
}

/// Reads CSV or NDJSON, plain or compressed. `format_name` is the file name that tells which;
/// `progress` counts bytes.
#[expect(clippy::too_many_arguments, reason = "each is one thing that a source has")]
pub fn read_source(
    reader: Box<dyn Read + Send>,
    file: &str,
    format_name: &str,
    spec: &ListSpec,
    source: &ListSource,
    limits: &Limits,
    now_ms: i64,
    progress: &AtomicU64,
    builder: &mut SnapshotBuilder,
) -> Result<SourceReport, ListError> {
    let mut collector = Collector::new(Rows { file, spec, source, limits, now_ms }, builder);
    collector.read_text(reader, format_name, progress)?;
    collector.finish()
}

/// Reads typed columns, as they come out of a Parquet file.
#[expect(clippy::too_many_arguments, reason = "each is one thing that a source has")]
pub fn read_columns(
    batches: &mut dyn Iterator<Item = Result<RecordBatch, String>>,
    file: &str,
    spec: &ListSpec,
    source: &ListSource,
    limits: &Limits,
    now_ms: i64,
    progress: &AtomicU64,
    builder: &mut SnapshotBuilder,
) -> Result<SourceReport, ListError> {
    let mut collector = Collector::new(Rows { file, spec, source, limits, now_ms }, builder);
    for batch in batches {
        let batch = batch.map_err(|error| collector.broken(error))?;
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let columns = collector.columns(&names)?;
        let values: Vec<Option<ColumnValues>> =
            columns.iter().map(|at| at.map(|at| ColumnValues::new(&as_text(batch.column(at))))).collect();
        for row in 0..batch.num_rows() {
            collector.row(|slot| values[slot].as_ref().map_or(Field::Missing, |values| values.field(row)))?;
        }
        progress.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
    }
    collector.finish()
}

/// Days and times as the text that stands for them in CSV.
fn as_text(column: &ArrayRef) -> ArrayRef {
    let text = match column.data_type() {
        DataType::Date32 | DataType::Date64 => {
            cast(column, &DataType::Date32).and_then(|days| cast(&days, &DataType::Utf8))
        }
        DataType::Timestamp(..) => cast(column, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
            .and_then(|times| cast(&times, &DataType::Utf8)),
        _ => return column.clone(),
    };
    text.unwrap_or_else(|_| column.clone())
}

struct Collector<'a, 'b> {
    rows: Rows<'a>,
    builder: &'b mut SnapshotBuilder,
    /// Names of fields by slot: key, then [`COLUMNS`].
    wanted: Vec<String>,
    seen: HashSet<u64, RandomState>,
    report: SourceReport,
    line: u64,
    text_bytes: usize,
    time: TimeReader,
    scratch: String,
}

impl<'a, 'b> Collector<'a, 'b> {
    fn new(rows: Rows<'a>, builder: &'b mut SnapshotBuilder) -> Self {
        let ours = std::iter::once(rows.spec.key.as_str()).chain(COLUMNS);
        let wanted = ours.map(|name| rows.source.columns.get(name).map_or(name, String::as_str).to_owned()).collect();
        Self {
            rows,
            builder,
            wanted,
            seen: HashSet::default(),
            report: SourceReport::default(),
            line: 0,
            text_bytes: 0,
            time: TimeReader::new(None),
            scratch: String::new(),
        }
    }

    fn finish(self) -> Result<SourceReport, ListError> {
        if self.rows.spec.bad_rows == BadRows::Refuse && self.report.refused_rows > 0 {
            let first = &self.report.problems[0];
            return Err(ListError::BadRows {
                file: self.rows.file.to_owned(),
                rows: self.report.refused_rows,
                line: first.line,
                message: first.message.clone(),
            });
        }
        Ok(self.report)
    }

    fn read_text(
        &mut self,
        reader: Box<dyn Read + Send>,
        format_name: &str,
        progress: &AtomicU64,
    ) -> Result<(), ListError> {
        let plain = format_name.trim_end_matches(".gz").trim_end_matches(".zst");
        let format = if plain.ends_with(".csv") { Format::Csv } else { Format::Ndjson };
        let mut bytes = Vec::new();
        let mut reader = Hashing { inner: reader, hasher: blake3::Hasher::new() };
        reader.read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
        reader.hasher.finalize().to_hex()[..16].clone_into(&mut self.report.digest);
        let mut reader = inflate(Box::new(std::io::Cursor::new(bytes)), Compression::Auto)
            .map_err(|error| self.broken(error.to_string()))?;
        let mut framer = Framer::detached(format, self.rows.limits.record_bytes_max);
        let tree = FieldTree::new(&self.wanted);
        let mut tokens = Tokens::new(self.wanted.len());
        let mut row = CsvRow::default();
        let mut columns: Option<Vec<Option<usize>>> = None;
        let mut next_line = 1;
        loop {
            let read = framer.read_from(&mut *reader, 1 << 20).map_err(|error| self.broken(error.to_string()))?;
            progress.fetch_add(read as u64, Ordering::Relaxed);
            if read == 0 {
                framer.finish();
            }
            while let Some(payload) = framer.next_payload().map_err(|error| self.broken(error.to_string()))? {
                let (bytes, header) = match payload {
                    Payload::Lines { bytes, header, .. } => (bytes, header),
                    Payload::Refused(causes) => {
                        for (cause, _) in causes {
                            self.line = next_line;
                            next_line += 1;
                            self.refuse(cause.to_string());
                        }
                        continue;
                    }
                    Payload::Objects { .. } | Payload::Columns(_) | Payload::Encoded(_) | Payload::Alive(_) => continue,
                };
                if let (Some(header), None) = (&header, &columns) {
                    columns = Some(self.columns(header)?);
                    next_line += 1;
                }
                let mut counted = 0;
                for range in records_of(&bytes, format) {
                    next_line += memchr::memchr_iter(b'\n', &bytes[counted..range.start]).count() as u64;
                    counted = range.start;
                    self.line = next_line;
                    let record = &bytes[range];
                    if record.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    let Ok(text) = std::str::from_utf8(record) else {
                        self.report.rows += 1;
                        self.refuse("not UTF-8".to_owned());
                        continue;
                    };
                    let taken = match &columns {
                        Some(columns) => parse_csv_row(text, &mut row).map_err(|cause| cause.to_string()).map(|()| {
                            self.row(|slot| {
                                columns[slot].and_then(|column| row.get(column)).map_or(Field::Missing, Field::Text)
                            })
                        }),
                        None => scan(text, &tree, &mut tokens)
                            .map_err(|cause| cause.to_string())
                            .map(|()| self.row(|slot| tokens.field(slot, text))),
                    };
                    match taken {
                        Ok(taken) => taken?,
                        Err(message) => {
                            self.report.rows += 1;
                            self.refuse(message);
                        }
                    }
                }
                next_line += memchr::memchr_iter(b'\n', &bytes[counted..]).count() as u64;
            }
            if read == 0 {
                // A header without rows is judged too.
                if let (None, Some(header)) = (&columns, framer.header()) {
                    self.columns(&header)?;
                }
                return Ok(());
            }
        }
    }

    fn broken(&self, message: String) -> ListError {
        ListError::Broken { file: self.rows.file.to_owned(), message }
    }

    /// Where each wanted column stands among those of the source.
    fn columns(&self, header: &[String]) -> Result<Vec<Option<usize>>, ListError> {
        let file = || self.rows.file.to_owned();
        if let Some(column) = header.iter().find(|column| protected_attribute(column).is_some()) {
            return Err(ListError::Protected { file: file(), column: column.clone() });
        }
        let found: Vec<Option<usize>> =
            self.wanted.iter().map(|name| header.iter().position(|column| column == name)).collect();
        if let Some(missing) = (0..NEEDED).find(|at| found[*at].is_none() && !self.is_fixed(*at)) {
            return Err(ListError::MissingColumn {
                file: file(),
                column: self.wanted[missing].clone(),
                key: self.rows.spec.key.clone(),
            });
        }
        Ok(found)
    }

    fn our_name(&self, slot: usize) -> &str {
        slot.checked_sub(1).map_or(self.rows.spec.key.as_str(), |at| COLUMNS[at])
    }

    fn is_fixed(&self, slot: usize) -> bool {
        self.rows.source.fixed.contains_key(self.our_name(slot))
    }

    fn refuse(&mut self, message: String) {
        self.report.refused_rows += 1;
        if self.report.problems.len() < ROW_PROBLEMS_MAX {
            self.report.problems.push(RowProblem { line: self.line, message });
        }
    }

    fn row<'f>(&mut self, field: impl Fn(usize) -> Field<'f>) -> Result<(), ListError> {
        self.report.rows += 1;
        if self.line < self.report.rows {
            // Typed columns have no lines.
            self.line = self.report.rows;
        }
        if let Err(message) = self.entry(field) {
            self.refuse(message);
        }
        let file = || self.rows.file.to_owned();
        let max = self.rows.limits.list_entries_max;
        if self.builder.len() > max {
            return Err(ListError::TooManyEntries { file: file(), max });
        }
        if self.builder.patterns() > pattern::PATTERNS_MAX {
            return Err(ListError::TooManyPatterns { file: file(), max: pattern::PATTERNS_MAX });
        }
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(self.broken("the texts of its entries take more than 4 GiB".to_owned()));
        }
        Ok(())
    }

    fn entry<'f>(&mut self, field: impl Fn(usize) -> Field<'f>) -> Result<(), String> {
        let text = |slot: usize| -> Option<String> {
            if let Some(fixed) = self.rows.source.fixed.get(self.our_name(slot)) {
                return Some(fixed.clone());
            }
            text_of(field(slot))
        };
        let missing = |slot: usize| format!("`{}` is missing", self.wanted[slot]);
        let keys = match field(0) {
            _ if self.is_fixed(0) => return Err("the key cannot be the same for all".to_owned()),
            Field::Json(json) => {
                let mut keys = Vec::new();
                if !texts(json, KEYS_PER_ENTRY_MAX, &mut keys) {
                    return Err(format!("`{}` is neither a text nor a short list of texts", self.wanted[0]));
                }
                keys
            }
            Field::Texts(texts) => texts.to_vec(),
            other => text_of(other).into_iter().collect(),
        };
        if keys.is_empty() {
            return Err(missing(0));
        }
        let entry_id = text(1).ok_or_else(|| missing(1))?;
        let expires = text(2).ok_or_else(|| format!("{}; an entry without an expiry is not kept", missing(2)))?;
        let action = word(text(3), "action", Action::WORDS)?;
        let (case_ref, handling) = (text(4).unwrap_or_default(), text(5).unwrap_or_default());
        let review_by = text(6);
        let severities: Vec<(&str, usize)> = SEVERITIES.iter().enumerate().map(|(at, word)| (*word, at)).collect();
        let severity = word(text(7), "severity", &severities)?;
        let expires_ms = self.moment("expires", &expires)?;
        let review_by_ms = review_by.map(|text| self.moment("review_by", &text)).transpose()?;
        for (name, text) in [("entry_id", &entry_id), ("case_ref", &case_ref), ("handling", &handling)] {
            if text.len() > ENTRY_TEXT_BYTES_MAX {
                return Err(format!("`{name}` is longer than {ENTRY_TEXT_BYTES_MAX} bytes"));
            }
        }
        let keys: Vec<Key> = keys.iter().map(|raw| self.key(raw)).collect::<Result<_, _>>()?;
        let id_digest = blake3::hash(entry_id.as_bytes());
        let id_digest = u64::from_le_bytes(id_digest.as_bytes()[..8].try_into().expect("eight bytes"));
        if !self.seen.insert(id_digest) {
            return Err("an entry with this `entry_id` came before; the first one is kept".to_owned());
        }
        let entry = NewEntry {
            entry_id: &entry_id,
            expires_ms,
            review_by_ms,
            action,
            severity,
            case_ref: &case_ref,
            handling: &handling,
        };
        for key in &keys {
            if !self.check_digit_fits(key) {
                self.report.check_warnings += 1;
                if self.report.check_lines.len() < ROW_PROBLEMS_MAX {
                    self.report.check_lines.push(self.line);
                }
            }
            self.builder.push(key, &entry);
            self.text_bytes += entry_id.len() + case_ref.len() + handling.len();
        }
        self.report.expired += u64::from(expires_ms <= self.rows.now_ms);
        Ok(())
    }

    /// A day, at whose start it is, or a time with its zone.
    fn moment(&mut self, name: &str, text: &str) -> Result<i64, String> {
        date_days(text)
            .map(|days| days * 86_400_000)
            .or_else(|| self.time.read_ms(text))
            .ok_or_else(|| format!("`{name}` is neither a date (YYYY-MM-DD) nor a time with its zone"))
    }

    /// The canonical key or pattern of a text.
    fn key(&mut self, raw: &str) -> Result<Key, String> {
        let (name, normaliser) = (&self.rows.spec.key, self.rows.spec.normaliser);
        if pattern::is_pattern(raw) {
            return pattern::canonical(raw, normaliser).map(Key::Pattern);
        }
        if self.rows.spec.folds() && read_plate(raw) == PlateReading::Partial {
            // Somebody saw the vehicle and did not see all of its plate.
            self.scratch.clear();
            normalise::apply(weir_rules::schema::Normaliser::PartialPlateV1, raw, &mut self.scratch)
                .map_err(|cause: Cause| cause.to_string())?;
            let pattern = self.scratch.replace('-', "?");
            return pattern::check(&pattern).map(|()| Key::Pattern(pattern));
        }
        self.scratch.clear();
        let usable = match normaliser {
            Some(normaliser) => {
                normalise::apply(normaliser, raw, &mut self.scratch).map_err(|cause: Cause| cause.to_string())?
            }
            None => {
                self.scratch.push_str(raw.trim());
                !self.scratch.is_empty()
            }
        };
        if !usable {
            return Err(format!("`{name}` says nothing once normalised; it could never match"));
        }
        Ok(Key::Exact(self.scratch.clone()))
    }

    /// Whether a key that has a check digit has the right one. Public lists are full of wrong ones.
    fn check_digit_fits(&self, key: &Key) -> bool {
        let Key::Exact(key) = key else { return true };
        let field = self.wanted[0].rsplit('.').next().unwrap_or_default();
        if looks_like_resident_id(key) {
            return normalise::check_resident_id(key).valid_check;
        }
        match key.strip_prefix("IMO").or(Some(key.as_str()).filter(|_| field == "imo")) {
            Some(number) if number.len() == 7 => normalise::imo_check_digit_fits(number),
            _ => true,
        }
    }
}

fn looks_like_resident_id(key: &str) -> bool {
    key.len() == 18 && key.bytes().take(17).all(|byte| byte.is_ascii_digit())
}

/// A field as text; numbers as they stand.
fn text_of(field: Field<'_>) -> Option<String> {
    match field {
        Field::Text(text) | Field::Number(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Field::Escaped(text) => {
            let mut out = String::new();
            unescape(text, &mut out);
            Some(out.trim().to_owned()).filter(|text| !text.is_empty())
        }
        Field::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn word<T: Copy>(text: Option<String>, name: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(text) = text else { return Ok(None) };
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(format!("`{name}` is none of {}", known.join(", ")))
        }
    }
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

//! What has been told and is not yet in a finished file: lines of JSON in a file of their own, so that a power loss takes nothing.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use weir_engine::Output;

use super::{ArchiveFormat, table};

/// How the name of a file begins that is still written to; readers of folders of Parquet pass over names with a dot.
const OPEN_PREFIX: &str = ".open-";
const OPEN_SUFFIX: &str = ".ndjson";

/// What an output is known by.
pub(super) type Known = [u8; 16];

/// What an output is known by: its id and revision, or its words.
pub(super) fn known(output: &Output) -> Known {
    let id = output.identity().map(|(id, revision)| format!("{id} {revision}"));
    let digest = blake3::hash(id.unwrap_or_else(|| output.to_json()).as_bytes());
    digest.as_bytes()[..16].try_into().expect("16 of 32 bytes")
}

/// The same, of a line.
fn known_of_line(stream: &str, line: &str) -> Option<Known> {
    let output: serde_json::Value = serde_json::from_str(line).ok()?;
    let id = match stream {
        "alerts" => format!("{} {}", output["alert_id"].as_str()?, output["revision"].as_u64()?),
        _ => {
            let key: Vec<&str> = output["key"].as_object()?.values().filter_map(serde_json::Value::as_str).collect();
            let (rule, end_ms) = (output["rule"].as_str()?, output["end_ms"].as_i64()?);
            format!("{rule}-{}-{end_ms} {}", key.join(","), output["revision"].as_u64().unwrap_or(0))
        }
    };
    blake3::hash(id.as_bytes()).as_bytes()[..16].try_into().ok()
}

/// Outputs of one stream that will be one file.
pub(super) struct Part {
    stream: &'static str,
    format: ArchiveFormat,
    /// Where the stream's files are.
    folder: PathBuf,
    /// When it was begun; its name.
    pub(super) began_ms: i64,
    file: File,
    pub(super) bytes: u64,
    pub(super) known: HashSet<Known>,
    /// A write broke off within a line.
    torn: bool,
}

impl Part {
    pub(super) fn begin(stream: &'static str, format: ArchiveFormat, folder: &Path, began_ms: i64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = OpenOptions::new().append(true).create(true).open(open_path(folder, began_ms))?;
        File::open(folder)?.sync_all()?;
        let (bytes, known) = (0, HashSet::new());
        Ok(Self { stream, format, folder: folder.to_owned(), began_ms, file, bytes, known, torn: false })
    }

    /// What an earlier run left, in order.
    pub(super) fn left(stream: &'static str, format: ArchiveFormat, folder: &Path) -> io::Result<Vec<Self>> {
        let mut parts = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parts),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix(OPEN_PREFIX).and_then(|rest| rest.strip_suffix(OPEN_SUFFIX));
            let Some(began_ms) = number.and_then(|number| number.parse().ok()) else { continue };
            let text = fs::read(open_path(folder, began_ms))?;
            let mut part = Self::begin(stream, format, folder, began_ms)?;
            part.bytes = text.len() as u64;
            part.torn = text.last().is_some_and(|last| *last != b'\n');
            let text = String::from_utf8_lossy(&text);
            part.known = text.lines().filter_map(|line| known_of_line(stream, line)).collect();
            parts.push(part);
        }
        parts.sort_by_key(|part| part.began_ms);
        Ok(parts)
    }

    /// Appends an output.
    pub(super) fn append(&mut self, output: &Output, known: Known) -> io::Result<()> {
        let mut line = output.to_json();
        line.push('\n');
        if self.torn {
            line.insert(0, '\n');
        }
        self.torn = true;
        self.file.write_all(line.as_bytes())?;
        self.torn = false;
        self.bytes += line.len() as u64;
        self.known.insert(known);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes it a finished file of its day. One that a crash left half made is made anew.
    pub(super) fn close(&self) -> io::Result<()> {
        let open = open_path(&self.folder, self.began_ms);
        let text = fs::read(&open)?;
        let text = String::from_utf8_lossy(&text);
        if !self.known.is_empty() {
            let day = self.folder.join(day_of(self.began_ms));
            fs::create_dir_all(&day)?;
            let file = table::file_of(self.stream, self.format, text.lines()).map_err(io::Error::other)?;
            let beside = day.join(format!(".new-{}", self.began_ms));
            let mut to = File::create(&beside)?;
            to.write_all(&file)?;
            to.sync_all()?;
            fs::rename(&beside, day.join(format!("{FILE_PREFIX}{}.{}", self.began_ms, self.format.word())))?;
            File::open(&day)?.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        fs::remove_file(&open)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn open_path(folder: &Path, began_ms: i64) -> PathBuf {
    folder.join(format!("{OPEN_PREFIX}{began_ms}{OPEN_SUFFIX}"))
}

/// How the folder of a day begins.
pub(super) const DAY_PREFIX: &str = "date=";
/// How the name of a finished file begins.
pub(super) const FILE_PREFIX: &str = "weir-";

/// The folder of the day of a moment, UTC.
pub(super) fn day_of(ms: i64) -> String {
    format!("{DAY_PREFIX}{}", &weir_engine::alert::format_time(ms)[..10])
}

/// Removes the days of a stream before the one of this moment.
pub(super) fn forget_before(folder: &Path, ms: i64) -> io::Result<()> {
    let first_kept = day_of(ms);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(DAY_PREFIX) && name.len() == first_kept.len() && name < first_kept {
            match fs::remove_dir_all(entry.path()) {
                // Whoever carries files to a store may have been faster.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

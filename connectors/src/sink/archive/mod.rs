//! Alerts and windows as Parquet or Arrow files in folders by day, for those who look back.
//!
//! What is told lies in a file of lines first (`part.rs`), synced before the outbox forgets it, and becomes a finished file
//! (`table.rs`) every so often. An output that comes again after a crash is dropped. Where there is an object store, finished files
//! are carried there (`carrier.rs`).

mod carrier;
mod part;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::{Output, Sink, SinkError, Stream};

use self::carrier::{Carrier, finished};
use self::part::{Part, forget_before, known};
use crate::client::S3Bucket;

/// Outputs of one file.
const ROWS_MAX: usize = 50_000;
/// Bytes of one file, as lines.
const BYTES_MAX: u64 = 64 << 20;
/// A part that is full waits for the outbox to forget what is in it, where one is kept; at most for so long.
const CLOSED_AFTER: Duration = Duration::from_mins(1);
/// How often it is looked for what has been kept long enough.
const FORGET_EVERY: Duration = Duration::from_mins(10);
/// Finished files that wait for an object store; where there are more, outputs wait in the outbox.
const WAITING_MAX: usize = 1_000;

/// What an archive's files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Arrow's IPC file format.
    Arrow,
}

impl ArchiveFormat {
    /// As it is configured, and as names of files end.
    pub fn word(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

/// Writes files.
pub struct ArchiveSink {
    folder: PathBuf,
    format: ArchiveFormat,
    every: Duration,
    keep_for: Duration,
    streams: Vec<Archived>,
    forgot: Option<Instant>,
    carrier: Option<Carrier>,
}

/// A stream's parts.
struct Archived {
    stream: Stream,
    /// Written to.
    open: Option<Part>,
    /// Closed once what is in them will not come again.
    full: Vec<Full>,
}

struct Full {
    part: Part,
    since: Instant,
    /// It has been settled: once it is asked to settle again the outbox has forgotten what is in it.
    settled: bool,
}

impl Full {
    fn new(part: Part) -> Self {
        Self { part, since: Instant::now(), settled: false }
    }
}

impl ArchiveSink {
    /// Streams that can be kept.
    pub const STREAMS: [Stream; 2] = [Stream::Alerts, Stream::Windows];

    /// An archive in this folder: a file at least `every` so often while there are outputs, kept for `keep_for`.
    ///
    /// # Errors
    /// When what an earlier run left there cannot be read.
    pub fn open(folder: PathBuf, format: ArchiveFormat, every: Duration, keep_for: Duration) -> io::Result<Self> {
        let mut streams = Vec::new();
        for stream in Self::STREAMS {
            let mut left = Part::left(stream.word(), format, &folder.join(stream.word()))?;
            let open = left.pop();
            let full = left.into_iter().map(Full::new).collect();
            streams.push(Archived { stream, open, full });
        }
        Ok(Self { folder, format, every, keep_for, streams, forgot: None, carrier: None })
    }

    /// The same, whose finished files are carried to this bucket, where they are kept as long.
    ///
    /// # Errors
    /// When there can be no such bucket, or the folder cannot be read.
    pub fn carried_to(mut self, bucket: S3Bucket, runtime: Handle) -> io::Result<Self> {
        self.carrier = Some(Carrier::start(&self.folder, bucket, self.keep_for, runtime)?);
        Ok(self)
    }

    fn fault(&self, error: &io::Error) -> SinkError {
        SinkError::new(format!("archive {}: {error}", self.folder.display()))
    }

    fn append(&mut self, output: &Output, now_ms: i64) -> io::Result<()> {
        let Some(archived) = self.streams.iter_mut().find(|it| it.stream == output.stream()) else { return Ok(()) };
        let id = known(output);
        let parts = archived.full.iter().map(|full| &full.part).chain(&archived.open);
        if parts.into_iter().any(|part| part.known.contains(&id)) {
            return Ok(());
        }
        if archived.open.is_none() {
            if self.carrier.is_some() && finished(&self.folder)?.len() >= WAITING_MAX {
                return Err(io::Error::other(format!("{WAITING_MAX} files wait for the store, and no more are made")));
            }
            let word = archived.stream.word();
            // Two parts never have one name.
            let newest = archived.full.iter().map(|full| full.part.began_ms).max().unwrap_or(i64::MIN);
            let began_ms = now_ms.max(newest.saturating_add(1));
            archived.open = Some(Part::begin(word, self.format, &self.folder.join(word), began_ms)?);
        }
        let open = archived.open.as_mut().expect("begun above");
        open.append(output, id)?;
        if open.known.len() >= ROWS_MAX || open.bytes >= BYTES_MAX {
            archived.fill();
        }
        Ok(())
    }

    /// Closes those of the full parts that `ready` names, up to the first that is not.
    fn close(&mut self, ready: impl Fn(&Full) -> bool) -> io::Result<()> {
        for archived in &mut self.streams {
            while let Some(full) = archived.full.first().filter(|full| ready(full)) {
                full.part.close()?;
                archived.full.remove(0);
                self.carrier.iter().for_each(Carrier::look);
            }
        }
        Ok(())
    }

    /// Parts that have been open for long enough are full.
    fn fill_due(&mut self, now_ms: i64) {
        for archived in &mut self.streams {
            if archived.open.as_ref().is_some_and(|open| now_ms - open.began_ms >= self.every.as_millis() as i64) {
                archived.fill();
            }
        }
    }

    fn forget(&mut self, now_ms: i64) -> io::Result<()> {
        if self.forgot.is_some_and(|at| at.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        for archived in &self.streams {
            let folder = self.folder.join(archived.stream.word());
            forget_before(&folder, now_ms - self.keep_for.as_millis() as i64)?;
        }
        self.forgot = Some(Instant::now());
        Ok(())
    }

    fn settle_at(&mut self, now_ms: i64) -> io::Result<()> {
        self.close(|full| full.settled)?;
        for archived in &mut self.streams {
            archived.open.iter().try_for_each(Part::sync)?;
            for full in &mut archived.full {
                full.part.sync()?;
                full.settled = true;
            }
        }
        self.fill_due(now_ms);
        self.forget(now_ms)
    }
}

impl Archived {
    fn fill(&mut self) {
        self.full.extend(self.open.take().map(Full::new));
    }
}

fn now_ms() -> i64 {
    SystemClock::default().wall_ms()
}

impl Sink for ArchiveSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let now_ms = now_ms();
        for (at, output) in outputs.iter().enumerate() {
            self.append(output, now_ms).map_err(|error| self.fault(&error).after(at))?;
        }
        self.close(|full| full.since.elapsed() >= CLOSED_AFTER)
            .map_err(|error| self.fault(&error).after(outputs.len()))?;
        self.fill_due(now_ms);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.settle_at(now_ms()).map_err(|error| self.fault(&error))
    }

    fn trouble(&self) -> Option<String> {
        let trouble = self.carrier.as_ref()?.trouble()?;
        Some(format!("archive {}: its files wait for the store: {trouble}", self.folder.display()))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.streams.iter_mut().for_each(Archived::fill);
        self.close(|_| true).and_then(|()| self.forget(now_ms())).map_err(|error| self.fault(&error))?;
        let carried = self.carrier.as_mut().map_or(Ok(()), Carrier::finish);
        carried.map_err(|error| self.fault(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use weir_engine::alert::{Alert, WindowRange, WindowValue};
    use weir_engine::vfs::{RealVfs, Vfs};

    use super::*;
    use crate::source::parquet_batches;

    fn outputs(numbers: std::ops::Range<u32>) -> Vec<Output> {
        let alert = |n| {
            let (alert_id, ts) = (format!("a{n}"), "2026-11-26T08:00:00Z".to_owned());
            Output::Alert(Arc::new(Alert { alert_id, ts, severity: "low", review: "none", ..Alert::default() }))
        };
        let window = |n: u32| {
            Output::Window(Arc::new(WindowValue {
                rule: "flow".to_owned(),
                purpose: "crowd".to_owned(),
                key: BTreeMap::from([("zone".to_owned(), format!("z{n}"))]),
                window: WindowRange { start: String::new(), end: String::new() },
                start_ms: 0,
                end_ms: 10_000,
                revision: 0,
                measure: "count".to_owned(),
                value: f64::from(n),
                margin: None,
                completeness: None,
                forecast: None,
            }))
        };
        numbers.flat_map(|n| [alert(n), window(n)]).collect()
    }

    fn open(folder: &Path) -> ArchiveSink {
        let (every, keep_for) = (Duration::from_hours(1), Duration::from_hours(24 * 30));
        ArchiveSink::open(folder.to_owned(), ArchiveFormat::Parquet, every, keep_for).unwrap()
    }

    /// Rows of the Parquet files of a stream.
    fn rows(folder: &Path, stream: &str) -> usize {
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
        let pattern = folder.join(stream).join("date=*/*.parquet");
        let files = glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap);
        files.map(|path| parquet_batches(&path, &vfs).unwrap().map(|it| it.unwrap().num_rows()).sum::<usize>()).sum()
    }

    fn holds(folder: &Path, each: usize) {
        assert_eq!([rows(folder, "alerts"), rows(folder, "windows")], [each, each]);
    }

    #[test]
    fn what_comes_again_after_a_crash_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let mut archive = open(at);
        archive.deliver(&outputs(0..10)).unwrap();
        archive.settle().unwrap();
        archive.deliver(&outputs(10..20)).unwrap();
        // It ends here; a line broke off.
        drop(archive);
        for stream in ["alerts", "windows"] {
            let left = glob::glob(at.join(stream).join(".open-*").to_str().unwrap()).unwrap().next().unwrap().unwrap();
            let text = fs::read(&left).unwrap();
            fs::write(&left, &text[..text.len() - 5]).unwrap();
        }
        let mut archive = open(at);
        archive.deliver(&outputs(10..30)).unwrap();
        archive.deliver(&outputs(29..31)).unwrap();
        archive.finish().unwrap();
        holds(at, 31);
    }

    #[test]
    fn a_full_part_stays_open_until_it_cannot_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let mut archive = open(at);
        archive.deliver(&outputs(0..10)).unwrap();
        archive.streams.iter_mut().for_each(Archived::fill);
        archive.settle().unwrap();
        holds(at, 0);
        // A crash now, before the outbox has noted that it was settled.
        drop(archive);
        let mut archive = open(at);
        archive.deliver(&outputs(0..15)).unwrap();
        archive.streams.iter_mut().for_each(Archived::fill);
        archive.settle().unwrap();
        archive.settle().unwrap();
        holds(at, 15);
        archive.finish().unwrap();
        holds(at, 15);
    }

    #[test]
    fn a_crash_before_the_lines_are_gone_makes_the_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let mut archive = open(at);
        archive.deliver(&outputs(0..10)).unwrap();
        let lines: Vec<(PathBuf, Vec<u8>)> = ["alerts", "windows"]
            .iter()
            .flat_map(|stream| glob::glob(at.join(stream).join(".open-*").to_str().unwrap()).unwrap())
            .map(|path| path.map(|path| (path.clone(), fs::read(&path).unwrap())).unwrap())
            .collect();
        archive.finish().unwrap();
        for (path, text) in &lines {
            fs::write(path, text).unwrap();
        }
        let mut archive = open(at);
        archive.deliver(&outputs(5..12)).unwrap();
        archive.finish().unwrap();
        holds(at, 12);
    }
}

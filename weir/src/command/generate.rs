//! `weir generate`: records of a synthetic city, to a file or at a rate.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::generate::{ArrowWriter, City, CitySpec, write_line, write_side_files};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum RecordFormat {
    Ndjson,
    Arrow,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many records.
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// The same seed gives the same city.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// NDJSON lines or an Arrow IPC stream.
    #[arg(long, value_enum, default_value = "ndjson")]
    format: RecordFormat,
    /// File to write; standard output if not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder for lists, zone table, pack and a weir.yaml that runs them.
    #[arg(long)]
    with: Option<PathBuf>,
    /// Records a second of the clock on the wall, with times of now. Each record keeps its intended
    /// time, however late it is written.
    #[arg(long)]
    rate: Option<f64>,
    /// Records a second of event time, when no rate is given.
    #[arg(long, default_value_t = 10_000.0)]
    event_rate: f64,
    /// First moment of event time, RFC 3339.
    #[arg(long, default_value = "2026-11-23T00:00:00Z")]
    start: String,
    /// Share of vehicle and id records that are on a list.
    #[arg(long, default_value_t = 0.0001)]
    hit_rate: f64,
    /// Entries of each list.
    #[arg(long, default_value_t = 1_000)]
    list_entries: u64,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let start_ms = match args.start.parse::<jiff::Timestamp>() {
        Ok(start) => start.as_millisecond(),
        Err(error) => return wrong(&format!("--start: {error}")),
    };
    let records_per_s = args.rate.unwrap_or(args.event_rate);
    if !(records_per_s > 0.0 && records_per_s.is_finite()) {
        return wrong("a rate is a number above 0");
    }
    if !(0.0..=1.0).contains(&args.hit_rate) || args.list_entries == 0 {
        return wrong("--hit-rate lies between 0 and 1, --list-entries is at least 1");
    }
    let start_ms = if args.rate.is_some() { now_ms() } else { start_ms };
    let spec =
        CitySpec { seed: args.seed, start_ms, records_per_s, hit_rate: args.hit_rate, list_entries: args.list_entries };
    match write(args, spec) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read from us has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("weir: {message}");
    ExitCode::from(EXIT_WRONG)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn write(args: &Args, spec: CitySpec) -> io::Result<()> {
    if let Some(folder) = &args.with {
        let records = match &args.out {
            Some(out) => {
                let absolute = std::path::absolute(out)?;
                let relative = absolute.strip_prefix(std::path::absolute(folder)?).map(std::path::Path::to_path_buf);
                Some(relative.unwrap_or(absolute).display().to_string())
            }
            None => None,
        };
        write_side_files(folder, &spec, records.as_deref(), args.format == RecordFormat::Arrow)?;
    }
    let out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(fs::File::create(path)?),
        None => Box::new(io::stdout()),
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut pace = args.rate.map(Pace::new);
    let mut city = City::new(spec);
    match args.format {
        RecordFormat::Ndjson => {
            let mut line = String::new();
            for _ in 0..args.records {
                let due_ms = match &mut pace {
                    Some(pace) => Some(pace.next(&mut || out.flush())?),
                    None => None,
                };
                line.clear();
                write_line(&city.next_record(due_ms), &mut line);
                out.write_all(line.as_bytes())?;
            }
            out.flush()
        }
        RecordFormat::Arrow => {
            let mut writer = ArrowWriter::new(out).map_err(io::Error::other)?;
            for _ in 0..args.records {
                let due_ms = match &mut pace {
                    Some(pace) => Some(pace.next(&mut || Ok(()))?),
                    None => None,
                };
                writer.push(&city.next_record(due_ms)).map_err(io::Error::other)?;
            }
            writer.finish().map_err(io::Error::other)
        }
    }
}

/// An open loop: record n is due n / rate seconds after the start, whatever happened to those before.
struct Pace {
    started: Instant,
    started_ms: i64,
    rate: f64,
    sent: u64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { started: Instant::now(), started_ms: now_ms(), rate, sent: 0 }
    }

    /// Waits until the next record is due, flushing first; the intended time.
    fn next(&mut self, flush: &mut impl FnMut() -> io::Result<()>) -> io::Result<i64> {
        let due = Duration::from_secs_f64(self.sent as f64 / self.rate);
        self.sent += 1;
        if let Some(wait) = due.checked_sub(self.started.elapsed()).filter(|wait| *wait > Duration::from_micros(500)) {
            flush()?;
            std::thread::sleep(wait);
        }
        Ok(self.started_ms + due.as_millis() as i64)
    }
}

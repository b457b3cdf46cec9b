//! `weir dead-letter`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use weir_engine::Output;
use weir_engine::alert::{DeadLetter, format_time};
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::record::Pseudonyms;
use weir_engine::rng::OsRng;
use weir_engine::state::{AuditLine, KeptLetter, dead_letters, note_by_hand};
use weir_engine::vfs::{RealVfs, Vfs};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::config::read_key;
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what was refused, late or let go, the oldest first.
    List(List),
    /// Show one dead letter; with a key and a reason, the bytes of its record too.
    Show(Show),
    /// Write the records that were refused to standard output, to be fed in once the cause is mended.
    Replay(Replay),
}

#[derive(clap::Args)]
struct Chosen {
    /// Only those of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only those refused for this cause, such as `bad_json`.
    #[arg(long)]
    cause: Option<String>,
    /// From this number on.
    #[arg(long)]
    from: Option<u64>,
    /// Up to this number.
    #[arg(long)]
    to: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    DeadLetters,
    Late,
    Shed,
}

#[derive(clap::Args)]
struct List {
    /// The folder: `state.dir` of the configuration.
    folder: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    /// Only this stream.
    #[arg(long)]
    stream: Option<Kind>,
    /// No more than the last so many.
    #[arg(long, default_value_t = 1_000)]
    last: usize,
    /// One JSON object for each instead of text.
    #[arg(long)]
    json: bool,
}

/// Whoever reads records of people says why; it is kept in the folder's audit log.
#[derive(clap::Args)]
struct Reason {
    /// The key file of the configuration.
    #[arg(long, requires = "why")]
    key: Option<PathBuf>,
    /// Why the bytes are read; kept in the audit log of the folder.
    #[arg(long, requires = "key")]
    why: Option<String>,
}

#[derive(clap::Args)]
struct Show {
    /// The folder: `state.dir` of the configuration.
    folder: PathBuf,
    /// Its number, as `list` tells it.
    number: u64,
    #[command(flatten)]
    reason: Reason,
}

#[derive(clap::Args)]
struct Replay {
    /// The folder: `state.dir` of the configuration.
    folder: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    /// The key file of the configuration.
    #[arg(long)]
    key: PathBuf,
    /// Why the records are read; kept in the audit log of the folder.
    #[arg(long)]
    why: String,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let result = match &args.command {
        Command::List(args) => list(&vfs, args),
        Command::Show(args) => show(&vfs, args),
        Command::Replay(args) => replay(&vfs, args),
    };
    result.unwrap_or_else(|(message, code)| {
        eprintln!("weir: {message}");
        ExitCode::from(code)
    })
}

type Failure = (String, u8);

/// Calls `each` for all that are kept and chosen.
fn read(
    vfs: &Arc<dyn Vfs>,
    folder: &Path,
    chosen: Option<&Chosen>,
    mut each: impl FnMut(KeptLetter),
) -> Result<(), Failure> {
    let read = dead_letters(vfs, folder, |kept| {
        if chosen.is_none_or(|chosen| chosen.takes(&kept)) {
            each(kept);
        }
    });
    match read {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err((
            format!(
                "{}: no dead letters are kept there; `state: {{ dir: ..., dead_letters_for: 7d }}` keeps them",
                folder.display()
            ),
            EXIT_WRONG,
        )),
        Err(error) => Err((error.to_string(), EXIT_FAILED)),
    }
}

impl Chosen {
    fn takes(&self, kept: &KeptLetter) -> bool {
        let (source, cause) = match &kept.output {
            Output::DeadLetter(letter) => (&letter.source, Some(letter.cause)),
            Output::Late(late) => (&late.source, None),
            Output::Shed(shed) => (&shed.source, None),
            _ => return false,
        };
        self.source.as_ref().is_none_or(|wanted| wanted == source)
            && self.cause.as_ref().is_none_or(|wanted| cause == Some(wanted.as_str()))
            && self.from.is_none_or(|from| kept.number >= from)
            && self.to.is_none_or(|to| kept.number <= to)
    }
}

fn list(vfs: &Arc<dyn Vfs>, args: &List) -> Result<ExitCode, Failure> {
    let mut lines = std::collections::VecDeque::new();
    let mut earlier = 0_usize;
    read(vfs, &args.folder, Some(&args.chosen), |kept| {
        let kind = match kept.output {
            Output::Late(_) => Kind::Late,
            Output::Shed(_) => Kind::Shed,
            _ => Kind::DeadLetters,
        };
        if args.stream.is_none_or(|wanted| wanted == kind) {
            lines.push_back(if args.json { as_json(&kept) } else { line(&kept) });
            if lines.len() > args.last {
                lines.pop_front();
                earlier += 1;
            }
        }
    })?;
    for line in &lines {
        present::say_line(line);
    }
    if earlier > 0 && !args.json {
        eprintln!("weir: {} earlier ones are not shown; --last shows more", present::grouped(earlier as u64));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(kept: &KeptLetter) -> String {
    let told: serde_json::Value = serde_json::from_str(&kept.output.to_json()).expect("an output is JSON");
    let keeps_bytes = matches!(&kept.output, Output::DeadLetter(letter) if !letter.sealed.is_empty());
    json!({
        "number": kept.number,
        "stream": match &kept.output { Output::Late(_) => "late", Output::Shed(_) => "shed", _ => "dead_letters" },
        "kept": format_time(kept.kept_ms),
        "keeps_bytes": keeps_bytes,
        "told": told,
    })
    .to_string()
}

fn line(kept: &KeptLetter) -> String {
    let (number, at) = (kept.number, format_time(kept.kept_ms));
    match &kept.output {
        Output::DeadLetter(letter) => {
            let DeadLetter { source, stream, record, records, last_record, message, sealed, .. } = &**letter;
            let (which, whose) = match last_record {
                None => (format!("record {record}"), "its"),
                Some(last) => (format!("{} records of {record} to {last}", present::grouped(*records)), "their"),
            };
            let keeps = if sealed.is_empty() { String::new() } else { format!("; {whose} bytes are kept") };
            format!("{number}  {at}  {source}: {stream}, {which}: {message}{keeps}")
        }
        Output::Late(late) => format!(
            "{number}  {at}  {}: late by {} ms for rule `{}`, from device {}, of {}",
            late.source, late.late_by_ms, late.rule, late.device, late.ts
        ),
        other => format!("{number}  {at}  {}", other.to_json()),
    }
}

fn show(vfs: &Arc<dyn Vfs>, args: &Show) -> Result<ExitCode, Failure> {
    let mut found = None;
    read(vfs, &args.folder, None, |kept| {
        if kept.number == args.number {
            found = Some(kept);
        }
    })?;
    let Some(kept) = found else {
        return Err((format!("there is no dead letter {}: it was removed, or never was", args.number), EXIT_WRONG));
    };
    present::say_line(&as_json(&kept));
    let Reason { key: Some(key), why: Some(why) } = &args.reason else { return Ok(ExitCode::SUCCESS) };
    check_reason(why)?;
    let Output::DeadLetter(letter) = &kept.output else {
        return Err(("it is no refused record, and has no bytes".to_owned(), EXIT_WRONG));
    };
    if letter.sealed.is_empty() {
        return Err((no_bytes(&letter.source), EXIT_WRONG));
    }
    let pseudonyms = opened_by(vfs, key)?;
    let bytes = open(&pseudonyms, letter, kept.number)?;
    note(vfs, &args.folder, format!("the bytes of dead letter {} were shown", kept.number), why)?;
    present::say_line(&String::from_utf8_lossy(&bytes));
    Ok(ExitCode::SUCCESS)
}

fn replay(vfs: &Arc<dyn Vfs>, args: &Replay) -> Result<ExitCode, Failure> {
    check_reason(&args.why)?;
    let pseudonyms = opened_by(vfs, &args.key)?;
    let (mut letters, mut records, mut without) = (Vec::new(), 0, 0);
    read(vfs, &args.folder, Some(&args.chosen), |kept| {
        if let Output::DeadLetter(letter) = &kept.output {
            if letter.sealed.is_empty() {
                without += letter.records;
            } else {
                records += letter.records;
                letters.push((kept.number, Arc::clone(letter)));
            }
        }
    })?;
    let Some(((first, _), (last, _))) = letters.first().zip(letters.last()) else {
        return Err((no_bytes(args.chosen.source.as_deref().unwrap_or("NAME")), EXIT_WRONG));
    };
    let what = format!("{records} refused records were read out, dead letters {first} to {last}");
    note(vfs, &args.folder, what, &args.why)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut header = Vec::new();
    for (number, letter) in &letters {
        let bytes = open(&pseudonyms, letter, *number)?;
        let written = match csv_parts(&bytes) {
            Some((names, row)) => {
                // One header for all records under it.
                let again = header == names;
                header = names.to_vec();
                if again { Ok(()) } else { out.write_all(names) }.and_then(|()| out.write_all(row))
            }
            None if letter.records > 1 => out.write_all(&bytes),
            // An object of several lines is one line here.
            None => out.write_all(&bytes.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect::<Vec<_>>()),
        };
        written.and_then(|()| out.write_all(b"\n")).map_err(|error| (error.to_string(), EXIT_FAILED))?;
    }
    out.flush().map_err(|error| (error.to_string(), EXIT_FAILED))?;
    let skipped = if without > 0 { format!("; {without} more keep no bytes") } else { String::new() };
    eprintln!("weir: {records} records{skipped}");
    Ok(ExitCode::SUCCESS)
}

/// A record of CSV is kept behind its header, whose names are all in quotes.
fn csv_parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n').filter(|_| bytes.starts_with(b"\""))?;
    Some(bytes.split_at(end + 1))
}

fn no_bytes(source: &str) -> String {
    format!("no bytes of refused records are kept; `sources: {{ {source}: {{ ..., keep_refused: true }} }}` keeps them")
}

fn opened_by(vfs: &Arc<dyn Vfs>, key: &Path) -> Result<Pseudonyms, Failure> {
    let key = read_key(key, vfs.as_ref()).map_err(|message| (message, EXIT_WRONG))?;
    Ok(Pseudonyms::from_root(&key))
}

fn open(pseudonyms: &Pseudonyms, letter: &DeadLetter, number: u64) -> Result<Vec<u8>, Failure> {
    let what = || format!("dead letter {number} does not open under this key: it was written under another one");
    pseudonyms.open_refused(&letter.sealed).ok_or_else(|| (what(), EXIT_FAILED))
}

fn check_reason(why: &str) -> Result<(), Failure> {
    if why.trim().is_empty() {
        return Err(("`--why` says nothing; write why the bytes are read, such as a ticket".to_owned(), EXIT_WRONG));
    }
    Ok(())
}

/// Nothing is read out that is not noted.
fn note(vfs: &Arc<dyn Vfs>, folder: &Path, what: String, why: &str) -> Result<(), Failure> {
    let line = AuditLine { at_ms: SystemClock::default().wall_ms(), what, why: why.to_owned() };
    let noted = note_by_hand(vfs, folder, &line, &mut OsRng);
    noted.map_err(|error| (format!("that the bytes are read cannot be noted, so they are not: {error}"), EXIT_FAILED))
}

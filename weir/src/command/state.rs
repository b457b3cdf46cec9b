//! `weir state`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use weir_engine::alert::format_time;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::runtime::{Export, ExportError, export};
use weir_engine::state::log::Looked;
use weir_engine::state::{CheckpointLook, Inspection, SinkPlace, inspect};
use weir_engine::vfs::{RealVfs, Vfs};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what lies in a state folder: segments, and what waits for which sink. Changes nothing.
    Inspect(Folder),
    /// Read all of a state folder and tell whether it is sound; exit code 1 if it is not. Changes nothing.
    Verify(Folder),
    /// Write how far sources have been read, how far time has come, and how much is held, as JSON; nothing that is about
    /// somebody. `weir run --begin-at` begins another state there. Changes nothing.
    Export {
        /// The folder: `state.dir` of the configuration.
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct Folder {
    /// The folder: `state.dir` of the configuration.
    folder: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let (folder, json) = match &args.command {
        Command::Inspect(Folder { folder, json }) | Command::Verify(Folder { folder, json }) => (folder, json),
        Command::Export { folder } => return export_to_stdout(&vfs, folder),
    };
    let name = folder.display();
    let inspection = match inspect(&vfs, folder) {
        Ok(Some(inspection)) => inspection,
        Ok(None) => {
            eprintln!("weir: {name}: there is no outbox in it; is it the `state.dir` of a configuration that has run?");
            return ExitCode::from(EXIT_WRONG);
        }
        Err(error) => {
            if *json {
                present::say_line(&json!({ "folder": folder, "sound": false, "error": error.to_string() }).to_string());
            } else {
                eprintln!("weir: {error}");
                eprintln!(
                    "weir: a start would be refused; restore {name} from a backup, or move it away to begin anew"
                );
            }
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let now_ms = SystemClock::default().wall_ms();
    let damaged = inspection.checkpoints.iter().find_map(|it| Some((it.epoch, it.made.as_ref().err()?)));
    if let (Command::Verify(_), Some((epoch, what))) = (&args.command, damaged) {
        if *json {
            let error = format!("checkpoint {epoch}: {what}");
            present::say_line(&json!({ "folder": folder, "sound": false, "error": error }).to_string());
        } else {
            eprintln!("weir: {name}: checkpoint {epoch}: {what}");
            eprintln!("weir: a start goes on from an older one, if one is whole");
        }
        return ExitCode::from(EXIT_FAILED);
    }
    if *json {
        present::say_line(&as_json(&inspection).to_string());
    } else if matches!(args.command, Command::Verify(_)) {
        let logs = [
            Some(&inspection.outbox),
            inspection.journal.as_ref(),
            inspection.events.as_ref(),
            inspection.dead_letters.as_ref(),
        ];
        let records: u64 = logs.into_iter().flatten().map(|log| log.next_seq - log.segments[0]).sum();
        let checkpoints = inspection.checkpoints.len();
        present::say_line(&format!(
            "{name}: sound, {} records and {checkpoints} checkpoint{} looked at; what they are sealed with was not",
            present::grouped(records),
            plural(checkpoints)
        ));
        tell_torn(&inspection);
    } else {
        tell(&inspection, now_ms);
    }
    ExitCode::SUCCESS
}

fn export_to_stdout(vfs: &Arc<dyn Vfs>, folder: &Path) -> ExitCode {
    match export(vfs.as_ref(), folder) {
        Ok(export) => {
            tell_what_came_after(&export, vfs, folder);
            present::say_line(&serde_json::to_string_pretty(&export).expect("an export is plain data"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::from(if matches!(error, ExportError::NoCheckpoint { .. }) { EXIT_WRONG } else { EXIT_FAILED })
        }
    }
}

/// A run that has ended well leaves nothing in the journal that its last checkpoint lacks; after a kill, or while it goes on,
/// there is something.
fn tell_what_came_after(export: &Export, vfs: &Arc<dyn Vfs>, folder: &Path) {
    let Ok(Some(inspection)) = inspect(vfs, folder) else { return };
    for checkpoint in inspection.checkpoints.iter().filter(|it| it.epoch > export.checkpoint) {
        if let Err(what) = &checkpoint.made {
            let epoch = present::grouped(checkpoint.epoch);
            eprintln!("weir: note: checkpoint {epoch} cannot be used: {what}; this is an older one");
        }
    }
    let made = inspection.checkpoints.iter().find(|it| it.epoch == export.checkpoint);
    let next = inspection.journal.map_or(0, |log| log.next_seq);
    if let Some(Ok((_, journal))) = made.map(|it| &it.made)
        && next > *journal
    {
        let turns = present::grouped(next - journal);
        eprintln!(
            "weir: note: {turns} records of the journal came in after this checkpoint. Whoever begins at the export reads again what \
             of them is in files, and has nothing of the rest: let a run of this state end well first, if it can"
        );
    }
}

fn tell(inspection: &Inspection, now_ms: i64) {
    let outbox = &inspection.outbox;
    let in_use = if inspection.in_use { "; a process is using it" } else { "" };
    present::say_line(&format!("outbox: {}{in_use}", extent(outbox)));
    if let Some(journal) = &inspection.journal {
        present::say_line(&format!("journal: {}", extent(journal)));
    }
    if let Some(dead_letters) = &inspection.dead_letters {
        present::say_line(&format!("dead letters: {}; `weir dead-letter list` shows them", extent(dead_letters)));
    }
    for checkpoint in &inspection.checkpoints {
        let epoch = present::grouped(checkpoint.epoch);
        present::say_line(&match &checkpoint.made {
            Ok((at_ms, journal)) => format!(
                "checkpoint {epoch}: of {}, {}; {} records of the journal came in after it",
                format_time(*at_ms),
                present::bytes(checkpoint.bytes as usize),
                present::grouped(inspection.journal.as_ref().map_or(0, |log| log.next_seq.saturating_sub(*journal)))
            ),
            Err(what) => format!("checkpoint {epoch}: cannot be used: {what}"),
        });
    }
    if !inspection.reserve {
        present::say_line(
            "note: no room is kept for a full disk: it has been given away, and is taken again when there is some",
        );
    }
    for sink in &inspection.sinks {
        present::say_line(&line(sink, now_ms));
    }
    for line in &inspection.audit {
        present::say_line(&format!("{}: {}, because: {}", format_time(line.at_ms), line.what, line.why));
    }
    tell_torn(inspection);
}

/// Which records a log holds.
fn extent(log: &Looked) -> String {
    let count = log.segments.len();
    let records = if log.next_seq == log.segments[0] {
        "no records".to_owned()
    } else {
        format!("records {} to {}", present::grouped(log.segments[0]), present::grouped(log.next_seq - 1))
    };
    format!("{records} in {count} segment{}", plural(count))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn line(sink: &SinkPlace, now_ms: i64) -> String {
    let oldest = sink.oldest_ms.map_or(String::new(), |oldest_ms| {
        let age = present::duration(now_ms.saturating_sub(oldest_ms).max(0) as u64 * 1_000);
        format!(", the oldest since {} ({age})", format_time(oldest_ms))
    });
    let lost = match sink.lost {
        0 => String::new(),
        lost => format!("; {} were passed over because too many waited", present::grouped(lost)),
    };
    let damaged = if sink.damaged { "; its place is damaged, and it will be told some again" } else { "" };
    format!("sink {}: {} outputs wait{oldest}{lost}{damaged}", sink.name, present::grouped(sink.waiting))
}

fn tell_torn(inspection: &Inspection) {
    if inspection.outbox.torn_bytes > 0 && !inspection.in_use {
        let bytes = present::bytes(inspection.outbox.torn_bytes as usize);
        present::say_line(&format!(
            "note: a crash broke off a write; the next start cuts {bytes} that nobody was told of"
        ));
    }
}

fn as_json(inspection: &Inspection) -> serde_json::Value {
    let Inspection { in_use, reserve, outbox, sinks, journal, events, checkpoints, dead_letters, audit } = inspection;
    let sink = |sink: &SinkPlace| {
        json!({
            "sink": sink.name, "next": sink.seq, "waiting": sink.waiting, "oldest": sink.oldest_ms.map(format_time),
            "lost": sink.lost, "damaged": sink.damaged,
        })
    };
    let log = |log: &Looked| json!({ "segments": log.segments, "next": log.next_seq, "torn_bytes": log.torn_bytes });
    let checkpoint = |it: &CheckpointLook| match &it.made {
        Ok((at_ms, journal)) => {
            json!({ "epoch": it.epoch, "bytes": it.bytes, "at": format_time(*at_ms), "journal": journal })
        }
        Err(what) => json!({ "epoch": it.epoch, "bytes": it.bytes, "error": what }),
    };
    json!({
        "sound": true, "in_use": in_use, "reserve": reserve, "segments": outbox.segments, "next": outbox.next_seq,
        "torn_bytes": outbox.torn_bytes, "sinks": sinks.iter().map(sink).collect::<Vec<_>>(),
        "journal": journal.as_ref().map(log), "events": events.as_ref().map(log),
        "dead_letters": dead_letters.as_ref().map(log),
        "checkpoints": checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        "audit": audit.iter().map(|it| json!({ "at": format_time(it.at_ms), "what": it.what, "why": it.why })).collect::<Vec<_>>(),
    })
}

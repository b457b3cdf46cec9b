//! `weir state`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use weir_engine::alert::format_time;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::state::{Inspection, SinkPlace, inspect};
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
    let (Command::Inspect(Folder { folder, json }) | Command::Verify(Folder { folder, json })) = &args.command;
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
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
    if *json {
        present::say_line(&as_json(&inspection).to_string());
    } else if matches!(args.command, Command::Verify(_)) {
        let records = inspection.outbox.next_seq - inspection.outbox.segments[0];
        present::say_line(&format!("{name}: sound, {} records looked at", present::grouped(records)));
        tell_torn(&inspection);
    } else {
        tell(&inspection, now_ms);
    }
    ExitCode::SUCCESS
}

fn tell(inspection: &Inspection, now_ms: i64) {
    let outbox = &inspection.outbox;
    let count = outbox.segments.len();
    present::say_line(&format!(
        "outbox: records {} to {} in {count} segment{}{}",
        present::grouped(outbox.segments[0]),
        present::grouped(outbox.next_seq - 1),
        if count == 1 { "" } else { "s" },
        if inspection.in_use { "; a process is using it" } else { "" },
    ));
    if !inspection.reserve {
        present::say_line(
            "note: no room is kept for a full disk: it has been given away, and is taken again when there is some",
        );
    }
    for sink in &inspection.sinks {
        present::say_line(&line(sink, now_ms));
    }
    tell_torn(inspection);
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
    let Inspection { in_use, reserve, outbox, sinks } = inspection;
    let sink = |sink: &SinkPlace| {
        json!({
            "sink": sink.name, "next": sink.seq, "waiting": sink.waiting, "oldest": sink.oldest_ms.map(format_time),
            "lost": sink.lost, "damaged": sink.damaged,
        })
    };
    json!({
        "sound": true, "in_use": in_use, "reserve": reserve, "segments": outbox.segments, "next": outbox.next_seq,
        "torn_bytes": outbox.torn_bytes, "sinks": sinks.iter().map(sink).collect::<Vec<_>>(),
    })
}

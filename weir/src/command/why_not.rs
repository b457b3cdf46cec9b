//! `weir why-not RULE --event FILE`: why no alert came.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::explain::{Why, why};
use weir_engine::vfs::{RealVfs, Vfs};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::{given, present};

/// Longest file of events.
const EVENTS_BYTES_MAX: u64 = 64 << 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The rule.
    rule: String,
    /// Records as NDJSON, oldest first. Each is judged after those before it, so that a repeat, a window or a
    /// sequence has its history.
    #[arg(long)]
    event: PathBuf,
    /// Of a window rule: only values of this zone.
    #[arg(long)]
    zone: Option<String>,
    /// Of a window rule: only windows that end up to this time (RFC 3339).
    #[arg(long)]
    at: Option<String>,
    /// Where the rule stands: a configuration, a pack, or a folder.
    #[arg(default_value = "weir.yaml")]
    path: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Some(given) = given::open_or_tell(&args.path, args.json) else { return ExitCode::from(EXIT_WRONG) };
    let Some(status) =
        given.packs.iter().flat_map(|(pack, _)| &pack.rules).find(|rule| rule.id == args.rule).map(|rule| rule.status)
    else {
        eprintln!("weir: {} has no rule `{}`", args.path.display(), args.rule);
        return ExitCode::from(EXIT_WRONG);
    };
    let text = match RealVfs.read_text(&args.event, EVENTS_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("weir: {}: {error}", args.event.display());
            return ExitCode::from(EXIT_WRONG);
        }
    };
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    let mut found = match why(&given.into_parts(), &args.rule, &lines, None) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    if let Some(zone) = &args.zone {
        found.windows.retain(|step| step.key.split(' ').any(|part| part == format!("zone={zone}")));
    }
    if let Some(at) = &args.at {
        found.windows.retain(|step| step.end <= *at);
    }
    if args.json {
        present::say_line(&serde_json::json!(found).to_string());
    } else {
        if !status.runs() {
            present::say_line(&format!("`{}` is a draft or retired: it never speaks. If it did run:\n", args.rule));
        }
        present::say(&text_of(&found));
    }
    ExitCode::SUCCESS
}

fn text_of(why: &Why) -> String {
    let mut text = String::new();
    if why.records.is_empty() {
        text.push_str("no record is of the kind this rule looks at\n");
    }
    let window = !why.windows.is_empty();
    for record in &why.records {
        if window && record.outcome == "counted" {
            continue;
        }
        let _ = writeln!(text, "record {} at {}: {}", record.line, record.ts, record.outcome);
        for check in &record.checks {
            let verdict = match check.holds {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            };
            let values: Vec<String> = check.values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            let step = if check.step.is_empty() { String::new() } else { format!("{}: ", check.step) };
            let _ = writeln!(text, "  {verdict:<8} {step}{}   [{}]", check.condition, values.join(", "));
        }
        if let Some(lookup) = &record.lookup {
            let _ = writeln!(text, "  look-up  {lookup}");
        }
    }
    for step in &why.windows {
        let changes = if step.changes.is_empty() { String::new() } else { format!("  -> {}", step.changes.join(", ")) };
        let _ =
            writeln!(text, "{}  {:<20} {:>12.4}  {}{changes}", step.end, step.key, step.value, step.levels.join("; "));
    }
    let _ = writeln!(
        text,
        "\n{} came",
        match why.alerts.len() {
            0 => "no alert".to_owned(),
            1 => "1 alert".to_owned(),
            many => format!("{many} alerts"),
        }
    );
    for alert in &why.alerts {
        let _ = writeln!(text, "  {alert}");
    }
    text
}

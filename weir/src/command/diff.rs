//! `weir diff OLD NEW --history FILE...`: alerts gained and lost by a change of rules.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use weir_engine::Output;
use weir_engine::alert::Alert;

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::history::{self, Judged};
use crate::{given, present};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Packs or configuration as they were.
    old: PathBuf,
    /// As they are to be.
    new: PathBuf,
    /// Files of canonical records: NDJSON, CSV, Arrow IPC or Parquet, compressed or not.
    #[arg(long, required = true, num_args = 1..)]
    history: Vec<PathBuf>,
    /// Alerts shown for each rule.
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// No progress line.
    #[arg(long, short)]
    quiet: bool,
}

/// What makes two alerts of two runs the same: rule, time, place, what was crossed or hit.
type Identity = (String, String, String);

#[derive(Default)]
struct RuleDiff {
    same: u64,
    gained: Vec<String>,
    lost: Vec<String>,
    /// Same alert, other words, value or severity.
    changed: Vec<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let (Some(old), Some(new)) = (given::open_or_tell(&args.old, args.json), given::open_or_tell(&args.new, args.json))
    else {
        return ExitCode::from(EXIT_WRONG);
    };
    let both = history::judge(old, &args.history, true, args.quiet)
        .and_then(|old| Ok((old, history::judge(new, &args.history, true, args.quiet)?)));
    match both {
        Ok((old, new)) => {
            for dropped in [old.dropped, new.dropped].into_iter().filter(|dropped| *dropped > 0) {
                eprintln!("weir: {dropped} alerts beyond the first million are not compared");
            }
            let diffs = compare(&old, &new);
            if args.json {
                present::say_line(&json_of(&diffs).to_string());
            } else {
                present::say(&text_of(&diffs, args.show));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn compare(old: &Judged, new: &Judged) -> BTreeMap<String, RuleDiff> {
    let (old, new) = (by_identity(&old.alerts), by_identity(&new.alerts));
    let mut diffs: BTreeMap<String, RuleDiff> = BTreeMap::new();
    for (identity, was) in &old {
        let diff = diffs.entry(identity.0.clone()).or_default();
        let is = new.get(identity).map_or(&[][..], Vec::as_slice);
        for (was, is) in was.iter().zip(is) {
            if was == is {
                diff.same += 1;
            } else {
                diff.changed.push(format!("{was}  ->  {is}"));
            }
        }
        diff.lost.extend(was.iter().skip(is.len()).cloned());
        diff.gained.extend(is.iter().skip(was.len()).cloned());
    }
    for (identity, is) in new.iter().filter(|(identity, _)| !old.contains_key(*identity)) {
        diffs.entry(identity.0.clone()).or_default().gained.extend(is.iter().cloned());
    }
    diffs
}

fn by_identity(outputs: &[Output]) -> BTreeMap<Identity, Vec<String>> {
    let mut all: BTreeMap<Identity, Vec<String>> = BTreeMap::new();
    for output in outputs {
        let Output::Alert(alert) = output else { continue };
        all.entry(identity(alert)).or_default().push(line(alert));
    }
    all
}

fn identity(alert: &Alert) -> Identity {
    let parts = [
        alert.site.as_deref(),
        alert.zone.as_deref(),
        alert.device.as_deref(),
        alert.level.as_deref(),
        alert.change,
        alert.hit.as_ref().map(|hit| hit.entry_id.as_str()),
    ];
    let place: Vec<&str> = parts.iter().map(|part| part.unwrap_or_default()).collect();
    (alert.rule.clone(), alert.ts.clone(), place.join("\0"))
}

/// One alert in a line.
fn line(alert: &Alert) -> String {
    let mut line = format!("{} {}", alert.ts, alert.severity);
    for part in [&alert.site, &alert.zone].into_iter().flatten() {
        let _ = write!(line, " {part}");
    }
    if let (Some(level), Some(change)) = (&alert.level, alert.change) {
        let _ = write!(line, " {change} {level} at {:.4}", alert.value.unwrap_or_default());
    }
    if let Some(say) = &alert.say {
        let _ = write!(line, ": {say}");
    }
    line
}

fn text_of(diffs: &BTreeMap<String, RuleDiff>, show: usize) -> String {
    let mut text = String::new();
    let (mut gained, mut lost, mut changed, mut same) = (0, 0, 0, 0);
    for (rule, diff) in diffs {
        gained += diff.gained.len();
        lost += diff.lost.len();
        changed += diff.changed.len();
        same += diff.same;
        if diff.gained.is_empty() && diff.lost.is_empty() && diff.changed.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "{rule}: {} gained, {} lost, {} changed, {} the same",
            diff.gained.len(),
            diff.lost.len(),
            diff.changed.len(),
            diff.same
        );
        for (sign, alerts) in [('+', &diff.gained), ('-', &diff.lost), ('~', &diff.changed)] {
            for alert in alerts.iter().take(show) {
                let _ = writeln!(text, "  {sign} {alert}");
            }
            if alerts.len() > show {
                let _ = writeln!(text, "  {sign} ... and {} more (--show)", alerts.len() - show);
            }
        }
    }
    let _ = writeln!(text, "{gained} alerts gained, {lost} lost, {changed} changed, {same} the same");
    text
}

fn json_of(diffs: &BTreeMap<String, RuleDiff>) -> Value {
    diffs
        .iter()
        .map(|(rule, diff)| {
            let row = json!({ "same": diff.same, "gained": diff.gained, "lost": diff.lost, "changed": diff.changed });
            (rule.clone(), row)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

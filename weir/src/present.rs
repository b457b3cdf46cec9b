//! What a person sees: diagnostics, a progress line, the summary.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use weir_connectors::source::FileProgress;
use weir_engine::metrics::{Buckets, Progress};
use weir_engine::runtime::RuleCounts;
use weir_engine::source::Class;
use weir_engine::{ListStatus, Summary};
use weir_rules::diagnostic::{Style, render};
use weir_rules::{Diagnostics, Severity};

use crate::latency;

/// Writes to standard output. Whoever reads may have read enough, as `head` does: then the work is done.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = std::io::Write::write_all(&mut stdout, text.as_bytes()).and_then(|()| stdout.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard output.
pub(crate) fn say_line(line: &str) {
    say(&format!("{line}\n"));
}

/// Prints diagnostics: text to standard error, JSON lines to standard output.
pub(crate) fn diagnostics(diagnostics: &Diagnostics, json: bool) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for found in diagnostics.iter() {
        if json {
            let (line, column) = found.file.line_column(found.span.start);
            let object = serde_json::json!({
                "code": found.code.id,
                "severity": if found.severity == Severity::Error { "error" } else { "warning" },
                "message": found.message,
                "file": found.file.name,
                "line": line,
                "column": column,
                "help": found.help,
                "fix": found.fix.as_ref().map(|fix| {
                    let (start, end) = (found.file.line_column(fix.span.start), found.file.line_column(fix.span.end));
                    serde_json::json!({ "start": start, "end": end, "replacement": fix.replacement })
                }),
            });
            say_line(&object.to_string());
        } else {
            let style = if coloured { Style::Coloured } else { Style::Plain };
            eprintln!("{}\n", render(found, style));
        }
    }
}

/// Diagnostics as a SARIF 2.1.0 document (OASIS), for code review and editors.
pub(crate) fn sarif(diagnostics: &Diagnostics) -> serde_json::Value {
    let region = |file: &weir_rules::SourceFile, span: &std::ops::Range<usize>| {
        let ((line, column), (end_line, end_column)) = (file.line_column(span.start), file.line_column(span.end));
        serde_json::json!({
            "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column.max(1),
        })
    };
    let level = |severity: Severity| if severity == Severity::Error { "error" } else { "warning" };
    let mut rules: Vec<&weir_rules::diagnostic::Code> = diagnostics.iter().map(|found| found.code).collect();
    rules.sort_by_key(|code| code.id);
    rules.dedup_by_key(|code| code.id);
    let rules: Vec<serde_json::Value> = rules
        .into_iter()
        .map(|code| {
            serde_json::json!({
                "id": code.id,
                "shortDescription": { "text": code.title },
                "fullDescription": { "text": code.cause },
                "help": { "text": format!("{} {}", code.impact, code.cure) },
                "defaultConfiguration": { "level": level(code.severity) },
            })
        })
        .collect();
    let results: Vec<serde_json::Value> = diagnostics
        .iter()
        .map(|found| {
            let place = |span| {
                serde_json::json!({
                    "physicalLocation": {
                        "artifactLocation": { "uri": found.file.name },
                        "region": region(&found.file, span),
                    },
                })
            };
            let help = found.help.as_deref().map_or_else(String::new, |help| format!(" ({help})"));
            let mut result = serde_json::json!({
                "ruleId": found.code.id,
                "level": level(found.severity),
                "message": { "text": format!("{}{help}", found.message) },
                "locations": [place(&found.span)],
            });
            if !found.labels.is_empty() {
                result["relatedLocations"] = found
                    .labels
                    .iter()
                    .map(|label| {
                        let mut place = place(&label.span);
                        place["message"] = serde_json::json!({ "text": label.text });
                        place
                    })
                    .collect();
            }
            if let Some(fix) = &found.fix {
                result["fixes"] = serde_json::json!([{
                    "description": { "text": format!("write `{}`", fix.replacement) },
                    "artifactChanges": [{
                        "artifactLocation": { "uri": found.file.name },
                        "replacements": [{
                            "deletedRegion": region(&found.file, &fix.span),
                            "insertedContent": { "text": fix.replacement },
                        }],
                    }],
                }]);
            }
            result
        })
        .collect();
    serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "weir", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

/// One line at the end of `weir check`.
pub(crate) fn verdict(paths: usize, errors: usize, warnings: usize, fixes: usize) -> String {
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let files = counted(paths, "file");
    match (errors, warnings) {
        (0, 0) => format!("{files} checked, nothing to complain about"),
        (errors, warnings) => {
            let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
            let fixes = if fixes > 0 { format!(", {fixes} of them mended by --fix") } else { String::new() };
            format!("{files} checked: {errors}, {warnings}{fixes}; `weir explain CODE` tells more")
        }
    }
}

/// A line on a terminal that says how far a run has come. Ends when dropped.
pub(crate) struct ProgressLine {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressLine {
    /// Starts the line if standard error is a terminal.
    pub(crate) fn start(files: Vec<Arc<FileProgress>>, progress: Arc<Progress>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::io::stderr().is_terminal().then(|| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || show(&files, &progress, &over))
        });
        Self { over, thread }
    }
}

fn show(files: &[Arc<FileProgress>], progress: &Progress, over: &AtomicBool) {
    let bar = if files.is_empty() { ProgressBar::new_spinner() } else { ProgressBar::new(0) };
    let template = if files.is_empty() { "{spinner} {msg}" } else { "{wide_bar} {percent}% {eta} {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let started = Instant::now();
    while !over.load(Ordering::Relaxed) {
        bar.set_length(files.iter().map(|file| file.total()).sum());
        bar.set_position(files.iter().map(|file| file.read()).sum());
        let rate = progress.received() as f64 / started.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!(
            "{} records, {}/s, {} alerts",
            grouped(progress.received()),
            grouped(rate as u64),
            grouped(progress.alerts())
        ));
        bar.tick();
        std::thread::sleep(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only draws; if it panicked there is nothing to clean up.
            let _ = thread.join();
        }
    }
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 1536 as `1.5 KiB`.
pub(crate) fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn table(text: &mut String, title: &str, rows: &[(String, Buckets)]) {
    let _ = writeln!(
        text,
        "\n{title:<16} {:>12} {:>12} {:>10} {:>10} {:>10} {:>8} {:>10}",
        "received", "evaluated", "duplicate", "late", "rejected", "shed", "in flight"
    );
    for (name, b) in rows {
        let _ = writeln!(
            text,
            "{name:<16} {:>12} {:>12} {:>10} {:>10} {:>10} {:>8} {:>10}",
            grouped(b.received),
            grouped(b.evaluated),
            grouped(b.duplicate),
            grouped(b.late),
            grouped(b.rejected),
            grouped(b.shed),
            grouped(b.in_flight)
        );
    }
}

/// The account of a run, for people.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let total = summary.total();
    let seconds = summary.elapsed.as_secs_f64();
    let _ = writeln!(
        text,
        "\n{} {} records from {} devices in {seconds:.2} s: {} records/s, {} alerts",
        if summary.stopped { "Stopped after" } else { "Judged" },
        grouped(total.received),
        grouped(summary.devices as u64),
        grouped((total.received as f64 / seconds.max(1e-9)) as u64),
        grouped(summary.alerts())
    );
    let mut sources = summary.by_source.clone();
    if sources.len() > 1 {
        sources.push(("all sources".to_owned(), total));
    }
    table(&mut text, "source", &sources);
    let kinds: Vec<_> = summary.by_kind.iter().filter(|(_, buckets)| buckets.received > 0).cloned().collect();
    table(&mut text, "kind", &kinds);
    for (source, class, count) in &summary.shed {
        let what = match class {
            Class::Safety => "a list or another rule might have answered for them",
            Class::Crowd => "windows that miss them say so in `completeness`",
            Class::Other => "no rule reads them",
        };
        let _ = writeln!(
            text,
            "\nshed: source `{source}` brought more than there was room for, and {} {} records were let go; {what}",
            grouped(*count),
            class.word()
        );
    }
    if !summary.rejected_by_cause.is_empty() {
        let causes: Vec<String> =
            summary.rejected_by_cause.iter().map(|(cause, count)| format!("{cause} {}", grouped(*count))).collect();
        let _ = writeln!(text, "\nrejected: {}", causes.join(", "));
    }
    let width = summary.rules.iter().map(|rule| rule.id.chars().count()).max().unwrap_or(0).max(16);
    let _ = writeln!(
        text,
        "\n{:<width$} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "rule", "kind", "alerts", "repeats", "windows", "p50", "p99", "p99.9"
    );
    for rule in &summary.rules {
        let latency = summary.latency.get(&rule.id).cloned().unwrap_or_default();
        let at = |quantile| {
            if latency.count() == 0 { "-".to_owned() } else { duration(latency.quantile_us(quantile)) }
        };
        let _ = writeln!(
            text,
            "{:<width$} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}{}",
            rule.id,
            rule.kind,
            grouped(rule.alerts),
            grouped(rule.suppressed),
            grouped(rule.windows),
            at(0.5),
            at(0.99),
            at(0.999),
            if rule.shadow { "  shadow: counted, not sent" } else { "" }
        );
    }
    text.push_str(&latency::lines(summary));
    shadow_report(&mut text, summary);
    notes(&mut text, summary);
    text.trim_end().to_owned()
}

/// Places shown for each rule.
const PLACES_SHOWN: usize = 5;

/// What shadow rules would have sent.
fn shadow_report(text: &mut String, summary: &Summary) {
    for rule in summary.rules.iter().filter(|rule| rule.shadow && rule.alerts > 0) {
        let _ = writeln!(text, "\nshadow rule `{}` would have sent {}", rule.id, grouped(rule.alerts));
        tally(text, rule);
    }
}

/// A rule's alerts by day, and where most of them come from.
fn tally(text: &mut String, rule: &RuleCounts) {
    let days: Vec<String> = rule.tally.days().map(|(day, count)| format!("{day} {}", grouped(count))).collect();
    let _ = writeln!(text, "  by day:  {}", days.join(", "));
    let hottest = rule.tally.hottest(PLACES_SHOWN);
    let places: Vec<String> = hottest.iter().map(|(place, count)| format!("{place} {}", grouped(*count))).collect();
    let _ = writeln!(text, "  hottest: {}", places.join(", "));
}

/// What rules said over history, for people.
pub(crate) fn rules_report(summary: &Summary) -> String {
    let mut text = String::new();
    let total = summary.total();
    let _ = writeln!(
        text,
        "{} records of {} devices judged in {:.2} s: {} alerts",
        grouped(total.received),
        grouped(summary.devices as u64),
        summary.elapsed.as_secs_f64(),
        grouped(summary.rules.iter().map(|rule| rule.alerts).sum())
    );
    if total.duplicate + total.late + total.rejected > 0 {
        let _ = writeln!(
            text,
            "{} duplicate, {} late, {} refused",
            grouped(total.duplicate),
            grouped(total.late),
            grouped(total.rejected)
        );
    }
    for rule in &summary.rules {
        let _ = writeln!(
            text,
            "\n{} ({}): {} alerts, {} repeats held back, {:.0} ns a record",
            rule.id,
            rule.kind,
            grouped(rule.alerts),
            grouped(rule.suppressed),
            cost_ns(rule, summary)
        );
        if rule.alerts > 0 {
            tally(&mut text, rule);
        }
    }
    notes(&mut text, summary);
    text.trim_end().to_owned()
}

/// Time spent on a rule, for each record of the run.
fn cost_ns(rule: &RuleCounts, summary: &Summary) -> f64 {
    rule.cost_ns as f64 / summary.total().received.max(1) as f64
}

/// A rule's alerts by day and by place, for programs.
fn add_tally(row: &mut serde_json::Value, rule: &RuleCounts) {
    let days: serde_json::Map<_, _> = rule.tally.days().map(|(day, count)| (day.to_owned(), count.into())).collect();
    row["by_day"] = days.into();
    row["hottest"] = rule
        .tally
        .hottest(PLACES_SHOWN)
        .into_iter()
        .map(|(place, count)| serde_json::json!({ "place": place, "alerts": count }))
        .collect();
}

/// What rules said over history, for programs.
pub(crate) fn rules_report_json(summary: &Summary) -> serde_json::Value {
    let rules: serde_json::Map<_, _> = summary
        .rules
        .iter()
        .map(|rule| {
            let mut row = serde_json::json!({
                "kind": rule.kind, "alerts": rule.alerts, "revisions": rule.revisions, "suppressed": rule.suppressed, "late": rule.late,
                "ns_per_record": cost_ns(rule, summary),
            });
            add_tally(&mut row, rule);
            (rule.id.clone(), row)
        })
        .collect();
    serde_json::json!({
        "records": summary.total().received,
        "elapsed_s": summary.elapsed.as_secs_f64(),
        "rules": rules,
    })
}

/// What the operator should look at.
fn notes(text: &mut String, summary: &Summary) {
    for rule in &summary.rules {
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                let _ = writeln!(text, "note: rule `{}`: {} {what}", rule.id, grouped(count));
            }
        };
        note(rule.condition_errors, "records whose condition could not be computed; they count as not passing");
        note(rule.unrouted, "alerts that no sink took");
        note(
            rule.groups_overflow,
            "records that found no room in its windows (limits.window_groups, limits.window_values)",
        );
        note(rule.keys_evicted, "keys forgotten early for want of room (limits.sequence_keys)");
        note(rule.steps_overflow, "steps that found no room to wait in (limits.held_observations)");
        note(rule.without_figure, "values of zones that the zone table lacks");
        note(rule.floored, "times more had gone out of a zone than were inside");
        if summary.stopped {
            note(
                rule.open_panes as u64,
                "panes were open at the stop; their windows were not complete and gave no value",
            );
        }
    }
    if summary.reloads > 0 {
        let _ = writeln!(text, "note: the packs were changed {} times while running", grouped(summary.reloads));
    }
    if summary.withdrawn > 0 {
        let _ = writeln!(
            text,
            "note: {} alerts were taken back, since the authority withdrew the entry they stood on",
            grouped(summary.withdrawn)
        );
    }
    for rule in summary.rules.iter().filter(|rule| rule.revisions > 0) {
        let _ =
            writeln!(text, "note: rule `{}` revised or took back alerts {} times", rule.id, grouped(rule.revisions));
    }
    if summary.told_evicted > 0 {
        let _ = writeln!(
            text,
            "note: {} alerts were forgotten early and can no longer be taken back; raise limits.told_alerts",
            grouped(summary.told_evicted)
        );
    }
    for rule in summary.past_rules.iter().filter(|rule| rule.alerts > 0) {
        let _ = writeln!(text, "note: rule `{}`, since removed, gave {} alerts", rule.id, grouped(rule.alerts));
    }
    if summary.event_ids_evicted > 0 {
        let _ = writeln!(
            text,
            "note: {} event ids forgotten early (limits.event_ids); a repeat of one would count again",
            grouped(summary.event_ids_evicted)
        );
    }
    for (source, requests) in &summary.refused_requests {
        let _ = writeln!(text, "note: source `{source}` turned {} requests away", grouped(*requests));
    }
    for (sink, counts) in &summary.sinks {
        if counts.refused > 0 {
            let _ = writeln!(text, "note: the receiver of sink `{sink}` refused {} outputs", grouped(counts.refused));
        }
    }
}

/// The account of a run, for programs.
pub(crate) fn summary_json(summary: &Summary, lists: &[ListStatus]) -> String {
    let buckets = |rows: &[(String, Buckets)]| -> serde_json::Value {
        rows.iter()
            .map(|(name, b)| {
                let row = serde_json::json!({
                    "received": b.received, "evaluated": b.evaluated, "duplicate": b.duplicate, "late": b.late,
                    "rejected": b.rejected, "shed": b.shed, "in_flight": b.in_flight,
                });
                (name.clone(), row)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let rules: serde_json::Map<_, _> = summary
        .rules
        .iter()
        .map(|rule| {
            let mut row = serde_json::json!({
                "kind": rule.kind, "shadow": rule.shadow, "alerts": rule.alerts, "suppressed": rule.suppressed,
                "windows": rule.windows, "late": rule.late, "condition_errors": rule.condition_errors, "open_panes": rule.open_panes, "open_groups": rule.open_groups, "open_values": rule.open_values,
                "keys_evicted": rule.keys_evicted,
            });
            if rule.shadow {
                add_tally(&mut row, rule);
            }
            (rule.id.clone(), row)
        })
        .collect();
    let sinks: serde_json::Map<_, _> = summary
        .sinks
        .iter()
        .map(|(name, counts)| {
            let row = serde_json::json!({
                "delivered": counts.delivered, "undelivered": counts.undelivered, "refused": counts.refused, "error": counts.error,
            });
            (name.clone(), row)
        })
        .collect();
    serde_json::json!({
        "sources": buckets(&summary.by_source),
        "kinds": buckets(&summary.by_kind),
        "rejected_by_cause": summary.rejected_by_cause,
        "shed": summary.shed.iter().map(|(source, class, count)| serde_json::json!({
            "source": source, "class": class.word(), "count": count,
        })).collect::<Vec<_>>(),
        "rules": rules,
        "sinks": sinks,
        "elapsed_s": summary.elapsed.as_secs_f64(),
        "records_per_s": summary.total().received as f64 / summary.elapsed.as_secs_f64().max(1e-9),
        "latency_us": latency::json(summary),
        "reloads": summary.reloads,
        "withdrawn": summary.withdrawn,
        "lists": lists.iter().map(crate::status::list_json).collect::<Vec<_>>(),
        "stopped": summary.stopped,
    })
    .to_string()
}

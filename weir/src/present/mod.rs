//! What a person sees: diagnostics, a progress line, the summary.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use weir_connectors::source::FileProgress;
use weir_engine::metrics::Progress;
use weir_rules::diagnostic::{Style, render};
use weir_rules::{Diagnostics, Severity};

pub(crate) use account::{rules_report, rules_report_json, summary, summary_json};

mod account;

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

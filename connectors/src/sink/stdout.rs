//! Alerts for people at a terminal, or NDJSON for a pipe.

use std::io::Write;

use weir_engine::alert::{Alert, Proposed};
use weir_engine::{Output, Sink, SinkError};

/// How outputs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdoutFormat {
    /// For people.
    Text {
        /// With ANSI colours.
        coloured: bool,
    },
    /// For programs.
    Ndjson,
}

/// Writes to standard output.
#[derive(Debug)]
pub struct StdoutSink {
    format: StdoutFormat,
}

impl StdoutSink {
    /// A sink that writes in this format.
    pub fn new(format: StdoutFormat) -> Self {
        Self { format }
    }
}

impl Sink for StdoutSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut lines = String::new();
        for output in outputs {
            match (self.format, output) {
                (StdoutFormat::Text { coloured }, Output::Alert(alert)) => lines.push_str(&line(alert, coloured)),
                (StdoutFormat::Text { coloured }, Output::Proposal(it)) => lines.push_str(&proposal(it, coloured)),
                _ => lines.push_str(&output.to_json()),
            }
            lines.push('\n');
        }
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(lines.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| SinkError::new(format!("standard output: {error}")))
    }
}

fn proposal(proposed: &Proposed, coloured: bool) -> String {
    let (bold, dim, end) = if coloured { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let place: Vec<&str> = proposed.key.values().map(String::as_str).collect();
    let what = match (proposed.action, proposed.per_minute) {
        ("limit_tickets", Some(limit)) => format!("let in {limit} people a minute"),
        ("hold_gate", _) => "keep the gate shut".to_owned(),
        ("open_exit", _) => "open a further exit".to_owned(),
        (action, _) => action.to_owned(),
    };
    let (rule, level, until) = (&proposed.rule, &proposed.level, &proposed.valid_until);
    format!(
        "proposal {dim}{}{end} {bold}{rule}{end} {} [{level}]: {what} until {until}{dim} (a person confirms){end}",
        proposed.from,
        place.join(", ")
    )
}

fn line(alert: &Alert, coloured: bool) -> String {
    let colour = match alert.severity {
        "critical" => "\x1b[1;41m",
        "high" => "\x1b[1;31m",
        "medium" => "\x1b[33m",
        "low" => "\x1b[36m",
        _ => "\x1b[2m",
    };
    let (start, bold, dim, end) = if coloured { (colour, "\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "", "") };
    let place = [&alert.site, &alert.zone, &alert.device].into_iter().flatten().next().map_or("", String::as_str);
    let change = match (&alert.level, alert.change) {
        (Some(level), Some(change)) => format!(" [{change} {level}]"),
        _ => String::new(),
    };
    let say = alert.say.clone().unwrap_or_else(|| {
        alert.evidence.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    });
    let review = if alert.review == "required" { " (a person decides)" } else { "" };
    format!(
        "{start}{:<8}{end} {dim}{}{end} {bold}{}{end} {place}{change}: {say}{dim}{review}{end}",
        alert.severity, alert.ts, alert.rule
    )
}

//! Outputs as messages of syslog (RFC 5424), framed by their length (RFC 6587, 3.4.1; RFC 5425, 4.3).
//!
//! Syslog does not acknowledge. What was written to a connection that breaks may be lost; what was being written then is
//! sent again.

use std::fmt::Write;
use std::time::Duration;

use weir_engine::alert::format_time;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::{Output, Sink, SinkError, Stream};

use super::deliver_all;
use crate::client::SyslogServer;
use crate::client::syslog::SyslogStream;

/// Outputs of one write.
const BATCH_MAX: usize = 256;
/// Longest name of a host (RFC 5424, 6).
const HOST_BYTES_MAX: usize = 255;
/// Our structured data: the number is the one that RFC 5612 keeps for examples, since weir has none of its own.
const DATA_ID: &str = "weir@32473";

/// What stands in the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyslogText {
    /// The output as JSON.
    #[default]
    Json,
    /// What an alert says; other outputs as JSON.
    Say,
}

/// How messages are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogForm {
    /// Facility, 0 to 23: 16 is `local0`.
    pub facility: u8,
    /// Name of this machine.
    pub host: String,
    /// What the text is.
    pub text: SyslogText,
}

/// Sends outputs to a collector.
pub struct SyslogSink {
    server: SyslogServer,
    form: SyslogForm,
    retry_for: Duration,
    stream: Option<SyslogStream>,
}

impl SyslogSink {
    /// A sink for this collector; connects when there is something to send.
    pub fn new(server: SyslogServer, form: SyslogForm, retry_for: Duration) -> Self {
        Self { server, form, retry_for, stream: None }
    }

    fn write(&mut self, outputs: &[Output]) -> std::io::Result<()> {
        if self.stream.as_mut().is_none_or(|stream| !stream.is_open()) {
            self.stream = Some(self.server.connect()?);
        }
        let now = format_time(SystemClock::default().wall_ms());
        let mut frames = String::new();
        for output in outputs {
            let message = message(output, &self.form, &now);
            let _ = write!(frames, "{} {message}", message.len());
        }
        let stream = self.stream.as_mut().expect("connected above");
        stream.send(frames.as_bytes()).inspect_err(|_| self.stream = None)
    }
}

impl Sink for SyslogSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let (place, retry_for) = (self.server.place(), self.retry_for);
        deliver_all(outputs, (&place, retry_for), |outputs| {
            let mut sent = 0;
            for some in outputs.chunks(BATCH_MAX) {
                if let Err(error) = self.write(some) {
                    return (sent, Err(error.to_string()));
                }
                sent += some.len();
            }
            (sent, Ok(()))
        })
    }
}

/// One message. `now` is the time of what has none of its own.
fn message(output: &Output, form: &SyslogForm, now: &str) -> String {
    let priority = form.facility * 8 + severity(output);
    let host: String = form.host.chars().filter(char::is_ascii_graphic).take(HOST_BYTES_MAX).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let kind = output.stream().word();
    let (time, text) = match output {
        Output::Alert(alert) => {
            let said = alert.say.clone().filter(|_| form.text == SyslogText::Say);
            (alert.ts.as_str(), said.unwrap_or_else(|| output.to_json()))
        }
        _ => (now, output.to_json()),
    };
    let mut data = String::new();
    if let Output::Alert(alert) = output {
        let _ = write!(data, "[{DATA_ID}");
        for (name, value) in [
            ("id", Some(alert.alert_id.as_str())),
            ("revision", Some(alert.revision.to_string().as_str())),
            ("rule", Some(&alert.rule)),
            ("purpose", Some(&alert.purpose)),
            ("change", alert.change),
            ("level", alert.level.as_deref()),
            ("site", alert.site.as_deref()),
            ("zone", alert.zone.as_deref()),
        ] {
            if let Some(value) = value {
                let _ = write!(data, " {name}=\"{}\"", escaped(value));
            }
        }
        data.push(']');
    }
    let data = if data.is_empty() { "-" } else { &data };
    // Collectors end a message at a line's end, whatever the frame says.
    let text = text.replace(['\n', '\r', '\0'], " ");
    format!("<{priority}>1 {time} {host} weir {} {kind} {data} {text}", std::process::id())
}

/// RFC 5424, 6.2.1.
fn severity(output: &Output) -> u8 {
    match output {
        Output::Alert(alert) => match alert.severity {
            "critical" => 2,
            "high" => 3,
            "medium" => 4,
            "low" => 5,
            _ => 6,
        },
        _ => match output.stream() {
            Stream::Windows => 6,
            Stream::Notices => 5,
            _ => 4,
        },
    }
}

/// A value of structured data (RFC 5424, 6.3.3).
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => escaped.extend(['\\', letter]),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_engine::alert::Alert;

    use super::*;

    fn form(text: SyslogText) -> SyslogForm {
        SyslogForm { facility: 16, host: "post 7\n".to_owned(), text }
    }

    #[test]
    fn an_alert_is_a_message_of_rfc_5424() {
        let alert = Output::Alert(Arc::new(Alert {
            alert_id: "aa".to_owned(),
            revision: 2,
            rule: "stolen".to_owned(),
            pack: "city".to_owned(),
            purpose: "road".to_owned(),
            severity: "critical",
            review: "none",
            kind: "vehicle".to_owned(),
            ts: "2026-11-26T08:00:00Z".to_owned(),
            site: Some("a]\"\\\n".to_owned()),
            say: Some("stolen\nat 陕A".to_owned()),
            ..Alert::default()
        }));
        let pid = std::process::id();
        let data = r#"[weir@32473 id="aa" revision="2" rule="stolen" purpose="road" site="a\]\"\\ "]"#;
        assert_eq!(
            message(&alert, &form(SyslogText::Say), "now"),
            format!("<130>1 2026-11-26T08:00:00Z post7 weir {pid} alerts {data} stolen at 陕A")
        );
        let json = message(&alert, &form(SyslogText::Json), "now");
        let text = json.split_once(&format!("{data} ")).unwrap().1;
        assert_eq!(text, alert.to_json());
    }
}

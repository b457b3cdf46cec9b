//! Where outputs go.

mod archive;
mod file;
mod http;
mod kafka;
mod mqtt;
mod nats;
mod postgres;
mod stdout;
mod syslog;
mod tcp;
mod viid;

pub use archive::{ArchiveFormat, ArchiveSink};
pub use file::FileSink;
pub use http::{HttpSink, HttpSinkError, Template};
pub use kafka::KafkaSink;
pub use mqtt::MqttSink;
pub use nats::NatsSink;
pub use postgres::PostgresSink;
pub use stdout::{StdoutFormat, StdoutSink};
pub use syslog::{SyslogForm, SyslogSink, SyslogText};
pub use tcp::TcpSink;
pub use viid::ViidSink;

use std::time::Duration;

use weir_engine::backoff::Backoff;
use weir_engine::{Output, SinkError};

/// How long a sink tries before it has failed, or leaves it to the outbox to ask again.
struct Patience {
    retry_for: Duration,
    backoff: Backoff,
}

impl Patience {
    fn new(retry_for: Duration) -> Self {
        Self { retry_for, backoff: Backoff::new(retry_for) }
    }

    /// How long to wait before the next attempt, after this trouble; an error if there is none.
    fn next(&mut self, place: &str, trouble: &dyn std::fmt::Display) -> Result<Duration, SinkError> {
        self.backoff.pause().ok_or_else(|| {
            if self.retry_for.is_zero() {
                return SinkError::new(format!("{place}: {trouble}"));
            }
            SinkError::new(format!("{place}: gave up after {} s: {trouble}", self.retry_for.as_secs()))
        })
    }

    fn wait(&mut self, place: &str, trouble: &dyn std::fmt::Display) -> Result<(), SinkError> {
        self.next(place, trouble).map(std::thread::sleep)
    }
}

/// Sends outputs until all are handed over, or there is no patience left. `send` says how many were, and what stopped it.
fn deliver_all(
    outputs: &[Output],
    (place, retry_for): (&str, Duration),
    mut send: impl FnMut(&[Output]) -> (usize, Result<(), String>),
) -> Result<(), SinkError> {
    let mut patience = Patience::new(retry_for);
    let mut delivered = 0;
    loop {
        let (more, result) = send(&outputs[delivered..]);
        delivered += more;
        let Err(trouble) = result else { return Ok(()) };
        patience.wait(place, &trouble).map_err(|error| error.after(delivered))?;
    }
}

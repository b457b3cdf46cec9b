//! NDJSON lines over a TCP connection that is made again when it breaks.
//!
//! TCP does not say what has arrived, so the lines of a broken write are sent again: a receiver
//! tells repeats by `alert_id`.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir_engine::{Output, Sink, SinkError};

use super::Patience;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends outputs to an address.
#[derive(Debug)]
pub struct TcpSink {
    address: SocketAddr,
    retry_for: Duration,
    stream: Option<TcpStream>,
}

impl TcpSink {
    /// A sink for this address; connects when there is something to send.
    pub fn new(address: SocketAddr, retry_for: Duration) -> Self {
        Self { address, retry_for, stream: None }
    }

    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("connected above");
        stream.write_all(lines).and_then(|()| stream.flush())
    }
}

impl Sink for TcpSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut lines = String::new();
        for output in outputs {
            lines.push_str(&output.to_json());
            lines.push('\n');
        }
        let mut patience = Patience::new(self.retry_for);
        while let Err(error) = self.write(lines.as_bytes()) {
            self.stream = None;
            patience.wait(&format!("tcp {}", self.address), &error)?;
        }
        Ok(())
    }
}

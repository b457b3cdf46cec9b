//! A line to a NATS server on which messages of a stream are lost, as a client that cannot keep up loses them.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::servers::Listening;

/// Of so many messages one is lost,
const ONE_OF: u64 = 10;
/// until so many have been lost.
const LOST_MAX: u64 = 3;

pub struct LossyLine {
    line: Listening,
    passed: Arc<AtomicU64>,
}

impl LossyLine {
    pub fn to(server: SocketAddr) -> Self {
        let (mut line, passed) = (Listening::new(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&passed);
        line.start(move |client| {
            let Ok(server) = TcpStream::connect(server) else { return };
            let (up, down) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let (mut from, mut to) = up;
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let (from, to) = down;
                let _ = pass(&from, &to, &counted);
                let _ = to.shutdown(Shutdown::Both);
            });
        });
        Self { line, passed }
    }

    pub fn address(&self) -> SocketAddr {
        self.line.address
    }

    /// Messages that were lost.
    pub fn lost(&self) -> u64 {
        (self.passed.load(Ordering::Relaxed) / ONE_OF).min(LOST_MAX)
    }
}

/// What the server says, but for the messages that are lost. What comes together goes on together.
fn pass(from: &TcpStream, to: &TcpStream, passed: &AtomicU64) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::with_capacity(1 << 20, from), BufWriter::with_capacity(1 << 20, to));
    let (mut head, mut body) = (String::new(), Vec::new());
    loop {
        head.clear();
        if from.read_line(&mut head)? == 0 {
            return Ok(());
        }
        let is_message = head.starts_with("MSG ") || head.starts_with("HMSG ");
        let bytes = head.split_whitespace().last().filter(|_| is_message).map_or(0, |it| it.parse().unwrap_or(0) + 2);
        body.resize(bytes, 0);
        from.read_exact(&mut body)?;
        let is_lost = head.contains(" $JS.ACK.") && {
            let number = passed.fetch_add(1, Ordering::Relaxed) + 1;
            number.is_multiple_of(ONE_OF) && number <= ONE_OF * LOST_MAX
        };
        if !is_lost {
            to.write_all(head.as_bytes())?;
            to.write_all(&body)?;
        }
        if from.buffer().is_empty() {
            to.flush()?;
        }
    }
}

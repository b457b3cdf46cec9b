//! Standard input.

use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use weir_engine::source::{Compression, inflate};
use weir_engine::{Feed, Source, SourceError};

use super::STOP_POLL;

/// Reads that may be waiting while the pipeline is busy.
const READS_WAITING_MAX: usize = 4;

/// Reads standard input to its end. Recognises gzip and zstd.
#[derive(Debug, Default)]
pub struct StdinSource;

impl Source for StdinSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let fault = |error: std::io::Error| SourceError::new("stdin", error);
        let bytes = feed.block_bytes();
        let (sender, receiver) = sync_channel(READS_WAITING_MAX);
        // A read from a terminal or pipe cannot be interrupted, so it happens on a thread that may be left behind.
        std::thread::spawn(move || {
            let mut reader = match inflate(Box::new(std::io::stdin()), Compression::Auto) {
                Ok(reader) => reader,
                Err(error) => return sender.send(Err(error)).unwrap_or(()),
            };
            loop {
                let mut chunk = vec![0; bytes];
                let read = reader.read(&mut chunk);
                let ended = !matches!(read, Ok(read) if read > 0);
                let sent = sender.send(read.map(|read| {
                    chunk.truncate(read);
                    chunk
                }));
                if ended || sent.is_err() {
                    return;
                }
            }
        });
        let mut framer = feed.framer("stdin");
        loop {
            if feed.stopping() {
                return Ok(());
            }
            match receiver.recv_timeout(STOP_POLL) {
                Ok(Ok(chunk)) if chunk.is_empty() => break,
                Ok(Ok(chunk)) => {
                    framer.push(&chunk);
                    feed.send_framed(&mut framer)?;
                }
                Ok(Err(error)) => return Err(fault(error)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

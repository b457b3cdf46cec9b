//! Records over TCP: lines of NDJSON, or whatever format the source declares.
//!
//! A connection that is silent within a record, or altogether for too long, is closed; the number
//! of connections is bounded. When the pipeline is busy, reading stops and TCP holds the sender back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet, block_in_place};
use weir_engine::{Feed, Source, SourceError};

use super::awake::Awake;
use super::{OnBound, STOP_POLL};

/// Connections at once.
const CONNECTIONS_MAX: usize = 200;
/// Bytes that are read at once. What has piled up while somebody else had the core is judged in turns no larger than others:
/// memory that only large turns need is not at hand.
const READ_BYTES: usize = 16 << 10;
/// Bytes that are read at once where it is much that comes: shards judge that side by side.
const MUCH_READ_BYTES: usize = 64 << 10;
/// Much comes after so many reads of [`READ_BYTES`] or more, one after the other.
const FULL_READS: usize = 8;
/// A record must be complete this long after its last byte so far.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens for connections that bring records.
pub struct TcpSource {
    /// Where to listen; loopback.
    pub address: SocketAddr,
    /// A connection without a byte for this long is closed.
    pub idle_timeout: Duration,
    /// Whether a connection that brings records at intervals below half a millisecond may keep a core from sleep: at most one in
    /// the process, and only as long as nobody else wants it.
    pub stay_awake: bool,
    /// Ends when the first connection does.
    pub once: bool,
    /// Called with the address it got.
    pub on_bound: Option<OnBound>,
}

impl Source for TcpSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let place = format!("tcp {}", self.address);
        // Its connections have a thread of their own: no other that sleeps takes notice of what comes instead of one that is
        // awake, and a sink that needs a thread of a runtime does not wait for one that waits for it.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tcp")
            .on_thread_start(weir_memory::go_first)
            .enable_all()
            .build()
            .map_err(|error| SourceError::new(&place, error))?;
        runtime.block_on(self.listen(feed)).map_err(|error| SourceError::new(place, error))?
    }
}

impl TcpSource {
    /// The first thing that went wrong on a connection is told at the end; the others go on.
    async fn listen(self, feed: Feed) -> std::io::Result<Result<(), SourceError>> {
        let listener = TcpListener::bind(self.address).await?;
        if let Some(on_bound) = &self.on_bound {
            on_bound(listener.local_addr()?);
        }
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut outcome = Ok(());
        let mut served = false;
        while !feed.stopping() {
            if self.once && served {
                break;
            }
            while let Some(ended) = connections.try_join_next() {
                note(&mut outcome, ended);
            }
            let accepted = tokio::time::timeout(STOP_POLL, listener.accept()).await;
            let Ok(Ok((stream, peer))) = accepted else {
                continue;
            };
            // Past the bound a connection is closed at once rather than left to wait.
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                feed.count_refused(1);
                continue;
            };
            served = true;
            let feed = feed.clone();
            let (idle_timeout, awake) = (self.idle_timeout, Awake::new(self.stay_awake));
            connections.spawn(async move {
                let result = receive(stream, peer, &feed, idle_timeout, awake).await;
                drop(permit);
                result
            });
        }
        while let Some(ended) = connections.join_next().await {
            note(&mut outcome, ended);
        }
        Ok(outcome)
    }
}

fn note(outcome: &mut Result<(), SourceError>, ended: Result<Result<(), SourceError>, JoinError>) {
    let ended = ended.unwrap_or_else(|error| Err(SourceError::new("tcp connection", error)));
    if outcome.is_ok() {
        *outcome = ended;
    }
}

/// Reads one connection to its end. A record that it leaves unfinished, however it ends, is handed over
/// like the last line of a file, so that it is refused and told rather than forgotten.
async fn receive(
    mut stream: TcpStream,
    peer: SocketAddr,
    feed: &Feed,
    idle_timeout: Duration,
    mut awake: Awake,
) -> Result<(), SourceError> {
    let mut framer = feed.framer(format!("tcp {peer}"));
    let mut buffer = vec![0; feed.block_bytes().min(MUCH_READ_BYTES)];
    let mut full_reads = 0;
    let mut silent = Duration::ZERO;
    while !feed.stopping() {
        let patience = if framer.pending() > 0 { RECORD_TIMEOUT.min(idle_timeout) } else { idle_timeout };
        let at_once = if full_reads < FULL_READS { READ_BYTES.min(buffer.len()) } else { buffer.len() };
        match awake.wait(STOP_POLL, stream.read(&mut buffer[..at_once])).await {
            None => {
                silent += STOP_POLL;
                if silent >= patience {
                    break;
                }
            }
            // The other side has closed, or is gone; connections come and go.
            Some(Ok(0) | Err(_)) => break,
            Some(Ok(read)) => {
                silent = Duration::ZERO;
                full_reads = if read < READ_BYTES { 0 } else { full_reads + 1 };
                framer.push(&buffer[..read]);
                feed.send_framed_by(&mut framer, |wait| block_in_place(wait))?;
            }
        }
    }
    framer.finish();
    feed.send_framed_by(&mut framer, |wait| block_in_place(wait))
}

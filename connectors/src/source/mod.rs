//! Where records come from.

mod awake;
mod axis;
mod file;
mod follow;
mod gtfs;
mod http;
mod isapi_stream;
mod kafka;
pub(crate) mod local_time;
pub(crate) mod loose;
mod messages;
mod mqtt;
mod nats;
mod parquet;
mod push;
mod stdin;
mod tcp;
mod viid;
mod web;

pub use axis::AxisSource;
pub use file::{FileProgress, FileSource};
pub use gtfs::GtfsSource;
pub use http::{HttpSource, payload_of};
pub use isapi_stream::IsapiStreamSource;
pub use kafka::KafkaSource;
pub use messages::message_lines_of;
pub use mqtt::MqttSource;
pub use nats::NatsSource;
pub use parquet::parquet_batches;
pub use push::{PushDialect, PushPlace, PushSource, push_lines_of};
pub use stdin::StdinSource;
pub use tcp::TcpSource;
pub use viid::{ViidAccounts, ViidAccountsError, ViidSource, ViidSubscription, viid_lines_of};
pub use web::HttpLimits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_engine::Feed;
use weir_engine::backoff::Backoff;

/// How often a source that waits looks whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Called with the address a listener got, so that port 0 can be used.
pub type OnBound = Arc<dyn Fn(std::net::SocketAddr) + Send + Sync>;

/// Shortest time between two attempts to reach a server.
const RECONNECT_MIN: Duration = Duration::from_secs(1);

/// Holds one session with a server after the other, until one ends because the source should stop. A session that is under way
/// well begins the pauses anew.
async fn keep_trying(feed: &Feed, place: &str, mut session: impl AsyncFnMut(&mut Backoff) -> Result<(), String>) {
    let mut backoff = Backoff::endless();
    while !feed.stopping() {
        let Err(trouble) = session(&mut backoff).await else { return };
        feed.say_trouble(Some(format!("{place}: {trouble}")));
        pause(feed, &mut backoff).await;
    }
}

/// Asks somebody again and again, until the source should stop; says so where there is no answer that can be used.
async fn keep_asking(feed: &Feed, every: Duration, mut ask: impl AsyncFnMut() -> Result<(), String>) {
    let mut backoff = Backoff::endless();
    while !feed.stopping() {
        match ask().await {
            Ok(()) => {
                backoff = Backoff::endless();
                feed.say_trouble(None);
                pause_for(feed, every).await;
            }
            Err(trouble) => {
                feed.say_trouble(Some(trouble));
                pause(feed, &mut backoff).await;
            }
        }
    }
}

/// Waits before a server is tried again, or until the source should stop.
async fn pause(feed: &Feed, backoff: &mut Backoff) {
    pause_for(feed, RECONNECT_MIN + backoff.pause().unwrap_or_default()).await;
}

/// Waits for so long, or until the source should stop.
async fn pause_for(feed: &Feed, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !feed.stopping() {
        tokio::time::sleep(STOP_POLL).await;
    }
}

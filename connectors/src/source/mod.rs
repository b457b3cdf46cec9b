//! Where records come from.

mod file;
mod http;
mod parquet;
mod push;
mod stdin;
mod tcp;
mod viid;
mod web;

pub use file::{FileProgress, FileSource};
pub use http::{HttpSource, payload_of};
pub use parquet::parquet_batches;
pub use push::{PushDialect, PushPlace, PushSource, push_lines_of};
pub use stdin::StdinSource;
pub use tcp::TcpSource;
pub use viid::{ViidAccounts, ViidAccountsError, ViidSource, viid_lines_of};
pub use web::HttpLimits;

use std::sync::Arc;
use std::time::Duration;

/// How often a source that waits looks whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Called with the address a listener got, so that port 0 can be used.
pub type OnBound = Arc<dyn Fn(std::net::SocketAddr) + Send + Sync>;

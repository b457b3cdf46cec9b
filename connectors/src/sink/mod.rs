//! Where outputs go.

mod file;
mod http;
mod stdout;
mod tcp;

pub use file::FileSink;
pub use http::{HttpSink, HttpSinkError};
pub use stdout::{StdoutFormat, StdoutSink};
pub use tcp::TcpSink;

//! What survives a crash: the segment [`log`] that journal, outbox and audit are written in, and where sinks have got
//! to. docs/state-format.md is the files byte by byte.

pub mod log;

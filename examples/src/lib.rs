//! Runnable examples. `bin/embed.rs` shows an integrator's pipeline in his own process; `city/` and
//! `bottleneck/` in this folder are run with the `weir` binary.
//!
//! [`viid`] is a camera of GA/T 1400 that behaves as real ones do; `bin/viid-device.rs` points it at a running weir.

pub mod viid;

//! Runnable examples. `bin/embed.rs` shows an integrator's pipeline in his own process; `city/` and
//! `bottleneck/` in this folder are run with the `weir` binary.

//! The commands, one file each.

pub(crate) mod backtest;
pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod dead_letter;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod why_not;

/// Something failed while running.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The configuration, a pack or the arguments are wrong.
pub(crate) const EXIT_WRONG: u8 = 2;

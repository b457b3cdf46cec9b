//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod run;

/// Something failed while running.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The configuration, a pack or the arguments are wrong.
pub(crate) const EXIT_WRONG: u8 = 2;

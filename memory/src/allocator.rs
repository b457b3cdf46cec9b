//! The allocator of the binary and the benches.

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc: milliseconds until memory that is not used goes back to the system.
const PURGE_DELAY: mi_option_t = 15;
/// It never does.
const NEVER: i64 = -1;
/// What names the option for those who want it otherwise.
const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

/// Keeps memory that was used once, unless `MIMALLOC_PURGE_DELAY` says otherwise. To give it back after a second, as
/// mimalloc does, and to get it anew, costs alerts milliseconds (benches/RESULTS.md, "Latency").
pub fn keep_memory() {
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: it sets a number in a table of mimalloc's, whose bounds it checks.
        unsafe { mi_option_set(PURGE_DELAY, NEVER as _) }
    }
}

/// The delay in force, milliseconds; -1 for never.
pub fn purge_delay_ms() -> i64 {
    // SAFETY: it reads a number out of a table of mimalloc's, whose bounds it checks.
    (unsafe { mi_option_get(PURGE_DELAY) }) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_it_is_taken_for() {
        if std::env::var_os(VARIABLE).is_some() {
            return;
        }
        // The default of version 3.
        assert_eq!(purge_delay_ms(), 1_000);
        keep_memory();
        assert_eq!(purge_delay_ms(), NEVER);
    }
}

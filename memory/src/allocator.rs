//! The allocator of the binary and the benches.

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc: milliseconds until memory that is not used goes back to the system.
const PURGE_DELAY: mi_option_t = 15;
/// It never does.
const NEVER: i64 = -1;
/// What names the option for those who want it otherwise.
const DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// What names the option of huge pages, and does it before a program begins.
const HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";

/// Memory as those want it who wait for alerts: what was used once is kept, and what is new comes in small pages.
///
/// To give memory back after a second, as mimalloc does, and to get it anew, costs alerts milliseconds; so does the first
/// touch of a huge page, which is cleared, and on a virtual machine provided, as a whole: 4.5 ms for 2 MiB, where 512 small
/// ones take less together and are touched one by one (benches/RESULTS.md, "Latency").
/// `MIMALLOC_PURGE_DELAY` and `MIMALLOC_ALLOW_THP` say otherwise.
pub fn steady_memory() {
    if std::env::var_os(DELAY).is_none() {
        // SAFETY: it sets a number in a table of mimalloc's, whose bounds it checks.
        unsafe { mi_option_set(PURGE_DELAY, NEVER as _) }
    }
    #[cfg(target_os = "linux")]
    if std::env::var_os(HUGE_PAGES).is_none() {
        // A kernel that knows no huge pages has none to turn off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
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

    /// One test of both: they are options of the whole process.
    #[test]
    fn the_options_are_the_ones_they_are_taken_for() {
        if std::env::var_os(DELAY).is_some() || std::env::var_os(HUGE_PAGES).is_some() {
            return;
        }
        // The default of version 3.
        assert_eq!(purge_delay_ms(), 1_000);
        steady_memory();
        assert_eq!(purge_delay_ms(), NEVER);
        #[cfg(target_os = "linux")]
        assert!(rustix::thread::transparent_huge_pages_are_disabled().expect("it can be asked"));
    }
}

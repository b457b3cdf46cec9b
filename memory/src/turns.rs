//! How a thread shares its core with others.

/// Shortest slice that Linux gives, nanoseconds.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// Somebody waits for what the calling thread does next: when it wakes up it goes before all threads that did not say so.
///
/// Linux gives a thread its core for a slice of some milliseconds, and who wakes up meanwhile waits until it is over, unless
/// his own slice is shorter (since 6.12, `sched_setattr(2)`, `sched_runtime` of `SCHED_OTHER`). Shares of the time stay what
/// they are: it takes nothing from anybody, and needs no right. Policy and `nice` stay as well. Where it cannot be had, or
/// whoever started the program has given it a policy of its own, nothing changes.
pub fn go_first() {
    #[cfg(target_os = "linux")]
    if let Some(mut attributes) = attributes()
        && attributes.sched_policy == libc::SCHED_OTHER as u32
    {
        attributes.sched_runtime = SLICE_NS;
        // SAFETY: the system reads as many bytes as the attributes say they have, and keeps no pointer.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    }
}

/// Whether the calling thread leaves its core to whoever wants it when it offers it (`sched_yield(2)`): one with a real-time
/// policy leaves it to its like only.
pub fn lends_its_core() -> bool {
    #[cfg(target_os = "linux")]
    return attributes().is_some_and(|it| [libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&(it.sched_policy as i32)));
    #[cfg(not(target_os = "linux"))]
    return true;
}

/// How the calling thread is scheduled, if the system tells.
#[cfg(target_os = "linux")]
fn attributes() -> Option<libc::sched_attr> {
    let bytes = size_of::<libc::sched_attr>();
    let mut attributes = libc::sched_attr {
        size: bytes as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the system writes no more than the bytes it is told there are, all of which are plain numbers.
    let told = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, bytes as libc::c_uint, 0) };
    (told == 0).then_some(attributes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_goes_first_is_scheduled_as_before_in_all_else() {
        let before = attributes().expect("Linux since 3.14 tells");
        go_first();
        let after = attributes().expect("it still does");
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        // A system that cannot be asked for slices tells of none, and a policy of its own is left alone.
        let asks = before.sched_runtime != 0 && before.sched_policy == libc::SCHED_OTHER as u32;
        assert_eq!(after.sched_runtime, if asks { SLICE_NS } else { before.sched_runtime });
    }

    #[test]
    fn only_a_thread_of_the_common_policies_lends_its_core() {
        assert_eq!(under(libc::SCHED_BATCH, 0), Some(true), "nobody needs a right for it");
        // Only whoever may can take it.
        assert_ne!(under(libc::SCHED_FIFO, 1), Some(true));
    }

    /// What a thread under a policy says, if it may have it.
    fn under(policy: i32, sched_priority: i32) -> Option<bool> {
        let it = libc::sched_param { sched_priority };
        // SAFETY: the system reads the parameter and keeps no pointer; 0 is the calling thread, which ends right after.
        let has = move || unsafe { libc::sched_setscheduler(0, policy, &raw const it) } == 0;
        std::thread::spawn(move || has().then(lends_its_core)).join().expect("it ends")
    }
}

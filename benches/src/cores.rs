//! Threads that stay on a core, and how often the machine takes a core away.

use std::time::{Duration, Instant};

/// Lost for less than this is what an interrupt takes.
const LOST: Duration = Duration::from_millis(1);
/// How long the clock is looked at.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// How often a thread that only looks at the clock lost its core, on all cores at once, whoever took it: other threads, the
/// kernel's own, or the host of a virtual machine.
///
/// # Panics
/// When a thread cannot be held to a core that this process may use.
pub fn lost() -> String {
    let cores = first_cores(usize::MAX);
    let of_each: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(|| lost_on(*core))).collect();
        threads.into_iter().map(|thread| thread.join().expect("nobody dies of looking at a clock")).collect()
    });
    let each = |of: &Vec<Duration>| format!("{:.1}", of.len() as f64 / LOOKED_AT.as_secs_f64());
    let longest = of_each.iter().flatten().max().copied().unwrap_or_default();
    format!(
        "a core lost for more than {} ms so many times a second: {}; at most for {:.1} ms",
        LOST.as_millis(),
        of_each.iter().map(each).collect::<Vec<_>>().join(", "),
        longest.as_secs_f64() * 1e3
    )
}

fn lost_on(core: usize) -> Vec<Duration> {
    stay_on(core);
    let begin = Instant::now();
    let (mut lost, mut before) = (Vec::new(), begin);
    while before - begin < LOOKED_AT {
        let now = Instant::now();
        if now - before > LOST {
            lost.push(now - before);
        }
        before = now;
    }
    lost
}

/// So many of those that this process may use, or all.
#[cfg(target_os = "linux")]
pub(crate) fn first_cores(most: usize) -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).expect("Linux tells");
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(most).collect()
}

/// Holds this thread to a core.
#[cfg(target_os = "linux")]
pub(crate) fn stay_on(core: usize) {
    let mut only = rustix::thread::CpuSet::new();
    only.set(core);
    rustix::thread::sched_setaffinity(None, &only).expect("it is one of the allowed");
}

/// Elsewhere threads cannot be held to a core.
#[cfg(not(target_os = "linux"))]
pub(crate) fn first_cores(most: usize) -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..all.min(most)).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn stay_on(_core: usize) {}

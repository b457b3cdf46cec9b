//! Waits without sleep for what comes soon.
//!
//! A thread that sleeps lets its core rest, and somebody has to wake both. That takes microseconds, and on a virtual machine, most
//! likely where the host has given the core to others meanwhile, milliseconds in which nothing runs on it (seen with
//! `perf record -e sched:sched_switch`). Bytes that came within half a millisecond last time are therefore waited for awake, for
//! as long. Whoever else wants the core has it: between two looks it is offered to all.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task;

/// Longest wait awake. Five times as long as a busy sender, who looks at his clock every 0.1 ms, leaves between two writes.
const AWAKE_MAX: Duration = Duration::from_micros(500);
/// With a single one the sender, or whoever else has something to do, needs it.
const CORES_MIN: usize = 2;

/// Whether one of the threads of this process may do without sleep.
static CAN: LazyLock<bool> = LazyLock::new(|| thread::available_parallelism().is_ok_and(|it| it.get() >= CORES_MIN));
/// Whether one of them does: at most one core is kept.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// How one connection waits for what comes.
#[derive(Debug)]
pub(super) struct Awake {
    /// Nobody has forbidden it, and there are cores enough.
    can: bool,
    /// What came last had come soon.
    soon: bool,
}

impl Awake {
    pub(super) fn new(wanted: bool) -> Self {
        Self { can: wanted && *CAN && weir_memory::lends_its_core(), soon: false }
    }

    /// What comes, if it does within `most`.
    pub(super) async fn wait<T>(&mut self, most: Duration, comes: impl Future<Output = T>) -> Option<T> {
        let from = Instant::now();
        let mut comes = pin!(comes);
        if let Some(_turn) = self.soon.then(Turn::take).flatten() {
            tokio::select! {
                biased;
                came = &mut comes => return Some(came),
                () = offer_core_for(AWAKE_MAX) => {}
            }
        }
        let came = tokio::time::timeout(most, comes).await.ok();
        self.soon = self.can && came.is_some() && from.elapsed() < AWAKE_MAX;
        came
    }
}

/// Goes on for so long, and lets all others go first: threads that wait for this core, and tasks of this runtime, which looks
/// for what has come each time.
async fn offer_core_for(time: Duration) {
    let from = Instant::now();
    while from.elapsed() < time {
        thread::yield_now();
        task::yield_now().await;
    }
}

/// Somebody waits awake.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::Relaxed)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::sync::{Mutex, PoisonError};
    use std::task::Poll;

    use super::*;

    const MOST: Duration = Duration::from_millis(20);

    /// Waits for somebody who wakes nobody and has come when he is asked the third time: whoever sleeps asks him once before
    /// and once after.
    fn silent(awake: &mut Awake) -> Option<()> {
        let mut asked = 0;
        let comes = poll_fn(move |_| {
            asked += 1;
            if asked < 3 { Poll::Pending } else { Poll::Ready(()) }
        });
        block_on(awake.wait(MOST, comes))
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
    }

    /// Tests that wait awake, one after the other: only one can in a process.
    fn alone() -> impl Drop {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn only_one_waits_awake_and_only_for_what_came_soon() {
        let _alone = alone();
        assert_eq!(silent(&mut Awake { can: true, soon: false }), None, "nobody knows that it comes soon");
        let mut awake = Awake { can: true, soon: true };
        let other = Turn::take().expect("nobody is awake");
        assert_eq!(silent(&mut awake), None, "another is awake");
        drop(other);
        assert!(!awake.soon, "it did not come");
        awake.soon = true;
        assert_eq!(silent(&mut awake), Some(()));
        assert!(Turn::take().is_some(), "it is no longer waited for");
    }

    #[test]
    fn what_came_at_once_is_waited_for_awake_unless_that_is_forbidden() {
        let _alone = alone();
        let (mut can, mut must_not) = (Awake { can: true, soon: false }, Awake { can: false, soon: false });
        // The machine may keep the core for itself for longer than is soon, but not each time.
        assert!((0..100).any(|_| {
            assert_eq!(block_on(can.wait(MOST, ready(1))), Some(1));
            can.soon
        }));
        assert_eq!(block_on(must_not.wait(MOST, ready(1))), Some(1));
        assert!(!must_not.soon);
        assert_eq!(block_on(can.wait(MOST, std::future::pending::<()>())), None, "patience ends");
        assert!(!can.soon && Turn::take().is_some());
    }
}

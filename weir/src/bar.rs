//! A bar for work whose end is known, on a terminal; elsewhere nothing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(100);

/// Work that is under way; the bar goes when this does.
pub(crate) struct Bar {
    /// What has been done of it.
    pub(crate) done: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Shows `what` and how far it is of `total`.
    pub(crate) fn start(what: &str, total: u64) -> Self {
        let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::io::stderr().is_terminal().then(|| {
            let (what, done, over) = (what.to_owned(), Arc::clone(&done), Arc::clone(&over));
            std::thread::spawn(move || {
                let bar = ProgressBar::new(total);
                if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
                    bar.set_style(style);
                }
                bar.set_message(what);
                while !over.load(Ordering::Relaxed) {
                    bar.set_position(done.load(Ordering::Relaxed));
                    std::thread::park_timeout(INTERVAL);
                }
                bar.finish_and_clear();
            })
        });
        Self { done, over, thread }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only draws; if it panicked there is nothing to clean up.
            let _ = thread.join();
        }
    }
}

//! What memory is used for, under a counting allocator.

mod budget;
#[path = "../common/mod.rs"]
mod common;
mod outage;

use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_memory::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const MIB: usize = 1 << 20;

/// One test at a time: they share the allocator.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

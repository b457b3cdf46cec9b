//! Deliberately wrong operators, to show that the tests of packs see it.

use std::cell::Cell;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A sequence takes its steps in any order.
    OrderIgnored,
    /// An absence does not see what it expects.
    ExpectIgnored,
    /// A window leaves its first pane out.
    FirstPaneDropped,
    /// An expired entry matches.
    ExpiryIgnored,
    /// Repeats are not held back.
    RepeatsToldAgain,
    /// What a checkpoint says of windows, sequences and suppression is forgotten.
    StateLost,
    /// Records are followed as they arrive.
    ArrivalOrder,
}

thread_local! {
    static WRONG: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// Whether this is done wrong on this thread.
pub(crate) fn is(wrong: Wrong) -> bool {
    WRONG.get() == Some(wrong)
}

/// Runs something while one thing is done wrong.
pub(super) fn with<T>(wrong: Wrong, run: impl FnOnce() -> T) -> T {
    WRONG.set(Some(wrong));
    let result = run();
    WRONG.set(None);
    result
}

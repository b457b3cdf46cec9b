//! Deliberately wrong operators, to show that the tests of packs see it. Outside the engine's own tests
//! nothing is ever wrong, and the questions compile to nothing.

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
    /// What a torn write left in a log stays there.
    TornTailKept,
    /// A checkpoint gets its name before it is synced.
    CheckpointNotSynced,
    /// What a checkpoint makes superfluous is removed before it is published.
    RemovedBeforeCheckpoint,
    /// Outputs leave, and answers are given, before the turn they follow from is durable.
    TurnNotAwaited,
}

#[cfg(test)]
thread_local! {
    static WRONG: std::cell::Cell<Option<Wrong>> = const { std::cell::Cell::new(None) };
}

/// Whether this is done wrong on this thread.
#[cfg(test)]
pub(crate) fn is(wrong: Wrong) -> bool {
    WRONG.get() == Some(wrong)
}

/// Whether this is done wrong: never.
#[cfg(not(test))]
#[inline]
pub(crate) const fn is(_: Wrong) -> bool {
    false
}

/// What is done wrong on this thread, for one that it starts.
#[cfg(test)]
pub(crate) fn inherited<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let wrong = WRONG.get();
    move || {
        WRONG.set(wrong);
        run()
    }
}

/// The same where nothing is ever wrong.
#[cfg(not(test))]
pub(crate) fn inherited<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    run
}

/// Runs something while one thing is done wrong.
#[cfg(test)]
pub(crate) fn with<T>(wrong: Wrong, run: impl FnOnce() -> T) -> T {
    WRONG.set(Some(wrong));
    let result = run();
    WRONG.set(None);
    result
}

//! What a window rule keeps of its keys: side by side, in the order in which windows come, so that a window that closes asks
//! memory for one thing after the other and not for each where it happens to lie.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::Outlook;
use crate::window::{Closed, Forecaster, GroupKey, LevelState, Numbers};

/// Where one key stands, its levels aside.
#[derive(Debug, Clone)]
pub(super) struct KeyState {
    pub(super) last_end_ms: i64,
    /// Up to where silence has been looked for; of a silent key, when it was told.
    pub(super) quiet_to_ms: i64,
    pub(super) silent: bool,
    pub(super) forecaster: Option<Box<Forecaster>>,
    /// For whoever asks where the key stands.
    pub(super) last: Option<LastValue>,
}

/// What was found of a key when a window last closed.
#[derive(Debug, Clone)]
pub(super) struct LastValue {
    pub(super) value: f64,
    pub(super) margin: Option<f64>,
    pub(super) completeness: Option<f64>,
    pub(super) outlook: Option<Box<Outlook>>,
}

impl LastValue {
    pub(super) fn of(closed: &Closed, outlook: Option<Outlook>) -> Self {
        let Closed { value, margin, completeness, .. } = *closed;
        Self { value, margin, completeness, outlook: outlook.map(Box::new) }
    }
}

/// A key as it is kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedKey {
    levels: Vec<LevelState>,
    last_end_ms: i64,
    quiet_to_ms: i64,
    silent: bool,
    forecaster: Option<Box<Forecaster>>,
}

/// Texts of a key's values, in the order of its columns.
pub(super) type KeyTexts = Arc<[Arc<str>]>;

/// Texts of keys, as they are needed whenever something is told of them.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: Numbers,
    /// By the keys' numbers.
    all: Vec<(GroupKey, KeyTexts)>,
    /// Behind the one that was found last: most come in the order of the time before.
    next: usize,
}

impl Texts {
    /// The texts of a key, made where they are not known. Of more than `max` keys all are forgotten.
    pub(super) fn of(&mut self, key: &GroupKey, max: usize, make: impl FnOnce() -> KeyTexts) -> KeyTexts {
        let is_next = self.all.get(self.next).is_some_and(|(next, _)| next == key);
        if let Some(number) = if is_next { Some(self.next) } else { self.numbers.get(key).map(|it| it as usize) } {
            self.next = number + 1;
            return Arc::clone(&self.all[number].1);
        }
        if self.all.len() >= max {
            *self = Self::default();
        }
        let texts = make();
        self.numbers.insert(*key, self.all.len() as u32);
        self.all.push((*key, Arc::clone(&texts)));
        texts
    }
}

/// The keys of one rule.
#[derive(Debug, Default)]
pub(super) struct Keys {
    numbers: Numbers,
    /// By their numbers.
    all: Vec<GroupKey>,
    states: Vec<KeyState>,
    /// By number, so many for each.
    levels: Vec<LevelState>,
    levels_of_key: usize,
    /// Behind the one that was found last: windows come in the order of the time before.
    next: usize,
}

impl Keys {
    /// None yet, for a rule of so many levels.
    pub(super) fn new(levels_of_key: usize) -> Self {
        Self { levels_of_key, ..Self::default() }
    }

    /// The number of a key that is known.
    pub(super) fn number(&self, key: &GroupKey) -> Option<usize> {
        self.numbers.get(key).map(|number| number as usize)
    }

    /// The same where keys come one after the other.
    pub(super) fn number_in_order(&mut self, key: &GroupKey) -> Option<usize> {
        let number = if self.all.get(self.next) == Some(key) { self.next } else { self.number(key)? };
        self.next = number + 1;
        Some(number)
    }

    /// Adds a key that is not known; none of its levels holds.
    pub(super) fn add(&mut self, key: GroupKey, state: KeyState) -> usize {
        let number = self.all.len();
        self.numbers.insert(key, number as u32);
        self.all.push(key);
        self.states.push(state);
        self.levels.resize((number + 1) * self.levels_of_key, LevelState::default());
        number
    }

    pub(super) fn state(&self, number: usize) -> &KeyState {
        &self.states[number]
    }

    /// The levels of a key, in the order of the rule's.
    pub(super) fn levels(&self, number: usize) -> &[LevelState] {
        &self.levels[number * self.levels_of_key..][..self.levels_of_key]
    }

    /// Where a key stands, and its levels.
    pub(super) fn at(&mut self, number: usize) -> (&mut KeyState, &mut [LevelState]) {
        (&mut self.states[number], &mut self.levels[number * self.levels_of_key..][..self.levels_of_key])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupKey, &KeyState, &[LevelState])> {
        let numbered = self.all.iter().zip(&self.states).enumerate();
        numbered.map(|(number, (key, state))| (key, state, self.levels(number)))
    }

    /// All keys, ascending.
    pub(super) fn save(&self) -> Vec<(GroupKey, SavedKey)> {
        let saved = |state: &KeyState, levels: &[LevelState]| SavedKey {
            levels: levels.to_vec(),
            last_end_ms: state.last_end_ms,
            quiet_to_ms: state.quiet_to_ms,
            silent: state.silent,
            forecaster: state.forecaster.clone(),
        };
        let mut keys: Vec<_> = self.iter().map(|(key, state, levels)| (*key, saved(state, levels))).collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        keys
    }

    /// Takes over what was saved, of a rule with as many levels.
    pub(super) fn load(&mut self, saved: Vec<(GroupKey, SavedKey)>) {
        *self = Self::new(self.levels_of_key);
        for (key, it) in saved {
            let SavedKey { levels, last_end_ms, quiet_to_ms, silent, forecaster } = it;
            let number = self.add(key, KeyState { last_end_ms, quiet_to_ms, silent, forecaster, last: None });
            self.at(number).1.iter_mut().zip(levels).for_each(|(level, saved)| *level = saved);
        }
    }
}

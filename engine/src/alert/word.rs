//! Words that outputs are made of, read back: of a closed set while they are written, and kept for the life of the process
//! when they are read.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use serde::de::{Deserialize, Deserializer, Error};

/// One of the words that an output may hold.
pub type Word = &'static str;

/// Different words that are kept. The engine itself knows some forty.
const WORDS_MAX: usize = 512;
/// Longest word.
const WORD_BYTES_MAX: usize = 64;

static WORDS: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());

fn keep(text: &str) -> Option<Word> {
    let mut words = WORDS.lock();
    if let Some(word) = words.get(text) {
        return Some(word);
    }
    if words.len() >= WORDS_MAX || text.len() > WORD_BYTES_MAX {
        return None;
    }
    let word: Word = Box::leak(text.into());
    words.insert(word);
    Some(word)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    let text = String::deserialize(deserializer)?;
    keep(&text).ok_or_else(|| D::Error::custom("a word that no output holds"))
}

pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Word>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| keep(&text).ok_or_else(|| D::Error::custom("a word that no output holds"))).transpose()
}

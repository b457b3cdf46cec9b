//! One JSON object in one pass: validates all of it, keeps what the allow-list names.
//!
//! The scanner checks the whole line against RFC 8259 and notes where the values of wanted fields
//! lie; everything else is skipped unread. It is iterative, so that nesting costs no stack, and
//! bounded in depth. Where a key occurs twice the last value counts, as in `serde_json`.
//!
//! Most records look like one before them. Those are read by templates, which know where to look and give up
//! at the first thing that is not as expected; the scanner then reads the record from its start, says what is wrong
//! with it, and teaches what is usual. Both accept the same records with the same values.

mod reader;
mod scanner;
mod template;
mod text;
mod tree;

use crate::record::{Cause, Field};

pub use reader::{FieldReader, Fields};
pub(crate) use reader::{line_at, line_end};
use scanner::Scanner;
pub use scanner::array_elements;
pub(crate) use template::Templates;
pub use text::unescaped;
pub(crate) use text::{scored_texts, texts, unescape};
pub(crate) use tree::FieldTree;

/// Where a value lies in its text, and of what sort it is.
#[derive(Debug, Clone, Copy, Default)]
struct Token {
    sort: Sort,
    start: u32,
    end: u32,
    /// The record it was found in.
    record: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sort {
    #[default]
    Missing,
    Text,
    Escaped,
    Number,
    True,
    False,
    Nested,
}

impl Token {
    #[inline]
    fn new(sort: Sort, start: usize, end: usize) -> Self {
        Self { sort, start: start as u32, end: end as u32, record: 0 }
    }
}

/// The values of one record's wanted fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    slots: Vec<Token>,
    /// Number of the record they are of: what others have left behind is not there.
    record: u32,
}

impl Tokens {
    /// Room for so many fields.
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: vec![Token::default(); slots], record: 0 }
    }

    /// Another record begins.
    fn start(&mut self) {
        self.record = self.record.wrapping_add(1);
        if self.record == 0 {
            self.slots.fill(Token::default());
            self.record = 1;
        }
    }

    #[inline]
    fn set(&mut self, slot: u16, token: Token) {
        self.slots[usize::from(slot)] = Token { record: self.record, ..token };
    }

    /// A value, borrowed from the text it was read in.
    #[inline]
    pub(crate) fn field<'a>(&self, slot: usize, text: &'a str) -> Field<'a> {
        let token = self.slots[slot];
        if token.record != self.record {
            return Field::Missing;
        }
        let text = || &text[token.start as usize..token.end as usize];
        match token.sort {
            Sort::Missing => Field::Missing,
            Sort::Text => Field::Text(text()),
            Sort::Escaped => Field::Escaped(text()),
            Sort::Number => Field::Number(text()),
            Sort::True => Field::Truth(true),
            Sort::False => Field::Truth(false),
            Sort::Nested => Field::Json(text()),
        }
    }
}

/// Reads one record. `tokens` has one slot for each wanted field and is overwritten.
pub(crate) fn scan(line: &str, tree: &FieldTree, tokens: &mut Tokens) -> Result<(), Cause> {
    tokens.start();
    Scanner::new(line).record(tree, tokens, |_| {})
}

/// Reads one record and remembers what it looks like.
pub(crate) fn scan_and_learn(
    line: &str,
    tree: &FieldTree,
    tokens: &mut Tokens,
    templates: &mut Templates,
) -> Result<(), Cause> {
    tokens.start();
    let mut leaves = templates.leaves();
    let result = Scanner::new(line).record(tree, tokens, |leaf| leaves.push(leaf));
    templates.learn(line, leaves, result.is_ok());
    result
}

/// Whether a line is one record: a JSON object, within the depth limit. Says nothing of its fields.
///
/// ```
/// use weir_engine::decode::json::check_record;
/// assert!(check_record(r#"{"plate":"x"}"#).is_ok());
/// assert_eq!(check_record("[1]").unwrap_err().to_string(), "not JSON at byte 0: a record is an object");
/// ```
pub fn check_record(line: &str) -> Result<(), Cause> {
    scan(line, &FieldTree::new(&[]), &mut Tokens::new(0))
}

#[cfg(test)]
mod tests;

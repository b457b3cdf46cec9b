//! One JSON object in one pass: validates all of it, keeps what the allow-list names.
//!
//! The scanner checks the whole line against RFC 8259 and notes where the values of wanted fields
//! lie; everything else is skipped unread. It is iterative, so that nesting costs no stack, and
//! bounded in depth. Where a key occurs twice the last value counts, as in `serde_json`.
//!
//! Most records look like one before them. Those are read by templates, which know where to look and give up
//! at the first thing that is not as expected; the scanner then reads the record from its start, says what is wrong
//! with it, and teaches what is usual. Both accept the same records with the same values.

mod number;
mod reader;
mod scanner;
mod template;
mod templates;
mod text;
mod tree;

use std::ops::Range;

use crate::record::{Cause, Field, Reason};

pub use reader::{FieldReader, Fields};
pub(crate) use reader::{line_at, line_end};
pub use scanner::array_elements;
use scanner::{Known, Scanner};
pub(crate) use templates::Templates;
pub use text::unescaped;
pub(crate) use text::{scored_texts, texts, unescape};
pub(crate) use tree::FieldTree;

/// Where a value lies in its text, and of what sort it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Token {
    sort: Sort,
    start: u32,
    end: u32,
}

/// As wide as a position, so that a token is copied in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
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
        Self { sort, start: start as u32, end: end as u32 }
    }

    /// The value, if it is a plain text.
    #[inline]
    pub(crate) fn plain(self, text: &str) -> Option<&str> {
        if self.sort == Sort::Text { text.get(self.start as usize..self.end as usize) } else { None }
    }

    /// The value, borrowed from the text it was read in.
    #[inline]
    pub(crate) fn field(self, text: &str) -> Field<'_> {
        let text = || &text[self.start as usize..self.end as usize];
        match self.sort {
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

const AN_OBJECT: &str = "a record is an object";
/// Why a line is refused that begins with no bracket.
pub(crate) const NO_OBJECT: Reason = Reason::Json { at: 0, what: AN_OBJECT };

/// Stands for a value that nobody asks for.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// Where the values of a record go that is being read.
pub(crate) struct Row<'a> {
    tokens: &'a mut [Token],
}

impl<'a> Row<'a> {
    /// A row without a value.
    #[inline]
    pub(crate) fn new(tokens: &'a mut [Token]) -> Self {
        tokens.fill(Token::default());
        Self { tokens }
    }

    /// Puts a value into its place, if that is somewhere.
    #[inline]
    fn set(&mut self, place: u16, token: Token) {
        if let Some(known) = self.tokens.get_mut(usize::from(place)) {
            *known = token;
        }
    }

    /// Takes out whatever was put into it.
    fn clear(&mut self) {
        self.tokens.fill(Token::default());
    }
}

/// What has room for records that are being read.
pub(crate) trait Rows {
    /// Room for one of this kind, by the position of its name, if that is known yet. Whatever was put into the room given
    /// before is of no use, unless it has been kept.
    fn row(&mut self, kind: Option<usize>) -> Row<'_>;
}

/// The values of one record's wanted fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    slots: Vec<Token>,
}

impl Rows for Tokens {
    fn row(&mut self, _: Option<usize>) -> Row<'_> {
        Row::new(&mut self.slots)
    }
}

impl Tokens {
    /// Room for so many fields.
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: vec![Token::default(); slots] }
    }

    /// A value, borrowed from the text it was read in.
    #[inline]
    pub(crate) fn field<'a>(&self, slot: usize, text: &'a str) -> Field<'a> {
        self.slots[slot].field(text)
    }

    /// Copies the values of some slots into a row.
    #[inline]
    pub(crate) fn copy(&self, slots: &[u16], row: &mut [Token]) {
        for (place, slot) in row.iter_mut().zip(slots) {
            *place = self.slots[usize::from(*slot)];
        }
    }
}

/// Reads one record. `tokens` has one slot for each wanted field and is overwritten.
pub(crate) fn scan(line: &str, tree: &FieldTree, tokens: &mut Tokens) -> Result<(), Cause> {
    Scanner::new(line).record(tree, &mut tokens.row(None), |_, _, _| {})
}

/// Reads the record that is a piece of a text whose marks are known, and remembers what it looks like.
fn scan_and_learn(
    text: &str,
    piece: Range<usize>,
    marks: Known<'_>,
    tree: &FieldTree,
    tokens: &mut Tokens,
    templates: &mut Templates,
) -> Result<(), Cause> {
    let mut watch = templates.watch(text);
    let mut row = tokens.row(None);
    Scanner::within(text, piece.clone(), marks)
        .record(tree, &mut row, |token, slot, depth| watch.value(token, slot, depth))?;
    watch.end(piece);
    Ok(())
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

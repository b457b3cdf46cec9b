//! The grammar of RFC 8259 over one line.

mod nested;

use std::ops::Range;

use weir_memory::{SpecialBytes, plain_prefix};

use super::number::{NoNumber, number_end};
use super::tree::{FieldTree, Node, Target, WRITTEN};
use super::{AN_OBJECT, Row, Sort, Token, unescaped};
use crate::limits::JSON_DEPTH_MAX;
use crate::record::{Cause, Reason};

const TOO_DEEP: Reason = Reason::TooDeep { depth_max: JSON_DEPTH_MAX };

/// Tells where a text stops being plain.
pub(super) trait Marks {
    /// The first special byte of a text from a position on; its end or a position behind it if there is none.
    fn next(&self, bytes: &[u8], at: usize) -> usize;
}

/// Marks that are looked for when somebody asks.
pub(super) struct Sought;

impl Marks for Sought {
    #[inline]
    fn next(&self, bytes: &[u8], at: usize) -> usize {
        at + plain_prefix(&bytes[at..])
    }
}

/// Marks that have been made of the text.
pub(super) struct Known<'a>(pub(super) &'a SpecialBytes);

impl Marks for Known<'_> {
    #[inline]
    fn next(&self, _: &[u8], at: usize) -> usize {
        self.0.next(at)
    }
}

/// Reads a text from front to back.
pub(super) struct Scanner<'a, M> {
    text: &'a str,
    bytes: &'a [u8],
    /// The same, and what stands behind it.
    around: &'a [u8],
    marks: M,
    /// Where the record begins.
    start: usize,
    at: usize,
    depth: usize,
}

#[inline]
fn behind_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// A value that is read as one, wanted or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) token: Token,
    /// Where it goes, if it is wanted.
    pub(super) slot: Option<u16>,
    /// Brackets it lies in.
    pub(super) depth: u8,
}

/// The inside of a string.
struct Inside {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> Scanner<'a, Sought> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::within(text, 0..text.len(), Sought)
    }

    /// The value that begins within a text and so many brackets.
    pub(super) fn value_at(text: &'a str, at: usize, depth: usize) -> Option<Token> {
        Self { at, depth, ..Self::new(text) }.value().ok()
    }
}

impl<'a, M: Marks> Scanner<'a, M> {
    /// Reads a piece of a text.
    pub(super) fn within(text: &'a str, piece: Range<usize>, marks: M) -> Self {
        let around = text.as_bytes();
        let text = &text[..piece.end];
        Self { text, bytes: text.as_bytes(), around, marks, start: piece.start, at: piece.start, depth: 0 }
    }

    /// One object, and nothing behind it.
    pub(super) fn record(
        &mut self,
        tree: &FieldTree,
        row: &mut Row<'_>,
        mut leaf: impl FnMut(Token, Option<u16>, usize),
    ) -> Result<(), Cause> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.error(AN_OBJECT));
        }
        self.object(tree, tree.root(), row, &mut leaf)?;
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("something stands behind the record")) }
    }

    #[cold]
    fn error(&self, what: &'static str) -> Cause {
        Reason::Json { at: self.at - self.start, what }.into()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        self.at = behind_space(self.bytes, self.at);
    }

    fn enter(&mut self) -> Result<(), Cause> {
        self.at += 1;
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX { Err(TOO_DEEP.into()) } else { Ok(()) }
    }

    /// An object some of whose fields are wanted. Recursion is bounded by the depth of the tree.
    fn object(
        &mut self,
        tree: &FieldTree,
        node: &Node,
        row: &mut Row<'_>,
        leaf: &mut impl FnMut(Token, Option<u16>, usize),
    ) -> Result<(), Cause> {
        self.enter()?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if !self.written_fields(node, row, leaf) {
                self.space();
                self.field(tree, node, row, leaf)?;
            }
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(self.error("`,` or `}` expected")),
            }
        }
    }

    /// The fields from here on that are wanted and written as nearly all are, with nothing between them. Tells whether a
    /// value has just ended; if none has, a field of another look comes.
    #[inline]
    fn written_fields(
        &mut self,
        node: &Node,
        row: &mut Row<'_>,
        leaf: &mut impl FnMut(Token, Option<u16>, usize),
    ) -> bool {
        let mut at = self.at;
        while let Some((slot, length)) =
            self.around.get(at..at + WRITTEN).and_then(|text| node.written(text.first_chunk()?))
        {
            let Some((token, behind)) = self.plain_value(at + length) else { break };
            row.set(slot, token);
            leaf(token, Some(slot), self.depth);
            if self.bytes.get(behind) != Some(&b',') {
                self.at = behind;
                return true;
            }
            at = behind + 1;
        }
        self.at = at;
        false
    }

    /// The text without escapes, or number, that begins at a position, and the position behind it.
    #[inline]
    fn plain_value(&self, at: usize) -> Option<(Token, usize)> {
        match self.bytes.get(at)? {
            b'"' => {
                let end = self.marks.next(self.bytes, at + 1);
                (self.bytes.get(end) == Some(&b'"')).then(|| (Token::new(Sort::Text, at + 1, end), end + 1))
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(self.bytes, at).ok()?;
                Some((Token::new(Sort::Number, at, end), end))
            }
            _ => None,
        }
    }

    /// Any field.
    fn field(
        &mut self,
        tree: &FieldTree,
        node: &Node,
        row: &mut Row<'_>,
        leaf: &mut impl FnMut(Token, Option<u16>, usize),
    ) -> Result<(), Cause> {
        match self.key(node)? {
            Some(Target::Branch(next)) if self.peek() == Some(b'{') => self.object(tree, tree.node(next), row, leaf),
            target => {
                let token = self.value()?;
                let slot = match target {
                    Some(Target::Slot(slot)) => Some(slot),
                    _ => None,
                };
                if let Some(slot) = slot {
                    row.set(slot, token);
                }
                leaf(token, slot, self.depth);
                Ok(())
            }
        }
    }

    /// A key with its colon.
    #[inline]
    fn key(&mut self, node: &Node) -> Result<Option<Target>, Cause> {
        if self.peek() == Some(b'"') {
            let (start, end) = (self.at + 1, self.marks.next(self.bytes, self.at + 1));
            if let Some(b"\":") = self.bytes.get(end..end + 2) {
                self.at = end + 2;
                self.space();
                return Ok(node.find(self.around, start..end));
            }
        }
        self.unusual_key(node)
    }

    /// One with escapes, or white space before its colon.
    fn unusual_key(&mut self, node: &Node) -> Result<Option<Target>, Cause> {
        let Inside { start, end, escaped } = self.string()?;
        let target = if escaped {
            let key = unescaped(&self.text[start..end]);
            node.find(key.as_bytes(), 0..key.len())
        } else {
            node.find(self.bytes, start..end)
        };
        self.colon()?;
        Ok(target)
    }

    fn colon(&mut self) -> Result<(), Cause> {
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.error("`:` expected"));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Any value, validated.
    fn value(&mut self) -> Result<Token, Cause> {
        let start = self.at;
        if let Some((token, behind)) = self.plain_value(start) {
            self.at = behind;
            return Ok(token);
        }
        let sort = match self.peek() {
            Some(b'"') => {
                let Inside { start, end, escaped } = self.string()?;
                let sort = if escaped { Sort::Escaped } else { Sort::Text };
                return Ok(Token::new(sort, start, end));
            }
            Some(b'{' | b'[') => {
                self.nested()?;
                Sort::Nested
            }
            _ => self.scalar()?,
        };
        Ok(Token::new(sort, start, self.at))
    }

    fn scalar(&mut self) -> Result<Sort, Cause> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| Sort::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Sort::Number),
            Some(b't') => self.word("true").map(|()| Sort::True),
            Some(b'f') => self.word("false").map(|()| Sort::False),
            Some(b'n') => self.word("null").map(|()| Sort::Missing),
            _ => Err(self.error("a value expected")),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Cause> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.error("a value expected"))
        }
    }

    fn number(&mut self) -> Result<(), Cause> {
        match number_end(self.bytes, self.at) {
            Ok(end) => {
                self.at = end;
                Ok(())
            }
            Err(NoNumber { at, what }) => {
                self.at = at;
                Err(self.error(what))
            }
        }
    }

    /// A string.
    fn string(&mut self) -> Result<Inside, Cause> {
        if self.peek() != Some(b'"') {
            return Err(self.error("`\"` expected"));
        }
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            at = self.marks.next(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Inside { start, end: at, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at = at;
                    at = self.escape()?;
                }
                Some(_) => {
                    self.at = at;
                    return Err(self.error("control character in a string"));
                }
                None => {
                    self.at = self.bytes.len();
                    return Err(self.error("a string is not closed"));
                }
            }
        }
    }

    /// Validates the escape at `self.at`; the position behind it.
    fn escape(&self) -> Result<usize, Cause> {
        let bad = || self.error("not an escape");
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(self.at + 2),
            Some(b'u') => {
                let unit = hex4(self.bytes.get(self.at + 2..self.at + 6).ok_or_else(bad)?).ok_or_else(bad)?;
                match unit {
                    0xd800..=0xdbff => {
                        let low = self.bytes.get(self.at + 6..self.at + 12).ok_or_else(bad)?;
                        let paired = low.starts_with(b"\\u") && matches!(hex4(&low[2..]), Some(0xdc00..=0xdfff));
                        if paired { Ok(self.at + 12) } else { Err(self.error("half of a surrogate pair")) }
                    }
                    0xdc00..=0xdfff => Err(self.error("half of a surrogate pair")),
                    _ => Ok(self.at + 6),
                }
            }
            _ => Err(bad()),
        }
    }
}

/// Byte ranges of the elements of a JSON array, each a record; nothing is read inside them but brackets.
///
/// # Errors
/// When the text is not an array, or an element is not closed. Elements are validated later, one by one.
pub fn array_elements(text: &str) -> Result<Vec<std::ops::Range<u32>>, Cause> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    if scanner.peek() != Some(b'[') {
        return Err(scanner.error("an array of records expected"));
    }
    scanner.at += 1;
    scanner.space();
    let mut ranges = Vec::new();
    if scanner.peek() == Some(b']') {
        return Ok(ranges);
    }
    loop {
        scanner.space();
        let start = scanner.at as u32;
        scanner.value()?;
        ranges.push(start..scanner.at as u32);
        scanner.space();
        match scanner.peek() {
            Some(b',') => scanner.at += 1,
            Some(b']') => {
                scanner.at += 1;
                scanner.space();
                let whole = scanner.at == scanner.bytes.len();
                return if whole { Ok(ranges) } else { Err(scanner.error("something stands behind the array")) };
            }
            _ => return Err(scanner.error("`,` or `]` expected")),
        }
    }
}

pub(super) fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().take(4).try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

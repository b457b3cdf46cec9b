//! The grammar of RFC 8259 over one line.

use weir_memory::{SpecialBytes, plain_prefix};

use super::tree::{FieldTree, Target};
use super::{AN_OBJECT, Row, Sort, Token, unescaped};
use crate::limits::JSON_DEPTH_MAX;
use crate::record::{Cause, Reason};

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

/// Marks of a larger text, in which this one begins at `base`.
pub(super) struct Known<'a> {
    pub(super) specials: &'a SpecialBytes,
    pub(super) base: usize,
}

impl Marks for Known<'_> {
    #[inline]
    fn next(&self, _: &[u8], at: usize) -> usize {
        self.specials.next(self.base + at) - self.base
    }
}

/// Reads a text from front to back.
pub(super) struct Scanner<'a, M> {
    text: &'a str,
    bytes: &'a [u8],
    marks: M,
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

/// How many of the first bytes are digits.
#[inline]
fn leading_digits(bytes: [u8; 8]) -> usize {
    // Digits come to lie at 0 to 9, and what is above that reaches the highest bit of its byte. What is carried on from
    // there spoils only bytes behind it.
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    let others = (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
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
        Self::with_marks(text, Sought)
    }

    /// The value that begins within a text and so many brackets.
    pub(super) fn value_at(text: &'a str, at: usize, depth: usize) -> Option<Token> {
        Self { at, depth, ..Self::new(text) }.value().ok()
    }
}

impl<'a, M: Marks> Scanner<'a, M> {
    pub(super) fn with_marks(text: &'a str, marks: M) -> Self {
        Self { text, bytes: text.as_bytes(), marks, at: 0, depth: 0 }
    }

    /// One object, and nothing behind it.
    pub(super) fn record(
        &mut self,
        tree: &FieldTree,
        row: &mut Row<'_>,
        mut leaf: impl FnMut(Leaf),
    ) -> Result<(), Cause> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.error(AN_OBJECT));
        }
        self.object(tree, 0, row, &mut leaf)?;
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("something stands behind the record")) }
    }

    #[cold]
    fn error(&self, what: &'static str) -> Cause {
        Reason::Json { at: self.at, what }.into()
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
        if self.depth > JSON_DEPTH_MAX { Err(Reason::TooDeep { depth_max: JSON_DEPTH_MAX }.into()) } else { Ok(()) }
    }

    /// An object some of whose fields are wanted. Recursion is bounded by the depth of the tree.
    fn object(
        &mut self,
        tree: &FieldTree,
        node: usize,
        row: &mut Row<'_>,
        leaf: &mut impl FnMut(Leaf),
    ) -> Result<(), Cause> {
        self.enter()?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            match self.key(tree, node)? {
                Some(Target::Branch(next)) if self.peek() == Some(b'{') => {
                    self.object(tree, usize::from(next), row, leaf)?;
                }
                target => {
                    let token = self.value()?;
                    let slot = match target {
                        Some(Target::Slot(slot)) => Some(slot),
                        _ => None,
                    };
                    if let Some(slot) = slot {
                        row.set(slot, token);
                    }
                    leaf(Leaf { token, slot, depth: self.depth as u8 });
                }
            }
            // Nearly always the next key comes at once.
            if let Some(b",\"") = self.bytes.get(self.at..self.at + 2) {
                self.at += 1;
                continue;
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

    /// A key with its colon.
    #[inline]
    fn key(&mut self, tree: &FieldTree, node: usize) -> Result<Option<Target>, Cause> {
        if let Some((start, end)) = self.plain()
            && self.bytes.get(end + 1) == Some(&b':')
        {
            self.at = end + 2;
            self.space();
            return Ok(tree.find(node, self.bytes, start..end));
        }
        self.unusual_key(tree, node)
    }

    /// One with escapes, or white space before its colon.
    fn unusual_key(&mut self, tree: &FieldTree, node: usize) -> Result<Option<Target>, Cause> {
        let Inside { start, end, escaped } = self.string()?;
        let target = if escaped {
            let key = unescaped(&self.text[start..end]);
            tree.find(node, key.as_bytes(), 0..key.len())
        } else {
            tree.find(node, self.bytes, start..end)
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
    #[inline]
    fn value(&mut self) -> Result<Token, Cause> {
        let start = self.at;
        let sort = match self.peek() {
            Some(b'"') => {
                if let Some((start, end)) = self.plain() {
                    self.at = end + 1;
                    return Ok(Token::new(Sort::Text, start, end));
                }
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

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            let digits = leading_digits(*eight);
            self.at += digits;
            if digits < eight.len() {
                return self.at - start;
            }
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), Cause> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.peek();
        let whole = self.digits();
        if whole == 0 || (whole > 1 && first == Some(b'0')) {
            return Err(self.error("not a number"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.error("digits expected behind the point"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.error("digits expected in the exponent"));
            }
        }
        Ok(())
    }

    /// The inside of a string without escapes that begins here; whoever asks goes on behind it.
    #[inline]
    fn plain(&self) -> Option<(usize, usize)> {
        let start = self.at + 1;
        if self.peek() != Some(b'"') {
            return None;
        }
        let end = self.marks.next(self.bytes, start);
        (self.bytes.get(end) == Some(&b'"')).then_some((start, end))
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

    /// An array or object nobody wants: validated without recursion.
    fn nested(&mut self) -> Result<(), Cause> {
        let floor = self.depth;
        // Bit d says whether the container at depth d is an object.
        let mut objects = 0_u128;
        loop {
            // A value starts here.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.enter()?;
                    let bit = 1_u128 << self.depth;
                    objects = if open == b'{' { objects | bit } else { objects & !bit };
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                        self.depth -= 1;
                    } else {
                        if open == b'{' {
                            self.string()?;
                            self.colon()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // A value ended here.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                self.space();
                let in_object = objects & (1 << self.depth) != 0;
                match (self.peek(), in_object) {
                    (Some(b','), true) => {
                        self.at += 1;
                        self.space();
                        self.string()?;
                        self.colon()?;
                        break;
                    }
                    (Some(b','), false) => {
                        self.at += 1;
                        self.space();
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        self.depth -= 1;
                    }
                    _ => return Err(self.error("`,` or a closing bracket expected")),
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_in_one_go() {
        for count in 0..=8 {
            for other in 0..=u8::MAX {
                let mut bytes = *b"90817263";
                bytes[count..].fill(other);
                let expected = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                assert_eq!(leading_digits(bytes), expected, "{bytes:?}");
            }
        }
    }
}

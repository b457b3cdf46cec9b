//! One JSON object in one pass: validates all of it, keeps what the allow-list names.
//!
//! The scanner checks the whole line against RFC 8259 and notes where the values of wanted fields
//! lie; everything else is skipped unread. It is iterative, so that nesting costs no stack, and
//! bounded in depth. Keys are predicted: records of one source come with their fields in the same
//! order, so the next key is compared with the one that stood there last time before it is looked up.
//! Where a key occurs twice the last value counts, as in `serde_json`.

use crate::limits::JSON_DEPTH_MAX;
use crate::record::{Cause, Field, Reason};

/// Where a value lies in the line, and of what sort it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Token {
    sort: Sort,
    start: u32,
    end: u32,
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
    /// The value, borrowed from the line.
    pub(crate) fn field(self, line: &str) -> Field<'_> {
        let text = || &line[self.start as usize..self.end as usize];
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

/// The wanted fields as a tree: a dotted name leads into nested objects.
#[derive(Debug, Clone)]
pub(crate) struct FieldTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    names: Vec<(Box<str>, Target)>,
    /// First of the names with this [`spread`], by position; the next one in `chained`.
    heads: Vec<u16>,
    chained: Vec<u16>,
    /// Position in `names` of the key that stood at this place in the last record.
    predicted: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Slot(usize),
    Branch(usize),
}

const UNKNOWN: u16 = u16::MAX;
/// Places of the table of names.
const SPREAD: usize = 256;

/// A cheap hash of a key: its length and three of its bytes.
fn spread(key: &str) -> usize {
    let bytes = key.as_bytes();
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    (bytes.len() * 7 + byte(0) * 3 + byte(bytes.len() / 2) * 5 + byte(bytes.len().wrapping_sub(1))) % SPREAD
}

/// Keys of an object whose places are remembered.
const PREDICTED_MAX: usize = 64;

impl FieldTree {
    /// A tree that puts field `names[i]` into slot `i`.
    pub(crate) fn new(names: &[String]) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for (slot, name) in names.iter().enumerate() {
            let mut node = 0;
            let mut parts = name.split('.').peekable();
            while let Some(part) = parts.next() {
                let known =
                    tree.nodes[node].names.iter().find(|(known, _)| known.as_ref() == part).map(|(_, target)| *target);
                node = match (known, parts.peek().is_none()) {
                    (_, true) => {
                        tree.nodes[node].names.push((part.into(), Target::Slot(slot)));
                        break;
                    }
                    (Some(Target::Branch(next)), false) => next,
                    (_, false) => {
                        let next = tree.nodes.len();
                        tree.nodes.push(Node::default());
                        tree.nodes[node].names.push((part.into(), Target::Branch(next)));
                        next
                    }
                };
            }
        }
        for node in &mut tree.nodes {
            node.heads = vec![UNKNOWN; SPREAD];
            node.chained = vec![UNKNOWN; node.names.len()];
            for (position, (name, _)) in node.names.iter().enumerate() {
                let head = &mut node.heads[spread(name)];
                node.chained[position] = std::mem::replace(head, position as u16);
            }
        }
        tree
    }

    /// The target of the key that stood at this place last time, and its length with quotes, if the
    /// text begins with it.
    fn predict(&self, node: usize, place: usize, text: &[u8]) -> Option<(Target, usize)> {
        let node = &self.nodes[node];
        let position = *node.predicted.get(place)?;
        let (name, target) = node.names.get(usize::from(position))?;
        let key = text.strip_prefix(b"\"")?.strip_prefix(name.as_bytes())?;
        (key.first() == Some(&b'"')).then_some((*target, name.len() + 2))
    }

    /// The target of a key, which is remembered for this place of its object.
    fn find(&mut self, node: usize, place: usize, key: &str) -> Option<Target> {
        let node = &mut self.nodes[node];
        let mut at = node.heads[spread(key)];
        while at != UNKNOWN && node.names[usize::from(at)].0.as_ref() != key {
            at = node.chained[usize::from(at)];
        }
        let found = (at != UNKNOWN).then_some(usize::from(at));
        if place < PREDICTED_MAX {
            if node.predicted.len() <= place {
                node.predicted.resize(place + 1, UNKNOWN);
            }
            node.predicted[place] = found.map_or(UNKNOWN, |found| found as u16);
        }
        found.map(|found| node.names[found].1)
    }
}

/// Reads one record. `tokens` has one slot for each wanted field and is overwritten.
pub(crate) fn scan(line: &str, tree: &mut FieldTree, tokens: &mut [Token]) -> Result<(), Cause> {
    tokens.fill(Token::default());
    let mut scanner = Scanner { text: line, bytes: line.as_bytes(), at: 0, depth: 0 };
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.error("a record is an object"));
    }
    scanner.object(tree, 0, tokens)?;
    scanner.space();
    if scanner.at == scanner.bytes.len() { Ok(()) } else { Err(scanner.error("something stands behind the record")) }
}

/// Whether a line is one record: a JSON object, within the depth limit. Says nothing of its fields.
///
/// ```
/// use weir_engine::decode::json::check_record;
/// assert!(check_record(r#"{"plate":"x"}"#).is_ok());
/// assert_eq!(check_record("[1]").unwrap_err().to_string(), "not JSON at byte 0: a record is an object");
/// ```
pub fn check_record(line: &str) -> Result<(), Cause> {
    scan(line, &mut FieldTree::new(&[]), &mut [])
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    #[cold]
    fn error(&self, what: &'static str) -> Cause {
        Reason::Json { at: self.at, what }.into()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn enter(&mut self) -> Result<(), Cause> {
        self.at += 1;
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX { Err(Reason::TooDeep { depth_max: JSON_DEPTH_MAX }.into()) } else { Ok(()) }
    }

    /// An object some of whose fields are wanted. Recursion is bounded by the depth of the tree.
    fn object(&mut self, tree: &mut FieldTree, node: usize, tokens: &mut [Token]) -> Result<(), Cause> {
        self.enter()?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        let mut place = 0;
        loop {
            self.space();
            let target = match tree.predict(node, place, &self.bytes[self.at..]) {
                Some((target, length)) => {
                    self.at += length;
                    Some(target)
                }
                None => {
                    let (key, escaped) = self.string()?;
                    if escaped {
                        let mut plain = String::with_capacity(key.len());
                        unescape(key, &mut plain);
                        tree.find(node, PREDICTED_MAX, &plain)
                    } else {
                        tree.find(node, place, key)
                    }
                }
            };
            self.colon()?;
            match target {
                Some(Target::Slot(slot)) => tokens[slot] = self.value()?,
                Some(Target::Branch(next)) if self.peek() == Some(b'{') => self.object(tree, next, tokens)?,
                _ => {
                    self.value()?;
                }
            }
            place += 1;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(self.error("`,` or `}` expected")),
            }
        }
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
        let start = self.at as u32;
        let sort = match self.peek() {
            Some(b'"') => {
                let (text, escaped) = self.string()?;
                let start = start + 1;
                let sort = if escaped { Sort::Escaped } else { Sort::Text };
                return Ok(Token { sort, start, end: start + text.len() as u32 });
            }
            Some(b'{' | b'[') => {
                self.nested()?;
                Sort::Nested
            }
            _ => self.scalar()?,
        };
        Ok(Token { sort, start, end: self.at as u32 })
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

    /// A string; its inside, and whether it holds escapes.
    fn string(&mut self) -> Result<(&'a str, bool), Cause> {
        if self.peek() != Some(b'"') {
            return Err(self.error("`\"` expected"));
        }
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_prefix(&self.bytes[at..]);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok((&self.text[start..at], escaped));
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

/// How many bytes follow that are neither a quote, a backslash nor a control character.
///
/// Eight at a time: a byte is special if it is below 0x20, 0x22 or 0x5c (SWAR "haszero" test,
/// Bit Twiddling Hacks). Bytes above 0x7f are never special.
fn plain_prefix(bytes: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let zero_if = |byte: u64| {
            let x = word ^ (LOW * byte);
            x.wrapping_sub(LOW) & !x
        };
        let control = word.wrapping_sub(LOW * 0x20) & !word;
        let special = (zero_if(0x22) | zero_if(0x5c) | control) & HIGH;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')).unwrap_or(bytes.len() - at)
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().take(4).try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// Appends the inside of a valid JSON string with its escapes resolved.
pub(crate) fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        let mut used = at + 2;
        match escape {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |from: usize| rest.as_bytes().get(from..from + 4).and_then(hex4).unwrap_or(0xfffd);
                let high = unit(at + 2);
                used = at + 6;
                let code = if (0xd800..0xdc00).contains(&high) {
                    let low = unit(at + 8);
                    used = at + 12;
                    0x10000 + ((high - 0xd800) << 10) + (low & 0x3ff)
                } else {
                    high
                };
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            other => out.push(char::from(other)),
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
}

/// Appends the texts of a valid JSON array of texts; `false` for anything else or more than `max`.
pub(crate) fn texts(json: &str, max: usize, out: &mut Vec<String>) -> bool {
    match serde_json::from_str::<Vec<String>>(json) {
        Ok(texts) if texts.len() <= max => {
            out.extend(texts);
            true
        }
        _ => false,
    }
}

/// Appends the texts and scores of `[{"text": "...", "score": 0.9}, ...]` (also `plate`,
/// `confidence`); `false` for anything else or more than `max`.
pub(crate) fn scored_texts(json: &str, max: usize, out: &mut Vec<(String, Option<f64>)>) -> bool {
    let Ok(entries) = serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(json) else {
        return false;
    };
    for entry in &entries {
        let Some(text) = entry.get("text").or_else(|| entry.get("plate")).and_then(serde_json::Value::as_str) else {
            return false;
        };
        let score = entry.get("score").or_else(|| entry.get("confidence")).and_then(serde_json::Value::as_f64);
        out.push((text.to_owned(), score));
    }
    entries.len() <= max
}

/// Byte ranges of the elements of a JSON array, each a record; nothing is read inside them but brackets.
///
/// # Errors
/// When the text is not an array, or an element is not closed. Elements are validated later, one by one.
pub fn array_elements(text: &str) -> Result<Vec<std::ops::Range<u32>>, Cause> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, depth: 0 };
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

#[cfg(test)]
mod tests;

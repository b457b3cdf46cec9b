//! The fields of the records of one source.

use std::ops::Range;

use memchr::memchr;
use weir_memory::SpecialBytes;

use super::{FieldTree, Known, Rows, Templates, Tokens, scan, scan_and_learn};
use crate::record::{Cause, Field};

/// Special bytes that are looked at one by one for the end of a line; a line that has more of them is searched.
const SPECIALS_MAX: usize = 4;

/// Reads chosen fields out of records of one source, as its decoder does.
///
/// ```
/// use weir_engine::decode::json::FieldReader;
/// use weir_engine::record::Field;
///
/// let (names, kinds) = (["kind", "plate"].map(str::to_owned), ["vehicle".to_owned()]);
/// let mut reader = FieldReader::new(&names, Some((0, &kinds)));
/// let mut plates = Vec::new();
/// reader.read_lines("{\"kind\":\"vehicle\",\"plate\":\"x\"}\n[]\n", |_, fields| {
///     plates.push(fields.map(|fields| fields.field(1) == Field::Text("x")).map_err(|cause| cause.word()));
/// });
/// assert_eq!(plates, [Ok(true), Err("bad_json")]);
/// ```
pub struct FieldReader {
    tree: FieldTree,
    templates: Templates,
    tokens: Tokens,
    specials: SpecialBytes,
}

/// The chosen fields of one record.
pub struct Fields<'a> {
    tokens: &'a Tokens,
    text: &'a str,
}

impl<'a> Fields<'a> {
    /// A field by its position among the chosen ones.
    #[inline]
    pub fn field(&self, slot: usize) -> Field<'a> {
        self.tokens.field(slot, self.text)
    }
}

impl FieldReader {
    /// A reader of these fields; a dotted name leads into nested objects. `kind` is the field in which records say their
    /// kind, if they do, with the names of the kinds: records of one kind look alike.
    pub fn new(names: &[String], kind: Option<(usize, &[String])>) -> Self {
        Self::with_places(names, kind, |_| (0..names.len() as u16).collect())
    }

    /// The same, for rows in which each field has its place, which depends on the kind if records say it first.
    pub(crate) fn with_places(
        names: &[String],
        kind: Option<(usize, &[String])>,
        places: impl Fn(Option<usize>) -> Vec<u16>,
    ) -> Self {
        Self {
            tree: FieldTree::new(names),
            templates: Templates::new(kind, places),
            tokens: Tokens::new(names.len()),
            specials: SpecialBytes::default(),
        }
    }

    /// Another text comes. It holds whole records, each on a line of its own.
    pub(crate) fn look_through(&mut self, text: &[u8]) {
        self.specials.look_through(text);
    }

    /// The end of the line at a position of the text that was looked through last.
    #[inline]
    pub(crate) fn line_end(&self, text: &[u8], from: usize) -> usize {
        let mut at = from;
        for _ in 0..SPECIALS_MAX {
            at = self.specials.next(at);
            match text.get(at) {
                Some(b'\n') => return at,
                Some(_) => at += 1,
                None => return text.len(),
            }
        }
        line_at(text, at).end
    }

    /// Reads the record at a position of the text, if it looks like one before it. `ends` says where the record's line
    /// ends, if it ends behind this position; `bytes_max` is how long it may be.
    #[inline]
    pub(crate) fn usual(
        &mut self,
        text: &str,
        at: usize,
        bytes_max: usize,
        ends: impl FnOnce(usize) -> Option<usize>,
    ) -> Option<usize> {
        let end = self.templates.read(text, at, &self.specials, &mut self.tokens)?;
        ends(end).filter(|end| end - at <= bytes_max)
    }

    /// The same into rows of others.
    #[inline]
    pub(crate) fn usual_into(
        &mut self,
        rows: &mut impl Rows,
        text: &str,
        at: usize,
        bytes_max: usize,
        ends: impl FnOnce(usize) -> Option<usize>,
    ) -> Option<usize> {
        let end = self.templates.read(text, at, &self.specials, rows)?;
        ends(end).filter(|end| end - at <= bytes_max)
    }

    /// Reads the record that is a piece of the text that was looked through last.
    pub(crate) fn scan(&mut self, text: &str, piece: Range<usize>) -> Result<(), Cause> {
        let marks = Known(&self.specials);
        scan_and_learn(text, piece, marks, &self.tree, &mut self.tokens, &mut self.templates)
    }

    /// Reads a record that lies anywhere.
    pub(crate) fn scan_alone(&mut self, line: &str) -> Result<(), Cause> {
        scan(line, &self.tree, &mut self.tokens)
    }

    /// Where the fields of the record that was read last lie in the text it was read in.
    #[inline]
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The fields of the record that was read last, in the text it was read in.
    #[inline]
    pub(crate) fn fields<'a>(&'a self, text: &'a str) -> Fields<'a> {
        Fields { tokens: &self.tokens, text }
    }

    /// Reads every line of a text, the empty ones aside.
    pub fn read_lines(&mut self, text: &str, mut each: impl FnMut(&str, Result<Fields<'_>, Cause>)) {
        self.look_through(text.as_bytes());
        let mut at = 0;
        while at < text.len() {
            let usual = self.usual(text, at, usize::MAX, |end| line_end(text.as_bytes(), end));
            let line = usual.map_or_else(|| line_at(text.as_bytes(), at), |end| at..end);
            let record = &text[line.clone()];
            let record = record.strip_suffix('\r').unwrap_or(record);
            if usual.is_some() {
                each(record, Ok(self.fields(text)));
            } else if !record.bytes().all(|byte| byte.is_ascii_whitespace()) {
                let result = self.scan(text, line.start..line.start + record.len());
                each(record, result.map(|()| self.fields(text)));
            }
            at = line.end + 1;
        }
    }
}

/// The line that begins at a position, without its line feed.
pub(crate) fn line_at(bytes: &[u8], at: usize) -> Range<usize> {
    at..memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length)
}

/// The end of the line behind a record: its line feed, or the end of the text.
pub(crate) fn line_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(b' ' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    (at == bytes.len() || bytes[at] == b'\n').then_some(at)
}

//! A strict YAML tree in which every node knows its place.
//!
//! Packs and configurations are read in two steps: the text becomes a tree of [`Node`]s, and a
//! [`MapReader`] takes keys out of it and reports what is left over. A typed deserialiser would
//! stop at the first mistake; this one reports all of them. Anchors, aliases, tags, duplicate keys
//! and several documents in one file are errors, so that no text expands and none is read twice.
//! Size and depth are bounded before the tree is built ([`TEXT_BYTES_MAX`], [`DEPTH_MAX`]).

mod reader;

use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as ParserSpan};

use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes};

pub use reader::MapReader;

/// Longest YAML text that is read.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of maps and lists.
pub const DEPTH_MAX: usize = 32;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Byte range in the file.
    pub span: Range<usize>,
    /// What stands there.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, and whether it stood in quotes (a quoted scalar is always text).
    Scalar {
        /// The text with escapes resolved.
        text: String,
        /// Whether it was quoted or a block.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order written.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What kind of thing this is, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, quoted: false } if is_null(text) => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, quoted } if *quoted || !is_null(text) => Some(text),
            _ => None,
        }
    }

    /// Where the content of a scalar begins: behind the opening quote, if there is one.
    ///
    /// Offsets into the text can be added to this only while the scalar stands on one line
    /// without escapes; [`Node::locate`] checks that.
    fn content_start(&self, file: &SourceFile) -> usize {
        let first = file.text[self.span.clone()].chars().next();
        self.span.start + usize::from(matches!(first, Some('"' | '\'')))
    }

    /// The place in the file of a byte range of this scalar's text, or the whole scalar where the
    /// text in the file is not the text of the scalar (escapes, folded lines).
    pub fn locate(&self, file: &SourceFile, range: Range<usize>) -> Range<usize> {
        let Some(text) = self.text() else {
            return self.span.clone();
        };
        let start = self.content_start(file);
        let as_written = file.text.get(start..start + text.len());
        if as_written == Some(text) && range.end <= text.len() {
            return start + range.start..start + range.end.max(range.start);
        }
        // A literal block keeps its lines; find the one that holds the range.
        let written = &file.text[self.span.clone()];
        let wanted = text.get(range.clone()).unwrap_or_default();
        match written.match_indices(wanted).next() {
            Some((at, _)) if !wanted.is_empty() => self.span.start + at..self.span.start + at + wanted.len(),
            _ => self.span.clone(),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}

/// Parses one document. Problems go to `diagnostics`; `None` when there is no usable tree.
pub fn parse(file: &Arc<SourceFile>, diagnostics: &mut Diagnostics) -> Option<Node> {
    if file.text.len() > TEXT_BYTES_MAX {
        diagnostics.push(
            Diagnostic::new(
                &codes::YAML_TOO_LARGE,
                file,
                0..0,
                format!("the file has {} bytes; at most {TEXT_BYTES_MAX} are read", file.text.len()),
            )
            .help("split it into several files"),
        );
        return None;
    }
    TreeBuilder::new(file, diagnostics).build()
}

struct Frame {
    start: usize,
    is_map: bool,
    items: Vec<Node>,
}

struct TreeBuilder<'a> {
    file: &'a Arc<SourceFile>,
    diagnostics: &'a mut Diagnostics,
    byte_of_char: Vec<usize>,
    frames: Vec<Frame>,
    root: Option<Node>,
}

impl<'a> TreeBuilder<'a> {
    fn new(file: &'a Arc<SourceFile>, diagnostics: &'a mut Diagnostics) -> Self {
        let mut byte_of_char: Vec<usize> = file.text.char_indices().map(|(byte, _)| byte).collect();
        byte_of_char.push(file.text.len());
        Self { file, diagnostics, byte_of_char, frames: Vec::new(), root: None }
    }

    fn byte(&self, char_index: usize) -> usize {
        let last = self.byte_of_char.len() - 1;
        self.byte_of_char[char_index.min(last)]
    }

    fn range(&self, span: &ParserSpan) -> Range<usize> {
        let start = self.byte(span.start.index());
        let end = self.byte(span.end.index()).max(start);
        let trimmed = self.file.text[start..end].trim_end().len();
        start..start + trimmed
    }

    fn error(&mut self, code: &'static crate::diagnostic::Code, span: Range<usize>, message: &str, help: &str) {
        self.diagnostics.push(Diagnostic::new(code, self.file, span, message).help(help));
    }

    fn build(mut self) -> Option<Node> {
        let file = Arc::clone(self.file);
        let mut documents = 0;
        for event in Parser::new_from_str(&file.text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = self.byte(error.marker().index());
                    let message = format!("this is not valid YAML: {}", error.info());
                    let help = "check indentation, colons and quotes on this line and the one above";
                    self.error(&codes::YAML_SYNTAX, at..at, &message, help);
                    return None;
                }
            };
            let range = self.range(&span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        self.error(
                            &codes::YAML_SEVERAL_DOCUMENTS,
                            range,
                            "a second document starts here",
                            "one file holds one document",
                        );
                        return None;
                    }
                }
                Event::Alias(_) => {
                    self.refuse_feature(range, "aliases (`*name`) are not allowed");
                    return None;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_decoration(&range, anchor, tag.is_some());
                    let quoted = style != ScalarStyle::Plain;
                    self.add(Node { span: range, value: Value::Scalar { text: text.into_owned(), quoted } });
                }
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                    if self.frames.len() >= DEPTH_MAX =>
                {
                    self.refuse_decoration(&range, anchor, tag.is_some());
                    let message = format!("nested more than {DEPTH_MAX} deep");
                    self.error(&codes::YAML_TOO_DEEP, range, &message, "flatten this part");
                    return None;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_decoration(&range, anchor, tag.is_some());
                    self.frames.push(Frame { start: range.start, is_map: false, items: Vec::new() });
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_decoration(&range, anchor, tag.is_some());
                    self.frames.push(Frame { start: range.start, is_map: true, items: Vec::new() });
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        self.root
    }

    fn refuse_decoration(&mut self, range: &Range<usize>, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse_feature(range.clone(), "anchors (`&name`) are not allowed");
        }
        if tagged {
            self.refuse_feature(range.clone(), "tags (`!name`) are not allowed");
        }
    }

    fn refuse_feature(&mut self, range: Range<usize>, message: &str) {
        self.error(&codes::YAML_FEATURE, range, message, "write the value out where it is used");
    }

    fn close(&mut self, end: usize) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let end = frame.items.last().map_or(end, |last| last.span.end.max(frame.start)).max(frame.start);
        let value = if frame.is_map {
            let mut entries: Vec<(Node, Node)> = Vec::with_capacity(frame.items.len() / 2);
            let mut items = frame.items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                self.refuse_duplicate(&entries, &key);
                entries.push((key, value));
            }
            Value::Map(entries)
        } else {
            Value::List(frame.items)
        };
        self.add(Node { span: frame.start..end, value });
    }

    fn refuse_duplicate(&mut self, entries: &[(Node, Node)], key: &Node) {
        let Some(name) = key.text() else { return };
        if let Some((first, _)) = entries.iter().find(|(first, _)| first.text() == Some(name)) {
            self.diagnostics.push(
                Diagnostic::new(&codes::DUPLICATE_KEY, self.file, key.span.clone(), format!("`{name}` is given twice"))
                    .label("second time")
                    .also(first.span.clone(), "first time")
                    .help("keep one of the two"),
            );
        }
    }

    fn add(&mut self, node: Node) {
        match self.frames.last_mut() {
            Some(frame) => frame.items.push(node),
            None => self.root = Some(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> (Option<Node>, Vec<&'static str>) {
        let mut diagnostics = Diagnostics::new();
        let node = parse(&SourceFile::new("t.yaml", text), &mut diagnostics);
        (node, diagnostics.iter().map(|found| found.code.id).collect())
    }

    #[test]
    fn places_count_bytes_behind_wide_characters() {
        let text = "a: \"陕A·12345\"\nb: wert\n";
        let file = SourceFile::new("t.yaml", text);
        let node = parse(&file, &mut Diagnostics::new()).unwrap();
        let Value::Map(entries) = &node.value else { panic!() };
        assert_eq!(&text[entries[1].1.span.clone()], "wert");
        let plate = &entries[0].1;
        assert_eq!(&text[plate.locate(&file, 3..4)], "A");
    }

    #[test]
    fn strictness() {
        assert_eq!(tree("a: &x 1\nb: 2").1, ["WR0004"]);
        assert_eq!(tree("a: !!str 1").1, ["WR0004"]);
        assert_eq!(tree("a: 1\na: 2").1, ["WR0006"]);
        assert_eq!(tree("a: 1\n---\nb: 2").1, ["WR0003"]);
        assert_eq!(tree("a: [1, 2").1, ["WR0001"]);
        assert_eq!(tree(&format!("{}{}", "[".repeat(40), "]".repeat(40))).1, ["WR0005"]);
        assert_eq!(tree(&"a".repeat(TEXT_BYTES_MAX + 1)).1, ["WR0002"]);
    }

    #[test]
    fn leftover_keys_are_reported_with_a_suggestion() {
        let file = SourceFile::new("t.yaml", "purpos: x\n");
        let mut diagnostics = Diagnostics::new();
        let node = parse(&file, &mut diagnostics).unwrap();
        let mut map = MapReader::open(&file, &node, "the pack", &mut diagnostics).unwrap();
        assert!(map.take("purpose").is_none());
        map.finish(&mut diagnostics);
        let found = diagnostics.iter().next().unwrap();
        assert_eq!(found.help.as_deref(), Some("did you mean `purpose`?"));
        assert_eq!(found.span, 0..6);
    }
}

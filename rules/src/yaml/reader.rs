//! Reading a map key by key.

use std::ops::Range;
use std::sync::Arc;

use super::{Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, nearest};
use crate::units;

/// Takes the keys out of a map, typed, and reports those nobody asked for.
///
/// Every `take_*` method reports a wrong type itself and returns `None` then, so that callers only
/// decide what a missing value means.
pub struct MapReader<'a> {
    file: Arc<SourceFile>,
    /// Place of the whole map.
    pub span: Range<usize>,
    entries: Vec<(&'a Node, &'a Node, bool)>,
    asked: Vec<&'static str>,
    what: String,
}

impl<'a> MapReader<'a> {
    /// Opens `node`, which messages call `what`. Reports and returns `None` if it is no map.
    pub fn open(
        file: &Arc<SourceFile>,
        node: &'a Node,
        what: impl Into<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let what = what.into();
        match &node.value {
            Value::Map(entries) => Some(Self {
                file: Arc::clone(file),
                span: node.span.clone(),
                entries: entries.iter().map(|(key, value)| (key, value, false)).collect(),
                asked: Vec::new(),
                what,
            }),
            _ => {
                diagnostics.push(Diagnostic::new(
                    &codes::WRONG_TYPE,
                    file,
                    node.span.clone(),
                    format!("{what} must be a map of keys and values, not {}", node.describe()),
                ));
                None
            }
        }
    }

    /// The node under a key, marked as read.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|(name, ..)| name.text() == Some(key))?;
        entry.2 = true;
        Some(entry.1)
    }

    /// The node under a key that is not one of the language's own words, marked as read.
    pub fn take_named(&mut self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter_mut().find(|(name, ..)| name.text() == Some(key))?;
        entry.2 = true;
        Some(entry.1)
    }

    /// The key of the first value that is a map and that nobody has asked for, marked as read: what was meant
    /// under another name.
    pub fn take_only_map(&mut self) -> Option<&'a Node> {
        let entry = self.entries.iter_mut().find(|(_, value, read)| !*read && matches!(value.value, Value::Map(_)))?;
        entry.2 = true;
        Some(entry.0)
    }

    /// The node under a key, left as it is.
    pub fn peek(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, ..)| name.text() == Some(key)).map(|(_, value, _)| *value)
    }

    /// The place of a key, for messages about it; the whole map if it is absent.
    pub fn place_of(&self, key: &str) -> Range<usize> {
        self.entries
            .iter()
            .find(|(name, ..)| name.text() == Some(key))
            .map_or_else(|| self.head(), |(name, value, _)| name.span.start..value.span.end.max(name.span.end))
    }

    /// The first line of the map: a place to complain about what is missing.
    pub fn head(&self) -> Range<usize> {
        let text = &self.file.text[self.span.clone()];
        let line = text.find('\n').unwrap_or(text.len());
        self.span.start..self.span.start + text[..line].trim_end().len()
    }

    fn wrong(&self, node: &Node, key: &str, wanted: &str) -> Diagnostic {
        Diagnostic::new(
            &codes::WRONG_TYPE,
            &self.file,
            node.span.clone(),
            format!("`{key}` must be {wanted}, not {}", node.describe()),
        )
    }

    /// A text.
    pub fn take_text(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<(&'a str, &'a Node)> {
        let node = self.take(key)?;
        let text = node.text();
        if text.is_none() {
            diagnostics.push(self.wrong(node, key, "a text"));
        }
        text.map(|text| (text, node))
    }

    /// A text that must be there.
    pub fn require_text(
        &mut self,
        key: &'static str,
        help: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<(&'a str, &'a Node)> {
        if !self.has(key) {
            self.missing(key, help, diagnostics);
            self.asked.push(key);
            return None;
        }
        self.take_text(key, diagnostics)
    }

    /// Reports a key that must be there and is not.
    pub fn missing(&self, key: &str, help: &str, diagnostics: &mut Diagnostics) {
        diagnostics.push(
            Diagnostic::new(&codes::MISSING_KEY, &self.file, self.head(), format!("{} has no `{key}`", self.what))
                .help(help),
        );
    }

    /// The file the map stands in.
    pub fn file(&self) -> Arc<SourceFile> {
        Arc::clone(&self.file)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| name.text() == Some(key))
    }

    /// A duration in milliseconds.
    pub fn take_duration_ms(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<i64> {
        self.take_parsed(key, diagnostics, units::parse_duration_ms)
    }

    /// A size in bytes.
    pub fn take_bytes(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<usize> {
        self.take_parsed(key, diagnostics, units::parse_bytes)
    }

    /// A number.
    pub fn take_number(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<f64> {
        self.take_parsed(key, diagnostics, |text| {
            text.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .ok_or_else(|| format!("`{text}` is not a number"))
        })
    }

    /// A whole number of 0 or more.
    pub fn take_integer(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<u64> {
        self.take_parsed(key, diagnostics, |text| {
            text.replace('_', "").parse::<u64>().map_err(|_| format!("`{text}` is not a whole number of 0 or more"))
        })
    }

    /// `true` or `false`.
    pub fn take_bool(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<bool> {
        self.take_parsed(key, diagnostics, |text| {
            text.parse::<bool>().map_err(|_| format!("`{text}` is neither true nor false"))
        })
    }

    /// One word out of a closed set.
    pub fn take_choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let (text, node) = self.take_text(key, diagnostics)?;
        let choice = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if choice.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let mut diagnostic = Diagnostic::new(
                &codes::UNKNOWN_CHOICE,
                &self.file,
                node.span.clone(),
                format!("`{text}` is not a value of `{key}`"),
            )
            .help(format!("one of: {}", names.join(", ")));
            if let Some(meant) = nearest(text, names.iter().copied()) {
                diagnostic = diagnostic
                    .help(format!("did you mean `{meant}`? One of: {}", names.join(", ")))
                    .fix(node.span.clone(), meant);
            }
            diagnostics.push(diagnostic);
        }
        choice
    }

    /// A value with its own grammar; the message of the parser is reported at the value.
    pub fn take_parsed<T>(
        &mut self,
        key: &'static str,
        diagnostics: &mut Diagnostics,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, node) = self.take_text(key, diagnostics)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                diagnostics.push(Diagnostic::new(
                    &codes::BAD_VALUE,
                    &self.file,
                    node.span.clone(),
                    format!("`{key}`: {message}"),
                ));
                None
            }
        }
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn take_texts(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<Vec<(&'a str, &'a Node)>> {
        let node = self.take(key)?;
        let nodes: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            Value::Scalar { .. } => vec![node],
            Value::Map(_) => {
                diagnostics.push(self.wrong(node, key, "a text or a list of texts"));
                return None;
            }
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for item in nodes {
            match item.text() {
                Some(text) => texts.push((text, item)),
                None => diagnostics.push(self.wrong(item, key, "a text or a list of texts")),
            }
        }
        Some(texts)
    }

    /// A map under a key.
    pub fn take_map(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<MapReader<'a>> {
        let file = Arc::clone(&self.file);
        let node = self.take(key)?;
        MapReader::open(&file, node, format!("`{key}`"), diagnostics)
    }

    /// A list under a key.
    pub fn take_list(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<&'a [Node]> {
        let node = self.take(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                diagnostics.push(self.wrong(node, key, "a list"));
                None
            }
        }
    }

    /// Every entry with its name, for maps whose keys are the author's own.
    pub fn entries(&mut self) -> Vec<(&'a str, &'a Node, &'a Node)> {
        self.entries
            .iter_mut()
            .filter_map(|(key, value, read)| {
                *read = true;
                key.text().map(|name| (name, *key, *value))
            })
            .collect()
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, diagnostics: &mut Diagnostics) {
        for (key, _, read) in &self.entries {
            let name = key.text().unwrap_or_default();
            // A key given twice has been reported; its second value is nobody's.
            if *read || self.asked.contains(&name) {
                continue;
            }
            let mut diagnostic = Diagnostic::new(
                &codes::UNKNOWN_KEY,
                &self.file,
                key.span.clone(),
                format!("{} has no key `{name}`", self.what),
            )
            .help(format!("known keys: {}", self.asked.join(", ")));
            if let Some(meant) = nearest(name, self.asked.iter().copied().filter(|asked| !self.has(asked))) {
                diagnostic = diagnostic.help(format!("did you mean `{meant}`?")).fix(key.span.clone(), meant);
            }
            diagnostics.push(diagnostic);
        }
    }
}

//! What weir says about a place in a file an analyst or operator wrote.
//!
//! A diagnostic has a stable [`Code`], points at a byte range of a [`SourceFile`], says what is
//! wrong there and how to mend it. [`Diagnostics`] collects them, because a checker that stops at
//! the first mistake makes its reader run it once per mistake.

mod code;
mod render;

use std::ops::Range;
use std::sync::Arc;

pub use code::{Code, by_id};
pub use render::{Style, render};

/// All codes, by name. See [`Code`].
pub mod codes {
    pub use super::code::all::*;
}

/// A text that was read, under the name by which its author knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as given by the user, or a name in angle brackets for built-in text.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// Wraps a text for shared use by many diagnostics.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column of a byte offset, both counted from 1; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// How bad it is. Errors keep a pack from loading; warnings do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the pack loads.
    Warning,
    /// The pack does not load.
    Error,
}

/// A second place that explains the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Byte range in the same file.
    pub span: Range<usize>,
    /// What is to be seen there.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code.
    pub code: &'static Code,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub message: String,
    /// Where it is wrong.
    pub file: Arc<SourceFile>,
    /// Byte range in `file`.
    pub span: Range<usize>,
    /// A few words at the caret.
    pub label: String,
    /// Further places in the same file.
    pub labels: Vec<Label>,
    /// How to mend it.
    pub help: Option<String>,
    /// The change that mends it, where one is safe: it makes a rule say what it plainly means, or stricter.
    pub fix: Option<Fix>,
}

/// A change of the file a diagnostic is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// Byte range that is replaced.
    pub span: Range<usize>,
    /// What stands there afterwards.
    pub replacement: String,
}

impl Diagnostic {
    /// A finding at a place; severity comes from the code.
    pub fn new(code: &'static Code, file: &Arc<SourceFile>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity,
            message: message.into(),
            file: Arc::clone(file),
            span,
            label: String::new(),
            labels: Vec::new(),
            help: None,
            fix: None,
        }
    }

    /// Adds a few words at the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a second place, if it is in the same file; a place elsewhere cannot be shown beside the first.
    #[must_use]
    pub fn also_in(self, file: &Arc<SourceFile>, span: Range<usize>, text: impl Into<String>) -> Self {
        if Arc::ptr_eq(file, &self.file) { self.also(span, text) } else { self }
    }

    /// Adds the cure as a change of the text that is safe to apply unseen (`weir check --fix`).
    #[must_use]
    pub fn fix(mut self, span: Range<usize>, replacement: impl Into<String>) -> Self {
        self.fix = Some(Fix { span, replacement: replacement.into() });
        self
    }

    /// Adds the cure.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds the cure, if there is one.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }
}

/// Every finding of one run.
#[derive(Debug, Default, Clone)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Takes over all findings of another run.
    pub fn append(&mut self, mut other: Self) {
        self.found.append(&mut other.found);
    }

    /// Whether anything found keeps the input from loading.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|found| found.severity == severity).count()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The findings in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// The texts of all files with a fix, every fix applied; of two that overlap, the first.
    pub fn fixed(&self) -> Vec<(Arc<SourceFile>, String, usize)> {
        let mut files: Vec<(Arc<SourceFile>, Vec<&Fix>)> = Vec::new();
        for found in self.iter() {
            let Some(fix) = &found.fix else { continue };
            match files.iter_mut().find(|(file, _)| Arc::ptr_eq(file, &found.file)) {
                Some((_, fixes)) => fixes.push(fix),
                None => files.push((Arc::clone(&found.file), vec![fix])),
            }
        }
        files
            .into_iter()
            .map(|(file, mut fixes)| {
                fixes.sort_by_key(|fix| (fix.span.start, fix.span.end));
                let (mut text, mut at, mut applied) = (String::new(), 0, 0);
                for fix in fixes {
                    if fix.span.start >= at {
                        text.push_str(&file.text[at..fix.span.start]);
                        text.push_str(&fix.replacement);
                        at = fix.span.end;
                        applied += 1;
                    }
                }
                text.push_str(&file.text[at..]);
                (file, text, applied)
            })
            .collect()
    }

    /// Orders findings by file and place, as a reader goes through them.
    pub fn sort(&mut self) {
        self.found
            .sort_by(|a, b| (&a.file.name, a.span.start, a.code.id).cmp(&(&b.file.name, b.span.start, b.code.id)));
    }
}

/// The known name nearest to a mistyped one.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min()
        .map(|(_, name)| name)
}

/// The known name nearest to a mistyped one, ready to be put into a help line.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(given, known).map(|name| format!("did you mean `{name}`?"))
}

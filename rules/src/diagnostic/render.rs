//! Diagnostics as text for a person: source line, caret, help.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};

/// Whether the text goes to a terminal that shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// ANSI colours.
    Coloured,
    /// Bare text.
    Plain,
}

/// One diagnostic as a block of lines without a final newline.
pub fn render(diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let file = &diagnostic.file;
    let mut snippet = Snippet::source(file.text.as_str())
        .path(file.name.as_str())
        .annotation(AnnotationKind::Primary.span(diagnostic.span.clone()).label(diagnostic.label.as_str()));
    for label in &diagnostic.labels {
        snippet = snippet.annotation(AnnotationKind::Context.span(label.span.clone()).label(label.text.as_str()));
    }
    let mut group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.id).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match style {
        Style::Coloured => Renderer::styled(),
        Style::Plain => Renderer::plain(),
    };
    renderer.render(&[group])
}

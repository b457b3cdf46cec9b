//! Sinks that need no login: this machine's outputs and files, a socket, a webhook.

use weir_connectors::sink::Template;
use weir_rules::diagnostic::codes;
use weir_rules::{Diagnostic, Diagnostics};

use super::{Draft, SinkKind};
use crate::config::beside;

#[expect(clippy::unnecessary_wraps, reason = "as all types are read")]
pub(super) fn stdout(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let formats = [("text", false), ("ndjson", true)];
    let ndjson = draft.map.take_choice("format", &formats, diagnostics).unwrap_or(false);
    Some(SinkKind::Stdout { ndjson })
}

pub(super) fn file(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    draft.map.take_choice("format", &[("ndjson", ())], diagnostics);
    let (text, _) = draft.map.require_text("path", "where to append", diagnostics)?;
    Some(SinkKind::File { path: beside(draft.path, text) })
}

pub(super) fn http(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let url = draft.map.require_text("url", "such as http://127.0.0.1:9000/alerts", diagnostics);
    let token_file = draft.map.take_text("token_file", diagnostics).map(|(text, _)| beside(draft.path, text));
    let templates = [
        ("generic", Template::Generic),
        ("cloudevents", Template::CloudEvents),
        ("alertmanager", Template::Alertmanager),
    ];
    let template = draft.map.take_choice("template", &templates, diagnostics).unwrap_or_default();
    let help = "it takes alerts only; give other outputs a sink of their own";
    draft.only(|stream| template.takes(stream), "told to Alertmanager", help, diagnostics);
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    let (url, node) = url?;
    let is_local =
        |url: &str| ["http://127.0.0.1", "http://[::1]", "http://localhost"].iter().any(|local| url.starts_with(local));
    if is_local(url) || url.starts_with("https://") {
        return Some(SinkKind::Http { url: url.to_owned(), token_file, template, retry_for_ms });
    }
    let message = "alerts leave the machine over https only".to_owned();
    draft.complain(node.span.clone(), message, "write https://..., or http:// to loopback", diagnostics);
    None
}

pub(super) fn tcp(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    let (text, node) = draft.map.require_text("address", "where to connect, such as 127.0.0.1:9001", diagnostics)?;
    match weir_connectors::loopback_address(text) {
        Ok(address) => Some(SinkKind::Tcp { address, retry_for_ms }),
        Err(message) => {
            diagnostics.push(Diagnostic::new(&codes::NOT_LOOPBACK, draft.file, node.span.clone(), message));
            None
        }
    }
}

//! Sinks as declared: where outputs go, and for which purposes.

use std::path::Path;
use std::sync::Arc;

use weir_engine::Stream;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::{SinkDecl, SinkKind, beside};

#[derive(Clone, Copy)]
enum Type {
    Stdout,
    File,
    Http,
    Tcp,
}

/// How long a sink tries before it has failed, where nothing is said.
const RETRY_FOR_DEFAULT_MS: i64 = 600_000;

pub(super) fn parse_sink(
    file: &Arc<SourceFile>,
    path: &Path,
    name: (&str, &Node),
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<SinkDecl> {
    let mut map = MapReader::open(file, node, format!("sink `{}`", name.0), diagnostics)?;
    if !map.has("type") {
        map.missing("type", "stdout, file, http or tcp", diagnostics);
    }
    let types = [("stdout", Type::Stdout), ("file", Type::File), ("http", Type::Http), ("tcp", Type::Tcp)];
    let ty = map.take_choice("type", &types, diagnostics);
    let streams = parse_streams(file, &mut map, diagnostics);
    let purposes: Vec<_> = map
        .take_texts("purposes", diagnostics)
        .unwrap_or_default()
        .into_iter()
        .map(|(text, node)| (text.to_owned(), node.span.clone()))
        .collect();
    if purposes.is_empty()
        && streams.iter().any(|stream| !matches!(stream, Stream::DeadLetters | Stream::Notices | Stream::Shed))
    {
        map.missing("purposes", "the purposes whose alerts it takes, such as `purposes: [crowd_safety]`", diagnostics);
    }
    let actuator = map.take_bool("actuator", diagnostics).unwrap_or(false);
    let reviewers = map.take_choice("audience", &[("posts", false), ("reviewers", true)], diagnostics).unwrap_or(false);
    let kind = match ty? {
        Type::Stdout => {
            let ndjson = map.take_choice("format", &[("text", false), ("ndjson", true)], diagnostics).unwrap_or(false);
            Some(SinkKind::Stdout { ndjson })
        }
        Type::File => {
            map.take_choice("format", &[("ndjson", ())], diagnostics);
            map.require_text("path", "where to append", diagnostics)
                .map(|(text, _)| SinkKind::File { path: beside(path, text) })
        }
        Type::Http => {
            let url = map.require_text("url", "such as http://127.0.0.1:9000/alerts", diagnostics);
            let token_file = map.take_text("token_file", diagnostics).map(|(text, _)| beside(path, text));
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            url.and_then(|(url, node)| {
                let plain_local =
                    ["http://127.0.0.1", "http://[::1]", "http://localhost"].iter().any(|local| url.starts_with(local));
                if plain_local || url.starts_with("https://") {
                    return Some(SinkKind::Http { url: url.to_owned(), token_file, retry_for_ms });
                }
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        file,
                        node.span.clone(),
                        "alerts leave the machine over https only",
                    )
                    .help("write https://..., or http:// to loopback"),
                );
                None
            })
        }
        Type::Tcp => {
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            map.require_text("address", "where to connect, such as 127.0.0.1:9001", diagnostics).and_then(
                |(text, node)| match weir_connectors::loopback_address(text) {
                    Ok(address) => Some(SinkKind::Tcp { address, retry_for_ms }),
                    Err(message) => {
                        diagnostics.push(Diagnostic::new(&codes::NOT_LOOPBACK, file, node.span.clone(), message));
                        None
                    }
                },
            )
        }
    };
    map.finish(diagnostics);
    let (name, span) = (name.0.to_owned(), name.1.span.clone());
    Some(SinkDecl { name, span, purposes, streams, actuator, reviewers, kind: kind? })
}

fn parse_streams(file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Vec<Stream> {
    let Some(texts) = map.take_texts("emit", diagnostics) else {
        return vec![Stream::Alerts];
    };
    let mut streams = Vec::new();
    for (text, node) in texts {
        match Stream::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, stream)) => streams.push(*stream),
            None => diagnostics.push(
                Diagnostic::new(&codes::UNKNOWN_CHOICE, file, node.span.clone(), format!("`{text}` is not an output"))
                    .help("one or more of: alerts, windows, late, dead_letters"),
            ),
        }
    }
    streams
}

//! The sink `archive`: files by day, in a folder or in a bucket.

use std::path::PathBuf;

use weir_connectors::sink::{ArchiveFormat, ArchiveSink};
use weir_rules::Diagnostics;
use weir_rules::units::format_duration_ms;

use super::{Draft, SinkKind};
use crate::config::beside;
use crate::config::server::{self, ServerDecl, parse_server};

const DAY_MS: i64 = 86_400_000;
/// A file is written so often, where nothing is said.
const EVERY_DEFAULT_MS: i64 = 300_000;

/// An archive as declared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArchiveDecl {
    pub(crate) path: PathBuf,
    pub(crate) format: ArchiveFormat,
    pub(crate) every_ms: i64,
    pub(crate) keep_for_ms: i64,
    pub(crate) store: Option<StoreDecl>,
}

/// Where its files are carried to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreDecl {
    pub(crate) server: Box<ServerDecl>,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) region: String,
}

pub(super) fn archive(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let folder = draft.map.require_text("path", "the folder of its files", diagnostics);
    let formats = [ArchiveFormat::Parquet, ArchiveFormat::Arrow].map(|format| (format.word(), format));
    let format = draft.map.take_choice("format", &formats, diagnostics).unwrap_or_default();
    let help = "a file is written so often";
    let every_ms = within(draft, "every", (EVERY_DEFAULT_MS, 10_000, DAY_MS), help, diagnostics);
    let help = "alerts speak of people: what is kept is kept for a reason, and for as long as it holds";
    let keep_for_ms = within(draft, "keep_for", (30 * DAY_MS, DAY_MS, 366 * DAY_MS), help, diagnostics);
    let help = "an archive keeps alerts and windows; a sink of type `file` takes the rest";
    draft.only(|stream| ArchiveSink::STREAMS.contains(&stream), "archived", help, diagnostics);
    let store = if draft.map.has("store") { Some(store(draft, diagnostics)?) } else { None };
    let path = beside(draft.path, folder?.0);
    Some(SinkKind::Archive(ArchiveDecl { path, format, every_ms, keep_for_ms, store }))
}

/// A duration from the least to the most.
fn within(
    draft: &mut Draft<'_, '_>,
    key: &'static str,
    (default, least, most): (i64, i64, i64),
    help: &str,
    diagnostics: &mut Diagnostics,
) -> i64 {
    let ms = draft.map.take_duration_ms(key, diagnostics).unwrap_or(default);
    if !(least..=most).contains(&ms) {
        let message = format!("`{key}` is from {} to {}", format_duration_ms(least), format_duration_ms(most));
        draft.complain(draft.map.place_of(key), message, help, diagnostics);
    }
    ms
}

fn store(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<StoreDecl> {
    let mut map = draft.map.take_map("store", diagnostics)?;
    let server = parse_server(draft.file, draft.path, &mut map, server::S3, diagnostics);
    let bucket = map.require_text("bucket", "its name, such as weir-archive", diagnostics);
    let prefix = map.take_text("prefix", diagnostics);
    let region = map.take_text("region", diagnostics).map_or("us-east-1", |(text, _)| text).to_owned();
    let is_label = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'.');
    if let Some((text, node)) = bucket
        && !((3..=63).contains(&text.len()) && text.bytes().all(is_label))
    {
        let help = "small letters, digits, `-` and `.`, 3 to 63 of them";
        draft.complain(node.span.clone(), format!("`{text}` is no name of a bucket"), help, diagnostics);
    }
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'/');
    if let Some((text, node)) = prefix
        && (!text.bytes().all(is_plain) || text.split('/').any(|part| part == "." || part == ".."))
    {
        let help = "letters, digits, `-`, `_`, `.`, and `/` between parts, such as border/north";
        draft.complain(node.span.clone(), format!("`{text}` is no prefix"), help, diagnostics);
    }
    map.finish(diagnostics);
    let prefix = prefix.map(|(text, _)| text.to_owned()).unwrap_or_default();
    Some(StoreDecl { server: Box::new(server?), bucket: bucket?.0.to_owned(), prefix, region })
}

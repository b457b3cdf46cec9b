//! `type: gtfs_realtime`: feeds of public transport that are asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use weir_connectors::source::{GtfsSource, PushPlace};
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::MapReader;
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::SourceKind;
use crate::config::assemble::read_token;
use crate::config::keys;

/// How often a feed is asked for, where nothing is said.
const EVERY_MS: i64 = 30_000;
/// It is asked for once in so long at most.
const EVERY_MS_MIN: i64 = 1_000;

/// A feed as declared.
#[derive(Debug, Clone)]
pub(crate) struct GtfsDecl {
    url: String,
    token_file: Option<PathBuf>,
    every_ms: i64,
    place: PushPlace,
}

impl GtfsDecl {
    pub(crate) fn build(&self, vfs: &dyn Vfs, runtime: &Handle) -> Result<GtfsSource, String> {
        Ok(GtfsSource {
            url: self.url.clone(),
            token: read_token(self.token_file.as_deref(), vfs)?.map(|token| token.trim().to_owned()),
            every: Duration::from_millis(self.every_ms as u64),
            place: self.place.clone(),
            runtime: runtime.clone(),
        })
    }
}

pub(super) fn parse(
    file: &Arc<SourceFile>,
    path: &Path,
    map: &mut MapReader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let url = map.require_text("url", "where the feed of vehicle positions is", diagnostics);
    let token_file = map.take_text("token_file", diagnostics).map(|(text, _)| keys::path_of(path, text));
    let every_ms = map.take_duration_ms("every", diagnostics).unwrap_or(EVERY_MS);
    let mut text = |key| map.take_text(key, diagnostics).map(|(text, _)| text.to_owned());
    let place = PushPlace { site: text("site"), zone: text("zone") };
    let mut complain = |span, message: &str, help: &str| {
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, file, span, message).help(help));
    };
    if every_ms < EVERY_MS_MIN {
        complain(map.place_of("every"), "a feed is asked for once a second at most", "such as 30s");
    }
    if let Some((text, node)) = url {
        let is_local = ["http://127.0.0.1", "http://[::1]", "http://localhost"].iter().any(|it| text.starts_with(it));
        if !text.starts_with("http://") && !text.starts_with("https://") {
            complain(node.span.clone(), "this is no address of a feed", "it begins with http:// or https://");
        } else if token_file.is_some() && !text.starts_with("https://") && !is_local {
            complain(node.span.clone(), "a token leaves the machine over https only", "write https://...");
        }
    }
    let (url, every_ms) = (url?.0.to_owned(), every_ms.max(EVERY_MS_MIN));
    Some(SourceKind::Gtfs(Box::new(GtfsDecl { url, token_file, every_ms, place })))
}

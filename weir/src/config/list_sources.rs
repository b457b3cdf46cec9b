//! `list_sources`: lists that are fetched from a database.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_connectors::list::PostgresList;
use weir_engine::vfs::Vfs;
use weir_engine::watchlist::ListSource;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::ServerDecl;
use super::server::{POSTGRES, parse_server};

/// How often a list is fetched, where nothing is said.
const EVERY_MS: i64 = 15 * 60_000;
/// It is fetched once in so long at most.
const EVERY_MS_MIN: i64 = 1_000;
/// Longest name of PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

/// Where a list comes from.
#[derive(Debug, Clone)]
pub(crate) struct ListSourceDecl {
    /// As a pack declares it.
    pub(crate) list: String,
    pub(crate) span: Range<usize>,
    pub(crate) server: ServerDecl,
    query: String,
    notify: Option<String>,
    pub(crate) every: Duration,
    pub(crate) source: ListSource,
}

impl ListSourceDecl {
    /// The database, not yet connected to.
    pub(crate) fn database(&self, vfs: &dyn Vfs) -> Result<PostgresList, String> {
        let server = self.server.postgres(vfs)?;
        PostgresList::new(server, self.query.clone(), self.notify.clone())
            .map_err(|error| format!("the I/O runtime cannot be started: {error}"))
    }
}

pub(super) fn parse_list_source(
    file: &Arc<SourceFile>,
    path: &Path,
    (list, key): (&str, &Node),
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<ListSourceDecl> {
    let mut map = MapReader::open(file, node, format!("the source of list `{list}`"), diagnostics)?;
    if !map.has("type") {
        map.missing("type", "postgres", diagnostics);
    }
    map.take_choice("type", &[("postgres", ())], diagnostics);
    let server = parse_server(file, path, &mut map, POSTGRES, diagnostics);
    let query = map.require_text("query", "such as SELECT plate, entry_id, expires FROM stolen", diagnostics);
    let notify = map.take_text("notify", diagnostics);
    let every_ms = map.take_duration_ms("every", diagnostics).unwrap_or(EVERY_MS);
    let mut pairs = |key, diagnostics: &mut Diagnostics| {
        let mut found = std::collections::BTreeMap::new();
        for (ours, _, value) in map.take_map(key, diagnostics).map(|mut map| map.entries()).unwrap_or_default() {
            match value.text() {
                Some(text) => drop(found.insert(ours.to_owned(), text.to_owned())),
                None => diagnostics.push(
                    Diagnostic::new(&codes::BAD_VALUE, file, value.span.clone(), format!("`{ours}` wants a text"))
                        .help("write it as OURS: THEIRS"),
                ),
            }
        }
        found
    };
    let source = ListSource { columns: pairs("columns", diagnostics), fixed: pairs("set", diagnostics) };
    let mut complain = |span, message: &str, help: &str| {
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, file, span, message).help(help));
    };
    if every_ms < EVERY_MS_MIN {
        complain(map.place_of("every"), "a list is fetched once a second at most", "such as 15m");
    }
    let is_name = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['"', '\0']);
    if let Some((_, node)) = notify.filter(|(text, _)| !is_name(text)) {
        complain(node.span.clone(), "this is no channel of PostgreSQL", "a name, as in NOTIFY stolen_changed");
    }
    if let Some((_, node)) = query.filter(|(text, _)| text.contains(';')) {
        complain(node.span.clone(), "a list is one query", "leave out `;`");
    }
    map.finish(diagnostics);
    Some(ListSourceDecl {
        list: list.to_owned(),
        span: key.span.clone(),
        server: server?,
        query: query?.0.to_owned(),
        notify: notify.map(|(text, _)| text.to_owned()),
        every: Duration::from_millis(every_ms.max(EVERY_MS_MIN) as u64),
        source,
    })
}

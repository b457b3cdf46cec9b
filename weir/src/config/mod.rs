//! The configuration: what is read, what judges it, where alerts go.
//!
//! [`Config::parse`] reads `weir.yaml` and says what is wrong with it; [`load()`] reads the packs,
//! lists and zones it names; [`assemble()`] makes a pipeline of all that. Paths are relative to the
//! file that names them.

mod assemble;
mod keys;
mod list_sources;
mod lists;
mod load;
mod parse;
mod probe;
mod server;
mod sinks;
mod sources;
mod zones;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_engine::{Limits, StateSpec};
use weir_rules::diagnostic::codes;
use weir_rules::{Catalog, Diagnostic, SourceFile};

pub(crate) use assemble::{Asked, assemble};
pub(crate) use keys::{read_key, root_key};
pub(crate) use list_sources::ListSourceDecl;
pub(crate) use lists::{ListContext, ListFacts, load_lists};
pub(crate) use load::{Loaded, load, read_pack};
pub(crate) use probe::probe;
pub(crate) use server::ServerDecl;
pub(crate) use sinks::{SinkDecl, SinkKind};
pub(crate) use sources::{SourceDecl, SourceKind, ViidDecl, load_accounts};

/// A path in the configuration, and where it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) span: Range<usize>,
}

/// A parsed configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) file: Arc<SourceFile>,
    pub(crate) catalog: Catalog,
    pub(crate) population: Option<u64>,
    pub(crate) zones: Option<Named>,
    pub(crate) packs: Vec<Named>,
    /// Lists that come out of a database.
    pub(crate) list_sources: Vec<ListSourceDecl>,
    pub(crate) sources: Vec<SourceDecl>,
    pub(crate) sinks: Vec<SinkDecl>,
    pub(crate) limits: Limits,
    pub(crate) shards: Option<usize>,
    pub(crate) key_file: Option<Named>,
    /// Where outputs are kept.
    pub(crate) state: Option<StateSpec>,
    /// Where the state of a run is told.
    pub(crate) status_file: Option<PathBuf>,
    /// Where a monitoring system asks.
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// Files with keys of those who issue credentials.
    pub(crate) issuers: Vec<Named>,
}

/// A path relative to the file that names it.
pub(crate) fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
}

/// A file named on the command line cannot be read.
pub(crate) fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
    let file = SourceFile::new(name, "");
    Diagnostic::new(&codes::FILE_NOT_READ, &file, 0..0, format!("{name} cannot be read: {error}"))
        .help("check the path and its permissions")
}

//! What a path on the command line stands for: a configuration, a pack, or a folder of packs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{Watchlist, is_snapshot};
use weir_engine::window::ZoneTable;
use weir_engine::{Limits, TrialParts};
use weir_rules::diagnostic::codes;
use weir_rules::pack::ListDecl;
use weir_rules::{Catalog, Diagnostic, Diagnostics, Pack, SourceFile, yaml};

use crate::config::{self, Config, ListContext, ListFacts};
use crate::present;

/// A configuration in a folder.
const CONFIG_NAME: &str = "weir.yaml";

/// Packs with what they need.
pub(crate) struct Given {
    pub(crate) catalog: Catalog,
    pub(crate) packs: Vec<(Pack, Vec<Arc<Watchlist>>)>,
    pub(crate) zones: ZoneTable,
    pub(crate) limits: Limits,
    /// Files that were looked at.
    pub(crate) files: usize,
}

/// Whether lists are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// A configuration's must be there; those of a bare pack are loaded where the file exists.
    LoadIfThere,
    /// A bare pack's are empty.
    Skip,
}

/// Reads what a path stands for; what is wrong goes to `diagnostics`.
pub(crate) fn open(path: &Path, lists: Lists, diagnostics: &mut Diagnostics) -> Given {
    let mut given = Given {
        catalog: Catalog::builtin(),
        packs: Vec::new(),
        zones: ZoneTable::default(),
        limits: Limits::default(),
        files: 0,
    };
    for path in files(path, diagnostics) {
        given.files += 1;
        let name = path.display().to_string();
        let text = match RealVfs.read_text(&path, yaml::TEXT_BYTES_MAX as u64 + 1) {
            Ok(text) => text,
            Err(error) => {
                diagnostics.push(config::unreadable(&name, &error));
                continue;
            }
        };
        let file = SourceFile::new(name, text);
        if is_pack(&file) {
            let Some(pack) = config::read_pack(&file, &given.catalog, &RealVfs, diagnostics) else { continue };
            let loaded = load_of_bare(&pack, lists, diagnostics);
            given.packs.push((pack, loaded));
        } else if let Some(config) = Config::parse(&file, &path, diagnostics) {
            let loaded = config::load(&config, &context_of(&config), &RealVfs, diagnostics);
            given.packs.extend(loaded.packs);
            given.zones = loaded.zones;
            given.catalog = config.catalog;
            given.limits = config.limits;
        }
    }
    given
}

/// Opens packs for a command that needs them sound; prints what is wrong and gives nothing then.
pub(crate) fn open_or_tell(path: &Path, json: bool) -> Option<Given> {
    let mut diagnostics = Diagnostics::new();
    let given = open(path, Lists::LoadIfThere, &mut diagnostics);
    if !diagnostics.has_errors() {
        return Some(given);
    }
    diagnostics.sort();
    present::diagnostics(&diagnostics, json);
    None
}

/// A list as it is declared.
pub(crate) struct Declared {
    pub(crate) pack: Pack,
    /// Its position among the pack's lists.
    pub(crate) list: usize,
    /// The configuration, if the path is one.
    pub(crate) config: Option<Config>,
}

/// Finds the declaration of a list in a pack, or in the packs of a configuration. Its data need not be there.
///
/// # Errors
/// A sentence, when no pack declares it.
pub(crate) fn declared_list(path: &Path, list: &str, diagnostics: &mut Diagnostics) -> Result<Declared, String> {
    let mut known = Vec::new();
    let mut open_pack = |file: &Arc<SourceFile>, catalog: &Catalog, diagnostics: &mut Diagnostics| {
        let pack = config::read_pack(file, catalog, &RealVfs, diagnostics)?;
        known.extend(pack.lists.iter().map(|list| list.id.clone()));
        let at = pack.lists.iter().position(|declared| declared.id == list)?;
        Some((pack, at))
    };
    let read = |path: &Path, diagnostics: &mut Diagnostics| {
        let name = path.display().to_string();
        match RealVfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1) {
            Ok(text) => Some(SourceFile::new(name, text)),
            Err(error) => {
                diagnostics.push(config::unreadable(&name, &error));
                None
            }
        }
    };
    for path in files(path, diagnostics) {
        let Some(file) = read(&path, diagnostics) else { continue };
        if is_pack(&file) {
            if let Some((pack, list)) = open_pack(&file, &Catalog::builtin(), diagnostics) {
                return Ok(Declared { pack, list, config: None });
            }
        } else if let Some(config) = Config::parse(&file, &path, diagnostics) {
            for named in &config.packs {
                let Some(file) = read(&named.path, diagnostics) else { continue };
                if let Some((pack, list)) = open_pack(&file, &config.catalog, diagnostics) {
                    return Ok(Declared { pack, list, config: Some(config) });
                }
            }
        }
    }
    Err(format!("no pack of {} declares a list `{list}`; declared: {}", path.display(), known.join(", ")))
}

fn context_of(config: &Config) -> ListContext {
    ListContext::at_start(config::root_key(config, &RealVfs))
}

fn load_of_bare(pack: &Pack, lists: Lists, diagnostics: &mut Diagnostics) -> Vec<Arc<Watchlist>> {
    let path = |list: &ListDecl| config::beside(Path::new(&list.file.name), &list.from);
    if lists == Lists::Skip || !pack.lists.iter().all(|list| RealVfs.stat(&path(list)).is_ok()) {
        return Vec::new();
    }
    let sealed = pack.lists.iter().find(|list| is_snapshot(&RealVfs, &path(list)).unwrap_or(false));
    if let Some(list) = sealed {
        let message = format!(
            "list `{}` is a snapshot, which only the installation's key opens; lists are empty here, give the configuration instead of the pack",
            list.id
        );
        diagnostics.push(Diagnostic::new(&codes::LIST_WARNING, &list.file, list.from_span.clone(), message));
        return Vec::new();
    }
    // Without a configuration there is no population to check against; `weir run` asks for it.
    let (limits, context) = (Limits::default(), ListContext::bare());
    let facts = ListFacts { limits: &limits, population: None, fetched: Vec::new() };
    config::load_lists(pack, &facts, &context, &RealVfs, diagnostics, &mut Vec::new())
}

/// The files of a path: itself; of a folder its configuration, or else the packs in it.
fn files(path: &Path, diagnostics: &mut Diagnostics) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_path_buf()];
    }
    let config = path.join(CONFIG_NAME);
    if config.is_file() {
        return vec![config];
    }
    let names = RealVfs.list(path).unwrap_or_default();
    let packs: Vec<PathBuf> = names
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .filter(|path| {
            let text = RealVfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1).unwrap_or_default();
            has_key(&SourceFile::new("", text), &["pack"])
        })
        .collect();
    if packs.is_empty() {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "the folder holds no configuration and no pack");
        diagnostics.push(config::unreadable(&path.display().to_string(), &error));
    }
    packs
}

/// A pack says `pack:`; what cannot be read at all is reported as a configuration.
fn is_pack(file: &Arc<SourceFile>) -> bool {
    has_key(file, &["pack", "rules"])
}

fn has_key(file: &Arc<SourceFile>, keys: &[&str]) -> bool {
    yaml::parse(file, &mut Diagnostics::new()).is_some_and(|node| keys.iter().any(|key| node.get(key).is_some()))
}

impl Given {
    /// As parts of a trial.
    pub(crate) fn into_parts(self) -> TrialParts {
        let mut parts = TrialParts::new(self.catalog, Vec::new());
        parts.packs = self
            .packs
            .into_iter()
            .map(|(pack, lists)| {
                let lists = if lists.is_empty() { empty_lists(&pack) } else { lists };
                (pack, lists)
            })
            .collect();
        parts.zones = Arc::new(self.zones);
        parts.limits = Limits { max_ahead_ms: i64::MAX, ..self.limits };
        parts
    }
}

/// Lists without entries, for a pack whose files are not there.
fn empty_lists(pack: &Pack) -> Vec<Arc<Watchlist>> {
    use weir_engine::watchlist::{ListSpec, load_inline};
    pack.lists
        .iter()
        .filter_map(|list| load_inline(&list.id, "", ListSpec::new(pack, list), &Limits::default(), 0).ok())
        .map(|(list, _)| Arc::new(list))
        .collect()
}

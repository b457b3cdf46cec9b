//! Watchlists as files: what a list is built with, how a snapshot gets into its place, and lists that are fetched from a database.

mod fetch;
mod put;
mod refresh;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_engine::Limits;
use weir_engine::record::RootKey;
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::{
    Effort, Extent, ListError, ListKeys, ListSpec, Loading, Manifest, Previous, SnapshotBuilder, SourceReport,
    Watchlist, is_snapshot, load,
};
use weir_rules::Pack;
use weir_rules::pack::ListDecl;

use crate::config::{self, Config};

pub(crate) use fetch::{Fetched, Fetcher};
pub(crate) use put::put;
pub(crate) use refresh::{fetch_missing, start};

/// What went wrong, and whose fault it is.
pub(crate) enum Trouble {
    /// The arguments, the pack or the list.
    Wrong(String),
    /// The machine, or a server.
    Failed(String),
    /// Told already.
    Told,
}

/// A list as a pack declares it, and what it is built with.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) spec: ListSpec,
    pub(crate) population: Option<u64>,
    pub(crate) limits: Limits,
    pub(crate) root: RootKey,
    /// Where the full snapshot lies.
    pub(crate) home: PathBuf,
    pub(crate) effort: Effort,
}

impl Order {
    pub(crate) fn new(pack: &Pack, list: &ListDecl, config: Option<&Config>, root: RootKey) -> Self {
        Self {
            spec: ListSpec::new(pack, list),
            population: config.and_then(|config| config.population),
            limits: config.map_or_else(Limits::default, |config| config.limits.clone()),
            root,
            home: config::beside(Path::new(&list.file.name), &list.from),
            effort: Effort::AllCores,
        }
    }

    pub(crate) fn loading<'a>(&'a self, previous: Option<&'a Arc<Watchlist>>, now_ms: i64) -> Loading<'a> {
        Loading {
            vfs: &RealVfs,
            limits: &self.limits,
            population: self.population,
            now_ms,
            root: &self.root,
            effort: self.effort,
            previous,
        }
    }

    /// The version that is there, if one is.
    pub(crate) fn version_at(&self, path: &Path, now_ms: i64) -> Result<Option<Arc<Watchlist>>, ListError> {
        if !is_snapshot(&RealVfs, path).unwrap_or(false) {
            return Ok(None);
        }
        // How much it has grown was asked when it came.
        let spec = ListSpec { max_growth: None, ..self.spec.clone() };
        load(path, spec, &self.loading(None, now_ms)).map(|(list, _)| Some(list))
    }

    pub(crate) fn keys(&self, epoch: &str) -> ListKeys {
        ListKeys::derive(self.root.bytes(), &self.spec.purpose, epoch)
    }

    /// Of a version that comes after another.
    pub(crate) fn manifest(
        &self,
        builder: &SnapshotBuilder,
        keys: &ListKeys,
        source: String,
        report: &SourceReport,
        previous: Option<&Arc<Watchlist>>,
        now_ms: i64,
    ) -> Manifest {
        Manifest {
            source,
            refused_rows: report.refused_rows,
            check_warnings: report.check_warnings,
            total: builder.len() as u64,
            sequence: previous.map_or(1, |list| list.layers()[0].manifest.sequence + 1),
            previous: previous.map(|list| Previous { version: list.version.clone(), total: list.len() }),
            ..self.spec.manifest(keys, now_ms)
        }
    }

    /// Where a delta goes that follows a version.
    pub(crate) fn delta_path(&self, previous: Option<&Arc<Watchlist>>) -> PathBuf {
        let sequence = previous.map_or(1, |list| list.layers()[0].manifest.sequence + 1);
        let mut name = self.home.clone().into_os_string();
        name.push(format!(".delta-{sequence}"));
        name.into()
    }
}

/// What a snapshot holds, for people.
pub(crate) fn contents(manifest: &Manifest) -> String {
    match manifest.extent {
        Extent::Full => format!("{} entries", manifest.total),
        Extent::Delta => format!(
            "{} entries written, {} taken back, {} in all",
            manifest.exact + manifest.patterns,
            manifest.removed,
            manifest.total
        ),
    }
}

/// The month, which is a key's epoch where nobody says otherwise.
pub(crate) fn month_of(ms: i64) -> String {
    weir_engine::alert::format_time(ms)[..7].to_owned()
}

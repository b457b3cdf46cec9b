//! A list as a database has it now, made into the next version of its snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use weir_connectors::list::PostgresList;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{
    Changes, DELTAS_MAX, ListError, ListSource, Snapshot, SnapshotBuilder, SourceReport, Watchlist, build_delta,
    changes_to, is_snapshot, read_source,
};

use super::{Order, Trouble, month_of, put};
use crate::config::ListSourceDecl;

/// A delta is written where not more than one entry in so many has changed.
const DELTA_PART: u64 = 10;
/// A list that has not changed is written anew once it has used up this part of its `max_age`.
const RENEWED_PART: i64 = 4;
/// Rows come as this, whatever they are called.
const FORMAT: &str = "rows.ndjson";

/// Fetches one list.
pub(crate) struct Fetcher {
    pub(crate) order: Order,
    pub(crate) database: PostgresList,
    source: ListSource,
}

/// What came of it.
pub(crate) enum Fetched {
    /// What is there is what the database has.
    Unchanged,
    /// A new version is in its place.
    Put { out: PathBuf, version: Box<Snapshot>, report: SourceReport },
}

impl Fetcher {
    pub(crate) fn new(declared: &ListSourceDecl, order: Order, vfs: &dyn Vfs) -> Result<Self, String> {
        Ok(Self { order, database: declared.database(vfs)?, source: declared.source.clone() })
    }

    /// Reads the rows into a builder.
    pub(crate) fn read(
        &mut self,
        now_ms: i64,
        progress: &AtomicU64,
        builder: &mut SnapshotBuilder,
    ) -> Result<SourceReport, Trouble> {
        let place = self.database.place();
        let rows = self.database.rows().map_err(|trouble| Trouble::Failed(format!("{place}: {trouble}")))?;
        let (spec, limits) = (&self.order.spec, &self.order.limits);
        let report = read_source(Box::new(rows), &place, FORMAT, spec, &self.source, limits, now_ms, progress, builder);
        report.map_err(|error| {
            // Rows that were not read to their end leave the connection in the middle of them.
            self.database.disconnect();
            match error {
                // It broke off: the next attempt may get further.
                ListError::Io { .. } => Trouble::Failed(error.to_string()),
                _ => Trouble::Wrong(error.to_string()),
            }
        })
    }

    /// Fetches the list: as a delta where little has changed, not at all where nothing has.
    pub(crate) fn fetch(&mut self) -> Result<Fetched, Trouble> {
        let now_ms = SystemClock::default().wall_ms();
        let home = self.order.home.clone();
        if RealVfs.stat(&home).is_ok() && !is_snapshot(&RealVfs, &home).unwrap_or(false) {
            let message =
                "is no snapshot, and would be lost; let the list's `from` name another file, such as LIST.wlist";
            return Err(Trouble::Wrong(format!("{} {message}", home.display())));
        }
        let previous = match self.order.version_at(&home, now_ms) {
            Ok(previous) => previous,
            Err(error) => {
                eprintln!("weir: the version that is there is not counted on: {error}");
                None
            }
        };
        let epoch = month_of(now_ms);
        let keys = self.order.keys(&epoch);
        let mut builder = SnapshotBuilder::new(Arc::new(keys.clone()), self.order.spec.folds());
        let report = self.read(now_ms, &AtomicU64::new(0), &mut builder)?;
        let source = format!("{} {}", self.database.place(), report.digest);
        let manifest = self.order.manifest(&builder, &keys, source, &report, previous.as_ref(), now_ms);
        let comparable = previous.as_ref().filter(|known| known.layers()[0].manifest.epoch == epoch);
        let changes = comparable.map(|known| (known, changes_to(&builder, known)));
        if let Some((known, changes)) = &changes
            && changes.is_empty()
            && !wants_renewal(known, now_ms)
        {
            return Ok(Fetched::Unchanged);
        }
        let small = changes.filter(|(known, changes)| fits_a_delta(known, changes));
        let (out, file) = match small {
            Some((known, changes)) => {
                (self.order.delta_path(previous.as_ref()), build_delta(builder, known, &changes, manifest))
            }
            None => (home, builder.finish(manifest, Vec::new())),
        };
        let version = put(&out, &file, &self.order, &keys, previous.as_ref(), now_ms)?;
        Ok(Fetched::Put { out, version: Box::new(version), report })
    }
}

/// Whether a list must show that it has been looked after.
fn wants_renewal(known: &Watchlist, now_ms: i64) -> bool {
    known.spec.max_age_ms.is_some_and(|max_ms| now_ms - known.created_ms > max_ms / RENEWED_PART)
}

fn fits_a_delta(known: &Watchlist, changes: &Changes) -> bool {
    let changed = changes.added.len() + changes.changed.len() + changes.removed.len();
    known.layers().len() < DELTAS_MAX && (changed as u64).saturating_mul(DELTA_PART) <= known.len()
}

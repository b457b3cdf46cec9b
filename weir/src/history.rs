//! Judging history: the pipeline of a live run, over files and in event time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use weir_connectors::source::FileSource;
use weir_engine::clock::HistoryClock;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::{Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, SourceSpec, Summary};
use weir_rules::Pack;
use weir_rules::pack::{Rule, Status};

use crate::given::Given;
use crate::present;

/// Alerts that are kept for a comparison.
const ALERTS_MAX: usize = 1_000_000;

/// What judging history gave.
pub(crate) struct Judged {
    pub(crate) summary: Summary,
    /// The alerts, if they were asked for.
    pub(crate) alerts: Vec<Output>,
    /// Alerts beyond what is kept.
    pub(crate) dropped: u64,
}

/// Runs packs over files of canonical records: NDJSON, CSV, Arrow IPC or Parquet, by their names. Shadow rules
/// are judged like active ones.
pub(crate) fn judge(given: Given, files: &[PathBuf], keep_alerts: bool, quiet: bool) -> Result<Judged, String> {
    let kept = Kept::default();
    let mut builder = Pipeline::builder(given.catalog.clone())
        .clock(Arc::new(HistoryClock::default()))
        .limits(Limits { max_ahead_ms: i64::MAX, ..given.limits.clone() })
        .timed();
    let mut purposes: Vec<String> = Vec::new();
    let zones = given.zones.clone();
    for (pack, lists) in given.into_parts().packs {
        purposes.extend(pack.purposes.iter().map(|purpose| purpose.name.clone()));
        let activate = |rule: &Rule| {
            let status = if rule.status == Status::Shadow { Status::Active } else { rule.status };
            let mut rule = Rule { status, ..rule.clone() };
            // What a sink is called matters to the live run only.
            rule.alerting.route.clear();
            rule
        };
        let rules = pack.rules.iter().map(activate).collect();
        builder = builder.shared_pack(Pack { rules, ..pack }, lists);
    }
    builder = builder.zones(zones);
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let mut progress = Vec::new();
    for (at, path) in files.iter().enumerate() {
        if let Err(error) = vfs.stat(path) {
            return Err(format!("{}: {error}", path.display()));
        }
        let source = FileSource::new(path.to_string_lossy(), false, Arc::clone(&vfs));
        progress.push(source.progress());
        builder = builder.source(SourceSpec::new(format!("history-{at}"), format_of(path)), source);
    }
    if keep_alerts {
        builder = builder.sink(SinkSpec::alerts("kept", purposes.iter().map(String::as_str)), kept.clone());
    }
    let pipeline = builder.build().map_err(|error| error.to_string())?;
    let line = (!quiet).then(|| present::ProgressLine::start(progress, pipeline.progress()));
    let mut summary = pipeline.run().map_err(|error| error.to_string())?;
    drop(line);
    if let Some((source, error)) = summary.source_errors.first() {
        return Err(format!("{source}: {error}"));
    }
    for rule in &mut summary.rules {
        // Nothing is sent: that nobody takes it is no news.
        rule.unrouted = 0;
    }
    let mut kept = kept.0.lock();
    Ok(Judged { summary, alerts: std::mem::take(&mut kept.alerts), dropped: kept.dropped })
}

fn format_of(path: &Path) -> Format {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
    match plain.rsplit('.').next() {
        Some("csv") => Format::Csv,
        Some("arrow" | "arrows" | "ipc" | "parquet") => Format::ArrowIpc,
        _ => Format::Ndjson,
    }
}

#[derive(Default)]
struct KeptAlerts {
    alerts: Vec<Output>,
    dropped: u64,
}

/// Keeps alerts, up to a bound.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<KeptAlerts>>);

impl Sink for Kept {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut kept = self.0.lock();
        let room = ALERTS_MAX - kept.alerts.len();
        kept.alerts.extend(outputs.iter().take(room).cloned());
        kept.dropped += outputs.len().saturating_sub(room) as u64;
        Ok(())
    }
}

//! `weir list build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use weir_connectors::source::parquet_batches;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{
    ListSource, Snapshot, SnapshotBuilder, SourceReport, Watchlist, build_delta, changes_to, read_columns, read_source,
};
use weir_rules::Diagnostics;

use super::{KeyArgs, root_of};
use crate::bar::Bar;
use crate::config::Config;
use crate::given::{self, Declared};
use crate::lists::{Fetcher, Order, Trouble, contents, month_of, put};
use crate::present;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration or rule pack that declares the list.
    path: PathBuf,
    /// Name of the list.
    list: String,
    /// Source: CSV, NDJSON (plain, gzip, zstd) or Parquet; the database of the configuration's `list_sources` if not given.
    #[arg(long)]
    from: Option<PathBuf>,
    /// File to write; where the pack looks for the list if not given, with `.delta-N` for a delta.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write only what changed since the snapshot and deltas that are there.
    #[arg(long)]
    delta: bool,
    /// A column of the source under another name, such as `plate=vehicle.vrm`.
    #[arg(long = "column", value_name = "OURS=THEIRS", value_parser = pair)]
    columns: Vec<(String, String)>,
    /// A value that every row has, such as `expires=2027-06-30`.
    #[arg(long = "set", value_name = "OURS=VALUE", value_parser = pair)]
    fixed: Vec<(String, String)>,
    /// Epoch of the key; the month if not given. Deltas are built in the epoch of their snapshot.
    #[arg(long)]
    epoch: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (ours, theirs) = text.split_once('=').ok_or("write it as OURS=THEIRS")?;
    Ok((ours.to_owned(), theirs.to_owned()))
}

pub(super) fn run(args: &Args) -> ExitCode {
    build(args).map_or_else(Trouble::end, |()| ExitCode::SUCCESS)
}

fn build(args: &Args) -> Result<(), Trouble> {
    let started = Instant::now();
    let (order, config) = order(args)?;
    let now_ms = SystemClock::default().wall_ms();
    let previous = previous(args, &order, now_ms)?;
    let in_epoch = previous.as_ref().filter(|_| args.delta).map(|list| list.layers()[0].manifest.epoch.clone());
    let epoch = in_epoch.or_else(|| args.epoch.clone()).unwrap_or_else(|| month_of(now_ms));
    let keys = order.keys(&epoch);
    let mut builder = SnapshotBuilder::new(Arc::new(keys.clone()), order.spec.folds());
    let mut from = From::of(args, config.as_ref(), &order)?;
    let report = from.read(&order, now_ms, &mut builder)?;
    let source = from.name(&report.digest);
    let manifest = order.manifest(&builder, &keys, source, &report, previous.as_ref(), now_ms);
    let file = {
        let _bar = Bar::start("writing", 1);
        match (&previous, args.delta) {
            (Some(previous), true) => {
                let changes = changes_to(&builder, previous);
                build_delta(builder, previous, &changes, manifest)
            }
            _ => builder.finish(manifest, Vec::new()),
        }
    };
    let default_out = || if args.delta { order.delta_path(previous.as_ref()) } else { order.home.clone() };
    let out = args.out.clone().unwrap_or_else(default_out);
    let written = put(&out, &file, &order, &keys, previous.as_ref(), now_ms)?;
    tell(args, &from.place(), &out, &written, &report, started.elapsed().as_secs_f64());
    Ok(())
}

fn order(args: &Args) -> Result<(Order, Option<Config>), Trouble> {
    let mut diagnostics = Diagnostics::new();
    let declared = given::declared_list(&args.path, &args.list, &mut diagnostics);
    if diagnostics.has_errors() {
        diagnostics.sort();
        present::diagnostics(&diagnostics, args.json);
        return Err(Trouble::Told);
    }
    let Declared { pack, list, config } = declared.map_err(Trouble::Wrong)?;
    let key_file = args.key.key_file.clone().or_else(|| Some(config.as_ref()?.key_file.as_ref()?.path.clone()));
    let key_file = key_file.ok_or_else(|| {
        Trouble::Wrong(
            "a snapshot is built with the installation's root key; name it with --key-file, or in the configuration as `state: { key_file: ... }` (head -c 32 /dev/urandom > FILE makes one)"
                .to_owned(),
        )
    })?;
    let order = Order::new(&pack, &pack.lists[list], config.as_ref(), root_of(&key_file)?);
    Ok((order, config))
}

/// The version that is there; a delta needs one.
fn previous(args: &Args, order: &Order, now_ms: i64) -> Result<Option<Arc<Watchlist>>, Trouble> {
    let home = if args.delta { &order.home } else { args.out.as_ref().unwrap_or(&order.home) };
    match order.version_at(home, now_ms) {
        Ok(None) if args.delta => {
            Err(Trouble::Wrong(format!("{} is no snapshot; build a full one first", home.display())))
        }
        Ok(previous) => Ok(previous),
        Err(error) if args.delta => Err(Trouble::Wrong(error.to_string())),
        // A version that is not sound any more is no reason not to build the next one.
        Err(error) => {
            eprintln!("weir: the version that is there is not counted on: {error}");
            Ok(None)
        }
    }
}

/// Where the rows come from.
enum From {
    File(PathBuf, ListSource),
    Database(Box<Fetcher>),
}

impl From {
    fn of(args: &Args, config: Option<&Config>, order: &Order) -> Result<Self, Trouble> {
        let own = ListSource {
            columns: args.columns.iter().cloned().collect::<BTreeMap<_, _>>(),
            fixed: args.fixed.iter().cloned().collect(),
        };
        if let Some(path) = &args.from {
            return Ok(Self::File(path.clone(), own));
        }
        let declared = config.into_iter().flat_map(|config| &config.list_sources).find(|it| it.list == args.list);
        let Some(declared) = declared else {
            let message = "name the source with --from FILE, or declare the list's database in the configuration, under `list_sources`";
            return Err(Trouble::Wrong(message.to_owned()));
        };
        if own != ListSource::default() {
            let message = "`--column` and `--set` are of a file; a database's stand in the configuration";
            return Err(Trouble::Wrong(message.to_owned()));
        }
        Fetcher::new(declared, order.clone(), &RealVfs).map(|it| Self::Database(Box::new(it))).map_err(Trouble::Wrong)
    }

    fn read(&mut self, order: &Order, now_ms: i64, builder: &mut SnapshotBuilder) -> Result<SourceReport, Trouble> {
        let name = self.place();
        let (path, source) = match self {
            Self::Database(fetcher) => {
                let bar = Bar::start("reading", 0);
                return fetcher.read(now_ms, &bar.done, builder);
            }
            Self::File(path, source) => (&*path, &*source),
        };
        let wrong = |error: &dyn std::fmt::Display| Trouble::Wrong(format!("{name}: {error}"));
        let stat = RealVfs.stat(path).map_err(|error| wrong(&error))?;
        let (spec, limits) = (&order.spec, &order.limits);
        let report = if path.extension().is_some_and(|extension| extension == "parquet") {
            let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
            let mut batches = parquet_batches(path, &vfs).map_err(|error| wrong(&error))?;
            let bar = Bar::start("reading", 0);
            read_columns(&mut batches, &name, spec, source, limits, now_ms, &bar.done, builder)
        } else {
            let bar = Bar::start("reading", stat.len);
            let file = RealVfs.open(path).map_err(|error| wrong(&error))?;
            read_source(Box::new(file), &name, &name, spec, source, limits, now_ms, &bar.done, builder)
        };
        report.map_err(|error| Trouble::Wrong(error.to_string()))
    }

    /// As it is named in messages.
    fn place(&self) -> String {
        match self {
            Self::File(path, _) => path.display().to_string(),
            Self::Database(fetcher) => fetcher.database.place(),
        }
    }

    /// As it is named in a manifest, with a digest of what it held.
    fn name(&self, digest: &str) -> String {
        let name = match self {
            Self::File(path, _) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            Self::Database(fetcher) => fetcher.database.place(),
        };
        format!("{name} {digest}").trim_end().to_owned()
    }
}

/// Problems of rows that are printed.
const PROBLEMS_SHOWN: usize = 10;

fn tell(args: &Args, from: &str, out: &Path, built: &Snapshot, report: &SourceReport, took_s: f64) {
    let manifest = &built.manifest;
    if args.json {
        let problems: Vec<_> =
            report.problems.iter().map(|problem| json!({ "line": problem.line, "message": problem.message })).collect();
        present::say_line(
            &json!({
                "file": out, "version": built.version, "manifest": manifest, "bytes": built.file_bytes(),
                "rows": report.rows, "expired": report.expired, "problems": problems,
                "check_lines": report.check_lines, "took_s": took_s,
            })
            .to_string(),
        );
        return;
    }
    for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
        eprintln!("weir: {}:{}: row left out: {}", from, problem.line, problem.message);
    }
    if report.refused_rows > 0 {
        eprintln!("weir: {}: {} of {} rows left out", from, report.refused_rows, report.rows);
    }
    if report.check_warnings > 0 {
        let lines: Vec<String> = report.check_lines.iter().take(PROBLEMS_SHOWN).map(u64::to_string).collect();
        eprintln!(
            "weir: {}: {} keys have a check digit that does not fit; they are kept (lines {}{})",
            from,
            report.check_warnings,
            lines.join(", "),
            if report.check_warnings as usize > lines.len() { ", ..." } else { "" }
        );
    }
    let what = contents(manifest);
    present::say_line(&format!(
        "{}: version {} of {}, {what} ({} patterns, {} expired), {} bytes, {took_s:.1} s",
        out.display(),
        built.version,
        manifest.list,
        manifest.patterns,
        report.expired,
        built.file_bytes()
    ));
}

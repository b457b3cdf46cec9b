//! `weir list build`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use weir_connectors::source::parquet_batches;
use weir_engine::Limits;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::record::RootKey;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{
    Effort, Extent, ListKeys, ListSource, ListSpec, LoadReport, Loading, Manifest, Previous, Snapshot, SnapshotBuilder,
    SourceReport, Watchlist, build_delta, delta_files, guard, is_snapshot, load, read_columns, read_source,
};
use weir_rules::Diagnostics;

use super::{KeyArgs, Trouble, root_of};
use crate::bar::Bar;
use crate::given::{self, Declared};
use crate::{config, present};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration or rule pack that declares the list.
    path: PathBuf,
    /// Name of the list.
    list: String,
    /// Source: CSV, NDJSON (plain, gzip, zstd) or Parquet.
    #[arg(long)]
    from: PathBuf,
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

/// The list as the pack declares it, and what it is built with.
struct Order {
    spec: ListSpec,
    population: Option<u64>,
    limits: Limits,
    root: RootKey,
    /// Where the full snapshot lies.
    home: PathBuf,
}

fn build(args: &Args) -> Result<(), Trouble> {
    let started = Instant::now();
    let order = order(args)?;
    let now_ms = SystemClock::default().wall_ms();
    let previous = previous(args, &order, now_ms)?;
    let in_epoch = previous.as_ref().filter(|_| args.delta).map(|list| list.layers()[0].manifest.epoch.clone());
    let epoch = in_epoch.or_else(|| args.epoch.clone()).unwrap_or_else(|| month_of(now_ms));
    let keys = ListKeys::derive(order.root.bytes(), &order.spec.purpose, &epoch);
    let mut builder = SnapshotBuilder::new(Arc::new(keys.clone()), order.spec.folds());
    let report = read(args, &order, now_ms, &mut builder)?;
    let manifest = Manifest {
        source: source_name(&args.from, &report.digest),
        refused_rows: report.refused_rows,
        check_warnings: report.check_warnings,
        total: builder.len() as u64,
        sequence: previous.as_ref().map_or(1, |list| list.layers()[0].manifest.sequence + 1),
        previous: previous.as_ref().map(|list| Previous { version: list.version.clone(), total: list.len() }),
        ..order.spec.manifest(&keys, now_ms)
    };
    let file = {
        let _bar = Bar::start("writing", 1);
        match (&previous, args.delta) {
            (Some(previous), true) => build_delta(builder, previous, manifest).0,
            _ => builder.finish(manifest, Vec::new()),
        }
    };
    let out = args.out.clone().unwrap_or_else(|| default_out(args, &order, previous.as_ref()));
    let written = put(&out, &file, &order, &keys, previous.as_ref(), now_ms)?;
    tell(args, &out, &written, &report, started.elapsed().as_secs_f64());
    Ok(())
}

fn order(args: &Args) -> Result<Order, Trouble> {
    let mut diagnostics = Diagnostics::new();
    let declared = given::declared_list(&args.path, &args.list, &mut diagnostics);
    if diagnostics.has_errors() {
        diagnostics.sort();
        present::diagnostics(&diagnostics, args.json);
        return Err(Trouble::Told);
    }
    let Declared { pack, list, config } = declared.map_err(Trouble::Wrong)?;
    let declared = &pack.lists[list];
    let key_file = args.key.key_file.clone().or_else(|| Some(config.as_ref()?.key_file.as_ref()?.path.clone()));
    let key_file = key_file.ok_or_else(|| {
        Trouble::Wrong(
            "a snapshot is built with the installation's root key; name it with --key-file, or in the configuration as `state: { key_file: ... }` (head -c 32 /dev/urandom > FILE makes one)"
                .to_owned(),
        )
    })?;
    Ok(Order {
        spec: ListSpec::new(&pack, declared),
        population: config.as_ref().and_then(|config| config.population),
        limits: config.as_ref().map_or_else(Limits::default, |config| config.limits.clone()),
        root: root_of(&key_file)?,
        home: config::beside(Path::new(&declared.file.name), &declared.from),
    })
}

/// The version that is there; a delta needs one.
fn previous(args: &Args, order: &Order, now_ms: i64) -> Result<Option<Arc<Watchlist>>, Trouble> {
    let home = if args.delta { &order.home } else { args.out.as_ref().unwrap_or(&order.home) };
    if is_snapshot(&RealVfs, home).unwrap_or(false) {
        let loading = loading(order, None, now_ms);
        // A version that is not sound any more is no reason not to build the next one.
        match load(home, ListSpec { max_growth: None, ..order.spec.clone() }, &loading) {
            Ok((list, _)) => return Ok(Some(list)),
            Err(error) if args.delta => return Err(Trouble::Wrong(error.to_string())),
            Err(error) => eprintln!("weir: the version that is there is not counted on: {error}"),
        }
    } else if args.delta {
        return Err(Trouble::Wrong(format!("{} is no snapshot; build a full one first", home.display())));
    }
    Ok(None)
}

fn loading<'a>(order: &'a Order, previous: Option<&'a Arc<Watchlist>>, now_ms: i64) -> Loading<'a> {
    Loading {
        vfs: &RealVfs,
        limits: &order.limits,
        population: order.population,
        now_ms,
        root: &order.root,
        effort: Effort::AllCores,
        previous,
    }
}

fn read(args: &Args, order: &Order, now_ms: i64, builder: &mut SnapshotBuilder) -> Result<SourceReport, Trouble> {
    let name = args.from.display().to_string();
    let wrong = |error: &dyn std::fmt::Display| Trouble::Wrong(format!("{name}: {error}"));
    let source = ListSource {
        columns: args.columns.iter().cloned().collect::<BTreeMap<_, _>>(),
        fixed: args.fixed.iter().cloned().collect(),
    };
    let stat = RealVfs.stat(&args.from).map_err(|error| wrong(&error))?;
    if args.from.extension().is_some_and(|extension| extension == "parquet") {
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
        let mut batches = parquet_batches(&args.from, &vfs).map_err(|error| wrong(&error))?;
        let bar = Bar::start("reading", 0);
        return read_columns(&mut batches, &name, &order.spec, &source, &order.limits, now_ms, &bar.done, builder)
            .map_err(|error| Trouble::Wrong(error.to_string()));
    }
    let bar = Bar::start("reading", stat.len);
    let file = RealVfs.open(&args.from).map_err(|error| wrong(&error))?;
    read_source(Box::new(file), &name, &name, &order.spec, &source, &order.limits, now_ms, &bar.done, builder)
        .map_err(|error| Trouble::Wrong(error.to_string()))
}

fn source_name(path: &Path, digest: &str) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{name} {digest}").trim_end().to_owned()
}

fn month_of(ms: i64) -> String {
    weir_engine::alert::format_time(ms)[..7].to_owned()
}

fn default_out(args: &Args, order: &Order, previous: Option<&Arc<Watchlist>>) -> PathBuf {
    if !args.delta {
        return order.home.clone();
    }
    let sequence = previous.map_or(1, |list| list.layers()[0].manifest.sequence + 1);
    let mut name = order.home.clone().into_os_string();
    name.push(format!(".delta-{sequence}"));
    name.into()
}

/// Checks what was built as those who load it will, and puts it in place whole: written beside, made durable, closed
/// to writers, renamed.
fn put(
    out: &Path,
    file: &[u8],
    order: &Order,
    keys: &ListKeys,
    previous: Option<&Arc<Watchlist>>,
    now_ms: i64,
) -> Result<Snapshot, Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("{}: {error}", out.display()));
    let mut beside = out.to_path_buf().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        // One of an earlier attempt is closed to writers too.
        let _ = fs::remove_file(&beside);
        let mut to = fs::File::create(&beside)?;
        to.write_all(file)?;
        to.set_permissions(fs::Permissions::from_mode(0o444))?;
        to.sync_all()
    };
    write().map_err(failed)?;
    let checked = check(&beside, out, order, keys, previous, now_ms);
    let snapshot = match checked {
        Ok(snapshot) => snapshot,
        Err(trouble) => {
            let _ = fs::remove_file(&beside);
            return Err(trouble);
        }
    };
    fs::rename(&beside, out).map_err(failed)?;
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    if snapshot.manifest.extent == Extent::Full {
        // They led from another version.
        for delta in delta_files(&RealVfs, out).unwrap_or_default() {
            fs::remove_file(&delta).map_err(failed)?;
        }
    }
    Ok(snapshot)
}

fn check(
    beside: &Path,
    out: &Path,
    order: &Order,
    keys: &ListKeys,
    previous: Option<&Arc<Watchlist>>,
    now_ms: i64,
) -> Result<Snapshot, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Wrong(format!("{}: {error}", out.display()));
    let bytes = RealVfs.map(beside, u64::MAX - 1).map_err(|error| wrong(&error))?;
    let keys = Arc::new(keys.clone());
    let snapshot = Snapshot::open(bytes, &keys, Effort::AllCores).map_err(|error| wrong(&error))?;
    // As the loader will see it: laid over what a delta builds on.
    let bytes = RealVfs.map(beside, u64::MAX - 1).map_err(|error| wrong(&error))?;
    let top = Arc::new(Snapshot::open(bytes, &keys, Effort::AllCores).map_err(|error| wrong(&error))?);
    let below = previous.filter(|_| snapshot.manifest.extent == Extent::Delta);
    let layers = std::iter::once(top).chain(below.iter().flat_map(|list| list.layers()).cloned()).collect();
    let list = Watchlist::new(order.spec.clone(), layers, snapshot.version.clone(), now_ms);
    let mut report = LoadReport { live: list.len(), ..LoadReport::default() };
    guard(&out.display().to_string(), &list, &loading(order, previous, now_ms), &mut report)
        .map_err(|error| Trouble::Wrong(error.to_string()))?;
    for warning in report.warnings {
        eprintln!("weir: {}: {warning}", out.display());
    }
    Ok(snapshot)
}

/// Problems of rows that are printed.
const PROBLEMS_SHOWN: usize = 10;

fn tell(args: &Args, out: &Path, built: &Snapshot, report: &SourceReport, took_s: f64) {
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
        eprintln!("weir: {}:{}: row left out: {}", args.from.display(), problem.line, problem.message);
    }
    if report.refused_rows > 0 {
        eprintln!("weir: {}: {} of {} rows left out", args.from.display(), report.refused_rows, report.rows);
    }
    if report.check_warnings > 0 {
        let lines: Vec<String> = report.check_lines.iter().take(PROBLEMS_SHOWN).map(u64::to_string).collect();
        eprintln!(
            "weir: {}: {} keys have a check digit that does not fit; they are kept (lines {}{})",
            args.from.display(),
            report.check_warnings,
            lines.join(", "),
            if report.check_warnings as usize > lines.len() { ", ..." } else { "" }
        );
    }
    let what = match manifest.extent {
        Extent::Full => format!("{} entries", manifest.total),
        Extent::Delta => format!(
            "{} entries written, {} taken back, {} in all",
            manifest.exact + manifest.patterns,
            manifest.removed,
            manifest.total
        ),
    };
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

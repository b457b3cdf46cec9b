//! Lists that are fetched while weir runs: every so often, and when their database says that they have changed. What is fetched
//! takes the place of the list's file, and is loaded as any new version is.

use std::sync::Arc;
use std::time::Duration;

use weir_engine::backoff::Backoff;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::metrics::Progress;
use weir_engine::record::RootKey;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::Effort;
use weir_rules::{Diagnostics, SourceFile, yaml};

use super::{Fetched, Fetcher, Order, Trouble, contents};
use crate::config::{self, Config};

/// Shortest time between two attempts.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// Rows that cannot be used are looked at again after so long, whoever says that they have changed.
const WRONG_AGAIN: Duration = Duration::from_mins(1);

/// A list that is fetched again and again.
pub(crate) struct Refresh {
    config: Arc<Config>,
    root: RootKey,
    /// Which of the configuration's packs declares it.
    pack: usize,
    list: String,
    fetcher: Fetcher,
    every: Duration,
}

/// The lists of a pack as it stands now. What is wrong with it is told where it is loaded.
fn orders(config: &Config, pack: usize, root: &RootKey) -> Vec<Order> {
    let path = &config.packs[pack].path;
    let Ok(text) = RealVfs.read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1) else { return Vec::new() };
    let file = SourceFile::new(path.display().to_string(), text);
    let pack = config::read_pack(&file, &config.catalog, &RealVfs, &mut Diagnostics::new());
    let pack = pack.as_ref();
    let lists = pack.into_iter().flat_map(|pack| pack.lists.iter().map(move |list| (pack, list)));
    let order = |(pack, list)| Order { effort: Effort::Beside, ..Order::new(pack, list, Some(config), root.clone()) };
    lists.map(order).collect()
}

/// Lists that are fetched, as the packs declare them.
fn refreshes(config: &Arc<Config>, root: &RootKey) -> Result<Vec<Refresh>, String> {
    let mut refreshes = Vec::new();
    for pack in (0..config.packs.len()).filter(|_| !config.list_sources.is_empty()) {
        for order in orders(config, pack, root) {
            let Some(declared) = config.list_sources.iter().find(|it| it.list == order.spec.id) else { continue };
            refreshes.push(Refresh {
                config: Arc::clone(config),
                root: root.clone(),
                pack,
                list: order.spec.id.clone(),
                fetcher: Fetcher::new(declared, order, &RealVfs)?,
                every: declared.every,
            });
        }
    }
    Ok(refreshes)
}

/// Lists to be fetched while weir runs; those that are not there yet, or cannot be opened, are fetched now, since nothing runs
/// without them.
///
/// # Errors
/// A sentence, when one cannot be had.
pub(crate) fn fetch_missing(config: &Arc<Config>, root: &RootKey) -> Result<Vec<Refresh>, String> {
    if let Some(key_file) = config.key_file.as_ref().filter(|_| !config.list_sources.is_empty()) {
        // What is built with another key nobody opens again.
        config::read_key(&key_file.path, &RealVfs)?;
    }
    let mut refreshes = refreshes(config, root)?;
    for refresh in &mut refreshes {
        let order = &refresh.fetcher.order;
        let is_sound = order.version_at(&order.home, SystemClock::default().wall_ms()).is_ok();
        if is_sound && RealVfs.stat(&order.home).is_ok() {
            continue;
        }
        match refresh.fetcher.fetch() {
            Ok(fetched) => tell(&refresh.list, &fetched),
            Err(Trouble::Wrong(message) | Trouble::Failed(message)) => {
                return Err(format!("list `{}` is not there and cannot be fetched: {message}", refresh.list));
            }
            Err(Trouble::Told) => {}
        }
    }
    Ok(refreshes)
}

/// Fetches lists, each on a thread of its own that ends with the process; `on_put` is called with each that has changed.
pub(crate) fn start(refreshes: Vec<Refresh>, progress: &Arc<Progress>, on_put: impl Fn() + Clone + Send + 'static) {
    for refresh in refreshes {
        let (progress, on_put) = (Arc::clone(progress), on_put.clone());
        std::thread::spawn(move || refresh.serve(&progress, &on_put));
    }
}

impl Refresh {
    fn serve(mut self, progress: &Progress, on_put: &impl Fn()) {
        let name = format!("list {}", self.list);
        let note = |trouble: Option<String>| {
            progress.note_trouble(&name, trouble.map(|it| (SystemClock::default().wall_ms(), it)));
        };
        let mut backoff = Backoff::endless();
        loop {
            // The pack may have changed meanwhile.
            let now = orders(&self.config, self.pack, &self.root).into_iter().find(|order| order.spec.id == self.list);
            self.fetcher.order = now.unwrap_or(self.fetcher.order);
            let waited = match self.fetcher.fetch() {
                Ok(fetched) => {
                    backoff = Backoff::endless();
                    note(None);
                    tell(&self.list, &fetched);
                    if matches!(fetched, Fetched::Put { .. }) {
                        on_put();
                    }
                    self.fetcher.database.changed_within(self.every)
                }
                // What is wrong with the rows is mended in the database.
                Err(Trouble::Wrong(message)) => {
                    eprintln!("weir: list `{}`: {message}; the version in force stays", self.list);
                    note(Some(message.clone()));
                    let waited = self.fetcher.database.changed_within(self.every.min(WRONG_AGAIN));
                    waited.map_err(|trouble| format!("{message}; {trouble}"))
                }
                Err(Trouble::Failed(message)) => Err(message),
                Err(Trouble::Told) => Ok(false),
            };
            if let Err(message) = waited {
                note(Some(message));
                std::thread::sleep(AGAIN_MIN + backoff.pause().unwrap_or_default());
            }
        }
    }
}

fn tell(list: &str, fetched: &Fetched) {
    let Fetched::Put { out, version, report } = fetched else { return };
    let manifest = &version.manifest;
    let what = contents(manifest);
    let left_out =
        if report.refused_rows > 0 { format!(", {} rows left out", report.refused_rows) } else { String::new() };
    eprintln!("weir: list `{list}` was fetched: version {} of {what}{left_out} ({})", version.version, out.display());
    for problem in &report.problems {
        eprintln!("weir: list `{list}`: row {} left out: {}", problem.line, problem.message);
    }
}

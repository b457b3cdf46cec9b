//! Packs that change under a running pipeline: when a file of theirs changes, or on SIGHUP.
//!
//! What is wrong is told and the old packs run on. Zones, sources, sinks and limits are those of
//! the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use weir_engine::record::RootKey;
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::Effort;
use weir_engine::{ReloadHandle, ReloadReport};
use weir_rules::{Diagnostics, Pack, Severity};

use crate::command::run::for_operators;
use crate::config::{self, Config, ListContext};
use crate::{present, watch};

/// Files whose change means that packs changed: the packs, what they include, and their lists.
pub(crate) fn files_of(packs: &[(Pack, Vec<Arc<weir_engine::watchlist::Watchlist>>)]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for (pack, _) in packs {
        files.push(pack.file.name.clone().into());
        files.extend(pack.rules.iter().map(|rule| PathBuf::from(&rule.file.name)));
        files.extend(pack.tests.iter().map(|test| PathBuf::from(&test.file.name)));
        files.extend(pack.lists.iter().map(|list| PathBuf::from(&list.file.name)));
        files.extend(pack.lists.iter().map(|list| config::beside(std::path::Path::new(&list.file.name), &list.from)));
    }
    files.sort();
    files.dedup();
    files
}

/// Asks for a reload.
#[derive(Clone)]
pub(crate) struct Asking(Sender<&'static str>);

impl Asking {
    /// Packs may have changed.
    pub(crate) fn ask(&self, why: &'static str) {
        // Nobody listens any more once the run is over.
        let _ = self.0.send(why);
    }
}

/// Reloads on a thread of its own, one change after the other.
pub(crate) fn start(config: Arc<Config>, root: RootKey, handle: ReloadHandle, files: &[PathBuf]) -> Asking {
    let (sender, asked) = channel();
    std::thread::spawn(move || serve(&config, &root, &handle, &asked));
    let asking = Asking(sender);
    match watch::changes(files) {
        Ok(changes) => {
            let asking = asking.clone();
            std::thread::spawn(move || changes.for_each(|()| asking.ask("a file changed")));
        }
        Err(error) => eprintln!("weir: the packs are not watched ({error}); SIGHUP reloads them"),
    }
    asking
}

fn serve(config: &Config, root: &RootKey, handle: &ReloadHandle, asked: &Receiver<&'static str>) {
    while let Ok(why) = asked.recv() {
        let started = Instant::now();
        let mut diagnostics = Diagnostics::new();
        let context = ListContext { root: root.clone(), in_force: handle.lists(), effort: Effort::Beside };
        let loaded = config::load(config, &context, &RealVfs, &mut diagnostics);
        handle.note_refused_lists(&loaded.kept);
        diagnostics.sort();
        if diagnostics.has_errors() {
            present::diagnostics(&for_operators(&diagnostics), false);
            let errors = diagnostics.count(Severity::Error);
            eprintln!(
                "weir: {why}: {errors} {}; the packs in force stay in force",
                if errors == 1 { "error" } else { "errors" }
            );
            continue;
        }
        match handle.reload(&loaded.packs) {
            Ok(report) => eprintln!("weir: {why}: {} ({} ms)", describe(&report), started.elapsed().as_millis()),
            Err(error) => eprintln!("weir: {why}: {error}; the packs in force stay in force"),
        }
    }
}

fn describe(report: &ReloadReport) -> String {
    let named = |what: &str, rules: &[String]| match rules {
        [] => String::new(),
        rules if rules.len() <= 5 => format!(", {} {what} ({})", rules.len(), rules.join(", ")),
        rules => format!(", {} {what}", rules.len()),
    };
    format!(
        "packs reloaded: {} rules kept with their state{}{}{}",
        report.kept,
        named("changed", &report.changed),
        named("added", &report.added),
        named("removed", &report.removed)
    )
}

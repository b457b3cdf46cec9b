//! Lists of packs: loaded, or kept as they are where their new version is not sound.

use std::path::Path;
use std::sync::Arc;

use weir_engine::Limits;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::record::RootKey;
use weir_engine::rng::OsRng;
use weir_engine::vfs::Vfs;
use weir_engine::watchlist::{self, Effort, ListSpec, LoadReport, Loading, Watchlist};
use weir_rules::diagnostic::codes;
use weir_rules::pack::{ListDecl, Pack};
use weir_rules::{Diagnostic, Diagnostics};

use super::beside;

/// What lists are loaded with, whatever the pack.
#[derive(Debug, Clone)]
pub(crate) struct ListContext {
    pub(crate) root: RootKey,
    /// Lists that are in force; empty at the start.
    pub(crate) in_force: Vec<Arc<Watchlist>>,
    pub(crate) effort: Effort,
}

impl ListContext {
    /// Nothing is in force, and all cores are free.
    pub(crate) fn at_start(root: RootKey) -> Self {
        Self { root, in_force: Vec::new(), effort: Effort::AllCores }
    }

    /// A context for packs without a configuration: with a key of its own.
    pub(crate) fn bare() -> Self {
        Self::at_start(RootKey::ephemeral(&mut OsRng))
    }
}

/// What a configuration says of all lists.
pub(crate) struct ListFacts<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) population: Option<u64>,
    /// Lists that come out of a database.
    pub(crate) fetched: Vec<&'a str>,
}

/// The lists of a pack; each path is relative to the file that declares the list. A list whose new version is refused
/// while another is in force stays as it is, and is noted in `kept`.
pub(crate) fn load_lists(
    pack: &Pack,
    facts: &ListFacts<'_>,
    context: &ListContext,
    vfs: &dyn Vfs,
    diagnostics: &mut Diagnostics,
    kept: &mut Vec<(String, String)>,
) -> Vec<Arc<Watchlist>> {
    let mut lists = Vec::new();
    for list in &pack.lists {
        let path = beside(Path::new(&list.file.name), &list.from);
        let spec = ListSpec::new(pack, list);
        let previous = context.in_force.iter().find(|known| is_of(known, &spec));
        let loading = Loading {
            vfs,
            limits: facts.limits,
            population: facts.population,
            now_ms: SystemClock::default().wall_ms(),
            root: &context.root,
            effort: context.effort,
            previous,
        };
        if previous.is_none() && facts.fetched.contains(&list.id.as_str()) && vfs.stat(&path).is_err() {
            // Whoever starts to run has fetched it before.
            diagnostics.push(about(&codes::LIST_WARNING, list, "is fetched when weir starts; nothing is on it here"));
            let empty = watchlist::load_inline(&list.id, "", spec, facts.limits, loading.now_ms);
            lists.extend(empty.map(|(empty, _)| Arc::new(empty)));
            continue;
        }
        match watchlist::load(&path, spec, &loading) {
            Ok((loaded, report)) => {
                for message in report_lines(&report) {
                    diagnostics.push(about(&codes::LIST_WARNING, list, &message));
                }
                lists.push(loaded);
            }
            Err(error) => match previous {
                Some(previous) => {
                    kept.push((list.id.clone(), error.to_string()));
                    let message = format!("version {} stays in force: {error}", previous.version);
                    diagnostics.push(about(&codes::LIST_KEPT, list, &message));
                    lists.push(Arc::clone(previous));
                }
                None => diagnostics.push(
                    about(&codes::LIST_REFUSED, list, &error.to_string())
                        .help("the path is relative to the file that declares the list"),
                ),
            },
        }
    }
    lists
}

/// Whether a list in force is what a pack declares, whatever has changed in how it is looked after.
fn is_of(known: &Watchlist, spec: &ListSpec) -> bool {
    let known = &known.spec;
    (&known.id, known.kind, &known.key, &known.purpose) == (&spec.id, spec.kind, &spec.key, &spec.purpose)
}

fn about(code: &'static weir_rules::diagnostic::Code, list: &ListDecl, message: &str) -> Diagnostic {
    Diagnostic::new(code, &list.file, list.from_span.clone(), format!("list `{}`: {message}", list.id))
}

fn report_lines(report: &LoadReport) -> Vec<String> {
    let mut lines = report.warnings.clone();
    if report.refused_rows > 0 {
        let first: Vec<String> = report
            .problems
            .iter()
            .take(3)
            .map(|problem| format!("line {}: {}", problem.line, problem.message))
            .collect();
        let first = if first.is_empty() { String::new() } else { format!("; {}", first.join("; ")) };
        lines.push(format!("{} rows left out, the rest loaded{first}", report.refused_rows));
    }
    if report.check_warnings > 0 {
        lines.push(format!("{} keys have a check digit that does not fit; they are kept", report.check_warnings));
    }
    lines
}

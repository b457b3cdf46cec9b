//! Packs that change while the pipeline runs.
//!
//! A new plan is made beside the old one and put in its place at the border of a batch: each turn is
//! judged under the plan that was in force when it was taken, whole, and turns are applied in order,
//! so no record is judged by two versions. What means the same under both plans keeps its state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_rules::pack::Pack;

use super::overload;
use super::pipeline::BuildError;
use super::plan::{Blueprint, PackWithLists, Plan};
use crate::watchlist::Watchlist;

/// The plan in force.
pub(super) struct Plans {
    current: Mutex<Arc<Plan>>,
    /// What the plan was made of. Whoever changes the plan holds this lock while he makes the new one, and the other
    /// only to put it in place: no shard waits for a plan to be made.
    packs: Mutex<Vec<PackWithLists>>,
    /// By list.
    refusals: Mutex<BTreeMap<String, Refusals>>,
}

/// New versions of a list that were refused.
#[derive(Debug, Clone, Default)]
struct Refusals {
    count: u64,
    /// When and why, unless its file has been sound since.
    last: Option<(i64, String)>,
}

/// How a list stands.
#[derive(Debug, Clone)]
pub struct ListStatus {
    /// The version in force.
    pub list: Arc<Watchlist>,
    /// New versions that were refused so far.
    pub refused: u64,
    /// When the newest version was refused, epoch milliseconds, and why; `None` if the newest is in force.
    pub refused_last: Option<(i64, String)>,
}

impl Plans {
    pub(super) fn new(plan: Plan, packs: Vec<PackWithLists>) -> Self {
        Self { current: Mutex::new(Arc::new(plan)), packs: Mutex::new(packs), refusals: Mutex::default() }
    }

    pub(super) fn current(&self) -> Arc<Plan> {
        Arc::clone(&self.current.lock())
    }
}

/// How often it is looked whether a plan is still judged by.
const BURIAL_CHECK: Duration = Duration::from_millis(20);

/// Frees a plan and its lists once no batch is judged by it any more. On a thread of its own: to unmap ten million
/// entries takes milliseconds, and a shard has none to spare.
fn bury(plan: Arc<Plan>) {
    // If no thread can be had, a shard frees it.
    let _ = std::thread::Builder::new().name("old lists".to_owned()).spawn(move || {
        while Arc::strong_count(&plan) > 1 {
            std::thread::sleep(BURIAL_CHECK);
        }
    });
}

/// What a change of packs did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Rules that mean the same as before, and kept their state.
    pub kept: usize,
    /// Rules that mean something else than before, and start from nothing.
    pub changed: Vec<String>,
    /// Rules that were not there before.
    pub added: Vec<String>,
    /// Rules that are not there any more.
    pub removed: Vec<String>,
}

/// Changes the packs of a running pipeline. Cheap to clone.
#[derive(Clone)]
pub struct ReloadHandle {
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) plans: Arc<Plans>,
}

impl ReloadHandle {
    /// Puts these packs in the place of all that were in force, at the next border of a batch.
    ///
    /// # Errors
    /// When they cannot be planned; the old ones stay in force.
    pub fn reload(&self, packs: &[(Pack, Vec<Arc<Watchlist>>)]) -> Result<ReloadReport, BuildError> {
        self.change(&mut self.plans.packs.lock(), packs.to_vec())
    }

    /// Puts a list in the place of the one of its name, in every pack that has it. The old one is freed when the last
    /// batch that was judged by it is done.
    ///
    /// # Errors
    /// When no pack has a list of this name and declaration; nothing changes then.
    pub fn swap_list(&self, list: &Arc<Watchlist>) -> Result<ReloadReport, BuildError> {
        let mut in_force = self.plans.packs.lock();
        let mut packs = in_force.clone();
        let mut found = false;
        for (_, lists) in &mut packs {
            for known in lists.iter_mut().filter(|known| known.spec == list.spec) {
                *known = Arc::clone(list);
                found = true;
            }
        }
        if !found {
            return Err(BuildError::ListUnknown { list: list.spec.id.clone() });
        }
        self.change(&mut in_force, packs)
    }

    /// Notes that new versions of lists were refused, by name of the list: their old versions are in force.
    pub fn note_refused_lists(&self, refused: &[(String, String)]) {
        let now_ms = self.blueprint.clock.wall_ms();
        let mut book = self.plans.refusals.lock();
        for list in self.lists() {
            let id = &list.spec.id;
            match refused.iter().find(|(refused, _)| refused == id) {
                Some((_, error)) => {
                    let noted = book.entry(id.clone()).or_default();
                    noted.count += 1;
                    noted.last = Some((now_ms, error.clone()));
                }
                // Its file is sound again.
                None => {
                    if let Some(noted) = book.get_mut(id) {
                        noted.last = None;
                    }
                }
            }
        }
    }

    /// What is in force of each list, and what was refused.
    pub fn list_status(&self) -> Vec<ListStatus> {
        let book = self.plans.refusals.lock();
        let status = |list: Arc<Watchlist>| {
            let refusals = book.get(&list.spec.id).cloned().unwrap_or_default();
            ListStatus { list, refused: refusals.count, refused_last: refusals.last }
        };
        self.lists().into_iter().map(status).collect()
    }

    /// The lists in force.
    pub fn lists(&self) -> Vec<Arc<Watchlist>> {
        self.plans.packs.lock().iter().flat_map(|(_, lists)| lists).cloned().collect()
    }

    fn change(&self, in_force: &mut Vec<PackWithLists>, packs: Vec<PackWithLists>) -> Result<ReloadReport, BuildError> {
        let current = self.plans.current();
        let plan = self.blueprint.plan(current.generation + 1, &packs)?;
        let mut report = ReloadReport::default();
        for planned in &plan.rules {
            let id = &planned.rule.id;
            match current.rule(id) {
                None => report.added.push(id.clone()),
                Some(old) if old.rule.version == planned.rule.version => report.kept += 1,
                Some(_) => report.changed.push(id.clone()),
            }
        }
        let gone = current.rules.iter().map(|planned| &planned.rule.id).filter(|id| plan.rule(id).is_none());
        report.removed = gone.cloned().collect();
        *in_force = packs;
        self.blueprint.classes.set(overload::classes(&plan));
        let old = std::mem::replace(&mut *self.plans.current.lock(), Arc::new(plan));
        bury(old);
        Ok(report)
    }
}

//! Packs that change while the pipeline runs.
//!
//! A new plan is made beside the old one and put in its place at the border of a batch: each turn is
//! judged under the plan that was in force when it was taken, whole, and turns are applied in order,
//! so no record is judged by two versions. What means the same under both plans keeps its state.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_rules::pack::Pack;

use super::pipeline::BuildError;
use super::plan::{Blueprint, Plan};
use crate::watchlist::Watchlist;

/// The plan in force.
pub(super) struct Plans {
    current: Mutex<Arc<Plan>>,
}

impl Plans {
    pub(super) fn new(plan: Plan) -> Self {
        Self { current: Mutex::new(Arc::new(plan)) }
    }

    pub(super) fn current(&self) -> Arc<Plan> {
        Arc::clone(&self.current.lock())
    }
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
        let mut current = self.plans.current.lock();
        let plan = self.blueprint.plan(current.generation + 1, packs)?;
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
        *current = Arc::new(plan);
        Ok(report)
    }
}

//! Packs, lists, zones and sources, put together for one run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_rules::pack::{Body, Pack};
use weir_rules::schema::Catalog;

use super::pipeline::BuildError;
use crate::clock::Clock;
use crate::decode::SourcePlan;
use crate::limits::Limits;
use crate::operator::{PlannedRule, columns_read};
use crate::record::{KindId, Layouts, Pseudonyms};
use crate::watchlist::Watchlist;
use crate::window::ZoneTable;

/// Everything that does not change while the pipeline runs; shared by all shards.
pub(crate) struct Plan {
    pub(crate) layouts: Layouts,
    pub(crate) sources: Vec<Arc<SourcePlan>>,
    pub(crate) rules: Vec<PlannedRule>,
    /// Rules by kind.
    pub(crate) rules_of_kind: Vec<Vec<usize>>,
    pub(crate) zones: ZoneTable,
    pub(crate) limits: Limits,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The rules that run, laid out over the columns they read.
pub(super) fn plan_rules(
    catalog: &Catalog,
    packs: &[(Pack, Vec<Arc<Watchlist>>)],
    limits: &Limits,
) -> Result<(Layouts, Vec<PlannedRule>), BuildError> {
    let running = || {
        packs.iter().flat_map(|(pack, lists)| {
            pack.rules.iter().filter(|rule| rule.status.runs()).map(move |rule| (pack, lists, rule))
        })
    };
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, _, rule) in running() {
        read.entry(rule.from.clone()).or_default().extend(columns_read(rule));
    }
    let layouts = Layouts::new(catalog, &read, limits.symbols_max);
    let mut rules: Vec<PlannedRule> = Vec::new();
    for (pack, lists, rule) in running() {
        if rules.iter().any(|other| other.rule.id == rule.id) {
            return Err(BuildError::RuleTwice { rule: rule.id.clone() });
        }
        let kind = catalog
            .index_of(&rule.from)
            .ok_or_else(|| BuildError::UnknownKind { rule: rule.id.clone(), kind: rule.from.clone() })?;
        let layout = &layouts.kinds[kind];
        let condition = rule
            .condition
            .as_ref()
            .map(|condition| condition.physical(&layout.schema))
            .transpose()
            .map_err(|error| BuildError::Condition { rule: rule.id.clone(), error: error.to_string() })?;
        let list = match &rule.body {
            Body::Watchlist { list, .. } => {
                let id = &pack.lists[*list].id;
                let loaded = lists.iter().find(|loaded| loaded.spec.id == *id);
                Some(Arc::clone(
                    loaded.ok_or_else(|| BuildError::ListMissing { rule: rule.id.clone(), list: id.clone() })?,
                ))
            }
            _ => None,
        };
        rules.push(PlannedRule {
            index: rules.len(),
            rule: rule.clone(),
            pack: pack.name.clone(),
            kind: kind as KindId,
            condition,
            list,
            route: rule.alerting.route.iter().map(|(name, _)| name.clone()).collect(),
        });
    }
    Ok((layouts, rules))
}

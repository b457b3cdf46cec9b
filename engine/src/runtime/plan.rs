//! Packs, lists, zones and sources, put together for one run.
//!
//! A [`Blueprint`] is what stays for the life of a pipeline; a [`Plan`] is made of it and of packs,
//! and another one of other packs when they change. Symbol tables belong to the blueprint, so that
//! numbers mean the same under every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_rules::expr::Expression;
use weir_rules::pack::{Body, ListKind, Lookup, Pack, Rule, WindowSpec};
use weir_rules::schema::{CREDENTIAL_ID_COLUMN, Catalog};

use super::pipeline::{BuildError, SourceSpec};
use crate::clock::Clock;
use crate::credential::{Issuers, Verifier};
use crate::decode::SourcePlan;
use crate::limits::Limits;
use crate::operator::predicate::Predicates;
use crate::operator::probe::{Probe, ProbeId};
use crate::operator::steps::StepLayout;
use crate::operator::window::{PanePositions, PlannedPanes};
use crate::operator::{PlannedRule, columns_read};
use crate::record::{KindId, Layouts, Pseudonyms, Subjects, SymbolId, Symbols, Wholes};
use crate::source::ClassBoard;
use crate::watchlist::Watchlist;
use crate::window::{PaneClock, ViewLength, Zone, ZoneTable};

/// A pack, and the lists its rules look things up in.
pub(super) type PackWithLists = (Pack, Vec<Arc<Watchlist>>);

/// What stays while packs come and go.
pub(super) struct Blueprint {
    pub(super) catalog: Catalog,
    pub(super) sources: Vec<SourceSpec>,
    pub(super) zones: Arc<ZoneTable>,
    pub(super) limits: Limits,
    pub(super) pseudonyms: Pseudonyms,
    pub(super) clock: Arc<dyn Clock>,
    /// Keys of those who issue credentials.
    pub(super) issuers: Arc<Issuers>,
    /// By column name.
    pub(super) symbols: BTreeMap<String, Symbols>,
    /// Whether the time of each rule is taken.
    pub(super) timed: bool,
    /// Where sources look up how urgent their records are.
    pub(super) classes: Arc<ClassBoard>,
}

/// Everything that does not change while one set of packs is in force; shared by all shards.
pub(crate) struct Plan {
    /// Counts the sets of packs, from 0.
    pub(crate) generation: u64,
    /// Columns that rules read, by kind. Plans that read the same build the same columns.
    pub(crate) read: BTreeMap<String, BTreeSet<String>>,
    pub(crate) layouts: Layouts,
    pub(crate) sources: Vec<Arc<SourcePlan>>,
    pub(crate) rules: Vec<PlannedRule>,
    /// The lists, and the version of each, which is made of what it holds.
    pub(super) lists: BTreeSet<(String, String)>,
    /// Positions of rules by id.
    by_id: BTreeMap<String, usize>,
    /// Rules that are judged one by one, by kind.
    pub(crate) rules_of_kind: Vec<Vec<usize>>,
    pub(crate) panes: Vec<PlannedPanes>,
    /// Panes by kind.
    pub(crate) panes_of_kind: Vec<Vec<usize>>,
    /// Conditions by kind.
    pub(crate) predicates: Vec<Predicates>,
    /// Look-ups by kind.
    pub(crate) probes: Vec<Vec<Probe>>,
    pub(crate) zones: Arc<ZoneTable>,
    pub(crate) limits: Limits,
    pub(crate) pseudonyms: Pseudonyms,
    /// Pseudonyms by purpose.
    pub(crate) subjects: Vec<Subjects>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether some source lets records go rather than wait.
    pub(crate) sheds: bool,
    /// Nanoseconds spent on each rule, if they are taken.
    pub(crate) costs: Option<Vec<AtomicU64>>,
}

impl Plan {
    /// Purposes of all rules.
    pub(crate) fn purposes(&self) -> Vec<String> {
        let purposes = self.rules.iter().map(|planned| planned.rule.purpose.clone());
        purposes.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Runs something for a rule, and takes its time if times are taken.
    pub(crate) fn timed<T>(&self, rule: usize, run: impl FnOnce() -> T) -> T {
        let Some(costs) = &self.costs else { return run() };
        let start_ns = self.clock.monotonic_ns();
        let result = run();
        costs[rule].fetch_add(self.clock.monotonic_ns().saturating_sub(start_ns), Ordering::Relaxed);
        result
    }

    /// Where a rule of another plan stands in this one, if it means the same.
    pub(crate) fn place_of(&self, rule: &Rule) -> Option<usize> {
        self.by_id.get(&rule.id).copied().filter(|place| self.rules[*place].rule.version == rule.version)
    }

    /// Whether the rules of another plan are these, in the same places and at the same point of their lives.
    pub(crate) fn has_rules_of(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(one, another)| {
                (&one.rule.id, &one.rule.version, one.rule.status, &one.rule.purpose)
                    == (&another.rule.id, &another.rule.version, another.rule.status, &another.rule.purpose)
            })
    }

    /// A rule by its id.
    pub(crate) fn rule(&self, id: &str) -> Option<&PlannedRule> {
        self.by_id.get(id).map(|place| &self.rules[*place])
    }
}

impl Blueprint {
    /// Symbol tables for a catalog.
    pub(super) fn symbols(catalog: &Catalog, limits: &Limits) -> BTreeMap<String, Symbols> {
        Layouts::new(catalog, &BTreeMap::new(), limits).symbols
    }

    /// By zone, the zones it lies in.
    fn wholes(&self) -> Wholes {
        let symbols = &self.symbols["zone"];
        let above = |zone: &Zone| {
            let above: Box<[SymbolId]> =
                self.zones.ancestors(&zone.id).filter_map(|whole| symbols.intern(&whole.id)).collect();
            (!above.is_empty()).then_some(above)
        };
        self.zones.iter().filter_map(|zone| Some((symbols.intern(&zone.id)?, above(zone)?))).collect()
    }

    /// The plan for a set of packs: rules compiled and laid out over the columns they read.
    pub(super) fn plan(&self, generation: u64, packs: &[PackWithLists]) -> Result<Plan, BuildError> {
        let running = || {
            packs.iter().flat_map(|(pack, lists)| {
                pack.rules.iter().filter(|rule| rule.status.runs()).map(move |rule| (pack, lists, rule))
            })
        };
        let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, _, rule) in running() {
            read.entry(rule.from.clone()).or_default().extend(columns_read(rule));
        }
        self.symbols.values().for_each(|symbols| symbols.share_among(self.sources.len()));
        let layouts = Layouts {
            verifier: Arc::new(Verifier::new(Arc::clone(&self.issuers), revocations(packs))),
            wholes: Arc::new(self.wholes()),
            ..Layouts::with_symbols(&self.catalog, &read, &self.symbols)
        };
        let kinds = layouts.kinds.len();
        let mut planner = Planner {
            catalog: &self.catalog,
            layouts: &layouts,
            predicates: (0..kinds).map(|_| Predicates::default()).collect(),
            probes: (0..kinds).map(|_| Vec::new()).collect(),
            panes: Vec::new(),
            by_meaning: BTreeMap::new(),
            rules: Vec::new(),
            purposes: Vec::new(),
        };
        let mut ids: BTreeSet<&str> = BTreeSet::new();
        for (pack, lists, rule) in running() {
            if !ids.insert(&rule.id) {
                return Err(BuildError::RuleTwice { rule: rule.id.clone() });
            }
            planner.add(pack, lists, rule)?;
        }
        let Planner { predicates, probes, panes, rules, purposes, .. } = planner;
        let of_steps = |planned: &&PlannedRule| matches!(planned.rule.body, Body::Sequence(_) | Body::Absence(_));
        let windows = rules.iter().filter(|planned| planned.panes.is_some()).count() + panes.len();
        let limits = self.limits.shared_by(windows, rules.iter().filter(of_steps).count());
        let mut rules_of_kind = vec![Vec::new(); kinds];
        for planned in rules.iter().filter(|planned| planned.panes.is_none()) {
            rules_of_kind[usize::from(planned.kind)].push(planned.index);
        }
        let mut panes_of_kind = vec![Vec::new(); kinds];
        for (index, panes) in panes.iter().enumerate() {
            panes_of_kind[usize::from(panes.kind)].push(index);
        }
        let sources = self
            .sources
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let id = u16::try_from(index).map_err(|_| BuildError::TooManySources)?;
                let mut plan = SourcePlan::new(
                    id,
                    &spec.name,
                    spec.kind.as_deref(),
                    spec.timezone.as_deref(),
                    spec.map.as_ref(),
                    &self.catalog,
                    &layouts,
                )?;
                plan.keeps_refused = spec.keeps_refused;
                Ok(Arc::new(plan))
            })
            .collect::<Result<_, BuildError>>()?;
        Ok(Plan {
            generation,
            costs: self.timed.then(|| rules.iter().map(|_| AtomicU64::new(0)).collect()),
            by_id: rules.iter().map(|planned| (planned.rule.id.clone(), planned.index)).collect(),
            read,
            layouts,
            sources,
            rules,
            lists: packs.iter().flat_map(|(_, lists)| lists).map(version_of).collect(),
            rules_of_kind,
            panes,
            panes_of_kind,
            predicates,
            probes,
            zones: Arc::clone(&self.zones),
            limits,
            pseudonyms: self.pseudonyms.clone(),
            subjects: purposes.iter().map(|purpose| self.pseudonyms.subjects(purpose)).collect(),
            clock: Arc::clone(&self.clock),
            sheds: self.sources.iter().any(|source| source.sheds),
        })
    }
}

fn version_of(list: &Arc<Watchlist>) -> (String, String) {
    (list.spec.id.clone(), list.version.clone())
}

/// Lists of credentials that their issuers took back.
fn revocations(packs: &[PackWithLists]) -> Vec<Arc<Watchlist>> {
    let revokes =
        |list: &&Arc<Watchlist>| list.spec.kind == ListKind::RevokedCredential && list.spec.key == CREDENTIAL_ID_COLUMN;
    packs.iter().flat_map(|(_, lists)| lists).filter(revokes).cloned().collect()
}

struct Planner<'a> {
    catalog: &'a Catalog,
    layouts: &'a Layouts,
    predicates: Vec<Predicates>,
    probes: Vec<Vec<Probe>>,
    panes: Vec<PlannedPanes>,
    by_meaning: BTreeMap<String, usize>,
    rules: Vec<PlannedRule>,
    purposes: Vec<String>,
}

impl Planner<'_> {
    fn add(&mut self, pack: &Pack, lists: &[Arc<Watchlist>], rule: &Rule) -> Result<(), BuildError> {
        let kind = self
            .catalog
            .index_of(&rule.from)
            .ok_or_else(|| BuildError::UnknownKind { rule: rule.id.clone(), kind: rule.from.clone() })?;
        let layout = &self.layouts.kinds[kind];
        let predicates = &mut self.predicates[kind];
        let mut filter = |conditions: &[Expression]| {
            predicates
                .filter(conditions, layout, self.layouts)
                .map_err(|error| BuildError::Condition { rule: rule.id.clone(), error: error.to_string() })
        };
        let known = self.purposes.iter().position(|purpose| *purpose == rule.purpose);
        let purpose = known.unwrap_or_else(|| {
            self.purposes.push(rule.purpose.clone());
            self.purposes.len() - 1
        });
        let mut planned = PlannedRule {
            index: self.rules.len(),
            rule: rule.clone(),
            pack: pack.name.clone(),
            pack_version: pack.version.clone(),
            kind: kind as KindId,
            purpose: u16::try_from(purpose).map_err(|_| BuildError::TooManyPurposes)?,
            filter: filter(&rule.conditions)?,
            probe: None,
            steps: Vec::new(),
            step_layout: StepLayout::new(rule, layout),
            panes: None,
            route: rule.alerting.route.iter().map(|(name, _)| name.clone()).collect(),
        };
        let steps = match &rule.body {
            Body::Sequence(spec) => spec.steps.iter().collect(),
            Body::Absence(spec) => vec![&spec.after, &spec.expect],
            Body::Match | Body::Watchlist(_) | Body::Window(_) => Vec::new(),
        };
        for step in steps {
            let asked: Vec<Expression> = rule.conditions.iter().chain(&step.conditions).cloned().collect();
            planned.steps.push(filter(&asked)?);
        }
        if let Some(lookup) = rule.body.lookups().first() {
            planned.probe = Some(self.probe(kind, pack, lists, rule, lookup)?);
        }
        if let Body::Window(spec) = &rule.body {
            planned.panes = Some(self.panes_for(&planned, spec));
        }
        self.rules.push(planned);
        Ok(())
    }

    fn probe(
        &mut self,
        kind: usize,
        pack: &Pack,
        lists: &[Arc<Watchlist>],
        rule: &Rule,
        lookup: &Lookup,
    ) -> Result<ProbeId, BuildError> {
        let id = &pack.lists[lookup.list].id;
        let missing = || BuildError::ListMissing { rule: rule.id.clone(), list: id.clone() };
        let list = lists.iter().find(|loaded| loaded.spec.id == *id).ok_or_else(missing)?;
        let position = self.layouts.kinds[kind].position_of(&lookup.on).ok_or_else(missing)?;
        let place = |name: &Option<String>| self.layouts.kinds[kind].position_of(name.as_ref()?);
        let probe = Probe {
            position,
            list: Arc::clone(list),
            min_grade: lookup.min_grade,
            candidates: place(&lookup.candidates),
            partial: place(&lookup.partial),
            users: 0,
        };
        let probes = &mut self.probes[kind];
        let known = probes.iter().position(|known| known.is_like(&probe));
        let at = known.unwrap_or_else(|| {
            probes.push(probe);
            probes.len() - 1
        });
        probes[at].users += 1;
        Ok(at)
    }

    fn panes_for(&mut self, planned: &PlannedRule, spec: &WindowSpec) -> usize {
        let conditions: Vec<String> = planned.rule.conditions.iter().map(Expression::meaning).collect();
        let positions = PanePositions::new(spec, &self.layouts.kinds[usize::from(planned.kind)], self.layouts);
        let clock = PaneClock {
            kind: planned.kind,
            pane_ms: spec.pane_ms(),
            lateness_ms: spec.lateness_ms,
            revise_for_ms: spec.revise_for_ms,
        };
        let gap_ms = spec.session.then_some(spec.last_ms);
        let shape = match gap_ms {
            Some(gap_ms) => format!(", sessions with a gap of {gap_ms} ms"),
            // Windows that are revised keep panes of their own: what a late record changes depends on their ends.
            None if spec.revise_for_ms > 0 => {
                format!(", revised for {} ms, last {} every {}", spec.revise_for_ms, spec.last_ms, spec.every_ms)
            }
            None => String::new(),
        };
        let meaning = format!(
            "{} of {} where {} by {} in {} ms, lateness {} ms{shape}{}",
            spec.measure.meaning(),
            planned.rule.from,
            conditions.join(" AND "),
            spec.key.join(","),
            clock.pane_ms,
            clock.lateness_ms,
            // Persons are counted by pseudonyms, and each purpose has its own.
            if positions.count_subjects() { format!(", for {}", planned.rule.purpose) } else { String::new() }
        );
        let index = *self.by_meaning.entry(meaning.clone()).or_insert_with(|| {
            self.panes.push(PlannedPanes {
                kind: planned.kind,
                meaning,
                filter: planned.filter.clone(),
                purpose: planned.purpose,
                measure: spec.measure.clone(),
                key: spec.key.clone(),
                positions: positions.clone(),
                clock,
                gap_ms,
                early: false,
                views: Vec::new(),
                rules: Vec::new(),
            });
            self.panes.len() - 1
        });
        let panes = &mut self.panes[index];
        panes.early |= spec.early;
        let view = ViewLength { last_ms: spec.last_ms, every_ms: spec.every_ms };
        if !panes.views.contains(&view) {
            panes.views.push(view);
        }
        panes.rules.push(planned.index);
        index
    }
}

//! What a pack can only be checked for once the configuration is known.

use std::collections::BTreeSet;

use super::{Body, Pack, Per, Review, Rule, Status, WindowSpec};
use crate::diagnostic::{Diagnostic, Diagnostics, codes, did_you_mean};
use crate::schema::OUTCOME_COLUMN;

/// What the checker needs to know of a sink.
#[derive(Debug, Clone)]
pub struct SinkFacts {
    /// Name.
    pub name: String,
    /// Purposes it serves.
    pub purposes: Vec<String>,
    /// Whether it opens, closes or stops something by itself.
    pub actuator: bool,
    /// Whether those who read it look into unsure matches before anybody is paged.
    pub reviewers: bool,
}

/// What the checker needs to know of a zone.
#[derive(Debug, Clone, Default)]
pub struct ZoneFacts {
    /// Name.
    pub id: String,
    /// Area, m2.
    pub area_m2: Option<f64>,
    /// How many people it holds at one moment.
    pub capacity: Option<f64>,
    /// How many people it takes in a day.
    pub daily_capacity: Option<f64>,
    /// Class.
    pub class: Option<String>,
}

impl ZoneFacts {
    fn figure(&self, per: Per) -> Option<f64> {
        match per {
            Per::Area => self.area_m2,
            Per::Capacity => self.capacity,
            Per::DailyCapacity => self.daily_capacity,
        }
    }
}

/// Areas below this give a density that jumps with every step of one person: 0.64 m2 peaked at 10.8 people/m2 where
/// 9 m2 before it saw 4.2 (bottleneck experiment, Juelich).
const DENSITY_AREA_MIN_M2: f64 = 4.0;

/// What the configuration brings.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Sinks.
    pub sinks: Vec<SinkFacts>,
    /// Zones of the zone table.
    pub zones: Vec<ZoneFacts>,
    /// Size of the population that lists of persons are drawn from.
    pub population: Option<u64>,
    /// Whether keys of issuers of credentials are named.
    pub issuers: bool,
}

/// Checks routes, purposes of sinks, figures of zones and the size guard's precondition.
pub fn check_environment(pack: &Pack, environment: &Environment, diagnostics: &mut Diagnostics) {
    for rule in pack.rules.iter().filter(|rule| rule.status == Status::Active) {
        check_routes(rule, environment, diagnostics);
    }
    for rule in &pack.rules {
        if let Body::Window(spec) = &rule.body {
            check_zones(rule, spec, environment, diagnostics);
        }
    }
    let verified = |rule: &&Rule| {
        rule.status.runs() && rule.expressions().any(|it| it.columns.iter().any(|name| name == OUTCOME_COLUMN))
    };
    for rule in pack.rules.iter().filter(|rule| !environment.issuers && rule.from == "code").filter(verified) {
        diagnostics.push(
            Diagnostic::new(
                &codes::BAD_KEYS,
                &rule.file,
                rule.span.clone(),
                format!(
                    "rule `{}` asks for the outcome of verifying credentials, and no issuer's key is known",
                    rule.id
                ),
            )
            .help("name the files with issuers' keys: `credentials: { issuers: [keys/eu.json] }`"),
        );
    }
    for list in pack.lists.iter().filter(|list| list.kind.names_persons()) {
        if environment.population.is_none() {
            diagnostics.push(
                Diagnostic::new(
                    &codes::POPULATION_NEEDED,
                    &list.file,
                    list.span.clone(),
                    format!("list `{}` names persons, and the configuration declares no population", list.id),
                )
                .help("write `population: 12000000` into the configuration; the list may name 0.5 % of it at most"),
            );
        }
    }
}

/// A window rule's figures and classes are there.
fn check_zones(rule: &Rule, spec: &WindowSpec, environment: &Environment, diagnostics: &mut Diagnostics) {
    let problem = |code, message: String| Diagnostic::new(code, &rule.file, rule.span.clone(), message);
    let named = |zones: &[&ZoneFacts]| {
        let shown: Vec<&str> = zones.iter().take(3).map(|zone| zone.id.as_str()).collect();
        format!("{}{}", shown.join(", "), if zones.len() > shown.len() { ", ..." } else { "" })
    };
    if let Some(per) = spec.per {
        let without: Vec<&ZoneFacts> = environment.zones.iter().filter(|zone| zone.figure(per).is_none()).collect();
        if environment.zones.is_empty() || !without.is_empty() {
            let which = if without.is_empty() { String::new() } else { format!(": {}", named(&without)) };
            diagnostics.push(
                problem(
                    &codes::NO_AREA,
                    format!("rule `{}` divides by the zone's {}, which not every zone has{which}", rule.id, per.word()),
                )
                .help(format!("give the configuration a zone table in which every {} is above 0", per.word())),
            );
        }
        let small: Vec<&ZoneFacts> = environment
            .zones
            .iter()
            .filter(|zone| per == Per::Area && zone.area_m2.is_some_and(|area| area < DENSITY_AREA_MIN_M2))
            .collect();
        if !small.is_empty() && !spec.small_areas {
            diagnostics.push(
                problem(
                    &codes::SMALL_AREA,
                    format!(
                        "rule `{}` divides by areas under {DENSITY_AREA_MIN_M2} m2 ({}), where a density jumps with every step",
                        rule.id,
                        named(&small)
                    ),
                )
                .help("count in a larger zone, or write `small_areas: true` if it is meant"),
            );
        }
    }
    for class in spec.levels.iter().flat_map(|level| &level.for_zones).filter_map(|it| it.class.as_deref()) {
        let known: BTreeSet<&str> = environment.zones.iter().filter_map(|zone| zone.class.as_deref()).collect();
        if !known.contains(class) {
            diagnostics.push(
                problem(&codes::UNKNOWN_CLASS, format!("no zone of the zone table has the class `{class}`"))
                    .maybe_help(did_you_mean(class, known.iter().copied())),
            );
        }
    }
}

fn check_routes(rule: &Rule, environment: &Environment, diagnostics: &mut Diagnostics) {
    let serves = |sink: &SinkFacts| sink.purposes.contains(&rule.purpose);
    let may_take = |sink: &SinkFacts| !(sink.actuator && rule.alerting.review == Review::Required);
    let unsure = rule.body.lookups().into_iter().find(|lookup| !lookup.min_grade.may_page());
    let named = |sink: &SinkFacts| {
        rule.alerting.route.is_empty() || rule.alerting.route.iter().any(|(name, _)| *name == sink.name)
    };
    if let Some(lookup) = unsure
        && !environment.sinks.iter().any(|sink| sink.reviewers && serves(sink) && named(sink))
    {
        diagnostics.push(
            Diagnostic::new(
                &codes::NO_REVIEWER,
                &rule.file,
                rule.span.clone(),
                format!(
                    "rule `{}` counts matches down to `{}`, and no sink with `audience: reviewers` takes its alerts",
                    rule.id,
                    lookup.min_grade.word()
                ),
            )
            .help("a post is paged about `exact` and `pattern` only; the rest goes to a reviewer"),
        );
    }
    if rule.alerting.route.is_empty() {
        if !environment.sinks.iter().any(|sink| serves(sink) && may_take(sink)) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::NO_SINK,
                    &rule.file,
                    rule.span.clone(),
                    format!("no sink takes alerts of rule `{}` (purpose `{}`)", rule.id, rule.purpose),
                )
                .help("add the purpose to a sink in the configuration"),
            );
        }
        return;
    }
    for (name, span) in &rule.alerting.route {
        let Some(sink) = environment.sinks.iter().find(|sink| sink.name == *name) else {
            let names: Vec<&str> = environment.sinks.iter().map(|sink| sink.name.as_str()).collect();
            diagnostics.push(
                Diagnostic::new(
                    &codes::UNKNOWN_ROUTE,
                    &rule.file,
                    span.clone(),
                    format!("the configuration has no sink `{name}`"),
                )
                .help(format!("sinks: {}", names.join(", ")))
                .maybe_help(did_you_mean(name, names.iter().copied())),
            );
            continue;
        };
        if !serves(sink) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::SINK_PURPOSE,
                    &rule.file,
                    span.clone(),
                    format!("sink `{name}` does not serve purpose `{}`", rule.purpose),
                )
                .help(format!("it serves: {}", sink.purposes.join(", "))),
            );
        }
        if !may_take(sink) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::ACTUATOR_NEEDS_REVIEW,
                    &rule.file,
                    span.clone(),
                    format!("sink `{name}` acts by itself, but a person decides on alerts of rule `{}`", rule.id),
                )
                .help("route it to a person"),
            );
        }
    }
}

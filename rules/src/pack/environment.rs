//! What a pack can only be checked for once the configuration is known.

use super::{Body, Pack, Per, Review, Status};
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

/// What the configuration brings.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Sinks.
    pub sinks: Vec<SinkFacts>,
    /// Whether the zone table gives every zone an area above 0.
    pub zones_have_area: bool,
    /// Whether the zone table gives every zone a capacity above 0.
    pub zones_have_capacity: bool,
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
        let Body::Window(spec) = &rule.body else {
            continue;
        };
        let (figure, there) = match spec.per {
            Some(Per::Area) => ("area", environment.zones_have_area),
            Some(Per::Capacity) => ("capacity", environment.zones_have_capacity),
            None => continue,
        };
        if !there {
            diagnostics.push(
                Diagnostic::new(
                    &codes::NO_AREA,
                    &rule.file,
                    rule.span.clone(),
                    format!("rule `{}` divides by the zone's {figure}, which not every zone has", rule.id),
                )
                .help(format!("give the configuration a zone table in which every {figure} is above 0")),
            );
        }
    }
    let verified = |rule: &&super::Rule| {
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

fn check_routes(rule: &super::Rule, environment: &Environment, diagnostics: &mut Diagnostics) {
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

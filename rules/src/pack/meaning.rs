//! What rules mean beside each other: twins, and rules that another one makes needless.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, ListDecl, Rule};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::expr::Expression;

/// What must agree before conditions are compared at all.
fn group(rule: &Rule, lists: &[ListDecl]) -> String {
    let body = match &rule.body {
        Body::Match => "match".to_owned(),
        Body::Watchlist(lookup) => format!("watchlist {} {}", lookup.on, lists[lookup.list].id),
        Body::Window(spec) => spec.meaning(),
        Body::Sequence(spec) => spec.meaning(|lookup| format!("{} {}", lookup.on, lists[lookup.list].id)),
        Body::Absence(spec) => spec.meaning(|lookup| format!("{} {}", lookup.on, lists[lookup.list].id)),
    };
    format!("{} {} {} {body}", rule.from, rule.purpose, rule.status.runs())
}

/// Reports rules that mean the same, and `match` and `watchlist` rules whose every alert another rule gives too.
pub(super) fn check(rules: &[Rule], lists: &[ListDecl], diagnostics: &mut Diagnostics) {
    let mut groups: BTreeMap<String, Vec<(&Rule, BTreeSet<String>)>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.status.runs()) {
        let asked = rule.conditions.iter().flat_map(Expression::conjuncts).map(|part| part.meaning()).collect();
        groups.entry(group(rule, lists)).or_default().push((rule, asked));
    }
    for members in groups.values() {
        // A rule that asks for less is found under the first thing it asks for.
        let mut by_first: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, (_, asked)) in members.iter().enumerate() {
            by_first.entry(asked.first().map_or("", String::as_str)).or_default().push(at);
        }
        for (at, (rule, asked)) in members.iter().enumerate() {
            let candidates =
                std::iter::once("").chain(asked.iter().map(String::as_str)).filter_map(|first| by_first.get(first));
            let wider = candidates.flatten().find(|other| **other != at && members[**other].1.is_subset(asked));
            let Some(&other_at) = wider else { continue };
            let (other, other_asked) = &members[other_at];
            if other_asked == asked {
                // Told once, at the later one.
                if other_at < at {
                    diagnostics.push(
                        Diagnostic::new(
                            &codes::SAME_MEANING,
                            &rule.file,
                            rule.span.clone(),
                            format!("rule `{}` means the same as `{}`", rule.id, other.id),
                        )
                        .also_in(&other.file, other.span.clone(), "the other one")
                        .help("delete one of them"),
                    );
                }
            } else if matches!(rule.body, Body::Match | Body::Watchlist(_))
                && rule.alerting.severity <= other.alerting.severity
                && rule.alerting.route.iter().map(|(name, _)| name).eq(other
                    .alerting
                    .route
                    .iter()
                    .map(|(name, _)| name))
            {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::SHADOWED_RULE,
                        &rule.file,
                        rule.span.clone(),
                        format!("every record of rule `{}` is one of rule `{}` too", rule.id, other.id),
                    )
                    .also_in(&other.file, other.span.clone(), "asks for less")
                    .help("delete it, or take its records out of the other one"),
                );
            }
        }
    }
}

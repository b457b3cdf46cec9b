//! The pack as a whole: its head, its purposes, and what is never used.

use std::sync::Arc;

use super::list::parse_list;
use super::rule::RuleParser;
use super::{Body, ListDecl, Pack, Purpose, Rule};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes};
use crate::schema::Catalog;
use crate::yaml::{self, MapReader};

/// Most rules in one pack.
const RULES_MAX: usize = 10_000;

/// Reads one pack. Everything that is wrong goes to `diagnostics`; the pack is to be run only if
/// that holds no error, but is returned as far as it was understood so that further checks can go on.
pub fn parse(file: &Arc<SourceFile>, catalog: &Catalog, diagnostics: &mut Diagnostics) -> Option<Pack> {
    let root = yaml::parse(file, diagnostics)?;
    let mut map = MapReader::open(file, &root, "the pack", diagnostics)?;
    check_version(file, &mut map, diagnostics);
    let name = map.require_text("pack", "the pack's name", diagnostics);
    let owner = map.require_text("owner", "who answers for these rules", diagnostics);

    let purposes =
        map.take_map("purposes", diagnostics).map(|map| parse_purposes(map, diagnostics)).unwrap_or_default();

    let mut lists: Vec<ListDecl> = Vec::new();
    let mut refused_lists: Vec<String> = Vec::new();
    if let Some(mut declared) = map.take_map("lists", diagnostics) {
        for (id, key, node) in declared.entries() {
            match parse_list(file, (id, key), node, &purposes, catalog, diagnostics) {
                Some(list) => lists.push(list),
                None => refused_lists.push(id.to_owned()),
            }
        }
    }

    let mut rules: Vec<Rule> = Vec::new();
    if !map.has("rules") {
        map.missing("rules", "a list of rules", diagnostics);
    }
    let nodes = map.take_list("rules", diagnostics).unwrap_or_default();
    if nodes.len() > RULES_MAX {
        diagnostics.push(Diagnostic::new(
            &codes::BAD_VALUE,
            file,
            map.place_of("rules"),
            format!("a pack holds at most {RULES_MAX} rules, this one has {}", nodes.len()),
        ));
    }
    let parser = RuleParser { file, catalog, purposes: &purposes, lists: &lists, refused_lists: &refused_lists };
    for node in nodes.iter().take(RULES_MAX) {
        let Some(rule) = parser.parse(node, diagnostics) else {
            continue;
        };
        if let Some(first) = rules.iter().find(|first| first.id == rule.id) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::DUPLICATE_RULE,
                    file,
                    rule.span.clone(),
                    format!("there are two rules `{}`", rule.id),
                )
                .label("second")
                .also(first.span.clone(), "first"),
            );
        }
        rules.push(rule);
    }
    if map.take("tests").is_some() {
        diagnostics.push(Diagnostic::new(
            &codes::TESTS_NOT_RUN,
            file,
            map.place_of("tests").start..map.place_of("tests").start + "tests".len(),
            "the tests of this pack are kept, but not run by this version",
        ));
    }
    map.finish(diagnostics);
    warn_unused(file, &purposes, &lists, &rules, &refused_lists, diagnostics);
    Some(Pack {
        file: Arc::clone(file),
        name: name.map_or_else(String::new, |(text, _)| text.to_owned()),
        owner: owner.map_or_else(String::new, |(text, _)| text.to_owned()),
        purposes,
        lists,
        rules,
    })
}

/// The first key of packs and configurations says which version of the format they are written in.
pub fn check_version(file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) {
    if let Some((version, node)) = map.require_text("weir", "the format version: `weir: 1`", diagnostics)
        && version != "1"
    {
        diagnostics.push(
            Diagnostic::new(
                &codes::UNSUPPORTED_VERSION,
                file,
                node.span.clone(),
                format!("format version `{version}` is not known"),
            )
            .help("this weir reads `weir: 1`"),
        );
    }
}

fn parse_purposes(mut map: MapReader<'_>, diagnostics: &mut Diagnostics) -> Vec<Purpose> {
    let file = map.file();
    let mut purposes = Vec::new();
    for (name, key, node) in map.entries() {
        let Some(mut purpose) = MapReader::open(&file, node, format!("purpose `{name}`"), diagnostics) else {
            continue;
        };
        let legal_basis = purpose.take_text("legal_basis", diagnostics).map_or("", |(text, _)| text.trim());
        purposes.push(Purpose {
            name: name.to_owned(),
            span: key.span.clone(),
            legal_basis: legal_basis.to_owned(),
            retention_ms: purpose.take_duration_ms("retention", diagnostics),
            reviewers: purpose
                .take_texts("reviewers", diagnostics)
                .unwrap_or_default()
                .into_iter()
                .map(|(text, _)| text.to_owned())
                .collect(),
        });
        purpose.finish(diagnostics);
    }
    purposes
}

fn warn_unused(
    file: &Arc<SourceFile>,
    purposes: &[Purpose],
    lists: &[ListDecl],
    rules: &[Rule],
    refused_lists: &[String],
    diagnostics: &mut Diagnostics,
) {
    // After an error, a rule that did not parse may be the one that uses it.
    if diagnostics.has_errors() || !refused_lists.is_empty() {
        return;
    }
    for (index, list) in lists.iter().enumerate() {
        if !rules.iter().any(|rule| matches!(rule.body, Body::Watchlist { list, .. } if list == index)) {
            diagnostics.push(Diagnostic::new(
                &codes::NEVER_USED,
                file,
                list.span.clone(),
                format!("no rule uses list `{}`", list.id),
            ));
        }
    }
    for purpose in purposes {
        let used = rules.iter().any(|rule| rule.purpose == purpose.name)
            || lists.iter().any(|list| list.purpose == purpose.name);
        if !used {
            diagnostics.push(Diagnostic::new(
                &codes::NEVER_USED,
                file,
                purpose.span.clone(),
                format!("no rule or list serves purpose `{}`", purpose.name),
            ));
        }
    }
}

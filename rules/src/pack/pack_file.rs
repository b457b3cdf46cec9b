//! The pack as a whole: its head, its purposes, the files it includes, and what is never used.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::list::parse_list;
use super::rule::RuleParser;
use super::testing::TestParser;
use super::{ListDecl, Pack, PackTest, Purpose, Rule, Status, meaning};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes};
use crate::expr::{Expression, Macros};
use crate::schema::Catalog;
use crate::yaml::{self, MapReader, Node};

/// Most rules in one pack.
const RULES_MAX: usize = 10_000;
/// Most files one pack includes.
const INCLUDES_MAX: usize = 256;

/// Reads a file that a pack includes, by its path relative to the pack.
pub type ReadInclude<'a> = dyn FnMut(&str) -> Result<Arc<SourceFile>, String> + 'a;

/// Reads a pack of one file. Everything that is wrong goes to `diagnostics`; the pack is to be run only if
/// that holds no error, but is returned as far as it was understood so that further checks can go on.
pub fn parse(file: &Arc<SourceFile>, catalog: &Catalog, diagnostics: &mut Diagnostics) -> Option<Pack> {
    parse_files(file, catalog, &mut |_| Err("this pack stands alone".to_owned()), diagnostics)
}

/// Reads a pack and the files it includes; `read` fetches them.
pub fn parse_files(
    file: &Arc<SourceFile>,
    catalog: &Catalog,
    read: &mut ReadInclude<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Pack> {
    let root = yaml::parse(file, diagnostics)?;
    let mut map = MapReader::open(file, &root, "the pack", diagnostics)?;
    check_version(file, &mut map, diagnostics);
    let name = map.require_text("pack", "the pack's name", diagnostics);
    let owner = map.require_text("owner", "who answers for these rules", diagnostics);
    let purposes =
        map.take_map("purposes", diagnostics).map(|map| parse_purposes(map, diagnostics)).unwrap_or_default();
    let parts = read_parts(file, &mut map, read, diagnostics);

    let mut gathered = Gathered { catalog, purposes, ..Gathered::new(catalog) };
    if !map.has("rules") && parts.is_empty() {
        map.missing("rules", "a list of rules", diagnostics);
    }
    let mut readers = vec![(Arc::clone(file), map)];
    for (file, node) in &parts {
        let Some(mut map) = MapReader::open(file, node, "the included file", diagnostics) else { continue };
        check_version(file, &mut map, diagnostics);
        readers.push((Arc::clone(file), map));
    }
    // Names first, whichever file declares them, then what uses them.
    for (file, map) in &mut readers {
        gathered.take_macros(file, map, diagnostics);
        gathered.take_lists(file, map, diagnostics);
    }
    for (file, map) in &mut readers {
        gathered.take_rules(file, map, diagnostics);
    }
    for (file, mut map) in readers {
        gathered.take_tests(&file, &mut map, diagnostics);
        map.finish(diagnostics);
    }
    gathered.check(diagnostics);

    let mut digest = blake3::Hasher::new();
    for text in std::iter::once(&file.text).chain(parts.iter().map(|(file, _)| &file.text)) {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    Some(Pack {
        file: Arc::clone(file),
        version: digest.finalize().to_hex()[..16].to_owned(),
        name: name.map_or_else(String::new, |(text, _)| text.to_owned()),
        owner: owner.map_or_else(String::new, |(text, _)| text.to_owned()),
        purposes: gathered.purposes,
        lists: gathered.lists,
        rules: gathered.rules,
        tests: gathered.tests,
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

/// The included files as trees.
fn read_parts(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    read: &mut ReadInclude<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<(Arc<SourceFile>, Node)> {
    let mut parts = Vec::new();
    let mut seen = BTreeSet::new();
    let texts = map.take_texts("include", diagnostics).unwrap_or_default();
    let place = map.place_of("include");
    if texts.len() > INCLUDES_MAX {
        let message = format!("a pack includes at most {INCLUDES_MAX} files");
        diagnostics.push(Diagnostic::new(&codes::BAD_INCLUDE, file, place, message));
    }
    for (path, node) in texts.into_iter().take(INCLUDES_MAX) {
        let bad = |message: String| Diagnostic::new(&codes::BAD_INCLUDE, file, node.span.clone(), message);
        let outside = path.starts_with(['/', '\\']) || path.split(['/', '\\']).any(|piece| piece == "..");
        if outside || path.contains('\0') {
            diagnostics.push(
                bad(format!("`{path}` leads out of the pack's folder"))
                    .help("include files that lie beside the pack or below it"),
            );
            continue;
        }
        if !seen.insert(path) {
            diagnostics.push(bad(format!("`{path}` is included twice")).help("delete one of the two"));
            continue;
        }
        match read(path) {
            Ok(part) => {
                let node = yaml::parse(&part, diagnostics);
                parts.extend(node.map(|node| (part, node)));
            }
            Err(error) => diagnostics
                .push(bad(format!("`{path}` cannot be read: {error}")).help("the path is relative to the pack")),
        }
    }
    parts
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
            file: Arc::clone(&file),
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

/// A named expression, and where it is declared.
struct Let {
    file: Arc<SourceFile>,
    span: Range<usize>,
    name: String,
}

/// What has been read of all files of a pack.
struct Gathered<'a> {
    catalog: &'a Catalog,
    purposes: Vec<Purpose>,
    macros: Arc<Macros>,
    lets: Vec<Let>,
    lists: Vec<ListDecl>,
    refused_lists: Vec<String>,
    /// Ids of all rules, those that did not compile too.
    rule_ids: Vec<String>,
    rules: Vec<Rule>,
    tests: Vec<PackTest>,
    /// Whether something went wrong that may hide a use.
    incomplete: bool,
}

impl<'a> Gathered<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            purposes: Vec::new(),
            macros: Arc::default(),
            lets: Vec::new(),
            lists: Vec::new(),
            refused_lists: Vec::new(),
            rule_ids: Vec::new(),
            rules: Vec::new(),
            tests: Vec::new(),
            incomplete: false,
        }
    }

    fn take_macros(&mut self, file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) {
        let Some(mut declared) = map.take_map("let", diagnostics) else { return };
        for (name, key, node) in declared.entries() {
            let bad = |message: String| Diagnostic::new(&codes::BAD_MACRO, file, key.span.clone(), message);
            let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let column = self.catalog.kinds().iter().find(|kind| kind.column(name).is_some());
            if !plain {
                diagnostics
                    .push(bad(format!("`{name}` cannot be a name")).help("lower-case letters, digits, underscores"));
            } else if let Some(kind) = column {
                diagnostics
                    .push(bad(format!("`{name}` is a column of {} records", kind.name)).help("choose another name"));
            } else if self.macros.names().any(|known| known == name) {
                diagnostics.push(bad(format!("`{name}` is defined twice")).help("keep one of them"));
            } else if let Some(sql) = node.text() {
                match Arc::make_mut(&mut self.macros).define(name, sql) {
                    Ok(()) => {
                        self.lets.push(Let { file: Arc::clone(file), span: key.span.clone(), name: name.to_owned() });
                    }
                    Err(problems) => {
                        for problem in problems {
                            let span = node.locate(file, problem.range);
                            diagnostics.push(
                                Diagnostic::new(problem.code, file, span, problem.message).maybe_help(problem.help),
                            );
                        }
                    }
                }
            } else {
                diagnostics
                    .push(bad(format!("`{name}` is not an expression")).help("such as `sure: confidence >= 0.85`"));
            }
        }
    }

    fn take_lists(&mut self, file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) {
        let Some(mut declared) = map.take_map("lists", diagnostics) else { return };
        for (id, key, node) in declared.entries() {
            if self.lists.iter().any(|list| list.id == id) {
                diagnostics.push(Diagnostic::new(
                    &codes::DUPLICATE_KEY,
                    file,
                    key.span.clone(),
                    format!("another file of the pack declares list `{id}` too"),
                ));
                continue;
            }
            match parse_list(file, (id, key), node, &self.purposes, self.catalog, diagnostics) {
                Some(list) => self.lists.push(list),
                None => self.refused_lists.push(id.to_owned()),
            }
        }
    }

    fn take_rules(&mut self, file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) {
        let nodes = map.take_list("rules", diagnostics).unwrap_or_default();
        let room = RULES_MAX.saturating_sub(self.rule_ids.len());
        if nodes.len() > room {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                file,
                map.place_of("rules"),
                format!("a pack holds at most {RULES_MAX} rules"),
            ));
        }
        let parser = RuleParser {
            file,
            catalog: self.catalog,
            purposes: &self.purposes,
            lists: &self.lists,
            refused_lists: &self.refused_lists,
            macros: &self.macros,
        };
        for node in nodes.iter().take(room) {
            self.rule_ids.extend(node.get("id").and_then(Node::text).map(str::to_owned));
            let Some(rule) = parser.parse(node, diagnostics) else {
                self.incomplete = true;
                continue;
            };
            if let Some(first) = self.rules.iter().find(|first| first.id == rule.id) {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::DUPLICATE_RULE,
                        file,
                        rule.span.clone(),
                        format!("there are two rules `{}`", rule.id),
                    )
                    .label("second")
                    .also_in(&first.file, first.span.clone(), "first"),
                );
            }
            self.rules.push(rule);
        }
    }

    fn take_tests(&mut self, file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) {
        let nodes = map.take_list("tests", diagnostics).unwrap_or_default();
        let parser = TestParser { file, catalog: self.catalog, lists: &self.lists, rules: &self.rule_ids };
        self.tests.extend(parser.parse_all(nodes, diagnostics));
    }

    /// What only shows once all is read.
    fn check(&self, diagnostics: &mut Diagnostics) {
        // After an error, a rule that did not parse may be the one that uses it.
        if diagnostics.has_errors() || self.incomplete || !self.refused_lists.is_empty() {
            return;
        }
        self.check_uses(diagnostics);
        meaning::check(&self.rules, &self.lists, diagnostics);
        let tested: BTreeSet<&str> = self.tests.iter().flat_map(|test| &test.rules).map(String::as_str).collect();
        for rule in self.rules.iter().filter(|rule| rule.status == Status::Active) {
            if !tested.contains(rule.id.as_str()) {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::RULE_WITHOUT_TEST,
                        &rule.file,
                        rule.span.clone(),
                        format!("rule `{}` is active and has no test", rule.id),
                    )
                    .help("write one under `tests`; `weir explain WR0233` shows how"),
                );
            }
        }
    }

    fn check_uses(&self, diagnostics: &mut Diagnostics) {
        let mut unused = |file: &Arc<SourceFile>, span: &Range<usize>, message: String| {
            diagnostics.push(Diagnostic::new(&codes::NEVER_USED, file, span.clone(), message));
        };
        let looked_up: BTreeSet<usize> =
            self.rules.iter().flat_map(|rule| rule.body.lookups()).map(|lookup| lookup.list).collect();
        for (index, list) in self.lists.iter().enumerate() {
            if !looked_up.contains(&index) {
                unused(&list.file, &list.span, format!("no rule uses list `{}`", list.id));
            }
        }
        for purpose in &self.purposes {
            let used = self.rules.iter().any(|rule| rule.purpose == purpose.name)
                || self.lists.iter().any(|list| list.purpose == purpose.name);
            if !used {
                unused(&purpose.file, &purpose.span, format!("no rule or list serves purpose `{}`", purpose.name));
            }
        }
        let mut named: BTreeSet<&str> = self
            .rules
            .iter()
            .flat_map(Rule::expressions)
            .flat_map(|expression: &Expression| expression.macros.iter().map(String::as_str))
            .collect();
        // A name may be used by another name only.
        for name in self.lets.iter().rev().map(|it| it.name.as_str()) {
            if named.contains(name) {
                named.extend(self.macros.used_in(name));
            }
        }
        for it in &self.lets {
            if !named.contains(it.name.as_str()) {
                unused(&it.file, &it.span, format!("no rule uses `{}`", it.name));
            }
        }
    }
}

//! One rule: the common keys, and which parser reads the rest.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::list::unknown_purpose;
use super::window::{WindowParser, unknown_column};
use super::{Alerting, Body, Dedupe, ListDecl, Lookup, Places, Purpose, Review, Rule, RuleSeverity, Status, Template};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, did_you_mean};
use crate::expr::{self, Expression, Macros, Scope};
use crate::schema::{CREDENTIAL_ID_COLUMN, Catalog, Identifies, Kind, OUTCOME_COLUMN};
use crate::yaml::{MapReader, Node, Value};

pub(super) struct RuleParser<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) catalog: &'a Catalog,
    pub(super) purposes: &'a [Purpose],
    pub(super) lists: &'a [ListDecl],
    /// Lists that are declared but did not parse: no second message about them.
    pub(super) refused_lists: &'a [String],
    /// Named expressions.
    pub(super) macros: &'a Arc<Macros>,
}

#[derive(Clone, Copy, PartialEq)]
enum BodyKind {
    Match,
    Watchlist,
    Window,
    Sequence,
    Absence,
}

const BODY_KINDS: &[(&str, BodyKind)] = &[
    ("match", BodyKind::Match),
    ("watchlist", BodyKind::Watchlist),
    ("window", BodyKind::Window),
    ("sequence", BodyKind::Sequence),
    ("absence", BodyKind::Absence),
];

impl RuleParser<'_> {
    pub(super) fn parse(&self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Rule> {
        let mut map = MapReader::open(self.file, node, "a rule", diagnostics)?;
        let id = map.require_text("id", "a short name, such as `stolen-plate`", diagnostics);
        if !map.has("kind") {
            map.missing("kind", "match, watchlist, window, sequence or absence", diagnostics);
        }
        let body_kind = map.take_choice("kind", BODY_KINDS, diagnostics);
        let kind = self.parse_from(&mut map, diagnostics);
        let conditions = match map.take("where") {
            Some(node) => self.parse_conditions(node, "where", kind, diagnostics),
            None => Ok(Vec::new()),
        };
        let purpose = map.require_text("purpose", "what the rule is for, out of `purposes`", diagnostics);
        if let Some((name, node)) = purpose
            && !self.purposes.iter().any(|purpose| purpose.name == name)
        {
            diagnostics.push(unknown_purpose(self.file, name, node, self.purposes));
        }
        let severity = map.take_choice("severity", RuleSeverity::WORDS, diagnostics).unwrap_or(RuleSeverity::Medium);
        let status = map.take_choice("status", Status::WORDS, diagnostics).unwrap_or(Status::Active);
        let body = match body_kind {
            Some(BodyKind::Watchlist) => self.parse_lookup(&mut map, kind, purpose, diagnostics).map(Body::Watchlist),
            Some(BodyKind::Window) => {
                WindowParser { file: self.file, kind, severity }.parse(&mut map, diagnostics).map(Body::Window)
            }
            Some(BodyKind::Match) => Some(Body::Match),
            Some(BodyKind::Sequence) => self.parse_sequence(&mut map, kind, purpose, diagnostics).map(Body::Sequence),
            Some(BodyKind::Absence) => {
                self.parse_absence(&mut map, kind, purpose, diagnostics).map(|spec| Body::Absence(Box::new(spec)))
            }
            None => None,
        };
        let alerting = self.parse_alerting(&mut map, kind, body.as_ref(), body_kind, severity, diagnostics);
        self.check_revocations(kind, purpose, &conditions, diagnostics);
        self.refuse_alert_for_everybody(&map, kind, body_kind, &conditions, &alerting, diagnostics);
        if body_kind.is_some() {
            map.finish(diagnostics);
        }
        let (id, id_node) = id?;
        let mut rule = Rule {
            file: Arc::clone(self.file),
            id: id.to_owned(),
            span: id_node.span.clone(),
            from: kind?.name.clone(),
            purpose: purpose?.0.to_owned(),
            status,
            conditions: conditions.ok()?,
            body: body?,
            alerting,
            version: String::new(),
        };
        rule.version = self.version_of(&rule);
        Some(rule)
    }

    fn parse_from(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<&Kind> {
        let (name, node) =
            map.require_text("from", "the kind of record: person, vehicle, item, id or code", diagnostics)?;
        let kind = self.catalog.kind(name);
        if kind.is_none() {
            let names: Vec<&str> = self.catalog.kinds().iter().map(|kind| kind.name.as_str()).collect();
            diagnostics.push(
                Diagnostic::new(
                    &codes::UNKNOWN_KIND,
                    self.file,
                    node.span.clone(),
                    format!("there is no kind of record `{name}`"),
                )
                .help(format!("kinds: {}", names.join(", ")))
                .maybe_help(did_you_mean(name, names.iter().copied())),
            );
        }
        kind
    }

    /// A condition, or a list of them that must all hold. `Err` when one does not compile: the rule must not
    /// run without it.
    pub(super) fn parse_conditions(
        &self,
        node: &Node,
        what: &str,
        kind: Option<&Kind>,
        diagnostics: &mut Diagnostics,
    ) -> Result<Vec<Expression>, ()> {
        let kind = kind.ok_or(())?;
        let nodes: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let scope = scope_of(kind, self.macros);
        let mut conditions = Vec::new();
        let mut failed = false;
        for node in &nodes {
            let Some(sql) = node.text() else {
                diagnostics.push(Diagnostic::new(
                    &codes::WRONG_TYPE,
                    self.file,
                    node.span.clone(),
                    format!("`{}` is a condition or a list of conditions", what.trim_matches('`')),
                ));
                failed = true;
                continue;
            };
            match expr::compile_condition(sql, &scope) {
                Ok(condition) => conditions.push(condition),
                Err(problems) => {
                    failed = true;
                    for problem in problems {
                        let span = node.locate(self.file, problem.range);
                        diagnostics.push(
                            Diagnostic::new(problem.code, self.file, span, problem.message).maybe_help(problem.help),
                        );
                    }
                }
            }
        }
        if failed {
            return Err(());
        }
        let places: Vec<_> = nodes.iter().map(|node| node.span.clone()).collect();
        super::reach::check(self.file, kind, &conditions, &places, diagnostics);
        Ok(conditions)
    }

    fn parse_alerting(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        body: Option<&Body>,
        body_kind: Option<BodyKind>,
        severity: RuleSeverity,
        diagnostics: &mut Diagnostics,
    ) -> Alerting {
        let mut identifier: Option<(String, Range<usize>)> = None;
        let mut note_identifier = |name: &str, span: Range<usize>| {
            let identifies =
                kind.and_then(|kind| kind.column(name)).is_some_and(|c| c.identifies != Identifies::Nothing);
            if identifies && identifier.is_none() {
                identifier = Some((name.to_owned(), span));
            }
        };
        let say = self.parse_say(map, kind, body_kind, body, diagnostics).map(|(template, places)| {
            for (name, span) in places {
                note_identifier(&name, span);
            }
            template
        });
        let at_once = matches!(body_kind, None | Some(BodyKind::Match | BodyKind::Watchlist));
        // A level, a sequence and an absence each tell of a thing once by themselves.
        let dedupe = if at_once {
            self.parse_dedupe(map, kind, diagnostics).map(|(dedupe, places)| {
                for (name, span) in places {
                    note_identifier(&name, span);
                }
                dedupe
            })
        } else {
            None
        };
        match body {
            Some(Body::Watchlist(lookup)) => note_identifier(&lookup.on, lookup.span.clone()),
            Some(Body::Sequence(spec)) => spec.key.iter().for_each(|name| note_identifier(name, map.place_of("key"))),
            Some(Body::Absence(spec)) => spec.key.iter().for_each(|name| note_identifier(name, map.place_of("key"))),
            Some(Body::Match | Body::Window(_)) | None => {}
        }
        for lookup in body.iter().flat_map(|body| body.lookups()) {
            note_identifier(&lookup.on, lookup.span.clone());
        }
        let review_value = map.peek("review").map_or(0..0, |node| node.span.clone());
        let review = map.take_choice("review", Review::WORDS, diagnostics);
        if let (Some(Review::None), Some((name, span))) = (review, &identifier) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::REVIEW_REQUIRED,
                    self.file,
                    map.place_of("review"),
                    format!("the alert holds `{name}`, which identifies somebody: a person decides"),
                )
                .also(span.clone(), "the identifier")
                .help("write `review: required`, or leave the identifier out")
                .fix(review_value, "required"),
            );
        }
        let default_review = if identifier.is_some() { Review::Required } else { Review::None };
        let route = map
            .take_texts("route", diagnostics)
            .unwrap_or_default()
            .into_iter()
            .map(|(name, node)| (name.to_owned(), node.span.clone()))
            .collect();
        Alerting { severity, review: review.unwrap_or(default_review), dedupe, route, say }
    }

    /// The outcome of a credential depends on the lists of revoked ones: their purpose and the rule's must meet.
    fn check_revocations(
        &self,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        conditions: &Result<Vec<Expression>, ()>,
        diagnostics: &mut Diagnostics,
    ) {
        let (Some(kind), Some((purpose, node)), Ok(conditions)) = (kind, purpose, conditions) else { return };
        let asks = kind.name == "code"
            && conditions.iter().any(|condition| condition.columns.iter().any(|name| name == OUTCOME_COLUMN));
        let other = self.lists.iter().find(|list| list.key == CREDENTIAL_ID_COLUMN && list.purpose != purpose);
        if let Some(list) = other.filter(|_| asks) {
            let diagnostic = Diagnostic::new(
                &codes::PURPOSES_DO_NOT_MEET,
                self.file,
                node.span.clone(),
                format!(
                    "the rule serves `{purpose}`, and `{OUTCOME_COLUMN}` depends on list `{}`, made for `{}`",
                    list.id, list.purpose
                ),
            )
            .also_in(&list.file, list.span.clone(), format!("made for `{}`", list.purpose))
            .help("use the list and the outcome for one purpose");
            diagnostics.push(diagnostic);
        }
    }

    /// A match rule that names somebody says what he must have done.
    fn refuse_alert_for_everybody(
        &self,
        map: &MapReader<'_>,
        kind: Option<&Kind>,
        body_kind: Option<BodyKind>,
        conditions: &Result<Vec<Expression>, ()>,
        alerting: &Alerting,
        diagnostics: &mut Diagnostics,
    ) {
        let (Some(kind), Some(BodyKind::Match), Ok(conditions)) = (kind, body_kind, conditions) else { return };
        let identifies = |name: &str| kind.column(name).is_some_and(|c| c.identifies != Identifies::Nothing);
        let Some(named) = alerting.say.iter().flat_map(Template::fields).find(|name| identifies(name)) else { return };
        // That an identifier is there is no deed: nearly every record has one.
        let asks_of_deed = conditions.iter().flat_map(|condition| &condition.columns).any(|name| !identifies(name));
        if !asks_of_deed {
            diagnostics.push(
                Diagnostic::new(
                    &codes::ALERT_FOR_EVERYBODY,
                    self.file,
                    map.place_of("say"),
                    format!("this would write down the `{named}` of everybody who passes"),
                )
                .help("add a `where` on what the record tells, or take the identifier out"),
            );
        }
    }

    fn parse_dedupe(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Dedupe, Places)> {
        let mut dedupe = map.take_map("dedupe", diagnostics)?;
        let for_ms = dedupe.take_duration_ms("for", diagnostics);
        if !dedupe.has("for") {
            dedupe.missing("for", "how long repeats are held back, such as `for: 10m`", diagnostics);
        }
        if !dedupe.has("key") {
            dedupe.missing(
                "key",
                "the columns that make two alerts the same, such as `key: [plate, site]`",
                diagnostics,
            );
        }
        let texts = dedupe.take_texts("key", diagnostics).unwrap_or_default();
        dedupe.finish(diagnostics);
        let mut key = Vec::new();
        let mut places = Vec::new();
        for (name, node) in texts {
            match kind.map(|kind| (kind, kind.column(name).filter(|column| !column.transient))) {
                Some((kind, None)) => diagnostics.push(unknown_column(self.file, node, name, kind)),
                _ => {
                    key.push(name.to_owned());
                    places.push((name.to_owned(), node.span.clone()));
                }
            }
        }
        Some((Dedupe { key, for_ms: for_ms? }, places))
    }

    fn parse_say(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        body_kind: Option<BodyKind>,
        body: Option<&Body>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Template, Places)> {
        let (text, node) = map.take_text("say", diagnostics)?;
        let (template, fields) = match Template::parse(text) {
            Ok(parsed) => parsed,
            Err((range, message)) => {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        self.file,
                        node.locate(self.file, range),
                        format!("`say`: {message}"),
                    )
                    .help("write {{ and }} for braces in the text"),
                );
                return None;
            }
        };
        let places: Vec<_> = fields.into_iter().map(|(name, range)| (name, node.locate(self.file, range))).collect();
        if let (Some(kind), Some(body_kind)) = (kind, body_kind) {
            let known = text_fields(kind, body_kind, body);
            let held = matches!(body_kind, BodyKind::Sequence | BodyKind::Absence);
            for (name, span) in &places {
                if held && kind.column(name).is_some_and(|column| column.identifies != Identifies::Nothing) {
                    diagnostics.push(
                        Diagnostic::new(
                            &codes::IDENTIFIER_IN_HELD_TEXT,
                            self.file,
                            span.clone(),
                            format!("`{name}` identifies somebody, and this rule keeps pseudonyms only"),
                        )
                        .help("name site, device or time; a rule that starts from a hit may say {hit.entry_id}"),
                    );
                } else if !known.contains(name.as_str()) {
                    let list: Vec<&str> = known.iter().copied().collect();
                    diagnostics.push(
                        Diagnostic::new(
                            &codes::UNKNOWN_TEXT_FIELD,
                            self.file,
                            span.clone(),
                            format!("this rule has no field `{name}`"),
                        )
                        .help(format!("fields: {}", list.join(", ")))
                        .maybe_help(did_you_mean(name, list.iter().copied())),
                    );
                }
            }
        }
        Some((template, places))
    }

    /// Digest of what the rule means: unchanged by comments, order of keys, spelling of SQL.
    fn version_of(&self, rule: &Rule) -> String {
        let list = |lookup: &Lookup| {
            let list = &self.lists[lookup.list];
            let normaliser = list.normaliser.map_or("", crate::schema::Normaliser::word);
            let grade = match lookup.min_grade {
                // What every rule meant before there were grades.
                super::Grade::Pattern => String::new(),
                grade => format!(" {}", grade.word()),
            };
            format!("watchlist {} {} {normaliser}{grade}", lookup.on, list.id)
        };
        let body = match &rule.body {
            Body::Match => "match".to_owned(),
            Body::Watchlist(lookup) => list(lookup),
            Body::Window(spec) => spec.meaning(),
            Body::Sequence(spec) => spec.meaning(list),
            Body::Absence(spec) => spec.meaning(list),
        };
        let dedupe = rule.alerting.dedupe.as_ref().map(|d| format!("{} {}", d.key.join(","), d.for_ms));
        let meaning = format!(
            "weir-rule-1\0{}\0{}\0{}\0{body}\0{}",
            rule.id,
            rule.from,
            rule.conditions.iter().map(Expression::meaning).collect::<Vec<_>>().join(" AND "),
            dedupe.unwrap_or_default()
        );
        blake3::hash(meaning.as_bytes()).to_hex()[..16].to_owned()
    }
}

/// What a condition over this kind may use.
pub(super) fn scope_of(kind: &Kind, macros: &Arc<Macros>) -> Scope {
    Scope {
        schema: kind.arrow_schema(),
        identifiers: kind
            .columns
            .iter()
            .filter(|column| column.identifies != Identifies::Nothing)
            .map(|column| column.name.clone())
            .collect(),
        what: format!(
            "{} {} record",
            if kind.name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" },
            kind.name
        ),
        macros: Arc::clone(macros),
    }
}

/// Fields of a hit that a text may mention.
const HIT_FIELDS: [&str; 9] = [
    "hit.list",
    "hit.entry_id",
    "hit.grade",
    "hit.list_version",
    "hit.action",
    "hit.case_ref",
    "hit.handling",
    "hit.severity",
    "hit.review_by",
];

/// The fields a text of this rule may mention; of a rule that is broken elsewhere, those it could mention.
fn text_fields<'a>(kind: &'a Kind, body_kind: BodyKind, body: Option<&'a Body>) -> BTreeSet<&'a str> {
    let columns = || kind.columns.iter().filter(|column| !column.transient);
    let harmless = || columns().filter(|column| column.identifies == Identifies::Nothing).map(|it| it.name.as_str());
    let mut fields: BTreeSet<&str> = match body_kind {
        BodyKind::Match | BodyKind::Watchlist => columns().map(|column| column.name.as_str()).collect(),
        BodyKind::Window => {
            let key: Vec<&str> = match body {
                Some(Body::Window(spec)) => spec.key.iter().map(String::as_str).collect(),
                _ => harmless().collect(),
            };
            let own = [
                "value",
                "margin",
                "level",
                "change",
                "threshold",
                "window.start",
                "window.end",
                "completeness",
                "trend",
                "forecast",
                "minutes_to_level",
            ];
            key.into_iter().chain(own).collect()
        }
        BodyKind::Sequence => harmless().chain(["started", "took"]).collect(),
        BodyKind::Absence => harmless().chain(["since", "deadline"]).collect(),
    };
    let looks_up = match body {
        Some(body) => !body.lookups().is_empty(),
        None => !matches!(body_kind, BodyKind::Match | BodyKind::Window),
    };
    if looks_up || body_kind == BodyKind::Watchlist {
        fields.extend(HIT_FIELDS);
    }
    fields
}

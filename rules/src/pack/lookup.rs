//! A look-up in a list: which column, which list, and whether the two may meet at all.

use std::ops::Range;

use super::rule::RuleParser;
use super::{Grade, ListDecl, ListKind};
use crate::diagnostic::{Diagnostic, Diagnostics, codes, did_you_mean};
use crate::schema::{Column, Kind, Normaliser};
use crate::yaml::{MapReader, Node};

/// A column of the record, and the list it is looked up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Column of the record.
    pub on: String,
    /// Position in [`Pack::lists`](super::Pack::lists).
    pub list: usize,
    /// Where the column's name stands.
    pub span: Range<usize>,
    /// Least sure kind of match that counts.
    pub min_grade: Grade,
    /// Column with further readings of `on`, if they count.
    pub candidates: Option<String>,
    /// Column with what was read of `on` where not all was, if that counts.
    pub partial: Option<String>,
}

impl RuleParser<'_> {
    /// Reads `on`, `list` and `min_grade`. Purposes must meet, and a health code meets revoked credentials only.
    pub(super) fn parse_lookup(
        &self,
        map: &mut MapReader<'_>,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Lookup> {
        let on = map.require_text("on", "the column that is looked up, such as `plate`", diagnostics);
        let list = map.require_text("list", "a list out of `lists`", diagnostics);
        let min_grade = map.take_choice("min_grade", Grade::WORDS, diagnostics);
        let grade_span = map.peek("min_grade").map(|node| node.span.clone());
        let column = match (kind, on) {
            (Some(kind), Some((name, node))) => {
                let column = kind.column(name).filter(|column| !column.transient);
                if column.is_none() {
                    diagnostics.push(super::window::unknown_column(self.file, node, name, kind));
                }
                column
            }
            _ => None,
        };
        let (list_name, list_node) = list?;
        let Some(index) = self.lists.iter().position(|list| list.id == list_name) else {
            self.unknown_list(list_name, list_node, diagnostics);
            return None;
        };
        let list = &self.lists[index];
        self.check_purposes(list, list_node, kind, purpose, diagnostics);
        let column = column?;
        if column.normaliser != list.normaliser || (column.name != list.key && column.identifies != list.identifies) {
            let diagnostic = Diagnostic::new(
                &codes::KEY_TYPE,
                self.file,
                on?.1.span.clone(),
                format!(
                    "`{}` and the list's key `{}` are written in different forms and never meet",
                    column.name, list.key
                ),
            )
            .also_in(&list.file, list.span.clone(), "the list")
            .help(format!("look up `{}`", list.key));
            diagnostics.push(diagnostic);
        }
        let min_grade = min_grade.unwrap_or(Grade::Pattern);
        let readings = |grade: Grade, of: Option<&Column>| of.filter(|_| min_grade <= grade).map(|it| it.name.clone());
        let lookup = Lookup {
            on: column.name.clone(),
            list: index,
            span: on?.1.span.clone(),
            min_grade,
            candidates: readings(Grade::Candidate, kind?.readings_of(&column.name)),
            partial: readings(Grade::PartialRead, kind?.partial_of(&column.name)),
        };
        self.check_grade(&lookup, column, grade_span, diagnostics);
        Some(lookup)
    }

    /// Grades below `pattern` are about reading plates; of what is read by a chip or typed in there are none.
    fn check_grade(
        &self,
        lookup: &Lookup,
        column: &Column,
        place: Option<Range<usize>>,
        diagnostics: &mut Diagnostics,
    ) {
        let lowest = match (&lookup.candidates, column.normaliser) {
            (_, Some(Normaliser::PlateV1)) => Grade::PartialRead,
            (Some(_), _) => Grade::Candidate,
            (None, _) => Grade::Pattern,
        };
        if lookup.min_grade < lowest
            && let Some(place) = place
        {
            diagnostics.push(
                Diagnostic::new(
                    &codes::NO_SUCH_GRADE,
                    self.file,
                    place.clone(),
                    format!("`{}` has no matches of grade `{}`", column.name, lookup.min_grade.word()),
                )
                .help(format!("the least sure grade of this column is `{}`", lowest.word()))
                .fix(place, lowest.word()),
            );
        }
    }

    fn unknown_list(&self, name: &str, node: &Node, diagnostics: &mut Diagnostics) {
        if self.refused_lists.iter().any(|refused| refused == name) {
            return;
        }
        let names: Vec<&str> = self.lists.iter().map(|list| list.id.as_str()).collect();
        diagnostics.push(
            Diagnostic::new(
                &codes::UNKNOWN_LIST,
                self.file,
                node.span.clone(),
                format!("the pack declares no list `{name}`"),
            )
            .help(format!("declared lists: {}", names.join(", ")))
            .maybe_help(did_you_mean(name, names.iter().copied())),
        );
    }

    fn check_purposes(
        &self,
        list: &ListDecl,
        list_node: &Node,
        kind: Option<&Kind>,
        purpose: Option<(&str, &Node)>,
        diagnostics: &mut Diagnostics,
    ) {
        let of_code = kind.is_some_and(|kind| kind.name == "code") && list.kind != ListKind::RevokedCredential;
        if let Some((name, node)) = purpose
            && name != list.purpose
            && self.purposes.iter().any(|purpose| purpose.name == name)
        {
            let diagnostic = Diagnostic::new(
                &codes::PURPOSES_DO_NOT_MEET,
                self.file,
                node.span.clone(),
                format!("the rule serves `{name}`, but list `{}` was made for `{}`", list.id, list.purpose),
            )
            .label("the rule's purpose")
            .also_in(&list.file, list.span.clone(), format!("made for `{}`", list.purpose))
            .help("use a list made for the rule's purpose");
            diagnostics.push(diagnostic);
        }
        if of_code {
            diagnostics.push(
                Diagnostic::new(
                    &codes::CODE_JOINED_WITH_LIST,
                    self.file,
                    list_node.span.clone(),
                    format!(
                        "health codes cannot be joined with `{}`, a list of kind {} made for `{}`; the rule serves `{}`",
                        list.id,
                        list.kind.word(),
                        list.purpose,
                        purpose.map_or("", |(name, _)| name)
                    ),
                )
                .help("a code may be checked against a list of kind revoked_credential only"),
            );
        }
    }
}

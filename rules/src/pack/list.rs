//! Watchlist declarations: a closed set of kinds, each with purpose, legal basis and owner.

use std::ops::Range;
use std::sync::Arc;

use super::Purpose;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, did_you_mean};
use crate::schema::{Catalog, Identifies, Normaliser};
use crate::yaml::{MapReader, Node};

/// The closed set of list kinds (DESIGN.md 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are their own documentation")]
pub enum ListKind {
    StolenVehicle,
    WantedVehicle,
    LostDocument,
    Warrant,
    MissingPerson,
    EntryBan,
    Sanctions,
    ProhibitedItem,
    RevokedCredential,
}

impl ListKind {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("stolen_vehicle", Self::StolenVehicle),
        ("wanted_vehicle", Self::WantedVehicle),
        ("lost_document", Self::LostDocument),
        ("warrant", Self::Warrant),
        ("missing_person", Self::MissingPerson),
        ("entry_ban", Self::EntryBan),
        ("sanctions", Self::Sanctions),
        ("prohibited_item", Self::ProhibitedItem),
        ("revoked_credential", Self::RevokedCredential),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }

    /// Whether the list is one of persons, whose size is checked against the population.
    pub fn names_persons(self) -> bool {
        matches!(self, Self::Warrant | Self::MissingPerson | Self::EntryBan)
    }
}

/// How sure it is that a record is the one a list means, from sure to least sure (DOMAIN.md 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Some characters were not read; those that were agree with an entry.
    PartialRead,
    /// The reading agrees with an entry but for characters that cameras confuse.
    Confusable,
    /// Not the reading, but another one the camera thought possible, is an entry.
    Candidate,
    /// The reading fits a pattern that the list holds.
    Pattern,
    /// The reading is an entry.
    Exact,
}

impl Grade {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("exact", Self::Exact),
        ("pattern", Self::Pattern),
        ("candidate", Self::Candidate),
        ("confusable", Self::Confusable),
        ("partial_read", Self::PartialRead),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }

    /// Whether a post may be paged about it at once. Of anything less a reviewer decides first: three reads
    /// in a hundred are wrong, and folding look-alikes multiplies chance hits.
    pub fn may_page(self) -> bool {
        self >= Self::Pattern
    }
}

/// What happens to a list with rows that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRows {
    /// They are left out and told.
    Report,
    /// The list is refused.
    Refuse,
}

/// What to do with a list whose file is older than `max_age`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStale {
    /// Match on, and say so in the evidence of every hit.
    Degrade,
    /// Do not match.
    Stop,
    /// Match on.
    Ignore,
}

/// A list as a pack declares it.
#[derive(Debug, Clone)]
pub struct ListDecl {
    /// The file it stands in.
    pub file: Arc<SourceFile>,
    /// Name within the pack.
    pub id: String,
    /// Where it is declared.
    pub span: Range<usize>,
    /// Which of the closed set.
    pub kind: ListKind,
    /// Path of the data, relative to the pack.
    pub from: String,
    /// Where the path stands.
    pub from_span: Range<usize>,
    /// Name of the key column, which is also that of the column it meets.
    pub key: String,
    /// Purpose it was made for.
    pub purpose: String,
    /// Who asked for it, if not the pack's owner.
    pub authority: Option<String>,
    /// Share by which it may grow from one version to the next.
    pub max_growth: Option<f64>,
    /// What happens if rows cannot be used.
    pub bad_rows: BadRows,
    /// The same function that the stream's column goes through.
    pub normaliser: Option<Normaliser>,
    /// Whom the key identifies.
    pub identifies: Identifies,
    /// Age of the file beyond which it is stale.
    pub max_age_ms: Option<i64>,
    /// What to do then.
    pub when_stale: WhenStale,
}

pub(super) fn parse_list(
    file: &Arc<SourceFile>,
    name: (&str, &Node),
    node: &Node,
    purposes: &[Purpose],
    catalog: &Catalog,
    diagnostics: &mut Diagnostics,
) -> Option<ListDecl> {
    let (id, id_node) = name;
    let mut map = MapReader::open(file, node, format!("list `{id}`"), diagnostics)?;
    if !map.has("kind") {
        map.missing("kind", "such as `kind: stolen_vehicle`", diagnostics);
    }
    let kind = map.take_choice("kind", ListKind::WORDS, diagnostics);
    let from = map.require_text("from", "the path of the list's snapshot, CSV or NDJSON file", diagnostics);
    let key = map.require_text("key", "the name of the key column, such as `plate`", diagnostics);
    let purpose = map.require_text("purpose", "what the list was made for, out of `purposes`", diagnostics);
    let authority = map.take_text("authority", diagnostics).map(|(text, _)| text.to_owned());
    let max_growth = map.take_parsed("max_growth", diagnostics, parse_share);
    let bad_rows =
        map.take_choice("bad_rows", &[("report", BadRows::Report), ("refuse", BadRows::Refuse)], diagnostics);
    let max_age_ms = map.take_duration_ms("max_age", diagnostics);
    let when_stale = map.take_choice(
        "when_stale",
        &[("degrade", WhenStale::Degrade), ("stop", WhenStale::Stop), ("ignore", WhenStale::Ignore)],
        diagnostics,
    );
    map.finish(diagnostics);

    if let Some((name, node)) = purpose {
        check_purpose(file, name, node, purposes, diagnostics);
    }
    let column = key.and_then(|(name, node)| {
        if !crate::schema::check_protected_name(file, node, name, diagnostics) {
            return None;
        }
        let column = catalog.kinds().iter().find_map(|kind| kind.column(name));
        if column.is_none() {
            let names = catalog.kinds().iter().flat_map(|kind| &kind.columns).map(|column| column.name.as_str());
            diagnostics.push(
                Diagnostic::new(
                    &codes::UNKNOWN_COLUMN,
                    file,
                    node.span.clone(),
                    format!("no kind of record has a column `{name}`"),
                )
                .help("the key is named like the column it meets, such as plate, doc_number, item_class")
                .maybe_help(did_you_mean(name, names)),
            );
        }
        column
    });
    let (column, (from, from_node), (purpose, _)) = (column?, from?, purpose?);
    Some(ListDecl {
        file: Arc::clone(file),
        id: id.to_owned(),
        span: id_node.span.clone(),
        kind: kind?,
        from: from.to_owned(),
        from_span: from_node.span.clone(),
        key: column.name.clone(),
        purpose: purpose.to_owned(),
        authority,
        max_growth,
        bad_rows: bad_rows.unwrap_or(BadRows::Report),
        normaliser: column.normaliser,
        identifies: column.identifies,
        max_age_ms,
        when_stale: when_stale.unwrap_or(WhenStale::Degrade),
    })
}

/// A share written in percent, such as `20%`.
fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share; write it in percent, such as 20%");
    let percent: f64 = text.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
    if (0.0..=100_000.0).contains(&percent) { Ok(percent / 100.0) } else { Err(wrong()) }
}

/// A list rests on a declared purpose with a legal basis.
fn check_purpose(file: &Arc<SourceFile>, name: &str, node: &Node, purposes: &[Purpose], diagnostics: &mut Diagnostics) {
    match purposes.iter().find(|purpose| purpose.name == name) {
        None => diagnostics.push(unknown_purpose(file, name, node, purposes)),
        Some(purpose) if purpose.legal_basis.is_empty() => diagnostics.push(
            Diagnostic::new(
                &codes::NO_LEGAL_BASIS,
                file,
                node.span.clone(),
                format!("the list rests on `{name}`, which states no legal basis"),
            )
            .label("list without legal basis")
            .also_in(&purpose.file, purpose.span.clone(), "declared here")
            .help("write the `legal_basis` of the purpose; without one the list must not exist"),
        ),
        Some(_) => {}
    }
}

pub(super) fn unknown_purpose(file: &Arc<SourceFile>, name: &str, node: &Node, purposes: &[Purpose]) -> Diagnostic {
    let names: Vec<&str> = purposes.iter().map(|purpose| purpose.name.as_str()).collect();
    Diagnostic::new(&codes::UNKNOWN_PURPOSE, file, node.span.clone(), format!("the pack declares no purpose `{name}`"))
        .help(format!("declared purposes: {}", names.join(", ")))
        .maybe_help(did_you_mean(name, names.iter().copied()))
}

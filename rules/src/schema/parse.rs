//! The schema language: kinds and columns from YAML.

use std::sync::Arc;

use super::{Catalog, Column, ColumnType, Identifies, Kind, Normaliser, RESERVED, protected_attribute};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes};
use crate::yaml::{MapReader, Node};

/// Most columns a kind may declare.
const COLUMNS_MAX: usize = 64;

/// Reads a map of kinds into the catalog; what is wrong goes to `diagnostics`.
pub fn parse_kinds(file: &Arc<SourceFile>, node: &Node, catalog: &mut Catalog, diagnostics: &mut Diagnostics) {
    let Some(mut map) = MapReader::open(file, node, "`kinds`", diagnostics) else {
        return;
    };
    for (name, key, value) in map.entries() {
        if catalog.kind(name).is_some() {
            diagnostics.push(Diagnostic::new(
                &codes::KIND_REDECLARED,
                file,
                key.span.clone(),
                format!("a kind `{name}` exists already"),
            ));
        } else if check_name(file, key, name, diagnostics)
            && let Some(kind) = parse_kind(file, name, value, diagnostics)
        {
            catalog.add(kind);
        }
    }
}

/// Refuses a name that names a protected attribute. Shared by kinds, mappings and lists.
pub fn check_protected(file: &Arc<SourceFile>, node: &Node, name: &str, diagnostics: &mut Diagnostics) -> bool {
    let Some(attribute) = protected_attribute(name) else {
        return true;
    };
    diagnostics.push(
        Diagnostic::new(
            &codes::PROTECTED_ATTRIBUTE,
            file,
            node.span.clone(),
            format!("`{name}` names a protected attribute ({attribute})"),
        )
        .label("refused by name")
        .help("delete it; no setting allows it"),
    );
    false
}

fn check_name(file: &Arc<SourceFile>, node: &Node, name: &str, diagnostics: &mut Diagnostics) -> bool {
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !well_formed {
        diagnostics.push(
            Diagnostic::new(&codes::BAD_NAME, file, node.span.clone(), format!("`{name}` cannot be a name"))
                .help("lower-case letters, digits and underscores, at most 64, a letter first"),
        );
    }
    check_protected(file, node, name, diagnostics) && well_formed
}

fn parse_kind(file: &Arc<SourceFile>, name: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<Kind> {
    let mut map = MapReader::open(file, node, format!("kind `{name}`"), diagnostics)?;
    let doc = map.take_text("doc", diagnostics).map_or_else(String::new, |(text, _)| text.to_owned());
    let mut columns = common_columns();
    match map.take_map("columns", diagnostics) {
        None if map.has("columns") => {}
        None => map.missing("columns", "declare the columns that are decoded", diagnostics),
        Some(mut declared) => {
            for (column_name, key, value) in declared.entries() {
                if RESERVED.contains(&column_name) {
                    diagnostics.push(Diagnostic::new(
                        &codes::RESERVED_COLUMN,
                        file,
                        key.span.clone(),
                        format!("every kind already has `{column_name}`"),
                    ));
                } else if check_name(file, key, column_name, diagnostics) {
                    columns.extend(parse_column(file, column_name, value, diagnostics));
                }
            }
        }
    }
    if columns.len() > COLUMNS_MAX {
        diagnostics.push(Diagnostic::new(
            &codes::BAD_VALUE,
            file,
            map.place_of("columns"),
            format!("a kind has at most {COLUMNS_MAX} columns, this one has {}", columns.len()),
        ));
    }
    map.finish(diagnostics);
    Some(Kind { name: name.to_owned(), doc, columns })
}

fn parse_column(file: &Arc<SourceFile>, name: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<Column> {
    let mut map = MapReader::open(file, node, format!("column `{name}`"), diagnostics)?;
    if !map.has("type") {
        map.missing("type", "such as `type: text`", diagnostics);
    }
    let words: Vec<_> = ColumnType::WORDS.iter().copied().filter(|(_, ty)| *ty != ColumnType::Texts).collect();
    let ty = map.take_choice("type", &words, diagnostics);
    let identifies = map.take_choice(
        "identifies",
        &[("person", Identifies::Person), ("vehicle", Identifies::Vehicle), ("document", Identifies::Document)],
        diagnostics,
    );
    let normaliser = map.take_choice("normalise", Normaliser::WORDS, diagnostics);
    let range = map.take_list("range", diagnostics).and_then(|ends| {
        let numbers: Vec<f64> = ends.iter().filter_map(|end| end.text()?.parse().ok()).collect();
        match numbers[..] {
            [low, high] if low <= high => Some((low, high)),
            _ => {
                diagnostics.push(Diagnostic::new(
                    &codes::BAD_VALUE,
                    file,
                    map.place_of("range"),
                    "`range` is a list of two numbers, the smaller one first",
                ));
                None
            }
        }
    });
    let column = Column {
        name: name.to_owned(),
        ty: ty.unwrap_or(ColumnType::Text),
        required: map.take_bool("required", diagnostics).unwrap_or(false),
        default: map.take_number("default", diagnostics),
        identifies: identifies.unwrap_or(Identifies::Nothing),
        normaliser,
        range,
        values: map
            .take_texts("values", diagnostics)
            .unwrap_or_default()
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .collect(),
        transient: map.take_bool("transient", diagnostics).unwrap_or(false),
        made_of: map.take_text("made_of", diagnostics).map(|(text, _)| text.to_owned()),
        readings_of: map.take_text("readings_of", diagnostics).map(|(text, _)| text.to_owned()),
        doc: map.take_text("doc", diagnostics).map_or_else(String::new, |(text, _)| text.to_owned()),
    };
    map.finish(diagnostics);
    ty.map(|_| column)
}

fn common_columns() -> Vec<Column> {
    let column =
        |name: &str, ty, required, doc: &str| Column { required, doc: doc.to_owned(), ..Column::plain(name, ty) };
    vec![
        column("event_id", ColumnType::Text, true, "Unique per source; a repeat is a duplicate."),
        column("ts", ColumnType::Timestamp, true, "When it happened."),
        column("site", ColumnType::Symbol, true, "Checkpoint, gate or post."),
        column("device", ColumnType::Symbol, true, "The device that saw it."),
        column("zone", ColumnType::Symbol, false, "The zone; a record may lie in several and counts in each."),
        column("lane", ColumnType::Symbol, false, "The lane."),
        column("source", ColumnType::Symbol, false, "Name of the source; set by weir."),
        column("received", ColumnType::Timestamp, false, "When weir read it; set by weir."),
    ]
}

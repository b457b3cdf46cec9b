//! Window rules: measure, window, levels.

use std::sync::Arc;

use super::RuleSeverity;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, did_you_mean};
use crate::schema::{ColumnType, Identifies, Kind};
use crate::yaml::{MapReader, Node};

/// Lateness where a rule states none.
pub const LATENESS_DEFAULT_MS: i64 = 5_000;
/// Most panes a window may be made of; a close costs time in proportion to it.
pub const PANES_PER_WINDOW_MAX: i64 = 3_600;
/// Longest window.
const WINDOW_MS_MAX: i64 = 7 * 86_400_000;
/// Most levels of one rule.
const LEVELS_MAX: usize = 16;
/// Most columns in a key.
const KEY_COLUMNS_MAX: usize = 4;

/// What is computed over a window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Sum of the `count` column where the kind has one, else number of records.
    Count,
    /// Number of records.
    Reads,
    /// Sum of a column.
    Sum(String),
    /// Mean of a column.
    Avg(String),
    /// Smallest value of a column.
    Min(String),
    /// Largest value of a column.
    Max(String),
    /// Number of distinct values of a column, exact.
    Distinct(String),
    /// Observations per distinct instant at which the device reported.
    Snapshot,
}

impl Measure {
    /// As written in a rule.
    pub fn text(&self) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Reads => "reads".to_owned(),
            Self::Snapshot => "snapshot".to_owned(),
            Self::Sum(column) => format!("sum({column})"),
            Self::Avg(column) => format!("avg({column})"),
            Self::Min(column) => format!("min({column})"),
            Self::Max(column) => format!("max({column})"),
            Self::Distinct(column) => format!("distinct({column})"),
        }
    }

    /// The column it reads, if it reads one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Sum(column) | Self::Avg(column) | Self::Min(column) | Self::Max(column) | Self::Distinct(column) => {
                Some(column)
            }
            Self::Count | Self::Reads | Self::Snapshot => None,
        }
    }
}

/// The figure of the zone table by which a measure is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Square metres: people/m2.
    Area,
    /// Instantaneous capacity: a share.
    Capacity,
}

/// One two-threshold level.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Name.
    pub name: String,
    /// Entered when the value is at or above this...
    pub enter: f64,
    /// ...for this many windows in a row.
    pub enter_windows: u32,
    /// Left when the value is below this...
    pub exit: f64,
    /// ...for this many windows in a row.
    pub exit_windows: u32,
    /// Urgency of the alert at this level.
    pub severity: RuleSeverity,
}

/// A window rule's own part.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSpec {
    /// Symbol columns; one window per combination of values.
    pub key: Vec<String>,
    /// What is computed.
    pub measure: Measure,
    /// By what it is divided.
    pub per: Option<Per>,
    /// Length of a window.
    pub last_ms: i64,
    /// Distance between the ends of two windows.
    pub every_ms: i64,
    /// How much disorder is waited for.
    pub lateness_ms: i64,
    /// Levels from low to high; may be empty when `emit_windows`.
    pub levels: Vec<Level>,
    /// Whether every window's value is an output.
    pub emit_windows: bool,
}

impl WindowSpec {
    /// Length of a pane: windows are sums of whole panes.
    pub fn pane_ms(&self) -> i64 {
        gcd(self.last_ms, self.every_ms)
    }

    /// Canonical text of what it means.
    pub fn meaning(&self) -> String {
        let levels: Vec<String> = self
            .levels
            .iter()
            .map(|l| {
                format!(
                    "{} {} {} {} {} {}",
                    l.name,
                    l.enter,
                    l.enter_windows,
                    l.exit,
                    l.exit_windows,
                    l.severity.word()
                )
            })
            .collect();
        format!(
            "{} per {:?} by {} last {} every {} lateness {} levels [{}]",
            self.measure.text(),
            self.per,
            self.key.join(","),
            self.last_ms,
            self.every_ms,
            self.lateness_ms,
            levels.join("; ")
        )
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) struct WindowParser<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) kind: Option<&'a Kind>,
    pub(super) severity: RuleSeverity,
}

impl WindowParser<'_> {
    pub(super) fn parse(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<WindowSpec> {
        let key = self.parse_key(map, diagnostics);
        let measure = self.parse_measure(map, diagnostics);
        let per = self.parse_per(map, key.as_deref(), diagnostics);
        let lengths = self.parse_lengths(map, diagnostics);
        let lateness_ms = map.take_duration_ms("lateness", diagnostics).unwrap_or(LATENESS_DEFAULT_MS);
        let emit_windows =
            map.take_choice("emit", &[("windows", true), ("alerts", false)], diagnostics).unwrap_or(false);
        let levels = self.parse_levels(map, lengths.map_or(1, |(_, every_ms)| every_ms), diagnostics);
        if let Some(node) = map.take("when_silent") {
            diagnostics.push(Diagnostic::new(
                &codes::WHEN_SILENT_NOT_YET,
                self.file,
                node.span.clone(),
                "`when_silent` is not acted on by this version: a level holds while its devices are silent",
            ));
        }
        if levels.is_empty() && !emit_windows && !map.has("levels") {
            map.missing(
                "levels",
                "say at which values to alert, or `emit: windows` for a stream of values",
                diagnostics,
            );
        }
        let (last_ms, every_ms) = lengths?;
        if last_ms < lateness_ms {
            diagnostics.push(
                Diagnostic::new(
                    &codes::WINDOW_SHORTER_THAN_LATENESS,
                    self.file,
                    map.place_of("window"),
                    "the window is shorter than the lateness its value waits for",
                )
                .help("lengthen the window, or shorten `lateness`"),
            );
        }
        Some(WindowSpec { key: key?, measure: measure?, per, last_ms, every_ms, lateness_ms, levels, emit_windows })
    }

    fn parse_key(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
        if !map.has("key") {
            map.missing("key", "such as `key: [zone]`; `key: []` for one window over all", diagnostics);
        }
        let texts = map.take_texts("key", diagnostics)?;
        if texts.len() > KEY_COLUMNS_MAX {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("key"),
                format!("a key has at most {KEY_COLUMNS_MAX} columns"),
            ));
        }
        let kind = self.kind?;
        let mut key = Vec::new();
        for (name, node) in texts {
            match kind.column(name) {
                None => diagnostics.push(unknown_column(self.file, node, name, kind)),
                Some(column)
                    if column.ty != ColumnType::Symbol
                        || column.identifies != Identifies::Nothing
                        || name == "source" =>
                {
                    let why = if column.identifies == Identifies::Nothing {
                        "is not a symbol column"
                    } else {
                        "identifies somebody, and nobody's movements are followed"
                    };
                    diagnostics.push(
                        Diagnostic::new(
                            &codes::KEY_NOT_ALLOWED,
                            self.file,
                            node.span.clone(),
                            format!("`{name}` {why}"),
                        )
                        .help("take zone, site, device, lane or another symbol column"),
                    );
                }
                Some(_) => key.push(name.to_owned()),
            }
        }
        Some(key)
    }

    fn parse_measure(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Measure> {
        let known = "count, reads, snapshot, sum(c), avg(c), min(c), max(c), distinct(c)";
        let (text, node) = map.require_text("measure", known, diagnostics)?;
        let (name, column) = match text.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.strip_suffix(')').map(str::trim)),
            None => (text.trim(), None),
        };
        let bad = |message: String, help: String| {
            Some(Diagnostic::new(&codes::BAD_MEASURE, self.file, node.span.clone(), message).help(help))
        };
        let found = match (name, column) {
            ("count", None) => return Some(Measure::Count),
            ("reads", None) => return Some(Measure::Reads),
            ("snapshot", None) => return Some(Measure::Snapshot),
            ("sum" | "avg" | "min" | "max" | "distinct", Some(column_name)) => {
                let kind = self.kind?;
                let Some(column) = kind.column(column_name).filter(|column| !column.transient) else {
                    diagnostics.push(unknown_column(self.file, node, column_name, kind));
                    return None;
                };
                let numeric = matches!(column.ty, ColumnType::Number | ColumnType::Integer);
                let countable = matches!(column.ty, ColumnType::Text | ColumnType::Symbol);
                let owned = column_name.to_owned();
                match name {
                    "distinct" if countable => return Some(Measure::Distinct(owned)),
                    "sum" if numeric => return Some(Measure::Sum(owned)),
                    "avg" if numeric => return Some(Measure::Avg(owned)),
                    "min" if numeric => return Some(Measure::Min(owned)),
                    "max" if numeric => return Some(Measure::Max(owned)),
                    "distinct" => bad(
                        format!("`{column_name}` is a {}; distinct counts texts and symbols", column.ty.word()),
                        known.to_owned(),
                    ),
                    _ => bad(format!("`{column_name}` is a {}, not a number", column.ty.word()), known.to_owned()),
                }
            }
            ("sum" | "avg" | "min" | "max" | "distinct", None) => {
                bad(format!("`{name}` needs a column in brackets"), format!("such as `{name}(count)`"))
            }
            ("occupancy" | "inflow" | "outflow" | "net_flow" | "quantile", _) => {
                bad(format!("`{name}` is not computed by this version"), known.to_owned())
            }
            _ => bad(
                format!("there is no measure `{text}`"),
                did_you_mean(name, ["count", "reads", "snapshot", "sum", "avg", "min", "max", "distinct"])
                    .unwrap_or_else(|| known.to_owned()),
            ),
        };
        if let Some(diagnostic) = found {
            diagnostics.push(diagnostic);
        }
        None
    }

    fn parse_per(&self, map: &mut MapReader<'_>, key: Option<&[String]>, diagnostics: &mut Diagnostics) -> Option<Per> {
        let per = map.take_choice("per", &[("area", Per::Area), ("capacity", Per::Capacity)], diagnostics)?;
        if key.is_some_and(|key| !key.iter().any(|column| column == "zone")) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::BAD_WINDOW,
                    self.file,
                    map.place_of("per"),
                    "`per` divides by a figure of the zone, but the key has no zone",
                )
                .help("write `key: [zone]`"),
            );
        }
        Some(per)
    }

    fn parse_lengths(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<(i64, i64)> {
        if !map.has("window") {
            map.missing("window", "such as `window: { last: 60s, every: 5s }`", diagnostics);
        }
        let mut window = map.take_map("window", diagnostics)?;
        let last_ms = window.take_duration_ms("last", diagnostics);
        let every_ms = window.take_duration_ms("every", diagnostics);
        if !window.has("every") {
            window.missing("every", "how often a window ends", diagnostics);
        }
        let span = window.span.clone();
        window.finish(diagnostics);
        let every_ms = every_ms?;
        let last_ms = last_ms.unwrap_or(every_ms);
        let problem = if every_ms <= 0 || last_ms <= 0 {
            "a window has a length above 0".to_owned()
        } else if last_ms < every_ms {
            "`last` is shorter than `every`: records between two windows would count in none".to_owned()
        } else if last_ms > WINDOW_MS_MAX {
            "a window is at most 7 days long".to_owned()
        } else if last_ms / gcd(last_ms, every_ms) > PANES_PER_WINDOW_MAX {
            format!(
                "the window would be made of {} panes; at most {PANES_PER_WINDOW_MAX}",
                last_ms / gcd(last_ms, every_ms)
            )
        } else {
            return Some((last_ms, every_ms));
        };
        diagnostics.push(
            Diagnostic::new(&codes::BAD_WINDOW, self.file, span, problem)
                .help("make `last` a small multiple of `every`"),
        );
        None
    }

    fn parse_levels(&self, map: &mut MapReader<'_>, every_ms: i64, diagnostics: &mut Diagnostics) -> Vec<Level> {
        let nodes = map.take_list("levels", diagnostics).unwrap_or_default();
        if nodes.len() > LEVELS_MAX {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("levels"),
                format!("a rule has at most {LEVELS_MAX} levels"),
            ));
        }
        let mut levels: Vec<Level> = Vec::new();
        for node in nodes.iter().take(LEVELS_MAX) {
            let Some(level) = self.parse_level(node, every_ms, diagnostics) else {
                continue;
            };
            if let Some(lower) = levels.last()
                && level.enter < lower.enter
            {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::INVERTED_LEVELS,
                        self.file,
                        node.span.clone(),
                        format!(
                            "level `{}` is entered at {}, below level `{}` before it ({})",
                            level.name, level.enter, lower.name, lower.enter
                        ),
                    )
                    .help("list levels from low to high"),
                );
            }
            levels.push(level);
        }
        levels
    }

    fn parse_level(&self, node: &Node, every_ms: i64, diagnostics: &mut Diagnostics) -> Option<Level> {
        let mut map = MapReader::open(self.file, node, "a level", diagnostics)?;
        let name = map.require_text("name", "a word for people, such as `busy`", diagnostics);
        if !map.has("enter") {
            map.missing("enter", "the value from which on the level holds", diagnostics);
        }
        let enter = map.take_number("enter", diagnostics);
        let exit = map.take_number("exit", diagnostics).or(enter);
        let for_ms = map.take_duration_ms("for", diagnostics).unwrap_or(0);
        let exit_for_ms = map.take_duration_ms("exit_for", diagnostics).unwrap_or(0);
        let severity = map.take_choice("severity", RuleSeverity::WORDS, diagnostics).unwrap_or(self.severity);
        if let (Some(enter), Some(exit)) = (enter, exit)
            && exit > enter
        {
            diagnostics.push(
                Diagnostic::new(
                    &codes::INVERTED_LEVELS,
                    self.file,
                    map.place_of("exit"),
                    format!("left below {exit}, entered at {enter}: the level would flap"),
                )
                .label("above `enter`")
                .help("make `exit` smaller than `enter`"),
            );
        }
        map.finish(diagnostics);
        let windows =
            |duration_ms: i64| u32::try_from(duration_ms.div_ceil_positive(every_ms).max(1)).unwrap_or(u32::MAX);
        Some(Level {
            name: name?.0.to_owned(),
            enter: enter?,
            enter_windows: windows(for_ms),
            exit: exit?,
            exit_windows: windows(exit_for_ms),
            severity,
        })
    }
}

trait DivCeil {
    fn div_ceil_positive(self, divisor: Self) -> Self;
}

impl DivCeil for i64 {
    /// Division of a non-negative number, rounded up.
    fn div_ceil_positive(self, divisor: Self) -> Self {
        (self + divisor.max(1) - 1) / divisor.max(1)
    }
}

pub(super) fn unknown_column(file: &Arc<SourceFile>, node: &Node, name: &str, kind: &Kind) -> Diagnostic {
    let names: Vec<&str> =
        kind.columns.iter().filter(|column| !column.transient).map(|column| column.name.as_str()).collect();
    Diagnostic::new(
        &codes::UNKNOWN_COLUMN,
        file,
        node.span.clone(),
        format!("{} records have no column `{name}`", kind.name),
    )
    .help(format!("columns: {}", names.join(", ")))
    .maybe_help(did_you_mean(name, names.iter().copied()))
}

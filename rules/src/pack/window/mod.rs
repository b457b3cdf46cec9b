//! Window rules: measure, window, levels.

mod level;
mod measure;

use std::sync::Arc;

use level::parse_silence;
pub use level::{Action, Hours, Level, Proposal, Silence, Threshold, WhenSilent};
pub use measure::{DailyTime, Measure, OccupancySpec};

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
/// Longest time for which windows are revised.
const REVISE_FOR_MS_MAX: i64 = 86_400_000;
/// What is compared with a level where a forecast states none: what comes in four of five cases or less.
const FORECAST_QUANTILE: u16 = 800;
/// Most columns in a key.
const KEY_COLUMNS_MAX: usize = 4;

/// The figure of the zone table by which a measure is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Square metres: people/m2.
    Area,
    /// Instantaneous capacity: a share.
    Capacity,
    /// Daily capacity: a share.
    DailyCapacity,
}

impl Per {
    /// Words of the language; `capacity` and `daily_capacity` are columns of the zone table.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("area", Self::Area), ("capacity", Self::Capacity), ("daily_capacity", Self::DailyCapacity)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

/// A look ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// How far.
    pub horizon_ms: i64,
    /// The quantile of what may come that is compared with a level, in thousandths.
    pub quantile: u16,
}

/// A window rule's own part.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the language of its own")]
pub struct WindowSpec {
    /// Symbol columns; one window per combination of values.
    pub key: Vec<String>,
    /// What is computed.
    pub measure: Measure,
    /// By what it is divided.
    pub per: Option<Per>,
    /// Length of a window; of a session, its gap.
    pub last_ms: i64,
    /// Distance between the ends of two windows; of a session, its gap.
    pub every_ms: i64,
    /// Whether a window is a session: it ends when nothing has come for `last_ms`.
    pub session: bool,
    /// How much disorder is waited for.
    pub lateness_ms: i64,
    /// For how long after its close a window is told anew when late records come; 0 for not at all.
    pub revise_for_ms: i64,
    /// Levels from low to high; may be empty when `emit_windows`.
    pub levels: Vec<Level>,
    /// Whether a level of a measure that only grows is entered the moment that is certain.
    pub early: bool,
    /// What is done about silence.
    pub silence: Option<Silence>,
    /// A look ahead.
    pub forecast: Option<Forecast>,
    /// Whether a density of zones too small for one is meant.
    pub small_areas: bool,
    /// Whether every window's value is an output.
    pub emit_windows: bool,
}

impl WindowSpec {
    /// Length of a pane: windows are sums of whole panes. A session has none.
    pub fn pane_ms(&self) -> i64 {
        if self.session { 1 } else { gcd(self.last_ms, self.every_ms) }
    }

    /// Canonical text of what it means.
    pub fn meaning(&self) -> String {
        let levels: Vec<String> = self.levels.iter().map(Level::meaning).collect();
        let mut text = format!(
            "{} per {:?} by {} last {} every {} lateness {} levels [{}]",
            self.measure.meaning(),
            self.per,
            self.key.join(","),
            self.last_ms,
            self.every_ms,
            self.lateness_ms,
            levels.join("; ")
        );
        let more = [
            self.session.then(|| "session".to_owned()),
            self.early.then(|| "early".to_owned()),
            self.silence.map(|silence| format!("silent {} {:?}", silence.after_ms, silence.action)),
            self.forecast.map(|forecast| format!("forecast {} {}", forecast.horizon_ms, forecast.quantile)),
            (self.revise_for_ms > 0).then(|| format!("revised for {}", self.revise_for_ms)),
        ];
        for part in more.into_iter().flatten() {
            text.push(' ');
            text.push_str(&part);
        }
        text
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
        let levels = self.parse_levels(map, lengths.as_ref().map_or(1, |it| it.every_ms), diagnostics);
        let silence = parse_silence(map, diagnostics);
        let early = map.take_bool("early", diagnostics).unwrap_or(false);
        let small_areas = map.take_bool("small_areas", diagnostics).unwrap_or(false);
        let revise_for_ms = self.parse_revisions(map, diagnostics);
        let forecast = self.parse_forecast(map, diagnostics);
        if levels.is_empty() && !emit_windows && !map.has("levels") {
            map.missing(
                "levels",
                "say at which values to alert, or `emit: windows` for a stream of values",
                diagnostics,
            );
        }
        let Lengths { last_ms, every_ms, session } = lengths?;
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
        let spec = WindowSpec {
            key: key?,
            measure: measure?,
            per,
            last_ms,
            every_ms,
            session,
            lateness_ms,
            revise_for_ms,
            levels,
            early,
            silence,
            forecast,
            small_areas,
            emit_windows,
        };
        self.check_together(map, &spec, diagnostics);
        Some(spec)
    }

    /// What does not go together.
    fn check_together(&self, map: &MapReader<'_>, spec: &WindowSpec, diagnostics: &mut Diagnostics) {
        let zone_thresholds = spec.has_zone_thresholds() && spec.key != ["zone"];
        let occupancy = matches!(spec.measure, Measure::Occupancy(_));
        let tumbling = spec.last_ms == spec.every_ms;
        let wrong: [(bool, &'static str, &str, &str); 10] = [
            (
                occupancy && (!tumbling || spec.session),
                "window",
                "occupancy is a value at one moment, not over a time",
                "write `window: { every: 10s }`: how often it is told",
            ),
            (
                spec.session && (spec.measure == Measure::Snapshot),
                "window",
                "a snapshot divides by the instants of a window, and a session has none beside its records",
                "take a window with `every`",
            ),
            (
                spec.session && (spec.silence.is_some() || spec.forecast.is_some() || spec.revise_for_ms > 0),
                "window",
                "a session ends by silence: `when_silent`, `forecast` and `revise_for` do not go with it",
                "take a window with `every`",
            ),
            (
                spec.session && spec.levels.iter().any(|level| level.enter_windows > 1 || level.exit_windows > 1),
                "levels",
                "sessions do not follow on each other: a level of theirs cannot last for several",
                "leave out `for` and `exit_for`",
            ),
            (
                spec.early && (!spec.measure.only_grows() || spec.session),
                "early",
                "an early alert needs a measure that only grows in its window: count, reads, distinct, inflow, outflow",
                "leave it out: the alert comes when the window closes",
            ),
            (
                spec.forecast.is_some() && !spec.measure.counts(),
                "forecast",
                "only counts are forecast",
                "take count, distinct, occupancy, a flow or a snapshot",
            ),
            (
                spec.forecast.is_some_and(|it| {
                    it.horizon_ms < spec.every_ms || it.horizon_ms / spec.every_ms > PANES_PER_WINDOW_MAX
                }),
                "forecast",
                "a forecast looks from 1 to 3,600 windows ahead",
                "make it a multiple of `every`, or `every` longer",
            ),
            (
                zone_thresholds,
                "levels",
                "`for_zones` asks for the class and the hours of a zone, but the key is not the zone",
                "write `key: [zone]`",
            ),
            (
                spec.revise_for_ms > 0 && (occupancy || !spec.emit_windows),
                "revise_for",
                "what is revised are the values of `emit: windows`, and occupancy goes on from its last value",
                "add `emit: windows`, or leave it out",
            ),
            (
                spec.silence.is_some_and(|silence| silence.after_ms < spec.every_ms),
                "when_silent",
                "`after` is shorter than the time between two windows: every zone would be silent",
                "make `after` a few times `every`",
            ),
        ];
        for (_, key, message, help) in wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong) {
            diagnostics.push(Diagnostic::new(&codes::BAD_WINDOW, self.file, map.place_of(key), message).help(help));
        }
    }

    /// `revise_for: 1h`
    fn parse_revisions(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> i64 {
        let revise_for_ms = map.take_duration_ms("revise_for", diagnostics).unwrap_or(0);
        if revise_for_ms > REVISE_FOR_MS_MAX {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("revise_for"),
                "windows are revised for a day at most",
            ));
        }
        revise_for_ms
    }

    /// `forecast: 15m`, or `forecast: { ahead: 15m, quantile: 0.8 }`
    fn parse_forecast(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Forecast> {
        let node = map.peek("forecast")?;
        if node.text().is_some() {
            let horizon_ms = map.take_duration_ms("forecast", diagnostics)?;
            return Some(Forecast { horizon_ms, quantile: FORECAST_QUANTILE });
        }
        let mut own = map.take_map("forecast", diagnostics)?;
        if !own.has("ahead") {
            own.missing("ahead", "how far to look ahead, such as `ahead: 15m`", diagnostics);
        }
        let horizon_ms = own.take_duration_ms("ahead", diagnostics);
        let place = own.place_of("quantile");
        let quantile = own.take_number("quantile", diagnostics).unwrap_or(f64::from(FORECAST_QUANTILE) / 1e3);
        own.finish(diagnostics);
        if !(0.5..=0.99).contains(&quantile) {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                place,
                "`quantile` is a share from 0.5 (as likely as not) to 0.99",
            ));
        }
        Some(Forecast { horizon_ms: horizon_ms?, quantile: (quantile * 1e3) as u16 })
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

    fn parse_per(&self, map: &mut MapReader<'_>, key: Option<&[String]>, diagnostics: &mut Diagnostics) -> Option<Per> {
        let per = map.take_choice("per", Per::WORDS, diagnostics)?;
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

    fn parse_lengths(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Lengths> {
        if !map.has("window") {
            map.missing("window", "such as `window: { last: 60s, every: 5s }`", diagnostics);
        }
        let mut window = map.take_map("window", diagnostics)?;
        let span = window.span.clone();
        let session = window.has("gap");
        let gap_ms = window.take_duration_ms("gap", diagnostics);
        let last_ms = window.take_duration_ms("last", diagnostics);
        let every_ms = window.take_duration_ms("every", diagnostics);
        if !window.has("every") && !session {
            window.missing("every", "how often a window ends", diagnostics);
        }
        window.finish(diagnostics);
        let (last_ms, every_ms) = if session {
            if last_ms.or(every_ms).is_some() {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_WINDOW,
                        self.file,
                        span,
                        "a window with a `gap` ends when nothing comes; `last` and `every` do not go with it",
                    )
                    .help("write `window: { gap: 5m }`"),
                );
                return None;
            }
            (gap_ms?, gap_ms?)
        } else {
            let every_ms = every_ms?;
            (last_ms.unwrap_or(every_ms), every_ms)
        };
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
            return Some(Lengths { last_ms, every_ms, session });
        };
        diagnostics.push(
            Diagnostic::new(&codes::BAD_WINDOW, self.file, span, problem)
                .help("make `last` a small multiple of `every`"),
        );
        None
    }
}

struct Lengths {
    last_ms: i64,
    every_ms: i64,
    session: bool,
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

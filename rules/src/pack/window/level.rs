//! Levels: two thresholds with dwell, other ones for classes of zones and hours of the day, and what follows.

use super::measure::minute_of_day;
use super::{WindowParser, WindowSpec};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::pack::RuleSeverity;
use crate::yaml::{MapReader, Node};

/// Most levels of one rule.
const LEVELS_MAX: usize = 16;
/// Most thresholds of one level beside its own.
const THRESHOLDS_MAX: usize = 32;
/// How long a proposal stands where nothing else is said.
const PROPOSAL_VALID_MS: i64 = 10 * 60_000;

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
    /// Other thresholds for some zones; the last that fits counts.
    pub for_zones: Vec<Threshold>,
    /// What an operator is asked to do while the level holds.
    pub propose: Option<Proposal>,
}

impl Level {
    /// The thresholds for a zone of this class at this minute of its day: enter and exit.
    pub fn thresholds(&self, class: Option<&str>, minute: u16) -> (f64, f64) {
        let fits = |threshold: &&Threshold| {
            threshold.class.as_deref().is_none_or(|wanted| class == Some(wanted))
                && threshold.hours.is_none_or(|hours| hours.holds(minute))
        };
        self.for_zones.iter().rev().find(fits).map_or((self.enter, self.exit), |it| (it.enter, it.exit))
    }
}

/// Thresholds for some zones or hours.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Class of the zone table; any if absent.
    pub class: Option<String>,
    /// Hours of the zone's day; all if absent.
    pub hours: Option<Hours>,
    /// Entered at or above this.
    pub enter: f64,
    /// Left below this.
    pub exit: f64,
}

/// Part of a day, in minutes since midnight; over midnight where it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// First minute inside.
    pub from: u16,
    /// First minute after.
    pub to: u16,
}

impl Hours {
    /// Reads `07:00-09:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minute_of_day(from)?, minute_of_day(to)?);
        (from != to).then_some(Self { from, to })
    }

    /// Whether a minute of the day lies inside.
    pub fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    /// As it is written.
    pub fn text(self) -> String {
        format!("{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

/// What an operator is asked to do. Nothing happens by itself: he confirms it or lets it pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What to do.
    pub action: Action,
    /// For `limit_tickets`: people a minute.
    pub per_minute: Option<f64>,
    /// How long it stands.
    pub valid_for_ms: i64,
}

/// Things that can be proposed, a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let in so many people a minute.
    LimitTickets,
    /// Keep a gate shut.
    HoldGate,
    /// Open a further exit.
    OpenExit,
}

impl Action {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("limit_tickets", Self::LimitTickets), ("hold_gate", Self::HoldGate), ("open_exit", Self::OpenExit)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

/// What is done about a key whose devices are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// How long after the end of the last window with a value.
    pub after_ms: i64,
    /// What is done then.
    pub action: WhenSilent,
}

/// What is done about silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenSilent {
    /// Levels stay as they are.
    Hold,
    /// Levels are left.
    Clear,
    /// Somebody is told, and told again when values return.
    Alert,
}

impl Level {
    /// Canonical text of what it means.
    pub(super) fn meaning(&self) -> String {
        let Self { name, enter, enter_windows, exit, exit_windows, severity, for_zones, propose } = self;
        let mut text = format!("{name} {enter} {enter_windows} {exit} {exit_windows} {}", severity.word());
        for threshold in for_zones {
            let class = threshold.class.as_deref().unwrap_or("*");
            let hours = threshold.hours.map_or_else(|| "*".to_owned(), Hours::text);
            text.push_str(&format!(" [{class} {hours} {} {}]", threshold.enter, threshold.exit));
        }
        if let Some(Proposal { action, per_minute, valid_for_ms }) = propose {
            text.push_str(&format!(" propose {} {per_minute:?} {valid_for_ms}", action.word()));
        }
        text
    }
}

impl WindowParser<'_> {
    pub(super) fn parse_levels(
        &self,
        map: &mut MapReader<'_>,
        every_ms: i64,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Level> {
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
        let thresholds = self.take_thresholds(&mut map, diagnostics);
        let for_ms = map.take_duration_ms("for", diagnostics).unwrap_or(0);
        let exit_for_ms = map.take_duration_ms("exit_for", diagnostics).unwrap_or(0);
        let severity = map.take_choice("severity", RuleSeverity::WORDS, diagnostics).unwrap_or(self.severity);
        let others = map.take_list("for_zones", diagnostics).unwrap_or_default();
        if others.len() > THRESHOLDS_MAX {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_VALUE,
                self.file,
                map.place_of("for_zones"),
                format!("a level has at most {THRESHOLDS_MAX} thresholds beside its own"),
            ));
        }
        let for_zones = others.iter().filter_map(|node| self.parse_threshold(node, diagnostics)).collect();
        let propose = self.parse_proposal(&mut map, diagnostics);
        map.finish(diagnostics);
        let windows = |duration_ms: i64| u32::try_from(div_ceil(duration_ms, every_ms).max(1)).unwrap_or(u32::MAX);
        let (enter, exit) = thresholds?;
        Some(Level {
            name: name?.0.to_owned(),
            enter,
            enter_windows: windows(for_ms),
            exit,
            exit_windows: windows(exit_for_ms),
            severity,
            for_zones,
            propose,
        })
    }

    /// `enter` and `exit`, the second not above the first.
    fn take_thresholds(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<(f64, f64)> {
        if !map.has("enter") {
            map.missing("enter", "the value from which on the level holds", diagnostics);
        }
        let enter = map.take_number("enter", diagnostics);
        let exit = map.take_number("exit", diagnostics).or(enter);
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
        enter.zip(exit)
    }

    /// `{ class: station, hours: 07:00-09:00, enter: 3.5, exit: 3.0 }`
    fn parse_threshold(&self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Threshold> {
        let mut map = MapReader::open(self.file, node, "a threshold", diagnostics)?;
        let class = map.take_text("class", diagnostics).map(|(text, _)| text.to_owned());
        let hours = map.take_text("hours", diagnostics).and_then(|(text, node)| {
            let hours = Hours::parse(text);
            if hours.is_none() {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        self.file,
                        node.span.clone(),
                        format!("`hours` is a part of the day, not `{text}`"),
                    )
                    .help("write it as 07:00-09:30; 22:00-06:00 goes over midnight"),
                );
            }
            hours
        });
        if class.is_none() && !map.has("hours") {
            diagnostics.push(
                Diagnostic::new(
                    &codes::BAD_VALUE,
                    self.file,
                    node.span.clone(),
                    "this threshold is for every zone at every hour, as the level's own",
                )
                .help("say for which `class` or `hours` it is"),
            );
        }
        let thresholds = self.take_thresholds(&mut map, diagnostics);
        map.finish(diagnostics);
        let (enter, exit) = thresholds?;
        Some(Threshold { class, hours, enter, exit })
    }

    /// `propose: { action: limit_tickets, per_minute: 30, valid_for: 10m }`
    fn parse_proposal(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Proposal> {
        let mut own = map.take_map("propose", diagnostics)?;
        if !own.has("action") {
            own.missing("action", "limit_tickets, hold_gate or open_exit", diagnostics);
        }
        let action = own.take_choice("action", Action::WORDS, diagnostics);
        let limit_place = own.place_of("per_minute");
        let per_minute = own.take_number("per_minute", diagnostics);
        let valid_for_ms = own.take_duration_ms("valid_for", diagnostics).unwrap_or(PROPOSAL_VALID_MS);
        own.finish(diagnostics);
        let action = action?;
        let wrong = match (action, per_minute) {
            (Action::LimitTickets, None) => Some("`limit_tickets` needs `per_minute`: how many people are let in"),
            (Action::LimitTickets, Some(limit)) if limit < 0.0 => Some("`per_minute` is 0 or more"),
            (Action::HoldGate | Action::OpenExit, Some(_)) => Some("`per_minute` belongs to `limit_tickets`"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, self.file, limit_place, wrong));
            return None;
        }
        Some(Proposal { action, per_minute, valid_for_ms })
    }
}

/// `when_silent: { after: 20s, do: alert }`
pub(super) fn parse_silence(map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Silence> {
    let mut own = map.take_map("when_silent", diagnostics)?;
    for (key, help) in [("after", "such as `after: 20s`"), ("do", "hold, clear or alert")] {
        if !own.has(key) {
            own.missing(key, help, diagnostics);
        }
    }
    let after_ms = own.take_duration_ms("after", diagnostics);
    let words = [("hold", WhenSilent::Hold), ("clear", WhenSilent::Clear), ("alert", WhenSilent::Alert)];
    let action = own.take_choice("do", &words, diagnostics);
    own.finish(diagnostics);
    Some(Silence { after_ms: after_ms?, action: action? })
}

impl WindowSpec {
    /// Whether any level has other thresholds for some zones.
    pub fn has_zone_thresholds(&self) -> bool {
        self.levels.iter().any(|level| !level.for_zones.is_empty())
    }
}

/// Division of a non-negative number, rounded up.
fn div_ceil(number: i64, divisor: i64) -> i64 {
    (number + divisor.max(1) - 1) / divisor.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let night = Hours::parse("22:00-06:00").unwrap();
        assert!(night.holds(23 * 60) && night.holds(0) && !night.holds(6 * 60) && !night.holds(12 * 60));
        let day = Hours::parse("07:30-24:00").unwrap();
        assert!(day.holds(450) && day.holds(1439) && !day.holds(449));
        assert_eq!(night.text(), "22:00-06:00");
        assert_eq!([Hours::parse("7-9"), Hours::parse("07:00-07:00"), Hours::parse("25:00-26:00")], [None; 3]);
    }

    #[test]
    fn the_last_threshold_that_fits_counts() {
        let threshold = |class: Option<&str>, hours: Option<&str>, enter| Threshold {
            class: class.map(str::to_owned),
            hours: hours.and_then(Hours::parse),
            enter,
            exit: enter - 1.0,
        };
        let level = Level {
            name: "busy".into(),
            enter: 4.0,
            enter_windows: 1,
            exit: 3.0,
            exit_windows: 1,
            severity: RuleSeverity::High,
            for_zones: vec![
                threshold(Some("station"), None, 5.0),
                threshold(None, Some("22:00-06:00"), 2.0),
                threshold(Some("station"), Some("22:00-06:00"), 3.5),
            ],
            propose: None,
        };
        assert_eq!(level.thresholds(None, 600), (4.0, 3.0));
        assert_eq!(level.thresholds(Some("station"), 600), (5.0, 4.0));
        assert_eq!(level.thresholds(Some("school"), 0), (2.0, 1.0));
        assert_eq!(level.thresholds(Some("station"), 0), (3.5, 2.5));
    }
}

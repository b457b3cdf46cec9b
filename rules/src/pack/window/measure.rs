//! Measures: what is computed over a window, a closed set.

use super::{WindowParser, unknown_column};
use crate::diagnostic::{Diagnostic, Diagnostics, codes, did_you_mean};
use crate::schema::ColumnType;
use crate::yaml::MapReader;

/// A time of day in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DailyTime {
    /// Minutes since midnight.
    pub minute: u16,
    /// IANA name, such as `Asia/Shanghai`.
    pub timezone: String,
}

/// How people inside are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OccupancySpec {
    /// When nobody is inside, every day.
    pub reset: Option<DailyTime>,
    /// Whether the share of passages that the counter misses is learned from absolute readings.
    pub learn: bool,
}

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
    /// Number of distinct values of a column, estimated (`HyperLogLog`).
    ApproxDistinct(String),
    /// A quantile of a column, in thousandths, estimated (logarithmic buckets).
    Quantile(String, u16),
    /// Observations per distinct instant at which the device reported.
    Snapshot,
    /// Most observations at one instant, of each device.
    SnapshotMax,
    /// How many came in.
    Inflow,
    /// How many went out.
    Outflow,
    /// In minus out.
    NetFlow,
    /// How many are inside at the window's end.
    Occupancy(OccupancySpec),
}

impl Measure {
    /// Words of the measures that take no column.
    const PLAIN: [&'static str; 8] =
        ["count", "reads", "snapshot", "snapshot_max", "inflow", "outflow", "net_flow", "occupancy"];
    /// Words of those that take one.
    const OF_COLUMN: [&'static str; 7] = ["sum", "avg", "min", "max", "distinct", "approx_distinct", "quantile"];

    /// As written in a rule.
    pub fn text(&self) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Reads => "reads".to_owned(),
            Self::Snapshot => "snapshot".to_owned(),
            Self::SnapshotMax => "snapshot_max".to_owned(),
            Self::Inflow => "inflow".to_owned(),
            Self::Outflow => "outflow".to_owned(),
            Self::NetFlow => "net_flow".to_owned(),
            Self::Occupancy(_) => "occupancy".to_owned(),
            Self::Sum(column) => format!("sum({column})"),
            Self::Avg(column) => format!("avg({column})"),
            Self::Min(column) => format!("min({column})"),
            Self::Max(column) => format!("max({column})"),
            Self::Distinct(column) => format!("distinct({column})"),
            Self::ApproxDistinct(column) => format!("approx_distinct({column})"),
            Self::Quantile(column, thousandths) => format!("quantile({column}, {})", f64::from(*thousandths) / 1e3),
        }
    }

    /// What sets it apart from others of the same text.
    pub fn meaning(&self) -> String {
        match self {
            Self::Occupancy(OccupancySpec { reset, learn }) => {
                let reset = reset.as_ref().map(|at| format!(" reset {} {}", at.minute, at.timezone));
                format!("occupancy{}{}", reset.unwrap_or_default(), if *learn { " learned" } else { "" })
            }
            _ => self.text(),
        }
    }

    /// The column it reads, if it is told one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Sum(column)
            | Self::Avg(column)
            | Self::Min(column)
            | Self::Max(column)
            | Self::Distinct(column)
            | Self::ApproxDistinct(column)
            | Self::Quantile(column, _) => Some(column),
            Self::Count
            | Self::Reads
            | Self::Snapshot
            | Self::SnapshotMax
            | Self::Inflow
            | Self::Outflow
            | Self::NetFlow
            | Self::Occupancy(_) => None,
        }
    }

    /// Columns it reads beside `count`, told or not.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let direction = self.reads_direction().then_some("direction");
        let reading = matches!(self, Self::Occupancy(_)).then_some("occupancy");
        let total = self.reads_totals().then_some("total");
        self.column().into_iter().chain(direction).chain(reading).chain(total)
    }

    /// Whether it counts what is new of a running total, where a record tells one.
    pub fn reads_totals(&self) -> bool {
        matches!(self, Self::Count | Self::Inflow | Self::Outflow | Self::NetFlow | Self::Occupancy(_))
    }

    /// Whether it asks which way people went.
    pub fn reads_direction(&self) -> bool {
        matches!(self, Self::Inflow | Self::Outflow | Self::NetFlow | Self::Occupancy(_))
    }

    /// Whether pseudonyms or symbols are told apart.
    pub fn is_distinct(&self) -> bool {
        matches!(self, Self::Distinct(_) | Self::ApproxDistinct(_))
    }

    /// Whether it can only grow while its window is open.
    pub fn only_grows(&self) -> bool {
        matches!(self, Self::Count | Self::Reads | Self::Distinct(_) | Self::Inflow | Self::Outflow)
    }

    /// Whether it counts people or things, so that a forecast of it means something.
    pub fn counts(&self) -> bool {
        matches!(
            self,
            Self::Count
                | Self::Reads
                | Self::Distinct(_)
                | Self::ApproxDistinct(_)
                | Self::Snapshot
                | Self::SnapshotMax
                | Self::Inflow
                | Self::Outflow
                | Self::NetFlow
                | Self::Occupancy(_)
        )
    }
}

/// What the message about a measure lists.
const KNOWN: &str = "count, reads, snapshot, snapshot_max, inflow, outflow, net_flow, occupancy, sum(c), avg(c), min(c), max(c), distinct(c), approx_distinct(c), quantile(c, 0.95)";

impl WindowParser<'_> {
    pub(super) fn parse_measure(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<Measure> {
        let occupancy = self.parse_occupancy(map, diagnostics);
        let (text, node) = map.require_text("measure", KNOWN, diagnostics)?;
        let (name, inside) = match text.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.strip_suffix(')').map(str::trim)),
            None => (text.trim(), None),
        };
        if occupancy.is_some() && name != "occupancy" {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_MEASURE,
                self.file,
                map.place_of("occupancy"),
                format!("`occupancy` says how people inside are counted, and the measure is `{name}`"),
            ));
        }
        let bad = |message: String, help: String| {
            Diagnostic::new(&codes::BAD_MEASURE, self.file, node.span.clone(), message).help(help)
        };
        let kind = self.kind?;
        let found = match (name, inside) {
            ("count", None) => Ok(Measure::Count),
            ("reads", None) => Ok(Measure::Reads),
            ("snapshot", None) => Ok(Measure::Snapshot),
            ("snapshot_max", None) => Ok(Measure::SnapshotMax),
            ("inflow" | "outflow" | "net_flow" | "occupancy", None) => {
                let of_direction = match name {
                    "inflow" => Measure::Inflow,
                    "outflow" => Measure::Outflow,
                    "net_flow" => Measure::NetFlow,
                    _ => Measure::Occupancy(occupancy.unwrap_or(OccupancySpec { reset: None, learn: true })),
                };
                let fits = |name: &str| {
                    kind.column(name).is_some_and(|column| match name {
                        "direction" => column.ty == ColumnType::Symbol,
                        _ => matches!(column.ty, ColumnType::Number | ColumnType::Integer),
                    })
                };
                let missing = of_direction.columns().find(|name| *name != "total" && !fits(name)).map(str::to_owned);
                match missing {
                    None => Ok(of_direction),
                    Some(missing) => Err(bad(
                        format!(
                            "`{name}` needs a column `{missing}` (direction a symbol, occupancy a number), which {} records do not have",
                            kind.name
                        ),
                        "take it from a kind that counts people, such as `person`".to_owned(),
                    )),
                }
            }
            (name, Some(inside)) if Measure::OF_COLUMN.contains(&name) => {
                let (column_name, argument) = match inside.split_once(',') {
                    Some((column, argument)) => (column.trim(), Some(argument.trim())),
                    None => (inside, None),
                };
                let Some(column) = kind.column(column_name).filter(|column| !column.transient) else {
                    diagnostics.push(unknown_column(self.file, node, column_name, kind));
                    return None;
                };
                of_column(name, column.ty, column_name, argument).map_err(|(message, help)| bad(message, help))
            }
            (name, None) if Measure::OF_COLUMN.contains(&name) => {
                Err(bad(format!("`{name}` needs a column in brackets"), format!("such as `{name}(count)`")))
            }
            _ => Err(bad(
                format!("there is no measure `{text}`"),
                did_you_mean(name, Measure::PLAIN.into_iter().chain(Measure::OF_COLUMN))
                    .unwrap_or_else(|| KNOWN.to_owned()),
            )),
        };
        found.map_err(|diagnostic| diagnostics.push(diagnostic)).ok()
    }

    /// `occupancy: { reset: "04:00", timezone: Asia/Shanghai, learn: false }`
    fn parse_occupancy(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<OccupancySpec> {
        let mut own = map.take_map("occupancy", diagnostics)?;
        let timezone = self.take_timezone(&mut own, diagnostics);
        let reset = own.take_text("reset", diagnostics).and_then(|(text, node)| {
            let minute = minute_of_day(text);
            if minute.is_none() {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        self.file,
                        node.span.clone(),
                        format!("`reset` is a time of day, not `{text}`"),
                    )
                    .help("write it as \"04:00\", with quotes"),
                );
            }
            minute
        });
        let learn = own.take_bool("learn", diagnostics).unwrap_or(true);
        own.finish(diagnostics);
        Some(OccupancySpec { reset: reset.map(|minute| DailyTime { minute, timezone }), learn })
    }

    /// A time zone by its IANA name; UTC if none is named.
    pub(super) fn take_timezone(&self, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> String {
        let Some((name, node)) = map.take_text("timezone", diagnostics) else { return "UTC".to_owned() };
        if jiff::tz::TimeZone::get(name).is_err() {
            diagnostics.push(
                Diagnostic::new(
                    &codes::BAD_VALUE,
                    self.file,
                    node.span.clone(),
                    format!("there is no time zone `{name}`"),
                )
                .help("an IANA name, such as Asia/Shanghai"),
            );
        }
        name.to_owned()
    }
}

/// `04:00` as minutes since midnight; 24:00 is the end of the day.
pub(super) fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

/// A measure of one column, or what is wrong and what helps.
fn of_column(name: &str, ty: ColumnType, column: &str, argument: Option<&str>) -> Result<Measure, (String, String)> {
    let numeric = matches!(ty, ColumnType::Number | ColumnType::Integer);
    let countable = matches!(ty, ColumnType::Text | ColumnType::Symbol);
    let owned = column.to_owned();
    if argument.is_some() && name != "quantile" {
        return Err((format!("`{name}` takes a column and nothing else"), format!("such as `{name}({column})`")));
    }
    match name {
        "distinct" if countable => Ok(Measure::Distinct(owned)),
        "approx_distinct" if countable => Ok(Measure::ApproxDistinct(owned)),
        "distinct" | "approx_distinct" => {
            Err((format!("`{column}` is a {}; {name} counts texts and symbols", ty.word()), KNOWN.to_owned()))
        }
        _ if !numeric => Err((format!("`{column}` is a {}, not a number", ty.word()), KNOWN.to_owned())),
        "sum" => Ok(Measure::Sum(owned)),
        "avg" => Ok(Measure::Avg(owned)),
        "min" => Ok(Measure::Min(owned)),
        "max" => Ok(Measure::Max(owned)),
        _ => match argument.and_then(|text| text.parse::<f64>().ok()).filter(|share| (0.001..=0.999).contains(share)) {
            Some(share) => Ok(Measure::Quantile(owned, (share * 1e3).round() as u16)),
            None => Err((
                "`quantile` needs a share from 0.001 to 0.999".to_owned(),
                format!("such as `quantile({column}, 0.95)`"),
            )),
        },
    }
}

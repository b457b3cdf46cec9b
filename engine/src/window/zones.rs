//! The zone table: what a density or a share is divided by, which devices watch a zone, what it is part of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use weir_rules::pack::{Hours, Per};

use crate::decode::{CsvRow, parse_csv_row};
use crate::source::{Format, records_of};

/// How deep zones may lie in each other.
pub const ZONE_DEPTH_MAX: usize = 8;

/// One zone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Zone {
    /// Name, as in the records.
    pub id: String,
    /// Area, m2.
    pub area_m2: Option<f64>,
    /// How many people it holds at one moment.
    pub capacity: Option<f64>,
    /// How many people it takes in a day.
    pub daily_capacity: Option<f64>,
    /// Class, such as scenic, station or school: levels may have thresholds of their own for it.
    pub class: Option<String>,
    /// The zone it is part of: whatever is counted here counts there too.
    pub parent: Option<String>,
    /// Its time zone; UTC if none.
    pub timezone: Option<TimeZone>,
    /// Its opening hours; always if none. Silence outside of them is no silence.
    pub open: Option<Hours>,
    /// Devices that watch it; where none are named, those that have reported from it.
    pub devices: Vec<String>,
}

impl Zone {
    /// The figure a measure is divided by.
    pub fn figure(&self, per: Per) -> Option<f64> {
        match per {
            Per::Area => self.area_m2,
            Per::Capacity => self.capacity,
            Per::DailyCapacity => self.daily_capacity,
        }
    }

    /// The minute of its day.
    pub fn minute_of_day(&self, at_ms: i64) -> u16 {
        let offset_s = match (&self.timezone, Timestamp::from_millisecond(at_ms)) {
            (Some(timezone), Ok(at)) => i64::from(timezone.to_offset(at).seconds()),
            _ => 0,
        };
        let minute = (at_ms.div_euclid(1_000) + offset_s).rem_euclid(86_400) / 60;
        minute as u16
    }

    /// Whether it is open at a moment.
    pub fn is_open(&self, at_ms: i64) -> bool {
        self.open.is_none_or(|hours| hours.holds(self.minute_of_day(at_ms)))
    }
}

/// A zone table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum ZoneError {
    #[error(
        "the header has no column `zone`; a zone table has zone, and may have area_m2, capacity, daily_capacity, class, parent, timezone, open, devices"
    )]
    NoZoneColumn,
    #[error("row {row}: {message}")]
    Row { row: usize, message: String },
    #[error("zone `{zone}` is given twice")]
    Twice { zone: String },
    #[error("zone `{zone}` is part of `{parent}`, which the table does not have")]
    NoParent { zone: String, parent: String },
    #[error("zone `{zone}` is part of itself, or lies deeper than {ZONE_DEPTH_MAX} zones in each other")]
    TooDeep { zone: String },
}

/// All zones by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ZoneTable {
    zones: BTreeMap<String, Zone>,
}

const COLUMNS: [&str; 9] =
    ["zone", "area_m2", "capacity", "daily_capacity", "class", "parent", "timezone", "open", "devices"];

impl ZoneTable {
    /// A table of these zones.
    ///
    /// # Errors
    /// When one is given twice, or the zone it is part of is not there.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Result<Self, ZoneError> {
        let mut table = Self::default();
        for zone in zones {
            if let Some(twice) = table.zones.insert(zone.id.clone(), zone) {
                return Err(ZoneError::Twice { zone: twice.id });
            }
        }
        for zone in table.zones.values() {
            if let Some(parent) = zone.parent.as_ref().filter(|parent| !table.zones.contains_key(*parent)) {
                return Err(ZoneError::NoParent { zone: zone.id.clone(), parent: parent.clone() });
            }
            if table.ancestors(&zone.id).take(ZONE_DEPTH_MAX + 1).count() > ZONE_DEPTH_MAX {
                return Err(ZoneError::TooDeep { zone: zone.id.clone() });
            }
        }
        Ok(table)
    }

    /// Reads a CSV with the columns `zone`, `area_m2`, `capacity`, `daily_capacity`, `class`, `parent`, `timezone`,
    /// `open`, `devices` (divided by `;`); the first is needed, others are skipped.
    ///
    /// ```
    /// let table = weir_engine::window::ZoneTable::from_csv("zone,area_m2\ngate,0.64\n")?;
    /// assert_eq!(table.zone("gate").unwrap().area_m2, Some(0.64));
    /// # Ok::<(), weir_engine::window::ZoneError>(())
    /// ```
    ///
    /// # Errors
    /// With the row, when a figure is not above 0 or a row cannot be read; and see [`ZoneTable::new`].
    pub fn from_csv(text: &str) -> Result<Self, ZoneError> {
        let bytes = text.as_bytes();
        let mut row = CsvRow::default();
        let mut header: Option<[Option<usize>; COLUMNS.len()]> = None;
        let mut zones = Vec::new();
        for (number, range) in records_of(bytes, Format::Csv).enumerate() {
            let record = text[range].trim_start_matches('\u{feff}');
            if record.trim().is_empty() {
                continue;
            }
            let problem = |message: String| ZoneError::Row { row: number, message };
            parse_csv_row(record, &mut row).map_err(|cause| problem(cause.to_string()))?;
            let Some(columns) = &header else {
                let at = |name: &str| (0..row.len()).find(|column| row.get(*column).map(str::trim) == Some(name));
                let columns = COLUMNS.map(at);
                if columns[0].is_none() {
                    return Err(ZoneError::NoZoneColumn);
                }
                header = Some(columns);
                continue;
            };
            let cell = |name: &str| {
                let place = COLUMNS.iter().position(|column| *column == name)?;
                columns[place].and_then(|at| row.get(at)).map(str::trim).filter(|text| !text.is_empty())
            };
            zones.push(zone_of(cell).map_err(problem)?);
        }
        if header.is_none() {
            return Err(ZoneError::NoZoneColumn);
        }
        Self::new(zones)
    }

    /// The zone with this name.
    pub fn zone(&self, id: &str) -> Option<&Zone> {
        self.zones.get(id)
    }

    /// The zones that a zone lies in, from the inside out, without itself.
    pub fn ancestors(&self, id: &str) -> impl Iterator<Item = &Zone> {
        let parent = |zone: &&Zone| self.zones.get(zone.parent.as_ref()?);
        std::iter::successors(self.zones.get(id), parent).skip(1)
    }

    /// All zones by name.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.values()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }
}

/// A zone out of the cells of its row; what is wrong with it otherwise.
pub fn zone_of<'a>(cell: impl Fn(&'static str) -> Option<&'a str>) -> Result<Zone, String> {
    let figure = |name: &'static str| match cell(name) {
        None => Ok(None),
        Some(text) => match text.parse::<f64>() {
            Ok(figure) if figure > 0.0 && figure.is_finite() => Ok(Some(figure)),
            _ => Err(format!("`{name}` is `{text}`; it must be a number above 0")),
        },
    };
    let word = |name: &'static str| cell(name).map(str::to_owned);
    let timezone = match cell("timezone") {
        Some(name) => Some(TimeZone::get(name).map_err(|_| {
            format!("there is no time zone `{name}`; `timezone` is an IANA name, such as Asia/Shanghai")
        })?),
        None => None,
    };
    let open = match cell("open") {
        Some(text) => Some(Hours::parse(text).ok_or_else(|| format!("`open` is `{text}`; write it as 08:30-17:00"))?),
        None => None,
    };
    Ok(Zone {
        id: word("zone").ok_or_else(|| "`zone` is empty".to_owned())?,
        area_m2: figure("area_m2")?,
        capacity: figure("capacity")?,
        daily_capacity: figure("daily_capacity")?,
        class: word("class"),
        parent: word("parent"),
        timezone,
        open,
        devices: cell("devices")
            .unwrap_or_default()
            .split(';')
            .map(str::trim)
            .filter(|device| !device.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_tables_are_refused_with_their_row() {
        let error = |text: &str| ZoneTable::from_csv(text).unwrap_err().to_string();
        assert!(error("").contains("no column `zone`"));
        assert!(error("id,area_m2\na,1\n").contains("no column `zone`"));
        assert_eq!(error("zone,area_m2\na,0\n"), "row 1: `area_m2` is `0`; it must be a number above 0");
        assert_eq!(error("zone\na\na\n"), "zone `a` is given twice");
        assert_eq!(error("zone,open\na,9-17\n"), "row 1: `open` is `9-17`; write it as 08:30-17:00");
        assert!(error("zone,timezone\na,Mars/Olympus\n").starts_with("row 1: there is no time zone `Mars/Olympus`"));
        assert_eq!(error("zone,parent\na,b\n"), "zone `a` is part of `b`, which the table does not have");
        assert!(error("zone,parent\na,b\nb,a\n").contains("is part of itself"));
        let table = ZoneTable::from_csv("capacity,zone,devices\n10,a,d1; d2\n,b,\n").unwrap();
        assert_eq!(table.zone("a").unwrap().devices, ["d1", "d2"]);
        assert_eq!(table.zone("b").unwrap().capacity, None);
    }

    #[test]
    fn zones_lie_in_each_other_and_have_hours_of_their_own() {
        let table = ZoneTable::from_csv(
            "zone,parent,timezone,open\nstall,square,Asia/Shanghai,08:00-18:00\nsquare,park,,\npark,,,\n",
        )
        .unwrap();
        let above: Vec<&str> = table.ancestors("stall").map(|zone| zone.id.as_str()).collect();
        assert_eq!(above, ["square", "park"]);
        let stall = table.zone("stall").unwrap();
        // 2026-11-24T00:30:00Z is half past eight in Shanghai.
        assert_eq!(stall.minute_of_day(1_795_480_200_000), 8 * 60 + 30);
        assert!(stall.is_open(1_795_480_200_000) && !stall.is_open(1_795_480_200_000 - 3_600_000));
        assert_eq!(table.zone("park").unwrap().minute_of_day(1_795_480_200_000), 30);
    }
}

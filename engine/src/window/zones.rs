//! The zone table: what a density or a share is divided by, and which devices watch a zone.

use std::collections::BTreeMap;

use crate::decode::{CsvRow, parse_csv_row};
use crate::source::{Format, records_of};

/// One zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Name, as in the records.
    pub id: String,
    /// Area, m2.
    pub area_m2: Option<f64>,
    /// How many people it holds at one moment.
    pub capacity: Option<f64>,
    /// Devices that watch it; where none are named, those that have reported from it.
    pub devices: Vec<String>,
}

/// A zone table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum ZoneError {
    #[error("the header has no column `zone`; a zone table has zone, and may have area_m2, capacity, devices")]
    NoZoneColumn,
    #[error("row {row}: {message}")]
    Row { row: usize, message: String },
}

/// All zones by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ZoneTable {
    zones: BTreeMap<String, Zone>,
}

impl ZoneTable {
    /// Reads a CSV with the columns `zone`, `area_m2`, `capacity`, `devices` (divided by `;`); the
    /// first is needed, others are skipped.
    ///
    /// ```
    /// let table = weir_engine::window::ZoneTable::from_csv("zone,area_m2\ngate,0.64\n")?;
    /// assert_eq!(table.zone("gate").unwrap().area_m2, Some(0.64));
    /// # Ok::<(), weir_engine::window::ZoneError>(())
    /// ```
    pub fn from_csv(text: &str) -> Result<Self, ZoneError> {
        let bytes = text.as_bytes();
        let mut row = CsvRow::default();
        let mut header: Option<[Option<usize>; 4]> = None;
        let mut zones = BTreeMap::new();
        for (number, range) in records_of(bytes, Format::Csv).enumerate() {
            let record = text[range].trim_start_matches('\u{feff}');
            if record.trim().is_empty() {
                continue;
            }
            let problem = |message: String| ZoneError::Row { row: number, message };
            parse_csv_row(record, &mut row).map_err(|cause| problem(cause.to_string()))?;
            let Some(columns) = &header else {
                let at = |name: &str| (0..row.len()).find(|column| row.get(*column).map(str::trim) == Some(name));
                let columns = [at("zone"), at("area_m2"), at("capacity"), at("devices")];
                if columns[0].is_none() {
                    return Err(ZoneError::NoZoneColumn);
                }
                header = Some(columns);
                continue;
            };
            let cell = |column: usize| columns[column].and_then(|at| row.get(at)).map_or("", str::trim);
            let figure = |column: usize, name: &str| match cell(column) {
                "" => Ok(None),
                text => match text.parse::<f64>() {
                    Ok(figure) if figure > 0.0 && figure.is_finite() => Ok(Some(figure)),
                    _ => Err(problem(format!("`{name}` is `{text}`; it must be a number above 0"))),
                },
            };
            let zone = Zone {
                id: cell(0).to_owned(),
                area_m2: figure(1, "area_m2")?,
                capacity: figure(2, "capacity")?,
                devices: cell(3)
                    .split(';')
                    .map(str::trim)
                    .filter(|device| !device.is_empty())
                    .map(str::to_owned)
                    .collect(),
            };
            if zone.id.is_empty() {
                return Err(problem("`zone` is empty".to_owned()));
            }
            if let Some(twice) = zones.insert(zone.id.clone(), zone) {
                return Err(problem(format!("zone `{}` is given twice", twice.id)));
            }
        }
        if header.is_none() {
            return Err(ZoneError::NoZoneColumn);
        }
        Ok(Self { zones })
    }

    /// The zone with this name.
    pub fn zone(&self, id: &str) -> Option<&Zone> {
        self.zones.get(id)
    }

    /// All zones by name.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.values()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Whether every zone has an area.
    pub fn all_have_area(&self) -> bool {
        !self.is_empty() && self.iter().all(|zone| zone.area_m2.is_some())
    }

    /// Whether every zone has a capacity.
    pub fn all_have_capacity(&self) -> bool {
        !self.is_empty() && self.iter().all(|zone| zone.capacity.is_some())
    }
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
        assert_eq!(error("zone\na\na\n"), "row 2: zone `a` is given twice");
        let table = ZoneTable::from_csv("capacity,zone,devices\n10,a,d1; d2\n,b,\n").unwrap();
        assert_eq!(table.zone("a").unwrap().devices, ["d1", "d2"]);
        assert!(!table.all_have_capacity());
    }
}

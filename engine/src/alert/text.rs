//! Values as people read them, and the text of an alert.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weir_rules::pack::{Piece, Template};

use crate::record::SymbolId;

/// A value taken out of a batch: cheap to keep, and a symbol stays a number until somebody reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cell {
    Nothing,
    Symbol(SymbolId),
    Number(f64),
    Integer(i64),
    Truth(bool),
    /// Epoch milliseconds.
    Time(i64),
    /// Days since 1970-01-01.
    Date(i32),
    Text(Box<str>),
}

impl Cell {
    /// A value of a column.
    pub(crate) fn of(array: &ArrayRef, row: usize) -> Self {
        if array.is_null(row) {
            return Self::Nothing;
        }
        match array.data_type() {
            DataType::Utf8View => Self::Text(array.as_string_view().value(row).into()),
            DataType::Dictionary(..) => Self::Symbol(array.as_dictionary::<Int32Type>().keys().value(row) as SymbolId),
            DataType::Float64 => Self::Number(array.as_primitive::<Float64Type>().value(row)),
            DataType::Int64 => Self::Integer(array.as_primitive::<Int64Type>().value(row)),
            DataType::Boolean => Self::Truth(array.as_boolean().value(row)),
            DataType::Timestamp(..) => Self::Time(array.as_primitive::<TimestampMillisecondType>().value(row)),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().value(row)),
            _ => Self::Nothing,
        }
    }

    /// As a person reads it; `symbol` tells what a symbol's number stands for.
    pub(crate) fn text(&self, symbol: impl FnOnce(SymbolId) -> String) -> Option<String> {
        Some(match self {
            Self::Nothing => return None,
            Self::Symbol(id) => symbol(*id),
            Self::Number(number) => format_value(*number),
            Self::Integer(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
            Self::Time(ms) => format_time(*ms),
            Self::Date(days) => format_time(i64::from(*days) * 86_400_000)[..10].to_owned(),
            Self::Text(text) => text.to_string(),
        })
    }
}

/// One cell of a batch as text; `None` where there is no value.
pub(crate) fn cell_text(array: &ArrayRef, row: usize) -> Option<String> {
    Cell::of(array, row)
        .text(|id| array.as_dictionary::<Int32Type>().values().as_string::<i32>().value(id as usize).to_owned())
}

/// Epoch milliseconds as RFC 3339 in UTC.
pub fn format_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// A number with at most four digits behind the point and no trailing zeros.
pub(crate) fn format_value(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Fills a template; a field without a value becomes `-`.
pub(crate) fn render(template: &Template, field: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    for piece in &template.pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Field(name) => text.push_str(field(name).as_deref().unwrap_or("-")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        assert_eq!(format_value(4.0), "4");
        assert_eq!(format_value(3.293_333), "3.2933");
        assert_eq!(format_value(0.0), "0");
        assert_eq!(format_time(1_763_856_000_123), "2025-11-23T00:00:00.123Z");
    }
}

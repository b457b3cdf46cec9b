//! Values as people read them, and the text of an alert.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use weir_rules::pack::{Piece, Template};

/// One cell of a batch as text; `None` where there is no value.
pub(crate) fn cell_text(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Dictionary(..) => {
            let symbols = array.as_dictionary::<Int32Type>();
            let key = symbols.keys().value(row) as usize;
            symbols.values().as_string::<i32>().value(key).to_owned()
        }
        DataType::Float64 => format_value(array.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Timestamp(..) => format_time(array.as_primitive::<TimestampMillisecondType>().value(row)),
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            format_time(days * 86_400_000)[..10].to_owned()
        }
        _ => return None,
    })
}

/// Epoch milliseconds as RFC 3339 in UTC.
pub(crate) fn format_time(ms: i64) -> String {
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

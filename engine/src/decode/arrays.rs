//! Rows of typed columns as fields: Arrow IPC input and the outcome of mappings.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};

use crate::record::Field;

/// A column brought to one of the few types that fields are made of.
pub(crate) enum Values {
    Absent,
    View(ArrayRef),
    Symbols { keys: ArrayRef, texts: ArrayRef },
    Float(ArrayRef),
    Integer(ArrayRef),
    Days(ArrayRef),
    Truth(ArrayRef),
    Lists(Vec<Option<Vec<String>>>),
}

impl Values {
    /// Casts a column; a type that no field can be made of counts as absent.
    pub(crate) fn new(array: &ArrayRef) -> Self {
        let to = |data_type: &DataType| cast(array, data_type).ok();
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                to(&DataType::Utf8View).map_or(Self::Absent, Self::View)
            }
            DataType::Dictionary(_, value)
                if matches!(**value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) =>
            {
                let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                to(&wanted).map_or(Self::Absent, |array| {
                    let symbols = array.as_dictionary::<Int32Type>();
                    Self::Symbols { keys: std::sync::Arc::new(symbols.keys().clone()), texts: symbols.values().clone() }
                })
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
                to(&DataType::Float64).map_or(Self::Absent, Self::Float)
            }
            data_type if data_type.is_integer() => to(&DataType::Int64).map_or(Self::Absent, Self::Integer),
            DataType::Timestamp(..) => to(&millis).map_or(Self::Absent, Self::Integer),
            DataType::Date32 | DataType::Date64 => to(&DataType::Date32).map_or(Self::Absent, Self::Days),
            DataType::Boolean => Self::Truth(array.clone()),
            DataType::List(_) | DataType::LargeList(_) => Self::lists(array),
            _ => Self::Absent,
        }
    }

    fn lists(array: &ArrayRef) -> Self {
        let item = std::sync::Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true));
        let Ok(array) = cast(array, &DataType::List(item)) else {
            return Self::Absent;
        };
        let lists = array.as_list::<i32>();
        Self::Lists(
            lists
                .iter()
                .map(|list| Some(list?.as_string::<i32>().iter().flatten().map(str::to_owned).collect()))
                .collect(),
        )
    }

    /// The field of one row.
    pub(crate) fn field(&self, row: usize) -> Field<'_> {
        match self {
            Self::View(array) if array.is_valid(row) => Field::Text(array.as_string_view().value(row)),
            Self::Symbols { keys, texts } if keys.is_valid(row) => {
                let key = keys.as_primitive::<Int32Type>().value(row) as usize;
                Field::Text(texts.as_string::<i32>().value(key))
            }
            Self::Float(array) if array.is_valid(row) => Field::Float(array.as_primitive::<Float64Type>().value(row)),
            Self::Integer(array) if array.is_valid(row) => Field::Integer(match array.data_type() {
                DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
                _ => array.as_primitive::<TimestampMillisecondType>().value(row),
            }),
            Self::Days(array) if array.is_valid(row) => {
                Field::Integer(i64::from(array.as_primitive::<Date32Type>().value(row)))
            }
            Self::Truth(array) if array.is_valid(row) => Field::Truth(array.as_boolean().value(row)),
            Self::Lists(lists) => lists[row].as_deref().map_or(Field::Missing, Field::Texts),
            _ => Field::Missing,
        }
    }
}

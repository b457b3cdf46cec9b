//! Rows of typed columns as fields: Arrow IPC input and the outcome of mappings.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit};

use crate::record::{Field, SymbolId, SymbolLookup};

/// A column brought to one of the few types that fields are made of.
pub(crate) enum Values {
    Absent,
    Text(StringArray),
    View(StringViewArray),
    /// Texts that the input has numbered.
    Symbols {
        keys: Int32Array,
        texts: StringArray,
    },
    Float(Float64Array),
    /// Whole numbers, and times in milliseconds.
    Integer(Int64Array),
    Days(Date32Array),
    Truth(BooleanArray),
    Lists(Vec<Option<Vec<String>>>),
}

impl Values {
    /// Casts a column; a type that no field can be made of counts as absent.
    pub(crate) fn new(array: &ArrayRef) -> Self {
        let to = |data_type: &DataType| cast(array, data_type).ok();
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let integers = |array: ArrayRef| Self::Integer(array.as_primitive::<Int64Type>().clone());
        match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::LargeUtf8 | DataType::Utf8View => {
                to(&DataType::Utf8View).map_or(Self::Absent, |array| Self::View(array.as_string_view().clone()))
            }
            DataType::Dictionary(_, value)
                if matches!(**value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) =>
            {
                let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                to(&wanted).map_or(Self::Absent, |array| {
                    let symbols = array.as_dictionary::<Int32Type>();
                    Self::Symbols { keys: symbols.keys().clone(), texts: symbols.values().as_string().clone() }
                })
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
                let floats = to(&DataType::Float64);
                floats.map_or(Self::Absent, |array| Self::Float(array.as_primitive::<Float64Type>().clone()))
            }
            data_type if data_type.is_integer() => to(&DataType::Int64).map_or(Self::Absent, integers),
            DataType::Timestamp(..) => {
                let numbers = to(&millis).and_then(|array| cast(&array, &DataType::Int64).ok());
                numbers.map_or(Self::Absent, integers)
            }
            DataType::Date32 | DataType::Date64 => {
                let days = to(&DataType::Date32);
                days.map_or(Self::Absent, |array| Self::Days(array.as_primitive::<Date32Type>().clone()))
            }
            DataType::Boolean => Self::Truth(array.as_boolean().clone()),
            DataType::List(item) | DataType::LargeList(item) if !item.data_type().is_nested() => Self::lists(array),
            _ => Self::Absent,
        }
    }

    /// Bytes of the texts that bringing a column to its type copies one by one: items of lists, and views that a dictionary
    /// is made of. Both may name one long text many times. Of other columns none.
    pub(crate) fn copied_bytes(array: &ArrayRef) -> usize {
        let texts = match array.data_type() {
            DataType::List(item) if !item.data_type().is_nested() => array.as_list::<i32>().values(),
            DataType::LargeList(item) if !item.data_type().is_nested() => array.as_list::<i64>().values(),
            DataType::Dictionary(_, value) if **value == DataType::Utf8View => array.as_any_dictionary().values(),
            _ => return 0,
        };
        // As views they are not copied.
        let views = cast(texts, &DataType::Utf8View);
        views.map_or(0, |views| views.as_string_view().iter().flatten().map(str::len).sum())
    }

    fn lists(array: &ArrayRef) -> Self {
        let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true));
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
    #[inline]
    pub(crate) fn field(&self, row: usize) -> Field<'_> {
        match self {
            Self::Float(array) if array.is_valid(row) => Field::Float(array.value(row)),
            Self::Integer(array) if array.is_valid(row) => Field::Integer(array.value(row)),
            Self::Days(array) if array.is_valid(row) => Field::Integer(i64::from(array.value(row))),
            Self::Truth(array) if array.is_valid(row) => Field::Truth(array.value(row)),
            Self::Lists(lists) => lists[row].as_deref().map_or(Field::Missing, Field::Texts),
            _ => self.text(row).map_or(Field::Missing, Field::Text),
        }
    }

    /// Where the input has numbered its texts, and for so many rows they are worth to be looked at one by one: the key of
    /// each row, and the texts.
    pub(super) fn numbered(&self, rows: usize) -> Option<(&Int32Array, &StringArray)> {
        match self {
            Self::Symbols { keys, texts } if texts.len() <= rows => Some((keys, texts)),
            _ => None,
        }
    }

    /// The text of one row, if it is one.
    #[inline]
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Symbols { keys, texts } => {
                let key = keys.is_valid(row).then(|| keys.value(row) as usize)?;
                texts.is_valid(key).then(|| texts.value(key))
            }
            _ => None,
        }
    }
}

/// A key of whose text nothing is known yet.
const UNASKED: SymbolId = SymbolId::MAX;

/// The symbols of a column's rows. Where the input has numbered its texts, each is looked up once and not with every row.
pub(super) struct KnownSymbols<'a> {
    values: &'a Values,
    /// The input's keys, and by key the symbol.
    numbered: Option<(&'a Int32Array, Vec<Cell<SymbolId>>)>,
}

impl<'a> KnownSymbols<'a> {
    /// For so many rows.
    pub(super) fn new(values: &'a Values, rows: usize) -> Self {
        let numbered = values.numbered(rows).map(|(keys, texts)| (keys, vec![Cell::new(UNASKED); texts.len()]));
        Self { values, numbered }
    }

    #[inline]
    pub(super) fn get(&self, symbols: SymbolLookup<'_>, row: usize) -> Option<SymbolId> {
        let Some((keys, numbers)) = &self.numbered else { return symbols.get(self.values.text(row)?) };
        let number = &numbers[keys.is_valid(row).then(|| keys.value(row) as usize)?];
        if number.get() == UNASKED {
            number.set(symbols.get(self.values.text(row)?)?);
        }
        Some(number.get())
    }
}

//! Typed columns under construction, each filled for many records at once.
//!
//! A column knows once for all of them what it is made of, and the values of neighbours do not wait for each other. A
//! record that is refused leaves nothing in its columns but an empty place, which is gone when the rows are taken out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, DictionaryArray, Float64Builder, Int32Array, Int64Builder, ListBuilder,
    NullBufferBuilder, StringBuilder, StringViewBuilder, StructBuilder, TimestampMillisecondBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use weir_rules::schema::{Column, ColumnType, scored_text_fields};

use super::convert::{Cell, Converter};
use super::symbols::{CacheId, SymbolCache, SymbolCaches};
use super::{Cause, Field, KindLayout, Layouts, Offered, One, SymbolId};
use crate::normalise::TimeReader;

/// A typed column under construction.
pub(super) enum Builder {
    Text(StringViewBuilder),
    Symbol { keys: Vec<i32>, nulls: NullBufferBuilder, cache: CacheId, highest: Option<SymbolId> },
    Number(Float64Builder),
    Integer(Int64Builder),
    Truth(BooleanBuilder),
    Time(TimestampMillisecondBuilder),
    Date(Date32Builder),
    Scored(Box<ListBuilder<StructBuilder>>),
    Texts(ListBuilder<StringBuilder>),
}

impl Builder {
    fn new(column: &Column, layouts: &Layouts, caches: &mut SymbolCaches) -> Self {
        match column.ty {
            ColumnType::Text => Self::Text(StringViewBuilder::new()),
            ColumnType::Symbol => {
                let (keys, nulls) = (Vec::new(), NullBufferBuilder::new(0));
                Self::Symbol { keys, nulls, cache: caches.of(column, layouts), highest: None }
            }
            ColumnType::Number => Self::Number(Float64Builder::new()),
            ColumnType::Integer => Self::Integer(Int64Builder::new()),
            ColumnType::Boolean => Self::Truth(BooleanBuilder::new()),
            ColumnType::Timestamp => Self::Time(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::ScoredTexts => {
                Self::Scored(Box::new(ListBuilder::new(StructBuilder::from_fields(scored_text_fields(), 0))))
            }
            ColumnType::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
        }
    }

    pub(super) fn append(&mut self, cell: &Cell<'_>, converter: &Converter) {
        match self {
            Self::Text(builder) => builder.append_option(cell.text(converter)),
            Self::Symbol { .. } => self.push_symbol(cell.symbol()),
            Self::Number(builder) => builder.append_option(cell.number()),
            Self::Integer(builder) => builder.append_option(cell.integer()),
            Self::Truth(builder) => builder.append_option(cell.truth()),
            Self::Time(builder) => builder.append_option(cell.integer()),
            Self::Date(builder) => builder.append_option(cell.integer().map(|days| days as i32)),
            Self::Scored(builder) => {
                let texts = cell.scored(converter);
                for (text, score) in texts.unwrap_or_default() {
                    let fields = builder.values();
                    fields.field_builder::<StringViewBuilder>(0).expect("text column").append_value(text);
                    fields.field_builder::<Float64Builder>(1).expect("score column").append_option(*score);
                    fields.append(true);
                }
                builder.append(texts.is_some());
            }
            Self::Texts(builder) => {
                let texts = cell.scored(converter);
                for (text, _) in texts.unwrap_or_default() {
                    builder.values().append_value(text);
                }
                builder.append(texts.is_some());
            }
        }
    }

    #[inline]
    fn push_symbol(&mut self, id: Option<SymbolId>) {
        if let Self::Symbol { keys, nulls, highest, .. } = self {
            keys.push(id.unwrap_or_default() as i32);
            nulls.append(id.is_some());
            *highest = (*highest).max(id);
        }
    }

    fn finish(&mut self, caches: &mut SymbolCaches) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Symbol { keys, nulls, cache, highest } => {
                let values = caches[*cache].values(highest.take());
                let keys = Int32Array::new(std::mem::take(keys).into(), nulls.finish());
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).expect("keys lie within the values"))
            }
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Truth(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Scored(builder) => Arc::new(builder.finish()),
            Self::Texts(builder) => Arc::new(builder.finish()),
        }
    }

    pub(super) fn cache(&self) -> Option<CacheId> {
        match self {
            Self::Symbol { cache, .. } => Some(*cache),
            _ => None,
        }
    }
}

/// A column that is built, or only looked at because it must be there.
pub(super) struct Active {
    /// Position in the kind's declaration.
    pub(super) index: usize,
    column: Column,
    pub(super) builder: Option<Builder>,
    pub(super) role: Role,
}

/// Where the value of a column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// From the record's field of this name.
    Field,
    /// Read already, because every record is asked for it.
    Ts,
    Device,
    /// Where the record came from and when.
    Source,
    Received,
    /// A row for each zone: filled in when rows are appended.
    Zone,
    /// What verifying the credential gave.
    Outcome,
    /// The record's own, or else what the credential says.
    Status,
}

/// Why records are refused, of those that are.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// By record; empty as long as none is.
    causes: Vec<Option<Cause>>,
}

impl Refused {
    /// The first cause is the one that is told.
    #[cold]
    pub(super) fn note(&mut self, record: usize, cause: Cause) {
        if self.causes.len() <= record {
            self.causes.resize_with(record + 1, || None);
        }
        self.causes[record].get_or_insert(cause);
    }

    /// Notes a cause, for what then stands in the place of a value.
    #[cold]
    pub(super) fn or_default<T: Default>(&mut self, record: usize, cause: Cause) -> T {
        self.note(record, cause);
        T::default()
    }

    /// Whether a record is among them.
    #[inline]
    pub(crate) fn holds(&self, record: usize) -> bool {
        self.causes.get(record).is_some_and(Option::is_some)
    }

    pub(crate) fn clear(&mut self) {
        self.causes.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// Why a record is refused.
    pub(crate) fn take(&mut self, record: usize) -> Option<Cause> {
        self.causes.get_mut(record).and_then(Option::take)
    }
}

/// Columns of one layout under construction.
pub(crate) struct Columns {
    pub(super) active: Vec<Active>,
    schema: SchemaRef,
    pub(super) converter: Converter,
}

impl Columns {
    /// An empty set of the layout's columns.
    pub(crate) fn new(layout: &KindLayout, layouts: &Layouts, caches: &mut SymbolCaches) -> Self {
        let active: Vec<Active> = layout
            .kind
            .columns
            .iter()
            .zip(&layout.position)
            .enumerate()
            .filter(|(_, (column, position))| position.is_some() || column.required)
            .map(|(index, (column, position))| Active {
                index,
                column: column.clone(),
                builder: position.map(|_| Builder::new(column, layouts, caches)),
                role: Role::Field,
            })
            .collect();
        Self { converter: Converter::new(active.len()), active, schema: Arc::clone(&layout.schema) }
    }

    /// Appends the values of so many records to the column at `place` among the active ones, where nothing for a record
    /// that is refused. A column that is not built is checked for presence only.
    pub(super) fn fill<'a>(
        &mut self,
        place: usize,
        records: usize,
        fields: &impl Offered<'a>,
        time: &mut TimeReader,
        caches: &mut SymbolCaches,
        refused: &mut Refused,
    ) {
        let Active { index, column, builder, .. } = &mut self.active[place];
        let (texts, field) = (fields.texts(*index), fields.column(*index));
        let converter = &mut self.converter;
        match builder {
            None if column.required => {
                for record in 0..records {
                    if let Err(cause) = Converter::presence(column, field(record)) {
                        refused.note(record, cause);
                    }
                }
            }
            None => {}
            Some(builder @ Builder::Symbol { .. }) => {
                let cache = builder.cache().expect("symbol columns have a cache");
                let cache = &mut caches[cache];
                let plain = column.normaliser.is_none();
                let symbols = fields.symbols(*index);
                for record in 0..records {
                    // Nearly all symbols have been seen before.
                    let known = if plain { symbols(cache.lookup(), record) } else { None };
                    let id = match known {
                        Some(id) => Some(id),
                        None => convert(converter, place, column, (record, &field), Some(&mut *cache), time, refused)
                            .symbol(),
                    };
                    builder.push_symbol(id);
                }
            }
            Some(Builder::Text(builder)) => {
                for record in 0..records {
                    match texts(record).filter(|text| Converter::stands_as_it_is(column, text)) {
                        Some(text) => builder.append_value(text),
                        None => {
                            let cell = convert(converter, place, column, (record, &field), None, time, refused);
                            builder.append_option(cell.text(converter));
                        }
                    }
                }
            }
            Some(builder) => {
                for record in 0..records {
                    let cell = convert(converter, place, column, (record, &field), None, time, refused);
                    builder.append(&cell, converter);
                }
            }
        }
    }

    /// Appends one symbol to the column at `place`, if that is what it is made of.
    #[inline]
    pub(super) fn push_symbol(&mut self, place: usize, id: Option<SymbolId>) {
        if let Some(builder) = &mut self.active[place].builder {
            builder.push_symbol(id);
        }
    }

    /// Appends symbols to the column at `place`, if that is what it is made of.
    pub(super) fn push_symbols(&mut self, place: usize, ids: &[SymbolId]) {
        if let Some(Builder::Symbol { keys, nulls, highest, .. }) = &mut self.active[place].builder {
            keys.extend(ids.iter().map(|id| *id as i32));
            nulls.append_n_non_nulls(ids.len());
            *highest = (*highest).max(ids.iter().max().copied());
        }
    }

    /// Appends values that are known to the column at `place`, if it is built.
    pub(super) fn fill_with(&mut self, place: usize, cells: impl Iterator<Item = Cell<'static>>) {
        if let Some(builder) = &mut self.active[place].builder {
            cells.for_each(|cell| builder.append(&cell, &self.converter));
        }
    }

    /// Appends one record of fields, or says why not. Its place is taken in either case.
    pub(crate) fn push<'a>(
        &mut self,
        fields: impl Fn(usize) -> Field<'a>,
        time: &mut TimeReader,
        caches: &mut SymbolCaches,
    ) -> Result<(), Cause> {
        let mut refused = Refused::default();
        let fields = One(fields);
        for place in 0..self.active.len() {
            self.fill(place, 1, &fields, time, caches, &mut refused);
        }
        refused.take(0).map_or(Ok(()), Err)
    }

    /// Takes out so many rows: of the places that are named, or of all of them. The column at `by_row` has been filled row
    /// by row and is taken as it is.
    pub(crate) fn finish(
        &mut self,
        rows: usize,
        places: Option<Vec<u32>>,
        by_row: Option<usize>,
        caches: &mut SymbolCaches,
    ) -> RecordBatch {
        let places = places.map(UInt32Array::from);
        let built = self.active.iter_mut().enumerate().filter_map(|(at, active)| Some((at, active.builder.as_mut()?)));
        let arrays: Vec<ArrayRef> = built
            .map(|(at, builder)| match (builder.finish(caches), &places) {
                (array, Some(places)) if by_row != Some(at) => {
                    take(&array, places, None).expect("every place has been filled")
                }
                (array, _) => array,
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).expect("columns fit their schema")
    }
}

/// The value of a record that is not refused yet.
fn convert<'a>(
    converter: &mut Converter,
    place: usize,
    column: &Column,
    (record, field): (usize, impl Fn(usize) -> Field<'a>),
    cache: Option<&mut SymbolCache>,
    time: &mut TimeReader,
    refused: &mut Refused,
) -> Cell<'a> {
    if refused.holds(record) {
        return Cell::Null;
    }
    converter.convert(place, column, field(record), cache, time).unwrap_or_else(|cause| {
        refused.note(record, cause);
        Cell::Null
    })
}

//! Typed columns under construction, filled a whole record at a time.
//!
//! Every field of a record is converted and checked before any is appended, so that a refused record leaves no half
//! row behind.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, DictionaryArray, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, StringViewBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use weir_rules::schema::{Column, ColumnType, scored_text_fields};

use super::convert::{Cell, Converter};
use super::symbols::{CacheId, SymbolCaches};
use super::{Cause, Field, KindLayout, Layouts, SymbolId};
use crate::normalise::TimeReader;

/// A typed column under construction.
pub(super) enum Builder {
    Text(StringViewBuilder),
    Symbol { keys: Int32Builder, cache: CacheId, highest: Option<SymbolId> },
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
                Self::Symbol { keys: Int32Builder::new(), cache: caches.of(column, layouts), highest: None }
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

    fn append(&mut self, cell: &Cell<'_>, converter: &Converter) {
        match self {
            Self::Text(builder) => builder.append_option(cell.text(converter)),
            Self::Symbol { keys, highest, .. } => {
                let id = cell.symbol();
                keys.append_option(id.map(|id| id as i32));
                *highest = (*highest).max(id);
            }
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

    fn finish(&mut self, caches: &mut SymbolCaches) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Symbol { keys, cache, highest } => {
                let values = caches[*cache].values(highest.take());
                Arc::new(
                    DictionaryArray::<Int32Type>::try_new(keys.finish(), values).expect("keys lie within the values"),
                )
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
    EventId,
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

/// Columns of one layout under construction.
pub(crate) struct Columns {
    pub(super) active: Vec<Active>,
    schema: SchemaRef,
    rows: usize,
    pub(super) converter: Converter,
    /// Room for the cells of one record, empty between records.
    pub(super) cells: Vec<Cell<'static>>,
}

/// An empty vector with the room of another whose cells have ended their lives.
pub(super) fn emptied<'a>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'a>> {
    cells.clear();
    // Collected in place: the standard library keeps the allocation.
    cells.into_iter().map(|_| Cell::Null).collect()
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
        Self {
            converter: Converter::new(active.len()),
            active,
            schema: Arc::clone(&layout.schema),
            rows: 0,
            cells: Vec::new(),
        }
    }

    /// Rows appended since the last [`Columns::finish`].
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Converts the column at `place` among the active ones. A column that is not built is checked for
    /// presence only.
    pub(super) fn convert<'a>(
        &mut self,
        place: usize,
        field: Field<'a>,
        time: &mut TimeReader,
        caches: &mut SymbolCaches,
    ) -> Result<Cell<'a>, Cause> {
        let Active { column, builder, .. } = &self.active[place];
        match (builder, field) {
            (None, field) => Converter::presence(column, field),
            // Nearly all symbols have been seen before.
            (Some(Builder::Symbol { cache, .. }), Field::Text(text))
                if column.normaliser.is_none()
                    && let Some(symbol) = caches[*cache].get(text) =>
            {
                Ok(Cell::Symbol(symbol))
            }
            (Some(builder), field) => {
                let cache = builder.cache().map(|cache| &mut caches[cache]);
                self.converter.convert(place, column, field, cache, time)
            }
        }
    }

    pub(super) fn append(&mut self, cells: &[Cell<'_>]) {
        for (active, cell) in self.active.iter_mut().zip(cells) {
            if let Some(builder) = &mut active.builder {
                builder.append(cell, &self.converter);
            }
        }
        self.rows += 1;
    }

    /// Appends one row, or nothing if a field breaks a rule.
    pub(crate) fn push<'a>(
        &mut self,
        fields: impl Fn(usize) -> Field<'a>,
        time: &mut TimeReader,
        caches: &mut SymbolCaches,
    ) -> Result<(), Cause> {
        let mut cells = emptied(std::mem::take(&mut self.cells));
        let result = (0..self.active.len()).try_for_each(|place| {
            cells.push(self.convert(place, fields(self.active[place].index), time, caches)?);
            Ok(())
        });
        if result.is_ok() {
            self.append(&cells);
        }
        self.cells = emptied(cells);
        result
    }

    /// Takes the rows out.
    pub(crate) fn finish(&mut self, caches: &mut SymbolCaches) -> RecordBatch {
        let built = self.active.iter_mut().filter_map(|active| active.builder.as_mut());
        let arrays: Vec<ArrayRef> = built.map(|builder| builder.finish(caches)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).expect("columns fit their schema")
    }
}

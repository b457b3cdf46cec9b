//! From fields to typed columns, one record at a time and all or nothing.
//!
//! [`Columns`] converts and checks every field of a record before it appends any, so that a refused
//! record leaves no half row behind. [`KindBuilder`] adds what the engine needs of a canonical
//! record: event id, time, device, and one row for each zone the record lies in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, DictionaryArray, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, StringViewBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use weir_rules::schema::{Column, ColumnType, Identifies, Kind, Normaliser, scored_text_fields};

use super::convert::{Cell, Converter};
use super::symbols::{SymbolCache, Symbols};
use super::{Cause, Digest, Field, KindId, KindLayout, Layouts, Pseudonyms, Reason, SymbolId, Wholes};
use crate::credential::{Outcome, Verifier};
use crate::normalise::TimeReader;

/// A typed column under construction.
enum Builder {
    Text(StringViewBuilder),
    Symbol { keys: Int32Builder, cache: Box<SymbolCache>, highest: Option<SymbolId> },
    Number(Float64Builder),
    Integer(Int64Builder),
    Truth(BooleanBuilder),
    Time(TimestampMillisecondBuilder),
    Date(Date32Builder),
    Scored(Box<ListBuilder<StructBuilder>>),
    Texts(ListBuilder<StringBuilder>),
}

impl Builder {
    fn new(column: &Column, layouts: &Layouts) -> Self {
        match column.ty {
            ColumnType::Text => Self::Text(StringViewBuilder::new()),
            ColumnType::Symbol => Self::Symbol {
                keys: Int32Builder::new(),
                cache: Box::new(SymbolCache::new(layouts.symbols[&column.name].clone())),
                highest: None,
            },
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

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Symbol { keys, cache, highest } => {
                let values = cache.values(highest.take());
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

    fn cache(&mut self) -> Option<&mut SymbolCache> {
        match self {
            Self::Symbol { cache, .. } => Some(cache),
            _ => None,
        }
    }
}

/// A column that is built, or only looked at because it must be there.
struct Active {
    /// Position in the kind's declaration.
    index: usize,
    column: Column,
    builder: Option<Builder>,
}

/// Columns of one layout under construction.
pub(crate) struct Columns {
    active: Vec<Active>,
    schema: SchemaRef,
    rows: usize,
    converter: Converter,
}

impl Columns {
    /// An empty set of the layout's columns.
    pub(crate) fn new(layout: &KindLayout, layouts: &Layouts) -> Self {
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
                builder: position.map(|_| Builder::new(column, layouts)),
            })
            .collect();
        Self { converter: Converter::new(active.len()), active, schema: Arc::clone(&layout.schema), rows: 0 }
    }

    /// Rows appended since the last [`Columns::finish`].
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Converts the column at `place` among the active ones. A column that is not built is checked for
    /// presence only.
    fn convert<'a>(&mut self, place: usize, field: Field<'a>, time: &mut TimeReader) -> Result<Cell<'a>, Cause> {
        let Active { column, builder, .. } = &mut self.active[place];
        match builder {
            None => Converter::presence(column, field),
            Some(builder) => self.converter.convert(place, column, field, builder.cache(), time),
        }
    }

    /// What verifying a record's credential gives, if anybody asks for it.
    fn outcome<'a>(
        &mut self,
        of: CredentialIndex,
        fields: &impl Fn(usize) -> Field<'a>,
        verifier: &Verifier,
        (at_ms, wall_ms): (i64, i64),
    ) -> Option<(CredentialIndex, Outcome)> {
        let status_is_missing = of.status.is_some_and(|status| fields(status).is_missing());
        if of.place.is_none() && !status_is_missing {
            return None;
        }
        let verify = |text: &str| verifier.verify(text, at_ms, wall_ms);
        // What is there and no text is no credential.
        let outcome = self.converter.with_required_text("credential", fields(of.credential), verify);
        Some((of, outcome.unwrap_or(Outcome::Malformed)))
    }

    fn append(&mut self, cells: &[Cell<'_>]) {
        for (active, cell) in self.active.iter_mut().zip(cells) {
            if let Some(builder) = &mut active.builder {
                builder.append(cell, &self.converter);
            }
        }
        self.rows += 1;
    }

    /// Appends one row, or nothing if a field breaks a rule.
    pub(crate) fn push<'a>(&mut self, fields: impl Fn(usize) -> Field<'a>, time: &mut TimeReader) -> Result<(), Cause> {
        let cells = (0..self.active.len())
            .map(|place| self.convert(place, fields(self.active[place].index), time))
            .collect::<Result<Vec<_>, _>>()?;
        self.append(&cells);
        Ok(())
    }

    /// Takes the rows out.
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let arrays: Vec<ArrayRef> =
            self.active.iter_mut().filter_map(|active| active.builder.as_mut()).map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).expect("columns fit their schema")
    }
}

/// The records of one kind out of one batch.
#[derive(Debug)]
pub struct KindRows {
    /// Which kind.
    pub kind: KindId,
    /// One row for each record and zone.
    pub batch: RecordBatch,
    /// The record each row belongs to; rows of a record are neighbours.
    pub record_of_row: Vec<u32>,
    /// Event time of each record, milliseconds.
    pub ts: Vec<i64>,
    /// Event id of each record, as a digest.
    pub event: Vec<Digest>,
    /// Device of each record, numbered in the device column's table.
    pub device: Vec<SymbolId>,
    /// Source of each record.
    pub source: Vec<u16>,
    /// The passage each record is about; empty if no record of the batch says.
    pub(crate) tracks: Vec<Option<Track>>,
    /// Whether a row is there because its zone holds one that the record lies in; empty if no row is.
    pub(crate) inherited: Vec<bool>,
}

/// A device's own account of one passage, which it may correct (Axis NEW, UPDATE, LOST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Track {
    /// Stands for source, device and the device's number of the passage.
    pub(crate) id: Digest,
    pub(crate) state: ReadState,
    /// Whether the record says whom it saw: one that does not corrects nothing.
    pub(crate) reads: bool,
}

/// Where a record stands among those of its passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    New,
    /// A better read, or the last one.
    Correction,
}

impl KindRows {
    /// Whether a row is there because its zone holds one that the record lies in.
    pub(crate) fn is_inherited(&self, row: usize) -> bool {
        self.inherited.get(row).copied().unwrap_or(false)
    }

    /// The passage a record is about.
    pub(crate) fn track_of(&self, record: u32) -> Option<Track> {
        self.tracks.get(record as usize).copied().flatten()
    }
}

/// What surrounds a record: where it came from and when it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) source: u16,
    pub(crate) source_symbol: SymbolId,
    pub(crate) received_ms: i64,
}

/// Builds canonical records of one kind.
pub struct KindBuilder {
    kind: KindId,
    columns: Columns,
    pseudonyms: Pseudonyms,
    devices: SymbolCache,
    device_names: Symbols,
    index: CommonIndex,
    /// Place of the zone among the active columns, if any rule reads it.
    zone_place: Option<usize>,
    record_of_row: Vec<u32>,
    ts: Vec<i64>,
    event: Vec<Digest>,
    device: Vec<SymbolId>,
    source: Vec<u16>,
    tracks: Vec<Option<Track>>,
    zones: Vec<SymbolId>,
    inherited: Vec<bool>,
    verifier: Arc<Verifier>,
    wholes: Arc<Wholes>,
}

/// Positions of the common columns in the kind's declaration.
struct CommonIndex {
    event_id: usize,
    ts: usize,
    device: usize,
    zone: usize,
    source: usize,
    received: usize,
    /// `read_id` and `read_state`, of kinds that have them.
    read: Option<(usize, usize)>,
    /// Columns that say whom a record is about.
    identifying: Vec<usize>,
    /// Of kinds with credentials.
    credential: Option<CredentialIndex>,
}

/// Positions of a credential and of what is made of it.
#[derive(Clone, Copy)]
struct CredentialIndex {
    credential: usize,
    outcome: usize,
    status: Option<usize>,
    /// Place of the outcome among the active columns, if any rule reads it.
    place: Option<usize>,
}

impl CredentialIndex {
    fn new(kind: &Kind, columns: &Columns) -> Option<Self> {
        let outcome = kind.columns.iter().position(|column| column.normaliser == Some(Normaliser::CredentialV1))?;
        Some(Self {
            credential: kind.index_of(kind.columns[outcome].made_of.as_deref()?)?,
            outcome,
            status: kind.index_of("status"),
            place: columns.active.iter().position(|active| active.index == outcome),
        })
    }
}

/// Columns whose presence says that a record is about somebody.
fn identifying(kind: &Kind) -> Vec<usize> {
    let says = |column: &Column| column.identifies != Identifies::Nothing && !column.transient;
    kind.columns.iter().enumerate().filter(|(_, column)| says(column)).map(|(index, _)| index).collect()
}

impl KindBuilder {
    /// A builder for one shard.
    pub(crate) fn new(kind: KindId, layouts: &Layouts, pseudonyms: Pseudonyms) -> Self {
        let layout = &layouts.kinds[usize::from(kind)];
        let at = |name: &str| layout.kind.index_of(name).expect("every kind has the common columns");
        let columns = Columns::new(layout, layouts);
        let zone = at("zone");
        Self {
            kind,
            zone_place: columns.active.iter().position(|active| active.index == zone),
            pseudonyms,
            devices: SymbolCache::new(layouts.symbols["device"].clone()),
            device_names: layouts.symbols["device"].clone(),
            index: CommonIndex {
                event_id: at("event_id"),
                ts: at("ts"),
                device: at("device"),
                zone: at("zone"),
                source: at("source"),
                received: at("received"),
                read: layout.kind.index_of("read_id").zip(layout.kind.index_of("read_state")),
                identifying: identifying(&layout.kind),
                credential: CredentialIndex::new(&layout.kind, &columns),
            },
            verifier: Arc::clone(&layouts.verifier),
            wholes: Arc::clone(&layouts.wholes),
            columns,
            record_of_row: Vec::new(),
            ts: Vec::new(),
            event: Vec::new(),
            device: Vec::new(),
            source: Vec::new(),
            tracks: Vec::new(),
            zones: Vec::new(),
            inherited: Vec::new(),
        }
    }

    /// Other lists of revoked credentials are in force.
    pub(crate) fn verify_with(&mut self, verifier: &Arc<Verifier>) {
        self.verifier = Arc::clone(verifier);
    }

    /// Records appended since the last batch was taken out.
    pub fn records(&self) -> usize {
        self.ts.len()
    }

    /// Appends one record, or nothing if it breaks a rule of its schema.
    pub(crate) fn push<'a>(
        &mut self,
        fields: impl Fn(usize) -> Field<'a>,
        origin: Origin,
        time: &mut TimeReader,
        now_limit_ms: i64,
    ) -> Result<(), Cause> {
        let mut cells = Vec::with_capacity(self.columns.active.len());
        let mut zones = std::mem::take(&mut self.zones);
        let result = self.convert_all(&fields, origin, time, now_limit_ms, &mut cells, &mut zones);
        let track = match (&result, self.index.read) {
            (Ok((_, device, _)), Some(read)) => self.track(&fields, read, origin.source, *device),
            _ => None,
        };
        let result = result.map(|(ts_ms, device, event)| {
            if track.is_some() || !self.tracks.is_empty() {
                self.tracks.resize(self.ts.len(), None);
                self.tracks.push(track);
            }
            self.append(&mut cells, &zones);
            self.ts.push(ts_ms);
            self.device.push(device);
            self.event.push(event);
            self.source.push(origin.source);
        });
        zones.clear();
        self.zones = zones;
        result
    }

    fn convert_all<'a>(
        &mut self,
        fields: &impl Fn(usize) -> Field<'a>,
        origin: Origin,
        time: &mut TimeReader,
        now_limit_ms: i64,
        cells: &mut Vec<Cell<'a>>,
        zones: &mut Vec<SymbolId>,
    ) -> Result<(i64, SymbolId, Digest), Cause> {
        let index = &self.index;
        let ts_ms = self.columns.converter.timestamp("ts", fields(index.ts), time)?;
        let device = self.columns.converter.required_symbol("device", fields(index.device), &mut self.devices)?;
        if ts_ms > now_limit_ms {
            return Err(Reason::ClockAhead { ahead_ms: ts_ms - now_limit_ms, device }.into());
        }
        let event = self.columns.converter.with_required_text("event_id", fields(index.event_id), |text| {
            self.pseudonyms.event(origin.source, text)
        })?;
        // Where no rule reads the zone, a record is one row wherever it lies.
        if let Some(cache) =
            self.zone_place.and_then(|place| self.columns.active[place].builder.as_mut()).and_then(Builder::cache)
        {
            self.columns.converter.zones(fields(index.zone), cache, zones)?;
        }
        let outcome = match index.credential {
            Some(of) if !fields(of.credential).is_missing() => {
                self.columns.outcome(of, fields, &self.verifier, (ts_ms, origin.received_ms))
            }
            _ => None,
        };
        for place in 0..self.columns.active.len() {
            let column = self.columns.active[place].index;
            let cell = if let Some((of, outcome)) = outcome
                && (column == of.outcome || Some(column) == of.status && fields(column).is_missing())
            {
                let word = if column == of.outcome { outcome.word() } else { outcome.status() };
                self.columns.convert(place, Field::Text(word), time)?
            } else if column == index.event_id {
                // There, as its digest shows; most rules do not read it.
                match self.columns.active[place].builder {
                    Some(_) => self.columns.convert(place, fields(column), time)?,
                    None => Cell::Null,
                }
            } else if column == index.ts {
                Cell::Integer(ts_ms)
            } else if column == index.device {
                Cell::Symbol(device)
            } else if column == index.source {
                Cell::Symbol(origin.source_symbol)
            } else if column == index.received {
                Cell::Integer(origin.received_ms)
            } else if column == index.zone {
                Cell::Null
            } else {
                self.columns.convert(place, fields(column), time)?
            };
            cells.push(cell);
        }
        Ok((ts_ms, device, event))
    }

    /// The passage a record is about, if its device numbers them.
    fn track<'a>(
        &mut self,
        fields: &impl Fn(usize) -> Field<'a>,
        (id, state): (usize, usize),
        source: u16,
        device: SymbolId,
    ) -> Option<Track> {
        if fields(id).is_missing() {
            return None;
        }
        let device = self.device_names.text(device);
        let pseudonyms = &self.pseudonyms;
        let converter = &mut self.columns.converter;
        let id =
            converter.with_required_text("read_id", fields(id), |text| pseudonyms.track(source, &device, text)).ok()?;
        let corrects = converter.with_required_text("read_state", fields(state), |text| text != "new").unwrap_or(false);
        let reads = self
            .index
            .identifying
            .iter()
            .any(|column| !matches!(fields(*column), Field::Missing | Field::Text("") | Field::Json("[]")));
        Some(Track { id, state: if corrects { ReadState::Correction } else { ReadState::New }, reads })
    }

    /// One row for each zone, or one without a zone.
    fn append(&mut self, cells: &mut [Cell<'_>], zones: &[SymbolId]) {
        let record = self.ts.len() as u32;
        for row in 0..zones.len().max(1) {
            if let Some(place) = self.zone_place {
                cells[place] = zones.get(row).map_or(Cell::Null, |zone| Cell::Symbol(*zone));
            }
            self.columns.append(cells);
            self.record_of_row.push(record);
        }
        let Some(place) = self.zone_place.filter(|_| !self.wholes.is_empty()) else { return };
        self.inherited.resize(self.record_of_row.len(), false);
        // Each zone once, however many of its parts the record lies in.
        let mut above: Vec<SymbolId> = Vec::new();
        for whole in zones.iter().filter_map(|zone| self.wholes.get(zone)).flat_map(|wholes| wholes.iter()) {
            if !zones.contains(whole) && !above.contains(whole) {
                above.push(*whole);
            }
        }
        for whole in above {
            cells[place] = Cell::Symbol(whole);
            self.columns.append(cells);
            self.record_of_row.push(record);
            self.inherited.push(true);
        }
    }

    /// Takes the records out.
    pub(crate) fn finish(&mut self) -> KindRows {
        KindRows {
            kind: self.kind,
            batch: self.columns.finish(),
            record_of_row: std::mem::take(&mut self.record_of_row),
            ts: std::mem::take(&mut self.ts),
            event: std::mem::take(&mut self.event),
            device: std::mem::take(&mut self.device),
            source: std::mem::take(&mut self.source),
            tracks: std::mem::take(&mut self.tracks),
            inherited: std::mem::take(&mut self.inherited),
        }
    }
}

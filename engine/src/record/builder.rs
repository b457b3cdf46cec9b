//! From fields to canonical records of one kind.
//!
//! [`KindBuilder`] adds to the columns what the engine needs of every record: event id, time, device, and one
//! row for each zone the record lies in.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use weir_rules::schema::{Column, Identifies, Kind, Normaliser};

use super::columns::{Active, Builder, Columns, Role, emptied};
use super::convert::Cell;
use super::short_texts::ShortTexts;
use super::symbols::{CacheId, SymbolCaches, Symbols};
use super::{Cause, Digest, Field, KindId, Layouts, Pseudonyms, Reason, SymbolId, Wholes};
use crate::credential::{Outcome, Verifier};
use crate::normalise::TimeReader;

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
    devices: CacheId,
    device_names: Symbols,
    index: CommonIndex,
    /// Place of the zone among the active columns, if any rule reads it.
    zone_place: Option<usize>,
    record_of_row: Vec<u32>,
    ts: Vec<i64>,
    /// Event ids, digested together when the records are taken out.
    events: ShortTexts,
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
    fn of(kind: &Kind) -> Option<Self> {
        let outcome = kind.columns.iter().position(|column| column.normaliser == Some(Normaliser::CredentialV1))?;
        Some(Self {
            credential: kind.index_of(kind.columns[outcome].made_of.as_deref()?)?,
            outcome,
            status: kind.index_of("status"),
            place: None,
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
    pub(crate) fn new(kind: KindId, layouts: &Layouts, pseudonyms: Pseudonyms, caches: &mut SymbolCaches) -> Self {
        let layout = &layouts.kinds[usize::from(kind)];
        let at = |name: &str| layout.kind.index_of(name).expect("every kind has the common columns");
        let mut columns = Columns::new(layout, layouts, caches);
        let mut credential = CredentialIndex::of(&layout.kind);
        let zone = at("zone");
        for active in &mut columns.active {
            active.role = match active.index {
                index if index == at("event_id") => Role::EventId,
                index if index == at("ts") => Role::Ts,
                index if index == at("device") => Role::Device,
                index if index == at("source") => Role::Source,
                index if index == at("received") => Role::Received,
                index if index == zone => Role::Zone,
                index if credential.is_some_and(|of| of.outcome == index) => Role::Outcome,
                index if credential.is_some_and(|of| of.status == Some(index)) => Role::Status,
                _ => Role::Field,
            };
        }
        // What every record is asked for anyway need not be asked for again.
        let asked = |role: Role| matches!(role, Role::EventId | Role::Ts | Role::Device);
        columns.active.retain(|active| active.builder.is_some() || !asked(active.role));
        if let Some(of) = &mut credential {
            of.place = columns.active.iter().position(|active| active.index == of.outcome);
        }
        Self {
            kind,
            zone_place: columns.active.iter().position(|active| active.index == zone),
            pseudonyms,
            devices: caches.of(&layout.kind.columns[at("device")], layouts),
            device_names: layouts.symbols["device"].clone(),
            index: CommonIndex {
                event_id: at("event_id"),
                ts: at("ts"),
                device: at("device"),
                zone,
                read: layout.kind.index_of("read_id").zip(layout.kind.index_of("read_state")),
                identifying: identifying(&layout.kind),
                credential,
            },
            verifier: Arc::clone(&layouts.verifier),
            wholes: Arc::clone(&layouts.wholes),
            columns,
            record_of_row: Vec::new(),
            ts: Vec::new(),
            events: ShortTexts::default(),
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
        caches: &mut SymbolCaches,
        now_limit_ms: i64,
    ) -> Result<(), Cause> {
        let mut cells = emptied(std::mem::take(&mut self.columns.cells));
        let mut zones = std::mem::take(&mut self.zones);
        let result = self.convert_all(&fields, origin, time, caches, now_limit_ms, &mut cells, &mut zones);
        let track = match (&result, self.index.read) {
            (Ok((_, device)), Some(read)) => self.track(&fields, read, origin.source, *device),
            _ => None,
        };
        let result = result.map(|(ts_ms, device)| {
            if track.is_some() || !self.tracks.is_empty() {
                self.tracks.resize(self.ts.len(), None);
                self.tracks.push(track);
            }
            self.append(&mut cells, &zones);
            self.ts.push(ts_ms);
            self.device.push(device);
            self.source.push(origin.source);
        });
        if result.is_err() && self.events.len() > self.ts.len() {
            self.events.pop();
        }
        zones.clear();
        self.zones = zones;
        self.columns.cells = emptied(cells);
        result
    }

    #[expect(clippy::too_many_arguments, reason = "everything that is known of one record, and where it goes")]
    fn convert_all<'a>(
        &mut self,
        fields: &impl Fn(usize) -> Field<'a>,
        origin: Origin,
        time: &mut TimeReader,
        caches: &mut SymbolCaches,
        now_limit_ms: i64,
        cells: &mut Vec<Cell<'a>>,
        zones: &mut Vec<SymbolId>,
    ) -> Result<(i64, SymbolId), Cause> {
        let index = &self.index;
        let ts_ms = self.columns.converter.timestamp("ts", fields(index.ts), time)?;
        let device =
            self.columns.converter.required_symbol("device", fields(index.device), &mut caches[self.devices])?;
        if ts_ms > now_limit_ms {
            return Err(Reason::ClockAhead { ahead_ms: ts_ms - now_limit_ms, device }.into());
        }
        let events = &mut self.events;
        self.columns.converter.with_required_text("event_id", fields(index.event_id), |text| {
            events.push(origin.source, text);
        })?;
        // Where no rule reads the zone, a record is one row wherever it lies.
        if let Some(cache) =
            self.zone_place.and_then(|place| self.columns.active[place].builder.as_ref()).and_then(Builder::cache)
        {
            self.columns.converter.zones(fields(index.zone), &mut caches[cache], zones)?;
        }
        let outcome = match index.credential {
            Some(of) if !fields(of.credential).is_missing() => self.outcome(of, fields, (ts_ms, origin.received_ms)),
            _ => None,
        };
        for place in 0..self.columns.active.len() {
            let Active { index: column, role, .. } = self.columns.active[place];
            let cell = match (role, outcome) {
                (Role::Field | Role::Outcome | Role::Status, None) | (Role::Field, _) => {
                    self.columns.convert(place, fields(column), time, caches)?
                }
                (Role::Status, Some(_)) if !fields(column).is_missing() => {
                    self.columns.convert(place, fields(column), time, caches)?
                }
                (Role::Outcome, Some(outcome)) => {
                    self.columns.convert(place, Field::Text(outcome.word()), time, caches)?
                }
                (Role::Status, Some(outcome)) => {
                    self.columns.convert(place, Field::Text(outcome.status()), time, caches)?
                }
                (Role::EventId, _) => self.columns.convert(place, fields(column), time, caches)?,
                (Role::Ts, _) => Cell::Integer(ts_ms),
                (Role::Device, _) => Cell::Symbol(device),
                (Role::Source, _) => Cell::Symbol(origin.source_symbol),
                (Role::Received, _) => Cell::Integer(origin.received_ms),
                (Role::Zone, _) => Cell::Null,
            };
            cells.push(cell);
        }
        Ok((ts_ms, device))
    }

    /// What verifying a record's credential gives, if anybody asks for it.
    fn outcome<'a>(
        &mut self,
        of: CredentialIndex,
        fields: &impl Fn(usize) -> Field<'a>,
        (at_ms, wall_ms): (i64, i64),
    ) -> Option<Outcome> {
        let status_is_missing = of.status.is_some_and(|status| fields(status).is_missing());
        if of.place.is_none() && !status_is_missing {
            return None;
        }
        let verify = |text: &str| self.verifier.verify(text, at_ms, wall_ms);
        // What is there and no text is no credential.
        let outcome = self.columns.converter.with_required_text("credential", fields(of.credential), verify);
        Some(outcome.unwrap_or(Outcome::Malformed))
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
    pub(crate) fn finish(&mut self, caches: &mut SymbolCaches) -> KindRows {
        KindRows {
            kind: self.kind,
            batch: self.columns.finish(caches),
            record_of_row: std::mem::take(&mut self.record_of_row),
            ts: std::mem::take(&mut self.ts),
            event: self.pseudonyms.events(&mut self.events),
            device: std::mem::take(&mut self.device),
            source: std::mem::take(&mut self.source),
            tracks: std::mem::take(&mut self.tracks),
            inherited: std::mem::take(&mut self.inherited),
        }
    }
}

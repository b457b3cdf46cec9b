//! From fields to canonical records of one kind.
//!
//! [`KindBuilder`] adds to the columns what the engine needs of every record: event id, time, device, and one
//! row for each zone the record lies in.

use std::iter::repeat_n;
use std::sync::Arc;

use super::columns::{Columns, Refused, Role};
use super::common::{CommonIndex, CredentialIndex};
use super::convert::Cell;
use super::field::Column;
use super::short_texts::ShortTexts;
use super::symbols::{CacheId, SymbolCaches, Symbols};
use super::{Field, KindId, KindRows, Layouts, Offered, Pseudonyms, ReadState, Reason, SymbolId, Track, Wholes};
use crate::credential::{Outcome, Verifier};
use crate::normalise::TimeReader;

/// What surrounds a record: where it came from and when it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) source: u16,
    pub(crate) source_symbol: SymbolId,
    pub(crate) received_ms: i64,
}

/// What records are filled in with.
pub(crate) struct Means<'m> {
    pub(crate) origin: Origin,
    pub(crate) time: &'m mut TimeReader,
    pub(crate) caches: &'m mut SymbolCaches,
    /// Later records are quarantined.
    pub(crate) now_limit_ms: i64,
    /// Which of them are refused.
    pub(crate) refused: &'m mut Refused,
}

/// Builds canonical records of one kind.
///
/// Its columns have a place for each record that was offered; its rows are of those that were not refused.
pub struct KindBuilder {
    kind: KindId,
    columns: Columns,
    pseudonyms: Pseudonyms,
    devices: CacheId,
    device_names: Symbols,
    index: CommonIndex,
    /// Columns whose fields are asked for.
    needed: Vec<usize>,
    /// Place of the zone among the active columns, if any rule reads it, and its symbols. It is filled by row.
    zone: Option<(usize, CacheId)>,
    /// Places filled, and the one of each row.
    filled: u32,
    places: Vec<u32>,
    /// Whether every place has one row.
    is_even: bool,
    record_of_row: Vec<u32>,
    ts: Vec<i64>,
    /// Event ids, digested together when the records are taken out.
    events: ShortTexts,
    device: Vec<SymbolId>,
    source: Vec<u16>,
    tracks: Vec<Option<Track>>,
    inherited: Vec<bool>,
    /// Zones of the records being filled in, and where those of each end.
    zones: Vec<SymbolId>,
    zone_ends: Vec<u32>,
    verifier: Arc<Verifier>,
    wholes: Arc<Wholes>,
}

impl KindBuilder {
    /// A builder for one shard.
    pub(crate) fn new(kind: KindId, layouts: &Layouts, pseudonyms: Pseudonyms, caches: &mut SymbolCaches) -> Self {
        let layout = &layouts.kinds[usize::from(kind)];
        let mut columns = Columns::new(layout, layouts, caches);
        let mut index = CommonIndex::of(&layout.kind);
        for active in &mut columns.active {
            active.role = index.role_of(active.index);
        }
        // What every record is asked for anyway need not be asked for again.
        let asked = [index.event_id, index.ts, index.device];
        columns.active.retain(|active| active.builder.is_some() || !asked.contains(&active.index));
        let place_of = |index: usize| columns.active.iter().position(|active| active.index == index);
        if let Some(of) = &mut index.credential {
            of.place = place_of(of.outcome);
        }
        let cache_at = |place: usize| columns.active[place].builder.as_ref()?.cache();
        Self {
            kind,
            needed: index.needed(&columns),
            zone: place_of(index.zone).and_then(|place| Some((place, cache_at(place)?))),
            pseudonyms,
            devices: caches.of(&layout.kind.columns[index.device], layouts),
            device_names: layouts.symbols["device"].clone(),
            index,
            verifier: Arc::clone(&layouts.verifier),
            wholes: Arc::clone(&layouts.wholes),
            columns,
            filled: 0,
            places: Vec::new(),
            is_even: true,
            record_of_row: Vec::new(),
            ts: Vec::new(),
            events: ShortTexts::default(),
            device: Vec::new(),
            source: Vec::new(),
            tracks: Vec::new(),
            inherited: Vec::new(),
            zones: Vec::new(),
            zone_ends: Vec::new(),
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

    /// Columns whose fields are asked for.
    pub(crate) fn needed(&self) -> &[usize] {
        &self.needed
    }

    /// Appends so many records, but for those that break a rule of their schema.
    pub(crate) fn fill<'a>(&mut self, records: usize, fields: &impl Offered<'a>, means: &mut Means<'_>) {
        let first = self.ts.len();
        means.caches.named_by(means.origin.source);
        self.common(records, fields, means);
        let Means { origin, time, caches, refused, .. } = means;
        let outcomes = self.outcomes(records, fields, first, origin.received_ms, refused);
        let outcome = |record: usize| outcomes.get(record).copied().flatten();
        for place in 0..self.columns.active.len() {
            let column = self.columns.active[place].index;
            match self.columns.active[place].role {
                Role::Field => self.columns.fill(place, records, fields, time, caches, refused),
                Role::Outcome => {
                    let own = fields.column(column);
                    let field = |record| outcome(record).map_or_else(|| own(record), |of| Field::Text(of.word()));
                    self.columns.fill(place, records, &Column(field), time, caches, refused);
                }
                Role::Status => {
                    let own = fields.column(column);
                    let field = |record| match (own(record), outcome(record)) {
                        (Field::Missing, Some(of)) => Field::Text(of.status()),
                        (own, _) => own,
                    };
                    self.columns.fill(place, records, &Column(field), time, caches, refused);
                }
                Role::Ts => self.columns.fill_with(place, self.ts[first..].iter().map(|ms| Cell::Integer(*ms))),
                Role::Device => {
                    // What stands for the device of a refused record is no symbol.
                    let device = |(record, id): (usize, &SymbolId)| {
                        if refused.holds(record) { Cell::Null } else { Cell::Symbol(*id) }
                    };
                    self.columns.fill_with(place, self.device[first..].iter().enumerate().map(device));
                }
                Role::Source => self.columns.fill_with(place, repeat_n(Cell::Symbol(origin.source_symbol), records)),
                Role::Received => self.columns.fill_with(place, repeat_n(Cell::Integer(origin.received_ms), records)),
                Role::Zone => {}
            }
        }
        if !refused.is_empty() {
            self.let_go(first, records, refused);
        }
        self.note_tracks(first, records, fields, origin.source, refused);
        self.source.resize(self.ts.len(), origin.source);
        self.add_rows(first, records, refused);
    }

    /// What every record must have: time, device, event id, and zones that can be read.
    fn common<'a>(&mut self, records: usize, fields: &impl Offered<'a>, means: &mut Means<'_>) {
        let Means { origin, time, caches, now_limit_ms, refused } = means;
        let index = &self.index;
        let converter = &mut self.columns.converter;
        let (texts, times) = (fields.texts(index.ts), fields.column(index.ts));
        for record in 0..records {
            if let Some(ms) = texts(record).and_then(|text| time.read_near(text)) {
                self.ts.push(ms);
                continue;
            }
            let ts_ms = converter.timestamp("ts", times(record), time);
            self.ts.push(ts_ms.unwrap_or_else(|cause| refused.or_default(record, cause)));
        }
        let cache = &mut caches[self.devices];
        let (symbols, devices) = (fields.symbols(index.device), fields.column(index.device));
        for record in 0..records {
            if refused.holds(record) {
                self.device.push(0);
                continue;
            }
            let ts_ms = self.ts[self.device.len()];
            if ts_ms <= *now_limit_ms
                && let Some(device) = symbols(cache.lookup(), record)
            {
                self.device.push(device);
                continue;
            }
            let device = converter.required_symbol("device", devices(record), cache).and_then(|device| {
                if ts_ms > *now_limit_ms {
                    return Err(Reason::ClockAhead { ahead_ms: ts_ms - *now_limit_ms, device }.into());
                }
                Ok(device)
            });
            self.device.push(device.unwrap_or_else(|cause| refused.or_default(record, cause)));
        }
        let events = &mut self.events;
        let event_ids = fields.column(index.event_id);
        for record in 0..records {
            // One that is refused is forgotten later, and keeps its place until then.
            if refused.holds(record) {
                events.push(origin.source, "");
                continue;
            }
            let pushed = converter.with_required_text("event_id", event_ids(record), |text| {
                events.push(origin.source, text);
            });
            if let Err(cause) = pushed {
                events.push(origin.source, "");
                refused.note(record, cause);
            }
        }
        self.zones.clear();
        self.zone_ends.clear();
        // Where no rule reads the zone, a record is one row wherever it lies.
        if let Some((_, cache)) = self.zone {
            let cache = &mut caches[cache];
            let (symbols, zones) = (fields.symbols(index.zone), fields.column(index.zone));
            for record in 0..records {
                // What the cache knows is one zone: texts are divided before they get into it.
                if let Some(zone) = symbols(cache.lookup(), record) {
                    self.zones.push(zone);
                } else if !refused.holds(record)
                    && let Err(cause) = converter.zones(zones(record), cache, &mut self.zones)
                {
                    refused.note(record, cause);
                }
                self.zone_ends.push(self.zones.len() as u32);
            }
        }
    }

    /// What verifying the records' credentials gives; nothing for a kind without credentials.
    fn outcomes<'a>(
        &mut self,
        records: usize,
        fields: &impl Offered<'a>,
        first: usize,
        wall_ms: i64,
        refused: &Refused,
    ) -> Vec<Option<Outcome>> {
        let Some(of) = self.index.credential else { return Vec::new() };
        let credentials = fields.column(of.credential);
        let mut outcome = |record: usize| {
            let there = !refused.holds(record) && !credentials(record).is_missing();
            let at_ms = (self.ts[first + record], wall_ms);
            there.then(|| self.outcome(of, |column| fields.column(column)(record), at_ms))?
        };
        (0..records).map(&mut outcome).collect()
    }

    /// Forgets what is known of records that are refused, from the record `first` on.
    #[cold]
    fn let_go(&mut self, first: usize, records: usize, refused: &Refused) {
        self.events.retain(first, |record| !refused.holds(record));
        let mut kept = first;
        for record in (0..records).filter(|record| !refused.holds(*record)) {
            (self.ts[kept], self.device[kept]) = (self.ts[first + record], self.device[first + record]);
            kept += 1;
        }
        self.ts.truncate(kept);
        self.device.truncate(kept);
    }

    /// Notes which passages the records are about, if any of the batch says.
    fn note_tracks<'a>(
        &mut self,
        first: usize,
        records: usize,
        fields: &impl Offered<'a>,
        source: u16,
        refused: &Refused,
    ) {
        let Some(read) = self.index.read else { return };
        for (number, record) in (0..records).filter(|record| !refused.holds(*record)).enumerate() {
            let number = first + number;
            let track = self.track(|column| fields.column(column)(record), read, source, self.device[number]);
            if track.is_some() || !self.tracks.is_empty() {
                self.tracks.resize(number, None);
                self.tracks.push(track);
            }
        }
    }

    /// What verifying a record's credential gives, if anybody asks for it.
    fn outcome<'a>(
        &mut self,
        of: CredentialIndex,
        fields: impl Fn(usize) -> Field<'a>,
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
        fields: impl Fn(usize) -> Field<'a>,
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

    /// One row for each zone of a record, or one without a zone.
    fn add_rows(&mut self, first: usize, records: usize, refused: &Refused) {
        let filled = self.filled;
        self.filled += records as u32;
        match self.zone {
            // Nearly all records lie in one zone, and in none that holds it.
            Some((column, _)) if refused.is_empty() && self.wholes.is_empty() && self.lie_in_one_zone_each() => {
                self.columns.push_symbols(column, &self.zones);
                self.add_row_of_each(first, records, refused, filled);
            }
            None => self.add_row_of_each(first, records, refused, filled),
            Some(_) => {
                let (zones, ends) = (std::mem::take(&mut self.zones), std::mem::take(&mut self.zone_ends));
                let (mut number, mut start) = (first as u32, 0);
                for (record, end) in ends.iter().map(|end| *end as usize).enumerate() {
                    if !refused.holds(record) {
                        self.add_rows_of(number, filled + record as u32, &zones[start..end]);
                        number += 1;
                    }
                    start = end;
                }
                (self.zones, self.zone_ends) = (zones, ends);
            }
        }
        self.is_even &= refused.is_empty() && self.places.len() == self.filled as usize;
    }

    /// Whether each of the records being filled in lies in one zone.
    fn lie_in_one_zone_each(&self) -> bool {
        self.zone_ends.iter().zip(1..).all(|(end, expected)| *end == expected)
    }

    /// One row for each record that is not refused.
    fn add_row_of_each(&mut self, first: usize, records: usize, refused: &Refused, filled: u32) {
        self.record_of_row.extend(first as u32..self.ts.len() as u32);
        let kept = (0..records).filter(|record| !refused.holds(*record));
        self.places.extend(kept.map(|record| filled + record as u32));
    }

    /// The rows of one record, and those it has because of the zones that hold its own.
    fn add_rows_of(&mut self, record: u32, place: u32, zones: &[SymbolId]) {
        match zones {
            [] => self.add_row(record, place, None),
            zones => zones.iter().for_each(|zone| self.add_row(record, place, Some(*zone))),
        }
        if self.wholes.is_empty() {
            return;
        }
        self.inherited.resize(self.record_of_row.len(), false);
        // Each zone once, however many of its parts the record lies in.
        let wholes = Arc::clone(&self.wholes);
        let mut above: Vec<SymbolId> = Vec::new();
        for whole in zones.iter().filter_map(|zone| wholes.get(zone)).flat_map(|wholes| wholes.iter()) {
            if !zones.contains(whole) && !above.contains(whole) {
                above.push(*whole);
                self.add_row(record, place, Some(*whole));
                self.inherited.push(true);
            }
        }
    }

    #[inline]
    fn add_row(&mut self, record: u32, place: u32, zone: Option<SymbolId>) {
        if let Some((column, _)) = self.zone {
            self.columns.push_symbol(column, zone);
        }
        self.record_of_row.push(record);
        self.places.push(place);
    }

    /// Whether anything has been offered since the last batch was taken out.
    pub(crate) fn is_used(&self) -> bool {
        self.filled > 0
    }

    /// Takes the records out.
    pub(crate) fn finish(&mut self, caches: &mut SymbolCaches) -> KindRows {
        let places = if self.is_even {
            self.places.clear();
            None
        } else {
            Some(std::mem::take(&mut self.places))
        };
        (self.filled, self.is_even) = (0, true);
        let by_row = self.zone.map(|(place, _)| place);
        KindRows {
            kind: self.kind,
            batch: self.columns.finish(self.record_of_row.len(), places, by_row, caches),
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

#[cfg(test)]
mod tests;

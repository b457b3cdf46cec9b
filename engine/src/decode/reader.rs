//! The records of a block, one by one, into the assembly.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::arrays::Values;
use super::assembly::{Assembly, Place};
use super::at_a_glance::{AtAGlance, legible, may_begin_record, short_line_end, without_return};
use super::csv::{Row, parse_row};
use super::found::{Found, Waiting};
use super::json::{FieldReader, line_at, line_end};
use super::onward::{Onward, kind_of};
use super::plan::{KIND_SLOT, KindChoice, SourcePlan};
use super::refusals::Flaw;
use crate::limits::IPC_MESSAGE_BYTES_MAX;
use crate::record::{Cause, Field, KindId, Layouts, Pseudonyms, Reason, Symbols};
use crate::source::{Block, Format, Payload, records_of};

/// Decodes the blocks of one source on one shard.
pub(crate) struct SourceDecoder {
    plan: Arc<SourcePlan>,
    record_bytes_max: usize,
    json: FieldReader,
    row: Row,
    onward: Onward,
    /// Records found and not handed on yet; empty between blocks.
    found: Found,
    /// Which columns are asked for, where records come as columns.
    wanted: Vec<bool>,
    /// Names of devices.
    devices: Symbols,
}

impl SourceDecoder {
    pub(crate) fn new(
        plan: Arc<SourcePlan>,
        layouts: &Layouts,
        record_bytes_max: usize,
        pseudonyms: Pseudonyms,
        assembly: &Assembly,
    ) -> Self {
        let found = Found::new(&plan, assembly);
        let json = match &plan.mapping {
            Some(mapping) => FieldReader::new(&mapping.fields, plan.kind_slot()),
            None => {
                let places = |kind| found.places(plan.slots.len(), kind);
                FieldReader::with_places(&plan.slots, plan.kind_slot(), places)
            }
        };
        Self {
            json,
            row: Row::default(),
            onward: Onward::new(Arc::clone(&plan), layouts, pseudonyms),
            wanted: wanted(&plan, assembly),
            found,
            devices: layouts.symbols["device"].clone(),
            record_bytes_max,
            plan,
        }
    }

    /// Decodes one block; `index` is its position among the blocks of the batch.
    pub(crate) fn decode(&mut self, index: u32, block: &Block, assembly: &mut Assembly) {
        match &block.payload {
            Payload::Lines { bytes, format: Format::Csv, header } => {
                let slots = header.as_ref().map(|header| self.header_slots(header)).unwrap_or_default();
                self.csv(index, bytes, &slots, block, assembly);
            }
            Payload::Lines { bytes, .. } => {
                self.lines(index, bytes, block, assembly);
                self.onward.flush(block, Some(bytes), assembly);
            }
            Payload::Objects { bytes, ranges } => {
                self.objects(index, bytes, ranges, block, assembly);
                self.onward.flush(block, Some(bytes), assembly);
            }
            Payload::Columns(batch) => self.columnar(index, batch.num_rows(), Some(batch), block, assembly),
            Payload::Encoded(rows) => {
                let columns = rows.decode(|name| self.wants(name));
                self.columnar(index, rows.count(), columns.as_ref(), block, assembly);
            }
            Payload::Refused(causes) => {
                assembly.receive(self.plan.id, causes.len() as u64);
                for (number, (cause, digest)) in causes.iter().enumerate() {
                    let place = Place { block: index, record: number as u32 };
                    assembly.reject(place, self.onward.refusals.rejected(block, place, cause.clone(), digest.clone()));
                }
            }
            Payload::Alive(devices) => {
                // A device without a number has no room among the symbols, and has sent no record either.
                let numbers = devices.iter().filter_map(|device| self.devices.intern_by(device, Some(self.plan.id)));
                assembly.heard.extend(numbers.map(|device| (self.plan.id, device)));
            }
        }
        self.onward.refusals.finish(block, assembly);
    }

    fn header_slots(&self, header: &[String]) -> Vec<Option<usize>> {
        let names = self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields);
        names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }

    /// NDJSON: one record a line, blank lines aside. A record's number is that of its line.
    fn lines(&mut self, index: u32, bytes: &[u8], block: &Block, assembly: &mut Assembly) {
        let mut blanked = Vec::new();
        let (text, spoiled) = legible(bytes, &mut blanked);
        let mut spoiled = spoiled.into_iter().peekable();
        self.json.look_through(text.as_bytes());
        let (mut at, mut number, mut received) = (0, 0, 0);
        while at < bytes.len() {
            if bytes[at] == b'\n' {
                (at, number) = (at + 1, number + 1);
                continue;
            }
            let place = Place { block: index, record: number };
            if let Some(line) = spoiled.next_if(|line| line.start == at) {
                self.spoiled_line(bytes, &line, place, block, assembly);
                (at, number, received) = (line.end + 1, number + 1, received + 1);
                continue;
            }
            if !may_begin_record(bytes[at])
                && let Some(told) = self.rubbish(text.as_bytes(), at)
                && self.onward.refusals.note_lines(&bytes[at..told.end], place, told.lines, Flaw::NoObject)
            {
                (at, number, received) = (told.next, number + told.lines, received + u64::from(told.lines));
                continue;
            }
            let end = match self.usual(text, at, |end| line_end(bytes, end)) {
                Some(end) => {
                    received += 1;
                    let without_return = end - usize::from(bytes[..end].ends_with(b"\r"));
                    self.take(text, at..without_return, place, block, assembly);
                    end
                }
                None => {
                    if let Some(told) = self.short_lines(text.as_bytes(), at)
                        && let flaw = Flaw::TooShort(self.plan.json_bytes_min)
                        && self.onward.refusals.note_lines(&bytes[at..told.end], place, told.lines, flaw)
                    {
                        (at, number, received) = (told.next, number + told.lines, received + u64::from(told.lines));
                        continue;
                    }
                    let end = line_at(bytes, at).end;
                    let raw = without_return(&bytes[at..end]);
                    if !raw.iter().all(u8::is_ascii_whitespace) {
                        received += 1;
                        self.unusual(Some(text), raw, at..at + raw.len(), place, block, assembly);
                    }
                    end
                }
            };
            at = end + 1;
            number += 1;
        }
        self.hand_on(text, block, assembly);
        assembly.receive(self.plan.id, received);
    }

    /// A line that is no text.
    fn spoiled_line(
        &mut self,
        bytes: &[u8],
        line: &Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let raw = without_return(&bytes[line.clone()]);
        if !self.onward.refusals.note_lines(raw, place, 1, Flaw::NotUtf8) {
            self.unusual(None, raw, line.start..line.start + raw.len(), place, block, assembly);
        }
    }

    /// The lines from a position on that begin like no record, if those may be told together.
    #[inline]
    fn rubbish(&self, text: &[u8], at: usize) -> Option<AtAGlance> {
        let ends = |at| Some(self.json.line_end(text, at)).filter(|end| end - at <= self.record_bytes_max);
        AtAGlance::of_lines(text, at, self.onward.refusals.lines_max(), |byte| !may_begin_record(byte), ends)
    }

    /// The lines from a position on that have so few bytes that they are no records, if those may be told together.
    #[inline]
    fn short_lines(&self, text: &[u8], at: usize) -> Option<AtAGlance> {
        let ends = |at| short_line_end(text, at, self.plan.json_bytes_min);
        AtAGlance::of_lines(text, at, self.onward.refusals.lines_max(), |byte| byte == b'{', ends)
    }

    /// Objects that a source has found in something larger.
    fn objects(&mut self, index: u32, bytes: &[u8], ranges: &[Range<u32>], block: &Block, assembly: &mut Assembly) {
        let text = simdutf8::basic::from_utf8(bytes).ok();
        self.json.look_through(bytes);
        for (number, range) in ranges.iter().enumerate() {
            let range = range.start as usize..range.end as usize;
            let place = Place { block: index, record: number as u32 };
            let ends = |end| (end == range.end).then_some(end);
            match text.filter(|text| self.usual(text, range.start, ends).is_some()) {
                Some(text) => self.take(text, range, place, block, assembly),
                None => self.unusual(text, &bytes[range.clone()], range, place, block, assembly),
            }
        }
        self.hand_on(text.unwrap_or_default(), block, assembly);
        assembly.receive(self.plan.id, ranges.len() as u64);
    }

    /// Reads the record at a position of a text, if it looks like one before it.
    #[inline]
    fn usual(&mut self, text: &str, at: usize, ends: impl FnOnce(usize) -> Option<usize>) -> Option<usize> {
        if text.as_bytes().get(at + 1) == Some(&b'}') {
            return None;
        }
        if self.plan.mapping.is_some() {
            return self.json.usual(text, at, self.record_bytes_max, ends);
        }
        self.json.usual_into(&mut self.found, text, at, self.record_bytes_max, ends)
    }

    /// Takes the record at `range` of `text` that has just been read as usual.
    #[inline]
    fn take(&mut self, text: &str, range: Range<usize>, place: Place, block: &Block, assembly: &mut Assembly) {
        let result = if self.plan.mapping.is_some() {
            let fields = self.json.fields(text);
            self.onward.push(|slot| fields.field(slot), place, Some(&range), block, assembly)
        } else {
            self.found.keep(&self.plan, text, place, range.start as u32..range.end as u32)
        };
        if let Err(cause) = result {
            self.onward.refusals.note(Some(text[range].as_bytes()), place, cause, block, assembly);
        }
        if self.found.is_full() {
            self.hand_on(text, block, assembly);
        }
    }

    /// Hands on what has been found in a text.
    fn hand_on(&mut self, text: &str, block: &Block, assembly: &mut Assembly) {
        let found = &self.found;
        let records = |kind| found.records(text, kind);
        let raw = |waiting: &Waiting| Some(&text.as_bytes()[waiting.range.start as usize..waiting.range.end as usize]);
        self.onward.push_all(&found.order, records, raw, block, assembly);
        self.found.clear();
    }

    /// A record that has to be read from its start, or told what is wrong with it. `text` is what it lies in, at `range`,
    /// unless there are bytes in it that are no text.
    fn unusual(
        &mut self,
        text: Option<&str>,
        raw: &[u8],
        range: Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let result = match text {
            Some(text) => self.scanned(text, &range, place, block, assembly),
            None => self.alone(raw, &range, place, block, assembly),
        };
        if let Err(cause) = result {
            self.onward.refusals.note(Some(raw), place, cause, block, assembly);
        }
        if self.found.is_full() {
            self.hand_on(text.unwrap_or_default(), block, assembly);
        }
    }

    /// A piece of a text.
    fn scanned(
        &mut self,
        text: &str,
        range: &Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) -> Result<(), Cause> {
        self.short_enough(range.len())?;
        self.json.scan(text, range.clone())?;
        let fields = self.json.fields(text);
        if self.plan.mapping.is_some() {
            return self.onward.push(|slot| fields.field(slot), place, Some(range), block, assembly);
        }
        let kind = kind_of(&self.plan, || fields.field(KIND_SLOT))?;
        let waiting = Waiting { kind, place, range: range.start as u32..range.end as u32 };
        self.found.push(waiting, self.json.tokens());
        Ok(())
    }

    /// Bytes that may be no text; where they are, others behind them may not be.
    fn alone(
        &mut self,
        raw: &[u8],
        range: &Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) -> Result<(), Cause> {
        let line = self.line(raw)?;
        self.json.scan_alone(line)?;
        let fields = self.json.fields(line);
        self.onward.push(|slot| fields.field(slot), place, Some(range), block, assembly)
    }

    fn csv(&mut self, index: u32, bytes: &[u8], slots: &[Option<usize>], block: &Block, assembly: &mut Assembly) {
        let mut number = 0;
        for range in records_of(bytes, Format::Csv) {
            let raw = &bytes[range.clone()];
            if raw.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let place = Place { block: index, record: number };
            number += 1;
            let result = self.line(raw).and_then(|line| {
                parse_row(line, &mut self.row)?;
                let text = |slot: usize| slots[slot].and_then(|column| self.row.get(column));
                self.onward.push(
                    |slot| text(slot).map_or(Field::Missing, Field::Text),
                    place,
                    Some(&range),
                    block,
                    assembly,
                )
            });
            if let Err(cause) = result {
                self.onward.refusals.note(Some(raw), place, cause, block, assembly);
            }
        }
        assembly.receive(self.plan.id, u64::from(number));
        self.onward.flush(block, Some(bytes), assembly);
    }

    /// A record as text, if it is text and not too long.
    fn line<'a>(&self, raw: &'a [u8]) -> Result<&'a str, Cause> {
        let line = std::str::from_utf8(raw).map_err(|error| Reason::NotUtf8 { at: error.valid_up_to() })?;
        self.short_enough(line.len())?;
        Ok(line)
    }

    fn short_enough(&self, bytes: usize) -> Result<(), Cause> {
        if bytes > self.record_bytes_max {
            return Err(Reason::TooLong { bytes: bytes as u64, bytes_max: self.record_bytes_max }.into());
        }
        Ok(())
    }

    /// Whether a column of this name is asked for.
    fn wants(&self, name: &str) -> bool {
        self.names().iter().zip(&self.wanted).any(|(known, wanted)| *wanted && known == name)
    }

    /// The columns that the slots are filled from.
    fn names(&self) -> &[String] {
        self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields)
    }

    fn columnar(
        &mut self,
        index: u32,
        rows: usize,
        columns: Option<&RecordBatch>,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        assembly.receive(self.plan.id, rows as u64);
        // What casts columns believes what they say of themselves, as what decodes them does.
        let values = columns.and_then(|columns| catch_unwind(AssertUnwindSafe(|| self.values_of(columns))).ok()?);
        if let Some(values) = values {
            self.onward.columnar(&values, rows, index, block, assembly);
            self.onward.flush(block, None, assembly);
        } else {
            for record in 0..rows as u32 {
                let place = Place { block: index, record };
                self.onward.refusals.note(None, place, Reason::bad_batch().into(), block, assembly);
            }
        }
    }

    /// By slot; `None` if they would take more than a message may.
    fn values_of(&self, columns: &RecordBatch) -> Option<Vec<Values>> {
        let column = |(name, wanted): (&String, &bool)| columns.column_by_name(name).filter(|_| *wanted);
        let columns: Vec<_> = self.names().iter().zip(&self.wanted).map(column).collect();
        let bytes: usize = columns.iter().flatten().map(|column| Values::copied_bytes(column)).sum();
        (bytes <= IPC_MESSAGE_BYTES_MAX)
            .then(|| columns.into_iter().map(|column| column.map_or(Values::Absent, Values::new)).collect())
    }
}

/// By slot of a source, or field of its mapping: whether anything depends on it.
fn wanted(plan: &SourcePlan, assembly: &Assembly) -> Vec<bool> {
    if let Some(mapping) = &plan.mapping {
        return vec![true; mapping.fields.len()];
    }
    let mut wanted = vec![false; plan.slots.len()];
    wanted[KIND_SLOT] = matches!(plan.kind, KindChoice::Field);
    for (kind, slot_of) in plan.slot_of.iter().enumerate() {
        let needed = assembly.needed(kind as KindId).iter();
        needed.filter_map(|column| slot_of[*column]).for_each(|slot| wanted[slot] = true);
    }
    wanted
}

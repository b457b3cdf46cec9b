//! The records of a block, one by one, into the assembly.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::arrays::Values;
use super::assembly::{Assembly, Place};
use super::csv::{Row, parse_row};
use super::json::{FieldReader, line_at, line_end};
use super::onward::Onward;
use super::plan::SourcePlan;
use crate::record::{Cause, Field, Layouts, Pseudonyms, Reason, Symbols};
use crate::source::{Block, Format, Payload, records_of};

/// Decodes the blocks of one source on one shard.
pub(crate) struct SourceDecoder {
    plan: Arc<SourcePlan>,
    record_bytes_max: usize,
    json: FieldReader,
    row: Row,
    onward: Onward,
    /// Names of devices.
    devices: Symbols,
}

impl SourceDecoder {
    pub(crate) fn new(
        plan: Arc<SourcePlan>,
        layouts: &Layouts,
        record_bytes_max: usize,
        pseudonyms: Pseudonyms,
    ) -> Self {
        let names = plan.mapping.as_ref().map_or(&plan.slots, |mapping| &mapping.fields);
        Self {
            json: FieldReader::new(names, plan.kind_slot()),
            row: Row::default(),
            onward: Onward::new(Arc::clone(&plan), layouts, pseudonyms),
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
            Payload::Columns(batch) => self.columnar(index, batch, block, assembly),
            Payload::Refused(causes) => {
                assembly.receive(self.plan.id, causes.len() as u64);
                for (number, (cause, digest)) in causes.iter().enumerate() {
                    let place = Place { block: index, record: number as u32 };
                    assembly.reject(place, self.onward.rejected(block, place, cause.clone(), digest.clone()));
                }
            }
            Payload::Alive(devices) => {
                // A device without a number has no room among the symbols, and has sent no record either.
                let numbers = devices.iter().filter_map(|device| self.devices.intern(device));
                assembly.heard.extend(numbers.map(|device| (self.plan.id, device)));
            }
        }
    }

    fn header_slots(&self, header: &[String]) -> Vec<Option<usize>> {
        let names = self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields);
        names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }

    /// NDJSON: one record a line, blank lines aside. A record's number is that of its line.
    fn lines(&mut self, index: u32, bytes: &[u8], block: &Block, assembly: &mut Assembly) {
        let text = simdutf8::basic::from_utf8(bytes).ok();
        self.json.look_through(bytes);
        let (mut at, mut number, mut received) = (0, 0, 0);
        while at < bytes.len() {
            if bytes[at] == b'\n' {
                (at, number) = (at + 1, number + 1);
                continue;
            }
            let place = Place { block: index, record: number };
            let end = match text
                .and_then(|text| self.json.usual(text, at, self.record_bytes_max, |end| line_end(bytes, end)))
            {
                Some(end) => {
                    let text = text.unwrap_or_default();
                    received += 1;
                    let without_return = end - usize::from(bytes[..end].ends_with(b"\r"));
                    self.take(text, at..without_return, place, block, assembly);
                    end
                }
                None => {
                    let end = line_at(bytes, at).end;
                    let raw = bytes[at..end].strip_suffix(b"\r").unwrap_or(&bytes[at..end]);
                    if !raw.iter().all(u8::is_ascii_whitespace) {
                        received += 1;
                        self.unusual(raw, at..at + raw.len(), place, block, assembly);
                    }
                    end
                }
            };
            at = end + 1;
            number += 1;
        }
        assembly.receive(self.plan.id, received);
    }

    /// Objects that a source has found in something larger.
    fn objects(
        &mut self,
        index: u32,
        bytes: &[u8],
        ranges: &[std::ops::Range<u32>],
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let text = simdutf8::basic::from_utf8(bytes).unwrap_or_default();
        self.json.look_through(bytes);
        for (number, range) in ranges.iter().enumerate() {
            let range = range.start as usize..range.end as usize;
            let place = Place { block: index, record: number as u32 };
            let ends = |end| (end == range.end).then_some(end);
            match self.json.usual(text, range.start, self.record_bytes_max, ends) {
                Some(_) => self.take(text, range, place, block, assembly),
                None => self.unusual(&bytes[range.clone()], range, place, block, assembly),
            }
        }
        assembly.receive(self.plan.id, ranges.len() as u64);
    }

    /// A record whose values have been found in `text`.
    fn take(
        &mut self,
        text: &str,
        range: std::ops::Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let fields = self.json.fields(text);
        let result = self.onward.push(|slot| fields.field(slot), place, Some(&range), block, assembly);
        if let Err(cause) = result {
            self.onward.refuse(Some(text[range].as_bytes()), place, cause, block, assembly);
        }
    }

    /// A record that has to be read from its start, or told what is wrong with it.
    fn unusual(
        &mut self,
        raw: &[u8],
        range: std::ops::Range<usize>,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let result = self.line(raw).and_then(|line| {
            self.json.scan(line)?;
            let fields = self.json.fields(line);
            self.onward.push(|slot| fields.field(slot), place, Some(&range), block, assembly)
        });
        if let Err(cause) = result {
            self.onward.refuse(Some(raw), place, cause, block, assembly);
        }
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
                self.onward.refuse(Some(raw), place, cause, block, assembly);
            }
        }
        assembly.receive(self.plan.id, u64::from(number));
        self.onward.flush(block, Some(bytes), assembly);
    }

    /// A record as text, if it is text and not too long.
    fn line<'a>(&self, raw: &'a [u8]) -> Result<&'a str, Cause> {
        let line = std::str::from_utf8(raw).map_err(|error| Reason::NotUtf8 { at: error.valid_up_to() })?;
        if line.len() > self.record_bytes_max {
            return Err(Reason::TooLong { bytes: line.len() as u64, bytes_max: self.record_bytes_max }.into());
        }
        Ok(line)
    }

    fn columnar(&mut self, index: u32, batch: &RecordBatch, block: &Block, assembly: &mut Assembly) {
        let names = self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields);
        let values: Vec<Values> =
            names.iter().map(|name| batch.column_by_name(name).map_or(Values::Absent, Values::new)).collect();
        assembly.receive(self.plan.id, batch.num_rows() as u64);
        for row in 0..batch.num_rows() {
            let place = Place { block: index, record: row as u32 };
            if let Err(cause) = self.onward.push(|slot| values[slot].field(row), place, None, block, assembly) {
                self.onward.refuse(None, place, cause, block, assembly);
            }
        }
        self.onward.flush(block, None, assembly);
    }
}

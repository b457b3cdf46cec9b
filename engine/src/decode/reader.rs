//! The records of a block, one by one, into the assembly.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use memchr::{memchr, memrchr};

use super::arrays::Values;
use super::assembly::{Assembly, Place};
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
                let numbers = devices.iter().filter_map(|device| self.devices.intern(device));
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

    /// The lines from a position on that begin like no record.
    #[inline]
    fn rubbish(&self, text: &[u8], at: usize) -> Option<AtAGlance> {
        let ends = |at| Some(self.json.line_end(text, at)).filter(|end| end - at <= self.record_bytes_max);
        self.lines_of(text, at, |byte| !may_begin_record(byte), ends)
    }

    /// The lines from a position on that have so few bytes that they are no records.
    #[inline]
    fn short_lines(&self, text: &[u8], at: usize) -> Option<AtAGlance> {
        let bytes_min = self.plan.json_bytes_min;
        let ends = |at: usize| {
            let piece = &text[at..text.len().min(at + bytes_min)];
            memchr(b'\n', piece).or_else(|| (piece.len() < bytes_min).then_some(piece.len())).map(|length| at + length)
        };
        self.lines_of(text, at, |byte| byte == b'{', ends)
    }

    /// The lines from a position on that begin so, as long as `ends` tells where one does.
    #[inline]
    fn lines_of(
        &self,
        text: &[u8],
        from: usize,
        begins: impl Fn(u8) -> bool,
        ends: impl Fn(usize) -> Option<usize>,
    ) -> Option<AtAGlance> {
        if !self.onward.refusals.tells_together() {
            return None;
        }
        let lines_max = if self.onward.refusals.keeps() { 1 } else { u32::MAX };
        let (mut end, mut lines, mut next) = (from, 0, from);
        while lines < lines_max
            && let Some(byte) = text.get(next)
            && begins(*byte)
            && let Some(line_end) = ends(next)
        {
            // A return at its end is not the line's: one that has it is told for itself.
            if text[line_end - 1] == b'\r' {
                if lines == 0 {
                    (end, lines, next) = (line_end - 1, 1, line_end + 1);
                }
                break;
            }
            (end, lines, next) = (line_end, lines + 1, line_end + 1);
        }
        (lines > 0).then_some(AtAGlance { end, lines, next })
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
        let record = match text {
            Some(text) => self.short_enough(range.len()).map(|()| (text, range.clone(), 0)),
            None => self.line(raw).map(|line| (line, 0..line.len(), range.start)),
        };
        let result = record.and_then(|(within, piece, base)| {
            self.json.scan(within, piece, base)?;
            let fields = self.json.fields(within);
            if text.is_none() || self.plan.mapping.is_some() {
                return self.onward.push(|slot| fields.field(slot), place, Some(&range), block, assembly);
            }
            let kind = kind_of(&self.plan, || fields.field(KIND_SLOT))?;
            let waiting = Waiting { kind, place, range: range.start as u32..range.end as u32 };
            self.found.push(waiting, |slot| self.json.token(slot));
            Ok(())
        });
        if let Err(cause) = result {
            self.onward.refusals.note(Some(raw), place, cause, block, assembly);
        }
        if self.found.is_full() {
            self.hand_on(text.unwrap_or_default(), block, assembly);
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

/// Lines one behind the other that have the same flaw.
struct AtAGlance {
    /// Where the last one ends.
    end: usize,
    lines: u32,
    /// Where the line behind it begins.
    next: usize,
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A block as text, and the lines of it that are none, which are blank there: what they cost is theirs, and no line beside
/// them is read in another way.
fn legible<'a>(bytes: &'a [u8], blanked: &'a mut Vec<u8>) -> (&'a str, Vec<Range<usize>>) {
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return (text, Vec::new());
    }
    blanked.extend_from_slice(bytes);
    let (mut spoiled, mut from) = (Vec::new(), 0);
    while let Err(error) = simdutf8::compat::from_utf8(&bytes[from..]) {
        let at = from + error.valid_up_to();
        let start = memrchr(b'\n', &bytes[from..at]).map_or(from, |before| from + before + 1);
        let line = line_at(bytes, start);
        blanked[line.clone()].fill(b' ');
        from = line.end;
        spoiled.push(line);
    }
    (simdutf8::basic::from_utf8(blanked).expect("what is no text is blank"), spoiled)
}

/// Whether a record may begin with a byte: what does not is told without being scanned.
#[inline]
fn may_begin_record(byte: u8) -> bool {
    byte == b'{' || byte.is_ascii_whitespace()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against each line by itself: what is text stays where it is, and nothing else does.
        #[test]
        fn lines_that_are_no_text_are_found(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..20),
                    "[a-z\u{4e00}-\u{9fff}]{0,40}".prop_map(String::into_bytes),
                ],
                0..30,
            ),
        ) {
            let bytes = lines.join(&b'\n');
            let mut blanked = Vec::new();
            let (text, spoiled) = legible(&bytes, &mut blanked);
            prop_assert_eq!(text.len(), bytes.len());
            let (mut start, mut expected) = (0, Vec::new());
            for line in &lines {
                let range = start..start + line.len();
                if std::str::from_utf8(line).is_ok() {
                    prop_assert_eq!(&text.as_bytes()[range.clone()], &line[..]);
                } else {
                    expected.push(range.clone());
                }
                start = range.end + 1;
            }
            prop_assert_eq!(spoiled, expected);
        }
    }
}

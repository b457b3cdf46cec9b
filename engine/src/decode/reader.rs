//! The records of a block, one by one, into the assembly.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::arrays::Values;
use super::assembly::{Assembly, Place, Rejected};
use super::csv::{Row, parse_row};
use super::json::{self, FieldTree, Token};
use super::plan::{KIND_SLOT, KindChoice, SourcePlan};
use crate::normalise::TimeReader;
use crate::record::{Cause, Columns, Field, KindId, Layouts, Origin, Pseudonyms, Reason};
use crate::source::{Block, Payload, records_of};

/// Decodes the blocks of one source on one shard.
pub(crate) struct SourceDecoder {
    plan: Arc<SourcePlan>,
    record_bytes_max: usize,
    pseudonyms: Pseudonyms,
    time: TimeReader,
    tree: FieldTree,
    tokens: Vec<Token>,
    row: Row,
    raw: Option<RawStage>,
}

/// Rows of a mapped source on their way through the expressions.
struct RawStage {
    columns: Columns,
    places: Vec<(Place, u64, Option<std::ops::Range<u32>>)>,
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
            tree: FieldTree::new(names),
            tokens: vec![Token::default(); names.len()],
            time: TimeReader::new(plan.timezone.clone()),
            row: Row::default(),
            raw: plan
                .mapping
                .as_ref()
                .map(|mapping| RawStage { columns: Columns::new(&mapping.layout, layouts), places: Vec::new() }),
            record_bytes_max,
            pseudonyms,
            plan,
        }
    }

    /// Decodes one block; `index` is its position among the blocks of the batch.
    pub(crate) fn decode(&mut self, index: u32, block: &Block, assembly: &mut Assembly) {
        match &block.payload {
            Payload::Lines { bytes, format, header } => {
                let header_slots = header.as_ref().map(|header| self.header_slots(header));
                let valid = simdutf8::basic::from_utf8(bytes).ok();
                let mut number = 0;
                for range in records_of(bytes, *format) {
                    let raw = &bytes[range.clone()];
                    let place = Place { block: index, record: number };
                    let line = match valid {
                        Some(text) => Ok(&text[range.clone()]),
                        None => {
                            std::str::from_utf8(raw).map_err(|error| Reason::NotUtf8 { at: error.valid_up_to() }.into())
                        }
                    };
                    if self.text_record(line, raw, place, header_slots.as_deref(), block, assembly, &range) {
                        number += 1;
                    }
                }
                self.flush(block, Some(bytes), assembly);
            }
            Payload::Objects { bytes, ranges } => {
                let text = simdutf8::basic::from_utf8(bytes).unwrap_or_default();
                for (number, range) in ranges.iter().enumerate() {
                    let range = range.start as usize..range.end as usize;
                    let raw = &bytes[range.clone()];
                    let place = Place { block: index, record: number as u32 };
                    self.text_record(Ok(&text[range.clone()]), raw, place, None, block, assembly, &range);
                }
                self.flush(block, Some(bytes), assembly);
            }
            Payload::Columns(batch) => self.columnar(index, batch, block, assembly),
            Payload::Refused(causes) => {
                for (number, (cause, digest)) in causes.iter().enumerate() {
                    let place = Place { block: index, record: number as u32 };
                    assembly.receive(self.plan.id);
                    assembly.reject(place, self.rejected(block, place, cause.clone(), digest.clone()));
                }
            }
        }
    }

    fn header_slots(&self, header: &[String]) -> Vec<Option<usize>> {
        let names = self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields);
        names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }

    fn origin(&self, block: &Block) -> Origin {
        Origin { source: self.plan.id, source_symbol: self.plan.symbol, received_ms: block.received_ms }
    }

    /// One record of text. `false` for a blank line, which is none.
    #[expect(clippy::too_many_arguments, reason = "everything that is known of one record")]
    fn text_record(
        &mut self,
        line: Result<&str, Cause>,
        raw: &[u8],
        place: Place,
        header_slots: Option<&[Option<usize>]>,
        block: &Block,
        assembly: &mut Assembly,
        range: &std::ops::Range<usize>,
    ) -> bool {
        if raw.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        assembly.receive(self.plan.id);
        let result = line.and_then(|line| {
            if line.len() > self.record_bytes_max {
                return Err(Reason::TooLong { bytes: line.len() as u64, bytes_max: self.record_bytes_max }.into());
            }
            match header_slots {
                Some(header_slots) => {
                    parse_row(line, &mut self.row)?;
                    let row = std::mem::take(&mut self.row);
                    let field = |slot: usize| {
                        header_slots[slot].and_then(|column| row.get(column)).map_or(Field::Missing, Field::Text)
                    };
                    let result = self.push(field, place, range, block, assembly);
                    self.row = row;
                    result
                }
                None => {
                    let mut tokens = std::mem::take(&mut self.tokens);
                    let result = json::scan(line, &mut self.tree, &mut tokens)
                        .and_then(|()| self.push(|slot| tokens[slot].field(line), place, range, block, assembly));
                    self.tokens = tokens;
                    result
                }
            }
        });
        if let Err(cause) = result {
            let digest = self.pseudonyms.record(raw);
            assembly.reject(place, self.rejected(block, place, cause, digest));
        }
        true
    }

    /// Hands a record's fields on: to the raw stage of a mapped source, else to its kind.
    fn push<'a>(
        &mut self,
        field: impl Fn(usize) -> Field<'a>,
        place: Place,
        range: &std::ops::Range<usize>,
        block: &Block,
        assembly: &mut Assembly,
    ) -> Result<(), Cause> {
        if let Some(raw) = &mut self.raw {
            raw.columns.push(field, &mut self.time)?;
            raw.places.push((place, u64::from(place.record), Some(range.start as u32..range.end as u32)));
            return Ok(());
        }
        let origin = self.origin(block);
        push_canonical(&self.plan, &mut self.time, field, origin, place, assembly)
    }

    /// Sends the raw rows of a mapped source through its expressions. If they fail as a batch, each
    /// row is tried alone, so that one bad record takes no neighbour along.
    fn flush(&mut self, block: &Block, bytes: Option<&[u8]>, assembly: &mut Assembly) {
        let Some(raw) = &mut self.raw else { return };
        if raw.columns.rows() == 0 {
            return;
        }
        let batch = raw.columns.finish();
        let places = std::mem::take(&mut raw.places);
        let mapping = self.plan.mapping.as_ref().expect("a raw stage has a mapping");
        let whole = mapping.evaluate(&batch).map(|arrays| arrays.iter().map(Values::new).collect::<Vec<_>>());
        for (row, (place, _, range)) in places.into_iter().enumerate() {
            let result = match &whole {
                Ok(values) => self.push_row(values, row, place, block, assembly),
                Err(_) => {
                    let mapping = self.plan.mapping.as_ref().expect("a raw stage has a mapping");
                    mapping.evaluate(&batch.slice(row, 1)).and_then(|arrays| {
                        let values: Vec<Values> = arrays.iter().map(Values::new).collect();
                        self.push_row(&values, 0, place, block, assembly)
                    })
                }
            };
            if let Err(cause) = result {
                let digest = match (bytes, range) {
                    (Some(bytes), Some(range)) => {
                        self.pseudonyms.record(&bytes[range.start as usize..range.end as usize])
                    }
                    _ => String::new(),
                };
                assembly.reject(place, self.rejected(block, place, cause, digest));
            }
        }
    }

    fn push_row(
        &mut self,
        values: &[Values],
        row: usize,
        place: Place,
        block: &Block,
        assembly: &mut Assembly,
    ) -> Result<(), Cause> {
        let origin = self.origin(block);
        push_canonical(&self.plan, &mut self.time, |slot| values[slot].field(row), origin, place, assembly)
    }

    fn columnar(&mut self, index: u32, batch: &RecordBatch, block: &Block, assembly: &mut Assembly) {
        let names = self.plan.mapping.as_ref().map_or(&self.plan.slots, |mapping| &mapping.fields);
        let values: Vec<Values> =
            names.iter().map(|name| batch.column_by_name(name).map_or(Values::Absent, Values::new)).collect();
        for row in 0..batch.num_rows() {
            let place = Place { block: index, record: row as u32 };
            assembly.receive(self.plan.id);
            let result = if let Some(raw) = &mut self.raw {
                raw.columns
                    .push(|slot| values[slot].field(row), &mut self.time)
                    .map(|()| raw.places.push((place, row as u64, None)))
            } else {
                self.push_row(&values, row, place, block, assembly)
            };
            if let Err(cause) = result {
                assembly.reject(place, self.rejected(block, place, cause, String::new()));
            }
        }
        self.flush(block, None, assembly);
    }

    fn rejected(&self, block: &Block, place: Place, cause: Cause, digest: String) -> Rejected {
        Rejected {
            source: self.plan.id,
            stream: Arc::clone(&block.stream),
            record: block.first_record + u64::from(place.record) + 1,
            cause,
            digest,
            received_ms: block.received_ms,
        }
    }
}

fn push_canonical<'a>(
    plan: &SourcePlan,
    time: &mut TimeReader,
    field: impl Fn(usize) -> Field<'a>,
    origin: Origin,
    place: Place,
    assembly: &mut Assembly,
) -> Result<(), Cause> {
    let kind: KindId = match plan.kind {
        KindChoice::Fixed(kind) => kind,
        KindChoice::Field => match field(KIND_SLOT) {
            Field::Text(name) => *plan.kinds.get(name).ok_or(Reason::UnknownKind)?,
            Field::Missing => return Err(Reason::NoKind.into()),
            _ => return Err(Reason::UnknownKind.into()),
        },
    };
    let slot_of = &plan.slot_of[usize::from(kind)];
    assembly.push(kind, |column| slot_of[column].map_or(Field::Missing, &field), origin, place, time)
}

//! From the fields of a record to its kind: at once, or by way of the expressions of a mapping.

use std::ops::Range;
use std::sync::Arc;

use super::arrays::Values;
use super::assembly::{Assembly, Place, Rejected};
use super::plan::{KIND_SLOT, KindChoice, SourcePlan};
use crate::normalise::TimeReader;
use crate::record::{Cause, Columns, Field, KindId, Layouts, Origin, Pseudonyms, Reason, Sealer, SymbolCaches};
use crate::rng::OsRng;
use crate::source::{Block, Payload};

/// Where the records of one source go.
pub(super) struct Onward {
    plan: Arc<SourcePlan>,
    time: TimeReader,
    pseudonyms: Pseudonyms,
    raw: Option<RawStage>,
    /// Where the source keeps the bytes of what is refused.
    sealer: Option<Sealer>,
}

/// Longest record whose bytes are kept when it is refused.
const REFUSED_BYTES_MAX: usize = 64 << 10;

/// Rows of a mapped source on their way through the expressions.
struct RawStage {
    columns: Columns,
    caches: SymbolCaches,
    places: Vec<(Place, Option<Range<u32>>)>,
}

impl Onward {
    pub(super) fn new(plan: Arc<SourcePlan>, layouts: &Layouts, pseudonyms: Pseudonyms) -> Self {
        Self {
            time: TimeReader::new(plan.timezone.clone()),
            raw: plan.mapping.as_ref().map(|mapping| {
                let mut caches = SymbolCaches::default();
                RawStage { columns: Columns::new(&mapping.layout, layouts, &mut caches), caches, places: Vec::new() }
            }),
            sealer: plan.keeps_refused.then(|| pseudonyms.sealer_of_refused(&mut OsRng)),
            pseudonyms,
            plan,
        }
    }

    fn origin(&self, block: &Block) -> Origin {
        Origin { source: self.plan.id, source_symbol: self.plan.symbol, received_ms: block.received_ms }
    }

    /// Hands a record's fields on: to the raw stage of a mapped source, else to its kind.
    pub(super) fn push<'a>(
        &mut self,
        field: impl Fn(usize) -> Field<'a>,
        place: Place,
        range: Option<&Range<usize>>,
        block: &Block,
        assembly: &mut Assembly,
    ) -> Result<(), Cause> {
        if let Some(raw) = &mut self.raw {
            raw.columns.push(field, &mut self.time, &mut raw.caches)?;
            raw.places.push((place, range.map(|range| range.start as u32..range.end as u32)));
            return Ok(());
        }
        let origin = self.origin(block);
        push_canonical(&self.plan, &mut self.time, field, origin, place, assembly)
    }

    /// Sends the raw rows of a mapped source through its expressions. If they fail as a batch, each
    /// row is tried alone, so that one bad record takes no neighbour along.
    pub(super) fn flush(&mut self, block: &Block, bytes: Option<&[u8]>, assembly: &mut Assembly) {
        let Some(raw) = &mut self.raw else { return };
        if raw.columns.rows() == 0 {
            return;
        }
        let batch = raw.columns.finish(&mut raw.caches);
        let places = std::mem::take(&mut raw.places);
        let mapping = self.plan.mapping.as_ref().expect("a raw stage has a mapping");
        let whole = mapping.evaluate(&batch).map(|arrays| arrays.iter().map(Values::new).collect::<Vec<_>>());
        for (row, (place, range)) in places.into_iter().enumerate() {
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
                let raw = bytes.zip(range).map(|(bytes, range)| &bytes[range.start as usize..range.end as usize]);
                self.refuse(raw, place, cause, block, assembly);
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

    /// Notes a record that was refused, with a digest of its bytes if it came as bytes.
    pub(super) fn refuse(
        &mut self,
        raw: Option<&[u8]>,
        place: Place,
        cause: Cause,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let digest = raw.map_or_else(String::new, |raw| self.pseudonyms.record(raw));
        let sealed =
            raw.filter(|raw| raw.len() <= REFUSED_BYTES_MAX).map_or_else(Vec::new, |raw| self.seal(raw, block));
        assembly.reject(place, Rejected { sealed, ..self.rejected(block, place, cause, digest) });
    }

    /// A record of CSV is kept with its header, so that it can be read alone.
    fn seal(&mut self, raw: &[u8], block: &Block) -> Vec<u8> {
        let mut sealed = Vec::new();
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut sealed, |bytes| {
                if let Payload::Lines { header: Some(header), .. } = &block.payload {
                    let names: Vec<String> =
                        header.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
                    bytes.extend(names.join(",").as_bytes());
                    bytes.push(b'\n');
                }
                bytes.extend(raw);
            });
        }
        sealed
    }

    pub(super) fn rejected(&self, block: &Block, place: Place, cause: Cause, digest: String) -> Rejected {
        Rejected {
            source: self.plan.id,
            stream: Arc::clone(&block.stream),
            record: block.first_record + u64::from(place.record) + 1,
            cause,
            digest,
            sealed: Vec::new(),
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
            Field::Text(name) => plan.kind_of(name).ok_or(Reason::UnknownKind)?,
            Field::Missing => return Err(Reason::NoKind.into()),
            _ => return Err(Reason::UnknownKind.into()),
        },
    };
    let slot_of = &plan.slot_of[usize::from(kind)];
    assembly.push(kind, |column| slot_of[column].map_or(Field::Missing, &field), origin, place, time)
}

//! From the fields of a record to its kind: at once, or by way of the expressions of a mapping.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;

use super::arrays::{KnownSymbols, Values};
use super::assembly::{Arrival, Assembly, Place};
use super::found::Waiting;
use super::plan::{KIND_SLOT, KindChoice, SourcePlan};
use super::refusals::Refusals;
use crate::normalise::TimeReader;
use crate::record::{
    Cause, Columns, Field, KindId, Layouts, Offered, Origin, Pseudonyms, Reason, Refused, SymbolCaches, SymbolId,
    SymbolLookup,
};
use crate::source::Block;

/// Where the records of one source go.
pub(super) struct Onward {
    plan: Arc<SourcePlan>,
    time: TimeReader,
    raw: Option<RawStage>,
    /// What was refused of each kind, empty between calls.
    refused: Vec<Refused>,
    pub(super) refusals: Refusals,
}

/// Rows of typed columns that are records of one kind.
struct Rows<'a> {
    values: &'a [Values],
    slot_of: &'a [Option<usize>],
    numbers: &'a [usize],
}

impl<'a> Rows<'a> {
    fn values(&self, column: usize) -> &'a Values {
        self.slot_of[column].map_or(&Values::Absent, |slot| &self.values[slot])
    }
}

impl<'a> Offered<'a> for Rows<'a> {
    #[inline]
    fn column(&self, column: usize) -> impl Fn(usize) -> Field<'a> {
        let (values, numbers) = (self.values(column), self.numbers);
        move |record| values.field(numbers[record])
    }

    #[inline]
    fn texts(&self, column: usize) -> impl Fn(usize) -> Option<&'a str> {
        let (values, numbers) = (self.values(column), self.numbers);
        move |record| values.text(numbers[record])
    }

    #[inline]
    fn symbols(&self, column: usize) -> impl Fn(SymbolLookup<'_>, usize) -> Option<SymbolId> {
        let (known, numbers) = (KnownSymbols::new(self.values(column), self.numbers.len()), self.numbers);
        move |symbols, record| known.get(symbols, numbers[record])
    }
}

/// Rows of a mapped source on their way through the expressions.
struct RawStage {
    columns: Columns,
    caches: SymbolCaches,
    /// Rows filled, and those of them that were not refused.
    filled: u32,
    kept: Vec<u32>,
    places: Vec<(Place, Option<Range<u32>>)>,
}

impl RawStage {
    fn push<'a>(
        &mut self,
        field: impl Fn(usize) -> Field<'a>,
        time: &mut TimeReader,
        place: Place,
        range: Option<&Range<usize>>,
    ) -> Result<(), Cause> {
        let row = self.filled;
        self.filled += 1;
        self.columns.push(field, time, &mut self.caches)?;
        self.kept.push(row);
        self.places.push((place, range.map(|range| range.start as u32..range.end as u32)));
        Ok(())
    }

    /// Takes out the rows that were not refused.
    fn finish(&mut self) -> RecordBatch {
        let kept = std::mem::take(&mut self.kept);
        let all = std::mem::take(&mut self.filled) as usize == kept.len();
        self.columns.finish(kept.len(), (!all).then_some(kept), None, &mut self.caches)
    }
}

impl Onward {
    pub(super) fn new(plan: Arc<SourcePlan>, layouts: &Layouts, pseudonyms: Pseudonyms) -> Self {
        Self {
            time: TimeReader::new(plan.timezone.clone()),
            raw: plan.mapping.as_ref().map(|mapping| {
                let mut caches = SymbolCaches::default();
                let columns = Columns::new(&mapping.layout, layouts, &mut caches);
                RawStage { columns, caches, filled: 0, kept: Vec::new(), places: Vec::new() }
            }),
            refused: (0..layouts.kinds.len()).map(|_| Refused::default()).collect(),
            refusals: Refusals::new(plan.id, plan.keeps_refused, pseudonyms),
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
            return raw.push(field, &mut self.time, place, range);
        }
        let origin = self.origin(block);
        push_canonical(&self.plan, &mut self.time, field, origin, place, assembly)
    }

    /// Hands on records whose kinds are known, in the order in which they came. `records` gives those of a kind, and `raw`
    /// the bytes of one that came as text.
    pub(super) fn push_all<'a, 'b, R: Offered<'a>>(
        &mut self,
        order: &[Waiting],
        records: impl Fn(KindId) -> R,
        raw: impl Fn(&Waiting) -> Option<&'b [u8]>,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let origin = self.origin(block);
        let mut refused = std::mem::take(&mut self.refused);
        let mut counts = vec![0; refused.len()];
        for waiting in order {
            counts[usize::from(waiting.kind)] += 1;
        }
        // The number of the next record of each kind, and what would be its number if none were refused.
        let mut next: Vec<(u32, usize)> = vec![(0, 0); refused.len()];
        for (at, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let kind = at as KindId;
            next[at].0 = assembly.fill(kind, count, &records(kind), origin, &mut self.time, &mut refused[at]);
        }
        for waiting in order {
            let at = usize::from(waiting.kind);
            let (record, offered) = &mut next[at];
            match refused[at].take(*offered) {
                None => {
                    assembly.arrivals.push(Arrival { kind: waiting.kind, record: *record, place: waiting.place });
                    *record += 1;
                }
                Some(cause) => self.refusals.note(raw(waiting), waiting.place, cause, block, assembly),
            }
            *offered += 1;
        }
        refused.iter_mut().for_each(Refused::clear);
        self.refused = refused;
    }

    /// Hands on the rows of a batch of columns; `values` are those of the slots.
    pub(super) fn columnar(
        &mut self,
        values: &[Values],
        rows: usize,
        index: u32,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let places = (0..rows as u32).map(|record| Place { block: index, record });
        if self.raw.is_some() {
            for (row, place) in places.enumerate() {
                if let Err(cause) = self.push(|slot| values[slot].field(row), place, None, block, assembly) {
                    self.refusals.note(None, place, cause, block, assembly);
                }
            }
        } else {
            self.push_rows(values, places.map(|place| (place, None)), BTreeMap::new(), None, block, assembly);
        }
    }

    /// Hands on rows of canonical columns, but for those that are `refused`; each has its place, and where it lies in `bytes`
    /// if it came as text.
    fn push_rows(
        &mut self,
        values: &[Values],
        places: impl Iterator<Item = (Place, Option<Range<u32>>)>,
        mut refused: BTreeMap<usize, Cause>,
        bytes: Option<&[u8]>,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        let raw = |range: &Range<u32>| bytes.map(|bytes| &bytes[range.start as usize..range.end as usize]);
        let mut order = Vec::new();
        let mut rows_of_kind: Vec<Vec<usize>> = vec![Vec::new(); self.plan.slot_of.len()];
        let named = values[KIND_SLOT].numbered(places.size_hint().0).map(|(keys, texts)| {
            let kind = |name: Option<&str>| kind_of(&self.plan, || name.map_or(Field::Missing, Field::Text)).ok();
            (keys, texts.iter().map(kind).collect::<Vec<_>>())
        });
        let known = |row| {
            named.as_ref().and_then(|(keys, kinds)| kinds[keys.is_valid(row).then(|| keys.value(row) as usize)?])
        };
        for (row, (place, range)) in places.enumerate() {
            let range = range.unwrap_or_default();
            let refused = refused.remove(&row).map(Err);
            let kind = || known(row).map_or_else(|| kind_of(&self.plan, || values[KIND_SLOT].field(row)), Ok);
            match refused.unwrap_or_else(kind) {
                Ok(kind) => {
                    rows_of_kind[usize::from(kind)].push(row);
                    order.push(Waiting { kind, place, range });
                }
                Err(cause) => self.refusals.note(raw(&range), place, cause, block, assembly),
            }
        }
        let plan = Arc::clone(&self.plan);
        let records = |kind: KindId| {
            let kind = usize::from(kind);
            Rows { values, slot_of: &plan.slot_of[kind], numbers: &rows_of_kind[kind] }
        };
        self.push_all(&order, records, |waiting| raw(&waiting.range), block, assembly);
    }

    /// Sends the raw rows of a mapped source through its expressions.
    pub(super) fn flush(&mut self, block: &Block, bytes: Option<&[u8]>, assembly: &mut Assembly) {
        let Some(raw) = &mut self.raw else { return };
        if raw.filled == 0 {
            return;
        }
        let batch = raw.finish();
        let places = std::mem::take(&mut raw.places);
        let mapping = self.plan.mapping.as_ref().expect("a raw stage has a mapping");
        let (arrays, refused) = mapping.evaluate(&batch);
        let values: Vec<Values> = arrays.iter().map(Values::new).collect();
        self.push_rows(&values, places.into_iter(), refused, bytes, block, assembly);
    }
}

/// The kind of a record, whose field of this name is `named` if it has one.
#[inline]
pub(super) fn kind_of<'a>(plan: &SourcePlan, named: impl FnOnce() -> Field<'a>) -> Result<KindId, Cause> {
    match plan.kind {
        KindChoice::Fixed(kind) => Ok(kind),
        KindChoice::Field => match named() {
            Field::Text(name) => plan.kind_of(name).ok_or_else(|| Reason::UnknownKind.into()),
            Field::Missing => Err(Reason::NoKind.into()),
            _ => Err(Reason::UnknownKind.into()),
        },
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
    let kind = kind_of(plan, || field(KIND_SLOT))?;
    let slot_of = &plan.slot_of[usize::from(kind)];
    assembly.push(kind, |column| slot_of[column].map_or(Field::Missing, &field), origin, place, time)
}

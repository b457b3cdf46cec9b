//! Records of a text whose values have been found, and which are not in their columns yet.
//!
//! They are gathered by kind, because a column is filled for many records at once.

use std::ops::Range;

use super::assembly::{Assembly, Place};
use super::json::{NOWHERE, Row, Rows, Token, Tokens};
use super::onward::kind_of;
use super::plan::{KIND_SLOT, KindChoice, SourcePlan};
use crate::record::{Cause, Field, KindId, Offered};

/// Most records that are gathered: what is known of them lies near.
const RECORDS_MAX: usize = 512;

/// A record on its way to its kind.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) kind: KindId,
    pub(super) place: Place,
    /// Where it lies in the text, if it came as text.
    pub(super) range: Range<u32>,
}

/// The values found, by kind, and the records in the order in which they came.
pub(super) struct Found {
    kinds: Vec<FoundKind>,
    pub(super) order: Vec<Waiting>,
    /// Of all records, if they are of one.
    fixed: Option<usize>,
    /// The kind of the record being read; what does not say its kind first is read into `other`.
    reading: Option<usize>,
    other: Tokens,
}

/// The values of the records of one kind, record by record.
#[derive(Debug)]
struct FoundKind {
    /// Slots that are asked for. A row has a token for each.
    slots: Vec<u16>,
    /// By column: which token of a row.
    of_column: Vec<u16>,
    /// Rows of the records, and what is left of others behind them.
    tokens: Vec<Token>,
    records: usize,
}

impl FoundKind {
    fn new(slot_of: &[Option<usize>], needed: &[usize]) -> Self {
        let mut wanted: Vec<u16> =
            needed.iter().filter_map(|column| slot_of[*column]).map(|slot| slot as u16).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut kind = Self { slots: wanted, of_column: Vec::new(), tokens: Vec::new(), records: 0 };
        kind.of_column = slot_of.iter().map(|slot| slot.map_or(NOWHERE, |slot| kind.place_of(slot))).collect();
        kind
    }

    /// Where in a row the value of a slot is.
    fn place_of(&self, slot: usize) -> u16 {
        self.slots.iter().position(|wanted| usize::from(*wanted) == slot).map_or(NOWHERE, |place| place as u16)
    }

    fn width(&self) -> usize {
        self.slots.len()
    }

    /// An empty row behind those that have been kept.
    #[inline]
    fn row(&mut self) -> Row<'_> {
        Row::new(self.room())
    }

    /// Room for a row there, with what others have left behind.
    #[inline]
    fn room(&mut self) -> &mut [Token] {
        let range = self.records * self.width()..(self.records + 1) * self.width();
        if self.tokens.len() < range.end {
            self.tokens.resize(range.end + 32 * self.width(), Token::default());
        }
        &mut self.tokens[range]
    }

    /// Puts a record there, whose values lie in their slots.
    #[inline]
    fn fill(&mut self, values: &Tokens) {
        self.room();
        let from = self.records * self.width();
        values.copy(&self.slots, &mut self.tokens[from..]);
    }
}

impl Rows for Found {
    #[inline]
    fn row(&mut self, kind: Option<usize>) -> Row<'_> {
        self.reading = kind.or(self.fixed);
        match self.reading {
            Some(kind) => self.kinds[kind].row(),
            None => self.other.row(None),
        }
    }
}

impl Found {
    /// Room for the records of a source, of which the assembly says what it asks for.
    pub(super) fn new(plan: &SourcePlan, assembly: &Assembly) -> Self {
        let kind =
            |(kind, slot_of): (usize, &Vec<Option<usize>>)| FoundKind::new(slot_of, assembly.needed(kind as KindId));
        Self {
            kinds: plan.slot_of.iter().enumerate().map(kind).collect(),
            order: Vec::new(),
            fixed: if let KindChoice::Fixed(kind) = plan.kind { Some(usize::from(kind)) } else { None },
            reading: None,
            other: Tokens::new(plan.slots.len()),
        }
    }

    /// Where in a row of a kind the values of so many slots go.
    pub(super) fn places(&self, slots: usize, kind: Option<usize>) -> Vec<u16> {
        match kind.or(self.fixed) {
            Some(kind) => (0..slots).map(|slot| self.kinds[kind].place_of(slot)).collect(),
            None => (0..slots as u16).collect(),
        }
    }

    /// Keeps the record of `text` that has been read last.
    #[inline]
    pub(super) fn keep(&mut self, plan: &SourcePlan, text: &str, place: Place, range: Range<u32>) -> Result<(), Cause> {
        let kind = match self.reading {
            Some(kind) => kind,
            None => {
                let kind = usize::from(kind_of(plan, || self.other.field(KIND_SLOT, text))?);
                self.kinds[kind].fill(&self.other);
                kind
            }
        };
        self.kinds[kind].records += 1;
        self.order.push(Waiting { kind: kind as KindId, place, range });
        Ok(())
    }

    /// Takes a record whose values lie in their slots.
    pub(super) fn push(&mut self, waiting: Waiting, values: &Tokens) {
        let kind = &mut self.kinds[usize::from(waiting.kind)];
        kind.fill(values);
        kind.records += 1;
        self.order.push(waiting);
    }

    pub(super) fn is_full(&self) -> bool {
        self.order.len() >= RECORDS_MAX
    }

    /// The records of a kind that lie in this text.
    pub(super) fn records<'a>(&'a self, text: &'a str, kind: KindId) -> FoundIn<'a> {
        FoundIn { kind: &self.kinds[usize::from(kind)], text }
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.kinds.iter_mut().for_each(|kind| kind.records = 0);
    }
}

/// Records of one kind in their text.
pub(super) struct FoundIn<'a> {
    kind: &'a FoundKind,
    text: &'a str,
}

impl<'a> FoundIn<'a> {
    /// The tokens of a column, by record.
    #[inline]
    fn tokens(&self, column: usize) -> impl Fn(usize) -> Token + use<'a> {
        let (token, width) = (self.kind.of_column[column], self.kind.width());
        let tokens = if token == NOWHERE { &[] } else { &self.kind.tokens[usize::from(token)..] };
        move |record| tokens.get(record * width).copied().unwrap_or_default()
    }
}

impl<'a> Offered<'a> for FoundIn<'a> {
    #[inline]
    fn column(&self, column: usize) -> impl Fn(usize) -> Field<'a> {
        let (token, text) = (self.tokens(column), self.text);
        move |record| token(record).field(text)
    }

    #[inline]
    fn texts(&self, column: usize) -> impl Fn(usize) -> Option<&'a str> {
        let (token, text) = (self.tokens(column), self.text);
        move |record| token(record).plain(text)
    }
}

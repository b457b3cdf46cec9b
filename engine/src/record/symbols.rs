//! Symbols: texts with few values, numbered once for the whole process.
//!
//! One table per column name, shared by all kinds and shards. A shard keeps a cache in front of
//! it and takes the lock only for a value it has not seen. Because numbers never change, windows
//! key on them without hashing text, and a dictionary array's values are shared between batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::RwLock;
use weir_memory::GrowingTexts;
use weir_rules::schema::Column;

use super::Layouts;
use super::Reason;
use super::packed::pack;
use super::short_ids::ShortIds;
use crate::limits::SYMBOL_BYTES_MAX;

/// Number of a symbol within its column.
pub type SymbolId = u32;

#[derive(Default)]
struct Table {
    /// A tree: a hash table that grows holds up whoever waits for the lock, for 10 ms with sixteen thousand texts that are
    /// not at hand.
    ids: BTreeMap<Arc<str>, SymbolId>,
    texts: Texts,
    /// What the texts take, here and in caches and arrays.
    bytes: usize,
    /// The same texts, of which an array is made with every batch that brings a new one: whoever makes up names must not make
    /// the batches of all others dear.
    joined: GrowingTexts,
    values: Option<ArrayRef>,
    shares: Shares,
}

/// Texts by number, in chunks: a vector that grows moves all of them.
#[derive(Default)]
struct Texts(Vec<Vec<Arc<str>>>);

/// Texts of a chunk.
const CHUNK: usize = 1_024;

impl Texts {
    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    fn push(&mut self, text: Arc<str>) {
        if self.0.last().is_none_or(|last| last.len() == CHUNK) {
            // A column with few symbols, as most are, takes room for few.
            self.0.push(if self.0.is_empty() { Vec::new() } else { Vec::with_capacity(CHUNK) });
        }
        self.0.last_mut().expect("there is one").push(text);
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flatten()
    }
}

impl std::ops::Index<SymbolId> for Texts {
    type Output = Arc<str>;

    fn index(&self, id: SymbolId) -> &Arc<str> {
        &self.0[id as usize / CHUNK][id as usize % CHUNK]
    }
}

/// One part in so many of a table is kept for sources that have named few symbols, so that whoever makes up names does not
/// lock others out.
const KEPT_PARTS: usize = 8;
/// Bytes that are kept for each of those symbols.
const KEPT_BYTES: usize = ENTRY_BYTES + COPIES * 32;

/// What is kept of a table for sources that have named few.
#[derive(Debug, Default)]
struct Shares {
    /// Symbols for each source.
    each: usize,
    /// By source, how many of them it has named.
    named: Vec<usize>,
    /// Those that nobody has named yet, of all sources.
    kept: usize,
}

impl Shares {
    /// Symbols for which there must be room besides one that is named now. Rules and zones have no share and heed none.
    fn kept_from(&self, source: Option<u16>) -> usize {
        let named = source.and_then(|source| self.named.get(usize::from(source)));
        if named.is_some_and(|named| *named == self.each) { self.kept } else { 0 }
    }

    fn note(&mut self, source: Option<u16>) {
        let named = source.and_then(|source| self.named.get_mut(usize::from(source)));
        if let Some(named) = named.filter(|named| **named < self.each) {
            *named += 1;
            self.kept -= 1;
        }
    }
}

/// Places that hold a symbol's text: the table, twice with the room that it grows into, and caches.
const COPIES: usize = 6;
/// What a symbol takes besides its text, as far as it is touched. What is set aside for tables to grow into by and by can be
/// more for a while, some 390 with one shard.
const ENTRY_BYTES: usize = 200;

/// The shared table of one column.
#[derive(Clone)]
pub struct Symbols {
    table: Arc<RwLock<Table>>,
    entries_max: usize,
    bytes_max: usize,
}

impl Symbols {
    /// An empty table that takes at most `entries_max` values and `bytes_max` bytes.
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { table: Arc::default(), entries_max, bytes_max }
    }

    /// Keeps a share of the room for each of so many sources. What they have named so far counts.
    pub(crate) fn share_among(&self, sources: usize) {
        let mut table = self.table.write();
        if table.shares.named.len() != sources {
            let each = self.entries_max / KEPT_PARTS / sources.max(1);
            table.shares = Shares { each, named: vec![0; sources], kept: each * sources };
        }
    }

    /// The number of a text, given out if it is new; `None` when the table is full or the text too long.
    pub fn intern(&self, text: &str) -> Option<SymbolId> {
        self.intern_by(text, None)
    }

    /// The same of a text that a source names; `None` also when the room that is left is kept for others.
    pub(crate) fn intern_by(&self, text: &str, source: Option<u16>) -> Option<SymbolId> {
        if let Some(id) = self.table.read().ids.get(text) {
            return Some(*id);
        }
        let mut table = self.table.write();
        if let Some(id) = table.ids.get(text) {
            return Some(*id);
        }
        let bytes = table.bytes + ENTRY_BYTES + COPIES * text.len();
        let kept = table.shares.kept_from(source);
        let has_room = table.texts.len() + kept < self.entries_max && bytes + kept * KEPT_BYTES <= self.bytes_max;
        if !has_room || text.len() > SYMBOL_BYTES_MAX {
            return None;
        }
        if !table.joined.push(text) {
            return None;
        }
        table.bytes = bytes;
        table.shares.note(source);
        let id = table.texts.len() as SymbolId;
        let shared: Arc<str> = Arc::from(text);
        table.texts.push(Arc::clone(&shared));
        table.ids.insert(shared, id);
        table.values = None;
        Some(id)
    }

    /// The text of a number.
    ///
    /// # Panics
    /// If the number was not given out by this table.
    pub fn text(&self, id: SymbolId) -> Arc<str> {
        Arc::clone(&self.table.read().texts[id])
    }

    /// All texts in the order of their numbers.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.table.read().texts.iter().map(ToString::to_string).collect()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.table.read().texts.len()
    }

    /// Whether there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All texts as the values of a dictionary array, and how many.
    pub(super) fn values(&self) -> (ArrayRef, usize) {
        if let Some(values) = &self.table.read().values {
            return (Arc::clone(values), values.len());
        }
        let mut table = self.table.write();
        let values: ArrayRef = Arc::new(table.joined.array());
        table.values = Some(Arc::clone(&values));
        let len = values.len();
        (values, len)
    }
}

/// What a shard knows of a table already.
#[derive(Clone, Copy)]
pub(crate) struct SymbolLookup<'a>(&'a SymbolCache);

impl SymbolLookup<'_> {
    /// The number of a text that this shard has met.
    #[inline]
    pub(crate) fn get(self, text: &str) -> Option<SymbolId> {
        self.0.get(text)
    }
}

/// A shard's view of a table: its own map, and the values array it last saw.
pub(super) struct SymbolCache {
    shared: Symbols,
    /// Who names what is new.
    source: Option<u16>,
    /// Texts of up to fifteen bytes, which is nearly all there are.
    short: ShortIds,
    long: HashMap<Box<str>, SymbolId, RandomState>,
    values: Option<(ArrayRef, usize)>,
    pub(super) max: usize,
}

impl SymbolCache {
    pub(super) fn new(shared: Symbols) -> Self {
        let max = shared.entries_max;
        Self { shared, source: None, short: ShortIds::default(), long: HashMap::default(), values: None, max }
    }

    pub(super) fn lookup(&self) -> SymbolLookup<'_> {
        SymbolLookup(self)
    }

    /// The number of a text that has been interned through this cache.
    #[inline]
    pub(super) fn get(&self, text: &str) -> Option<SymbolId> {
        match pack(text.as_bytes()) {
            Some(word) => self.short.get(word),
            None => self.long.get(text).copied(),
        }
    }

    #[inline]
    pub(super) fn intern(&mut self, text: &str) -> Option<SymbolId> {
        self.get(text).or_else(|| self.learn(text))
    }

    /// Why a text got no number.
    #[cold]
    pub(super) fn refusal(&self, column: &str, text: &str) -> Reason {
        let column = column.to_owned();
        if text.len() > SYMBOL_BYTES_MAX {
            Reason::TextTooLong { column, max: SYMBOL_BYTES_MAX }
        } else {
            Reason::TooManySymbols { column, max: self.max }
        }
    }

    #[cold]
    fn learn(&mut self, text: &str) -> Option<SymbolId> {
        let id = self.shared.intern_by(text, self.source)?;
        match pack(text.as_bytes()) {
            Some(word) => self.short.insert(word, id),
            None => drop(self.long.insert(text.into(), id)),
        }
        Some(id)
    }

    /// Dictionary values that cover every number up to `highest`.
    pub(super) fn values(&mut self, highest: Option<SymbolId>) -> ArrayRef {
        let needed = highest.map_or(0, |highest| highest as usize + 1);
        match &self.values {
            Some((values, len)) if *len >= needed => Arc::clone(values),
            _ => {
                let values = self.shared.values();
                let array = Arc::clone(&values.0);
                self.values = Some(values);
                array
            }
        }
    }
}

/// A shard's views of all tables. Columns of one name share one, of whatever kind they are: what is looked up with
/// every record has to lie near.
#[derive(Default)]
pub(crate) struct SymbolCaches {
    caches: Vec<SymbolCache>,
    /// By the column's name, and the values it allows: what is in a cache is allowed.
    places: BTreeMap<(String, Vec<String>), CacheId>,
}

/// Position among the caches of a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheId(usize);

impl SymbolCaches {
    /// The cache of a column.
    pub(super) fn of(&mut self, column: &Column, layouts: &Layouts) -> CacheId {
        *self.places.entry((column.name.clone(), column.values.clone())).or_insert_with(|| {
            self.caches.push(SymbolCache::new(layouts.symbols[&column.name].clone()));
            CacheId(self.caches.len() - 1)
        })
    }

    /// What is new from here on is named by this source.
    pub(super) fn named_by(&mut self, source: u16) {
        self.caches.iter_mut().for_each(|cache| cache.source = Some(source));
    }
}

impl std::ops::Index<CacheId> for SymbolCaches {
    type Output = SymbolCache;

    fn index(&self, id: CacheId) -> &SymbolCache {
        &self.caches[id.0]
    }
}

impl std::ops::IndexMut<CacheId> for SymbolCaches {
    fn index_mut(&mut self, id: CacheId) -> &mut SymbolCache {
        &mut self.caches[id.0]
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn numbers_and_values_fit() {
        let symbols = Symbols::new(4, 1 << 20);
        let mut cache = SymbolCache::new(symbols.clone());
        for (number, text) in ["", "陕A12345", "a name that is longer than a word", "b"].into_iter().enumerate() {
            assert_eq!(cache.intern(text), Some(number as SymbolId));
            let values = cache.values(Some(number as SymbolId));
            assert_eq!(values.as_string::<i32>().value(number), text);
            assert_eq!(values.len(), symbols.len());
            assert_eq!(&*symbols.text(number as SymbolId), text);
        }
        assert_eq!((cache.intern("b"), cache.intern("c")), (Some(3), None));
        assert!(matches!(cache.refusal("lane", "c"), Reason::TooManySymbols { max: 4, .. }));
    }

    #[test]
    fn many_texts_are_found_by_their_numbers() {
        let symbols = Symbols::new(usize::MAX, usize::MAX);
        for number in 0..3_000 {
            assert_eq!(symbols.intern(&number.to_string()), Some(number));
            assert_eq!((symbols.len(), &*symbols.text(number / 2)), (number as usize + 1, &*(number / 2).to_string()));
        }
        assert!(symbols.texts().into_iter().eq((0..3_000).map(|number| number.to_string())));
    }

    #[test]
    fn who_makes_up_names_does_not_lock_others_out() {
        let symbols = Symbols::new(1_600, 1 << 20);
        symbols.share_among(2);
        let name = |by: u16, from: usize| {
            let named = |number: &usize| symbols.intern_by(&format!("{by}-{number}"), Some(by)).is_some();
            (from..from + 10_000).take_while(named).count()
        };
        // Of two hundred that are kept, a hundred for each.
        assert_eq!(name(0, 0), 1_500);
        symbols.share_among(2);
        assert_eq!(symbols.intern_by("made up", Some(0)), None);
        assert_eq!((name(1, 0), symbols.len()), (100, 1_600));
        assert_eq!((symbols.intern_by("0-7", Some(1)), symbols.intern_by("one more", Some(1))), (Some(7), None));

        // What rules and zones name takes what is kept; where others have named all of theirs, nothing is.
        let symbols = Symbols::new(1_600, 1 << 20);
        symbols.share_among(2);
        assert!((0..100).all(|number| symbols.intern_by(&format!("1-{number}"), Some(1)).is_some()));
        assert!((0..1_450).all(|number| symbols.intern_by(&format!("0-{number}"), Some(0)).is_some()));
        assert!((0..50).all(|number| symbols.intern(&format!("zone {number}")).is_some()));
        assert_eq!((symbols.len(), symbols.intern("zone 50")), (1_600, None));
    }

    #[test]
    fn texts_are_bounded_one_by_one_and_together() {
        let symbols = Symbols::new(usize::MAX, 10_000);
        assert_eq!(symbols.intern(&"x".repeat(SYMBOL_BYTES_MAX + 1)), None);
        let taken = (0..1_000).take_while(|number| symbols.intern(&format!("{number:0>100}")).is_some()).count();
        assert_eq!(taken, 10_000 / (ENTRY_BYTES + COPIES * 100));
    }
}

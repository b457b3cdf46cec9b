//! Which columns of a kind are built: only those that some rule reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_rules::schema::{Catalog, ColumnType, Kind};

use super::{SymbolId, Symbols};
use crate::credential::Verifier;
use crate::limits::Limits;

/// A kind, and the part of it that this pipeline reads.
#[derive(Debug, Clone)]
pub struct KindLayout {
    /// The declaration.
    pub kind: Kind,
    /// For each column of the kind, its position in the batch if it is built.
    pub position: Vec<Option<usize>>,
    /// Schema of the batch.
    pub schema: SchemaRef,
}

impl KindLayout {
    /// Builds the columns named in `read` that the kind has.
    pub fn new(kind: &Kind, read: &BTreeSet<String>) -> Self {
        let mut fields = Vec::new();
        let position = kind
            .columns
            .iter()
            .map(|column| {
                (read.contains(&column.name) && !column.transient).then(|| {
                    fields.push(Field::new(&column.name, column.ty.arrow(), true));
                    fields.len() - 1
                })
            })
            .collect();
        Self { kind: kind.clone(), position, schema: Arc::new(Schema::new(fields)) }
    }

    /// Position of a column in the batch.
    pub fn position_of(&self, name: &str) -> Option<usize> {
        self.kind.index_of(name).and_then(|index| self.position[index])
    }
}

/// Symbol tables by column name.
pub type SymbolTables = BTreeMap<String, Symbols>;

/// All kinds of a pipeline, and the symbol tables of their columns.
#[derive(Clone)]
pub struct Layouts {
    /// In the catalog's order.
    pub kinds: Vec<KindLayout>,
    /// By column name.
    pub symbols: SymbolTables,
    /// What credentials are verified with.
    pub(crate) verifier: Arc<Verifier>,
    /// By zone, the zones it lies in: a record in one counts in all of them.
    pub(crate) wholes: Arc<Wholes>,
}

/// The zones that a zone lies in, from the inside out.
pub(crate) type Wholes = HashMap<SymbolId, Box<[SymbolId]>, RandomState>;

impl Layouts {
    /// Lays out the catalog; `read` names the columns each kind must build.
    pub fn new(catalog: &Catalog, read: &BTreeMap<String, BTreeSet<String>>, limits: &Limits) -> Self {
        let symbols = catalog
            .kinds()
            .iter()
            .flat_map(|kind| &kind.columns)
            .filter(|column| column.ty == ColumnType::Symbol)
            .map(|column| (column.name.clone(), Symbols::new(limits.symbols_max, limits.symbol_bytes_max)))
            .collect();
        Self::with_symbols(catalog, read, &symbols)
    }

    /// Lays out the catalog over symbol tables that are there already.
    pub(crate) fn with_symbols(
        catalog: &Catalog,
        read: &BTreeMap<String, BTreeSet<String>>,
        symbols: &SymbolTables,
    ) -> Self {
        let none = BTreeSet::new();
        let kinds: Vec<KindLayout> =
            catalog.kinds().iter().map(|kind| KindLayout::new(kind, read.get(&kind.name).unwrap_or(&none))).collect();
        Self { kinds, symbols: symbols.clone(), verifier: Arc::default(), wholes: Arc::default() }
    }
}

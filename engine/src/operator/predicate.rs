//! The conditions of all rules of one kind, each different part once.
//!
//! A condition is taken apart where `and` joins it. Parts that mean the same are one predicate,
//! whatever the number of rules that ask for it. A predicate of a plain shape (a symbol is one of
//! these, a number compares so, a value is there) is tested by itself, the rest by `DataFusion`. A
//! rule that asks a symbol column for a value is anchored to it: it looks at the rows with that
//! value and never at the others, so that a thousand rules for a thousand sites cost what their
//! rows cost. (Idea: predicate indexing as in publish/subscribe matching, Fabret et al., SIGMOD 2001.)

use std::cell::{OnceCell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use weir_rules::expr::{Comparison, Expression, Shape};
use weir_rules::schema::ColumnType;

use crate::computed::{Computed, Values};
use crate::record::{KindLayout, Layouts, SymbolId};

#[derive(Debug)]
enum Test {
    /// The symbol at a position is one of these; sorted.
    Symbols(usize, Vec<SymbolId>),
    /// The text at a position is one of these.
    Texts(usize, HashSet<String, RandomState>),
    /// The number at a position compares so.
    Number(usize, Comparison, f64),
    /// The value at a position is there, or is not.
    Present(usize, bool),
    /// Whatever the expression engine says.
    Expression(Computed),
    /// Never: it asks for a symbol that can have no number because the table is full.
    Never,
}

#[derive(Debug)]
struct Predicate {
    test: Test,
    /// How many filters ask for it.
    users: usize,
    text: String,
}

/// Position of a predicate among those of its kind.
type PredicateId = usize;

/// What one rule, or one step of a rule, asks of a record: all of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Predicates that ask a symbol column for values: the one with fewest rows in a batch is its anchor.
    anchors: Vec<PredicateId>,
    rest: Vec<PredicateId>,
}

/// Every predicate of one kind.
#[derive(Debug, Default)]
pub(crate) struct Predicates {
    all: Vec<Predicate>,
    by_meaning: BTreeMap<String, PredicateId>,
}

impl Predicates {
    /// Takes in conditions; parts that are known already are shared.
    pub(crate) fn filter(
        &mut self,
        conditions: &[Expression],
        layout: &KindLayout,
        layouts: &Layouts,
    ) -> Result<Filter, DataFusionError> {
        let mut asked: Vec<PredicateId> = Vec::new();
        for part in conditions.iter().flat_map(Expression::conjuncts) {
            let meaning = part.meaning();
            let id = match self.by_meaning.get(&meaning) {
                Some(id) => *id,
                None => {
                    let test = compile(&part, layout, layouts)?;
                    self.all.push(Predicate { test, users: 0, text: part.sql.clone() });
                    self.by_meaning.insert(meaning, self.all.len() - 1);
                    self.all.len() - 1
                }
            };
            if !asked.contains(&id) {
                asked.push(id);
            }
        }
        for id in &asked {
            self.all[*id].users += 1;
        }
        let (anchors, rest) = asked.into_iter().partition(|id| matches!(&self.all[*id].test, Test::Symbols(..)));
        Ok(Filter { anchors, rest })
    }

    /// For people: each predicate of a filter, how many rules ask for it, and how it is tested.
    pub(crate) fn describe(&self, filter: &Filter) -> Vec<(String, usize, &'static str)> {
        filter
            .anchors
            .iter()
            .chain(&filter.rest)
            .map(|id| {
                let predicate = &self.all[*id];
                let how = match &predicate.test {
                    Test::Symbols(..) => "index",
                    Test::Expression(_) => "expression",
                    _ => "plain",
                };
                (predicate.text.clone(), predicate.users, how)
            })
            .collect()
    }
}

fn compile(part: &Expression, layout: &KindLayout, layouts: &Layouts) -> Result<Test, DataFusionError> {
    let computed = |part: &Expression| {
        let expression = part.physical(&layout.schema)?;
        Ok::<_, DataFusionError>(Test::Expression(Computed::new(expression, &layout.schema)))
    };
    let place = |name: &str| {
        let column = layout.kind.column(name)?;
        Some((layout.position_of(name)?, column.ty))
    };
    Ok(match part.shape() {
        Shape::OneOf { column, values } => match place(&column) {
            Some((position, ColumnType::Symbol)) => {
                let mut ids: Vec<SymbolId> =
                    values.iter().filter_map(|value| layouts.symbols[&column].intern(value)).collect();
                ids.sort_unstable();
                if ids.is_empty() { Test::Never } else { Test::Symbols(position, ids) }
            }
            Some((position, ColumnType::Text)) => Test::Texts(position, values.into_iter().collect()),
            _ => computed(part)?,
        },
        Shape::Compare { column, comparison, number } => match place(&column) {
            Some((position, ColumnType::Number)) => Test::Number(position, comparison, number),
            _ => computed(part)?,
        },
        Shape::Present { column, present } => match place(&column) {
            Some((position, _)) => Test::Present(position, present),
            None => computed(part)?,
        },
        Shape::Constant(_) | Shape::Other => computed(part)?,
    })
}

/// Which rows pass.
#[derive(Debug, Clone)]
pub(crate) enum Selection {
    /// Every row.
    All,
    /// These, ascending.
    Rows(Vec<u32>),
}

impl Selection {
    /// The rows out of `rows`, ascending.
    pub(crate) fn iter(&self, rows: usize) -> impl Iterator<Item = usize> {
        let (all, some) = match self {
            Self::All => (Some(0..rows), None),
            Self::Rows(some) => (None, Some(some.iter().map(|row| *row as usize))),
        };
        all.into_iter().flatten().chain(some.into_iter().flatten())
    }

    /// Whether no row passes.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Rows(rows) if rows.is_empty())
    }
}

/// What a predicate says of every row of a batch.
struct Answers {
    yes: BooleanArray,
    /// Rows that could not be computed.
    failed: Vec<u32>,
}

/// Rows of a column by symbol.
struct SymbolRows {
    /// Where the rows of each symbol begin; one more than there are symbols.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

/// A batch, and what has been found out about it so far.
pub(crate) struct Matcher<'a> {
    predicates: &'a Predicates,
    batch: &'a RecordBatch,
    /// Answers over the whole batch, of predicates for which they are worth it.
    answers: RefCell<HashMap<PredicateId, Arc<Answers>, RandomState>>,
    /// By position of a column.
    by_symbol: Vec<OnceCell<SymbolRows>>,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(predicates: &'a Predicates, batch: &'a RecordBatch) -> Self {
        let by_symbol = (0..batch.num_columns()).map(|_| OnceCell::new()).collect();
        Self { predicates, batch, answers: RefCell::default(), by_symbol }
    }

    /// The rows that pass; unknown counts as no. Also how many could not be computed.
    pub(crate) fn select(&self, filter: &Filter) -> (Selection, u64) {
        let anchor = filter.anchors.iter().min_by_key(|id| self.rows_at(**id));
        match anchor {
            Some(anchor) => {
                let others = filter.anchors.iter().filter(|id| *id != anchor);
                self.narrow(self.anchored(*anchor), others.chain(&filter.rest), true)
            }
            None if filter.rest.is_empty() => (Selection::All, 0),
            None => self.wide(&filter.rest),
        }
    }

    /// Of these rows, ascending, those that pass.
    pub(crate) fn select_from(&self, rows: Vec<u32>, filter: &Filter) -> (Selection, u64) {
        self.narrow(rows, filter.anchors.iter().chain(&filter.rest), false)
    }

    fn symbol_rows(&self, position: usize) -> &SymbolRows {
        self.by_symbol[position].get_or_init(|| {
            let keys = self.batch.column(position).as_dictionary::<Int32Type>().keys();
            SymbolRows::new(keys.iter().map(|key| key.map(|key| key as SymbolId)))
        })
    }

    /// How many rows an anchor would leave.
    fn rows_at(&self, anchor: PredicateId) -> usize {
        let Test::Symbols(position, ids) = &self.predicates.all[anchor].test else { return usize::MAX };
        let by_symbol = self.symbol_rows(*position);
        ids.iter().map(|id| by_symbol.rows_of(*id).len()).sum()
    }

    fn anchored(&self, anchor: PredicateId) -> Vec<u32> {
        let Test::Symbols(position, ids) = &self.predicates.all[anchor].test else { return Vec::new() };
        let by_symbol = self.symbol_rows(*position);
        let mut rows: Vec<u32> = Vec::new();
        for id in ids {
            rows.extend_from_slice(by_symbol.rows_of(*id));
        }
        if ids.len() > 1 {
            rows.sort_unstable();
        }
        rows
    }

    fn narrow<'p>(
        &self,
        mut rows: Vec<u32>,
        asked: impl IntoIterator<Item = &'p PredicateId>,
        anchored: bool,
    ) -> (Selection, u64) {
        let mut errors = 0;
        for id in asked {
            if rows.is_empty() {
                break;
            }
            let predicate = &self.predicates.all[*id];
            match &predicate.test {
                // Asked for by others too, or of most rows anyway: once for the whole batch.
                Test::Expression(_) if predicate.users > 1 || !anchored && rows.len() * 2 > self.batch.num_rows() => {
                    let answers = self.answers(*id);
                    errors += answers.failed.iter().filter(|row| rows.binary_search(row).is_ok()).count() as u64;
                    rows.retain(|row| is_true(&answers.yes, *row as usize));
                }
                Test::Expression(expression) => {
                    let some = take_record_batch(self.batch, &UInt32Array::from(rows.clone()))
                        .expect("they are rows of the batch");
                    let (yes, failed) = truths(expression, &some);
                    errors += failed.len() as u64;
                    let mut at = 0;
                    rows.retain(|_| {
                        at += 1;
                        is_true(&yes, at - 1)
                    });
                }
                test => rows.retain(|row| self.test_row(test, *row as usize)),
            }
        }
        (Selection::Rows(rows), errors)
    }

    fn wide(&self, asked: &[PredicateId]) -> (Selection, u64) {
        let first = self.answers(asked[0]);
        let mut errors = first.failed.len() as u64;
        let rows: Vec<u32> = match first.yes.nulls() {
            None => first.yes.values().set_indices_u32().collect(),
            Some(nulls) => (first.yes.values() & nulls.inner()).set_indices_u32().collect(),
        };
        let (selection, more) = self.narrow(rows, &asked[1..], false);
        errors += more;
        (selection, errors)
    }

    fn answers(&self, id: PredicateId) -> Arc<Answers> {
        if let Some(known) = self.answers.borrow().get(&id) {
            return Arc::clone(known);
        }
        let found = Arc::new(match &self.predicates.all[id].test {
            Test::Expression(expression) => {
                let (yes, failed) = truths(expression, self.batch);
                Answers { yes, failed }
            }
            test => {
                let yes = (0..self.batch.num_rows()).map(|row| Some(self.test_row(test, row))).collect();
                Answers { yes, failed: Vec::new() }
            }
        });
        self.answers.borrow_mut().insert(id, Arc::clone(&found));
        found
    }

    fn test_row(&self, test: &Test, row: usize) -> bool {
        match test {
            Test::Symbols(position, ids) => {
                let keys = self.batch.column(*position).as_dictionary::<Int32Type>().keys();
                keys.is_valid(row) && ids.binary_search(&(keys.value(row) as SymbolId)).is_ok()
            }
            Test::Texts(position, texts) => {
                let column = self.batch.column(*position).as_string_view();
                column.is_valid(row) && texts.contains(column.value(row))
            }
            Test::Number(position, comparison, number) => {
                let column = self.batch.column(*position).as_primitive::<Float64Type>();
                column.is_valid(row) && compares(column.value(row), *comparison, *number)
            }
            Test::Present(position, present) => self.batch.column(*position).is_valid(row) == *present,
            Test::Expression(_) => unreachable!("expressions are evaluated over columns"),
            Test::Never => false,
        }
    }
}

impl SymbolRows {
    fn new(symbols: impl Iterator<Item = Option<SymbolId>> + Clone) -> Self {
        let highest = symbols.clone().flatten().max().map_or(0, |highest| highest as usize + 1);
        let mut starts = vec![0_u32; highest + 1];
        for id in symbols.clone().flatten() {
            starts[id as usize + 1] += 1;
        }
        for id in 0..highest {
            starts[id + 1] += starts[id];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; starts[highest] as usize];
        for (row, id) in symbols.enumerate() {
            if let Some(id) = id {
                rows[next[id as usize] as usize] = row as u32;
                next[id as usize] += 1;
            }
        }
        Self { starts, rows }
    }

    fn rows_of(&self, id: SymbolId) -> &[u32] {
        let id = id as usize;
        if id + 1 >= self.starts.len() {
            return &[];
        }
        &self.rows[self.starts[id] as usize..self.starts[id + 1] as usize]
    }
}

/// As the kernels of Arrow compare: by the total order of IEEE 754.
fn compares(value: f64, comparison: Comparison, number: f64) -> bool {
    let order = value.total_cmp(&number);
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    }
}

fn is_true(mask: &BooleanArray, row: usize) -> bool {
    mask.is_valid(row) && mask.value(row)
}

/// The rows that pass, and those that could not be computed.
fn truths(expression: &Computed, batch: &RecordBatch) -> (BooleanArray, Vec<u32>) {
    let Values { array, failed } = expression.evaluate(batch);
    match array.as_boolean_opt() {
        Some(yes) => (yes.clone(), failed.into_iter().map(|(row, _)| row).collect()),
        // Always unknown, or no condition at all.
        None if *array.data_type() == DataType::Null => {
            (BooleanArray::new_null(batch.num_rows()), failed.into_iter().map(|(row, _)| row).collect())
        }
        None => (BooleanArray::new_null(batch.num_rows()), (0..batch.num_rows() as u32).collect()),
    }
}

//! SQL expressions that cannot be computed of every record.
//!
//! What the expression engine cannot compute of one record (a cast of a text that is no number, a division by zero) it
//! cannot compute of the whole batch. The others must not pay for that one, or whoever sends it slows everybody's records
//! down. So an expression that has failed is computed leniently for a while, where that comes to the same: a cast that
//! fails gives null, and a second expression says of which rows one did. What cannot be told so is sought in ever smaller parts
//! of the batch.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, concat, nullif, take};
use arrow::datatypes::{DataType, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_common::format::DEFAULT_FORMAT_OPTIONS;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr, NotExpr,
};
use datafusion_physical_expr::utils::collect_columns;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// What is said of a row of which a cast failed.
const CAST_ERROR: &str = "Cast error";
/// A cast that fails gives null.
const LENIENT: CastOptions<'static> = CastOptions { safe: true, format_options: DEFAULT_FORMAT_OPTIONS };

/// An expression, and how it is computed where that fails of some rows.
#[derive(Debug)]
pub(crate) struct Computed {
    exact: Arc<dyn PhysicalExpr>,
    lenient: Option<Lenient>,
    /// Columns it reads that have numbered texts.
    symbols: Vec<usize>,
    /// Batches that are computed leniently before it is tried as it is again.
    wary_for: AtomicU32,
}

/// So many batches after the last one of which it failed. One try that fails costs less than lenient computing of so many.
const WARY_FOR: u32 = 64;

/// The same with casts that give null where they fail.
#[derive(Debug)]
struct Lenient {
    value: Arc<dyn PhysicalExpr>,
    /// Whether one has.
    fails: Arc<dyn PhysicalExpr>,
}

/// What was computed of a batch.
#[derive(Debug)]
pub(crate) struct Values {
    /// By row; null where it failed.
    pub(crate) array: ArrayRef,
    /// The rows of which it failed, ascending, and why.
    pub(crate) failed: Vec<(u32, Cow<'static, str>)>,
}

impl Computed {
    /// An expression over batches of this layout.
    pub(crate) fn new(exact: Arc<dyn PhysicalExpr>, schema: &Schema) -> Self {
        let is_numbered = |at: &usize| matches!(schema.field(*at).data_type(), DataType::Dictionary(..));
        let mut symbols: Vec<usize> =
            collect_columns(&exact).iter().map(Column::index).filter(|at| is_numbered(at)).collect();
        symbols.sort_unstable();
        let mut casts = Vec::new();
        let value = lenient(&exact, schema, &mut casts);
        let fails = casts.into_iter().reduce(|a, b| Arc::new(BinaryExpr::new(a, Operator::Or, b)));
        let lenient = value.zip(fails).map(|(value, fails)| Lenient { value, fails });
        Self { exact, lenient, symbols, wary_for: AtomicU32::new(0) }
    }

    /// Computes it of every row.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> Values {
        let batch = &self.with_own_texts(batch, batch.num_rows());
        let wary_for = self.wary_for.load(Ordering::Relaxed);
        if wary_for == 0
            && let Ok(array) = array_of(&self.exact, batch)
        {
            return Values { array, failed: Vec::new() };
        }
        let values = self.leniently(batch).unwrap_or_else(|| self.in_parts(batch));
        let has_failed = wary_for == 0 || !values.failed.is_empty();
        self.wary_for.store(if has_failed { WARY_FOR } else { wary_for - 1 }, Ordering::Relaxed);
        values
    }

    /// `None` if it fails for another reason than a cast.
    fn leniently(&self, batch: &RecordBatch) -> Option<Values> {
        let lenient = self.lenient.as_ref()?;
        let fails = array_of(&lenient.fails, batch).ok()?;
        let (array, fails) = (array_of(&lenient.value, batch).ok()?, fails.as_boolean_opt()?);
        let nulls = array.logical_nulls();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let rows = fails.iter().enumerate().filter(|(_, fails)| *fails == Some(true)).map(|(row, _)| row);
        let (failed, settled): (Vec<usize>, Vec<usize>) = rows.partition(|row| is_null(*row));
        let failed = failed.into_iter().map(|row| (row as u32, Cow::Borrowed(CAST_ERROR))).collect();
        // Where another part of the expression says no, it is no.
        let truths = array.as_boolean_opt();
        let open = settled.into_iter().filter(|row| truths.is_none_or(|truths| truths.value(*row))).collect();
        self.with_alone(batch, Values { array, failed }, open)
    }

    /// Values of which some rows are computed again, each alone.
    fn with_alone(&self, batch: &RecordBatch, values: Values, rows: Vec<usize>) -> Option<Values> {
        let Values { array, mut failed } = values;
        let mut fails = vec![None; batch.num_rows()];
        for row in rows {
            if let Err(error) = array_of(&self.exact, &self.with_own_texts(&batch.slice(row, 1), 0)) {
                failed.push((row as u32, Cow::Owned(error.to_string())));
                fails[row] = Some(true);
            }
        }
        failed.sort_unstable();
        Some(Values { array: nullif(&array, &BooleanArray::from(fails)).ok()?, failed })
    }

    /// Halves the rows until each half can be computed, or is one row.
    fn in_parts(&self, batch: &RecordBatch) -> Values {
        let (mut parts, mut failed) = (Vec::new(), Vec::new());
        self.part(batch, 0, &mut parts, &mut failed);
        let ty = self.exact.data_type(batch.schema_ref()).unwrap_or(DataType::Null);
        let parts: Vec<ArrayRef> =
            parts.into_iter().map(|part| part.unwrap_or_else(|| new_null_array(&ty, 1))).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let array = concat(&parts).unwrap_or_else(|_| new_null_array(&ty, batch.num_rows()));
        Values { array, failed }
    }

    /// The rows of a batch that begin at `first`; `None` stands for one row of which it failed.
    fn part(
        &self,
        batch: &RecordBatch,
        first: usize,
        parts: &mut Vec<Option<ArrayRef>>,
        failed: &mut Vec<(u32, Cow<'static, str>)>,
    ) {
        match array_of(&self.exact, &self.with_own_texts(batch, 0)) {
            Ok(array) => parts.push(Some(array)),
            Err(error) if batch.num_rows() == 1 => {
                parts.push(None);
                failed.push((first as u32, Cow::Owned(error.to_string())));
            }
            Err(_) => {
                let half = batch.num_rows() / 2;
                self.part(&batch.slice(0, half), first, parts, failed);
                self.part(&batch.slice(half, batch.num_rows() - half), first + half, parts, failed);
            }
        }
    }

    /// The same rows, where symbol columns that have more than `texts_max` texts hold those of these rows and no others: they
    /// hold the texts of all records there have been, and to compute something of a column is to compute it of each text.
    fn with_own_texts(&self, batch: &RecordBatch, texts_max: usize) -> RecordBatch {
        let has_many = |at: &&usize| batch.column(**at).as_any_dictionary().values().len() > texts_max;
        let mut large = self.symbols.iter().filter(has_many).peekable();
        if large.peek().is_none() {
            return batch.clone();
        }
        let mut columns = batch.columns().to_vec();
        for at in large {
            columns[*at] = own_texts(&columns[*at]);
        }
        RecordBatch::try_new(batch.schema(), columns).expect("types and rows are the same")
    }
}

fn own_texts(column: &ArrayRef) -> ArrayRef {
    let symbols = column.as_dictionary::<Int32Type>();
    let mut numbers: HashMap<i32, i32, RandomState> = HashMap::default();
    let mut texts = Vec::new();
    let keys: Int32Array = symbols
        .keys()
        .iter()
        .map(|key| {
            let key = key?;
            Some(*numbers.entry(key).or_insert_with(|| {
                texts.push(key as u32);
                texts.len() as i32 - 1
            }))
        })
        .collect();
    let texts = take(symbols.values(), &UInt32Array::from(texts), None).expect("they are texts of the column");
    Arc::new(DictionaryArray::new(keys, texts))
}

fn array_of(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    expression.evaluate(batch)?.into_array(batch.num_rows())
}

/// The expression with lenient casts; `casts` come to say whether one of them fails. `None` where something looks at whether
/// a value is there: what is null then is not what could not be computed.
fn lenient(
    expression: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    casts: &mut Vec<Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    if !has_casts(expression) {
        return Some(Arc::clone(expression));
    }
    if let Some(cast) = expression.downcast_ref::<CastExpr>() {
        let child = lenient(cast.expr(), schema, casts)?;
        let value: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new_with_target_field(
            Arc::clone(&child),
            Arc::clone(cast.target_field()),
            Some(LENIENT),
        ));
        if may_fail(&child.data_type(schema).ok()?, cast.cast_type()) {
            let (given, none) = (Arc::new(IsNotNullExpr::new(child)), Arc::new(IsNullExpr::new(Arc::clone(&value))));
            casts.push(Arc::new(BinaryExpr::new(given, Operator::And, none)));
        }
        return Some(value);
    }
    let passes_null_on = match expression.downcast_ref::<BinaryExpr>() {
        Some(binary) => !matches!(binary.op(), Operator::IsDistinctFrom | Operator::IsNotDistinctFrom),
        None => {
            expression.is::<NotExpr>()
                || expression.is::<NegativeExpr>()
                || expression.is::<LikeExpr>()
                || expression.is::<InListExpr>()
        }
    };
    if !passes_null_on {
        return None;
    }
    let children = expression.children().into_iter().map(|child| lenient(child, schema, casts));
    let children = children.collect::<Option<Vec<_>>>()?;
    Arc::clone(expression).with_new_children(children).ok()
}

fn has_casts(expression: &Arc<dyn PhysicalExpr>) -> bool {
    let is_leaf = expression.is::<Column>() || expression.is::<Literal>();
    expression.is::<CastExpr>() || !is_leaf && expression.children().into_iter().any(has_casts)
}

/// Anything can be written as a text, and a float holds any number.
fn may_fail(from: &DataType, to: &DataType) -> bool {
    let is_text = matches!(to, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    !(is_text || from == to || *to == DataType::Float64 && from.is_numeric())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::Field;
    use proptest::prelude::*;
    use weir_rules::expr::{Macros, Scope, compile};

    use super::*;

    const EXPRESSIONS: &[(&str, bool)] = &[
        ("cast(lane as int) > 2", true),
        ("cast(lane as int) + cast(text as int) > 3", true),
        ("cast(cast(text as int) as varchar) = '1'", true),
        ("not cast(lane as int) > 2", true),
        ("cast(lane as int) > 2 or text = 'x'", true),
        ("text = 'x' and cast(lane as int) > 2", true),
        ("cast(lane as int) in (1, 2)", true),
        ("cast(lane as int) between 1 and cast(text as int)", true),
        ("-cast(text as int)", true),
        ("cast(speed as int) = 1", true),
        ("upper(lane) like 'A%' and cast(text as int) = 1", true),
        ("10 / cast(text as int) > 1", true),
        ("cast(lane as int) is null", false),
        ("coalesce(cast(lane as int), 0) = 0", false),
        ("case when text = 'x' then cast(lane as int) else 1 end > 1", false),
        ("cast(lane as int) is distinct from 1", false),
        ("lane is not null and upper(text) = 'X'", false),
    ];

    fn schema() -> Arc<Schema> {
        let symbol = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        Arc::new(Schema::new(vec![
            Field::new("lane", symbol, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("speed", DataType::Float64, true),
        ]))
    }

    fn computed(sql: &str) -> Computed {
        let scope = Scope {
            schema: schema(),
            identifiers: BTreeSet::new(),
            what: "a test".to_owned(),
            macros: Arc::new(Macros::default()),
        };
        let expression = compile(sql, &scope).unwrap_or_else(|problems| panic!("{sql}: {problems:?}"));
        Computed::new(expression.physical(&schema()).expect("a physical expression"), &schema())
    }

    type Row = (Option<i32>, Option<String>, Option<f64>);

    /// `texts` are those of the symbols, which need not occur.
    fn batch(rows: &[Row], texts: &[String]) -> RecordBatch {
        let keys: Int32Array = rows.iter().map(|row| row.0.map(|key| key % texts.len() as i32)).collect();
        let texts = StringArray::from_iter_values(texts);
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(DictionaryArray::new(keys, Arc::new(texts))),
                Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            ],
        )
        .expect("a batch")
    }

    fn text() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["1", "2", "3", "0", "x", "", "99999999999", "1.5"]).prop_map(str::to_owned)
    }

    fn row() -> impl Strategy<Value = Row> {
        let speed = prop::sample::select(vec![1.0, 2.5, 1e300, f64::NAN]);
        (prop::option::weighted(0.9, 0_i32..8), prop::option::weighted(0.9, text()), prop::option::weighted(0.9, speed))
    }

    proptest! {
        /// Against each row alone: the same values. What failed is the same too, but for rows whose value is settled whatever
        /// the cast gives.
        #[test]
        fn a_batch_is_computed_like_its_rows(
            rows in prop::collection::vec(row(), 1..40),
            texts in prop::collection::vec(text(), 1..60),
            wary_for in 0..3_u32,
        ) {
            let batch = batch(&rows, &texts);
            for (sql, _) in EXPRESSIONS {
                let computed = computed(sql);
                computed.wary_for.store(wary_for, Ordering::Relaxed);
                let values = computed.evaluate(&batch);
                prop_assert_eq!(values.array.len(), rows.len());
                let failed: BTreeSet<u32> = values.failed.iter().map(|(row, _)| *row).collect();
                prop_assert_eq!(failed.len(), values.failed.len());
                for (row, given) in rows.iter().enumerate() {
                    let alone = own_row(&batch, row);
                    match array_of(&computed.exact, &alone) {
                        Ok(value) => {
                            let found = values.array.slice(row, 1);
                            prop_assert_eq!(&found.to_data(), &value.to_data(), "{} of {:?}", sql, given);
                            prop_assert!(!failed.contains(&(row as u32)), "{} of {:?}", sql, given);
                        }
                        Err(_) => {
                            let is_no = values.array.data_type() == &DataType::Boolean
                                && values.array.is_valid(row) && !values.array.as_boolean().value(row);
                            let is_null = values.array.is_null(row);
                            prop_assert!(failed.contains(&(row as u32)) && is_null || is_no, "{} of {:?}", sql, given);
                        }
                    }
                }
            }
        }
    }

    /// One row, with no text but its own.
    fn own_row(batch: &RecordBatch, row: usize) -> RecordBatch {
        let mut columns = batch.slice(row, 1).columns().to_vec();
        let lane = columns[0].as_dictionary::<Int32Type>();
        let text =
            lane.keys().is_valid(0).then(|| lane.values().as_string::<i32>().value(lane.keys().value(0) as usize));
        columns[0] = Arc::new(std::iter::once(text).collect::<DictionaryArray<Int32Type>>());
        RecordBatch::try_new(batch.schema(), columns).expect("a batch")
    }

    #[test]
    fn what_passes_null_on_is_computed_leniently() {
        for (sql, is_lenient) in EXPRESSIONS {
            assert_eq!(computed(sql).lenient.is_some(), *is_lenient, "{sql}");
        }
    }

    #[test]
    fn a_column_keeps_the_texts_of_its_rows() {
        let texts: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
        let rows: Vec<Row> = [Some(7), None, Some(93), Some(7)].into_iter().map(|key| (key, None, None)).collect();
        let own = computed("upper(lane) = 'T7'").with_own_texts(&batch(&rows, &texts), rows.len());
        let lane = own.column(0).as_dictionary::<Int32Type>();
        assert_eq!(lane.values().as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["t7", "t93"]);
        assert_eq!(lane.keys().iter().collect::<Vec<_>>(), [Some(0), None, Some(1), Some(0)]);
    }

    #[test]
    fn one_that_fails_no_longer_is_computed_as_it_is_again() {
        let computed = computed("cast(text as int) > 2");
        let of = |text: &str| {
            computed.evaluate(&batch(&[(None, Some(text.to_owned()), None)], &["t".to_owned()])).failed.len()
        };
        assert_eq!((of("3"), computed.wary_for.load(Ordering::Relaxed)), (0, 0));
        assert_eq!((of("x"), computed.wary_for.load(Ordering::Relaxed)), (1, WARY_FOR));
        assert_eq!((0..WARY_FOR).map(|_| of("3")).sum::<usize>(), 0);
        assert_eq!(computed.wary_for.load(Ordering::Relaxed), 0);
        assert_eq!((of("3"), computed.wary_for.load(Ordering::Relaxed)), (0, 0));
    }
}

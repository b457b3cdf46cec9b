//! Foreign shapes: declared fields, and SQL expressions that make canonical columns of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use weir_rules::expr::Expression;
use weir_rules::schema::{Column, ColumnType, Kind};

use super::plan::PlanError;
use crate::computed::{Computed, Values};
use crate::record::{Cause, KindLayout, Reason};

/// A declared field of a foreign record.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedField {
    /// Name; dots lead into nested objects.
    pub name: String,
    /// Type.
    pub ty: ColumnType,
}

impl MappedField {
    /// The fields as the columns of a schema, for typing expressions over them.
    pub fn schema(fields: &[Self]) -> SchemaRef {
        let kind = raw_kind(fields);
        kind.arrow_schema()
    }
}

/// The mapping of one source, already typed.
#[derive(Debug, Clone)]
pub struct MapSpec {
    /// Fields that are decoded; all others are skipped unread.
    pub fields: Vec<MappedField>,
    /// Canonical column (or `kind`) and the expression that makes it.
    pub columns: Vec<(String, Expression)>,
}

fn raw_kind(fields: &[MappedField]) -> Kind {
    let columns = fields.iter().map(|field| Column::plain(&field.name, field.ty)).collect();
    Kind { name: "record".to_owned(), doc: String::new(), columns }
}

/// Canonical fields that a foreign record may carry under their own name, as text.
fn passed_through(slot: &str) -> MappedField {
    let ty = if slot == "zone" { ColumnType::Texts } else { ColumnType::Text };
    MappedField { name: slot.to_owned(), ty }
}

/// A mapping compiled for one source.
pub(crate) struct MappingPlan {
    /// Layout of the raw stage.
    pub(crate) layout: KindLayout,
    /// Names of the raw fields, in the order of the layout.
    pub(crate) fields: Vec<String>,
    /// For each canonical slot, the expression that fills it.
    exprs: Vec<(String, Computed)>,
}

impl MappingPlan {
    pub(crate) fn new(source: &str, map: &MapSpec, slots: &[String]) -> Result<Self, PlanError> {
        let mapped = |slot: &String| map.columns.iter().find(|(column, _)| column == slot);
        let mut fields = map.fields.clone();
        for slot in slots.iter().filter(|slot| mapped(slot).is_none()) {
            if !fields.iter().any(|field| field.name == **slot) {
                fields.push(passed_through(slot));
            }
        }
        let kind = raw_kind(&fields);
        let all: BTreeSet<String> = fields.iter().map(|field| field.name.clone()).collect();
        let layout = KindLayout::new(&kind, &all);
        let mut exprs = Vec::with_capacity(slots.len());
        for slot in slots {
            let expr = match mapped(slot) {
                Some((_, expression)) => expression.physical(&layout.schema).map_err(|error| PlanError::Mapping {
                    source_name: source.to_owned(),
                    column: slot.clone(),
                    error: error.to_string(),
                })?,
                None => Arc::new(datafusion_physical_expr::expressions::Column::new(
                    slot,
                    layout.position_of(slot).expect("passed-through fields are laid out"),
                )),
            };
            exprs.push((slot.clone(), Computed::new(expr, &layout.schema)));
        }
        Ok(Self { fields: fields.into_iter().map(|field| field.name).collect(), layout, exprs })
    }

    /// The canonical slots of a batch of raw rows, and the rows that cannot be mapped.
    pub(crate) fn evaluate(&self, raw: &RecordBatch) -> (Vec<ArrayRef>, BTreeMap<usize, Cause>) {
        let mut refused = BTreeMap::new();
        let arrays = self.exprs.iter().map(|(column, expr)| {
            let Values { array, failed } = expr.evaluate(raw);
            for (row, error) in failed {
                let cause = || Reason::Mapping { column: column.clone(), error: without_values(&error) }.into();
                refused.entry(row as usize).or_insert_with(cause);
            }
            array
        });
        (arrays.collect(), refused)
    }
}

/// The sort of an error of the expression engine, such as `Cast error`. What follows may tell the value
/// it failed on, in quotes, as a number or behind a colon, so it is cut there.
fn without_values(error: &str) -> String {
    let mut rest = error;
    for prefix in ["Arrow error: ", "Execution error: ", "External error: "] {
        rest = rest.trim_start_matches(prefix);
    }
    let end = rest.find(|c: char| c.is_numeric() || matches!(c, ':' | '\'' | '"' | '`')).unwrap_or(rest.len());
    rest[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn errors_lose_their_values() {
        for (error, kept) in [
            ("Arrow error: Divide by zero error", "Divide by zero error"),
            ("Arrow error: Cast error: Cannot cast string '京Q00001' to value of Int64 type", "Cast error"),
            ("Arrow error: Arithmetic overflow: Overflow happened on: 110105194912310021 + 1", "Arithmetic overflow"),
            ("Execution error: Error parsing timestamp from 'yesterday'", "Error parsing timestamp from"),
            ("External error: bad id 110105194912310021", "bad id"),
        ] {
            assert_eq!(without_values(error), kept);
        }
    }
}

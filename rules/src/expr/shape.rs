//! The plain shapes a condition is mostly made of, so that an engine can index and share them.
//!
//! [`Expression::conjuncts`] takes a condition apart where `and` joins it; [`Expression::shape`]
//! tells of each part whether it is one of the few forms that need no expression engine.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Cast, Expr, Operator};

use super::Expression;

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    fn of(operator: Operator) -> Option<Self> {
        Some(match operator {
            Operator::Eq => Self::Equal,
            Operator::NotEq => Self::NotEqual,
            Operator::Lt => Self::Less,
            Operator::LtEq => Self::LessOrEqual,
            Operator::Gt => Self::Greater,
            Operator::GtEq => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// As it stands in SQL.
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// The same with its sides changed.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// What a condition asks, where that is plain.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A text or symbol column has one of these values.
    OneOf {
        /// Column.
        column: String,
        /// Values, sorted.
        values: BTreeSet<String>,
    },
    /// A number column compares so with a constant.
    Compare {
        /// Column.
        column: String,
        /// How.
        comparison: Comparison,
        /// Constant.
        number: f64,
    },
    /// A column has a value, or has none.
    Present {
        /// Column.
        column: String,
        /// Whether it must have one.
        present: bool,
    },
    /// True or false whatever the record; `None` is never true.
    Constant(Option<bool>),
    /// Anything else.
    Other,
}

impl Expression {
    /// The parts that `and` joins, each an expression of its own.
    pub fn conjuncts(&self) -> Vec<Self> {
        split_conjunction(&self.typed)
            .into_iter()
            .map(|part| Self {
                sql: plain_text(part),
                columns: part.column_refs().into_iter().map(|column| column.name.clone()).collect(),
                data_type: DataType::Boolean,
                macros: BTreeSet::new(),
                typed: part.clone(),
            })
            .collect()
    }

    /// What it asks, where that is plain.
    pub fn shape(&self) -> Shape {
        shape(&self.typed)
    }
}

/// A part as a person would write it; what has no plain shape as the expression engine writes it.
fn plain_text(expr: &Expr) -> String {
    match shape(expr) {
        Shape::OneOf { column, values } => {
            let quoted: Vec<String> = values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
            match &quoted[..] {
                [one] => format!("{column} = {one}"),
                many => format!("{column} in ({})", many.join(", ")),
            }
        }
        Shape::Compare { column, comparison, number } => format!("{column} {} {number}", comparison.sign()),
        Shape::Present { column, present } => format!("{column} is {}null", if present { "not " } else { "" }),
        Shape::Constant(_) | Shape::Other => expr.to_string(),
    }
}

fn shape(expr: &Expr) -> Shape {
    match expr {
        Expr::Literal(ScalarValue::Boolean(truth), _) => Shape::Constant(*truth),
        Expr::Literal(ScalarValue::Null, _) => Shape::Constant(None),
        Expr::IsNull(inner) => present(inner, false),
        Expr::IsNotNull(inner) => present(inner, true),
        Expr::InList(list) if !list.negated => {
            let values: Option<BTreeSet<String>> = list.list.iter().map(text_of).collect();
            match (text_column(&list.expr), values) {
                (Some(column), Some(values)) => Shape::OneOf { column, values },
                _ => Shape::Other,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => match (shape(left), shape(right)) {
            (Shape::OneOf { column, mut values }, Shape::OneOf { column: other, values: more }) if column == other => {
                values.extend(more);
                Shape::OneOf { column, values }
            }
            _ => Shape::Other,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let Some(comparison) = Comparison::of(*op) else { return Shape::Other };
            compare(left, comparison, right)
                .or_else(|| compare(right, comparison.turned(), left))
                .unwrap_or(Shape::Other)
        }
        _ => Shape::Other,
    }
}

fn present(inner: &Expr, present: bool) -> Shape {
    match inner {
        Expr::Column(column) => Shape::Present { column: column.name.clone(), present },
        _ => Shape::Other,
    }
}

fn compare(column: &Expr, comparison: Comparison, constant: &Expr) -> Option<Shape> {
    if comparison == Comparison::Equal
        && let (Some(column), Some(value)) = (text_column(column), text_of(constant))
    {
        return Some(Shape::OneOf { column, values: BTreeSet::from([value]) });
    }
    let (Expr::Column(column), Expr::Literal(ScalarValue::Float64(Some(number)), _)) = (column, constant) else {
        return None;
    };
    Some(Shape::Compare { column: column.name.clone(), comparison, number: *number })
}

/// A column of text, bare or read out of its dictionary.
fn text_column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::Cast(Cast { expr, field, .. }) if is_text(field.data_type()) => match expr.as_ref() {
            Expr::Column(column) => Some(column.name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn text_of(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    text_of_value(value)
}

fn text_of_value(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text.clone(),
        ScalarValue::Dictionary(_, value) => text_of_value(value),
        _ => None,
    }
}

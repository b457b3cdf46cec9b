//! What is checked on the parsed text, where places are still known.

use std::ops::{ControlFlow, Range};

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, ExprSchemable, Volatility};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, visit_expressions,
};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use super::{Planner, Problem, Scope, plain};
use crate::diagnostic::{codes, did_you_mean};

/// All problems of names and types, in the order of the text.
pub(super) fn check(sql: &str, parsed: &SqlExpr, scope: &Scope, planner: &Planner) -> Vec<Problem> {
    let mut problems = check_names(sql, parsed, scope, planner);
    check_types(sql, parsed, scope, planner, &mut problems);
    problems.sort_by_key(|problem| problem.range.start);
    problems
}

fn check_names(sql: &str, parsed: &SqlExpr, scope: &Scope, planner: &Planner) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut asked_for_presence: Vec<Span> = Vec::new();
    let names: Vec<&str> = scope.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let _ = visit_expressions(parsed, |expr| {
        match expr {
            SqlExpr::IsNull(inner) | SqlExpr::IsNotNull(inner) => {
                if let SqlExpr::Identifier(ident) = inner.as_ref() {
                    asked_for_presence.push(ident.span);
                }
            }
            SqlExpr::Identifier(ident) => {
                let range = byte_range(sql, ident.span);
                let name = ident.value.as_str();
                if let Some(written) = scope.macros.as_written(name) {
                    // Places inside a name's own text are not in this text: its use is pointed at.
                    for problem in check_names(sql, written, scope, planner) {
                        problems.push(Problem {
                            range: range.clone(),
                            message: format!("`{name}`: {}", problem.message),
                            ..problem
                        });
                    }
                } else if !names.contains(&name) {
                    let known = format!("columns: {}", names.join(", "));
                    let hint = did_you_mean(name, names.iter().copied().chain(scope.macros.names()));
                    problems.push(Problem {
                        code: &codes::UNKNOWN_COLUMN,
                        range,
                        message: format!("{} has no column `{name}`", scope.what),
                        help: Some(hint.unwrap_or(known)),
                    });
                } else if scope.identifiers.contains(name) && !asked_for_presence.contains(&ident.span) {
                    problems.push(Problem {
                        code: &codes::IDENTIFIER_IN_CONDITION,
                        range,
                        message: format!("`{name}` identifies somebody and cannot stand in a condition"),
                        help: Some(
                            "put whom you look for on a list with legal basis and expiry; `is null` and `is not null` are allowed"
                                .to_owned(),
                        ),
                    });
                }
            }
            SqlExpr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if planner.functions.changes(&name) {
                    problems.push(Problem {
                        code: &codes::SQL_NOT_IMMUTABLE,
                        range: byte_range(sql, function.name.span()),
                        message: format!("the value of `{name}()` changes from run to run"),
                        help: Some("use the record's `ts`".to_owned()),
                    });
                }
                if !planner.functions.names().any(|known| known == name) {
                    let aggregate = ["count", "sum", "avg", "min", "max", "median", "stddev"].contains(&name.as_str());
                    problems.push(Problem {
                        code: if aggregate || function.over.is_some() {
                            &codes::SQL_NOT_ALLOWED
                        } else {
                            &codes::UNKNOWN_FUNCTION
                        },
                        range: byte_range(sql, function.name.span()),
                        message: if aggregate {
                            format!("`{name}` looks at many records; a condition looks at one")
                        } else {
                            format!("there is no function `{name}`")
                        },
                        help: if aggregate {
                            Some("use a rule of kind `window` with a `measure`".to_owned())
                        } else {
                            did_you_mean(&name, planner.functions.names())
                        },
                    });
                }
            }
            SqlExpr::Subquery(_) | SqlExpr::InSubquery { .. } | SqlExpr::Exists { .. } => problems.push(Problem {
                code: &codes::SQL_NOT_ALLOWED,
                range: byte_range(sql, expr.span()),
                message: "sub-queries are not allowed; a condition looks at one record".to_owned(),
                help: Some("use a rule of kind `watchlist` to look something up".to_owned()),
            }),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    problems
}

/// Descends to the smallest parts that fail, so that the caret stands under the culprit.
/// Returns the type of the part if it has one.
fn check_types(
    sql: &str,
    part: &SqlExpr,
    scope: &Scope,
    planner: &Planner,
    problems: &mut Vec<Problem>,
) -> Option<DataType> {
    let before = problems.len();
    let children = parts_of(part);
    let types: Vec<Option<DataType>> =
        children.iter().map(|child| check_types(sql, child, scope, planner, problems)).collect();
    // A part with an unknown name has no type; what stands beside it is checked all the same.
    if problems.len() > before || !check_names(sql, part, scope, planner).is_empty() {
        return None;
    }
    if let [Some(first), others @ ..] = &types[..] {
        let compared = others.iter().zip(&children[1..]).enumerate().filter(|(at, _)| is_compared(part, *at));
        for (other, child) in compared.filter_map(|(_, (other, child))| Some((other.as_ref()?, child))) {
            let literal = matches!(child, SqlExpr::Value(_)) || matches!(children[0], SqlExpr::Value(_));
            if !comparable(first, other, literal) {
                problems.push(Problem {
                    code: &codes::SQL_TYPE,
                    range: byte_range(sql, part.span()),
                    message: format!(
                        "`{}` is {}, `{child}` is {}; they cannot be compared",
                        children[0],
                        describe_type(first),
                        describe_type(other)
                    ),
                    help: Some(format!("compare `{}` with {}", children[0], describe_type(first))),
                });
                return None;
            }
        }
    }
    let typed = planner.typed(part.clone()).and_then(|typed| typed.get_type(&planner.schema));
    match typed {
        Ok(data_type) => Some(data_type),
        Err(error) => {
            problems.push(Problem {
                code: &codes::SQL_TYPE,
                range: byte_range(sql, part.span()),
                message: plain(&error),
                help: Some("check the types of what is compared or passed".to_owned()),
            });
            None
        }
    }
}

/// The parts of an expression whose types are looked at one by one.
fn parts_of(part: &SqlExpr) -> Vec<&SqlExpr> {
    match part {
        SqlExpr::BinaryOp { left, right, .. }
        | SqlExpr::IsDistinctFrom(left, right)
        | SqlExpr::IsNotDistinctFrom(left, right) => vec![left, right],
        SqlExpr::Nested(inner)
        | SqlExpr::UnaryOp { expr: inner, .. }
        | SqlExpr::Cast { expr: inner, .. }
        | SqlExpr::IsNull(inner)
        | SqlExpr::IsNotNull(inner)
        | SqlExpr::IsTrue(inner)
        | SqlExpr::IsNotTrue(inner)
        | SqlExpr::IsFalse(inner)
        | SqlExpr::IsNotFalse(inner) => vec![inner],
        SqlExpr::Between { expr, low, high, .. } => vec![expr, low, high],
        SqlExpr::InList { expr, list, .. } => std::iter::once(expr.as_ref()).chain(list).collect(),
        SqlExpr::Case { operand, conditions, else_result, .. } => {
            let when = conditions.iter().flat_map(|when| [&when.condition, &when.result]);
            operand.iter().map(AsRef::as_ref).chain(when).chain(else_result.iter().map(AsRef::as_ref)).collect()
        }
        SqlExpr::Function(function) => match &function.args {
            FunctionArguments::List(list) => list.args.iter().filter_map(argument).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn argument(argument: &FunctionArg) -> Option<&SqlExpr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// Whether the first part is compared with the part at `at` behind it.
fn is_compared(part: &SqlExpr, at: usize) -> bool {
    match part {
        SqlExpr::BinaryOp { op, .. } => is_comparison(op),
        SqlExpr::Between { .. }
        | SqlExpr::InList { .. }
        | SqlExpr::IsDistinctFrom(..)
        | SqlExpr::IsNotDistinctFrom(..) => true,
        // What stands between `case` and `when`, with what stands behind each `when`.
        SqlExpr::Case { operand: Some(_), conditions, .. } => at.is_multiple_of(2) && at / 2 < conditions.len(),
        _ => false,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Category {
    Number,
    Text,
    Truth,
    Time,
    List,
    Nothing,
    Other,
}

fn category(data_type: &DataType) -> Category {
    match data_type {
        DataType::Dictionary(_, value) => category(value),
        data_type if data_type.is_numeric() => Category::Number,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Category::Text,
        DataType::Boolean => Category::Truth,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Time64(_) => Category::Time,
        DataType::List(_) | DataType::LargeList(_) => Category::List,
        DataType::Null => Category::Nothing,
        _ => Category::Other,
    }
}

fn comparable(a: &DataType, b: &DataType, literal: bool) -> bool {
    use Category::{Nothing, Other, Text, Time};
    match (category(a), category(b)) {
        (Nothing | Other, _) | (_, Nothing | Other) => true,
        (Time, Text) | (Text, Time) => literal,
        (a, b) => a == b,
    }
}

/// What a person calls a type.
pub(super) fn describe_type(data_type: &DataType) -> &'static str {
    match category(data_type) {
        Category::Number => "a number",
        Category::Text => "a text",
        Category::Truth => "true or false",
        Category::Time => "a time",
        Category::List => "a list",
        Category::Nothing => "nothing",
        Category::Other => "a structure",
    }
}

/// The first function in a typed expression whose value may change between calls.
pub(super) fn changing_function(expr: &Expr) -> Option<String> {
    let mut found = None;
    let visited = expr.apply(|part| {
        if let Expr::ScalarFunction(call) = part
            && call.func.signature().volatility != Volatility::Immutable
        {
            found = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the closure never fails");
    found
}

fn byte_of(sql: &str, location: Location) -> usize {
    if location.line == 0 {
        return 0;
    }
    let line_start: usize = sql.split_inclusive('\n').take(location.line as usize - 1).map(str::len).sum();
    let column = (location.column as usize).saturating_sub(1);
    sql[line_start..].char_indices().nth(column).map_or(sql.len(), |(at, _)| line_start + at)
}

fn byte_range(sql: &str, span: Span) -> Range<usize> {
    if span.start.line == 0 {
        return 0..sql.len();
    }
    let start = byte_of(sql, span.start);
    let end = byte_of(sql, span.end).max(start);
    if start == end {
        // One-character tokens have equal ends in some versions of the parser.
        return start..sql[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    }
    start..end
}

/// Takes ` at Line: 1, Column: 5` out of a parser message.
pub(super) fn place_in_message(sql: &str, message: &str) -> (String, Range<usize>) {
    let message = message.trim_start_matches("sql parser error: ");
    let Some((text, place)) = message.split_once(" at Line: ") else {
        return (message.to_owned(), 0..sql.len());
    };
    let mut numbers = place
        .split(", Column: ")
        .map(|number| number.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0));
    let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let start = byte_of(sql, Location { line, column });
    let end = sql[start..].find(char::is_whitespace).map_or(sql.len(), |length| start + length.max(1));
    (text.to_owned(), start..end.min(sql.len()))
}

//! SQL expressions over the columns of one record: parsed, checked, typed.
//!
//! `DataFusion` parses and types them; this module adds what an analyst needs: every unknown name at
//! once with a suggestion, type errors at the smallest part that fails, and the refusals of
//! DESIGN.md 5 (no `now()`, no sub-queries, no aggregates) and 1 (no condition on an identifier,
//! which would be a watchlist without legal basis). The result is a typed logical expression that
//! the engine turns into a `PhysicalExpr` over its own column layout.

mod check;
mod functions;
mod macros;
mod shape;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::diagnostic::{Code, codes};
use functions::Functions;
pub use macros::Macros;
pub use shape::{Comparison, Shape};

/// Longest expression, in bytes.
pub const SQL_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of an expression.
const SQL_DEPTH_MAX: usize = 50;
/// Parentheses, brackets and `case ... end` in each other.
const NESTED_MAX: usize = 12;
/// Brackets (`[`) in each other.
const BRACKETS_MAX: usize = 2;
/// Names with dots between them.
const NAMES_MAX: usize = 4;

/// The names an expression may use.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Columns and their types.
    pub schema: SchemaRef,
    /// Columns that may be asked for presence only.
    pub identifiers: BTreeSet<String>,
    /// What the columns belong to, for messages: `vehicle`, `the fields of source x`.
    pub what: String,
    /// Named expressions that may be used like columns.
    pub macros: Arc<Macros>,
}

/// Something wrong in an expression, at a byte range of its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Stable code.
    pub code: &'static Code,
    /// Byte range in the SQL text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

/// A checked, typed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    /// As written.
    pub sql: String,
    /// Columns it reads.
    pub columns: BTreeSet<String>,
    /// Type of its value.
    pub data_type: DataType,
    /// Named expressions it uses.
    pub macros: BTreeSet<String>,
    typed: Expr,
}

impl Expression {
    /// Canonical text: equal meanings written with other spaces or brackets give the same text.
    pub fn meaning(&self) -> String {
        self.typed.to_string()
    }

    /// Compiles against a layout that has at least [`Expression::columns`], with the same types.
    pub fn physical(&self, layout: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let schema = DFSchema::try_from(Arc::clone(layout))?;
        create_physical_expr(&self.typed, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
    }

    /// Several conditions as one, each of which must hold.
    ///
    /// # Panics
    /// If `conditions` is empty.
    pub fn all(conditions: Vec<Self>) -> Self {
        conditions
            .into_iter()
            .reduce(|mut all, next| {
                all.sql = format!("({}) AND ({})", all.sql, next.sql);
                all.columns.extend(next.columns);
                all.macros.extend(next.macros);
                all.typed = all.typed.and(next.typed);
                all
            })
            .expect("at least one condition")
    }
}

/// Checks and types a condition.
pub fn compile_condition(sql: &str, scope: &Scope) -> Result<Expression, Vec<Problem>> {
    let expression = compile(sql, scope)?;
    if expression.data_type == DataType::Boolean {
        return Ok(expression);
    }
    Err(vec![Problem {
        code: &codes::SQL_NOT_BOOLEAN,
        range: 0..sql.len(),
        message: format!("this is {}, not a condition", check::describe_type(&expression.data_type)),
        help: Some("compare it with something".to_owned()),
    }])
}

/// Checks and types an expression of any type.
pub fn compile(sql: &str, scope: &Scope) -> Result<Expression, Vec<Problem>> {
    let whole = |code, message: String, help: &str| {
        vec![Problem { code, range: 0..sql.len(), message, help: Some(help.to_owned()) }]
    };
    if sql.len() > SQL_BYTES_MAX {
        return Err(whole(
            &codes::SQL_SYNTAX,
            format!("the expression has {} bytes; at most {SQL_BYTES_MAX} are read", sql.len()),
            "put long value lists on a watchlist",
        ));
    }
    let parsed = parse(sql)?;
    if !scope.macros.fits(&parsed) {
        return Err(whole(&codes::BAD_MACRO, "written out, this grows too long".to_owned(), "use fewer names"));
    }
    let planner =
        Planner::new(scope).map_err(|error| whole(&codes::SQL_TYPE, plain(&error), "check the column types"))?;
    let problems = check::check(sql, &parsed, scope, &planner);
    if !problems.is_empty() {
        return Err(problems);
    }
    let typed = planner
        .typed(parsed.clone())
        .map_err(|error| whole(&codes::SQL_TYPE, plain(&error), "check the types of what is compared or passed"))?;
    let data_type = typed
        .get_type(&planner.schema)
        .map_err(|error| whole(&codes::SQL_TYPE, plain(&error), "check the types of what is compared or passed"))?;
    if let Some(name) = check::changing_function(&typed) {
        return Err(whole(
            &codes::SQL_NOT_IMMUTABLE,
            format!("the value of `{name}()` changes from run to run"),
            "use the record's `ts`",
        ));
    }
    let columns = typed.column_refs().into_iter().map(|column| column.name.clone()).collect();
    let macros = scope.macros.used_by(&parsed).into_iter().map(str::to_owned).collect();
    Ok(Expression { sql: sql.to_owned(), columns, data_type, macros, typed })
}

fn parse(sql: &str) -> Result<SqlExpr, Vec<Problem>> {
    let problem = |message: &str| {
        let (message, range) = check::place_in_message(sql, message);
        vec![Problem {
            code: &codes::SQL_SYNTAX,
            range,
            message: format!("this is not a SQL expression: {message}"),
            help: Some("texts stand in single quotes; combine conditions with `and`, `or`, `not`".to_owned()),
        }]
    };
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| problem(&error.to_string()))?;
    if let Some(what) = too_much(&tokens) {
        return Err(problem(&what));
    }
    let mut parser =
        Parser::new(&GenericDialect {}).with_recursion_limit(SQL_DEPTH_MAX).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|error| problem(&error.to_string()))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message =
            format!("unexpected {} at Line: {}, Column: {}", rest.token, rest.span.start.line, rest.span.start.column);
        return Err(problem(&message));
    }
    Ok(parsed)
}

/// What would take the parser too long, as it would say it. What it cannot read it tries again in other ways: twice at every level of
/// `cast(` or `case`, and as often as a chain of names has parts before every bracket. Its own bound of recursion is too far for that.
fn too_much(tokens: &[TokenWithSpan]) -> Option<String> {
    let (mut depth, mut brackets, mut names) = (0_usize, 0_usize, 1_usize);
    tokens.iter().find_map(|token| {
        let opens = match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => Some(true),
            Token::RParen | Token::RBracket | Token::RBrace => Some(false),
            Token::Word(word) if word.keyword == Keyword::CASE => Some(true),
            Token::Word(word) if word.keyword == Keyword::END => Some(false),
            _ => None,
        };
        let step = |depth: usize| if opens == Some(true) { depth + 1 } else { depth.saturating_sub(1) };
        if opens.is_some() {
            depth = step(depth);
        }
        if matches!(token.token, Token::LBracket | Token::RBracket) {
            brackets = step(brackets);
        }
        match token.token {
            Token::Period => names += 1,
            Token::Word(_) => {}
            _ => names = 1,
        }
        let what = if depth > NESTED_MAX {
            format!("more than {NESTED_MAX} parentheses, brackets and `case` in each other")
        } else if brackets > BRACKETS_MAX {
            format!("more than {BRACKETS_MAX} brackets in each other")
        } else if names > NAMES_MAX {
            format!("more than {NAMES_MAX} names with dots between them")
        } else {
            return None;
        };
        let start = token.span.start;
        Some(format!("{what} at Line: {}, Column: {}", start.line, start.column))
    })
}

/// The first line of an error of `DataFusion`, without its prefixes.
fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let text = text.trim_start_matches("Error during planning: ").trim_start_matches("type_coercion\ncaused by\n");
    text.trim_start_matches("Execution error: ").to_owned()
}

/// Built once: there are some three hundred.
static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Turns parsed SQL into typed expressions over one scope.
struct Planner {
    functions: &'static Functions,
    macros: Arc<Macros>,
    schema: Arc<DFSchema>,
}

impl Planner {
    fn new(scope: &Scope) -> Result<Self, DataFusionError> {
        let macros = Arc::clone(&scope.macros);
        Ok(Self { functions: &FUNCTIONS, macros, schema: Arc::new(DFSchema::try_from(Arc::clone(&scope.schema))?) })
    }

    fn untyped(&self, sql: SqlExpr) -> Result<Expr, DataFusionError> {
        let sql = self.macros.expand(sql);
        SqlToRel::new(self.functions).sql_to_expr(sql, &self.schema, &mut PlannerContext::new())
    }

    /// Plans, coerces types and folds constants.
    fn typed(&self, sql: SqlExpr) -> Result<Expr, DataFusionError> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&self.schema))
            .with_config_options(Arc::new(ConfigOptions::default()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(self.untyped(sql)?, &self.schema)?;
        simplifier.simplify(coerced)
    }
}

#[cfg(test)]
mod tests;

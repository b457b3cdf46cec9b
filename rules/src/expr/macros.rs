//! Named expressions (`let`): written once in a pack, used like columns in its conditions.
//!
//! A name stands for its expression, in brackets. What it means is checked where it is used, since
//! only there the columns are known. A name may use names defined before it; growth is bounded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr as SqlExpr, visit_expressions, visit_expressions_mut};

use super::{Problem, parse};
use crate::diagnostic::codes;

/// Most parts of an expression once its names are replaced.
const PARTS_MAX: usize = 2_000;
/// Longest chain of names that use names.
const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone)]
struct Macro {
    /// As written: places in it are places in its own text, and only there.
    parsed: SqlExpr,
    /// With the names it uses replaced.
    expanded: SqlExpr,
    depth: usize,
}

/// The `let` expressions of a pack.
#[derive(Debug, Clone, Default)]
pub struct Macros {
    known: BTreeMap<String, Macro>,
}

impl Macros {
    /// Defines a name.
    ///
    /// # Errors
    /// When the text is not SQL, or grows beyond what is allowed.
    pub fn define(&mut self, name: &str, sql: &str) -> Result<(), Vec<Problem>> {
        let parsed = parse(sql)?;
        let depth = 1 + self.used_by(&parsed).iter().map(|used| self.known[*used].depth).max().unwrap_or(0);
        let expanded = self.expand(parsed.clone());
        let parts = parts(&expanded);
        if depth > DEPTH_MAX || parts > PARTS_MAX {
            return Err(vec![Problem {
                code: &codes::BAD_MACRO,
                range: 0..sql.len(),
                message: format!("`{name}` has {parts} parts and is {depth} names deep once written out"),
                help: Some(format!("at most {PARTS_MAX} parts and {DEPTH_MAX} names deep")),
            }]);
        }
        self.known.insert(name.to_owned(), Macro { parsed, expanded, depth });
        Ok(())
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Names that a name uses.
    pub fn used_in(&self, name: &str) -> Vec<&str> {
        self.as_written(name).map_or_else(Vec::new, |written| self.used_by(written))
    }

    /// What a name stands for, as written.
    pub(super) fn as_written(&self, name: &str) -> Option<&SqlExpr> {
        self.known.get(name).map(|it| &it.parsed)
    }

    fn expanded(&self, name: &str) -> Option<&SqlExpr> {
        self.known.get(name).map(|it| &it.expanded)
    }

    /// Names that an expression uses.
    pub(super) fn used_by(&self, expr: &SqlExpr) -> Vec<&str> {
        let mut used = Vec::new();
        let _ = visit_expressions(expr, |part| {
            if let SqlExpr::Identifier(ident) = part
                && let Some((name, _)) = self.known.get_key_value(ident.value.as_str())
            {
                used.push(name.as_str());
            }
            ControlFlow::<()>::Continue(())
        });
        used
    }

    /// Puts expressions in the place of names.
    pub(super) fn expand(&self, mut expr: SqlExpr) -> SqlExpr {
        if self.known.is_empty() {
            return expr;
        }
        let _ = visit_expressions_mut(&mut expr, |part| {
            if let SqlExpr::Identifier(ident) = part
                && let Some(expanded) = self.expanded(&ident.value)
            {
                *part = SqlExpr::Nested(Box::new(expanded.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
        expr
    }

    /// Whether an expression stays within bounds once its names are replaced.
    pub(super) fn fits(&self, expr: &SqlExpr) -> bool {
        let more: usize = self.used_by(expr).iter().filter_map(|name| self.expanded(name)).map(parts).sum();
        more + parts(expr) <= PARTS_MAX
    }
}

fn parts(expr: &SqlExpr) -> usize {
    let mut parts = 0;
    let _ = visit_expressions(expr, |_| {
        parts += 1;
        ControlFlow::<()>::Continue(())
    });
    parts
}

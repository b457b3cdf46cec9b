//! Conditions that say nothing: true of every record, or of none.
//!
//! Each number column is followed as an interval, from the range its kind declares through every
//! comparison that `and` joins; each column with a closed set of values as the set that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, codes, did_you_mean};
use crate::expr::{Comparison, Expression, Shape};
use crate::schema::{Column, Kind};

/// The numbers that are left, from low to high; an end may be left out.
#[derive(Debug, Clone, Copy)]
struct Interval {
    low: f64,
    low_in: bool,
    high: f64,
    high_in: bool,
}

impl Interval {
    fn of(column: &Column) -> Self {
        let (low, high) = column.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Self { low, low_in: true, high, high_in: true }
    }

    fn is_empty(&self) -> bool {
        self.low > self.high || (self.low >= self.high && !(self.low_in && self.high_in))
    }

    /// What a comparison leaves; `None` for one that cuts no end off.
    fn cut(mut self, comparison: Comparison, number: f64) -> Option<Self> {
        let (above, below, inclusive) = match comparison {
            Comparison::Equal => (true, true, true),
            Comparison::Greater => (true, false, false),
            Comparison::GreaterOrEqual => (true, false, true),
            Comparison::Less => (false, true, false),
            Comparison::LessOrEqual => (false, true, true),
            Comparison::NotEqual => return None,
        };
        if above && (number > self.low || (number >= self.low && !inclusive)) {
            (self.low, self.low_in) = (number, inclusive);
        }
        if below && (number < self.high || (number <= self.high && !inclusive)) {
            (self.high, self.high_in) = (number, inclusive);
        }
        Some(self)
    }

    fn same(&self, other: &Self) -> bool {
        (self.low, self.low_in, self.high, self.high_in) == (other.low, other.low_in, other.high, other.high_in)
    }
}

/// Reports each line that holds never or always, given the lines before it.
pub(super) fn check(
    file: &Arc<SourceFile>,
    kind: &Kind,
    conditions: &[Expression],
    places: &[Range<usize>],
    diagnostics: &mut Diagnostics,
) {
    let mut numbers: BTreeMap<String, Interval> = BTreeMap::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (condition, place) in conditions.iter().zip(places) {
        let never = |message: String, help: Option<String>| {
            Diagnostic::new(&codes::NEVER_TRUE, file, place.clone(), message).maybe_help(help)
        };
        let parts = condition.conjuncts();
        for part in &parts {
            match part.shape() {
                Shape::Constant(Some(true)) if parts.len() == 1 => diagnostics.push(Diagnostic::new(
                    &codes::ALWAYS_TRUE,
                    file,
                    place.clone(),
                    "this holds for every record",
                )),
                Shape::Constant(Some(false) | None) => {
                    diagnostics.push(never("this holds for no record".to_owned(), None));
                }
                Shape::Compare { column: name, comparison, number } => {
                    let Some(column) = kind.column(&name) else { continue };
                    let before = *numbers.entry(name.clone()).or_insert_with(|| Interval::of(column));
                    let Some(after) = before.cut(comparison, number) else { continue };
                    let declared = column.range.map_or_else(
                        || "contradicts a line before it".to_owned(),
                        |(low, high)| format!("`{name}` lies between {low} and {high}"),
                    );
                    if after.is_empty() {
                        if !before.is_empty() {
                            let alone = Interval::of(column).cut(comparison, number).is_some_and(|it| it.is_empty());
                            let why =
                                if alone { declared } else { "it contradicts what is asked before it".to_owned() };
                            diagnostics.push(never(format!("this never holds: {why}"), None));
                        }
                    } else if after.same(&before) && column.range.is_some() && before.same(&Interval::of(column)) {
                        diagnostics.push(
                            Diagnostic::new(
                                &codes::ALWAYS_TRUE,
                                file,
                                place.clone(),
                                format!("this holds for every value: {declared}"),
                            )
                            .help(format!("if a value must be there, write `{name} is not null`")),
                        );
                    }
                    numbers.insert(name, after);
                }
                Shape::OneOf { column: name, values } => {
                    let Some(column) = kind.column(&name) else { continue };
                    let unknown =
                        values.iter().find(|value| !column.values.is_empty() && !column.values.contains(value));
                    if let Some(unknown) = unknown {
                        diagnostics.push(
                            never(
                                format!("`{name}` is never '{unknown}'"),
                                Some(format!("values: {}", column.values.join(", "))),
                            )
                            .maybe_help(did_you_mean(unknown, column.values.iter().map(String::as_str))),
                        );
                        continue;
                    }
                    let left: BTreeSet<String> = match texts.get(&name) {
                        Some(before) => before.intersection(&values).cloned().collect(),
                        None => values,
                    };
                    if left.is_empty() {
                        diagnostics
                            .push(never("this never holds: it contradicts what is asked before it".to_owned(), None));
                    }
                    texts.insert(name, left);
                }
                Shape::Present { column: name, present } => {
                    if let Some(column) =
                        kind.column(&name).filter(|column| column.required && column.default.is_none())
                    {
                        let message = format!("a {} record always has `{}`", kind.name, column.name);
                        diagnostics.push(if present {
                            Diagnostic::new(&codes::ALWAYS_TRUE, file, place.clone(), message)
                        } else {
                            never(message, None)
                        });
                    }
                }
                Shape::Constant(Some(true)) | Shape::Other => {}
            }
        }
    }
}

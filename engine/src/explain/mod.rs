//! Explaining rules: what a rule's plan is ([`plan`]), and why it did or did not speak ([`why`]).

mod plan;
mod why;

pub use plan::{RulePlan, plan};
pub use why::{Check, RecordWhy, Why, WindowStep, why};

//! What an alert would say of a record, before anybody knows whether there will be one.
//!
//! Sequences and absences wait for what comes; of the record itself nothing is left by then but this. Many rules
//! may wait for one record, so that it is made once and each has its share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PlannedRule;
use crate::alert::{Alert, Cell, Hit, render};
use crate::record::{KindRows, SymbolTables};

/// The values of the columns that a rule tells of, none of which identifies anybody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft(Arc<[Cell]>);

impl Serialize for Draft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Draft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<[Cell]>::deserialize(deserializer).map(|cells| Self(cells.into()))
    }
}

/// The drafts of a batch.
pub(crate) struct Drafts<'a> {
    rows: &'a KindRows,
    /// By the positions of the columns that are told, by row.
    made: RefCell<BTreeMap<Vec<usize>, Vec<Option<Draft>>>>,
}

impl<'a> Drafts<'a> {
    pub(crate) fn new(rows: &'a KindRows) -> Self {
        Self { rows, made: RefCell::default() }
    }

    /// Those of these rows that tell of these columns.
    pub(super) fn of(&self, columns: &[usize], rows: impl Iterator<Item = Option<usize>>) -> Vec<Option<Draft>> {
        let mut made = self.made.borrow_mut();
        let batch = &self.rows.batch;
        let drafts = made.entry(columns.to_vec()).or_insert_with(|| vec![None; batch.num_rows()]);
        let draft = |row: usize| Draft(columns.iter().map(|column| Cell::of(batch.column(*column), row)).collect());
        rows.map(|row| row.map(|row| drafts[row].get_or_insert_with(|| draft(row)).clone())).collect()
    }
}

impl Draft {
    /// The alert, with fields of the rule's own kind.
    pub(super) fn alert<'p>(
        &self,
        planned: &'p PlannedRule,
        symbols: &SymbolTables,
        alert_id: String,
        ts: String,
        hit: Option<&Hit>,
        own: &BTreeMap<&str, String>,
    ) -> Alert {
        let layout = &planned.step_layout;
        let text = |(name, cell): (&'p String, &Cell)| {
            Some((name.as_str(), cell.text(|id| symbols[name].text(id).to_string())?))
        };
        let told: BTreeMap<&str, String> = layout.told.iter().zip(self.0.iter()).filter_map(text).collect();
        let field = |name: &str| match (own.get(name), hit) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(hit)) if name.starts_with("hit.") => super::hit_field(hit, name),
            _ => told.get(name).cloned(),
        };
        let seen = told.iter().filter(|(name, _)| layout.evidence.contains(**name));
        let evidence = seen.chain(own).map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        Alert {
            site: told.get("site").cloned(),
            zone: told.get("zone").cloned(),
            device: told.get("device").cloned(),
            say: planned.rule.alerting.say.as_ref().map(|say| render(say, field)),
            hit: hit.cloned(),
            evidence,
            ..super::blank_alert(planned, alert_id, ts)
        }
    }
}

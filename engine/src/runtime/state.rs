//! A partition's state as bytes, and back.
//!
//! Everything that decides what will be emitted is in it, and no clear identifier. It is bound to the
//! meaning of the rules: a state is read under the plan it was written under. (The file around it,
//! with versions of sections and checks of its own, belongs to checkpoints.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event_ids::SavedEventIds;
use super::overload::SavedOverload;
use super::plan::Plan;
use super::steps::SavedSteps;
use super::told::SavedTold;
use super::windows::SavedWindows;
use crate::alert::SavedSuppression;
use crate::metrics::Buckets;
use crate::record::Symbols;
use crate::window::SavedDevices;

/// First bytes of a saved state.
const MAGIC: &[u8; 12] = b"weir-state-1";

/// A saved state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is something else, or damaged.
    #[error("this is not a saved state, or it is damaged")]
    Damaged,
    /// It was written under other rules.
    #[error("the state was written under other rules")]
    OtherRules,
}

/// All of a partition's state.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedState {
    /// Id and version of every rule, in the order of the plan.
    pub(super) rules: Vec<(String, String)>,
    /// Texts of every symbol table in the order of their numbers, by column.
    pub(super) symbols: Vec<(String, Vec<String>)>,
    pub(super) events: SavedEventIds,
    pub(super) devices: SavedDevices,
    pub(super) windows: SavedWindows,
    pub(super) steps: Vec<SavedSteps>,
    pub(super) suppression: SavedSuppression,
    pub(super) told: SavedTold,
    pub(super) overload: SavedOverload,
    pub(super) by_source: Vec<Buckets>,
    pub(super) by_kind: Vec<Buckets>,
}

impl SavedState {
    /// The rules of a plan, as they stand in a state.
    pub(super) fn rules_of(plan: &Plan) -> Vec<(String, String)> {
        plan.rules.iter().map(|planned| (planned.rule.id.clone(), planned.rule.version.clone())).collect()
    }

    /// All symbol tables.
    pub(super) fn symbols_of(plan: &Plan) -> Vec<(String, Vec<String>)> {
        plan.layouts.symbols.iter().map(|(column, symbols)| (column.clone(), symbols.texts())).collect()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_allocvec(self).expect("a state is plain data"));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(StateError::Damaged)?;
        postcard::from_bytes(body).map_err(|_| StateError::Damaged)
    }

    /// Gives every symbol the number it had. The tables must be empty.
    pub(super) fn seed(&self, symbols: &BTreeMap<String, Symbols>) {
        for (column, texts) in &self.symbols {
            if let Some(table) = symbols.get(column) {
                for text in texts {
                    table.intern(text);
                }
            }
        }
    }
}

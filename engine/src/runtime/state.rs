//! A partition's state as bytes, and back.
//!
//! Everything that decides what will be emitted is in it, and no clear identifier. What belongs to a rule is taken over by
//! the rule of the same id and meaning, wherever it stands by now; what belongs to none is dropped. A checkpoint holds it
//! in sections, each of a version of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::event_ids::SavedEventIds;
use super::overload::SavedOverload;
use super::plan::Plan;
use super::steps::SavedSteps;
use super::told::SavedTold;
use super::windows::SavedWindows;
use crate::alert::SavedSuppression;
use crate::record::{SymbolId, Symbols};
use crate::source::Position;
use crate::state::checkpoint::{self, ReadSection, Writer};
use crate::window::{SavedDevices, SavedHeard};

/// First bytes of a saved state.
const MAGIC: &[u8; 12] = b"weir-state-1";

/// A saved state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is something else, or damaged.
    #[error("this is not a saved state, or it is damaged")]
    Damaged,
    /// A rule of it cannot be planned.
    #[error("the state was written under other rules")]
    OtherRules,
    /// A section is of a version that this program does not read.
    #[error("section `{section}` is of version {found}, and this program reads version {SECTION_VERSION}")]
    OtherVersion {
        /// Section.
        section: String,
        /// Its version.
        found: u32,
    },
    /// Sources are known by their place.
    #[error(
        "the state was written with the sources {written:?}, and they are {declared:?} now. New sources go behind the old \
         ones; a source that is not needed any more keeps its place until the state is given up"
    )]
    OtherSources {
        /// When it was written.
        written: Vec<String>,
        /// Now.
        declared: Vec<String>,
    },
    /// Kinds are known by their place.
    #[error("the state was written with the kinds of record {written:?}, and they are {declared:?} now")]
    OtherKinds {
        /// When it was written.
        written: Vec<String>,
        /// Now.
        declared: Vec<String>,
    },
}

/// Reads the bytes of a checkpoint's file as a start does, with nothing but their content to speak against them: seal and
/// checksums are taken for right. For whoever looks for bytes that a parser cannot bear.
///
/// # Errors
/// Why a start would refuse them.
pub fn read_checkpoint(bytes: &[u8]) -> Result<(), String> {
    const EPOCH: u64 = 1;
    let mut bytes = bytes.to_vec();
    checkpoint::mend(EPOCH, &mut bytes);
    let sections = checkpoint::read_unsealed(EPOCH, &bytes)?;
    SavedState::from_sections(&sections).map(drop).map_err(|error| error.to_string())
}

/// Version of every section; one that changes gets its own, and a function that reads the old one.
const SECTION_VERSION: u32 = 1;

/// What a state was written under.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Id and version of every rule, in the order of the plan.
    pub(super) rules: Vec<(String, String)>,
    pub(super) sources: Vec<String>,
    pub(super) kinds: Vec<String>,
}

impl Written {
    pub(super) fn under(plan: &Plan) -> Self {
        Self {
            rules: plan.rules.iter().map(|planned| (planned.rule.id.clone(), planned.rule.version.clone())).collect(),
            sources: plan.sources.iter().map(|source| source.name.to_string()).collect(),
            kinds: plan.layouts.kinds.iter().map(|layout| layout.kind.name.clone()).collect(),
        }
    }

    /// Whether what was written can be read under this plan.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), StateError> {
        let Self { sources, kinds, .. } = Self::under(plan);
        if !sources.starts_with(&self.sources) {
            return Err(StateError::OtherSources { written: self.sources.clone(), declared: sources });
        }
        if kinds != self.kinds {
            return Err(StateError::OtherKinds { written: self.kinds.clone(), declared: kinds });
        }
        Ok(())
    }

    /// Where a rule stands under this plan; `None` if it means something else by now, or is gone.
    pub(super) fn place_in(&self, plan: &Plan, rule: usize) -> Option<usize> {
        let (id, version) = self.rules.get(rule)?;
        plan.rule(id).filter(|planned| planned.rule.version == *version).map(|planned| planned.index)
    }
}

/// Clocks of the partition, and what it told of others'.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedClocks {
    pub(super) tick_ms: i64,
    pub(super) ahead_told_ms: Vec<((u16, SymbolId), i64)>,
}

/// Texts of every symbol table in the order of their numbers, by column.
pub(super) type SavedSymbols = Vec<(String, Vec<String>)>;

/// All of a partition's state.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedState {
    pub(super) written: Written,
    pub(super) symbols: SavedSymbols,
    /// `None` where they are kept elsewhere.
    pub(super) events: Option<SavedEventIds>,
    pub(super) files: Vec<Position>,
    pub(super) clocks: SavedClocks,
    pub(super) devices: SavedDevices,
    pub(super) windows: SavedWindows,
    pub(super) steps: Vec<SavedSteps>,
    pub(super) suppression: SavedSuppression,
    pub(super) told: SavedTold,
    pub(super) overload: SavedOverload,
    pub(super) heard: SavedHeard,
    /// Lists that were in force, with their versions.
    pub(super) lists: BTreeSet<(String, String)>,
}

impl SavedState {
    /// All symbol tables.
    pub(super) fn symbols_of(plan: &Plan) -> SavedSymbols {
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

    /// Writes the sections of a checkpoint. Symbols may be later ones than the state's; event ids are kept elsewhere.
    pub(super) fn write(&self, symbols: &SavedSymbols, to: &mut Writer) -> io::Result<()> {
        to.section("written", SECTION_VERSION, &self.written)?;
        to.section("symbols", SECTION_VERSION, symbols)?;
        to.section("files", SECTION_VERSION, &self.files)?;
        to.section("clocks", SECTION_VERSION, &self.clocks)?;
        to.section("devices", SECTION_VERSION, &self.devices)?;
        to.section("windows", SECTION_VERSION, &self.windows)?;
        to.section("steps", SECTION_VERSION, &self.steps)?;
        to.section("suppress", SECTION_VERSION, &self.suppression)?;
        to.section("told", SECTION_VERSION, &self.told)?;
        to.section("overload", SECTION_VERSION, &self.overload)?;
        to.section("heard", SECTION_VERSION, &self.heard)?;
        to.section("lists", SECTION_VERSION, &self.lists)
    }

    pub(super) fn from_sections(sections: &[ReadSection]) -> Result<Self, StateError> {
        fn part<T: DeserializeOwned>(sections: &[ReadSection], name: &str) -> Result<T, StateError> {
            let section = sections.iter().find(|section| section.name == name).ok_or(StateError::Damaged)?;
            if section.version != SECTION_VERSION {
                return Err(StateError::OtherVersion { section: name.to_owned(), found: section.version });
            }
            postcard::from_bytes(&section.bytes).map_err(|_| StateError::Damaged)
        }
        fn newer<T: DeserializeOwned + Default>(sections: &[ReadSection], name: &str) -> Result<T, StateError> {
            let is_there = sections.iter().any(|section| section.name == name);
            if is_there { part(sections, name) } else { Ok(T::default()) }
        }
        Ok(Self {
            written: part(sections, "written")?,
            symbols: part(sections, "symbols")?,
            events: None,
            files: part(sections, "files")?,
            clocks: part(sections, "clocks")?,
            devices: part(sections, "devices")?,
            windows: part(sections, "windows")?,
            steps: part(sections, "steps")?,
            suppression: part(sections, "suppress")?,
            told: part(sections, "told")?,
            overload: part(sections, "overload")?,
            // Checkpoints up to 2026-11-26 have none.
            heard: newer(sections, "heard")?,
            // Checkpoints up to 2026-11-27 have none.
            lists: newer(sections, "lists")?,
        })
    }

    /// Lists of a plan that are other versions than those that were in force.
    pub(super) fn other_lists(&self, plan: &Plan) -> Vec<String> {
        other_versions(&self.lists, &plan.lists)
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

/// Of lists that were there before, the ids of those of which there is a version now that was not. Several packs may each have a
/// list of one id.
fn other_versions(was: &BTreeSet<(String, String)>, now: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut others: Vec<String> = now.difference(was).map(|(id, _)| id.clone()).collect();
    others.retain(|id| was.iter().any(|(known, _)| known == id));
    others.dedup();
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_another_if_a_version_of_it_is_new() {
        let lists =
            |of: &[(&str, &str)]| of.iter().map(|(id, version)| (id.to_string(), version.to_string())).collect();
        let was = lists(&[("gone", "1"), ("one", "1"), ("two", "1"), ("two", "2")]);
        assert!(other_versions(&was, &was).is_empty(), "two packs may each have a list of one id");
        assert!(other_versions(&was, &lists(&[("new", "1"), ("two", "2")])).is_empty());
        assert_eq!(other_versions(&was, &lists(&[("one", "2"), ("two", "3"), ("two", "4")])), ["one", "two"]);
        assert!(other_versions(&BTreeSet::new(), &was).is_empty(), "an older checkpoint says nothing of lists");
    }
}

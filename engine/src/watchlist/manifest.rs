//! What a snapshot says of itself: who made it, of what, on which ground.

use serde::{Deserialize, Serialize};

/// Full, or what changed since another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// All entries.
    Full,
    /// Entries that came, changed or went since `previous`.
    Delta,
}

/// A version that went before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its name: 16 hexadecimal digits.
    pub version: String,
    /// How many entries it stood for.
    pub total: u64,
}

/// The manifest of a snapshot, as JSON in its first section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the list.
    pub list: String,
    /// Which of the closed set.
    pub kind: String,
    /// Key column.
    pub key: String,
    /// The function keys went through, with its version; empty for none.
    pub normaliser: String,
    /// Purpose.
    pub purpose: String,
    /// Legal basis of the purpose when it was built.
    pub legal_basis: String,
    /// Who asked for it.
    pub authority: String,
    /// Who answers for it.
    pub owner: String,
    /// Epoch of the keys it was built with.
    pub epoch: String,
    /// When it was built, epoch milliseconds.
    pub created_ms: i64,
    /// Full or delta.
    pub extent: Extent,
    /// Grows with every version of the list.
    pub sequence: u64,
    /// Entries with a key each.
    pub exact: u64,
    /// Entries with a pattern.
    pub patterns: u64,
    /// Entries of the previous version that are no more, or are written anew.
    pub removed: u64,
    /// Entries the list has with this version in force.
    pub total: u64,
    /// The version before; of a delta, the one it changes.
    pub previous: Option<Previous>,
    /// Digest of the source file, and its name without folders.
    pub source: String,
    /// Rows of the source that were left out.
    pub refused_rows: u64,
    /// Keys whose check digit does not fit; they are kept.
    pub check_warnings: u64,
}

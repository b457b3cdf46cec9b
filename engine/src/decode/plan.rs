//! What is decoded of a source, and where it goes.

use std::sync::Arc;

use jiff::tz::TimeZone;
use weir_rules::schema::Catalog;

use super::mapping::{MapSpec, MappingPlan};
use crate::record::{KindId, Layouts, SourceId, SymbolId};

/// How the kind of a record is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindChoice {
    /// In the record's `kind`.
    Field,
    /// The same for all records of the source.
    Fixed(KindId),
}

/// A source cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum PlanError {
    #[error("source `{source_name}`: there is no kind of record `{kind}`")]
    UnknownKind { source_name: String, kind: String },
    #[error("source `{source_name}`: the mapping of `{column}`: {error}")]
    Mapping { source_name: String, column: String, error: String },
    #[error("source `{source_name}`: no timezone `{timezone}`; write it as in Asia/Shanghai")]
    Timezone { source_name: String, timezone: String },
}

/// The decoding of one source.
pub struct SourcePlan {
    /// Position of the source.
    pub id: SourceId,
    /// Name.
    pub name: Arc<str>,
    /// Number of the name in the `source` column's table.
    pub symbol: SymbolId,
    /// Zone of times that state none.
    pub timezone: Option<TimeZone>,
    /// Bytes that a record has at least that comes as JSON; 0 where that is not known.
    pub(crate) json_bytes_min: usize,
    /// How the kind is found.
    pub(crate) kind: KindChoice,
    /// The fields that are decoded; their positions are the slots.
    pub(crate) slots: Vec<String>,
    /// For each kind and column of it, its slot.
    pub(crate) slot_of: Vec<Vec<Option<usize>>>,
    /// Names of the kinds, in their order: few, so that they are looked through one by one.
    kinds: Vec<String>,
    /// The raw stage of a mapped source.
    pub(crate) mapping: Option<MappingPlan>,
    /// Whether the bytes of refused records are kept, sealed.
    pub(crate) keeps_refused: bool,
}

/// The slot of `kind` in sources that have one.
pub(crate) const KIND_SLOT: usize = 0;

impl SourcePlan {
    /// Plans a source.
    pub fn new(
        id: SourceId,
        name: &str,
        kind: Option<&str>,
        timezone: Option<&str>,
        map: Option<&MapSpec>,
        catalog: &Catalog,
        layouts: &Layouts,
    ) -> Result<Self, PlanError> {
        let kind = match kind {
            None => KindChoice::Field,
            Some(kind) => KindChoice::Fixed(
                catalog
                    .index_of(kind)
                    .ok_or_else(|| PlanError::UnknownKind { source_name: name.to_owned(), kind: kind.to_owned() })?
                    as KindId,
            ),
        };
        let timezone = timezone
            .map(|timezone| {
                TimeZone::get(timezone)
                    .map_err(|_| PlanError::Timezone { source_name: name.to_owned(), timezone: timezone.to_owned() })
            })
            .transpose()?;
        let mut slots = vec!["kind".to_owned()];
        let mut slot_of = Vec::new();
        for (index, declared) in catalog.kinds().iter().enumerate() {
            let used = matches!(kind, KindChoice::Field) || kind == KindChoice::Fixed(index as KindId);
            slot_of.push(
                declared
                    .columns
                    .iter()
                    .map(|column| {
                        let set_by_weir = matches!(column.name.as_str(), "source" | "received");
                        if set_by_weir || !used {
                            return None;
                        }
                        let name = column.made_of.as_ref().unwrap_or(&column.name);
                        let known = slots.iter().position(|slot| slot == name);
                        Some(known.unwrap_or_else(|| {
                            slots.push(name.clone());
                            slots.len() - 1
                        }))
                    })
                    .collect(),
            );
        }
        let mapping = map.map(|map| MappingPlan::new(name, map, &slots)).transpose()?;
        let symbol = layouts.symbols["source"].intern(name).unwrap_or(0);
        let kinds: Vec<String> = catalog.kinds().iter().map(|kind| kind.name.clone()).collect();
        Ok(Self {
            id,
            name: Arc::from(name),
            symbol,
            timezone,
            json_bytes_min: if mapping.is_some() { 0 } else { json_bytes_min(kind, &kinds) },
            kind,
            slots,
            slot_of,
            kinds,
            mapping,
            keeps_refused: false,
        })
    }

    /// The kind of a name.
    pub(crate) fn kind_of(&self, name: &str) -> Option<KindId> {
        self.kinds.iter().position(|kind| kind == name).map(|at| at as KindId)
    }

    /// The slot that tells the kind, of sources of mixed records in weir's own columns, and the names of the kinds.
    pub(crate) fn kind_slot(&self) -> Option<(usize, &[String])> {
        (self.kind == KindChoice::Field && self.mapping.is_none()).then_some((KIND_SLOT, &self.kinds))
    }
}

/// A record of fewer bytes has no kind, identifier or time.
fn json_bytes_min(kind: KindChoice, kinds: &[String]) -> usize {
    let shortest = kinds.iter().map(String::len).min().unwrap_or(0);
    let kind = if kind == KindChoice::Field { r#""kind":"","#.len() + shortest } else { 0 };
    kind + r#"{"event_id":0,"ts":0}"#.len()
}

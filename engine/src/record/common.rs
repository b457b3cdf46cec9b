//! Where in a kind's declaration the columns stand that the engine itself reads.

use weir_rules::schema::{Column, Identifies, Kind, Normaliser};

use super::columns::{Columns, Role};

/// Positions of the common columns in the kind's declaration.
pub(super) struct CommonIndex {
    pub(super) event_id: usize,
    pub(super) ts: usize,
    pub(super) device: usize,
    pub(super) zone: usize,
    source: usize,
    received: usize,
    /// `read_id` and `read_state`, of kinds that have them.
    pub(super) read: Option<(usize, usize)>,
    /// Columns whose presence says that a record is about somebody.
    pub(super) identifying: Vec<usize>,
    /// Of kinds with credentials.
    pub(super) credential: Option<CredentialIndex>,
}

/// Positions of a credential and of what is made of it.
#[derive(Clone, Copy)]
pub(super) struct CredentialIndex {
    pub(super) credential: usize,
    pub(super) outcome: usize,
    pub(super) status: Option<usize>,
    /// Place of the outcome among the active columns, if any rule reads it.
    pub(super) place: Option<usize>,
}

impl CommonIndex {
    pub(super) fn of(kind: &Kind) -> Self {
        let at = |name: &str| kind.index_of(name).expect("every kind has the common columns");
        let says = |column: &Column| column.identifies != Identifies::Nothing && !column.transient;
        let identifying = kind.columns.iter().enumerate().filter(|(_, column)| says(column));
        Self {
            event_id: at("event_id"),
            ts: at("ts"),
            device: at("device"),
            zone: at("zone"),
            source: at("source"),
            received: at("received"),
            read: kind.index_of("read_id").zip(kind.index_of("read_state")),
            identifying: identifying.map(|(index, _)| index).collect(),
            credential: CredentialIndex::of(kind),
        }
    }

    /// Where the value of a column comes from.
    pub(super) fn role_of(&self, index: usize) -> Role {
        match index {
            index if index == self.ts => Role::Ts,
            index if index == self.device => Role::Device,
            index if index == self.source => Role::Source,
            index if index == self.received => Role::Received,
            index if index == self.zone => Role::Zone,
            index if self.credential.is_some_and(|of| of.outcome == index) => Role::Outcome,
            index if self.credential.is_some_and(|of| of.status == Some(index)) => Role::Status,
            _ => Role::Field,
        }
    }

    /// All columns whose fields are asked for, where `columns` are built.
    pub(super) fn needed(&self, columns: &Columns) -> Vec<usize> {
        let mut needed = vec![self.ts, self.device, self.event_id, self.zone];
        needed.extend(self.credential.iter().flat_map(|of| [Some(of.credential), of.status]).flatten());
        if let Some((id, state)) = self.read {
            needed.extend([id, state]);
            needed.extend(&self.identifying);
        }
        needed.extend(columns.active.iter().map(|active| active.index));
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

impl CredentialIndex {
    fn of(kind: &Kind) -> Option<Self> {
        let outcome = kind.columns.iter().position(|column| column.normaliser == Some(Normaliser::CredentialV1))?;
        Some(Self {
            credential: kind.index_of(kind.columns[outcome].made_of.as_deref()?)?,
            outcome,
            status: kind.index_of("status"),
            place: None,
        })
    }
}

//! A batch in the making: one builder for each kind, and the order in which records arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::credential::Verifier;
use crate::normalise::TimeReader;
use crate::record::{
    Cause, Field, KindBuilder, KindId, KindRows, Layouts, Means, Offered, One, Origin, Pseudonyms, Refused, SourceId,
    SymbolCaches, SymbolId,
};

/// A record that was refused, or several of one block and cause, without any of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Source.
    pub source: SourceId,
    /// File, connection or request it came in.
    pub stream: Arc<str>,
    /// Its number in the stream, from 1; of NDJSON that of the line.
    pub record: u64,
    /// Numbers in the block of those that are told with it, in the order in which they were refused.
    pub others: Vec<u32>,
    /// Why; of the others the place in the record may be another.
    pub cause: Cause,
    /// Keyed digest of its bytes, of several with a line feed between two: equal records have equal digests; empty for
    /// columnar input.
    pub digest: String,
    /// Those bytes, sealed, where the source keeps them.
    pub sealed: Vec<u8>,
    /// When it was read.
    pub received_ms: i64,
}

impl Rejected {
    /// How many they are.
    pub(crate) fn records(&self) -> u64 {
        1 + self.others.len() as u64
    }
}

/// Where a record stands in the batch's blocks, for replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) block: u32,
    pub(crate) record: u32,
}

/// The order of arrival: which kind, and the record's position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) kind: KindId,
    pub(crate) record: u32,
    pub(crate) place: Place,
}

/// Records of one batch before they are judged.
pub(crate) struct Assembly {
    builders: Vec<KindBuilder>,
    caches: SymbolCaches,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) rejected: Vec<(Place, Rejected)>,
    /// Received records by source.
    pub(crate) received: BTreeMap<SourceId, u64>,
    /// Devices that said that they are there.
    pub(crate) heard: Vec<(SourceId, SymbolId)>,
    /// Devices whose clocks are too far ahead, once for each record, and by how much, ms.
    pub(crate) ahead: Vec<(SourceId, SymbolId, i64)>,
    now_limit_ms: i64,
}

impl Assembly {
    pub(crate) fn new(layouts: &Layouts, pseudonyms: &Pseudonyms) -> Self {
        let mut caches = SymbolCaches::default();
        Self {
            builders: (0..layouts.kinds.len())
                .map(|kind| KindBuilder::new(kind as KindId, layouts, pseudonyms.clone(), &mut caches))
                .collect(),
            caches,
            arrivals: Vec::new(),
            rejected: Vec::new(),
            received: BTreeMap::new(),
            heard: Vec::new(),
            ahead: Vec::new(),
            now_limit_ms: i64::MAX,
        }
    }

    /// Other lists of revoked credentials are in force.
    pub(crate) fn verify_with(&mut self, verifier: &Arc<Verifier>) {
        for builder in &mut self.builders {
            builder.verify_with(verifier);
        }
    }

    /// Starts a batch: records later than `now_limit_ms` are quarantined.
    pub(crate) fn start(&mut self, now_limit_ms: i64) {
        self.now_limit_ms = now_limit_ms;
    }

    /// Columns of a kind whose fields are asked for.
    pub(crate) fn needed(&self, kind: KindId) -> &[usize] {
        self.builders[usize::from(kind)].needed()
    }

    /// Takes records of one kind, but for those that come to be `refused`. Tells the number of the first one; who calls
    /// says when each arrived.
    pub(crate) fn fill<'a>(
        &mut self,
        kind: KindId,
        records: usize,
        fields: &impl Offered<'a>,
        origin: Origin,
        time: &mut TimeReader,
        refused: &mut Refused,
    ) -> u32 {
        let builder = &mut self.builders[usize::from(kind)];
        let first = builder.records() as u32;
        let (caches, now_limit_ms) = (&mut self.caches, self.now_limit_ms);
        builder.fill(records, fields, &mut Means { origin, time, caches, now_limit_ms, refused });
        first
    }

    /// Takes one record, or says why not.
    pub(crate) fn push<'a>(
        &mut self,
        kind: KindId,
        fields: impl Fn(usize) -> Field<'a>,
        origin: Origin,
        place: Place,
        time: &mut TimeReader,
    ) -> Result<(), Cause> {
        let mut refused = Refused::default();
        let record = self.fill(kind, 1, &One(fields), origin, time, &mut refused);
        match refused.take(0) {
            None => self.arrivals.push(Arrival { kind, record, place }),
            Some(cause) => return Err(cause),
        }
        Ok(())
    }

    /// Counts records that were read.
    pub(crate) fn receive(&mut self, source: SourceId, records: u64) {
        if records > 0 {
            *self.received.entry(source).or_default() += records;
        }
    }

    /// Notes what was refused; of several the place is that of the first.
    pub(crate) fn reject(&mut self, place: Place, rejected: Rejected) {
        self.rejected.push((place, rejected));
    }

    /// Takes the rows of every kind that has any.
    pub(crate) fn finish(&mut self) -> Vec<KindRows> {
        self.rejected.sort_by_key(|(place, _)| *place);
        let caches = &mut self.caches;
        let used = self.builders.iter_mut().filter(|builder| builder.is_used());
        used.map(|builder| builder.finish(caches)).filter(|rows| !rows.ts.is_empty()).collect()
    }
}

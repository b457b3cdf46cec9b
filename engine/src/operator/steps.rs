//! The stateless half of `sequence` and `absence`: which records are which steps, for which keys.
//!
//! What leaves the batch is a pseudonym of the key and what an alert would say, without a single
//! identifier: most of it hits nothing and is forgotten.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use weir_rules::pack::{Body, Rule, Template};
use weir_rules::schema::Identifies;

use super::draft::Draft;
use super::{Judging, PlannedRule};
use crate::alert::Hit;
use crate::record::{Digest, KindLayout};

/// Where what a rule keeps of a record stands in a batch.
#[derive(Debug, Default)]
pub(crate) struct StepLayout {
    /// Positions of the key's columns.
    key: Vec<usize>,
    /// Columns an alert would tell of, none of which identifies anybody.
    pub(super) told: Vec<String>,
    /// Their positions.
    told_at: Vec<usize>,
    /// Those of them that are evidence.
    pub(super) evidence: BTreeSet<String>,
    /// The step whose record an alert is about.
    about: u16,
}

impl StepLayout {
    pub(crate) fn new(rule: &Rule, layout: &KindLayout) -> Self {
        let (key, about) = match &rule.body {
            Body::Sequence(spec) => (&spec.key, 1 << (spec.steps.len() - 1)),
            Body::Absence(spec) => (&spec.key, 1),
            Body::Match | Body::Watchlist(_) | Body::Window(_) => return Self::default(),
        };
        let harmless =
            |name: &str| layout.kind.column(name).is_some_and(|column| column.identifies == Identifies::Nothing);
        let evidence: BTreeSet<String> =
            rule.expressions().flat_map(|it| it.columns.iter().cloned()).filter(|name| harmless(name)).collect();
        let said = rule.alerting.say.iter().flat_map(Template::fields).filter(|name| harmless(name));
        let told: BTreeSet<&str> =
            ["site", "zone", "device"].into_iter().chain(said).chain(evidence.iter().map(String::as_str)).collect();
        let (told, told_at) =
            told.into_iter().filter_map(|name| Some((name.to_owned(), layout.position_of(name)?))).unzip();
        let key = key.iter().filter_map(|name| layout.position_of(name)).collect();
        Self { key, told, told_at, evidence, about }
    }
}

/// A row, which steps it is, and what started it hit.
type Found = (usize, u16, Option<Box<Hit>>);

/// A record that is one or several steps of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observation {
    /// Record within its kind, in the batch it came in.
    #[serde(skip)]
    pub(crate) record: u32,
    pub(crate) ts_ms: i64,
    /// Pseudonym of the key.
    pub(crate) key: Digest,
    pub(crate) event: Digest,
    /// Bit n: it is step n. Of an absence: 0 after, 1 expect.
    pub(crate) steps: u16,
    /// What an alert would say; of records that such an alert would be about.
    pub(crate) draft: Option<Draft>,
    /// What started it hit.
    #[serde(with = "crate::alert::plain_hit")]
    pub(crate) hit: Option<Box<Hit>>,
}

/// What the shard has found in a batch for one rule; in order of records.
#[derive(Debug)]
pub(crate) struct StepInput {
    pub(crate) rule: usize,
    pub(crate) observations: Vec<Observation>,
}

/// Finds the steps. O(rows that are one). Also gives how many rows could not be computed.
pub(super) fn prepare(planned: &PlannedRule, judging: &Judging<'_>) -> (StepInput, u64) {
    let total = judging.rows.batch.num_rows();
    let mut errors = 0;
    let mut found: Vec<Found> = Vec::new();
    for (step, filter) in planned.steps.iter().enumerate() {
        let (selection, failed) = match planned.probe.filter(|_| step == 0) {
            Some(probe) => judging.matcher.select_from(judging.prober.hits(probe).to_vec(), filter),
            None => judging.matcher.select(filter),
        };
        errors += failed;
        for row in selection.iter(total) {
            let hit = match planned.probe.filter(|_| step == 0) {
                Some(probe) => match judging.prober.hit(probe, row) {
                    Some(found) => Some(Box::new(found.hit)),
                    None => continue,
                },
                None => None,
            };
            found.push((row, 1 << step, hit));
        }
    }
    // A few ascending runs, which a stable sort merges.
    found.sort_by_key(|(row, ..)| *row);
    found.dedup_by(|(again, steps, hit), (row, all, first)| {
        let is_same = row == again;
        if is_same {
            *all |= *steps;
            *first = first.take().or(hit.take());
        }
        is_same
    });
    let mut observations: Vec<Observation> = Vec::with_capacity(found.len());
    if found.is_empty() {
        return (StepInput { rule: planned.index, observations }, errors);
    }
    let layout = &planned.step_layout;
    let keys = judging.digests.keys((planned.purpose, &layout.key), found.iter().map(|(row, ..)| *row));
    let told = found.iter().map(|(row, steps, _)| (steps & layout.about != 0).then_some(*row));
    let drafts = judging.drafts.of(&layout.told_at, told);
    for (((row, steps, hit), key), draft) in found.into_iter().zip(keys).zip(drafts) {
        let Some(key) = key else { continue };
        let record = judging.rows.record_of_row[row];
        // A record in two zones has two rows, which may have one key.
        let same = observations.iter_mut().rev().take_while(|it| it.record == record).find(|it| it.key == key);
        match same {
            Some(known) => {
                known.steps |= steps;
                known.draft = known.draft.take().or(draft);
                known.hit = known.hit.take().or(hit);
            }
            None => observations.push(Observation {
                record,
                ts_ms: judging.rows.ts[record as usize],
                key,
                event: judging.rows.event[record as usize],
                steps,
                draft,
                hit,
            }),
        }
    }
    (StepInput { rule: planned.index, observations }, errors)
}

//! The stateless half of `sequence` and `absence`: which records are which steps, for which keys.
//!
//! What leaves the batch is a pseudonym of the key and what an alert would say, without a single
//! identifier: most of it hits nothing and is forgotten.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_rules::pack::Body;
use weir_rules::schema::Identifies;

use super::{Judging, PlannedRule};
use crate::alert::{Alert, Hit, render};
use crate::record::Digest;

/// What an alert would say of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Draft {
    site: Option<String>,
    zone: Option<String>,
    device: Option<String>,
    /// Values of the fields that `say` names.
    fields: BTreeMap<String, String>,
    evidence: BTreeMap<String, String>,
}

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
    pub(crate) draft: Option<Box<Draft>>,
    /// What started it hit.
    #[serde(with = "plain_hit")]
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
    let mut found: BTreeMap<usize, (u16, Option<Box<Hit>>)> = BTreeMap::new();
    for (step, filter) in planned.steps.iter().enumerate() {
        let (selection, failed) = match planned.probe.filter(|_| step == 0) {
            Some(probe) => judging.matcher.select_from(judging.prober.hits(probe).to_vec(), filter),
            None => judging.matcher.select(filter),
        };
        errors += failed;
        for row in selection.iter(total) {
            let hit = match planned.probe.filter(|_| step == 0) {
                Some(probe) => match judging.prober.hit(probe, row, judging.wall_ms) {
                    Some((hit, _)) => Some(Box::new(hit)),
                    None => continue,
                },
                None => None,
            };
            let entry = found.entry(row).or_default();
            entry.0 |= 1 << step;
            entry.1 = entry.1.take().or(hit);
        }
    }
    let (key_columns, told) = match &planned.rule.body {
        Body::Sequence(spec) => (&spec.key, 1 << (spec.steps.len() - 1)),
        Body::Absence(spec) => (&spec.key, 1),
        _ => return (StepInput { rule: planned.index, observations: Vec::new() }, errors),
    };
    let mut observations: Vec<Observation> = Vec::new();
    for (row, (steps, hit)) in found {
        let values: Option<Vec<String>> = key_columns.iter().map(|name| judging.cell(name, row)).collect();
        let Some(values) = values else { continue };
        let record = judging.rows.record_of_row[row];
        let key = judging.pseudonyms.key(values.iter().map(String::as_str));
        // A record in two zones has two rows, which may have one key.
        let same = observations.iter_mut().rev().take_while(|it| it.record == record).find(|it| it.key == key);
        let draft = |steps: u16| (steps & told != 0).then(|| Box::new(draft(planned, judging, row)));
        match same {
            Some(known) => {
                known.steps |= steps;
                known.draft = known.draft.take().or_else(|| draft(steps));
                known.hit = known.hit.take().or(hit);
            }
            None => observations.push(Observation {
                record,
                ts_ms: judging.rows.ts[record as usize],
                key,
                event: judging.rows.event[record as usize],
                steps,
                draft: draft(steps),
                hit,
            }),
        }
    }
    (StepInput { rule: planned.index, observations }, errors)
}

fn draft(planned: &PlannedRule, judging: &Judging<'_>, row: usize) -> Draft {
    let cell = |name: &str| judging.cell(name, row);
    let identifies =
        |name: &str| judging.layout.kind.column(name).is_some_and(|column| column.identifies != Identifies::Nothing);
    let named = planned.rule.alerting.say.iter().flat_map(|say| say.fields()).filter(|name| !identifies(name));
    Draft {
        site: cell("site"),
        zone: cell("zone"),
        device: cell("device"),
        fields: named.filter_map(|name| Some((name.to_owned(), cell(name)?))).collect(),
        evidence: judging.evidence(&planned.rule, row),
    }
}

impl Draft {
    /// The alert, with fields of the rule's own kind.
    pub(super) fn alert(
        &self,
        planned: &PlannedRule,
        alert_id: String,
        ts: String,
        hit: Option<&Hit>,
        own: &BTreeMap<&str, String>,
    ) -> Alert {
        let field = |name: &str| match (own.get(name), hit) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(hit)) if name.starts_with("hit.") => super::hit_field(hit, name),
            _ => self.fields.get(name).cloned(),
        };
        let mut evidence = self.evidence.clone();
        evidence.extend(own.iter().map(|(name, text)| ((*name).to_owned(), text.clone())));
        Alert {
            site: self.site.clone(),
            zone: self.zone.clone(),
            device: self.device.clone(),
            say: planned.rule.alerting.say.as_ref().map(|say| render(say, field)),
            hit: hit.cloned(),
            evidence,
            ..super::blank_alert(planned, alert_id, ts)
        }
    }
}

/// A hit in a checkpoint: every field, present or not.
pub(super) mod plain_hit {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::alert::Hit;

    type Plain = (String, String, String, String, Option<String>, Option<String>, Option<String>);

    #[expect(clippy::ref_option, reason = "serde gives it so")]
    pub(crate) fn serialize<S: Serializer>(hit: &Option<Box<Hit>>, serializer: S) -> Result<S::Ok, S::Error> {
        hit.as_ref()
            .map(|hit| {
                (
                    &hit.list,
                    &hit.entry_id,
                    hit.grade.as_ref(),
                    &hit.list_version,
                    &hit.action,
                    &hit.case_ref,
                    &hit.handling,
                )
            })
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Hit>>, D::Error> {
        let plain = Option::<Plain>::deserialize(deserializer)?;
        Ok(plain.map(|(list, entry_id, grade, list_version, action, case_ref, handling)| {
            Box::new(Hit { list, entry_id, grade: grade.into(), list_version, action, case_ref, handling })
        }))
    }
}

//! A hit in a checkpoint: every field, present or not.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Hit;

/// List, entry, grade, version; and what may be absent.
type Plain = (String, String, String, String, [Option<String>; 5]);

#[expect(clippy::ref_option, reason = "serde gives it so")]
pub(crate) fn serialize<S: Serializer>(hit: &Option<Box<Hit>>, serializer: S) -> Result<S::Ok, S::Error> {
    hit.as_ref()
        .map(|hit| {
            let rest = [&hit.action, &hit.case_ref, &hit.handling, &hit.severity, &hit.review_by];
            (&hit.list, &hit.entry_id, hit.grade.as_ref(), &hit.list_version, rest)
        })
        .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Hit>>, D::Error> {
    let plain = Option::<Plain>::deserialize(deserializer)?;
    Ok(plain.map(|(list, entry_id, grade, list_version, rest)| {
        let [action, case_ref, handling, severity, review_by] = rest;
        let grade = grade.into();
        Box::new(Hit { list, entry_id, grade, list_version, action, case_ref, handling, severity, review_by })
    }))
}

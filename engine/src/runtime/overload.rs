//! What was let go under overload: told by interval, counted, and weighed against the windows it is missing from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::alert::{ShedRecord, format_time};
use crate::decode::KindChoice;
use crate::record::KindId;
use crate::source::{Class, Classes, Shed, ShedTally, SourceClass};

/// An interval is told once nothing has been let go for this long, and after this long at the latest.
const INTERVAL_MS: i64 = 1_000;
/// Seconds of event time that are kept of one kind; the oldest leave first, and windows as old are told as if complete.
const SECONDS_MAX: usize = 100_000;

/// Records of one kind in one second of event time.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Second {
    shed: u64,
    admitted: u64,
}

/// Records of one kind by second of event time.
type Seconds = BTreeMap<i64, Second>;

/// An interval that has not been told yet.
#[derive(Debug, Clone)]
struct Interval {
    class: Class,
    count: u64,
    from_ms: i64,
    to_ms: i64,
}

/// Records that were let go, by source and class.
pub type ShedTotals = BTreeMap<(u16, Class), u64>;

pub(super) struct Overload {
    /// By kind; nothing is kept where no source sheds.
    kinds: Vec<Seconds>,
    keeps: bool,
    open: BTreeMap<(u16, Option<KindId>), Interval>,
    totals: ShedTotals,
}

/// What a checkpoint holds of it: what windows are weighed with.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedOverload(Vec<Seconds>);

impl Overload {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            kinds: vec![Seconds::new(); plan.layouts.kinds.len()],
            keeps: plan.sheds,
            open: BTreeMap::new(),
            totals: ShedTotals::new(),
        }
    }

    /// Notes records that were judged.
    pub(super) fn admitted(&mut self, kind: KindId, ts_ms: &[i64]) {
        if !self.keeps {
            return;
        }
        let seconds = &mut self.kinds[usize::from(kind)];
        let mut rest = ts_ms;
        while let Some(first) = rest.first() {
            let second = first.div_euclid(1_000);
            let run = rest.iter().take_while(|ts| ts.div_euclid(1_000) == second).count();
            seconds.entry(second).or_default().admitted += run as u64;
            rest = &rest[run..];
        }
        bound(seconds);
    }

    /// Notes records that were let go.
    pub(super) fn shed(&mut self, tally: &ShedTally) {
        for (source, kind, shed) in tally.iter() {
            *self.totals.entry((source, shed.class)).or_default() += shed.count;
            let Shed { class, from_ms, to_ms, .. } = *shed;
            let open = self.open.entry((source, kind)).or_insert(Interval { class, count: 0, from_ms, to_ms });
            open.count += shed.count;
            open.to_ms = open.to_ms.max(to_ms);
            // Records of an unknown kind may be missing from the windows of every kind.
            let kinds = match kind {
                Some(kind) => std::slice::from_mut(&mut self.kinds[usize::from(kind)]),
                None => &mut self.kinds[..],
            };
            for seconds in kinds {
                for (second, count) in &shed.seconds {
                    seconds.entry(*second).or_default().shed += count;
                }
                bound(seconds);
            }
        }
    }

    /// Intervals that are to be told by now; all of them at the end.
    pub(super) fn due(&mut self, now_ms: Option<i64>, plan: &Plan) -> Vec<ShedRecord> {
        let is_due = |it: &Interval| {
            now_ms.is_none_or(|now_ms| now_ms - it.to_ms >= INTERVAL_MS || it.to_ms - it.from_ms >= INTERVAL_MS)
        };
        let due: Vec<_> = self.open.iter().filter(|(_, it)| is_due(it)).map(|(key, _)| *key).collect();
        due.into_iter()
            .filter_map(|key| Some((key, self.open.remove(&key)?)))
            .map(|((source, kind), it)| ShedRecord {
                source: plan.sources[usize::from(source)].name.to_string(),
                kind: kind.map(|kind| plan.layouts.kinds[usize::from(kind)].kind.name.clone()),
                class: it.class.word(),
                reason: "overload",
                count: it.count,
                from: format_time(it.from_ms),
                to: format_time(it.to_ms),
            })
            .collect()
    }

    /// The share of a kind's records in a span of event time that was judged; `None` if nothing was let go.
    pub(super) fn kept_share(&self, kind: KindId, start_ms: i64, end_ms: i64) -> Option<f64> {
        let seconds = &self.kinds[usize::from(kind)];
        if seconds.is_empty() {
            return None;
        }
        let range = start_ms.div_euclid(1_000)..(end_ms - 1).div_euclid(1_000) + 1;
        let (mut shed, mut admitted) = (0, 0);
        for (_, second) in seconds.range(range) {
            shed += second.shed;
            admitted += second.admitted;
        }
        (shed > 0).then(|| admitted as f64 / (admitted + shed) as f64)
    }

    pub(super) fn totals(&self) -> &ShedTotals {
        &self.totals
    }

    pub(super) fn save(&self) -> SavedOverload {
        SavedOverload(self.kinds.clone())
    }

    pub(super) fn load(&mut self, saved: SavedOverload) {
        self.kinds = saved.0;
    }
}

fn bound(seconds: &mut Seconds) {
    while seconds.len() > SECONDS_MAX {
        seconds.pop_first();
    }
}

/// The classes of a plan's kinds and sources.
pub(super) fn classes(plan: &Plan) -> Arc<Classes> {
    let class_of = |kind: usize| {
        if plan.rules.iter().any(|rule| usize::from(rule.kind) == kind && rule.panes.is_none()) {
            Class::Safety
        } else if !plan.panes_of_kind[kind].is_empty() {
            Class::Crowd
        } else {
            Class::Other
        }
    };
    let kinds = plan.layouts.kinds.iter().enumerate();
    let sources = plan.sources.iter().map(|source| SourceClass {
        kind: match source.kind {
            KindChoice::Fixed(kind) => Some(kind),
            KindChoice::Field => None,
        },
        foreign: source.mapping.is_some(),
        timezone: source.timezone.clone(),
    });
    Arc::new(Classes {
        kinds: kinds.map(|(at, layout)| (layout.kind.name.as_bytes().into(), class_of(at))).collect(),
        sources: sources.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overload(kinds: usize) -> Overload {
        Overload { kinds: vec![Seconds::new(); kinds], keeps: true, open: BTreeMap::new(), totals: ShedTotals::new() }
    }

    #[test]
    fn shares_are_of_the_kind_and_the_span() {
        let mut overload = overload(2);
        overload.admitted(0, &[1_000, 1_999, 2_000, 5_500]);
        overload.admitted(1, &[1_000]);
        assert_eq!(overload.kept_share(0, 0, 10_000), None, "nothing was let go");
        overload.kinds[0].entry(2).or_default().shed += 3;
        assert_eq!(overload.kept_share(0, 2_000, 3_000), Some(0.25));
        assert_eq!(overload.kept_share(0, 1_000, 2_000), None);
        assert_eq!(overload.kept_share(0, 0, 10_000), Some(4.0 / 7.0));
        // Windows that begin or end within a second take it whole.
        assert_eq!(overload.kept_share(0, 2_900, 2_901), Some(0.25));
        assert_eq!(overload.kept_share(1, 0, 10_000), None);
        let mut later = self::overload(2);
        later.load(overload.save());
        assert_eq!(later.kept_share(0, 0, 10_000), Some(4.0 / 7.0));
    }

    #[test]
    fn records_of_an_unknown_kind_are_missing_from_every_kind() {
        let mut overload = overload(2);
        overload.admitted(0, &[1_000]);
        let mut tally = ShedTally::default();
        tally.add((0, None), Class::Safety, 3, Some(1), 1_500);
        tally.add((0, Some(1)), Class::Safety, 1, Some(1), 1_500);
        overload.shed(&tally);
        assert_eq!(overload.kept_share(0, 1_000, 2_000), Some(0.25));
        assert_eq!(overload.kept_share(1, 1_000, 2_000), Some(0.0));
        assert_eq!(overload.totals().values().sum::<u64>(), 4);
    }

    #[test]
    fn seconds_are_bounded() {
        let mut overload = overload(1);
        for second in 0..SECONDS_MAX as i64 + 10 {
            overload.admitted(0, &[second * 1_000]);
        }
        assert_eq!((overload.kinds[0].len(), overload.kinds[0].keys().next()), (SECONDS_MAX, Some(&10)));
    }
}

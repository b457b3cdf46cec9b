//! What a window rule says: values, changes of levels, proposals.

use std::collections::BTreeMap;

use weir_rules::pack::{Level, Measure, WindowSpec};

use super::keys::KeyTexts;
use crate::alert::{
    Alert, AlertIdentity, Outlook, Proposed, WindowRange, WindowValue, format_time, format_value, render,
};
use crate::operator::{PlannedRule, blank_alert};
use crate::window::{APPROX_DISTINCT_ERROR, Change, Closed, Thresholds};

/// Something about a closed window that somebody will hear of.
pub(super) struct Told<'s> {
    pub(super) texts: KeyTexts,
    pub(super) closed: Closed,
    /// `None` of a plain value.
    pub(super) change: Option<Change>,
    pub(super) level: Option<(&'s Level, Thresholds)>,
    pub(super) revision: u32,
    pub(super) outlook: Option<Box<Outlook>>,
}

impl Told<'_> {
    pub(super) fn value(texts: KeyTexts, closed: Closed, outlook: Option<Box<Outlook>>) -> Self {
        let revision = closed.revision;
        Self { texts, closed, change: None, level: None, revision, outlook }
    }

    pub(super) fn change(texts: KeyTexts, closed: Closed, change: Change) -> Self {
        Self { texts, closed, change: Some(change), level: None, revision: 0, outlook: None }
    }
}

/// What became of a window.
pub(crate) enum WindowOutcome {
    /// Its value is an output.
    Value(Box<WindowValue>),
    /// A level changed.
    Level(Box<Alert>),
    /// Somebody is asked to do something.
    Proposal(Box<Proposed>),
}

/// Tells in order of window end and key text.
pub(super) fn tell(planned: &PlannedRule, spec: &WindowSpec, told: &[Told<'_>], mut emit: impl FnMut(WindowOutcome)) {
    let mut windows = Windows::default();
    for at in in_order(told) {
        let told = &told[at];
        let key: BTreeMap<String, String> =
            spec.key.iter().cloned().zip(told.texts.iter().map(ToString::to_string)).collect();
        let Some(change) = told.change else {
            emit(WindowOutcome::Value(Box::new(window_value(planned, spec, told, windows.range(&told.closed), key))));
            continue;
        };
        let alert = level_alert(planned, spec, told, &windows.range(&told.closed), change, &key);
        let proposal = told.level.and_then(|(level, _)| level.propose.as_ref().map(|propose| (level, propose)));
        let proposal = proposal.filter(|_| change == Change::Enter && told.revision == 0);
        let proposal = proposal.map(|(level, propose)| Proposed {
            proposal_id: identity(planned, &key, &told.closed, &format!("{} propose", level.name)),
            rule: planned.rule.id.clone(),
            purpose: planned.rule.purpose.clone(),
            alert_id: alert.alert_id.clone(),
            key,
            level: level.name.clone(),
            action: propose.action.word(),
            per_minute: propose.per_minute,
            status: "proposed",
            from: alert.ts.clone(),
            valid_until: format_time(told.closed.end_ms + propose.valid_for_ms),
        });
        emit(WindowOutcome::Level(Box::new(alert)));
        if let Some(proposal) = proposal {
            emit(WindowOutcome::Proposal(Box::new(proposal)));
        }
    }
}

/// Places of what is told, in order of window end and key text; what is said of one key stays as it is.
fn in_order(told: &[Told<'_>]) -> impl Iterator<Item = usize> {
    // Most keys differ in their first bytes, which lie side by side here, and their texts do not.
    let beginning = |texts: &KeyTexts| {
        let mut bytes = [0; 16];
        let first = texts.first().map_or(&[][..], |text| text.as_bytes());
        let len = first.len().min(bytes.len());
        bytes[..len].copy_from_slice(&first[..len]);
        u128::from_be_bytes(bytes)
    };
    let mut places: Vec<(i64, u128, usize)> =
        told.iter().enumerate().map(|(at, it)| (it.closed.end_ms, beginning(&it.texts), at)).collect();
    places.sort_unstable_by(|a, b| {
        let texts = || told[a.2].texts.cmp(&told[b.2].texts);
        (a.0, a.1).cmp(&(b.0, b.1)).then_with(texts).then(a.2.cmp(&b.2))
    });
    places.into_iter().map(|(_, _, at)| at)
}

/// The moments of windows as texts: most of what is told together is of one window.
#[derive(Default)]
struct Windows {
    last: Option<(i64, i64, WindowRange)>,
}

impl Windows {
    fn range(&mut self, closed: &Closed) -> WindowRange {
        match &self.last {
            Some((start_ms, end_ms, range)) if (*start_ms, *end_ms) == (closed.start_ms, closed.end_ms) => {
                range.clone()
            }
            _ => {
                let range = WindowRange { start: format_time(closed.start_ms), end: format_time(closed.end_ms) };
                self.last = Some((closed.start_ms, closed.end_ms, range.clone()));
                range
            }
        }
    }
}

fn window_value(
    planned: &PlannedRule,
    spec: &WindowSpec,
    told: &Told<'_>,
    window: WindowRange,
    key: BTreeMap<String, String>,
) -> WindowValue {
    let closed = &told.closed;
    WindowValue {
        rule: planned.rule.id.clone(),
        purpose: planned.rule.purpose.clone(),
        key,
        window,
        start_ms: closed.start_ms,
        end_ms: closed.end_ms,
        revision: closed.revision,
        measure: spec.measure.text(),
        value: closed.value,
        margin: closed.margin,
        completeness: closed.completeness,
        forecast: told.outlook.as_deref().cloned(),
    }
}

/// An id of something about a key in a window.
fn identity(planned: &PlannedRule, key: &BTreeMap<String, String>, closed: &Closed, ordinal: &str) -> String {
    let mut subject = Vec::new();
    for (name, text) in key {
        subject.extend_from_slice(name.as_bytes());
        subject.push(0);
        subject.extend_from_slice(text.as_bytes());
        subject.push(0);
    }
    let identity = AlertIdentity {
        rule: &planned.rule.id,
        rule_version: &planned.rule.version,
        subject: &subject,
        trigger: &closed.start_ms.to_le_bytes(),
        ordinal,
    };
    identity.id()
}

fn level_alert(
    planned: &PlannedRule,
    spec: &WindowSpec,
    told: &Told<'_>,
    window: &WindowRange,
    changed: Change,
    key: &BTreeMap<String, String>,
) -> Alert {
    let rule = &planned.rule;
    let Told { closed, level, outlook, .. } = told;
    let value = Some(closed.value).filter(|value| !value.is_nan());
    let threshold = level.map(|(_, at)| if changed == Change::Exit { at.exit } else { at.enter });
    let level = level.map(|(level, _)| level);
    let field = |name: &str| match name {
        "value" => value.map(format_value),
        "margin" => closed.margin.map(format_value),
        "level" => level.map(|level| level.name.clone()),
        "change" => Some(changed.word().to_owned()),
        "threshold" => threshold.map(format_value),
        "window.start" => Some(window.start.clone()),
        "window.end" => Some(window.end.clone()),
        "completeness" => closed.completeness.map(format_value),
        "trend" => outlook.as_ref().map(|it| format!("{:+.2}", it.trend_per_minute)),
        "forecast" => outlook.as_ref().map(|it| format_value(it.value)),
        "minutes_to_level" => outlook.as_ref().and_then(|it| it.minutes_to_level).map(|it| format!("{it:.0}")),
        name => key.get(name).cloned(),
    };
    let ordinal = match level {
        Some(level) => format!("{} {}", level.name, changed.word()),
        None => changed.word().to_owned(),
    };
    let named = |name: &str| key.get(name).cloned();
    let mut evidence: BTreeMap<String, String> = key
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "site" | "zone" | "device"))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect();
    evidence.insert("measure".to_owned(), spec.measure.text());
    evidence.extend(threshold.map(|threshold| ("threshold".to_owned(), format_value(threshold))));
    if matches!(spec.measure, Measure::ApproxDistinct(_)) {
        evidence.insert("standard_error".to_owned(), format!("{:.1} %", APPROX_DISTINCT_ERROR * 100.0));
    }
    if value.is_none() {
        evidence.insert("silent_since".to_owned(), window.start.clone());
    }
    if spec.early && changed == Change::Enter {
        evidence.insert("window".to_owned(), if told.revision == 0 { "open" } else { "closed" }.to_owned());
    }
    Alert {
        revision: told.revision,
        severity: level.map_or(rule.alerting.severity, |level| level.severity).word(),
        site: named("site"),
        zone: named("zone"),
        device: named("device"),
        value,
        margin: closed.margin,
        level: level.map(|level| level.name.clone()),
        change: Some(changed.word()),
        completeness: closed.completeness,
        forecast: outlook.as_deref().cloned(),
        say: rule.alerting.say.as_ref().map(|say| render(say, field)),
        window: Some(window.clone()),
        evidence,
        ..blank_alert(planned, identity(planned, key, closed, &ordinal), window.end.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a stable sort by window end and whole texts has it, however alike texts begin.
        #[test]
        fn what_is_told_comes_in_order_of_whole_texts(
            keys in prop::collection::vec(
                (0i64..3, prop::collection::vec("(a|b|\u{0}|site-of-one-city-)[ab\u{0}]{0,2}", 0..3)),
                0..40,
            )
        ) {
            let told: Vec<Told<'_>> = keys
                .iter()
                .enumerate()
                .map(|(number, (end_ms, texts))| {
                    let texts = texts.iter().map(|text| Arc::from(text.as_str())).collect();
                    let closed = Closed {
                        key: [0; 4],
                        start_ms: 0,
                        end_ms: *end_ms,
                        value: number as f64,
                        margin: None,
                        completeness: None,
                        revision: 0,
                    };
                    Told::value(texts, closed, None)
                })
                .collect();
            let mut wanted: Vec<usize> = (0..told.len()).collect();
            wanted.sort_by_key(|at| &keys[*at]);
            prop_assert_eq!(in_order(&told).collect::<Vec<_>>(), wanted);
        }
    }
}

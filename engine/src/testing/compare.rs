//! Expected beside got.

use weir_rules::pack::{Expectation, PackTest, Wanted};
use weir_rules::units::format_duration_ms;

use crate::alert::Alert;
use crate::metrics::Passage;

/// Numbers that differ by less are the same.
const TOLERANCE: f64 = 1e-6;

/// What does not fit; empty if all fits.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Difference {
    /// Expectations that nothing met: which of the test's, and the nearest alert with what is different.
    pub missing: Vec<(usize, Option<String>)>,
    /// Alerts that nobody expected.
    pub unexpected: Vec<String>,
    /// What another way gave and this one did not, or the other way round.
    pub unlike: Vec<String>,
}

impl Difference {
    /// Whether all fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.unlike.is_empty()
    }
}

/// Compares what came with what the test expects, and with what came another way.
pub(super) fn compare(test: &PackTest, alerts: &[Alert], other_way: Option<&[Alert]>) -> Difference {
    let fits: Vec<Vec<usize>> = test
        .expect
        .iter()
        .map(|expected| (0..alerts.len()).filter(|at| misfits(test, expected, &alerts[*at]).is_empty()).collect())
        .collect();
    // An alert meets one expectation: a matching of both sides (Kuhn).
    let mut met_by: Vec<Option<usize>> = vec![None; alerts.len()];
    for expected in 0..fits.len() {
        let mut tried = vec![false; alerts.len()];
        augment(expected, &fits, &mut met_by, &mut tried);
    }
    let mut difference = Difference::default();
    let left: Vec<usize> = (0..alerts.len()).filter(|at| met_by[*at].is_none()).collect();
    for (at, expected) in test.expect.iter().enumerate() {
        if !met_by.contains(&Some(at)) {
            let nearest = left.iter().map(|left| misfits(test, expected, &alerts[*left])).min_by_key(Vec::len);
            difference.missing.push((at, nearest.map(|misfits| misfits.join(", "))));
        }
    }
    difference.unexpected = left.iter().map(|at| describe(test, &alerts[*at])).collect();
    if let Some(other) = other_way {
        let bare = |alert: &Alert| Alert { latency_us: 0, passage: Passage::default(), ..alert.clone() };
        let (ours, theirs): (Vec<_>, Vec<_>) = (alerts.iter().map(bare).collect(), other.iter().map(bare).collect());
        for alert in ours.iter().filter(|alert| !theirs.contains(alert)) {
            difference.unlike.push(format!("only this way: {}", describe(test, alert)));
        }
        for alert in theirs.iter().filter(|alert| !ours.contains(alert)) {
            difference.unlike.push(format!("only in one batch: {}", describe(test, alert)));
        }
    }
    difference
}

fn augment(expected: usize, fits: &[Vec<usize>], met_by: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &alert in &fits[expected] {
        if std::mem::replace(&mut tried[alert], true) {
            continue;
        }
        if met_by[alert].is_none_or(|other| augment(other, fits, met_by, tried)) {
            met_by[alert] = Some(expected);
            return true;
        }
    }
    false
}

/// What is different between an expectation and an alert.
fn misfits(test: &PackTest, expected: &Expectation, alert: &Alert) -> Vec<String> {
    let mut misfits = Vec::new();
    let at_ms = at_ms(test, alert);
    if expected.at_ms.is_some_and(|wanted_ms| wanted_ms != at_ms) {
        misfits.push(format!("at is {}", format_duration_ms(at_ms)));
    }
    for (name, wanted) in &expected.fields {
        let got = field(alert, name);
        let fits = match (wanted, &got) {
            (Wanted::Text(wanted), Some(got)) => same(wanted, got),
            (Wanted::Matches(regex), Some(got)) => regex.is_match(got),
            (_, None) => false,
        };
        if !fits {
            misfits.push(format!("{name} is {}", got.unwrap_or_else(|| "not there".to_owned())));
        }
    }
    misfits
}

fn same(wanted: &str, got: &str) -> bool {
    wanted == got
        || matches!((wanted.parse::<f64>(), got.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() <= TOLERANCE * b.abs().max(1.0))
}

/// Time of an alert from the start of the test.
fn at_ms(test: &PackTest, alert: &Alert) -> i64 {
    let ms = alert.ts.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond);
    ms - test.start_ms
}

/// A field by its name in an expectation.
fn field(alert: &Alert, name: &str) -> Option<String> {
    let json = serde_json::to_value(alert).ok()?;
    let value = name.split('.').try_fold(&json, |value, part| value.get(part))?;
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// An alert as a person would write an expectation of it.
pub(crate) fn describe(test: &PackTest, alert: &Alert) -> String {
    let mut text = format!("{{ at: {}, severity: {}", format_duration_ms(at_ms(test, alert)), alert.severity);
    if test.rules.len() > 1 {
        text.push_str(&format!(", rule: {}", alert.rule));
    }
    for name in ["zone", "level", "change", "value", "hit.entry_id", "say"] {
        if let Some(value) = field(alert, name) {
            text.push_str(&format!(", {name}: {value}"));
        }
    }
    text.push_str(" }");
    text
}

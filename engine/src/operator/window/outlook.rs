//! What a forecast says about a level.

use weir_rules::pack::{Forecast, Level};

use crate::alert::Outlook;
use crate::window::{Forecaster, normal_quantile};

/// Points between now and the horizon at which a level is looked for.
const POINTS: i64 = 16;
/// Quantile of the interval's upper end, in thousandths: 10 % lie below the interval, 10 % above.
const INTERVAL: u16 = 900;

/// Looks ahead from the last value; `None` while too little is known. A level is held against value and margin.
pub(super) fn outlook(
    forecaster: &Forecaster,
    forecast: Forecast,
    every_ms: i64,
    (last, off_by): (f64, f64),
    next: Option<(&Level, f64)>,
) -> Option<Outlook> {
    let steps = forecaster.steps();
    let end = forecaster.ahead(steps, last)?;
    let margin = normal_quantile(INTERVAL) * end.deviation;
    let chosen = normal_quantile(forecast.quantile);
    let minutes = |steps: f64| steps * every_ms as f64 / 60_000.0;
    let minutes_to_level = next.and_then(|(_, enter)| {
        let mut before = (0.0, last + off_by);
        (1..=POINTS.min(steps)).find_map(|point| {
            let at = (point * steps + POINTS.min(steps) - 1) / POINTS.min(steps);
            let ahead = forecaster.ahead(at, last)?;
            let upper = ahead.value + off_by + chosen * ahead.deviation;
            if upper >= enter {
                let share = if upper > before.1 { ((enter - before.1) / (upper - before.1)).max(0.0) } else { 0.0 };
                return Some(minutes(before.0 + share * (at as f64 - before.0)));
            }
            before = (at as f64, upper);
            None
        })
    });
    Some(Outlook {
        ahead_ms: steps * every_ms,
        value: end.value,
        low: (end.value - margin).max(0.0),
        high: end.value + margin,
        trend_per_minute: forecaster.trend() / minutes(1.0),
        level: next.map(|(level, _)| level.name.clone()),
        minutes_to_level,
    })
}

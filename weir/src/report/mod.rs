//! A picture of a run: values, levels and transitions of every window rule that tells its values (`weir run --report`).

mod plot;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use weir_engine::alert::{Alert, WindowValue};
use weir_engine::normalise::TimeReader;
use weir_engine::{Output, Sink, SinkError, SinkSpec, Stream};
use weir_rules::Pack;
use weir_rules::pack::Body;

/// Most panels; what comes after the first is left out, and the picture says so.
const SERIES_MAX: usize = 24;
/// Points of one panel, beyond which every second one goes: more than the picture has pixels.
const POINTS_MAX: usize = 4_096;
/// Most transitions of one panel.
const MARKS_MAX: usize = 1_000;

/// Name of the sink; no configured one may be called so.
pub(crate) const SINK: &str = "(report)";

/// One value.
#[derive(Debug, Clone, Copy)]
struct Point {
    at_ms: i64,
    value: f64,
    margin: f64,
}

/// A change of a level.
#[derive(Debug, Clone)]
struct Mark {
    at_ms: i64,
    change: &'static str,
    level: String,
}

/// A level's thresholds.
#[derive(Debug, Clone)]
struct Lines {
    name: String,
    enter: f64,
    exit: f64,
}

#[derive(Debug, Default)]
struct Series {
    points: Vec<Point>,
    /// One in so many values is kept.
    stride: usize,
    seen: usize,
    marks: Vec<Mark>,
}

impl Series {
    fn push(&mut self, point: Point) {
        self.stride = self.stride.max(1);
        if self.seen.is_multiple_of(self.stride) {
            self.points.push(point);
        }
        self.seen += 1;
        if self.points.len() > POINTS_MAX {
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.stride *= 2;
        }
    }
}

#[derive(Debug, Default)]
struct Gathered {
    /// By rule and key.
    series: BTreeMap<(String, String), Series>,
    left_out: usize,
}

/// Gathers what the picture shows.
#[derive(Clone, Default)]
pub(crate) struct Report {
    gathered: Arc<Mutex<Gathered>>,
    /// Levels by rule.
    levels: Arc<BTreeMap<String, Vec<Lines>>>,
}

impl Report {
    pub(crate) fn new<'a>(packs: impl IntoIterator<Item = &'a Pack>) -> Self {
        let mut levels = BTreeMap::new();
        for rule in packs.into_iter().flat_map(|pack| &pack.rules) {
            if let Body::Window(spec) = &rule.body {
                let lines = spec.levels.iter().map(|level| Lines {
                    name: level.name.clone(),
                    enter: level.enter,
                    exit: level.exit,
                });
                levels.insert(rule.id.clone(), lines.collect());
            }
        }
        Self { gathered: Arc::default(), levels: Arc::new(levels) }
    }

    /// A sink for the purposes of window rules: counts and levels hold no identifier.
    pub(crate) fn sink_spec<'a>(packs: impl IntoIterator<Item = &'a Pack>) -> SinkSpec {
        SinkSpec {
            name: SINK.to_owned(),
            purposes: packs
                .into_iter()
                .flat_map(|pack| &pack.rules)
                .filter(|rule| matches!(rule.body, Body::Window(_)))
                .map(|rule| rule.purpose.clone())
                .collect(),
            streams: vec![Stream::Windows, Stream::Alerts],
            actuator: false,
            reviewers: false,
        }
    }

    /// Writes the picture; how many panels it has.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<usize> {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::write(path, plot::svg(&gathered.series, &self.levels, gathered.left_out))?;
        Ok(gathered.series.len())
    }
}

impl Gathered {
    fn of(&mut self, rule: &str, key: String) -> Option<&mut Series> {
        let key = (rule.to_owned(), key);
        if !self.series.contains_key(&key) && self.series.len() >= SERIES_MAX {
            self.left_out += 1;
            return None;
        }
        Some(self.series.entry(key).or_default())
    }

    fn value(&mut self, value: &WindowValue) {
        let key: Vec<&str> = value.key.values().map(String::as_str).collect();
        let point = Point { at_ms: value.end_ms, value: value.value, margin: value.margin.unwrap_or(0.0) };
        if value.revision == 0
            && let Some(series) = self.of(&value.rule, key.join(", "))
        {
            series.push(point);
        }
    }

    fn alert(&mut self, alert: &Alert, times: &mut TimeReader) {
        let (Some(change), Some(_)) = (alert.change, &alert.window) else { return };
        let Some(at_ms) = times.read_ms(&alert.ts) else { return };
        let named = [&alert.zone, &alert.site, &alert.device];
        let key = named.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        // Marks belong to a panel that has values; a rule that tells none has no picture.
        if let Some(series) = self.series.get_mut(&(alert.rule.clone(), key))
            && series.marks.len() < MARKS_MAX
            && alert.revision == 0
        {
            series.marks.push(Mark { at_ms, change, level: alert.level.clone().unwrap_or_default() });
        }
    }
}

impl Sink for Report {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = TimeReader::new(None);
        for output in outputs {
            match output {
                Output::Window(value) => gathered.value(value),
                Output::Alert(alert) => gathered.alert(alert, &mut times),
                _ => {}
            }
        }
        Ok(())
    }
}

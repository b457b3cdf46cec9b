//! An output and whom it is for, as bytes.

use serde::{Deserialize, Serialize};

use crate::alert::{Output, Stream};
use crate::metrics::Passage;

/// Version of the layout; the first byte of every letter.
const VERSION: u8 = 1;

/// An output on its way to sinks.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) output: Output,
    /// Sinks by position, as bits.
    pub(crate) sinks: u64,
}

/// What is written. Sinks stand there by name: the next run may know others, or in another order.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    run: u64,
    /// When the record that led to it was read, by the wall clock.
    read_wall_ms: i64,
    /// The way of an alert, as monotonic times of its run.
    passage: (u16, u64, u64, u64),
    stream: &'a str,
    #[serde(borrow)]
    sinks: Vec<&'a str>,
    json: &'a str,
}

impl Kept<'_> {
    fn output(&self) -> Result<Output, LetterError> {
        let stream = Stream::of_word(self.stream).ok_or(LetterError::Layout)?;
        Output::from_json(stream, self.json).map_err(LetterError::Output)
    }
}

/// The clocks of a run at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) run: u64,
    pub(super) wall_ms: i64,
    pub(super) monotonic_ns: u64,
}

/// A letter that was read.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) output: Output,
    /// When the record was read, by the wall clock, if that was in an earlier run: monotonic times do not outlive theirs.
    pub(crate) earlier_ms: Option<i64>,
}

/// A letter cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LetterError {
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u8),
    #[error("it is no letter")]
    Layout,
    #[error("it holds no output: {0}")]
    Output(serde_json::Error),
}

impl Letter {
    pub(super) fn to_bytes(&self, names: &[String], now: Now) -> Vec<u8> {
        let passage = match &self.output {
            Output::Alert(alert) => alert.passage,
            _ => Passage { read_ns: now.monotonic_ns, ..Passage::default() },
        };
        let Passage { source, read_ns, taken_ns, told_ns } = passage;
        let json = self.output.to_kept_json();
        let kept = Kept {
            run: now.run,
            read_wall_ms: now.wall_ms - (now.monotonic_ns.saturating_sub(read_ns) / 1_000_000) as i64,
            passage: (source, read_ns, taken_ns, told_ns),
            stream: self.output.stream().word(),
            sinks: names
                .iter()
                .zip(0..)
                .filter(|(_, at)| self.sinks >> at & 1 == 1)
                .map(|(it, _)| it.as_str())
                .collect(),
            json: &json,
        };
        let mut bytes = Vec::with_capacity(json.len() + 96);
        bytes.push(VERSION);
        postcard::to_extend(&kept, bytes).expect("a letter is plain data")
    }
}

/// Reads a letter if it is for this sink; `None` if it is for others.
pub(super) fn open(bytes: &[u8], sink: &str, run: u64) -> Result<Option<Opened>, LetterError> {
    let kept = kept(bytes)?;
    if !kept.sinks.contains(&sink) {
        return Ok(None);
    }
    let mut output = kept.output()?;
    if let Output::Alert(alert) = &mut output {
        let (source, read_ns, taken_ns, told_ns) = kept.passage;
        std::sync::Arc::make_mut(alert).passage = Passage { source, read_ns, taken_ns, told_ns };
    }
    Ok(Some(Opened { output, earlier_ms: (kept.run != run).then_some(kept.read_wall_ms) }))
}

/// The output in a letter, whomever it is for.
pub(super) fn output_of(bytes: &[u8]) -> Result<Output, LetterError> {
    kept(bytes)?.output()
}

/// Whom a letter is for, and when its record was read, by the wall clock.
pub(super) fn address(bytes: &[u8]) -> Result<(Vec<&str>, i64), LetterError> {
    kept(bytes).map(|kept| (kept.sinks, kept.read_wall_ms))
}

/// Whether a letter is for this sink.
pub(super) fn is_for(bytes: &[u8], sink: &str) -> Result<bool, LetterError> {
    Ok(kept(bytes)?.sinks.contains(&sink))
}

fn kept(bytes: &[u8]) -> Result<Kept<'_>, LetterError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|_| LetterError::Layout),
        Some((version, _)) => Err(LetterError::Version(*version)),
        None => Err(LetterError::Layout),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::{Alert, Hit, Notice, Outlook, WindowRange, WindowValue};

    fn outputs() -> Vec<Output> {
        let range = || WindowRange { start: "2026-11-25T08:00:00.000Z".into(), end: "2026-11-25T08:01:00.000Z".into() };
        let outlook = Outlook {
            ahead_ms: 600_000,
            value: 0.1 + 0.2,
            low: 1.0 / 3.0,
            high: 5e-324,
            trend_per_minute: -12.062_109_381_201_23,
            level: None,
            minutes_to_level: Some(7.300_000_000_000_001),
        };
        let hit = Hit {
            list: "stolen".into(),
            entry_id: "S-1".into(),
            grade: "exact".into(),
            list_version: "v1".into(),
            action: Some("stop".into()),
            case_ref: None,
            handling: None,
            severity: None,
            review_by: None,
        };
        let alert = Alert {
            alert_id: "0123".into(),
            revision: 2,
            severity: "high",
            review: "required",
            hit: Some(hit),
            window: Some(range()),
            value: Some(1e300),
            change: Some("enter"),
            forecast: Some(outlook.clone()),
            evidence: [("plate".to_owned(), "粤B12345".to_owned())].into(),
            latency_us: 812,
            passage: Passage { source: 3, read_ns: 5, taken_ns: 7, told_ns: 9 },
            ..Alert::default()
        };
        let window = WindowValue {
            rule: "square".into(),
            purpose: "crowd_safety".into(),
            key: [("zone".to_owned(), "east".to_owned())].into(),
            window: range(),
            start_ms: 1,
            end_ms: 2,
            revision: 0,
            measure: "density".into(),
            value: 4.7,
            margin: None,
            completeness: Some(0.75),
            forecast: Some(outlook),
        };
        let notice = Notice {
            notice: "silent",
            source: None,
            device: Some("g1".into()),
            zone: None,
            ts: "2026-11-25T08:00:00.000Z".into(),
            say: "look at it".into(),
        };
        vec![Output::Alert(Arc::new(alert)), Output::Window(Arc::new(window)), Output::Notice(Arc::new(notice))]
    }

    #[test]
    fn an_output_comes_back_to_the_last_bit() {
        let names = ["desk".to_owned(), "post".to_owned(), "board".to_owned()];
        let now = Now { run: 7, wall_ms: 10_000, monotonic_ns: 2_000_000_005 };
        for output in outputs() {
            let bytes = Letter { output: output.clone(), sinks: 0b101 }.to_bytes(&names, now);
            assert!(open(&bytes, "post", 7).unwrap().is_none());
            assert!(is_for(&bytes, "board").unwrap());
            let same_run = open(&bytes, "board", 7).unwrap().unwrap();
            assert_eq!(same_run.output, output);
            assert_eq!(same_run.output.to_json(), output.to_json());
            assert_eq!(same_run.earlier_ms, None);
            let next_run = open(&bytes, "desk", 8).unwrap().unwrap();
            let read = if matches!(output, Output::Alert(_)) { 8_000 } else { 10_000 };
            assert_eq!(next_run.earlier_ms, Some(read));
        }
    }

    #[test]
    fn what_is_no_letter_says_so() {
        assert!(matches!(open(&[9, 1, 2], "desk", 1), Err(LetterError::Version(9))));
        assert!(matches!(open(&[], "desk", 1), Err(LetterError::Layout)));
        assert!(matches!(open(&[VERSION, 255, 255], "desk", 1), Err(LetterError::Layout)));
        let now = Now { run: 7, wall_ms: 10_000, monotonic_ns: 5 };
        let sound = Letter { output: outputs().remove(0), sinks: 1 }.to_bytes(&["desk".to_owned()], now);
        for at in 0..sound.len() {
            let _ = open(&sound[..at], "desk", 7);
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                let _ = open(&bytes, "desk", 7);
            }
        }
        for (word, stream) in Stream::WORDS {
            assert_eq!((stream.word(), Stream::of_word(word)), (*word, Some(*stream)));
        }
    }
}

//! Who is let in when there is no room for all (RELIABILITY.md 2.4).
//!
//! A source that cannot wait puts its blocks into the intake at once. What lies there is expected to wait for the
//! bytes before it, at the pace at which bytes have been judged of late. As that wait grows towards the latency bound,
//! records are let go by class, the least urgent first, and each of them is counted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use jiff::tz::TimeZone;
use memchr::{memchr, memmem};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Format, Payload, records_of};
use crate::normalise::TimeReader;
use crate::record::KindId;

/// How urgent a record is, the least urgent first. P2, P1 and P0 of RELIABILITY.md 2.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// No rule reads its kind.
    Other,
    /// Only windows read its kind: crowds are counted from it.
    Crowd,
    /// A rule that answers for single records reads its kind, such as a watchlist; or its kind is not known yet.
    Safety,
}

impl Class {
    /// As it is written in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Crowd => "crowd",
            Self::Safety => "safety",
        }
    }

    /// Parts in 32 of the latency bound that may be expected to pass in the intake while records of this class are let in.
    /// Judging and handing over take the rest. Crowds are let go early, since what is urgent waits behind them; between
    /// their bound and that of safety lies what a hiccup of the machine may cost without a record of safety let go.
    pub(super) fn parts_of_the_bound(self) -> u64 {
        match self {
            Self::Other => 1,
            Self::Crowd => 2,
            Self::Safety => 24,
        }
    }
}

/// Parts into which the latency bound is divided.
pub(super) const PARTS_OF_THE_BOUND: u64 = 32;

/// Records of one source and kind that were let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shed {
    pub(crate) class: Class,
    pub(crate) count: u64,
    /// Wall clock at the first and the last of them.
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// By second of event time, as far as their text showed it at a glance; else by second of arrival.
    pub(crate) seconds: BTreeMap<i64, u64>,
}

/// Seconds that one [`Shed`] keeps apart; what finds no room is counted under the last.
const SECONDS_MAX: usize = 1_024;

/// Records that were let go, by source and kind; without a kind where it was not looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShedTally(BTreeMap<(u16, Option<KindId>), Shed>);

impl ShedTally {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(
        &mut self,
        key: (u16, Option<KindId>),
        class: Class,
        count: u64,
        second: Option<i64>,
        now_ms: i64,
    ) {
        if count == 0 {
            return;
        }
        let fresh = || Shed { class, count: 0, from_ms: now_ms, to_ms: now_ms, seconds: BTreeMap::new() };
        let shed = self.0.entry(key).or_insert_with(fresh);
        shed.count += count;
        (shed.from_ms, shed.to_ms) = (shed.from_ms.min(now_ms), shed.to_ms.max(now_ms));
        shed.add_at(second.unwrap_or(now_ms.div_euclid(1_000)), count);
    }

    pub(super) fn append(&mut self, other: Self) {
        for (key, more) in other.0 {
            match self.0.get_mut(&key) {
                None => drop(self.0.insert(key, more)),
                Some(shed) => {
                    shed.count += more.count;
                    shed.from_ms = shed.from_ms.min(more.from_ms);
                    shed.to_ms = shed.to_ms.max(more.to_ms);
                    for (second, count) in more.seconds {
                        shed.add_at(second, count);
                    }
                }
            }
        }
    }

    /// By source and kind.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, Option<KindId>, &Shed)> {
        self.0.iter().map(|((source, kind), shed)| (*source, *kind, shed))
    }
}

impl Shed {
    fn add_at(&mut self, second: i64, count: u64) {
        let room = self.seconds.len() < SECONDS_MAX || self.seconds.contains_key(&second);
        let second = if room { Some(second) } else { self.seconds.keys().next_back().copied() };
        *self.seconds.entry(second.expect("there is a second where there is no room")).or_default() += count;
    }
}

/// The class of every record under one set of packs.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// By kind: its name as it stands in a record, and its class.
    pub(crate) kinds: Vec<(Box<[u8]>, Class)>,
    /// By source.
    pub(crate) sources: Vec<SourceClass>,
}

/// What is known of the records of a source before they are decoded.
#[derive(Debug)]
pub(crate) struct SourceClass {
    /// The kind of all its records, where there is one.
    pub(crate) kind: Option<KindId>,
    /// Whether its records have other fields than weir's.
    pub(crate) foreign: bool,
    /// Zone of times that state none.
    pub(crate) timezone: Option<TimeZone>,
}

/// The classes in force; they change with the packs.
#[derive(Debug, Default)]
pub(crate) struct ClassBoard(Mutex<Arc<Classes>>);

impl ClassBoard {
    pub(crate) fn read(&self) -> Arc<Classes> {
        Arc::clone(&self.0.lock())
    }

    pub(crate) fn set(&self, classes: Arc<Classes>) {
        *self.0.lock() = classes;
    }
}

static KIND: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"kind\""));
static TS: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"ts\""));

impl Classes {
    /// What is let in of a payload: records of the classes from `least` on, none if there is no such class. The others
    /// are added to `tally`.
    pub(super) fn sift(
        &self,
        source: u16,
        payload: Payload,
        least: Option<Class>,
        now_ms: i64,
        tally: &mut ShedTally,
    ) -> Option<Payload> {
        let of = &self.sources[usize::from(source)];
        let class_of = |kind: Option<KindId>| kind.map_or(Class::Safety, |kind| self.kinds[usize::from(kind)].1);
        let lets_in = |class| least.is_some_and(|least| class >= least);
        match payload {
            // Nothing is decoded of them any more, and they have been counted as they were read.
            Payload::Refused(_) | Payload::Alive(_) => Some(payload),
            // Each may be of another kind.
            Payload::Lines { bytes, format: Format::Ndjson, header } if of.kind.is_none() && !of.foreign => {
                let mut seconds = Seconds::new(of.timezone.clone());
                let mut counts = Counts::new(self.kinds.len());
                let kept = sift_lines(&bytes, |line| {
                    let kind = self.kind_of(line);
                    let keep = lets_in(class_of(kind));
                    if !keep {
                        counts.add(kind, seconds.of(line), |kind, second, count| {
                            tally.add((source, kind), class_of(kind), count, second, now_ms);
                        });
                    }
                    keep
                });
                counts.flush(|kind, second, count| tally.add((source, kind), class_of(kind), count, second, now_ms));
                (!kept.is_empty()).then_some(Payload::Lines { bytes: kept, format: Format::Ndjson, header })
            }
            _ if lets_in(class_of(of.kind)) => Some(payload),
            Payload::Lines { bytes, format: Format::Ndjson, .. } if !of.foreign => {
                let mut seconds = Seconds::new(of.timezone.clone());
                sift_lines(&bytes, |line| {
                    tally.add((source, of.kind), class_of(of.kind), 1, seconds.of(line), now_ms);
                    false
                });
                None
            }
            _ => {
                tally.add((source, of.kind), class_of(of.kind), records_in(&payload), None, now_ms);
                None
            }
        }
    }

    /// The kind of a record of weir's own fields, if it can be told at a glance: it is the first thing that stands there,
    /// or the only one of its name in a line without escapes (a second one may belong to another object).
    fn kind_of(&self, line: &[u8]) -> Option<KindId> {
        let name = match line.strip_prefix(b"{\"kind\":\"") {
            Some(rest) => &rest[..memchr(b'"', rest)?],
            None => {
                let rest = &line[KIND.find(line)? + KIND.needle().len()..];
                let alone = KIND.find(rest).is_none() && memchr(b'\\', line).is_none();
                quoted(rest).filter(|_| alone)?
            }
        };
        self.kinds.iter().position(|(known, _)| &**known == name).map(|kind| kind as KindId)
    }
}

/// Lines that are kept. Where one is let go a blank line stays, so that the others keep their numbers; nothing is
/// left if none is kept.
fn sift_lines(bytes: &Bytes, mut keep: impl FnMut(&[u8]) -> bool) -> Bytes {
    let mut kept = Vec::with_capacity(bytes.len() + 1);
    let mut any = false;
    for range in records_of(bytes, Format::Ndjson) {
        let line = &bytes[range];
        if !line.iter().all(u8::is_ascii_whitespace) && keep(line) {
            any = true;
            kept.extend_from_slice(line);
        }
        kept.push(b'\n');
    }
    // What waits holds no more than it needs.
    if any { kept.into_boxed_slice().into() } else { Bytes::new() }
}

/// The text after a key: what stands between the quotes that follow the colon.
fn quoted(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    Some(&rest[..memchr(b'"', rest)?])
}

/// Finds the second of event time of lines, which mostly have it where the line before had it.
struct Seconds {
    times: TimeReader,
    /// Where the key stood.
    at: usize,
    /// Of epoch milliseconds: what stood there up to the second, and which it was.
    last: Vec<u8>,
    second: i64,
}

/// Digits of epoch milliseconds, from 2001 to 2286.
const EPOCH_MS_DIGITS: usize = 13;

impl Seconds {
    fn new(timezone: Option<TimeZone>) -> Self {
        Self { times: TimeReader::new(timezone), at: 0, last: Vec::new(), second: 0 }
    }

    /// `None` if it does not stand there plainly.
    fn of(&mut self, line: &[u8]) -> Option<i64> {
        let needle = TS.needle();
        if !line.get(self.at..).is_some_and(|rest| rest.starts_with(needle)) {
            self.at = TS.find(line)?;
        }
        let rest = &line[self.at + needle.len()..];
        if let Some(text) = quoted(rest) {
            return Some(self.times.read_ms(std::str::from_utf8(text).ok()?)?.div_euclid(1_000));
        }
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let digits = value.iter().position(|byte| !byte.is_ascii_digit())?;
        let to_the_second = &value[..digits.saturating_sub(3)];
        if digits != EPOCH_MS_DIGITS || self.last != to_the_second {
            self.second = self.times.read_ms(std::str::from_utf8(&value[..digits]).ok()?)?.div_euclid(1_000);
            self.last.clear();
            self.last.extend_from_slice(to_the_second);
        }
        Some(self.second)
    }
}

/// Counts records of one second by kind, since neighbours mostly share it.
struct Counts {
    second: Option<i64>,
    /// By kind; those of no known kind last.
    of_kind: Vec<u64>,
}

impl Counts {
    fn new(kinds: usize) -> Self {
        Self { second: None, of_kind: vec![0; kinds + 1] }
    }

    fn add(&mut self, kind: Option<KindId>, second: Option<i64>, emit: impl FnMut(Option<KindId>, Option<i64>, u64)) {
        if self.second != second {
            self.flush(emit);
            self.second = second;
        }
        let last = self.of_kind.len() - 1;
        self.of_kind[kind.map_or(last, usize::from)] += 1;
    }

    fn flush(&mut self, mut emit: impl FnMut(Option<KindId>, Option<i64>, u64)) {
        let last = self.of_kind.len() - 1;
        for (kind, count) in self.of_kind.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            emit((kind < last).then_some(kind as KindId), self.second, std::mem::take(count));
        }
    }
}

/// Records in a payload of which nothing is let in.
fn records_in(payload: &Payload) -> u64 {
    let full = |bytes: &Bytes, format: Format| {
        let is_record = |range: &Range<usize>| !bytes[range.clone()].iter().all(u8::is_ascii_whitespace);
        records_of(bytes, format).filter(is_record).count()
    };
    let count = match payload {
        Payload::Lines { bytes, format, .. } => full(bytes, *format),
        Payload::Objects { ranges, .. } => ranges.len(),
        Payload::Columns(batch) => RecordBatch::num_rows(batch),
        Payload::Encoded(rows) => rows.count(),
        Payload::Refused(causes) => causes.len(),
        Payload::Alive(_) => 0,
    };
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const VEHICLE: KindId = 0;
    const PERSON: KindId = 1;
    const NOW_MS: i64 = 1_795_000_000_000;

    fn classes(kind: Option<KindId>, foreign: bool) -> Classes {
        Classes {
            kinds: vec![
                (b"vehicle"[..].into(), Class::Safety),
                (b"person"[..].into(), Class::Crowd),
                (b"item"[..].into(), Class::Other),
            ],
            sources: vec![SourceClass { kind, foreign, timezone: None }],
        }
    }

    fn lines(text: &str) -> Payload {
        Payload::Lines { bytes: Bytes::from(text.to_owned()), format: Format::Ndjson, header: None }
    }

    /// By kind.
    type LetGo = Vec<(Option<KindId>, u64)>;

    /// What is left of a payload, and what was let go: counts and seconds.
    fn sift(classes: &Classes, payload: Payload, least: Option<Class>) -> (String, LetGo, Vec<i64>) {
        let mut tally = ShedTally::default();
        let kept = classes.sift(0, payload, least, NOW_MS, &mut tally);
        let kept = match kept {
            None => String::new(),
            Some(Payload::Lines { bytes, .. }) => String::from_utf8(bytes.to_vec()).unwrap(),
            Some(other) => panic!("{other:?}"),
        };
        let seconds = tally.iter().flat_map(|(.., shed)| shed.seconds.keys().copied().collect::<Vec<_>>()).collect();
        (kept, tally.iter().map(|(_, kind, shed)| (kind, shed.count)).collect(), seconds)
    }

    #[test]
    fn a_kind_is_told_at_a_glance_or_not_at_all() {
        let classes = classes(None, false);
        for (line, kind) in [
            (r#"{"kind":"person","ts":1}"#, Some(PERSON)),
            (r#" { "ts" : 1 , "kind" : "vehicle" } "#, Some(VEHICLE)),
            (r#"{"kind":"person","x":{"kind":"vehicle"}}"#, Some(PERSON)),
            // Which of the two is the record's own takes more than a glance.
            (r#"{"x":{"kind":"person"},"kind":"vehicle"}"#, None),
            (r#"{"\u006bind":"vehicle","x":{"kind":"person"}}"#, None),
            (r#"{"x":"\"kind\":","kind":"person"}"#, None),
            (r#"{"kind":"pers\u006fn"}"#, None),
            (r#"{"kind":"unheard-of"}"#, None),
            (r#"{"kind":7}"#, None),
            (r#"{"kind":"person"#, None),
            ("", None),
            ("\u{0}\"kind\"", None),
        ] {
            assert_eq!(classes.kind_of(line.as_bytes()), kind, "{line}");
        }
    }

    #[test]
    fn what_is_kept_keeps_its_line() {
        let text = "{\"kind\":\"person\",\"ts\":1795000001500}\n\n{\"kind\":\"vehicle\"}\r\n  \n{\"kind\":\"item\"}\nrubbish\n{\"kind\":\"person\",\"ts\":\"2026-11-18T08:26:42.1+00:00\"}";
        let all = classes(None, false);
        let (kept, shed, seconds) = sift(&all, lines(text), Some(Class::Safety));
        assert_eq!(kept, "\n\n{\"kind\":\"vehicle\"}\n\n\nrubbish\n\n");
        assert_eq!(shed, [(Some(PERSON), 2), (Some(2), 1)]);
        assert_eq!(seconds, [1_794_990_402, 1_795_000_001, NOW_MS / 1_000]);
        let (kept, shed, _) = sift(&all, lines(text), Some(Class::Crowd));
        assert_eq!((kept.matches("person").count(), shed), (2, vec![(Some(2), 1)]));
        let (kept, shed, _) = sift(&all, lines(text), None);
        assert_eq!((kept.as_str(), shed), ("", vec![(None, 1), (Some(VEHICLE), 1), (Some(PERSON), 2), (Some(2), 1)]));
    }

    #[test]
    fn sources_of_one_kind_are_let_in_or_not_as_a_whole() {
        let text = "{\"a\":1,\"ts\":1795000001500}\n\n{\"kind\":\"vehicle\"}\n";
        let (kept, shed, _) = sift(&classes(Some(PERSON), false), lines(text), Some(Class::Safety));
        assert_eq!((kept.as_str(), shed), ("", vec![(Some(PERSON), 2)]));
        let (kept, shed, _) = sift(&classes(Some(PERSON), true), lines(text), Some(Class::Crowd));
        assert_eq!((kept.as_str(), shed), (text, vec![]));
        // Foreign records of any kind might be urgent.
        let (kept, shed, _) = sift(&classes(None, true), lines(text), Some(Class::Safety));
        assert_eq!((kept.as_str(), shed), (text, vec![]));
        let (kept, shed, _) = sift(&classes(None, true), lines(text), None);
        assert_eq!((kept.as_str(), shed), ("", vec![(None, 2)]));
        let csv = Payload::Lines { bytes: "1,\"a\nb\"\n\n2,c\n".into(), format: Format::Csv, header: None };
        let (kept, shed, seconds) = sift(&classes(Some(PERSON), false), csv, None);
        assert_eq!((kept.as_str(), shed, seconds), ("", vec![(Some(PERSON), 2)], vec![NOW_MS / 1_000]));
    }

    #[test]
    fn seconds_are_bounded_and_counts_exact() {
        let mut tally = ShedTally::default();
        for second in 0..3 * SECONDS_MAX as i64 {
            tally.add((0, None), Class::Safety, 2, Some(second), NOW_MS + second);
        }
        let mut all = ShedTally::default();
        all.append(tally);
        let mut more = ShedTally::default();
        more.add((0, None), Class::Safety, 1, Some(-5), NOW_MS - 1);
        all.append(more);
        let (_, _, shed) = all.iter().next().unwrap();
        assert_eq!((shed.seconds.len(), shed.count), (SECONDS_MAX, 6 * SECONDS_MAX as u64 + 1));
        assert_eq!(shed.seconds.values().sum::<u64>(), shed.count);
        assert_eq!((shed.from_ms, shed.to_ms), (NOW_MS - 1, NOW_MS + 3 * SECONDS_MAX as i64 - 1));
    }
}

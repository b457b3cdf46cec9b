//! Records of a block that are refused: the first few are told one by one, the others together, by their cause. A line of one
//! letter costs its sender nothing; a digest and a letter for each would cost us as much as a good record, and hundreds of
//! bytes on a disk.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

use super::assembly::{Assembly, Place, Rejected};
use super::json::NO_OBJECT;
use crate::record::{Cause, Pseudonyms, Reason, Sealer, SourceId};
use crate::rng::OsRng;
use crate::source::{Block, Payload};

/// Records of a block that are told one by one. Those behind them are told together.
const SINGLY_MAX: usize = 8;
/// Causes by which those are told apart; beyond them, words of causes.
const CAUSES_MAX: usize = 32;
/// Bytes that are hashed in one go: a call for each of two bytes takes as long as reading its line.
const HASHED_BYTES: usize = 16 << 10;
/// Most bytes that are kept with a letter. A longer record is told alone, and its bytes are not kept.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What is wrong with a line at a glance.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flaw {
    /// It begins with no bracket.
    NoObject,
    /// It is no text.
    NotUtf8,
    /// No record has so few bytes: so many are the least.
    TooShort(usize),
}

/// How many there are.
const FLAWS: usize = 3;

impl Flaw {
    fn number(self) -> usize {
        match self {
            Self::NoObject => 0,
            Self::NotUtf8 => 1,
            Self::TooShort(_) => 2,
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::NoObject => NO_OBJECT,
            Self::NotUtf8 => Reason::NotUtf8 { at: 0 },
            Self::TooShort(bytes_min) => Reason::TooShort { bytes_min },
        }
    }
}

/// Refused records of the block that is being read, of one source.
pub(super) struct Refusals {
    source: SourceId,
    pseudonyms: Pseudonyms,
    /// Where the source keeps the bytes of what is refused.
    sealer: Option<Sealer>,
    /// How many were told one by one.
    singly: usize,
    together: Vec<Together>,
    /// By flaw: with which lines that have it are told, once that is known.
    of_flaw: [Option<usize>; FLAWS],
}

/// Records that are told together.
struct Together {
    cause: Cause,
    first: Place,
    /// Numbers of the others in the block.
    others: Vec<u32>,
    /// Of their bytes, with a line feed between two; `None` if they came as columns.
    hasher: Option<blake3::Hasher>,
    /// Those of them that have not been hashed, or all where they are kept.
    bytes: Vec<u8>,
}

impl Together {
    fn begin(cause: Cause, first: Place, raw: Option<&[u8]>, pseudonyms: &Pseudonyms, keeps: bool) -> Self {
        let hasher = raw.map(|_| pseudonyms.record_hasher());
        let mut it = Self { cause, first, others: Vec::new(), hasher, bytes: Vec::new() };
        it.take(raw.unwrap_or_default(), keeps);
        it
    }

    fn has_room(&self, bytes: usize, keeps: bool) -> bool {
        !keeps || self.bytes.len() + bytes < KEPT_BYTES_MAX
    }

    fn add(&mut self, numbers: Range<u32>, raw: Option<&[u8]>, keeps: bool) {
        self.others.extend(numbers);
        if let Some(raw) = raw {
            self.bytes.push(b'\n');
            self.take(raw, keeps);
        }
    }

    fn take(&mut self, raw: &[u8], keeps: bool) {
        self.bytes.extend_from_slice(raw);
        if !keeps
            && self.bytes.len() >= HASHED_BYTES
            && let Some(hasher) = &mut self.hasher
        {
            hasher.update(&self.bytes);
            self.bytes.clear();
        }
    }

    /// The digest of all of them.
    fn digest(&mut self) -> String {
        let digest = |hasher: &mut blake3::Hasher| Pseudonyms::record_digest(hasher.update(&self.bytes));
        self.hasher.as_mut().map_or_else(String::new, digest)
    }
}

impl Refusals {
    pub(super) fn new(source: SourceId, keeps: bool, pseudonyms: Pseudonyms) -> Self {
        let sealer = keeps.then(|| pseudonyms.sealer_of_refused(&mut OsRng));
        Self { source, pseudonyms, sealer, singly: 0, together: Vec::new(), of_flaw: [None; FLAWS] }
    }

    /// Notes a record that is refused; `raw` are its bytes, if it came as bytes.
    pub(super) fn note(
        &mut self,
        raw: Option<&[u8]>,
        place: Place,
        cause: Cause,
        block: &Block,
        assembly: &mut Assembly,
    ) {
        if let Some((ahead_ms, device)) = cause.clock_ahead() {
            assembly.ahead.push((self.source, device, ahead_ms));
        }
        let keeps = self.keeps();
        let raw = raw.map(|raw| if keeps { in_one_line(raw, block) } else { Cow::Borrowed(raw) });
        let raw = raw.as_deref();
        let len = raw.map_or(0, <[u8]>::len);
        if self.singly < SINGLY_MAX || (keeps && len >= KEPT_BYTES_MAX) {
            self.singly += 1;
            let digest = raw.map_or_else(String::new, |raw| self.pseudonyms.record(raw));
            let kept = raw.filter(|raw| raw.len() <= KEPT_BYTES_MAX);
            let sealed = kept.map_or_else(Vec::new, |raw| self.seal(raw, block));
            assembly.reject(place, Rejected { sealed, ..self.rejected(block, place, cause, digest) });
            return;
        }
        let Some(at) = self.like(&cause) else {
            self.together.push(Together::begin(cause, place, raw, &self.pseudonyms, keeps));
            return;
        };
        if self.together[at].has_room(len, keeps) {
            self.together[at].add(place.record..place.record + 1, raw, keeps);
        } else {
            let next = Together::begin(cause, place, raw, &self.pseudonyms, keeps);
            let full = std::mem::replace(&mut self.together[at], next);
            self.tell(full, block, assembly);
        }
    }

    /// Notes lines, one behind the other, of which it shows at a glance what is wrong; the first has this place. `false` if
    /// they are not noted, because those that are told one by one say exactly what is wrong with them.
    pub(super) fn note_lines(&mut self, raw: &[u8], first: Place, lines: u32, flaw: Flaw) -> bool {
        let keeps = self.keeps();
        if self.lines_max() == 0 {
            return false;
        }
        let number = flaw.number();
        let known = self.of_flaw[number].or_else(|| {
            let reason = flaw.reason();
            let known = self.together.iter().position(|it| it.cause.reason().is_alike(&reason));
            self.of_flaw[number] = known;
            known
        });
        let Some(known) = known.map(|at| &mut self.together[at]) else {
            let has_room = self.together.len() < CAUSES_MAX && (!keeps || raw.len() < KEPT_BYTES_MAX);
            if has_room {
                let mut it = Together::begin(flaw.reason().into(), first, Some(raw), &self.pseudonyms, keeps);
                it.others.extend(first.record + 1..first.record + lines);
                self.together.push(it);
            }
            return has_room;
        };
        let has_room = known.has_room(raw.len(), keeps);
        if has_room {
            known.add(first.record..first.record + lines, Some(raw), keeps);
        }
        has_room
    }

    /// How many lines may be noted at once; 0 while refused records are told one by one.
    pub(super) fn lines_max(&self) -> u32 {
        match (self.singly < SINGLY_MAX, self.keeps()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => u32::MAX,
        }
    }

    /// Whether the bytes of what is refused are kept.
    fn keeps(&self) -> bool {
        self.sealer.is_some()
    }

    /// Those with which one of this cause is told.
    fn like(&self, cause: &Cause) -> Option<usize> {
        self.together.iter().position(|it| it.cause.reason().is_alike(cause.reason())).or_else(|| {
            let full = self.together.len() >= CAUSES_MAX;
            self.together.iter().position(|it| full && it.cause.word() == cause.word())
        })
    }

    /// Ends a block.
    pub(super) fn finish(&mut self, block: &Block, assembly: &mut Assembly) {
        self.singly = 0;
        self.of_flaw = [None; FLAWS];
        for it in std::mem::take(&mut self.together) {
            self.tell(it, block, assembly);
        }
    }

    fn tell(&mut self, mut it: Together, block: &Block, assembly: &mut Assembly) {
        let digest = it.digest();
        let Together { cause, first, others, hasher, bytes } = it;
        let sealed = hasher.map_or_else(Vec::new, |_| self.seal(&bytes, block));
        assembly.reject(first, Rejected { others, sealed, ..self.rejected(block, first, cause, digest) });
    }

    /// Records of CSV are kept with their header, so that they can be read alone.
    fn seal(&mut self, raw: &[u8], block: &Block) -> Vec<u8> {
        let mut sealed = Vec::new();
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut sealed, |bytes| {
                if let Payload::Lines { header: Some(header), .. } = &block.payload {
                    let names: Vec<String> =
                        header.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
                    bytes.extend(names.join(",").as_bytes());
                    bytes.push(b'\n');
                }
                bytes.extend(raw);
            });
        }
        sealed
    }

    /// One record, told alone.
    pub(super) fn rejected(&self, block: &Block, place: Place, cause: Cause, digest: String) -> Rejected {
        Rejected {
            source: self.source,
            stream: Arc::clone(&block.stream),
            record: block.first_record + u64::from(place.record) + 1,
            others: Vec::new(),
            cause,
            digest,
            sealed: Vec::new(),
            received_ms: block.received_ms,
        }
    }
}

/// An object may come in several lines; what is kept are lines.
fn in_one_line<'a>(raw: &'a [u8], block: &Block) -> Cow<'a, [u8]> {
    if !matches!(block.payload, Payload::Objects { .. }) || memchr(b'\n', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use weir_rules::Catalog;

    use super::*;
    use crate::limits::Limits;
    use crate::record::Layouts;

    const FLAWS_SEEN: [Flaw; FLAWS] = [Flaw::NoObject, Flaw::NotUtf8, Flaw::TooShort(33)];

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::from_root(&[1; 32])
    }

    /// What is told of a block with these lines, all of which are refused, those at a glance that can be; some records came
    /// before the block.
    fn told(keeps: bool, at_a_glance: bool, lines: &[(Vec<u8>, Cause)], blocks: usize) -> Vec<(Place, Rejected)> {
        let layouts = Layouts::new(&Catalog::builtin(), &BTreeMap::new(), &Limits::default());
        let mut assembly = Assembly::new(&layouts, &pseudonyms());
        let mut refusals = Refusals::new(0, keeps, pseudonyms());
        for index in 0..blocks {
            let mut block = Block::plain(0, "a", Payload::Alive(Vec::new()));
            block.first_record = 1_000 * index as u64;
            let mut number = 0;
            while let Some((line, cause)) = lines.get(number) {
                let place = Place { block: index as u32, record: number as u32 };
                let alike = lines[number..].iter().take_while(|(_, other)| other == cause && !keeps).count().max(1);
                let raw = lines[number..number + alike].iter().map(|(line, _)| line.as_slice()).collect::<Vec<_>>();
                let flaw = FLAWS_SEEN.into_iter().find(|flaw| at_a_glance && flaw.reason() == *cause.reason());
                let is_noted = |flaw| refusals.note_lines(&raw.join(&b'\n'), place, alike as u32, flaw);
                if flaw.is_some_and(is_noted) {
                    number += alike;
                } else {
                    refusals.note(Some(line), place, cause.clone(), &block, &mut assembly);
                    number += 1;
                }
            }
            refusals.finish(&block, &mut assembly);
        }
        assembly.finish();
        assembly.rejected
    }

    fn line(number: usize, cause: Reason) -> (Vec<u8>, Cause) {
        (format!("{number}").into_bytes(), cause.into())
    }

    fn column(number: usize) -> Reason {
        Reason::Missing { column: format!("c{number}") }
    }

    fn cause() -> impl Strategy<Value = Cause> {
        prop_oneof![
            (0_usize..9).prop_map(|at| Reason::Json { at, what: "it ends early" }),
            prop::sample::select(FLAWS_SEEN.to_vec()).prop_map(Flaw::reason),
            (0_usize..60).prop_map(column),
            (0_i64..9, 0_u32..9).prop_map(|(ahead_ms, device)| Reason::ClockAhead { ahead_ms, device }),
            Just(Reason::UnknownKind),
        ]
        .prop_map(Cause::from)
    }

    proptest! {
        /// Against each told alone: every record is told once, by a letter of its word, and of its cause as long as there is
        /// room; its bytes are in the digest, and kept where they are to be.
        #[test]
        fn each_record_is_told_once(
            lines in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), cause()), 0..300),
            keeps: bool,
            at_a_glance: bool,
            long in 0_usize..300,
        ) {
            let mut lines = lines;
            if let Some((line, _)) = lines.get_mut(long) {
                line.resize(40_000 + long * 100, b'l');
            }
            let told = told(keeps, at_a_glance, &lines, 2);
            let mut seen = [BTreeSet::new(), BTreeSet::new()];
            for (place, it) in &told {
                prop_assert_eq!(it.record, u64::from(place.block) * 1_000 + u64::from(place.record) + 1);
                let numbers: Vec<u32> = std::iter::once(place.record).chain(it.others.iter().copied()).collect();
                prop_assert_eq!(numbers.len() as u64, it.records());
                prop_assert_eq!(&lines[place.record as usize].1, &it.cause);
                for number in &numbers {
                    prop_assert!(seen[place.block as usize].insert(*number), "told twice");
                    prop_assert_eq!(lines[*number as usize].1.word(), it.cause.word());
                }
                let bytes = numbers.iter().map(|number| lines[*number as usize].0.as_slice()).collect::<Vec<_>>().join(&b'\n');
                prop_assert_eq!(&it.digest, &pseudonyms().record(&bytes));
                let kept = (keeps && bytes.len() <= KEPT_BYTES_MAX).then_some(bytes);
                let opened = (!it.sealed.is_empty()).then(|| pseudonyms().open_refused(&it.sealed).unwrap());
                prop_assert_eq!(opened, kept);
            }
            prop_assert!(seen.iter().all(|seen| seen.len() == lines.len()), "every record is told");
            if !keeps {
                prop_assert!(told.len() <= 2 * (SINGLY_MAX + CAUSES_MAX + Reason::WORDS.len()));
            }
        }
    }

    #[test]
    fn the_first_are_told_alone_and_others_by_cause() {
        let mut lines: Vec<_> = (0..20).map(|at| line(at, Reason::NoKind)).collect();
        lines.extend((20..30).map(|at| line(at, column(at % 2))));
        let told = told(false, false, &lines, 1);
        let groups: Vec<(u64, &[u32], String)> =
            told.iter().map(|(_, it)| (it.record, it.others.as_slice(), it.cause.to_string())).collect();
        assert!(groups[..8].iter().zip(1..).all(|((record, others, _), at)| *record == at && others.is_empty()));
        assert_eq!(
            groups[8..],
            [
                (9, &[9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19][..], Cause::from(Reason::NoKind).to_string()),
                (21, &[22, 24, 26, 28][..], "`c0` is missing".to_owned()),
                (22, &[23, 25, 27, 29][..], "`c1` is missing".to_owned()),
            ]
        );
    }

    #[test]
    fn ever_other_causes_are_told_by_their_word() {
        let mut lines: Vec<_> = (0..200).map(|at| line(at, column(at))).collect();
        lines.push(line(200, Reason::NoKind));
        let told = told(false, false, &lines, 1);
        // One behind the other: alone, by columns, and the rest with the first of their word.
        let records: Vec<u64> = told.iter().map(|(_, it)| it.records()).collect();
        assert_eq!(records.len(), SINGLY_MAX + CAUSES_MAX + 1);
        assert_eq!((records[SINGLY_MAX], records[SINGLY_MAX + 1]), (161, 1));
        assert_eq!(told.last().map(|(_, it)| it.cause.word()), Some("no_kind"));
    }

    /// 200 KiB of them: four letters, none of more bytes than one may have.
    #[test]
    fn bytes_are_kept_by_so_many() {
        let lines: Vec<_> = (0..SINGLY_MAX + 200).map(|_| (vec![b'x'; 1 << 10], Reason::NoKind.into())).collect();
        let told = told(true, false, &lines, 1);
        let together: Vec<u64> = told[SINGLY_MAX..].iter().map(|(_, it)| it.records()).collect();
        assert_eq!(together, [63, 63, 63, 11]);
    }
}

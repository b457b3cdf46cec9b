//! Records that look like one before them: the same text between their values.
//!
//! A record costs more bytes of keys that never change than of values. So what stands between two values (quotes,
//! commas, keys, colons and white space, all of it) is kept as one literal, compared at once, and the value behind it
//! ends at the next special byte, which is known already ([`SpecialBytes`]). A line that fits a template is valid,
//! because the line it was learned from was and every value of it has been looked at; and its fields are those of that
//! line, because the keys are the same.
//!
//! Templates outlive their records, so they hold no value, and no key but declared ones: what somebody writes as the
//! name of a field may be the name of a person. A record with other keys is scanned each time.

use weir_memory::{SpecialBytes, equal_bytes};

use super::number::number_end;
use super::scanner::{Leaf, Scanner};
use super::{Row, Sort, Token};

/// A value that is no plain string and longer than this is left to the scanner, which looks at it once and not once
/// for every template.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a literal that are compared at once.
const HEAD: usize = 32;
/// The byte of a literal in which most differ: it lies in the key, behind `","` or `{"`.
const TELLING: usize = 3;

/// What records may begin with, as far as two bytes of their first keys tell: a bit for each hash of those.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beginnings(u64);

impl Beginnings {
    pub(super) fn insert(&mut self, literal: &Literal) {
        self.0 |= if literal.length as usize > TELLING { Self::bit(&literal.head) } else { u64::MAX };
    }

    /// Whether a record may begin at `at`; `false` is certain.
    #[inline]
    pub(super) fn may_stand(self, bytes: &[u8], at: usize) -> bool {
        bytes
            .get(at..)
            .and_then(|text| text.first_chunk::<{ TELLING + 1 }>())
            .is_none_or(|text| self.0 & Self::bit(text) != 0)
    }

    #[inline]
    fn bit<const N: usize>(text: &[u8; N]) -> u64 {
        let word = u32::from(text[TELLING - 1]) | u32::from(text[TELLING]) << 8;
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4).
        1 << (word.wrapping_mul(0x9e37_79b9) >> 26)
    }
}

/// A text that stands in every record of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    head: [u8; HEAD],
    /// One bit for each byte of the head that counts.
    mask: u32,
    length: u32,
    rest: Box<[u8]>,
}

impl Literal {
    fn new(text: &[u8]) -> Self {
        let mut head = [0; HEAD];
        let length = text.len().min(HEAD);
        head[..length].copy_from_slice(&text[..length]);
        let mask = if length == HEAD { u32::MAX } else { (1 << length) - 1 };
        Self { head, mask, length: text.len() as u32, rest: text[length..].into() }
    }

    /// The position behind the literal, if it stands at `at`.
    #[inline]
    pub(super) fn behind(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let text = bytes.get(at..)?;
        let equal = match text.first_chunk::<HEAD>() {
            Some(chunk) => equal_bytes(chunk, &self.head),
            None => equal_at_end(text, &self.head),
        };
        let long = !self.rest.is_empty();
        if equal & self.mask != self.mask || long && !text[HEAD..].starts_with(&self.rest) {
            return None;
        }
        Some(at + self.length as usize)
    }

    /// Whether one byte already tells that the literal does not stand at `at`.
    #[inline]
    pub(super) fn differs(&self, bytes: &[u8], at: usize) -> bool {
        self.length as usize > TELLING && bytes.get(at + TELLING) != Some(&self.head[TELLING])
    }
}

/// The same for less text than a head has.
#[cold]
fn equal_at_end(text: &[u8], head: &[u8; HEAD]) -> u32 {
    text.iter().zip(head).enumerate().fold(0, |bits, (at, (a, b))| bits | u32::from(a == b) << at)
}

/// A value, and what stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    before: Literal,
    is_text: bool,
    /// Where in a row it goes.
    place: u16,
    /// Brackets it lies in.
    depth: u8,
    /// The same in templates of one kind that are alike up to here, this step included, and only there.
    path: u64,
}

impl Step {
    /// The same, whatever came before.
    fn is_like(&self, other: &Self) -> bool {
        let Self { before, is_text, place, depth, path: _ } = self;
        (before, is_text, place, depth) == (&other.before, &other.is_text, &other.place, &other.depth)
    }
}

/// How far a record was like a template: a number of steps, of this path, the last of which ended at `at`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alike {
    pub(super) steps: usize,
    pub(super) path: u64,
    pub(super) at: usize,
}

/// What records of one look have in common.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Of records that say their kind first: all that stands before the value behind the kind, and where in it the kind
    /// stands. One comparison finds the kind and the first key.
    pub(super) lead: Option<(Literal, [u32; 2])>,
    steps: Vec<Step>,
    /// What stands behind the last value.
    end: Literal,
    pub(super) used: bool,
}

impl Template {
    /// What the record looks like that begins at a position of a text and ends with it; `None` if it has keys that are not
    /// declared.
    pub(super) fn new(
        text: &str,
        start: usize,
        leaves: &[Leaf],
        places: &[u16],
        says_kind_first: bool,
    ) -> Option<Self> {
        let bytes = text.as_bytes();
        let lead = leaves.get(1).filter(|_| says_kind_first).map(|second| {
            let kind = leaves[0].token;
            let kind = [kind.start, kind.end].map(|at| at - start as u32);
            (Literal::new(&bytes[start..second.token.start as usize]), kind)
        });
        let mut at = start;
        let steps = leaves
            .iter()
            .map(|leaf| {
                let place = places[usize::from(leaf.slot?)];
                let before = Literal::new(&bytes[at..leaf.token.start as usize]);
                at = leaf.token.end as usize;
                let is_text = matches!(leaf.token.sort, Sort::Text | Sort::Escaped);
                Some(Step { before, is_text, place, depth: leaf.depth, path: 0 })
            })
            .collect::<Option<Vec<Step>>>()?;
        Some(Self { lead, steps, end: Literal::new(text[at..].trim_end().as_bytes()), used: false })
    }

    /// Numbers its paths, as those of the others of its kind are numbered; `paths` is how many there are.
    pub(super) fn number_paths(&mut self, others: &[Self], paths: &mut u64) {
        let mut alike: Vec<&Self> = others.iter().collect();
        for (at, step) in self.steps.iter_mut().enumerate() {
            alike.retain(|other| other.steps.get(at).is_some_and(|other| other.is_like(step)));
            step.path = alike.first().map_or_else(
                || {
                    *paths += 1;
                    *paths
                },
                |other| other.steps[at].path,
            );
        }
    }

    /// Whether records of one are records of the other. The paths of both are numbered.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.steps == other.steps && self.end == other.end
    }

    /// What stands before the value of a step, or behind the last one.
    pub(super) fn before(&self, step: usize) -> &Literal {
        self.steps.get(step).map_or(&self.end, |step| &step.before)
    }

    /// Whether its first steps are those of a record that was read so far by another template.
    pub(super) fn begins(&self, alike: &Alike) -> bool {
        alike.steps > 0 && self.steps.get(alike.steps - 1).is_some_and(|step| step.path == alike.path)
    }

    /// Reads on from the value of step `from`, which begins at `start`; where there is none, the record ends there. If
    /// the record is not like this, says how far it is, unless that is in the middle of a value.
    pub(super) fn read(
        &self,
        reader: &Reader<'_>,
        mut start: usize,
        from: usize,
        row: &mut Row<'_>,
    ) -> Result<usize, Option<Alike>> {
        let mut steps = self.steps[from..].iter();
        let Some(mut step) = steps.next() else { return Ok(start) };
        loop {
            let end = reader.specials.next(start);
            // The literal that follows holds the closing quote.
            let at = if step.is_text && reader.bytes.get(end) == Some(&b'"') {
                row.set(step.place, Token::new(Sort::Text, start, end));
                end
            } else {
                reader.other_value(step, start, row).ok_or(None)?
            };
            let next = steps.next();
            let Some(behind) = next.map_or(&self.end, |next| &next.before).behind(reader.bytes, at) else {
                let left = steps.len() + usize::from(next.is_some());
                return Err(Some(Alike { steps: self.steps.len() - left, path: step.path, at }));
            };
            match next {
                Some(next) => (step, start) = (next, behind),
                None => return Ok(behind),
            }
        }
    }
}

/// A text of records, and what is known of it.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) specials: &'a SpecialBytes,
}

impl Reader<'_> {
    /// The inside of a string that begins behind its quote.
    pub(super) fn text_at(&self, start: usize) -> Option<Token> {
        let end = self.specials.next(start);
        match self.bytes.get(end) {
            Some(b'"') => Some(Token::new(Sort::Text, start, end)),
            Some(b'\\') => Scanner::value_at(self.near(start), start - 1, 0),
            _ => None,
        }
    }

    /// The text up to where a value that begins here must have ended.
    fn near(&self, start: usize) -> &str {
        &self.text[..self.text.floor_char_boundary(start + VALUE_BYTES_MAX)]
    }

    /// A value that is no plain string; the position behind it, or of its closing quote.
    fn other_value(&self, step: &Step, start: usize, row: &mut Row<'_>) -> Option<usize> {
        let near = self.near(start);
        let token = match near.as_bytes().get(start)? {
            _ if step.is_text => self.text_at(start)?,
            b'"' => return None,
            b'-' | b'0'..=b'9' => Token::new(Sort::Number, start, number_end(near.as_bytes(), start).ok()?),
            _ => Scanner::value_at(near, start, usize::from(step.depth))?,
        };
        let end = token.end as usize;
        // A line feed is white space to the scanner, and the end of the record to everybody else.
        if token.sort == Sort::Nested && memchr::memchr(b'\n', &self.bytes[start..end]).is_some() {
            return None;
        }
        row.set(step.place, token);
        Some(end)
    }
}

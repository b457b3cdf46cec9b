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

use super::scanner::{Leaf, Scanner};
use super::{Row, Rows, Sort, Token};
use crate::record::pack;

/// Ways to write what stands before a kind.
const OPENINGS_MAX: usize = 4;
/// Templates of one kind: devices of several makers, fields that are sometimes there.
const TEMPLATES_MAX: usize = 8;
/// Values of a record that is learned from, and its bytes.
const STEPS_MAX: usize = 256;
const LINE_BYTES_MAX: usize = 16 << 10;
/// A value that is no plain string and longer than this is left to the scanner, which looks at it once and not once
/// for every template.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Unusual records that are passed over at most before one is learned from again.
const PATIENCE_MAX: u32 = 1024;
/// Bytes of a literal that are compared at once.
const HEAD: usize = 32;

/// A text that stands in every record of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Literal {
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
    fn behind(&self, bytes: &[u8], at: usize) -> Option<usize> {
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
}

/// What records of one look have in common.
#[derive(Debug, Clone)]
struct Template {
    /// Of records that say their kind first: all that stands before the value behind the kind, and where in it the kind
    /// stands. One comparison finds the kind and the first key.
    lead: Option<(Literal, [u32; 2])>,
    steps: Vec<Step>,
    /// What stands behind the last value.
    end: Literal,
    used: bool,
}

impl Template {
    /// What a record looks like; `None` if it has keys that are not declared.
    fn new(line: &str, leaves: &[Leaf], places: &[u16], says_kind_first: bool) -> Option<Self> {
        let bytes = line.as_bytes();
        let lead = leaves.get(1).filter(|_| says_kind_first).map(|second| {
            let kind = leaves[0].token;
            (Literal::new(&bytes[..second.token.start as usize]), [kind.start, kind.end])
        });
        let mut at = 0;
        let steps = leaves
            .iter()
            .map(|leaf| {
                let place = places[usize::from(leaf.slot?)];
                let before = Literal::new(&bytes[at..leaf.token.start as usize]);
                at = leaf.token.end as usize;
                let is_text = matches!(leaf.token.sort, Sort::Text | Sort::Escaped);
                Some(Step { before, is_text, place, depth: leaf.depth })
            })
            .collect::<Option<Vec<Step>>>()?;
        Some(Self { lead, steps, end: Literal::new(line[at..].trim_end().as_bytes()), used: false })
    }

    /// Reads on from the value of step `from - 1`, which ended at `at`.
    fn read_behind(&self, reader: &Reader<'_>, at: usize, from: usize, row: &mut Row<'_>) -> Option<usize> {
        match self.steps.get(from) {
            Some(step) => self.read(reader, step.before.behind(reader.bytes, at)?, from, row),
            None => self.end.behind(reader.bytes, at),
        }
    }

    /// Reads on from the value of step `from`, which begins at `start`.
    fn read(&self, reader: &Reader<'_>, mut start: usize, from: usize, row: &mut Row<'_>) -> Option<usize> {
        let mut steps = self.steps[from..].iter();
        let mut step = steps.next()?;
        loop {
            let end = reader.specials.next(start);
            // The literal that follows holds the closing quote.
            let at = if step.is_text && reader.bytes.get(end) == Some(&b'"') {
                row.set(step.place, Token::new(Sort::Text, start, end));
                end
            } else {
                reader.other_value(step, start, row)?
            };
            match steps.next() {
                Some(next) => (step, start) = (next, next.before.behind(reader.bytes, at)?),
                None => return self.end.behind(reader.bytes, at),
            }
        }
    }
}

/// A text of records, and what is known of it.
struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    specials: &'a SpecialBytes,
}

impl Reader<'_> {
    /// The inside of a string that begins behind its quote.
    fn text_at(&self, start: usize) -> Option<Token> {
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
        let scanned = || Scanner::value_at(near, start, usize::from(step.depth));
        let token = match near.as_bytes().get(start)? {
            _ if step.is_text => self.text_at(start)?,
            b'"' => return None,
            b'-' | b'0'..=b'9' => plain_number(near.as_bytes(), start).or_else(scanned)?,
            _ => scanned()?,
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

/// A number without exponent.
#[inline]
fn plain_number(bytes: &[u8], start: usize) -> Option<Token> {
    let digits = |mut at: usize| {
        while let Some(b'0'..=b'9') = bytes.get(at) {
            at += 1;
        }
        at
    };
    let first = start + usize::from(bytes[start] == b'-');
    let whole = digits(first);
    if whole == first || (whole > first + 1 && bytes[first] == b'0') {
        return None;
    }
    let end = if bytes.get(whole) == Some(&b'.') { digits(whole + 1) } else { whole };
    let plain = end != whole + 1 && !matches!(bytes.get(end), Some(b'e' | b'E'));
    plain.then(|| Token::new(Sort::Number, start, end))
}

/// Templates of the records of one kind, the one used last first.
#[derive(Debug, Clone, Default)]
struct Choice {
    /// Position of the kind among all; nothing for records that do not say it first.
    kind: Option<usize>,
    /// By slot: where in a row its value goes.
    places: Vec<u16>,
    templates: Vec<Template>,
    /// Unusual records still to be passed over.
    passing: u32,
    /// How many are passed over after a template that was of no use.
    patience: u32,
}

/// What the records of a source look like.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    /// The slot of the kind, if records say it. Where they say it first, it chooses among the templates.
    chooser: Option<u16>,
    /// What stands before the kind.
    openings: Vec<Literal>,
    /// Names of kinds, packed, in the order of their choices.
    names: Vec<u128>,
    /// Records that do not say their kind first, and then one for each kind.
    choices: Vec<Choice>,
    /// Room for the values of one record, empty between records.
    leaves: Vec<Leaf>,
}

impl Templates {
    /// Nothing is usual yet. `kind` is the slot in which records say their kind, with the names there are. `places` are
    /// those of the slots in a row: of records that do not say their kind first, or of a kind by its position.
    pub(crate) fn new(kind: Option<(usize, &[String])>, places: impl Fn(Option<usize>) -> Vec<u16>) -> Self {
        let names = kind.map_or(&[][..], |(_, names)| names);
        let names = names.iter().enumerate().filter_map(|(kind, name)| Some((kind, pack(name.as_bytes())?)));
        let choice = |kind| Choice { kind, places: places(kind), ..Choice::default() };
        let named = names.clone().map(|(kind, _)| choice(Some(kind)));
        Self {
            chooser: kind.map(|(slot, _)| slot as u16),
            openings: Vec::new(),
            names: names.map(|(_, name)| name).collect(),
            choices: std::iter::once(choice(None)).chain(named).collect(),
            leaves: Vec::new(),
        }
    }

    /// Reads the record that begins at a position of a text into a row of its kind; gives the position behind its closing
    /// bracket. `None` says only that this record has to be scanned. `specials` are those of the text, which may hold other records
    /// behind this one, each on a line of its own.
    pub(crate) fn read(
        &mut self,
        text: &str,
        at: usize,
        specials: &SpecialBytes,
        rows: &mut impl Rows,
    ) -> Option<usize> {
        let reader = Reader { text, bytes: text.as_bytes(), specials };
        if let Some(end) = self.read_as_last(&reader, at, rows) {
            return Some(end);
        }
        let opened = self.openings.iter().find_map(|opening| opening.behind(reader.bytes, at));
        let (choice, kind, at) = match (opened, self.chooser) {
            (Some(start), Some(slot)) => {
                let token = reader.text_at(start)?;
                let end = token.end as usize;
                let name = pack(&reader.bytes[start..end])?;
                let choice = self.names.iter().position(|known| *known == name)?;
                (&mut self.choices[choice + 1], Some((slot, token)), end)
            }
            _ => (&mut self.choices[0], None, at),
        };
        for place in 0..choice.templates.len() {
            let mut row = rows.row(choice.kind);
            if let Some((slot, token)) = kind {
                row.set(choice.places[usize::from(slot)], token);
            }
            if let Some(end) = choice.templates[place].read_behind(&reader, at, usize::from(kind.is_some()), &mut row) {
                if !std::mem::replace(&mut choice.templates[place].used, true) {
                    // Learning it was worth while; that others are met again and again says nothing of what is new.
                    choice.patience = 0;
                }
                if place > 0 {
                    choice.templates.swap(0, place);
                }
                return Some(end);
            }
        }
        None
    }

    /// The same if the record looks like the last one of its kind, which nearly all do.
    #[inline]
    fn read_as_last(&self, reader: &Reader<'_>, at: usize, rows: &mut impl Rows) -> Option<usize> {
        let slot = usize::from(self.chooser?);
        for choice in &self.choices[1..] {
            let Some(Template { lead: Some((lead, kind)), .. }) = choice.templates.first() else { continue };
            let Some(start) = lead.behind(reader.bytes, at) else { continue };
            let mut row = rows.row(choice.kind);
            let [from, to] = kind.map(|place| at + place as usize);
            row.set(choice.places[slot], Token::new(Sort::Text, from, to));
            // One that is of use is tried first as long as it is.
            return choice.templates[0].read(reader, start, 1, &mut row).filter(|_| choice.templates[0].used);
        }
        None
    }

    /// Room for the values of one record.
    pub(super) fn leaves(&mut self) -> Vec<Leaf> {
        std::mem::take(&mut self.leaves)
    }

    /// Remembers what a record looks like whose values are given, if it is valid.
    pub(super) fn learn(&mut self, line: &str, mut leaves: Vec<Leaf>, valid: bool) {
        if valid && !leaves.is_empty() && leaves.len() <= STEPS_MAX && line.len() <= LINE_BYTES_MAX {
            self.learn_from(line, &leaves);
        }
        leaves.clear();
        self.leaves = leaves;
    }

    fn learn_from(&mut self, line: &str, leaves: &[Leaf]) {
        let first = leaves[0];
        let says_kind_first = first.slot.is_some() && first.slot == self.chooser && first.token.sort == Sort::Text;
        let name = if says_kind_first {
            let name = pack(&line.as_bytes()[first.token.start as usize..first.token.end as usize]);
            if name.is_none() {
                return;
            }
            name
        } else {
            None
        };
        let choice = match name {
            None => Some(0),
            Some(name) => self.names.iter().position(|known| *known == name).map(|at| at + 1),
        };
        let Some(choice) = choice.map(|at| &mut self.choices[at]) else { return };
        if choice.passing > 0 {
            choice.passing -= 1;
            return;
        }
        let Some(template) = Template::new(line, leaves, &choice.places, says_kind_first) else { return };
        if choice.templates.iter().any(|known| known.steps == template.steps && known.end == template.end) {
            return;
        }
        let opening = &template.steps[0].before;
        if says_kind_first && !self.openings.contains(opening) {
            if self.openings.len() == OPENINGS_MAX {
                return;
            }
            self.openings.push(opening.clone());
        }
        if choice.templates.len() == TEMPLATES_MAX {
            let gone = choice.templates.pop();
            if gone.is_some_and(|gone| !gone.used) {
                choice.patience = (choice.patience * 2 + 1).min(PATIENCE_MAX);
            }
        }
        choice.passing = choice.patience;
        choice.templates.insert(0, template);
    }
}

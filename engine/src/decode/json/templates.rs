//! Which templates a source has, by kind; how they are chosen, learned and forgotten.

use std::ops::Range;

use weir_memory::SpecialBytes;

use super::scanner::Leaf;
use super::template::{Alike, Beginnings, Literal, Reader, Template};
use super::{Row, Rows, Sort, Token};
use crate::record::{pack, pack_within};

/// Ways to write what stands before a kind.
const OPENINGS_MAX: usize = 4;
/// Templates of one kind: devices of several makers, fields that are sometimes there.
const TEMPLATES_MAX: usize = 8;
/// Values of a record that is learned from, and its bytes.
const STEPS_MAX: usize = 256;
const LINE_BYTES_MAX: usize = 16 << 10;
/// Where so many are passed over, what was of no use is not kept any longer: each record would be compared with it.
const PATIENCE_SHORT: u32 = 63;
/// Unusual records that are passed over at most before one is learned from again.
const PATIENCE_MAX: u32 = 1024;

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
    /// Paths that have been numbered.
    paths: u64,
}

impl Choice {
    /// Reads a record that begins like the first template: its kind, and where the value behind it begins.
    #[inline]
    fn read_as_last(
        &mut self,
        reader: &Reader<'_>,
        rows: &mut impl Rows,
        (slot, token): (u16, Token),
        start: usize,
    ) -> Option<usize> {
        let mut row = rows.row(self.kind);
        let kind = (self.places[usize::from(slot)], token);
        row.set(kind.0, token);
        match self.templates[0].read(reader, start, 1, &mut row) {
            Ok(end) => {
                self.was_of_use(0);
                Some(end)
            }
            Err(alike) => self.read_by_others(reader, &mut row, Some(kind), token.end as usize, (1, alike)),
        }
    }

    /// Reads a record, or what stands behind its kind, at `at`, by whichever template it is like.
    fn read(
        &mut self,
        reader: &Reader<'_>,
        rows: &mut impl Rows,
        kind: Option<(u16, Token)>,
        at: usize,
    ) -> Option<usize> {
        let from = usize::from(kind.is_some());
        if self.templates.iter().all(|template| template.before(from).differs(reader.bytes, at)) {
            return None;
        }
        let mut row = rows.row(self.kind);
        let kind = kind.map(|(slot, token)| (self.places[usize::from(slot)], token));
        if let Some((place, token)) = kind {
            row.set(place, token);
        }
        self.read_by_others(reader, &mut row, kind, at, (0, None))
    }

    /// Reads it by one template after the other, but for so many that have been tried, the last of which has filled the row
    /// as far as the record is like it.
    fn read_by_others(
        &mut self,
        reader: &Reader<'_>,
        row: &mut Row<'_>,
        kind: Option<(u16, Token)>,
        at: usize,
        (tried, mut alike): (usize, Option<Alike>),
    ) -> Option<usize> {
        let from = usize::from(kind.is_some());
        let mut is_fresh = tried == 0;
        for number in tried..self.templates.len() {
            let template = &self.templates[number];
            let known = alike.filter(|alike| template.begins(alike));
            let (step, at) = known.map_or((from, at), |alike| (alike.steps, alike.at));
            let before = template.before(step);
            // Most of them differ from the record in their first key.
            if before.differs(reader.bytes, at) {
                continue;
            }
            let Some(start) = before.behind(reader.bytes, at) else { continue };
            // What another has found on its own way is not this one's.
            if known.is_none() && !is_fresh {
                row.clear();
                if let Some((place, token)) = kind {
                    row.set(place, token);
                }
            }
            is_fresh = false;
            match template.read(reader, start, step, row) {
                Ok(end) => {
                    self.was_of_use(number);
                    return Some(end);
                }
                Err(so_far) => alike = so_far,
            }
        }
        None
    }

    /// Makes room for another template. Tells whether one had to go that was of no use.
    fn make_room(&mut self) -> bool {
        if self.patience >= PATIENCE_SHORT {
            let known = self.templates.len();
            self.templates.retain(|template| template.used);
            if self.templates.len() < known {
                return true;
            }
        }
        self.templates.len() == TEMPLATES_MAX && self.templates.pop().is_some_and(|gone| !gone.used)
    }

    /// A record was like a template: the next one is likely to be like it too.
    #[inline]
    fn was_of_use(&mut self, number: usize) {
        if !std::mem::replace(&mut self.templates[number].used, true) {
            // Learning it was worth while; that others are met again and again says nothing of what is new.
            self.patience = 0;
        }
        if number > 0 {
            self.templates.swap(0, number);
        }
    }
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
    /// What a record begins with that is like any template.
    beginnings: Beginnings,
    /// Room for the values of one record.
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
            beginnings: Beginnings::default(),
            leaves: Vec::new(),
        }
    }

    /// Reads the record that begins at a position of a text into a row of its kind; gives the position behind its closing
    /// bracket. `None` says only that this record has to be scanned. `specials` are those of the text, which may hold other records
    /// behind this one, each on a line of its own.
    #[inline]
    pub(crate) fn read(
        &mut self,
        text: &str,
        at: usize,
        specials: &SpecialBytes,
        rows: &mut impl Rows,
    ) -> Option<usize> {
        let may_stand = self.beginnings.may_stand(text.as_bytes(), at);
        if may_stand { self.read_any(&Reader { text, bytes: text.as_bytes(), specials }, at, rows) } else { None }
    }

    /// The same of a record that begins like one of them.
    fn read_any(&mut self, reader: &Reader<'_>, at: usize, rows: &mut impl Rows) -> Option<usize> {
        // Nearly all records begin like the last one of their kind.
        for number in 1..self.choices.len() {
            let Some(Template { lead: Some((lead, kind)), .. }) = self.choices[number].templates.first() else {
                continue;
            };
            let Some(start) = lead.behind(reader.bytes, at) else { continue };
            let [from, to] = kind.map(|place| at + place as usize);
            let kind = (self.chooser?, Token::new(Sort::Text, from, to));
            return self.choices[number].read_as_last(reader, rows, kind, start);
        }
        let mut openings = self.openings.iter().filter(|opening| !opening.differs(reader.bytes, at));
        let opened = openings.find_map(|opening| opening.behind(reader.bytes, at));
        let (Some(start), Some(slot)) = (opened, self.chooser) else {
            return self.choices[0].read(reader, rows, None, at);
        };
        let token = reader.text_at(start)?;
        let end = token.end as usize;
        let name = pack_within(reader.bytes, start..end)?;
        let choice = self.names.iter().position(|known| *known == name)?;
        self.choices[choice + 1].read(reader, rows, Some((slot, token)), end)
    }

    /// Begins to watch how a record of a text is scanned.
    #[inline]
    pub(super) fn watch<'a>(&mut self, text: &'a str) -> Watch<'a, '_> {
        self.leaves.clear();
        Watch { text, templates: self, choice: None, listens: true }
    }

    /// Among which templates one belongs whose first value is given; `None` if among none.
    fn choice_of(&self, text: &str, first: &Leaf) -> Option<usize> {
        if first.slot.is_none() || first.slot != self.chooser || first.token.sort != Sort::Text {
            return Some(0);
        }
        let name = pack_within(text.as_bytes(), first.token.start as usize..first.token.end as usize)?;
        self.names.iter().position(|known| *known == name).map(|at| at + 1)
    }

    /// Remembers what the record looks like that begins at a position of a text and ends with it.
    fn learn(&mut self, text: &str, start: usize, choice: usize) {
        let says_kind_first = choice > 0;
        let choice = &mut self.choices[choice];
        let template = Template::new(text, start, &self.leaves, &choice.places, says_kind_first);
        let Some(mut template) = template else { return };
        template.number_paths(&choice.templates, &mut choice.paths);
        if choice.templates.iter().any(|known| known.is_like(&template)) {
            return;
        }
        let opening = template.before(0);
        if says_kind_first && !self.openings.contains(opening) {
            if self.openings.len() == OPENINGS_MAX {
                return;
            }
            self.openings.push(opening.clone());
        }
        if choice.make_room() {
            choice.patience = (choice.patience * 2 + 1).min(PATIENCE_MAX);
        }
        choice.passing = choice.patience;
        choice.templates.insert(0, template);
        self.beginnings = Beginnings::default();
        for template in self.choices.iter().flat_map(|choice| &choice.templates) {
            self.beginnings.insert(template.before(0));
        }
    }
}

/// Watches how a record is scanned, to remember what it looks like if that is worth while.
pub(super) struct Watch<'a, 't> {
    text: &'a str,
    templates: &'t mut Templates,
    /// Among which templates it belongs.
    choice: Option<usize>,
    /// Whether it is of interest what values it has; the first one tells.
    listens: bool,
}

impl Watch<'_, '_> {
    /// Another value of the record.
    #[inline]
    pub(super) fn value(&mut self, token: Token, slot: Option<u16>, depth: usize) {
        if self.listens {
            self.note(Leaf { token, slot, depth: depth as u8 });
        }
    }

    #[inline(never)]
    fn note(&mut self, leaf: Leaf) {
        if self.templates.leaves.is_empty() {
            self.choice = self.templates.choice_of(self.text, &leaf);
            self.listens = self.choice.is_some_and(|choice| self.templates.choices[choice].passing == 0);
        } else if self.templates.leaves.len() == STEPS_MAX {
            (self.choice, self.listens) = (None, false);
        }
        if self.listens {
            self.templates.leaves.push(leaf);
        }
    }

    /// The record has ended, which is this piece of the text, and is valid.
    pub(super) fn end(&mut self, piece: Range<usize>) {
        if let Some(choice) = self.choice.filter(|_| piece.len() <= LINE_BYTES_MAX) {
            let passing = &mut self.templates.choices[choice].passing;
            if *passing > 0 {
                *passing -= 1;
            } else {
                self.templates.learn(&self.text[..piece.end], piece.start, choice);
            }
        }
    }
}

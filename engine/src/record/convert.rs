//! One field into one typed cell: text, number, time, symbol; with range, values and normaliser.

use weir_rules::schema::{Column, ColumnType, Normaliser};

use super::symbols::SymbolCache;
use super::{Cause, Field, Reason, SymbolId, decimal};
use crate::decode::json;
use crate::limits::{NORMALISED_BYTES_MAX, SCORED_TEXTS_MAX, ZONES_PER_RECORD_MAX};
use crate::normalise::{self, TimeReader};

/// A converted value. Texts that had to be rewritten stand in the converter's scratch space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Text(&'a str),
    /// In [`Converter::scratch`] at this column.
    Scratch(usize),
    Symbol(SymbolId),
    Number(f64),
    Integer(i64),
    Truth(bool),
    /// In [`Converter::lists`] at this column.
    List(usize),
}

impl<'a> Cell<'a> {
    pub(super) fn text<'c>(&self, converter: &'c Converter) -> Option<&'c str>
    where
        'a: 'c,
    {
        match *self {
            Self::Text(text) => Some(text),
            Self::Scratch(column) => Some(&converter.scratch[column]),
            _ => None,
        }
    }

    pub(super) fn symbol(&self) -> Option<SymbolId> {
        if let Self::Symbol(id) = *self { Some(id) } else { None }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = *self { Some(number) } else { None }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = *self { Some(number) } else { None }
    }

    pub(super) fn truth(&self) -> Option<bool> {
        if let Self::Truth(truth) = *self { Some(truth) } else { None }
    }

    pub(super) fn scored<'c>(&self, converter: &'c Converter) -> Option<&'c [(String, Option<f64>)]> {
        if let Self::List(column) = *self { Some(&converter.lists[column]) } else { None }
    }
}

/// Scratch space that lives as long as the builder, so that nothing is allocated per record.
pub(super) struct Converter {
    scratch: Vec<String>,
    lists: Vec<Vec<(String, Option<f64>)>>,
    spare: String,
}

impl Converter {
    pub(super) fn new(columns: usize) -> Self {
        Self { scratch: vec![String::new(); columns], lists: vec![Vec::new(); columns], spare: String::new() }
    }

    /// A column nobody reads: is it there if it must be?
    pub(super) fn presence<'a>(column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        match field {
            Field::Missing | Field::Text("") if column.required => Err(missing(&column.name)),
            _ => Ok(Cell::Null),
        }
    }

    /// Whether a text is what a column of texts holds, without being looked at further.
    #[inline]
    pub(super) fn stands_as_it_is(column: &Column, text: &str) -> bool {
        !text.is_empty()
            && match column.normaliser {
                None | Some(Normaliser::CredentialV1) => true,
                Some(normaliser) => text.len() <= NORMALISED_BYTES_MAX && normalise::is_canonical(normaliser, text),
            }
    }

    pub(super) fn convert<'a>(
        &mut self,
        index: usize,
        column: &Column,
        field: Field<'a>,
        cache: Option<&mut SymbolCache>,
        time: &mut TimeReader,
    ) -> Result<Cell<'a>, Cause> {
        let cell = match column.ty {
            ColumnType::Text => self.text(index, column, field)?,
            ColumnType::Symbol => {
                let text = self.text(index, column, field)?;
                let Some(text) = text.text(self) else {
                    return finish(column, Cell::Null);
                };
                let cache = cache.expect("symbol columns have a cache");
                Cell::Symbol(match cache.get(text) {
                    Some(id) => id,
                    None => new_symbol(column, text, cache)?,
                })
            }
            ColumnType::Number => match Self::number(column, field)? {
                Some(number) => Cell::Number(number),
                None => column.default.map_or(Cell::Null, Cell::Number),
            },
            ColumnType::Integer => match Self::integer(column, field)? {
                Some(number) => Cell::Integer(number),
                None => column.default.map_or(Cell::Null, |default| Cell::Integer(default as i64)),
            },
            ColumnType::Boolean => Self::truth(column, field)?,
            ColumnType::Timestamp if field.is_missing() => Cell::Null,
            ColumnType::Timestamp => Cell::Integer(self.timestamp(&column.name, field, time)?),
            ColumnType::Date => self.date(column, field)?,
            ColumnType::ScoredTexts => self.scored(index, column, field)?,
            ColumnType::Texts => self.texts(index, column, field)?,
        };
        finish(column, cell)
    }

    /// The text of a field with escapes resolved, in `spare` if it had to be rewritten.
    fn plain<'s, 'a: 's>(spare: &'s mut String, field: Field<'a>) -> Option<&'s str> {
        match field {
            Field::Text(text) | Field::Number(text) => Some(text),
            Field::Escaped(text) => {
                spare.clear();
                json::unescape(text, spare);
                Some(spare)
            }
            Field::Integer(number) => {
                spare.clear();
                spare.push_str(itoa(number, &mut [0; 20]));
                Some(spare)
            }
            _ => None,
        }
    }

    fn text<'a>(&mut self, index: usize, column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        match (field, column.normaliser) {
            (Field::Missing | Field::Text(""), _) => Ok(Cell::Null),
            // An outcome has been verified already, where the record's time is known.
            (Field::Text(text), None | Some(Normaliser::CredentialV1)) | (Field::Number(text), None) => {
                Ok(Cell::Text(text))
            }
            (Field::Text(text) | Field::Escaped(text), Some(normaliser))
                if text.len() > NORMALISED_BYTES_MAX && normaliser != Normaliser::CredentialV1 =>
            {
                Err(Reason::TextTooLong { column: column.name.clone(), max: NORMALISED_BYTES_MAX }.into())
            }
            (Field::Text(text), Some(_)) if Self::stands_as_it_is(column, text) => Ok(Cell::Text(text)),
            (field, normaliser) => {
                let text = Self::plain(&mut self.spare, field)
                    .ok_or_else(|| Reason::Unreadable { column: column.name.clone(), wanted: "a text" })?;
                let out = &mut self.scratch[index];
                out.clear();
                match normaliser {
                    None => out.push_str(text),
                    Some(normaliser) => {
                        if !normalise::apply(normaliser, text, out)? {
                            return Ok(Cell::Null);
                        }
                    }
                }
                Ok(if out.is_empty() { Cell::Null } else { Cell::Scratch(index) })
            }
        }
    }

    /// A symbol that must be there, outside the built columns.
    pub(super) fn required_symbol(
        &mut self,
        name: &str,
        field: Field<'_>,
        cache: &mut SymbolCache,
    ) -> Result<SymbolId, Cause> {
        let id = self.with_required_text(name, field, |text| {
            let id = cache.intern(text);
            id.ok_or_else(|| cache.refusal(name, text))
        })?;
        Ok(id?)
    }

    /// Hands a text that must be there to `use_it`.
    pub(super) fn with_required_text<T>(
        &mut self,
        name: &str,
        field: Field<'_>,
        use_it: impl FnOnce(&str) -> T,
    ) -> Result<T, Cause> {
        match field {
            Field::Missing | Field::Text("") => return Err(missing(name)),
            Field::Text(text) => return Ok(use_it(text)),
            _ => {}
        }
        match Self::plain(&mut self.spare, field) {
            Some("") => Err(missing(name)),
            Some(text) => Ok(use_it(text)),
            None => Err(Reason::Unreadable { column: name.to_owned(), wanted: "a text" }.into()),
        }
    }

    fn number(column: &Column, field: Field<'_>) -> Result<Option<f64>, Cause> {
        let number = match field {
            Field::Missing | Field::Text("") => return Ok(None),
            Field::Number(text) | Field::Text(text) => decimal::number(text.trim()).filter(|number| number.is_finite()),
            Field::Float(number) => Some(number).filter(|number| number.is_finite()),
            Field::Integer(number) => Some(number as f64),
            _ => None,
        };
        let number = number.ok_or_else(|| Reason::Unreadable { column: column.name.clone(), wanted: "a number" })?;
        check_range(column, number)?;
        Ok(Some(number))
    }

    fn integer(column: &Column, field: Field<'_>) -> Result<Option<i64>, Cause> {
        let number = match field {
            Field::Missing | Field::Text("") => return Ok(None),
            Field::Number(text) | Field::Text(text) => decimal::whole(text.trim()),
            Field::Integer(number) => Some(number),
            Field::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
            _ => None,
        };
        let number =
            number.ok_or_else(|| Reason::Unreadable { column: column.name.clone(), wanted: "a whole number" })?;
        check_range(column, number as f64)?;
        Ok(Some(number))
    }

    fn truth<'a>(column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        Ok(match field {
            Field::Missing | Field::Text("") => Cell::Null,
            Field::Truth(truth) => Cell::Truth(truth),
            Field::Text("true" | "1") | Field::Number("1") | Field::Integer(1) => Cell::Truth(true),
            Field::Text("false" | "0") | Field::Number("0") | Field::Integer(0) => Cell::Truth(false),
            _ => {
                return Err(Reason::Unreadable { column: column.name.clone(), wanted: "true or false" }.into());
            }
        })
    }

    /// A time in milliseconds, within the accepted range.
    pub(super) fn timestamp(&mut self, name: &str, field: Field<'_>, time: &mut TimeReader) -> Result<i64, Cause> {
        if field.is_missing() {
            return Err(missing(name));
        }
        let ms = match field {
            Field::Text(text) => time.read_ms(text),
            Field::Integer(ms) => Some(ms),
            Field::Number(text) => decimal::whole(text),
            Field::Float(ms) if ms.fract() == 0.0 && ms.abs() < 9e15 => Some(ms as i64),
            field => Self::plain(&mut self.spare, field).and_then(|text| time.read_ms(text)),
        };
        let ms = ms.ok_or_else(|| Reason::Unreadable { column: name.to_owned(), wanted: time.wanted() })?;
        normalise::check_epoch_ms(ms)
    }

    fn date<'a>(&mut self, column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        if matches!(field, Field::Missing | Field::Text("")) {
            return Ok(Cell::Null);
        }
        let days = match field {
            Field::Integer(days) => Some(days),
            field => Self::plain(&mut self.spare, field).and_then(normalise::date_days),
        };
        let days =
            days.ok_or_else(|| Reason::Unreadable { column: column.name.clone(), wanted: "a date as YYYY-MM-DD" })?;
        Ok(Cell::Integer(days))
    }

    fn scored<'a>(&mut self, index: usize, column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        let list = &mut self.lists[index];
        list.clear();
        match field {
            Field::Missing => return Ok(Cell::Null),
            Field::Json(text) if json::scored_texts(text, SCORED_TEXTS_MAX, list) => {}
            _ => {
                return Err(Reason::Unreadable {
                    column: column.name.clone(),
                    wanted: "a short list of texts with scores, such as [{\"text\": \"A\", \"score\": 0.9}]",
                }
                .into());
            }
        }
        if let Some(normaliser) = column.normaliser {
            for (text, _) in list.iter_mut() {
                let raw = std::mem::take(text);
                if raw.len() > NORMALISED_BYTES_MAX {
                    let column = column.name.clone();
                    return Err(Reason::TextTooLong { column, max: NORMALISED_BYTES_MAX }.into());
                }
                normalise::apply(normaliser, &raw, text)?;
            }
        }
        Ok(Cell::List(index))
    }

    fn texts<'a>(&mut self, index: usize, column: &Column, field: Field<'a>) -> Result<Cell<'a>, Cause> {
        let mut texts = Vec::new();
        match field {
            Field::Missing => return Ok(Cell::Null),
            Field::Json(text) if json::texts(text, SCORED_TEXTS_MAX.max(ZONES_PER_RECORD_MAX), &mut texts) => {}
            Field::Text(text) => texts.push(text.to_owned()),
            Field::Texts(given) => texts.extend(given.iter().cloned()),
            _ => {
                return Err(Reason::Unreadable { column: column.name.clone(), wanted: "a short list of texts" }.into());
            }
        }
        self.lists[index] = texts.into_iter().map(|text| (text, None)).collect();
        Ok(Cell::List(index))
    }

    /// The zones of a record, each once: a text, several texts divided by `;`, or a JSON array. Their
    /// numbers are added to `zones`.
    pub(super) fn zones(
        &mut self,
        field: Field<'_>,
        cache: &mut SymbolCache,
        zones: &mut Vec<SymbolId>,
    ) -> Result<(), Cause> {
        let first = zones.len();
        let unreadable = || Reason::Unreadable { column: "zone".to_owned(), wanted: "a text or a short list of texts" };
        let mut add = |zone: &str| -> Result<(), Cause> {
            let zone = zone.trim();
            if zone.is_empty() {
                return Ok(());
            }
            let id = cache.intern(zone);
            let id = id.ok_or_else(|| cache.refusal("zone", zone))?;
            if !zones[first..].contains(&id) {
                zones.push(id);
            }
            if zones.len() - first > ZONES_PER_RECORD_MAX {
                return Err(Reason::TooManyZones { max: ZONES_PER_RECORD_MAX }.into());
            }
            Ok(())
        };
        match field {
            Field::Missing | Field::Text("") => Ok(()),
            Field::Texts(texts) => texts.iter().try_for_each(|zone| add(zone)),
            Field::Json(text) => {
                let mut texts = Vec::new();
                if !json::texts(text, ZONES_PER_RECORD_MAX + 1, &mut texts) {
                    return Err(unreadable().into());
                }
                texts.iter().try_for_each(|zone| add(zone))
            }
            field => {
                let text = Self::plain(&mut self.spare, field).ok_or_else(unreadable)?;
                text.split(';').try_for_each(add)
            }
        }
    }
}

fn missing(name: &str) -> Cause {
    Reason::Missing { column: name.to_owned() }.into()
}

fn finish<'a>(column: &Column, cell: Cell<'a>) -> Result<Cell<'a>, Cause> {
    if column.required && cell == Cell::Null { Err(missing(&column.name)) } else { Ok(cell) }
}

/// The number of a text that a column's cache has not seen: only what the column allows gets into it.
#[cold]
fn new_symbol(column: &Column, text: &str, cache: &mut SymbolCache) -> Result<SymbolId, Cause> {
    if !column.values.is_empty() && !column.values.iter().any(|value| value == text) {
        return Err(Reason::NotAValue { column: column.name.clone() }.into());
    }
    let id = cache.intern(text);
    Ok(id.ok_or_else(|| cache.refusal(&column.name, text))?)
}

fn check_range(column: &Column, number: f64) -> Result<(), Cause> {
    match column.range {
        Some((low, high)) if number < low || number > high => {
            Err(Reason::OutOfRange { column: column.name.clone() }.into())
        }
        _ => Ok(()),
    }
}

/// Decimal digits of a number, on the stack.
fn itoa(number: i64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    std::str::from_utf8(&digits[at..]).expect("digits are ASCII")
}

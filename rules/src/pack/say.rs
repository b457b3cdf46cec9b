//! The text of an alert: a template of `{field}`s.

use std::ops::Range;

/// Longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// Names with the places where they stand.
pub type Places = Vec<(String, Range<usize>)>;

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it stands.
    Text(String),
    /// A value by name, such as `plate`, `hit.grade` or `value`.
    Field(String),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As written.
    pub source: String,
    /// Its parts in order.
    pub pieces: Vec<Piece>,
}

impl Template {
    /// Names of the fields it mentions.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Parses a template; `{{` and `}}` stand for braces. Also gives the place of every field.
    ///
    /// # Errors
    /// The place of a brace that is not closed or not opened.
    pub fn parse(source: &str) -> Result<(Self, Places), (Range<usize>, String)> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err((
                0..source.len(),
                format!("the text has {} bytes; at most {TEMPLATE_BYTES_MAX} are sent", source.len()),
            ));
        }
        let mut pieces = Vec::new();
        let mut places = Vec::new();
        let mut text = String::new();
        let mut rest = source.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            match c {
                '{' | '}' if rest.peek().is_some_and(|(_, next)| *next == c) => {
                    rest.next();
                    text.push(c);
                }
                '{' => {
                    let Some(length) = source[at..].find('}') else {
                        return Err((at..source.len(), "`{` is never closed".to_owned()));
                    };
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    let name = source[at + 1..at + length].trim().to_owned();
                    places.push((name.clone(), at + 1..at + length));
                    pieces.push(Piece::Field(name));
                    while rest.next_if(|(next, _)| *next <= at + length).is_some() {}
                }
                '}' => return Err((at..at + 1, "`}` closes nothing".to_owned())),
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok((Self { source: source.to_owned(), pieces }, places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        let (template, places) = Template::parse("{zone}: {{{value}}} 人, {hit.grade}").unwrap();
        assert_eq!(
            template.pieces,
            [
                Piece::Field("zone".into()),
                Piece::Text(": {".into()),
                Piece::Field("value".into()),
                Piece::Text("} 人, ".into()),
                Piece::Field("hit.grade".into()),
            ]
        );
        assert_eq!(places[1].1, 11..16);
        assert!(Template::parse("{zone").is_err());
        assert!(Template::parse("zone}").is_err());
    }
}

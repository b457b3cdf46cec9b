//! Why a record was refused. Written for the person who reads the dead letter at night; holds
//! names and positions, never a value out of the record (no hit, no trace).

use std::fmt;

use super::SymbolId;

/// Why a record was refused. One word wide, because every step of decoding returns it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Box<Reason>);

impl From<Reason> for Cause {
    #[cold]
    fn from(reason: Reason) -> Self {
        Self(Box::new(reason))
    }
}

impl Cause {
    /// A short stable word, for counters.
    pub fn word(&self) -> &'static str {
        self.0.word()
    }

    pub(crate) fn reason(&self) -> &Reason {
        &self.0
    }

    /// How long a record is, and how long it may be, if that is the cause.
    pub(crate) fn too_long(&self) -> Option<(u64, usize)> {
        match *self.0 {
            Reason::TooLong { bytes, bytes_max } => Some((bytes, bytes_max)),
            _ => None,
        }
    }

    /// By how much a clock is too far ahead, and whose, if that is the cause.
    pub(crate) fn clock_ahead(&self) -> Option<(i64, SymbolId)> {
        match *self.0 {
            Reason::ClockAhead { ahead_ms, device } => Some((ahead_ms, device)),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences below say what each means")]
pub enum Reason {
    TooLong {
        bytes: u64,
        bytes_max: usize,
    },
    TooDeep {
        depth_max: usize,
    },
    NotUtf8 {
        at: usize,
    },
    Json {
        at: usize,
        what: &'static str,
    },
    Csv {
        what: &'static str,
    },
    NoKind,
    UnknownKind,
    TooShort {
        bytes_min: usize,
    },
    Missing {
        column: String,
    },
    Unreadable {
        column: String,
        wanted: &'static str,
    },
    OutOfRange {
        column: String,
    },
    NotAValue {
        column: String,
    },
    TimeOutOfRange,
    TimeInSeconds,
    ClockAhead {
        ahead_ms: i64,
        device: SymbolId,
    },
    TooManySymbols {
        column: String,
        max: usize,
    },
    TextTooLong {
        column: String,
        max: usize,
    },
    TooManyZones {
        max: usize,
    },
    NoSuchUnNumber,
    Mapping {
        column: String,
        error: String,
    },
    /// What a source found wrong before there was a record, and what was read back out of a journal. `word` is one of
    /// [`Reason::WORDS`].
    Told {
        word: &'static str,
        text: String,
    },
}

impl Reason {
    /// All words that counters know.
    pub const WORDS: [&'static str; 15] = [
        "too_long",
        "too_deep",
        "not_utf8",
        "bad_json",
        "bad_csv",
        "bad_event",
        "no_kind",
        "unknown_kind",
        "missing_field",
        "bad_value",
        "out_of_range",
        "bad_time",
        "quarantined",
        "over_limit",
        "mapping",
    ];

    /// A cause that was written down, with the same word and the same text.
    pub(crate) fn told(word: &str, text: String) -> Self {
        let word = Self::WORDS.into_iter().find(|known| *known == word).unwrap_or("bad_value");
        Self::Told { word, text }
    }

    /// Whether it is the same but for where in the record, how long it is, and whose clock is ahead by how much.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json { what, .. }, Self::Json { what: other, .. }) => what == other,
            (Self::TooLong { .. }, Self::TooLong { .. })
            | (Self::NotUtf8 { .. }, Self::NotUtf8 { .. })
            | (Self::ClockAhead { .. }, Self::ClockAhead { .. }) => true,
            (one, other) => one == other,
        }
    }

    /// What a device sent is no event of its form.
    pub fn bad_event(text: String) -> Self {
        Self::Told { word: "bad_event", text }
    }

    /// The columns that a record came in cannot be decoded.
    pub(crate) fn bad_batch() -> Self {
        Self::bad_event("the Arrow record batch that it came in is damaged".to_owned())
    }

    /// A short stable word, for counters.
    fn word(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::TooDeep { .. } => "too_deep",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::Json { .. } => "bad_json",
            Self::Csv { .. } => "bad_csv",
            Self::NoKind => "no_kind",
            Self::UnknownKind => "unknown_kind",
            Self::Missing { .. } | Self::TooShort { .. } => "missing_field",
            Self::Unreadable { .. } | Self::NoSuchUnNumber => "bad_value",
            Self::OutOfRange { .. } | Self::NotAValue { .. } => "out_of_range",
            Self::TimeOutOfRange | Self::TimeInSeconds => "bad_time",
            Self::ClockAhead { .. } => "quarantined",
            Self::TooManySymbols { .. } | Self::TextTooLong { .. } | Self::TooManyZones { .. } => "over_limit",
            Self::Mapping { .. } => "mapping",
            Self::Told { word, .. } => word,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "the record has {bytes} bytes; at most {bytes_max} are read (limits.record_bytes)")
            }
            Self::TooDeep { depth_max } => write!(f, "nested more than {depth_max} deep"),
            Self::NotUtf8 { at } => {
                write!(f, "not UTF-8 at byte {at}; declare the source's encoding or mend the device")
            }
            Self::Json { at, what } => write!(f, "not JSON at byte {at}: {what}"),
            Self::Csv { what } => write!(f, "not CSV: {what}"),
            Self::NoKind => write!(f, "no `kind`, and the source declares none"),
            Self::UnknownKind => write!(f, "`kind` is none of the declared kinds"),
            Self::TooShort { bytes_min } => {
                write!(f, "shorter than any record can be ({bytes_min} bytes); fields are missing")
            }
            Self::Missing { column } => write!(f, "`{column}` is missing"),
            Self::Unreadable { column, wanted } => write!(f, "`{column}` is not {wanted}"),
            Self::OutOfRange { column } => write!(f, "`{column}` is outside its declared range"),
            Self::NotAValue { column } => write!(f, "`{column}` is none of its declared values"),
            Self::TimeOutOfRange => write!(f, "`ts` lies outside 2000 to 2100"),
            Self::TimeInSeconds => {
                write!(f, "`ts` looks like seconds; epoch times are milliseconds")
            }
            Self::ClockAhead { ahead_ms, .. } => {
                write!(f, "`ts` lies {} s in the future; check the device's clock", ahead_ms / 1000)
            }
            Self::TooManySymbols { column, max } => {
                write!(
                    f,
                    "`{column}` has no room for another value: there are {max} at most, and some are kept for sources that have named few (limits.symbols, limits.memory)"
                )
            }
            Self::TextTooLong { column, max } => {
                write!(f, "`{column}` has more than {max} bytes")
            }
            Self::TooManyZones { max } => write!(f, "the record lies in more than {max} zones"),
            Self::NoSuchUnNumber => write!(f, "`item_class` is four digits, but no such UN number exists"),
            Self::Told { text, .. } => f.write_str(text),
            Self::Mapping { column, error } => {
                write!(f, "the mapping of `{column}` failed: {error}")
            }
        }
    }
}

//! The things that leave the engine, as they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use weir_rules::pack::Grade;

use super::word::{self, Word};
use crate::metrics::Passage;

/// A window's limits, RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowRange {
    /// First moment inside.
    pub start: String,
    /// First moment after.
    pub end: String,
}

/// What was found on a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// List.
    pub list: String,
    /// Entry.
    pub entry_id: String,
    /// How sure the match is.
    pub grade: Cow<'static, str>,
    /// Version of the list that was judged against.
    pub list_version: String,
    /// What the authority asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// File reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_ref: Option<String>,
    /// Handling code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handling: Option<String>,
    /// How grave it is to the authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// When the authority looks at the entry again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_by: Option<String>,
}

impl Hit {
    /// Whether a post may be paged about it at once; of anything less sure a reviewer decides first.
    pub fn may_page(&self) -> bool {
        Grade::WORDS.iter().any(|(word, grade)| *word == self.grade && grade.may_page())
    }
}

/// An alert. Fields that do not apply are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// 32 hexadecimal digits; the same on every replay. Sinks upsert by it.
    pub alert_id: String,
    /// 0 at first; the highest counts.
    pub revision: u32,
    /// Rule.
    pub rule: String,
    /// Digest of the rule's meaning.
    pub rule_version: String,
    /// Pack.
    pub pack: String,
    /// Digest of the text of the pack's files.
    pub pack_version: String,
    /// Purpose.
    pub purpose: String,
    /// info, low, medium, high, critical.
    #[serde(deserialize_with = "word::deserialize")]
    pub severity: Word,
    /// `required` or `none`.
    #[serde(deserialize_with = "word::deserialize")]
    pub review: Word,
    /// Kind of record.
    pub kind: String,
    /// Event time, RFC 3339.
    pub ts: String,
    /// Site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Entry of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit: Option<Hit>,
    /// Window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRange>,
    /// Value of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Half of the interval around the value in which the truth lies in 95 of 100 cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `enter`, `exit` or `expected` of a level; `silent` or `heard` of a key's devices; `revised`, `retracted` or `withdrawn` of an alert that was told before.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "word::optional")]
    pub change: Option<Word>,
    /// Share of the expected devices that reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// A look ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Outlook>,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// What the rule saw.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
    /// Source read to sink hand-over, microseconds; set at hand-over.
    pub latency_us: u64,
    /// When it passed where.
    #[serde(skip)]
    pub passage: Passage,
}

/// A look ahead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// How far, milliseconds.
    pub ahead_ms: i64,
    /// What is expected then.
    pub value: f64,
    /// In 80 of 100 cases no less...
    pub low: f64,
    /// ...and no more.
    pub high: f64,
    /// By how much the value grows in a minute now.
    pub trend_per_minute: f64,
    /// The next level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Until the rule's quantile of what may come crosses that level, if it does by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes_to_level: Option<f64>,
}

/// The value of one key in one window (`emit: windows`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowValue {
    /// Rule.
    pub rule: String,
    /// Purpose.
    pub purpose: String,
    /// Values of the key's columns.
    pub key: BTreeMap<String, String>,
    /// Window.
    pub window: WindowRange,
    /// First moment inside, epoch milliseconds.
    pub start_ms: i64,
    /// First moment after, epoch milliseconds.
    pub end_ms: i64,
    /// 0 at first; counts up when late records change the value (`revise_for`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u32,
    /// As written in the rule.
    pub measure: String,
    /// Value.
    pub value: f64,
    /// Half of the interval around the value in which the truth lies in 95 of 100 cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Share of the expected devices that reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// A look ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Outlook>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(revision: &u32) -> bool {
    *revision == 0
}

/// Something an operator is asked to do. Nothing happens before he confirms it; no actuator gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// 32 hexadecimal digits; the same on every replay.
    pub proposal_id: String,
    /// Rule.
    pub rule: String,
    /// Purpose.
    pub purpose: String,
    /// The alert it goes with.
    pub alert_id: String,
    /// Values of the key's columns.
    pub key: BTreeMap<String, String>,
    /// The level that was entered.
    pub level: String,
    /// `limit_tickets`, `hold_gate` or `open_exit`.
    #[serde(deserialize_with = "word::deserialize")]
    pub action: Word,
    /// For `limit_tickets`: people a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<f64>,
    /// `proposed`.
    #[serde(deserialize_with = "word::deserialize")]
    pub status: Word,
    /// When it was made, RFC 3339, event time.
    pub from: String,
    /// It lapses then, RFC 3339, event time.
    pub valid_until: String,
}

/// Something is wrong with a device. Holds no identifier of anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `silent`, `heard`, `clock_behind`, `clock_ahead`, `stuck_reading` or `negative_occupancy`.
    #[serde(deserialize_with = "word::deserialize")]
    pub notice: Word,
    /// Source, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Zone, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Event time, RFC 3339.
    pub ts: String,
    /// What it is and what to do.
    pub say: String,
}

/// Records that were let go because there was no room for all, in one interval. Holds nothing of them but their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShedRecord {
    /// Source.
    pub source: String,
    /// Kind, where it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `safety`, `crowd` or `other`: how urgent they were.
    #[serde(deserialize_with = "word::deserialize")]
    pub class: Word,
    /// `overload`.
    #[serde(deserialize_with = "word::deserialize")]
    pub reason: Word,
    /// How many; exact.
    pub count: u64,
    /// When the first was let go, RFC 3339, by the wall clock.
    pub from: String,
    /// When the last was.
    pub to: String,
}

/// A record that came after its pane had closed. Holds no identifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LateRecord {
    /// Rule it was late for.
    pub rule: String,
    /// Source.
    pub source: String,
    /// Device.
    pub device: String,
    /// Event time, RFC 3339.
    pub ts: String,
    /// How far behind the watermark, milliseconds.
    pub late_by_ms: i64,
}

/// A record that was refused, or several that came together and were refused for one cause. Holds none of their values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Source.
    pub source: String,
    /// File, connection or request.
    pub stream: String,
    /// Number in the stream, from 1; of NDJSON that of the line. Of several, that of the first.
    pub record: u64,
    /// How many they are.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub records: u64,
    /// Number of the last of several. Not all that lie between need have been refused, nor for this cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_record: Option<u64>,
    /// Short word.
    #[serde(deserialize_with = "word::deserialize")]
    pub cause: Word,
    /// Sentence, about the first of several.
    pub message: String,
    /// Keyed digest of the record's bytes, of several with a line feed between two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// When it was read, RFC 3339.
    pub received: String,
    /// Those bytes, sealed, where the source keeps them; what sinks are given as text does not hold them.
    #[serde(default, skip_serializing, deserialize_with = "from_base64")]
    pub sealed: Vec<u8>,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so serde asks")]
fn is_one(records: &u64) -> bool {
    *records == 1
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

/// Which of the outputs a sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// [`Output::Alert`].
    Alerts,
    /// [`Output::Window`].
    Windows,
    /// [`Output::Late`].
    Late,
    /// [`Output::DeadLetter`].
    DeadLetters,
    /// [`Output::Proposal`].
    Proposals,
    /// [`Output::Notice`].
    Notices,
    /// [`Output::Shed`].
    Shed,
}

impl Stream {
    /// Words of the configuration.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("alerts", Self::Alerts),
        ("windows", Self::Windows),
        ("late", Self::Late),
        ("dead_letters", Self::DeadLetters),
        ("proposals", Self::Proposals),
        ("notices", Self::Notices),
        ("shed", Self::Shed),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }

    /// The stream of a word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(it, _)| *it == word).map(|(_, stream)| *stream)
    }
}

/// Something that leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// An alert.
    Alert(Arc<Alert>),
    /// A window's value.
    Window(Arc<WindowValue>),
    /// A late record.
    Late(Arc<LateRecord>),
    /// A refused record.
    DeadLetter(Arc<DeadLetter>),
    /// Something an operator is asked to do.
    Proposal(Arc<Proposed>),
    /// Something is wrong with a device.
    Notice(Arc<Notice>),
    /// Records were let go.
    Shed(Arc<ShedRecord>),
}

impl Output {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Alert(_) => Stream::Alerts,
            Self::Window(_) => Stream::Windows,
            Self::Late(_) => Stream::Late,
            Self::DeadLetter(_) => Stream::DeadLetters,
            Self::Proposal(_) => Stream::Proposals,
            Self::Notice(_) => Stream::Notices,
            Self::Shed(_) => Stream::Shed,
        }
    }

    /// One line of JSON without a line feed.
    ///
    /// # Panics
    /// Never: all fields can be written as JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Alert(alert) => serde_json::to_string(alert),
            Self::Window(window) => serde_json::to_string(window),
            Self::Late(late) => serde_json::to_string(late),
            Self::DeadLetter(letter) => serde_json::to_string(letter),
            Self::Proposal(proposal) => serde_json::to_string(proposal),
            Self::Notice(notice) => serde_json::to_string(notice),
            Self::Shed(shed) => serde_json::to_string(shed),
        }
        .expect("outputs are plain data")
    }

    /// The same with what is kept of it and not told.
    pub(crate) fn to_kept_json(&self) -> String {
        let mut json = self.to_json();
        if let Self::DeadLetter(letter) = self
            && !letter.sealed.is_empty()
        {
            json.truncate(json.len() - 1);
            json.push_str(",\"sealed\":\"");
            BASE64.encode_string(&letter.sealed, &mut json);
            json.push_str("\"}");
        }
        json
    }

    /// Reads what [`Self::to_json`] or [`Self::to_kept_json`] wrote.
    pub(crate) fn from_json(stream: Stream, json: &str) -> serde_json::Result<Self> {
        Ok(match stream {
            Stream::Alerts => Self::Alert(serde_json::from_str(json)?),
            Stream::Windows => Self::Window(serde_json::from_str(json)?),
            Stream::Late => Self::Late(serde_json::from_str(json)?),
            Stream::DeadLetters => Self::DeadLetter(serde_json::from_str(json)?),
            Stream::Proposals => Self::Proposal(serde_json::from_str(json)?),
            Stream::Notices => Self::Notice(serde_json::from_str(json)?),
            Stream::Shed => Self::Shed(serde_json::from_str(json)?),
        })
    }

    /// What it is known by, and which revision of it this is; the highest counts.
    pub fn identity(&self) -> Option<(String, u32)> {
        match self {
            Self::Alert(alert) => Some((alert.alert_id.clone(), alert.revision)),
            Self::Window(window) => {
                let key: Vec<&str> = window.key.values().map(String::as_str).collect();
                Some((format!("{}-{}-{}", window.rule, key.join(","), window.end_ms), window.revision))
            }
            Self::Proposal(proposal) => Some((proposal.proposal_id.clone(), 0)),
            Self::Late(_) | Self::DeadLetter(_) | Self::Notice(_) | Self::Shed(_) => None,
        }
    }

    /// A key under which a receiver can tell repeats: what it is known by, and its revision where it can have several.
    pub fn idempotency_key(&self) -> Option<String> {
        let (id, revision) = self.identity()?;
        Some(if matches!(self, Self::Proposal(_)) { id } else { format!("{id}-{revision}") })
    }
}

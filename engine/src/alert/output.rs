//! The things that leave the engine, as they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use weir_rules::pack::Grade;

/// A window's limits, RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowRange {
    /// First moment inside.
    pub start: String,
    /// First moment after.
    pub end: String,
}

/// What was found on a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    pub severity: &'static str,
    /// `required` or `none`.
    pub review: &'static str,
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
    /// Level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `enter` or `exit` of a level; `revised`, `retracted` or `withdrawn` of an alert that was told before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<&'static str>,
    /// Share of the expected devices that reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// What the rule saw.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
    /// Source read to sink hand-over, microseconds; set at hand-over.
    pub latency_us: u64,
    /// Monotonic time of the read that led to it.
    #[serde(skip)]
    pub received_ns: u64,
}

/// The value of one key in one window (`emit: windows`).
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// As written in the rule.
    pub measure: String,
    /// Value.
    pub value: f64,
    /// Share of the expected devices that reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
}

/// A record that came after its pane had closed. Holds no identifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// A record that was refused. Holds none of its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Source.
    pub source: String,
    /// File, connection or request.
    pub stream: String,
    /// Number in the stream, from 1.
    pub record: u64,
    /// Short word.
    pub cause: &'static str,
    /// Sentence.
    pub message: String,
    /// Keyed digest of the record's bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// When it was read, RFC 3339.
    pub received: String,
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
}

impl Stream {
    /// Words of the configuration.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("alerts", Self::Alerts),
        ("windows", Self::Windows),
        ("late", Self::Late),
        ("dead_letters", Self::DeadLetters),
    ];
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
}

impl Output {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Alert(_) => Stream::Alerts,
            Self::Window(_) => Stream::Windows,
            Self::Late(_) => Stream::Late,
            Self::DeadLetter(_) => Stream::DeadLetters,
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
        }
        .expect("outputs are plain data")
    }

    /// A key under which a receiver can tell repeats: the alert's id and revision.
    pub fn idempotency_key(&self) -> Option<String> {
        match self {
            Self::Alert(alert) => Some(format!("{}-{}", alert.alert_id, alert.revision)),
            Self::Window(window) => {
                let key: Vec<&str> = window.key.values().map(String::as_str).collect();
                Some(format!("{}-{}-{}", window.rule, key.join(","), window.end_ms))
            }
            Self::Late(_) | Self::DeadLetter(_) => None,
        }
    }
}

//! Sinks as declared: where outputs go, and for which purposes. What each type has of its own is in a file a family.

mod archive;
mod brokers;
mod local;
mod reports;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_connectors::client::{KafkaSasl, MqttVersion};
use weir_connectors::sink::{SyslogForm, Template};
use weir_engine::Stream;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

pub(crate) use self::archive::{ArchiveDecl, StoreDecl};
use super::server::{Family, ServerDecl, parse_server};

/// A sink as declared.
#[derive(Debug, Clone)]
pub(crate) struct SinkDecl {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) purposes: Vec<(String, Range<usize>)>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) actuator: bool,
    pub(crate) reviewers: bool,
    pub(crate) kind: SinkKind,
}

/// Where a sink writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SinkKind {
    Stdout { ndjson: bool },
    File { path: PathBuf },
    Archive(ArchiveDecl),
    Http { url: String, token_file: Option<PathBuf>, template: Template, retry_for_ms: i64 },
    Tcp { address: std::net::SocketAddr, retry_for_ms: i64 },
    Mqtt { server: Box<ServerDecl>, version: MqttVersion, client_id: String, topic: String, retry_for_ms: i64 },
    Nats { server: Box<ServerDecl>, subject: String, retry_for_ms: i64 },
    Kafka { server: Box<ServerDecl>, sasl: KafkaSasl, topic: String, retry_for_ms: i64 },
    Postgres { server: Box<ServerDecl>, table: String, retry_for_ms: i64 },
    Viid { server: Box<ServerDecl>, our_id: String, timezone: String, retry_for_ms: i64 },
    Syslog { server: Box<ServerDecl>, form: SyslogForm, retry_for_ms: i64 },
}

impl SinkKind {
    /// The server it connects to.
    pub(super) fn server(&self) -> Option<&ServerDecl> {
        match self {
            Self::Mqtt { server, .. }
            | Self::Nats { server, .. }
            | Self::Kafka { server, .. }
            | Self::Syslog { server, .. }
            | Self::Viid { server, .. }
            | Self::Postgres { server, .. } => Some(server),
            Self::Archive(archive) => archive.store.as_ref().map(|store| &*store.server),
            Self::Stdout { .. } | Self::File { .. } | Self::Http { .. } | Self::Tcp { .. } => None,
        }
    }
}

/// How long a sink tries before it has failed, where nothing is said.
const RETRY_FOR_DEFAULT_MS: i64 = 600_000;

/// Reads what a type of sink has of its own.
type Parse = fn(&mut Draft<'_, '_>, &mut Diagnostics) -> Option<SinkKind>;

const TYPES: [(&str, Parse); 11] = [
    ("stdout", local::stdout),
    ("file", local::file),
    ("archive", archive::archive),
    ("http", local::http),
    ("tcp", local::tcp),
    ("mqtt", brokers::mqtt),
    ("nats", brokers::nats),
    ("kafka", brokers::kafka),
    ("postgres", reports::postgres),
    ("syslog", reports::syslog),
    ("viid", reports::viid),
];

/// A sink of which its name, streams and purposes are known.
struct Draft<'a, 'b> {
    file: &'a Arc<SourceFile>,
    /// Of the configuration.
    path: &'a Path,
    name: &'a str,
    streams: Vec<Stream>,
    map: &'a mut MapReader<'b>,
}

pub(super) fn parse_sink(
    file: &Arc<SourceFile>,
    path: &Path,
    name: (&str, &Node),
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<SinkDecl> {
    let mut map = MapReader::open(file, node, format!("sink `{}`", name.0), diagnostics)?;
    if !map.has("type") {
        let (last, types) = TYPES.split_last().expect("there are types");
        let types: Vec<&str> = types.iter().map(|(word, _)| *word).collect();
        map.missing("type", &format!("{} or {}", types.join(", "), last.0), diagnostics);
    }
    let parse = map.take_choice("type", &TYPES, diagnostics);
    let streams = parse_streams(file, &mut map, diagnostics);
    let purposes: Vec<_> = map
        .take_texts("purposes", diagnostics)
        .unwrap_or_default()
        .into_iter()
        .map(|(text, node)| (text.to_owned(), node.span.clone()))
        .collect();
    let tells_of_records = |stream: &Stream| !matches!(stream, Stream::DeadLetters | Stream::Notices | Stream::Shed);
    if purposes.is_empty() && streams.iter().any(tells_of_records) {
        map.missing("purposes", "the purposes whose alerts it takes, such as `purposes: [crowd_safety]`", diagnostics);
    }
    let actuator = map.take_bool("actuator", diagnostics).unwrap_or(false);
    let reviewers = map.take_choice("audience", &[("posts", false), ("reviewers", true)], diagnostics).unwrap_or(false);
    let mut draft = Draft { file, path, name: name.0, streams, map: &mut map };
    let kind = parse?(&mut draft, diagnostics);
    let streams = draft.streams;
    map.finish(diagnostics);
    let (name, span) = (name.0.to_owned(), name.1.span.clone());
    Some(SinkDecl { name, span, purposes, streams, actuator, reviewers, kind: kind? })
}

impl Draft<'_, '_> {
    fn complain(&self, place: Range<usize>, message: String, help: &str, diagnostics: &mut Diagnostics) {
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, self.file, place, message).help(help));
    }

    /// Where it connects to.
    fn server(&mut self, family: &Family, diagnostics: &mut Diagnostics) -> Option<Box<ServerDecl>> {
        parse_server(self.file, self.path, self.map, family, diagnostics).map(Box::new)
    }

    fn retry_for_ms(&mut self, diagnostics: &mut Diagnostics) -> i64 {
        self.map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS)
    }

    /// A text without blanks and patterns, such as a topic or subject that something is sent to.
    fn plain_address(&mut self, key: &'static str, help: &str, diagnostics: &mut Diagnostics) -> Option<String> {
        let (text, node) = self.map.require_text(key, help, diagnostics)?;
        if !text.is_empty() && !text.contains(['+', '#', '*', '>', ' ', '\0']) {
            return Some(text.to_owned());
        }
        let message = format!("`{text}` is no {key} to send to");
        self.complain(node.span.clone(), message, "patterns and blanks are for those who read", diagnostics);
        None
    }

    /// Complains of the first stream that `takes` will not have: it `cannot be` this.
    fn only(&self, takes: impl Fn(Stream) -> bool, cannot_be: &str, help: &str, diagnostics: &mut Diagnostics) {
        if let Some(stream) = self.streams.iter().find(|stream| !takes(**stream)) {
            let message = format!("`{}` cannot be {cannot_be}", stream.word());
            self.complain(self.map.place_of("emit"), message, help, diagnostics);
        }
    }
}

fn parse_streams(file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Vec<Stream> {
    let Some(texts) = map.take_texts("emit", diagnostics) else {
        return vec![Stream::Alerts];
    };
    let mut streams = Vec::new();
    for (text, node) in texts {
        match Stream::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, stream)) => streams.push(*stream),
            None => diagnostics.push(
                Diagnostic::new(&codes::UNKNOWN_CHOICE, file, node.span.clone(), format!("`{text}` is not an output"))
                    .help("one or more of: alerts, windows, late, dead_letters"),
            ),
        }
    }
    streams
}

//! `type: mqtt`, `nats` and `kafka`: records as messages of a broker.

use std::path::Path;
use std::sync::Arc;

use weir_connectors::client::{KafkaSasl, MqttVersion};
use weir_rules::diagnostic::codes;
use weir_rules::schema::check_protected_name;
use weir_rules::yaml::MapReader;
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::SourceKind;
use crate::config::server::{self, ServerDecl, parse_server};

/// How long a broker keeps messages for us, where nothing is said: a weekend.
const SESSION_EXPIRY_MS: i64 = 72 * 3_600_000;
/// Topics of one source.
const TOPICS_MAX: usize = 100;

/// Topics of an MQTT broker as declared.
#[derive(Debug, Clone)]
pub(crate) struct MqttDecl {
    pub(crate) server: ServerDecl,
    pub(crate) version: MqttVersion,
    pub(crate) client_id: String,
    pub(crate) topics: Vec<String>,
    pub(crate) at_least_once: bool,
    pub(crate) session_expiry_ms: i64,
    pub(crate) topic_as: Option<String>,
}

/// A stream of NATS JetStream as declared.
#[derive(Debug, Clone)]
pub(crate) struct NatsDecl {
    pub(crate) server: ServerDecl,
    pub(crate) stream: String,
    pub(crate) subject: Option<String>,
    pub(crate) consumer: String,
    pub(crate) from_start: bool,
    pub(crate) subject_as: Option<String>,
}

/// Topics of Kafka as declared.
#[derive(Debug, Clone)]
pub(crate) struct KafkaDecl {
    pub(crate) server: ServerDecl,
    pub(crate) sasl: KafkaSasl,
    pub(crate) topics: Vec<String>,
    pub(crate) group: String,
    pub(crate) instance: Option<String>,
    pub(crate) shared_by_brokers: bool,
    pub(crate) from_start: bool,
    pub(crate) topic_as: Option<String>,
}

/// How a password is checked, by the words for it.
pub(in crate::config) const KAFKA_SASL: [(&str, KafkaSasl); 3] =
    [("plain", KafkaSasl::Plain), ("scram-sha-256", KafkaSasl::ScramSha256), ("scram-sha-512", KafkaSasl::ScramSha512)];

/// The versions by the words for them.
pub(in crate::config) const MQTT_VERSIONS: [(&str, MqttVersion); 2] =
    [("5", MqttVersion::V5), ("3.1.1", MqttVersion::V3)];

pub(super) fn parse_mqtt(
    file: &Arc<SourceFile>,
    path: &Path,
    name: &str,
    map: &mut MapReader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let server = parse_server(file, path, map, server::MQTT, diagnostics);
    let version = map.take_choice("version", &MQTT_VERSIONS, diagnostics).unwrap_or(MqttVersion::V5);
    let client_id = map.take_text("client_id", diagnostics);
    let at_least_once = map.take_choice("qos", &[("1", true), ("0", false)], diagnostics).unwrap_or(true);
    let session_expiry_ms = map.take_duration_ms("session_expiry", diagnostics).unwrap_or(SESSION_EXPIRY_MS);
    let topic_as = column(file, map, "topic_as", diagnostics);
    if !map.has("topics") {
        map.missing("topics", "what to subscribe to, such as [gates/+/passages]", diagnostics);
    }
    let place = map.place_of("topics");
    let topics: Vec<String> =
        map.take_texts("topics", diagnostics)?.into_iter().map(|(text, _)| text.to_owned()).collect();
    let is_filter = |topic: &String| {
        let levels: Vec<&str> = topic.split('/').collect();
        let last = levels.len() - 1;
        let fits = |(at, level): (usize, &&str)| match *level {
            "#" => at == last,
            "+" => true,
            level => !level.contains(['#', '+', '\0']),
        };
        !topic.is_empty() && levels.iter().enumerate().all(fits)
    };
    if topics.is_empty() || topics.len() > TOPICS_MAX || !topics.iter().all(is_filter) {
        diagnostics.push(
            Diagnostic::new(&codes::BAD_SOURCE, file, place, format!("1 to {TOPICS_MAX} topics are subscribed to"))
                .help("levels are divided by `/`; `+` stands for one of them, `#` for all that follow, each alone in its place"),
        );
        return None;
    }
    let client_id = client_id.map_or_else(|| format!("weir-source-{name}"), |(text, _)| text.to_owned());
    Some(SourceKind::Mqtt(Box::new(MqttDecl {
        server: server?,
        version,
        client_id,
        topics,
        at_least_once,
        session_expiry_ms,
        topic_as,
    })))
}

pub(super) fn parse_nats(
    file: &Arc<SourceFile>,
    path: &Path,
    name: &str,
    map: &mut MapReader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let server = parse_server(file, path, map, server::NATS, diagnostics);
    let stream = map.require_text("stream", "the JetStream stream that holds the records", diagnostics);
    let subject = map.take_text("subject", diagnostics).map(|(text, _)| text.to_owned());
    let consumer = map.take_text("consumer", diagnostics);
    let from_start = map.take_choice("from", &[("start", true), ("now", false)], diagnostics).unwrap_or(true);
    let subject_as = column(file, map, "subject_as", diagnostics);
    let default = format!("weir-{name}");
    // It becomes part of the subjects that the server is asked by.
    let is_name = |text: &str| !text.is_empty() && !text.contains(['.', '*', '>', ' ', '/', '\\', '\t', '\n']);
    for (text, node) in [stream, consumer].into_iter().flatten().filter(|(text, _)| !is_name(text)) {
        diagnostics.push(
            Diagnostic::new(&codes::BAD_SOURCE, file, node.span.clone(), format!("`{text}` is no name of NATS"))
                .help("letters, digits, `-` and `_`"),
        );
    }
    Some(SourceKind::Nats(Box::new(NatsDecl {
        server: server?,
        stream: stream?.0.to_owned(),
        subject,
        consumer: consumer.map_or(default, |(text, _)| text.to_owned()),
        from_start,
        subject_as,
    })))
}

pub(super) fn parse_kafka(
    file: &Arc<SourceFile>,
    path: &Path,
    name: &str,
    map: &mut MapReader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let server = parse_server(file, path, map, server::KAFKA, diagnostics);
    let sasl = map.take_choice("sasl", &KAFKA_SASL, diagnostics).unwrap_or(KafkaSasl::ScramSha512);
    let group = map.take_text("group", diagnostics);
    let group = group.map_or_else(|| format!("weir-{name}"), |(text, _)| text.to_owned());
    let from_start = map.take_choice("from", &[("start", true), ("now", false)], diagnostics).unwrap_or(true);
    let instance = map.take_text("instance", diagnostics).map(|(text, _)| text.to_owned());
    let protocols = [("classic", false), ("consumer", true)];
    let shared_by_brokers = map.take_choice("group_protocol", &protocols, diagnostics).unwrap_or(false);
    let topic_as = column(file, map, "topic_as", diagnostics);
    if !map.has("topics") {
        map.missing("topics", "what to take, such as [gate-passages]", diagnostics);
    }
    let topics = map.take_texts("topics", diagnostics)?;
    // By Kafka's own rule for names.
    let is_name = |text: &str| {
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
        !text.is_empty() && text.len() <= 249 && text.bytes().all(plain) && text != "." && text != ".."
    };
    for (text, node) in topics.iter().filter(|(text, _)| !is_name(text)) {
        diagnostics.push(
            Diagnostic::new(&codes::BAD_SOURCE, file, node.span.clone(), format!("`{text}` is no topic of Kafka"))
                .help("letters, digits, `.`, `_` and `-`; patterns are not subscribed to"),
        );
    }
    if topics.is_empty() || topics.len() > TOPICS_MAX {
        let message = format!("1 to {TOPICS_MAX} topics are taken");
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, file, map.place_of("topics"), message));
    }
    let topics = topics.into_iter().map(|(text, _)| text.to_owned()).collect();
    Some(SourceKind::Kafka(Box::new(KafkaDecl {
        server: server?,
        sasl,
        topics,
        group,
        instance,
        shared_by_brokers,
        from_start,
        topic_as,
    })))
}

/// The column that is to hold where a message was sent to.
fn column(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    key: &'static str,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let (text, node) = map.take_text(key, diagnostics)?;
    check_protected_name(file, node, text, diagnostics).then(|| text.to_owned())
}

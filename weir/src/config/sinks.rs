//! Sinks as declared: where outputs go, and for which purposes.

use std::path::Path;
use std::sync::Arc;

use weir_connectors::client::{KafkaSasl, MqttVersion};
use weir_connectors::sink::{ArchiveSink, SyslogForm, SyslogText, Template};
use weir_engine::Stream;
use weir_rules::diagnostic::codes;
use weir_rules::units::format_duration_ms;
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::server::{self, parse_server};
use super::sources::{KAFKA_SASL, MQTT_VERSIONS};
use super::{SinkDecl, SinkKind, beside};

#[derive(Clone, Copy)]
enum Type {
    Stdout,
    File,
    Archive,
    Http,
    Tcp,
    Mqtt,
    Nats,
    Kafka,
    Postgres,
    Syslog,
    Viid,
}

/// Facilities of syslog that are not the machine's own (RFC 5424, table 1).
const SYSLOG_FACILITIES: [(&str, u8); 11] = [
    ("user", 1),
    ("daemon", 3),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
/// Where this machine's name stands.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

const DAY_MS: i64 = 86_400_000;

/// How long a sink tries before it has failed, where nothing is said.
const RETRY_FOR_DEFAULT_MS: i64 = 600_000;

pub(super) fn parse_sink(
    file: &Arc<SourceFile>,
    path: &Path,
    name: (&str, &Node),
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<SinkDecl> {
    let mut map = MapReader::open(file, node, format!("sink `{}`", name.0), diagnostics)?;
    if !map.has("type") {
        map.missing(
            "type",
            "stdout, file, archive, http, tcp, mqtt, nats, kafka, postgres, syslog or viid",
            diagnostics,
        );
    }
    let types = [
        ("stdout", Type::Stdout),
        ("file", Type::File),
        ("archive", Type::Archive),
        ("http", Type::Http),
        ("tcp", Type::Tcp),
        ("mqtt", Type::Mqtt),
        ("nats", Type::Nats),
        ("kafka", Type::Kafka),
        ("postgres", Type::Postgres),
        ("syslog", Type::Syslog),
        ("viid", Type::Viid),
    ];
    let ty = map.take_choice("type", &types, diagnostics);
    let streams = parse_streams(file, &mut map, diagnostics);
    let purposes: Vec<_> = map
        .take_texts("purposes", diagnostics)
        .unwrap_or_default()
        .into_iter()
        .map(|(text, node)| (text.to_owned(), node.span.clone()))
        .collect();
    if purposes.is_empty()
        && streams.iter().any(|stream| !matches!(stream, Stream::DeadLetters | Stream::Notices | Stream::Shed))
    {
        map.missing("purposes", "the purposes whose alerts it takes, such as `purposes: [crowd_safety]`", diagnostics);
    }
    let actuator = map.take_bool("actuator", diagnostics).unwrap_or(false);
    let reviewers = map.take_choice("audience", &[("posts", false), ("reviewers", true)], diagnostics).unwrap_or(false);
    let kind = match ty? {
        Type::Stdout => {
            let ndjson = map.take_choice("format", &[("text", false), ("ndjson", true)], diagnostics).unwrap_or(false);
            Some(SinkKind::Stdout { ndjson })
        }
        Type::File => {
            map.take_choice("format", &[("ndjson", ())], diagnostics);
            map.require_text("path", "where to append", diagnostics)
                .map(|(text, _)| SinkKind::File { path: beside(path, text) })
        }
        Type::Archive => {
            let folder = map.require_text("path", "the folder of its files", diagnostics);
            let mut within = |key, default, least, most, help: &str, diagnostics: &mut Diagnostics| {
                let ms = map.take_duration_ms(key, diagnostics).unwrap_or(default);
                if !(least..=most).contains(&ms) {
                    let message =
                        format!("`{key}` is from {} to {}", format_duration_ms(least), format_duration_ms(most));
                    let found = Diagnostic::new(&codes::BAD_VALUE, file, map.place_of(key), message);
                    diagnostics.push(found.help(help));
                }
                ms
            };
            let every_ms = within("every", 300_000, 10_000, DAY_MS, "a file is written so often", diagnostics);
            let help = "alerts speak of people: what is kept is kept for a reason, and for as long as it holds";
            let keep_for_ms = within("keep_for", 30 * DAY_MS, DAY_MS, 366 * DAY_MS, help, diagnostics);
            if let Some(stream) = streams.iter().find(|stream| !ArchiveSink::STREAMS.contains(stream)) {
                let message = format!("`{}` cannot be archived", stream.word());
                let found = Diagnostic::new(&codes::BAD_VALUE, file, map.place_of("emit"), message);
                diagnostics
                    .push(found.help("an archive keeps alerts and windows; a sink of type `file` takes the rest"));
            }
            folder.map(|(text, _)| SinkKind::Archive { path: beside(path, text), every_ms, keep_for_ms })
        }
        Type::Http => {
            let url = map.require_text("url", "such as http://127.0.0.1:9000/alerts", diagnostics);
            let token_file = map.take_text("token_file", diagnostics).map(|(text, _)| beside(path, text));
            let templates = [
                ("generic", Template::Generic),
                ("cloudevents", Template::CloudEvents),
                ("alertmanager", Template::Alertmanager),
            ];
            let place = map.place_of("template");
            let template = map.take_choice("template", &templates, diagnostics).unwrap_or_default();
            if let Some(stream) = streams.iter().find(|stream| !template.takes(**stream)) {
                let message = format!("`{}` cannot be told to Alertmanager", stream.word());
                diagnostics.push(
                    Diagnostic::new(&codes::BAD_VALUE, file, place, message)
                        .help("it takes alerts only; give other outputs a sink of their own"),
                );
            }
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            url.and_then(|(url, node)| {
                let plain_local =
                    ["http://127.0.0.1", "http://[::1]", "http://localhost"].iter().any(|local| url.starts_with(local));
                if plain_local || url.starts_with("https://") {
                    return Some(SinkKind::Http { url: url.to_owned(), token_file, template, retry_for_ms });
                }
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        file,
                        node.span.clone(),
                        "alerts leave the machine over https only",
                    )
                    .help("write https://..., or http:// to loopback"),
                );
                None
            })
        }
        Type::Tcp => {
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            map.require_text("address", "where to connect, such as 127.0.0.1:9001", diagnostics).and_then(
                |(text, node)| match weir_connectors::loopback_address(text) {
                    Ok(address) => Some(SinkKind::Tcp { address, retry_for_ms }),
                    Err(message) => {
                        diagnostics.push(Diagnostic::new(&codes::NOT_LOOPBACK, file, node.span.clone(), message));
                        None
                    }
                },
            )
        }
        Type::Mqtt => {
            let server = parse_server(file, path, &mut map, server::MQTT, diagnostics);
            let version = map.take_choice("version", &MQTT_VERSIONS, diagnostics).unwrap_or(MqttVersion::V5);
            let client_id = map.take_text("client_id", diagnostics);
            let client_id = client_id.map_or_else(|| format!("weir-sink-{}", name.0), |(text, _)| text.to_owned());
            let topic = plain_address(file, &mut map, "topic", "such as weir/alerts", diagnostics);
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            server.zip(topic).map(|(server, topic)| SinkKind::Mqtt {
                server: Box::new(server),
                version,
                client_id,
                topic,
                retry_for_ms,
            })
        }
        Type::Nats => {
            let server = parse_server(file, path, &mut map, server::NATS, diagnostics);
            let subject =
                plain_address(file, &mut map, "subject", "such as weir.alerts; a stream must take it", diagnostics);
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            server.zip(subject).map(|(server, subject)| SinkKind::Nats {
                server: Box::new(server),
                subject,
                retry_for_ms,
            })
        }
        Type::Kafka => {
            let server = parse_server(file, path, &mut map, server::KAFKA, diagnostics);
            let sasl = map.take_choice("sasl", &KAFKA_SASL, diagnostics).unwrap_or(KafkaSasl::ScramSha512);
            let topic = plain_address(file, &mut map, "topic", "such as weir-alerts", diagnostics);
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            server.zip(topic).map(|(server, topic)| SinkKind::Kafka {
                server: Box::new(server),
                sasl,
                topic,
                retry_for_ms,
            })
        }
        Type::Postgres => {
            let server = parse_server(file, path, &mut map, server::POSTGRES, diagnostics);
            let table = map.take_text("table", diagnostics);
            let is_name = |text: &str| {
                let first = |it: u8| it.is_ascii_lowercase() || it == b'_';
                text.len() < 64
                    && text.bytes().next().is_some_and(first)
                    && text.bytes().all(|it| first(it) || it.is_ascii_digit())
            };
            if let Some((text, node)) = &table
                && !(text.split('.').count() <= 2 && text.split('.').all(is_name))
            {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::BAD_VALUE,
                        file,
                        node.span.clone(),
                        format!("`{text}` is no name of a table"),
                    )
                    .help("small letters, digits and `_`, such as weir_alerts, or with a schema, border.weir_alerts"),
                );
            }
            let table = table.map_or_else(|| "weir_outputs".to_owned(), |(text, _)| text.to_owned());
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            server.map(|server| SinkKind::Postgres { server: Box::new(server), table, retry_for_ms })
        }
        Type::Viid => {
            let server = parse_server(file, path, &mut map, server::VIID, diagnostics);
            let our_id = map.require_text("device_id", "twenty digits that the platform knows us by", diagnostics);
            let timezone = map.require_text("timezone", "of the platform's times, as in Asia/Shanghai", diagnostics);
            let mut complain = |node: &Node, message: String, help: &str| {
                let found = Diagnostic::new(&codes::BAD_VALUE, file, node.span.clone(), message);
                diagnostics.push(found.help(help));
            };
            if let Some((text, node)) = our_id
                && (text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_digit()))
            {
                complain(node, format!("`{text}` is no id of GA/T 1400"), "it has twenty digits; quote it");
            }
            if let Some((text, node)) = timezone
                && jiff::tz::TimeZone::get(text).is_err()
            {
                complain(node, format!("`{text}` is no time zone"), "an IANA name, as in Asia/Shanghai");
            }
            if let Some(stream) = streams.iter().find(|stream| **stream != Stream::Alerts) {
                let message = format!("`{}` cannot be told to a platform of GA/T 1400", stream.word());
                let found = Diagnostic::new(&codes::BAD_VALUE, file, map.place_of("emit"), message);
                diagnostics.push(found.help("it takes alerts only; give other outputs a sink of their own"));
            }
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            server.zip(our_id).zip(timezone).map(|((server, (our_id, _)), (timezone, _))| SinkKind::Viid {
                server: Box::new(server),
                our_id: our_id.to_owned(),
                timezone: timezone.to_owned(),
                retry_for_ms,
            })
        }
        Type::Syslog => {
            let server = parse_server(file, path, &mut map, server::SYSLOG, diagnostics);
            let facility = map.take_choice("facility", &SYSLOG_FACILITIES, diagnostics).unwrap_or(16);
            let host = map.take_text("hostname", diagnostics).map(|(text, _)| text.to_owned());
            let host = host.unwrap_or_else(|| std::fs::read_to_string(HOSTNAME_FILE).unwrap_or_default());
            let texts = [("json", SyslogText::Json), ("say", SyslogText::Say)];
            let text = map.take_choice("text", &texts, diagnostics).unwrap_or_default();
            let retry_for_ms = map.take_duration_ms("retry_for", diagnostics).unwrap_or(RETRY_FOR_DEFAULT_MS);
            let form = SyslogForm { facility, host, text };
            server.map(|server| SinkKind::Syslog { server: Box::new(server), form, retry_for_ms })
        }
    };
    map.finish(diagnostics);
    let (name, span) = (name.0.to_owned(), name.1.span.clone());
    Some(SinkDecl { name, span, purposes, streams, actuator, reviewers, kind: kind? })
}

/// A topic or subject that something is sent to: it holds no pattern.
fn plain_address(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    key: &'static str,
    help: &str,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let (text, node) = map.require_text(key, help, diagnostics)?;
    if !text.is_empty() && !text.contains(['+', '#', '*', '>', ' ', '\0']) {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is no {key} to send to");
    diagnostics.push(
        Diagnostic::new(&codes::BAD_VALUE, file, node.span.clone(), message)
            .help("patterns and blanks are for those who read"),
    );
    None
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

//! Sources as declared: where records come from and how foreign ones are mapped.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_connectors::loopback_address;
use weir_connectors::source::{HttpLimits, PushDialect, PushPlace};
use weir_engine::Format;
use weir_engine::decode::{MapSpec, MappedField};
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::{codes, did_you_mean};
use weir_rules::expr::{self, Scope};
use weir_rules::schema::{ColumnType, check_protected_name};
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Catalog, Diagnostic, Diagnostics, SourceFile};

use super::server::login;
use super::{Named, beside};

mod axis;
mod brokers;
mod gtfs;
mod isapi_stream;
mod viid;

pub(crate) use axis::AxisDecl;
pub(in crate::config) use brokers::{KAFKA_SASL, MQTT_VERSIONS};
pub(crate) use brokers::{KafkaDecl, MqttDecl, NatsDecl};
pub(crate) use gtfs::GtfsDecl;
pub(crate) use isapi_stream::IsapiStreamDecl;
pub(crate) use viid::{ViidDecl, load_accounts};

/// A source as declared.
#[derive(Debug, Clone)]
pub(crate) struct SourceDecl {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) record_kind: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) map: Option<MapSpec>,
    pub(crate) sheds: bool,
    /// Whether the bytes of refused records are kept, and where that is said.
    pub(crate) keeps_refused: Option<Range<usize>>,
    pub(crate) kind: SourceKind,
}

/// Where a source reads.
#[derive(Debug, Clone)]
pub(crate) enum SourceKind {
    File { pattern: PathBuf, span: Range<usize>, follow: bool },
    Stdin,
    Tcp { address: SocketAddr, idle_timeout_ms: i64, stay_awake: bool, once: bool },
    Http { address: SocketAddr, route: String, limits: HttpLimits },
    Viid(Box<ViidDecl>),
    Mqtt(Box<MqttDecl>),
    Nats(Box<NatsDecl>),
    Kafka(Box<KafkaDecl>),
    Axis(Box<AxisDecl>),
    Gtfs(Box<GtfsDecl>),
    IsapiStream(Box<IsapiStreamDecl>),
    Push { address: SocketAddr, route: String, dialect: PushDialect, place: PushPlace, limits: HttpLimits },
}

impl SourceKind {
    /// What is wrong with the files that hold its secrets, if anything is.
    pub(super) fn check_secrets(&self, vfs: &dyn Vfs) -> Result<(), (Named, String)> {
        match self {
            Self::Mqtt(declared) => declared.server.check(vfs),
            Self::Nats(declared) => declared.server.check(vfs),
            Self::Kafka(declared) => declared.server.check(vfs),
            Self::Viid(declared) => declared.subscriptions.iter().try_for_each(|it| it.server.check(vfs)),
            Self::IsapiStream(declared) => declared.check(vfs),
            Self::Axis(declared) => match &declared.login {
                Some((user, password_file)) => login(user, password_file, vfs).map(drop),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    File,
    Stdin,
    Tcp,
    Http,
    Viid,
    Mqtt,
    Nats,
    Kafka,
    Axis,
    IsapiStream,
    Gtfs,
    Push(PushDialect),
}

/// Fields a mapped source may declare.
const MAPPED_FIELDS_MAX: usize = 64;

pub(super) fn parse_source(
    file: &Arc<SourceFile>,
    path: &Path,
    name: (&str, &Node),
    node: &Node,
    catalog: &Catalog,
    diagnostics: &mut Diagnostics,
) -> Option<SourceDecl> {
    let mut map = MapReader::open(file, node, format!("source `{}`", name.0), diagnostics)?;
    if !map.has("type") {
        map.missing(
            "type",
            "file, stdin, tcp, http, mqtt, nats, kafka, axis, viid, isapi, isapi_stream, plate_recognizer, axis_plates, rekor, gtfs_realtime or ngsi",
            diagnostics,
        );
    }
    let types = [
        ("file", Type::File),
        ("stdin", Type::Stdin),
        ("tcp", Type::Tcp),
        ("http", Type::Http),
        ("mqtt", Type::Mqtt),
        ("nats", Type::Nats),
        ("kafka", Type::Kafka),
        ("axis", Type::Axis),
        ("viid", Type::Viid),
        ("isapi_stream", Type::IsapiStream),
        ("gtfs_realtime", Type::Gtfs),
        ("isapi", Type::Push(PushDialect::Isapi)),
        ("plate_recognizer", Type::Push(PushDialect::PlateRecognizer)),
        ("axis_plates", Type::Push(PushDialect::AxisPlates)),
        ("rekor", Type::Push(PushDialect::Rekor)),
        ("ngsi", Type::Push(PushDialect::Ngsi)),
    ];
    let ty = map.take_choice("type", &types, diagnostics);
    // What devices that speak a protocol say is no matter of configuration.
    let is_free = !matches!(ty, Some(Type::Viid | Type::Axis | Type::IsapiStream | Type::Gtfs | Type::Push(_)));
    let formats = [("ndjson", Format::Ndjson), ("csv", Format::Csv), ("arrow", Format::ArrowIpc)];
    // A message of a broker holds JSON.
    let format = if is_free && !matches!(ty, Some(Type::Mqtt | Type::Nats | Type::Kafka)) {
        map.take_choice("format", &formats, diagnostics)
    } else {
        None
    };
    let record_kind = if is_free { map.take_text("kind", diagnostics) } else { None };
    let record_kind = record_kind.and_then(|(text, node)| {
        if catalog.kind(text).is_some() {
            return Some(text.to_owned());
        }
        let names: Vec<&str> = catalog.kinds().iter().map(|kind| kind.name.as_str()).collect();
        diagnostics.push(
            Diagnostic::new(
                &codes::UNKNOWN_KIND,
                file,
                node.span.clone(),
                format!("there is no kind of record `{text}`"),
            )
            .help(format!("kinds: {}; a computed kind stands in `map: {{ kind: ... }}`", names.join(", ")))
            .maybe_help(did_you_mean(text, names.iter().copied())),
        );
        None
    });
    let timezone = map.take_text("timezone", diagnostics).map(|(text, node)| {
        if weir_engine::normalise::known_timezone(text) {
            return text.to_owned();
        }
        diagnostics.push(
            Diagnostic::new(&codes::BAD_SOURCE, file, node.span.clone(), format!("there is no timezone `{text}`"))
                .help("write it as in Asia/Shanghai"),
        );
        text.to_owned()
    });
    let mapping = if is_free { parse_map(file, &mut map, name.0, catalog, diagnostics) } else { None };
    // A file waits, and a request is answered with 503.
    let sheds = matches!(ty, Some(Type::Stdin | Type::Tcp))
        && map.take_choice("when_full", &[("wait", false), ("shed", true)], diagnostics).unwrap_or(false);
    let place = map.place_of("keep_refused");
    let keeps_refused = map.take_bool("keep_refused", diagnostics).filter(|keeps| *keeps).map(|_| place);
    let kind = match ty? {
        Type::File => map.require_text("path", "a path, or a pattern such as records/*.ndjson", diagnostics).map(
            |(text, node)| SourceKind::File {
                pattern: beside(path, text),
                span: node.span.clone(),
                follow: map.take_bool("follow", diagnostics).unwrap_or(false),
            },
        ),
        Type::Stdin => Some(SourceKind::Stdin),
        Type::Tcp => parse_address(file, &mut map, diagnostics).map(|address| SourceKind::Tcp {
            address,
            idle_timeout_ms: map.take_duration_ms("idle_timeout", diagnostics).unwrap_or(600_000),
            stay_awake: map.take_bool("stay_awake", diagnostics).unwrap_or(true),
            once: map.take_bool("once", diagnostics).unwrap_or(false),
        }),
        Type::Http => parse_http(file, &mut map, diagnostics),
        Type::Push(dialect) => parse_push(file, &mut map, dialect, diagnostics),
        Type::Mqtt => brokers::parse_mqtt(file, path, name.0, &mut map, diagnostics),
        Type::Nats => brokers::parse_nats(file, path, name.0, &mut map, diagnostics),
        Type::Kafka => brokers::parse_kafka(file, path, name.0, &mut map, diagnostics),
        Type::Gtfs => gtfs::parse(file, path, &mut map, diagnostics),
        Type::IsapiStream => isapi_stream::parse(file, path, &mut map, diagnostics),
        Type::Axis => axis::parse(file, path, &mut map, timezone.as_deref(), diagnostics),
        Type::Viid => viid::parse(file, path, &mut map, timezone.as_deref(), diagnostics),
    };
    let by_name = |pattern: &Path| {
        let name = pattern.to_string_lossy();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        if name.ends_with(".csv") {
            Format::Csv
        } else if name.ends_with(".arrow") || name.ends_with(".arrows") {
            Format::ArrowIpc
        } else {
            Format::Ndjson
        }
    };
    let format = format.unwrap_or_else(|| match &kind {
        Some(SourceKind::File { pattern, .. }) => by_name(pattern),
        _ => Format::Ndjson,
    });
    map.finish(diagnostics);
    Some(SourceDecl {
        name: name.0.to_owned(),
        format,
        record_kind,
        timezone,
        map: mapping,
        sheds,
        keeps_refused,
        kind: kind?,
    })
}

fn parse_http(file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<SourceKind> {
    let address = parse_address(file, map, diagnostics);
    let limits = parse_limits(HttpLimits::default(), map, diagnostics);
    let route = parse_route(file, map, "/records", diagnostics)?;
    address.map(|address| SourceKind::Http { address, route, limits })
}

/// A source of devices that post events of their own form.
fn parse_push(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    dialect: PushDialect,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let address = parse_address(file, map, diagnostics);
    let limits = parse_limits(HttpLimits::default(), map, diagnostics);
    let mut text = |key| map.take_text(key, diagnostics).map(|(text, _)| text.to_owned());
    let place = PushPlace { site: text("site"), zone: text("zone") };
    let route = parse_route(file, map, "/events", diagnostics)?;
    address.map(|address| SourceKind::Push { address, route, dialect, place, limits })
}

fn parse_route(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    match map.take_text("route", diagnostics) {
        Some((text, _)) if text.starts_with('/') && !text.contains(['{', '*']) => Some(text.to_owned()),
        Some((_, node)) => {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_SOURCE,
                file,
                node.span.clone(),
                "a route starts with `/` and holds no pattern",
            ));
            None
        }
        None => Some(default.to_owned()),
    }
}

fn parse_limits(mut limits: HttpLimits, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> HttpLimits {
    if let Some(bytes) = map.take_bytes("body_bytes", diagnostics) {
        limits.body_bytes_max = bytes;
    }
    if let Some(rate) = map.take_integer("requests_per_second", diagnostics) {
        limits.requests_per_second_max = u32::try_from(rate).unwrap_or(u32::MAX);
    }
    limits
}

fn parse_address(file: &Arc<SourceFile>, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics) -> Option<SocketAddr> {
    let (text, node) = map.require_text("address", "where to listen, such as 127.0.0.1:7000", diagnostics)?;
    match loopback_address(text) {
        Ok(address) => Some(address),
        Err(message) => {
            diagnostics.push(Diagnostic::new(&codes::NOT_LOOPBACK, file, node.span.clone(), message));
            None
        }
    }
}

fn parse_map(
    file: &Arc<SourceFile>,
    map: &mut MapReader<'_>,
    source: &str,
    catalog: &Catalog,
    diagnostics: &mut Diagnostics,
) -> Option<MapSpec> {
    let declared = map.take_map("fields", diagnostics);
    let columns = map.take_map("map", diagnostics);
    if declared.is_none() && columns.is_none() {
        return None;
    }
    let mut fields: Vec<MappedField> = Vec::new();
    for (name, key, node) in declared.map(|mut map| map.entries()).unwrap_or_default() {
        let ty =
            node.text().and_then(|text| ColumnType::WORDS.iter().find(|(word, _)| *word == text)).map(|(_, ty)| *ty);
        let ty = ty.filter(|ty| !matches!(ty, ColumnType::Symbol | ColumnType::ScoredTexts));
        if !check_protected_name(file, key, name, diagnostics) {
            continue;
        }
        match ty {
            Some(ty) => fields.push(MappedField { name: name.to_owned(), ty }),
            None => diagnostics.push(
                Diagnostic::new(
                    &codes::UNKNOWN_CHOICE,
                    file,
                    node.span.clone(),
                    format!("`{}` is not a type of field", node.text().unwrap_or_default()),
                )
                .help("one of: text, number, integer, boolean, timestamp, date, texts"),
            ),
        }
    }
    if fields.len() > MAPPED_FIELDS_MAX {
        diagnostics.push(Diagnostic::new(
            &codes::BAD_VALUE,
            file,
            map.place_of("fields"),
            format!("a source declares at most {MAPPED_FIELDS_MAX} fields"),
        ));
    }
    let scope = Scope {
        schema: MappedField::schema(&fields),
        identifiers: std::collections::BTreeSet::new(),
        what: format!("source `{source}`"),
        macros: Arc::default(),
    };
    let known: Vec<&str> = std::iter::once("kind")
        .chain(catalog.kinds().iter().flat_map(|kind| &kind.columns).map(|column| column.name.as_str()))
        .filter(|name| !matches!(*name, "source" | "received"))
        .collect();
    let mut mapped = Vec::new();
    for (name, key, node) in columns.map(|mut map| map.entries()).unwrap_or_default() {
        if !check_protected_name(file, key, name, diagnostics) {
            continue;
        }
        if !known.contains(&name) {
            diagnostics.push(
                Diagnostic::new(
                    &codes::UNKNOWN_COLUMN,
                    file,
                    key.span.clone(),
                    format!("no kind of record has a column `{name}`"),
                )
                .maybe_help(did_you_mean(name, known.iter().copied())),
            );
            continue;
        }
        let Some(sql) = node.text() else {
            diagnostics.push(Diagnostic::new(
                &codes::WRONG_TYPE,
                file,
                node.span.clone(),
                format!("the mapping of `{name}` must be a SQL expression"),
            ));
            continue;
        };
        match expr::compile(sql, &scope) {
            Ok(expression) => mapped.push((name.to_owned(), expression)),
            Err(problems) => {
                for problem in problems {
                    let span = node.locate(file, problem.range);
                    diagnostics.push(
                        Diagnostic::new(problem.code, file, span, problem.message)
                            .help("a mapping uses the fields declared under `fields`")
                            .maybe_help(problem.help),
                    );
                }
            }
        }
    }
    Some(MapSpec { fields, columns: mapped })
}

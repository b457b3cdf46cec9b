//! A pipeline out of a configuration and what it names.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use weir_connectors::sink::{
    ArchiveSink, FileSink, HttpSink, KafkaSink, MqttSink, NatsSink, PostgresSink, StdoutFormat, StdoutSink, SyslogSink,
    TcpSink, ViidSink,
};
use weir_connectors::source::{
    AxisSource, FileProgress, FileSource, HttpSource, KafkaSource, MqttSource, NatsSource, OnBound, PushSource,
    StdinSource, TcpSource, ViidAccounts, ViidSource,
};
use weir_engine::alert::format_time;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::record::{Pseudonyms, RootKey};
use weir_engine::rng::{OsRng, Rng};
use weir_engine::runtime::Export;
use weir_engine::vfs::Vfs;
use weir_engine::{Pipeline, Sink, SinkSpec, Source, SourceSpec, StateSpec};

use crate::report::Report;

use super::server::login;
use super::sinks::ArchiveDecl;
use super::sources::{AxisDecl, KafkaDecl, MqttDecl, NatsDecl};
use super::{Config, Loaded, SinkDecl, SinkKind, SourceDecl, SourceKind, ViidDecl};

/// Longest token file.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// A pipeline, and what its progress can be read from.
pub(crate) struct Assembled {
    pub(crate) pipeline: Pipeline,
    /// Empty unless every source is a file that is read once.
    pub(crate) files: Vec<Arc<FileProgress>>,
}

/// What is asked of one run and does not stand in its configuration.
pub(crate) struct Asked<'a> {
    pub(crate) shards: Option<usize>,
    pub(crate) report: Option<&'a Report>,
    pub(crate) begin_at: Option<Export>,
}

/// Puts everything together.
pub(crate) fn assemble(
    config: &Config,
    loaded: Loaded,
    root: &RootKey,
    vfs: &Arc<dyn Vfs>,
    runtime: &Handle,
    asked: Asked,
) -> Result<Assembled, String> {
    let mut builder = Pipeline::builder(config.catalog.clone()).zones(loaded.zones).limits(config.limits.clone());
    if let Some(shards) = asked.shards.or(config.shards) {
        builder = builder.shards(shards);
    }
    builder = builder.pseudonyms(Pseudonyms::from_root(root.bytes()).of_epoch(epoch_now())).issuers(loaded.issuers);
    if let Some(report) = asked.report {
        let packs = || loaded.packs.iter().map(|(pack, _)| pack);
        builder = builder.sink(Report::sink_spec(packs()), report.clone());
    }
    for (pack, lists) in loaded.packs {
        builder = builder.shared_pack(pack, lists);
    }
    if let Some(state) = &config.state {
        builder = builder.state(StateSpec { vfs: Arc::clone(vfs), ..state.clone() });
    }
    if let Some(export) = asked.begin_at {
        builder = builder.begin_at(export);
    }
    let kept = config.state.is_some();
    let mut files = Vec::new();
    let sources = config.sources.len();
    for declared in config.sources.clone() {
        let accounts = loaded.accounts.get(&declared.name).cloned().unwrap_or_default();
        let (spec, source, progress) = build_source(declared, accounts, vfs, runtime)?;
        files.extend(progress);
        builder = builder.boxed_source(spec, source);
    }
    if files.len() < sources {
        files.clear();
    }
    for sink in &config.sinks {
        let spec = SinkSpec {
            name: sink.name.clone(),
            purposes: sink.purposes.iter().map(|(purpose, _)| purpose.clone()).collect(),
            streams: sink.streams.clone(),
            actuator: sink.actuator,
            reviewers: sink.reviewers,
        };
        builder = builder.boxed_sink(spec, build_sink(sink, kept, vfs, runtime)?);
    }
    Ok(Assembled { pipeline: builder.build().map_err(|error| error.to_string())?, files })
}

/// The epoch of pseudonyms: the month in which the process started.
fn epoch_now() -> String {
    format_time(SystemClock::default().wall_ms())[..7].to_owned()
}

/// How a source is known, what reads it, and how far that is.
type BuiltSource = (SourceSpec, Box<dyn Source>, Option<Arc<FileProgress>>);

fn build_source(
    declared: SourceDecl,
    accounts: ViidAccounts,
    vfs: &Arc<dyn Vfs>,
    runtime: &Handle,
) -> Result<BuiltSource, String> {
    let name = declared.name.clone();
    let fault = |error: String| format!("source `{}`: {error}", declared.name);
    let announce: OnBound = Arc::new(move |address| eprintln!("weir: source `{name}` listens on {address}"));
    let spec = SourceSpec {
        name: declared.name.clone(),
        format: declared.format,
        kind: declared.record_kind,
        timezone: declared.timezone,
        map: declared.map,
        sheds: declared.sheds,
        keeps_refused: declared.keeps_refused.is_some(),
    };
    let mut progress = None;
    let source: Box<dyn Source> = match declared.kind {
        SourceKind::File { pattern, follow, .. } => {
            let source = FileSource::new(pattern.to_string_lossy(), follow, Arc::clone(vfs));
            progress = (!follow).then(|| source.progress());
            Box::new(source)
        }
        SourceKind::Stdin => Box::new(StdinSource),
        SourceKind::Tcp { address, idle_timeout_ms, stay_awake, once } => Box::new(TcpSource {
            address,
            idle_timeout: Duration::from_millis(idle_timeout_ms as u64),
            stay_awake,
            once,
            on_bound: Some(announce),
        }),
        SourceKind::Http { address, route, limits } => {
            Box::new(HttpSource { address, path: route, limits, on_bound: Some(announce), runtime: runtime.clone() })
        }
        SourceKind::Push { address, route, dialect, place, limits } => Box::new(PushSource {
            address,
            path: route,
            dialect,
            place,
            limits,
            on_bound: Some(announce),
            runtime: runtime.clone(),
        }),
        SourceKind::Mqtt(declared) => {
            let MqttDecl { server, version, client_id, topics, at_least_once, session_expiry_ms, topic_as } = *declared;
            Box::new(MqttSource {
                broker: server.mqtt(version, &client_id, vfs.as_ref()).map_err(fault)?,
                topics,
                at_least_once,
                session_expiry: Duration::from_millis(session_expiry_ms as u64),
                topic_as,
                runtime: runtime.clone(),
            })
        }
        SourceKind::Nats(declared) => {
            let NatsDecl { server, stream, subject, consumer, from_start, subject_as } = *declared;
            Box::new(NatsSource {
                server: server.nats(&consumer, vfs.as_ref()).map_err(fault)?,
                stream,
                subject,
                consumer,
                from_start,
                subject_as,
                runtime: runtime.clone(),
            })
        }
        SourceKind::Kafka(declared) => {
            let KafkaDecl { server, sasl, topics, group, instance, shared_by_brokers, from_start, topic_as } =
                *declared;
            let cluster = server.kafka(sasl, vfs.as_ref()).map_err(fault)?;
            let runtime = runtime.clone();
            Box::new(KafkaSource { cluster, topics, group, instance, shared_by_brokers, from_start, topic_as, runtime })
        }
        SourceKind::Axis(declared) => Box::new(build_axis(*declared, vfs.as_ref(), runtime).map_err(fault)?),
        SourceKind::Gtfs(declared) => Box::new(declared.build(vfs.as_ref(), runtime).map_err(fault)?),
        SourceKind::IsapiStream(declared) => Box::new(declared.build(vfs.as_ref(), runtime).map_err(fault)?),
        SourceKind::Viid(declared) => {
            let mut nonce_key = [0; 32];
            OsRng.fill(&mut nonce_key);
            let ViidDecl {
                address,
                realm,
                server_id,
                timezone,
                offline_after_ms,
                peer_header,
                limits,
                subscriptions,
                ..
            } = *declared;
            let asked = subscriptions.iter().map(|it| it.build(&server_id, vfs.as_ref()));
            let subscriptions = asked.collect::<Result<_, _>>().map_err(fault)?;
            Box::new(ViidSource {
                address,
                realm,
                server_id,
                timezone,
                accounts,
                subscriptions,
                offline_after_ms,
                peer_header,
                nonce_key,
                limits,
                on_bound: Some(announce),
                runtime: runtime.clone(),
            })
        }
    };
    Ok((spec, source, progress))
}

/// A counter as declared.
pub(super) fn build_axis(declared: AxisDecl, vfs: &dyn Vfs, runtime: &Handle) -> Result<AxisSource, String> {
    let AxisDecl { url, login: declared, every_ms, timezone, place } = declared;
    let login = declared.map(|(user, file)| login(&user, &file, vfs)).transpose().map_err(|(_, message)| message)?;
    let every = Duration::from_millis(every_ms as u64);
    Ok(AxisSource { url, login, every, timezone, place, runtime: runtime.clone() })
}

/// An archive as declared.
fn build_archive(declared: &ArchiveDecl, vfs: &dyn Vfs, runtime: &Handle) -> Result<ArchiveSink, String> {
    let ArchiveDecl { path, format, every_ms, keep_for_ms, store } = declared;
    let [every, keep_for] = [*every_ms, *keep_for_ms].map(|ms| Duration::from_millis(ms as u64));
    let archive = ArchiveSink::open(path.clone(), *format, every, keep_for).map_err(|error| error.to_string())?;
    let Some(store) = store else { return Ok(archive) };
    let bucket = store.server.s3(store, vfs)?;
    archive.carried_to(bucket, runtime.clone()).map_err(|error| error.to_string())
}

/// The token in a file, if there is one.
pub(super) fn read_token(file: Option<&Path>, vfs: &dyn Vfs) -> Result<Option<String>, String> {
    let read =
        |path: &Path| vfs.read_text(path, TOKEN_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()));
    file.map(read).transpose()
}

/// A sink of its kind. Where outputs are kept (`kept`) it tries once, and the outbox asks it again.
fn build_sink(sink: &SinkDecl, kept: bool, vfs: &Arc<dyn Vfs>, runtime: &Handle) -> Result<Box<dyn Sink>, String> {
    let retry_for = |ms: i64| if kept { Duration::ZERO } else { Duration::from_millis(ms as u64) };
    let fault = |error: &dyn std::fmt::Display| format!("sink `{}`: {error}", sink.name);
    Ok(match &sink.kind {
        SinkKind::Stdout { ndjson: true } => Box::new(StdoutSink::new(StdoutFormat::Ndjson)),
        SinkKind::Stdout { ndjson: false } => {
            let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            Box::new(StdoutSink::new(StdoutFormat::Text { coloured }))
        }
        SinkKind::File { path } => Box::new(
            FileSink::open(path, vfs.as_ref()).map_err(|error| fault(&format!("{}: {error}", path.display())))?,
        ),
        SinkKind::Archive(declared) => {
            let archive = build_archive(declared, vfs.as_ref(), runtime);
            Box::new(archive.map_err(|error| fault(&format!("{}: {error}", declared.path.display())))?)
        }
        SinkKind::Http { url, token_file, template, retry_for_ms } => {
            let token = read_token(token_file.as_deref(), vfs.as_ref()).map_err(|error| fault(&error))?;
            let retry_for = retry_for(*retry_for_ms);
            Box::new(
                HttpSink::new(url, token.as_deref(), *template, retry_for, runtime.clone())
                    .map_err(|error| fault(&error))?,
            )
        }
        SinkKind::Mqtt { server, version, client_id, topic, retry_for_ms } => {
            let broker = server.mqtt(*version, client_id, vfs.as_ref()).map_err(|error| fault(&error))?;
            Box::new(MqttSink::new(broker, topic.clone(), retry_for(*retry_for_ms), runtime.clone()))
        }
        SinkKind::Nats { server, subject, retry_for_ms } => {
            let server = server.nats(&format!("weir-{}", sink.name), vfs.as_ref()).map_err(|error| fault(&error))?;
            Box::new(NatsSink::new(server, subject.clone(), retry_for(*retry_for_ms), runtime.clone()))
        }
        SinkKind::Kafka { server, sasl, topic, retry_for_ms } => {
            let cluster = server.kafka(*sasl, vfs.as_ref()).map_err(|error| fault(&error))?;
            Box::new(KafkaSink::new(cluster, topic.clone(), retry_for(*retry_for_ms), runtime.clone()))
        }
        SinkKind::Postgres { server, table, retry_for_ms } => {
            let server = server.postgres(vfs.as_ref()).map_err(|error| fault(&error))?;
            Box::new(PostgresSink::new(server, table.clone(), retry_for(*retry_for_ms), runtime.clone()))
        }
        SinkKind::Viid { server, our_id, timezone, retry_for_ms } => {
            let platform = server.viid(our_id, vfs.as_ref()).map_err(|error| fault(&error))?;
            let sink = ViidSink::new(platform, timezone, retry_for(*retry_for_ms), runtime.clone());
            Box::new(sink.map_err(|error| fault(&error))?)
        }
        SinkKind::Syslog { server, form, retry_for_ms } => {
            let server = server.syslog(vfs.as_ref()).map_err(|error| fault(&error))?;
            Box::new(SyslogSink::new(server, form.clone(), retry_for(*retry_for_ms)))
        }
        SinkKind::Tcp { address, retry_for_ms } => Box::new(TcpSink::new(*address, retry_for(*retry_for_ms))),
    })
}

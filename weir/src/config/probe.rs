//! A source or sink as configured, tried without anything being read or told.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Handle;
use weir_connectors::client::Finding;
use weir_connectors::sink::{HttpSink, Template};
use weir_engine::vfs::Vfs;

use super::assemble::{build_axis, read_token};
use super::sources::AxisDecl;
use super::{Config, SinkDecl, SinkKind, SourceDecl, SourceKind};

/// Time for somebody to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Files that a pattern may fit, as far as they are counted.
const FILES_MAX: usize = 10_000;

/// Tries what has this name; `None` if nothing has. Each part says of whom it speaks.
pub(crate) fn probe(
    config: &Config,
    name: &str,
    vfs: &dyn Vfs,
    runtime: &Handle,
) -> Option<Vec<(String, Vec<Finding>)>> {
    let source = config.sources.iter().find(|it| it.name == name);
    let sink = config.sinks.iter().find(|it| it.name == name);
    let mut found = Vec::new();
    if let Some(source) = source {
        found.push((format!("source `{name}`"), of_source(source, vfs, runtime)));
    }
    if let Some(sink) = sink {
        found.push((format!("sink `{name}`"), of_sink(sink, vfs, runtime)));
    }
    for list in config.list_sources.iter().filter(|it| it.list == name) {
        let findings = list.database(vfs).map_or_else(|trouble| vec![Err(trouble)], |mut database| database.probe());
        found.push((format!("list `{name}`"), findings));
    }
    (!found.is_empty()).then_some(found)
}

fn of_source(source: &SourceDecl, vfs: &dyn Vfs, runtime: &Handle) -> Vec<Finding> {
    match &source.kind {
        SourceKind::File { pattern, follow, .. } => vec![files(pattern, *follow, vfs)],
        SourceKind::Stdin => vec![Ok("standard input is always there".to_owned())],
        SourceKind::Tcp { address, .. } | SourceKind::Http { address, .. } | SourceKind::Push { address, .. } => {
            vec![can_listen(*address)]
        }
        SourceKind::Axis(declared) => {
            vec![build_axis(AxisDecl::clone(declared), vfs, runtime).and_then(|counter| counter.probe())]
        }
        SourceKind::Gtfs(declared) => vec![declared.build(vfs, runtime).and_then(|feed| feed.probe())],
        SourceKind::IsapiStream(declared) => vec![declared.build(vfs, runtime).and_then(|device| device.probe())],
        SourceKind::Viid(declared) => {
            let asked = declared.subscriptions.iter().map(|it| {
                let asked = it.build(&declared.server_id, vfs)?;
                runtime.block_on(asked.platform.probe())
            });
            std::iter::once(can_listen(declared.address)).chain(asked).collect()
        }
        SourceKind::Mqtt(declared) => match declared.server.mqtt(declared.version, &declared.client_id, vfs) {
            Ok(broker) => runtime.block_on(broker.probe(&declared.topics)),
            Err(trouble) => vec![Err(trouble)],
        },
        SourceKind::Nats(declared) => match declared.server.nats("weir-test", vfs) {
            Ok(server) => runtime.block_on(server.probe_stream(&declared.stream)),
            Err(trouble) => vec![Err(trouble)],
        },
        SourceKind::Kafka(declared) => match declared.server.kafka(declared.sasl, vfs) {
            Ok(cluster) => runtime.block_on(cluster.probe(&declared.topics)),
            Err(trouble) => vec![Err(trouble)],
        },
    }
}

fn of_sink(sink: &SinkDecl, vfs: &dyn Vfs, runtime: &Handle) -> Vec<Finding> {
    match &sink.kind {
        SinkKind::Stdout { .. } => vec![Ok("standard output is always there".to_owned())],
        SinkKind::File { path } => vec![can_append(path)],
        SinkKind::Archive(archive) => {
            let stored = archive.store.as_ref().map(|store| match store.server.s3(store, vfs) {
                Ok(bucket) => runtime.block_on(bucket.probe()),
                Err(trouble) => vec![Err(trouble)],
            });
            std::iter::once(can_make_files(&archive.path)).chain(stored.into_iter().flatten()).collect()
        }
        SinkKind::Http { url, token_file, .. } => {
            let sink = read_token(token_file.as_deref(), vfs).and_then(|token| {
                HttpSink::new(url, token.as_deref(), Template::Generic, Duration::ZERO, runtime.clone())
                    .map_err(|error| error.to_string())
            });
            vec![sink.and_then(|sink| sink.probe())]
        }
        SinkKind::Tcp { address, .. } => vec![match TcpStream::connect_timeout(address, TIMEOUT) {
            Ok(_) => Ok(format!("somebody listens on {address}")),
            Err(error) => Err(format!("nobody listens on {address}: {error}")),
        }],
        SinkKind::Mqtt { server, version, client_id, .. } => match server.mqtt(*version, client_id, vfs) {
            Ok(broker) => runtime.block_on(broker.probe(&[])),
            Err(trouble) => vec![Err(trouble)],
        },
        SinkKind::Nats { server, subject, .. } => match server.nats("weir-test", vfs) {
            Ok(server) => runtime.block_on(server.probe_subject(subject)),
            Err(trouble) => vec![Err(trouble)],
        },
        SinkKind::Kafka { server, sasl, topic, .. } => match server.kafka(*sasl, vfs) {
            Ok(cluster) => runtime.block_on(cluster.probe(std::slice::from_ref(topic))),
            Err(trouble) => vec![Err(trouble)],
        },
        SinkKind::Viid { server, our_id, .. } => match server.viid(our_id, vfs) {
            Ok(platform) => vec![runtime.block_on(platform.probe())],
            Err(trouble) => vec![Err(trouble)],
        },
        SinkKind::Syslog { server, .. } => vec![server.syslog(vfs).and_then(|server| server.probe())],
        SinkKind::Postgres { server, table, .. } => match server.postgres(vfs) {
            Ok(server) => runtime.block_on(server.probe(table)),
            Err(trouble) => vec![Err(trouble)],
        },
    }
}

fn files(pattern: &Path, follow: bool, vfs: &dyn Vfs) -> Finding {
    let text = pattern.to_string_lossy();
    let paths = glob::glob(&text).map_err(|error| format!("{text} is no pattern: {error}"))?;
    let paths: Vec<_> = paths.take(FILES_MAX).filter_map(Result::ok).collect();
    if let Some((path, error)) = paths.iter().find_map(|path| Some((path, vfs.open(path).err()?))) {
        return Err(format!("{} cannot be read: {error}", path.display()));
    }
    match paths.len() {
        0 if follow => Ok(format!("no file is {text} yet; it is read as soon as there is one")),
        0 => Err(format!("no file is {text}")),
        1 => Ok(format!("{text} can be read")),
        many => Ok(format!("{many} files are {text}, and can be read")),
    }
}

fn can_listen(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free to listen on")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(format!("somebody listens on {address} already; is weir running?"))
        }
        Err(error) => Err(format!("nobody can listen on {address}: {error}")),
    }
}

/// Whether files could be made in a folder, and the folder, if it is not there yet; nothing is left behind.
fn can_make_files(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("."));
    let tried = there.join(format!(".weir-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&tried);
    // Whoever could make it can remove it.
    let _ = std::fs::remove_file(&tried);
    match made {
        Ok(_) => Ok(format!("{} can be written to", folder.display())),
        Err(error) => Err(format!("{} cannot be written to: {error}", folder.display())),
    }
}

/// Whether something could be appended; a file that was not there is not left behind.
fn can_append(path: &Path) -> Finding {
    let was_there = path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    if !was_there && opened.is_ok() {
        // Whoever cannot remove it leaves it empty.
        let _ = std::fs::remove_file(path);
    }
    match opened {
        Ok(_) => Ok(format!("{} can be written", path.display())),
        Err(error) => Err(format!("{} cannot be written: {error}", path.display())),
    }
}

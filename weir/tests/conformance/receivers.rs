//! Those whom alerts are told.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

use crate::common::platform::{Platform, lists};
use crate::common::{Place, Told, nobody};
use crate::s3::{S3, files};
use crate::servers::{Kafka as Cluster, Outage, Server};

pub trait Receiver {
    /// The sink, as it is configured, without its purposes.
    fn sink(&self) -> String;

    /// Writes what it needs beside the configuration.
    fn prepare(&self, _place: &Place) {}

    /// Is there, or there again. Nobody is until then.
    fn start(&mut self);

    /// Goes away, if it can.
    fn stop(&mut self) {}

    fn can_stop(&self) -> bool {
        false
    }

    /// The ids of alerts it was told, as they came.
    fn told(&self) -> Vec<String>;

    fn is_in_order(&self) -> bool {
        true
    }

    /// Whether it drops what it was told before.
    fn tells_repeats(&self) -> bool {
        false
    }
}

fn id(alert: &str) -> String {
    let alert: Value = serde_json::from_str(alert).unwrap();
    alert["alert_id"].as_str().unwrap().to_owned()
}

/// A webhook.
pub struct Http {
    address: SocketAddr,
    told: Told,
}

impl Http {
    pub fn new() -> Self {
        Self { address: nobody(), told: Told::default() }
    }
}

impl Receiver for Http {
    fn sink(&self) -> String {
        format!("    type: http\n    url: http://{}/alerts", self.address)
    }

    fn start(&mut self) {
        self.told.listen(self.address);
    }

    fn told(&self) -> Vec<String> {
        self.told.ids()
    }
}

/// A store of objects that an archive's files are carried to.
pub struct Archive {
    store: S3,
}

impl Archive {
    pub fn new() -> Self {
        Self { store: S3::new() }
    }
}

impl Receiver for Archive {
    fn sink(&self) -> String {
        format!("    type: archive\n    path: archive\n    every: 10s\n    {}", self.store.store())
    }

    fn start(&mut self) {
        self.store.start();
    }

    fn stop(&mut self) {
        self.store.stop();
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn told(&self) -> Vec<String> {
        let files = files(&self.store.archive(), "alerts", "parquet");
        let rows = files.into_iter().flat_map(|path| {
            let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
            file.get_row_iter(None).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        });
        rows.map(|row| row.get_string(0).unwrap().clone()).collect()
    }

    fn tells_repeats(&self) -> bool {
        true
    }
}

/// A platform of GA/T 1400, which is told of vehicles that are on a list.
pub struct Viid {
    address: SocketAddr,
    platform: Platform,
}

impl Viid {
    pub fn new() -> Self {
        Self { address: nobody(), platform: Platform::default() }
    }
}

impl Receiver for Viid {
    fn sink(&self) -> String {
        let login = "user: up\n    password_file: password";
        format!(
            "    type: viid\n    url: http://{}\n    {login}\n    device_id: \"61010000002020000001\"\n    timezone: UTC",
            self.address
        )
    }

    fn prepare(&self, place: &Place) {
        let list =
            "lists: { stolen: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road, authority: police } }";
        let rule = "{ id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road }";
        let head = "weir: 1\npack: p\nowner: o\npurposes: { road: { legal_basis: act 2 } }";
        place.write("pack.yaml", format!("{head}\n{list}\nrules:\n  - {rule}\n"));
        place.write("l.csv", "plate,entry_id,expires\nA12345,E1,2099-01-01\n");
    }

    fn start(&mut self) {
        self.platform.listen(self.address);
    }

    fn told(&self) -> Vec<String> {
        let requests = self.platform.told("/VIID/DispositionNotifications");
        let told = requests.iter().flat_map(|(.., body)| lists(body));
        told.map(|it| it["CntObjectID"].as_str().unwrap().to_owned()).collect()
    }
}

/// Whoever reads lines.
pub struct Tcp {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tcp {
    pub fn new() -> Self {
        Self { address: nobody(), lines: Arc::default() }
    }
}

impl Receiver for Tcp {
    fn sink(&self) -> String {
        format!("    type: tcp\n    address: {}", self.address)
    }

    fn start(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        let kept = Arc::clone(&self.lines);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                for line in BufReader::new(stream.unwrap()).lines().map_while(Result::ok) {
                    // A line may be cut off as weir is killed.
                    if line.ends_with('}') {
                        kept.lock().unwrap().push(line);
                    }
                }
            }
        });
    }

    fn told(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().map(|line| id(line)).collect()
    }
}

/// A subscriber of Mosquitto, by its own client. The broker holds for it what comes while it is away.
pub struct Mqtt {
    server: Server,
    version: &'static str,
    folder: tempfile::TempDir,
    subscriber: Option<Child>,
}

impl Mqtt {
    pub fn new(version: &'static str) -> Self {
        let mut receiver = Self {
            server: Server::mosquitto().started(),
            version,
            folder: tempfile::tempdir().unwrap(),
            subscriber: None,
        };
        let subscribed = receiver.subscribe(&["-E"]).status().unwrap();
        assert!(subscribed.success());
        receiver.server.stop();
        receiver
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("told")
    }

    fn subscribe(&self, more: &[&str]) -> Command {
        let port = self.server.address.port().to_string();
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-c", "-i", "post", "-t", "weir/alerts"]).args(more);
        command
    }
}

impl Receiver for Mqtt {
    fn sink(&self) -> String {
        format!(
            "    type: mqtt\n    url: mqtt://{}\n    topic: weir/alerts\n    version: \"{}\"",
            self.server.address, self.version
        )
    }

    fn start(&mut self) {
        self.server.start();
        if self.subscriber.is_none() {
            let told = std::fs::File::create(self.file()).unwrap();
            let child = self.subscribe(&[]).stdout(told).stderr(Stdio::null()).spawn().unwrap();
            self.subscriber = Some(child);
        }
    }

    fn stop(&mut self) {
        self.server.stop();
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(self.file()).unwrap_or_default();
        told[..told.rfind('\n').map_or(0, |at| at + 1)].lines().map(id).collect()
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        if let Some(mut child) = self.subscriber.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A stream of nats-server.
pub struct Nats {
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Nats {
    pub fn new() -> Self {
        use async_nats::jetstream::{self, stream::Config};
        let mut server = Server::nats().started();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(server.address.to_string()).await.unwrap();
            let config = Config { name: "ALERTS".into(), subjects: vec!["weir.>".into()], ..Config::default() };
            jetstream::new(client).create_stream(config).await.unwrap();
        });
        server.stop();
        Self { server, runtime }
    }
}

impl Receiver for Nats {
    fn sink(&self) -> String {
        format!("    type: nats\n    url: nats://{}\n    subject: weir.alerts", self.server.address)
    }

    fn start(&mut self) {
        self.server.start();
    }

    fn stop(&mut self) {
        self.server.stop();
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn told(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let Ok(client) = async_nats::connect(self.server.address.to_string()).await else { return Vec::new() };
            let stream = async_nats::jetstream::new(client).get_stream("ALERTS").await.unwrap();
            let mut told = Vec::new();
            for number in 1..=stream.cached_info().state.last_sequence {
                let message = stream.get_raw_message(number).await.unwrap();
                let alert = std::str::from_utf8(&message.payload).unwrap();
                assert_eq!(
                    message.headers.get("Nats-Msg-Id").map(async_nats::HeaderValue::as_str),
                    Some(format!("{}-0", id(alert)).as_str())
                );
                told.push(id(alert));
            }
            told
        })
    }

    fn tells_repeats(&self) -> bool {
        true
    }
}

/// A table of PostgreSQL.
pub struct Postgres {
    server: Server,
    is_up: bool,
}

impl Postgres {
    pub fn new() -> Self {
        let mut server = Server::postgres().started();
        server.create_database();
        server.stop();
        Self { server, is_up: false }
    }
}

impl Receiver for Postgres {
    fn sink(&self) -> String {
        format!(
            "    type: postgres\n    url: postgres://{}/registry\n    user: weir\n    password_file: password",
            self.server.address
        )
    }

    fn start(&mut self) {
        self.server.start();
        self.is_up = true;
    }

    fn stop(&mut self) {
        self.server.stop();
        self.is_up = false;
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn told(&self) -> Vec<String> {
        if !self.is_up || self.server.try_psql("SELECT to_regclass('weir_outputs')").is_none_or(|it| it.is_empty()) {
            return Vec::new();
        }
        let rows = self
            .server
            .psql("SELECT id FROM weir_outputs WHERE body->>'alert_id' = id AND rule = 'seen' AND ts IS NOT NULL");
        rows.lines().map(str::to_owned).collect()
    }

    fn is_in_order(&self) -> bool {
        false
    }

    fn tells_repeats(&self) -> bool {
        true
    }
}

/// A topic of Kafka.
pub struct Kafka {
    cluster: Cluster,
}

impl Kafka {
    pub fn new() -> Self {
        let mut cluster = Cluster::start();
        assert!(cluster.broker.create_topic("alerts", 1));
        cluster.stop();
        Self { cluster }
    }
}

impl Receiver for Kafka {
    fn sink(&self) -> String {
        format!("    type: kafka\n    url: kafka://{}\n    topic: alerts", self.cluster.address())
    }

    fn start(&mut self) {
        self.cluster.start();
    }

    fn stop(&mut self) {
        self.cluster.stop();
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn told(&self) -> Vec<String> {
        self.cluster.messages("alerts").iter().map(|alert| id(alert)).collect()
    }
}

/// A collector of syslog (rsyslog), which writes down what it takes apart. It does not say what it has got.
pub struct Syslog {
    server: Server,
}

impl Syslog {
    pub fn new() -> Self {
        Self { server: Server::rsyslog() }
    }
}

impl Receiver for Syslog {
    fn sink(&self) -> String {
        format!(
            "    type: syslog\n    url: syslog://{}\n    facility: local3\n    hostname: post-7",
            self.server.address
        )
    }

    fn start(&mut self) {
        self.server.start();
    }

    fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(self.server.path("told")).unwrap_or_default();
        let whole = &told[..told.rfind('\n').map_or(0, |at| at + 1)];
        whole
            .lines()
            .map(|line| {
                let (head, alert) = line.split_once('|').unwrap();
                assert_eq!(head, "local3.warning post-7 weir alerts", "{line}");
                id(alert)
            })
            .collect()
    }
}

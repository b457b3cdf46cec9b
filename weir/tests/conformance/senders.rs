//! Clients that behave as the real ones do: what is not acknowledged they send again.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_examples::viid::{Device, ha1, passage};

use crate::common::{Place, Running, eventually, nobody};
use crate::lossy::LossyLine;
use crate::servers::{Kafka as Cluster, Outage, Server};

/// Records of one message, request or write.
pub const BATCH: usize = 100;

pub trait Sender: Send {
    /// The source, as it is configured.
    fn source(&self) -> String;

    /// Writes what the source needs beside the configuration.
    fn prepare(&self, _place: &Place) {}

    /// Starts weir.
    fn launch(&mut self, place: &Place) -> Running {
        place.launch(&["weir.yaml"])
    }

    /// Sends these records until all of them are acknowledged.
    fn send(&mut self, numbers: Range<u64>);

    /// Sends records that cannot be read; how many dead letters there will be.
    fn send_rubbish(&mut self) -> usize;

    /// Whether what is lost on its way is sent again.
    fn is_acknowledged(&self) -> bool {
        true
    }

    /// Whether weir knows where it has come to, and takes nothing twice.
    fn is_exact(&self) -> bool {
        false
    }

    /// The server between us and weir.
    fn server(&mut self) -> Option<&mut dyn Outage> {
        None
    }

    /// The id by which a record is known.
    fn id(&self, number: u64) -> String {
        number.to_string()
    }

    fn device(&self, number: u64) -> String {
        format!("d{}", number % 3)
    }
}

/// A record. Ten come in a second; one far ahead comes a day later.
fn record(number: u64) -> String {
    let ms = 1_795_420_800_000 + number * 100;
    let device = format!("d{}", number % 3);
    json!({ "kind": "vehicle", "event_id": number.to_string(), "ts": ms, "site": "CP-01", "device": device, "plate": "A12345" })
        .to_string()
}

fn batches(numbers: Range<u64>) -> Vec<String> {
    let numbers: Vec<u64> = numbers.collect();
    numbers.chunks(BATCH).map(|some| some.iter().map(|n| record(*n) + "\n").collect()).collect()
}

const RUBBISH: &str = "{\"kind\":\"vehicle\",\"plate\":\"canary\"\n[1]\n";

/// A file that grows.
pub struct File {
    path: tempfile::TempPath,
}

impl File {
    pub fn new() -> Self {
        Self { path: tempfile::NamedTempFile::new().unwrap().into_temp_path() }
    }

    fn append(&self, lines: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.path).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }
}

impl Sender for File {
    fn source(&self) -> String {
        format!("    type: file\n    path: {}\n    follow: true", self.path.display())
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn send(&mut self, numbers: Range<u64>) {
        for lines in batches(numbers) {
            self.append(&lines);
        }
    }

    fn send_rubbish(&mut self) -> usize {
        self.append(RUBBISH);
        2
    }
}

/// Lines over TCP, which nobody acknowledges.
pub struct Tcp {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Tcp {
    pub fn new() -> Self {
        Self { address: nobody(), stream: None }
    }

    fn write(&mut self, lines: &str) {
        let address = self.address;
        let connect = || {
            let mut stream = None;
            eventually("weir listens", || {
                stream = TcpStream::connect(address).ok();
                stream.is_some()
            });
            stream.unwrap()
        };
        self.stream.get_or_insert_with(connect).write_all(lines.as_bytes()).unwrap();
    }
}

impl Sender for Tcp {
    fn source(&self) -> String {
        format!("    type: tcp\n    address: {}", self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        for lines in batches(numbers) {
            self.write(&lines);
        }
    }

    fn send_rubbish(&mut self) -> usize {
        self.write(RUBBISH);
        2
    }

    fn is_acknowledged(&self) -> bool {
        false
    }
}

/// Lines to standard input, which nobody acknowledges.
#[derive(Default)]
pub struct Stdin {
    pipe: Option<std::io::PipeWriter>,
}

impl Sender for Stdin {
    fn source(&self) -> String {
        "    type: stdin".to_owned()
    }

    fn launch(&mut self, place: &Place) -> Running {
        let (reader, writer) = std::io::pipe().unwrap();
        self.pipe = Some(writer);
        place.launch_with(&["weir.yaml"], reader.into())
    }

    fn send(&mut self, numbers: Range<u64>) {
        for lines in batches(numbers) {
            self.pipe.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        }
    }

    fn send_rubbish(&mut self) -> usize {
        self.pipe.as_mut().unwrap().write_all(RUBBISH.as_bytes()).unwrap();
        2
    }

    fn is_acknowledged(&self) -> bool {
        false
    }
}

/// Requests of NDJSON.
pub struct Http {
    address: SocketAddr,
}

impl Http {
    pub fn new() -> Self {
        Self { address: nobody() }
    }
}

/// Posts until the answer is 200. One that is lost on its way is not an answer.
pub fn post_until_taken(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) {
    eventually("it is taken", || {
        TcpStream::connect(address).is_ok()
            && std::panic::catch_unwind(|| {
                crate::common::post(address, path, &[("content-type", content_type)], body).0 == 200
            })
            .unwrap_or(false)
    });
}

impl Sender for Http {
    fn source(&self) -> String {
        format!("    type: http\n    address: {}", self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        for lines in batches(numbers) {
            post_until_taken(self.address, "/records", "application/x-ndjson", lines.as_bytes());
        }
    }

    fn send_rubbish(&mut self) -> usize {
        post_until_taken(self.address, "/records", "application/x-ndjson", RUBBISH.as_bytes());
        2
    }
}

/// A camera of GA/T 1400.
pub struct Viid {
    address: SocketAddr,
    device: Device,
    registered: bool,
}

const VIID_ID: &str = "61010000001190000001";

impl Viid {
    pub fn new() -> Self {
        let address = nobody();
        Self { address, device: Device::new(address, VIID_ID, "gate", "s3cr3t"), registered: false }
    }

    fn deliver(&mut self) {
        let Self { device, registered, .. } = self;
        eventually("the camera is let in, and its backlog taken", || {
            *registered = *registered || device.register().is_ok();
            let statuses = device.deliver();
            // It asks to be let in again by itself when weir has forgotten it.
            *registered &= statuses.is_ok();
            statuses.is_ok() && device.backlog() == 0
        });
    }
}

impl Sender for Viid {
    fn source(&self) -> String {
        format!(
            "    type: viid\n    address: {}\n    server_id: \"61010000002020000001\"\n    accounts: accounts.csv\n    timezone: UTC",
            self.address
        )
    }

    fn prepare(&self, place: &Place) {
        place.write("accounts.csv", format!("device_id,user,ha1\n{VIID_ID},gate,{}\n", ha1("gate", "viid", "s3cr3t")));
    }

    fn send(&mut self, numbers: Range<u64>) {
        for number in numbers {
            self.device.pass(vehicle(number));
            if self.device.backlog() >= BATCH {
                self.deliver();
            }
        }
        self.deliver();
    }

    fn send_rubbish(&mut self) -> usize {
        let mut bad = vehicle(0);
        bad["MotorVehicleID"] = "bad".into();
        bad["PassTime"] = "canary".into();
        let answer = self.device.post("/VIID/MotorVehicles", &json!({ "MotorVehicleObject": [bad, 1] })).unwrap();
        assert_eq!(answer.status, 200);
        2
    }

    fn id(&self, number: u64) -> String {
        vehicle(number)["MotorVehicleID"].as_str().unwrap().to_owned()
    }

    fn device(&self, _: u64) -> String {
        VIID_ID.to_owned()
    }
}

/// One passage in a second.
fn vehicle(number: u64) -> Value {
    let (day, second) = (1 + number / 86_400, number % 86_400);
    let time = format!("202611{day:02}{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60);
    passage(VIID_ID, number % 100_000, &time, "陕A12345")
}

/// Messages to topics of Mosquitto, by its own client.
pub struct Mqtt {
    server: Server,
    version: &'static str,
}

impl Mqtt {
    pub fn new(version: &'static str) -> Self {
        let server = Server::mosquitto().started();
        let port = server.address.port().to_string();
        // What is published before anybody has subscribed goes nowhere: weir finds its session, and what waits in it.
        let mut subscribe = Command::new("mosquitto_sub");
        subscribe.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-c", "-i", "weir-source-gate", "-E"]);
        subscribe.args(["-t", "gates/+/passages", "-V", if version == "5" { "5" } else { "mqttv311" }]);
        if version == "5" {
            subscribe.args(["-x", "3600"]);
        }
        assert!(subscribe.status().expect("mosquitto-clients").success());
        Self { server, version }
    }

    /// Publishes lines, each a message of QoS 1, until the server has all of them.
    fn publish(&self, lines: &str) {
        let port = self.server.address.port().to_string();
        eventually("the server takes it", || {
            let mut publish = Command::new("mosquitto_pub");
            publish.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "gates/7/passages", "-V", "5", "-l"]);
            let mut child = publish.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("mosquitto-clients");
            let written = child.stdin.take().unwrap().write_all(lines.as_bytes());
            child.wait().unwrap().success() && written.is_ok()
        });
    }
}

impl Sender for Mqtt {
    fn source(&self) -> String {
        format!(
            "    type: mqtt\n    url: mqtt://{}\n    topics: [gates/+/passages]\n    version: \"{}\"",
            self.server.address, self.version
        )
    }

    fn send(&mut self, numbers: Range<u64>) {
        for lines in batches(numbers) {
            self.publish(&lines);
        }
    }

    fn send_rubbish(&mut self) -> usize {
        self.publish(RUBBISH);
        2
    }

    fn server(&mut self) -> Option<&mut dyn Outage> {
        Some(&mut self.server)
    }
}

/// Messages of a stream of nats-server.
pub struct Nats {
    server: Server,
    runtime: tokio::runtime::Runtime,
    /// Where weir reaches the server.
    address: SocketAddr,
}

impl Nats {
    pub fn new(is_queue: bool) -> Self {
        use async_nats::jetstream::stream::{Config, RetentionPolicy};
        let server = Server::nats().started();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let retention = if is_queue { RetentionPolicy::WorkQueue } else { RetentionPolicy::Limits };
        runtime.block_on(async {
            let client = async_nats::connect(server.address.to_string()).await.unwrap();
            let config =
                Config { name: "GATES".into(), subjects: vec!["gates.>".into()], retention, ..Config::default() };
            async_nats::jetstream::new(client).create_stream(config).await.unwrap();
        });
        Self { address: server.address, server, runtime }
    }

    /// Has weir reach the server over a line on which messages are lost.
    pub fn lose_messages(&mut self) -> LossyLine {
        let line = LossyLine::to(self.server.address);
        self.address = line.address();
        line
    }

    /// Removes the stream, and makes another of its name.
    pub fn make_anew(&mut self) {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.server.address.to_string()).await.unwrap();
            let context = async_nats::jetstream::new(client);
            let config = context.get_stream("GATES").await.unwrap().cached_info().config.clone();
            context.delete_stream("GATES").await.unwrap();
            context.create_stream(config).await.unwrap();
        });
    }

    /// Makes a durable consumer, as somebody else would.
    pub fn make_consumer(&self, name: &str) {
        use async_nats::jetstream::consumer::pull::Config;
        let config = Config { durable_name: Some(name.to_owned()), ..Config::default() };
        let made = self.runtime.block_on(async { self.stream().await.create_consumer(config).await.map(drop) });
        made.unwrap();
    }

    /// The names of the stream's consumers.
    pub fn consumers(&self) -> Vec<String> {
        use futures_util::TryStreamExt;
        self.runtime.block_on(async { self.stream().await.consumer_names().try_collect().await }).unwrap()
    }

    async fn stream(&self) -> async_nats::jetstream::stream::Stream {
        let client = async_nats::connect(self.server.address.to_string()).await.unwrap();
        async_nats::jetstream::new(client).get_stream("GATES").await.unwrap()
    }

    fn publish(&self, messages: &[(String, String)]) {
        use async_nats::jetstream::message::PublishMessage;
        let address = self.server.address.to_string();
        self.runtime.block_on(async {
            for attempt in 0.. {
                assert!(attempt < 100, "the server takes it");
                let Ok(client) = async_nats::connect(&address).await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let context = async_nats::jetstream::new(client);
                let mut all = true;
                for (id, message) in messages {
                    // The server tells one that is sent again by its id.
                    let message = PublishMessage::build().payload(message.clone().into()).message_id(id);
                    let sent = context.send_publish("gates.7", message).await;
                    all &= match sent {
                        Ok(answer) => answer.await.is_ok(),
                        Err(_) => false,
                    };
                    if !all {
                        break;
                    }
                }
                if all {
                    return;
                }
            }
        });
    }
}

impl Sender for Nats {
    fn source(&self) -> String {
        format!("    type: nats\n    url: nats://{}\n    stream: GATES\n    subject: gates.*", self.address)
    }

    fn send(&mut self, numbers: Range<u64>) {
        for number in numbers.clone().step_by(10) {
            let to = (number + 10).min(numbers.end);
            let lines: Vec<String> = (number..to).map(record).collect();
            self.publish(&[(format!("records-{number}"), format!("[{}]", lines.join(",")))]);
        }
    }

    fn send_rubbish(&mut self) -> usize {
        let lines = RUBBISH.lines().enumerate().map(|(at, line)| (format!("rubbish-{at}"), line.replace("[1]", "1")));
        self.publish(&lines.collect::<Vec<_>>());
        2
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn server(&mut self) -> Option<&mut dyn Outage> {
        Some(&mut self.server)
    }
}

/// Messages of a topic of three partitions.
pub struct Kafka {
    cluster: Cluster,
    /// What else is said of the group.
    more: &'static str,
}

impl Kafka {
    pub fn new(more: &'static str) -> Self {
        let cluster = Cluster::start();
        assert!(cluster.broker.create_topic("gates", 3));
        Self { cluster, more }
    }

    /// Removes the topic, and makes another of its name.
    pub fn make_anew(&mut self) {
        let broker = &self.cluster.broker;
        let committed = || (0..3).filter_map(|it| broker.committed_offset("posts", "gates", it)).sum::<i64>();
        eventually("all is committed", || committed() == 600);
        // With a topic goes what groups have committed of it, as at a real broker.
        broker.with_state(|state| state.groups.get_mut("posts").unwrap().offsets.clear());
        assert!(self.cluster.broker.delete_topic("gates") && self.cluster.broker.create_topic("gates", 3));
    }

    /// Produces messages, each with its key, until the cluster has all of them.
    fn produce(&self, messages: &[(String, String)]) {
        for (key, message) in messages {
            self.cluster.produce("gates", key, message);
        }
    }
}

impl Sender for Kafka {
    fn source(&self) -> String {
        format!(
            "    type: kafka\n    url: kafka://{}\n    topics: [gates]\n    group: posts\n    {}",
            self.cluster.address(),
            self.more
        )
    }

    fn send(&mut self, numbers: Range<u64>) {
        // A device's records stay in order: they go to one partition.
        let messages: Vec<(String, String)> = numbers.map(|n| (self.device(n), record(n))).collect();
        self.produce(&messages);
    }

    fn send_rubbish(&mut self) -> usize {
        let lines = RUBBISH.lines().map(|line| ("d0".to_owned(), line.to_owned()));
        self.produce(&lines.collect::<Vec<_>>());
        2
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn server(&mut self) -> Option<&mut dyn Outage> {
        Some(&mut self.cluster)
    }
}

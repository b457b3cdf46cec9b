//! Records a second that come in over loopback, by protocol.
//!
//! Usage: `sources [--records N] [--durable FOLDER] [KIND...]` (200,000, of single MQTT messages 60,000; all of http, http-records, tcp,
//! tcp-records, mqtt, mqtt-arrays, nats, nats-arrays, kafka, kafka-arrays). A pipeline with one shard and one rule that reads every
//! record and tells none. `http` posts a thousand lines at once on two connections, `http-records` one record, `tcp` writes lines,
//! `tcp-records` a record in turn on each of a hundred connections; of the brokers what waits there is taken: a record a message, or a
//! hundred (`-arrays`).
//! Mosquitto and nats-server are the real ones, each a process of its own on the same cores; Kafka's is krafka's `FakeBroker` in this
//! process, for want of another. With `--durable` everything is in a journal before it is acknowledged. Told is the rate from the
//! start to the last record judged.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_benches::parse;
use weir_connectors::client::{KafkaCluster, MqttBroker, MqttVersion, NatsLogin, NatsServer};
use weir_connectors::source::{HttpLimits, HttpSource, KafkaSource, MqttSource, NatsSource, TcpSource};
use weir_engine::{Format, Pipeline, Source, SourceSpec, StateSpec};
use weir_rules::Catalog;

const PACK: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: lane = 'none', purpose: p }
";
const KINDS: [&str; 10] = [
    "http",
    "http-records",
    "tcp",
    "tcp-records",
    "mqtt",
    "mqtt-arrays",
    "nats",
    "nats-arrays",
    "kafka",
    "kafka-arrays",
];
/// Mosquitto 2.0.11 gives only a part of a session's backlog that is longer than 65,535 messages.
const MQTT_BACKLOG_MAX: u64 = 60_000;
/// The broker that stands in for Kafka answers with all it has, and the client takes no answer beyond its bound.
const KAFKA_BACKLOG_MAX: u64 = 600_000;
/// Records of a request.
const REQUEST_RECORDS: u64 = 1_000;
/// Connections of `tcp-records`; each takes two descriptors of this process.
const DEVICES: usize = 100;
/// Records of a message that holds an array.
const ARRAY_RECORDS: u64 = 100;

fn record(n: u64) -> String {
    let ms = 1_795_420_800_000 + n;
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"e{n}\",\"ts\":{ms},\"site\":\"CP-01\",\"device\":\"gate-{}\",\"lane\":\"{}\",\"plate\":\"陕A{:05}\",\"speed_kmh\":42.5}}",
        n % 76,
        n % 8,
        n % 100_000
    )
}

/// What is sent to a broker.
fn messages(records: u64, arrays: bool) -> Vec<String> {
    if !arrays {
        return (0..records).map(record).collect();
    }
    let starts = (0..records).step_by(ARRAY_RECORDS as usize);
    let array = |from: u64| (from..(from + ARRAY_RECORDS).min(records)).map(record).collect::<Vec<_>>().join(",");
    starts.map(|from| format!("[{}]", array(from))).collect()
}

fn main() {
    weir_memory::steady_memory();
    let (mut records, mut durable, mut kinds) = (200_000, None::<PathBuf>, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--records" => records = args.next().and_then(|it| it.parse().ok()).expect("a number"),
            "--durable" => durable = Some(args.next().expect("a folder").into()),
            kind => kinds.push(*KINDS.iter().find(|it| **it == kind).expect("a kind")),
        }
    }
    if kinds.is_empty() {
        kinds = KINDS.to_vec();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for kind in kinds {
        let rate = match kind {
            "http" => http(&runtime, records, REQUEST_RECORDS, durable.as_deref()),
            "http-records" => http(&runtime, records, 1, durable.as_deref()),
            "tcp" => tcp(records, false, durable.as_deref()),
            "tcp-records" => tcp(records, true, durable.as_deref()),
            "mqtt" | "mqtt-arrays" => mqtt(&runtime, records, kind == "mqtt-arrays", durable.as_deref()),
            "nats" | "nats-arrays" => nats(&runtime, records, kind == "nats-arrays", durable.as_deref()),
            _ => kafka(&runtime, records, kind == "kafka-arrays", durable.as_deref()),
        };
        println!("{kind}: {rate:.0} records/s");
    }
}

/// Runs until so many records have been judged, while `send` sends them; records a second.
fn judged(records: u64, durable: Option<&Path>, source: impl Source + 'static, send: impl FnOnce()) -> f64 {
    let mut builder = Pipeline::builder(Catalog::builtin()).shards(1).pack(parse(PACK), Vec::new());
    let state = durable.map(|folder| tempfile::tempdir_in(folder).expect("a folder"));
    if let Some(state) = &state {
        builder = builder.state(StateSpec::new(state.path()));
    }
    let pipeline = builder.source(SourceSpec::new("gate", Format::Ndjson), source).build().expect("a pipeline");
    let (progress, stop) = (pipeline.progress(), pipeline.stop_handle());
    let started = Instant::now();
    let running = std::thread::spawn(move || pipeline.run().expect("it runs"));
    send();
    while progress.received() < records {
        assert!(
            started.elapsed() < Duration::from_mins(5),
            "{} of {records}; {:?}",
            progress.received(),
            progress.troubles()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    stop.stop();
    let summary = running.join().expect("it ends");
    assert_eq!(summary.total().evaluated, records, "all of them could be read");
    records as f64 / took.as_secs_f64()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("an address")
}

/// Connects once somebody listens.
fn connect(address: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true).expect("a socket");
            return stream;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn http(runtime: &tokio::runtime::Runtime, records: u64, in_request: u64, durable: Option<&Path>) -> f64 {
    let address = free_address();
    let source = HttpSource {
        address,
        path: "/records".into(),
        limits: HttpLimits::default(),
        on_bound: None,
        runtime: runtime.handle().clone(),
    };
    let starts: Vec<u64> = (0..records).step_by(in_request as usize).collect();
    let body = |from: &u64| (*from..(from + in_request).min(records)).map(|n| record(n) + "\n").collect::<String>();
    let bodies: Vec<String> = starts.iter().map(body).collect();
    judged(records, durable, source, || {
        std::thread::scope(|scope| {
            for half in bodies.chunks(bodies.len().div_ceil(2)) {
                scope.spawn(move || {
                    let mut stream = connect(address);
                    for body in half {
                        post(&mut stream, body);
                    }
                });
            }
        });
    })
}

/// Posts until it is taken.
fn post(stream: &mut TcpStream, body: &str) {
    let head = "POST /records HTTP/1.1\r\nhost: weir\r\ncontent-type: application/x-ndjson\r\ncontent-length:";
    loop {
        stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).expect("it is sent");
        let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
        let whole = |answer: &[u8]| {
            let text = String::from_utf8_lossy(answer).to_lowercase();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let len: usize = head.split_once("content-length: ")?.1.split("\r\n").next()?.parse().ok()?;
            (body.len() >= len).then(|| head.starts_with("http/1.1 200"))
        };
        let taken = loop {
            let read = stream.read(&mut piece).expect("an answer");
            answer.extend_from_slice(&piece[..read]);
            if let Some(taken) = whole(&answer) {
                break taken;
            }
        };
        if taken {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn tcp(records: u64, one_by_one: bool, durable: Option<&Path>) -> f64 {
    let address = free_address();
    let source =
        TcpSource { address, idle_timeout: Duration::from_mins(1), stay_awake: true, once: false, on_bound: None };
    let lines: Vec<String> = (0..records).map(|n| record(n) + "\n").collect();
    judged(records, durable, source, || {
        if one_by_one {
            let mut devices: Vec<TcpStream> = (0..DEVICES).map(|_| connect(address)).collect();
            for (number, line) in lines.iter().enumerate() {
                devices[number % DEVICES].write_all(line.as_bytes()).expect("it is sent");
            }
        } else {
            connect(address).write_all(lines.concat().as_bytes()).expect("it is sent");
        }
    })
}

/// A server in a folder of its own, until it is dropped.
struct Server {
    address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(command: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let mut command = command(folder.path(), address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server is installed");
        drop(connect(address));
        Self { address, child, _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mqtt(runtime: &tokio::runtime::Runtime, records: u64, arrays: bool, durable: Option<&Path>) -> f64 {
    let server = Server::start(|folder, address| {
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n",
            address.port()
        );
        std::fs::write(folder.join("mosquitto.conf"), config).expect("a file");
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(folder.join("mosquitto.conf"));
        command
    });
    let records = if arrays { records } else { records.min(MQTT_BACKLOG_MAX) };
    let port = server.address.port().to_string();
    let client = |name: &str| {
        let mut command = Command::new(name);
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-V", "5", "-t", "gates"]);
        command
    };
    // The session is there before the messages, and holds them.
    let mut subscribe = client("mosquitto_sub");
    subscribe.args(["-c", "-i", "bench", "-E", "-x", "3600"]);
    assert!(subscribe.status().expect("mosquitto-clients").success());
    let mut publish = client("mosquitto_pub").arg("-l").stdin(Stdio::piped()).spawn().expect("mosquitto-clients");
    let lines: String = messages(records, arrays).into_iter().map(|message| message + "\n").collect();
    publish.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it is sent");
    assert!(publish.wait().expect("it ends").success());
    let broker = MqttBroker {
        host: "127.0.0.1".into(),
        port: server.address.port(),
        tls: None,
        version: MqttVersion::V5,
        client_id: "bench".into(),
        login: None,
    };
    let source = MqttSource {
        broker,
        topics: vec!["gates".into()],
        at_least_once: true,
        session_expiry: Duration::from_hours(1),
        topic_as: None,
        runtime: runtime.handle().clone(),
    };
    judged(records, durable, source, || {})
}

fn nats(runtime: &tokio::runtime::Runtime, records: u64, arrays: bool, durable: Option<&Path>) -> f64 {
    use async_nats::jetstream::{self, stream::Config};
    let server = Server::start(|folder, address| {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"]).arg(folder);
        command
    });
    runtime.block_on(async {
        let client = async_nats::connect(server.address.to_string()).await.expect("a connection");
        let context = jetstream::new(client);
        let config = Config { name: "GATES".into(), subjects: vec!["gates".into()], ..Config::default() };
        context.create_stream(config).await.expect("a stream");
        for some in messages(records, arrays).chunks(1_000) {
            let mut answers = Vec::new();
            for message in some {
                answers.push(context.publish("gates", message.clone().into()).await.expect("it is sent"));
            }
            for answer in answers {
                answer.await.expect("it is stored");
            }
        }
    });
    let source = NatsSource {
        server: NatsServer {
            host: "127.0.0.1".into(),
            port: server.address.port(),
            tls: None,
            login: NatsLogin::None,
            name: "bench".into(),
        },
        stream: "GATES".into(),
        subject: None,
        consumer: "bench".into(),
        from_start: true,
        subject_as: None,
        runtime: runtime.handle().clone(),
    };
    judged(records, durable, source, || {})
}

fn kafka(runtime: &tokio::runtime::Runtime, records: u64, arrays: bool, durable: Option<&Path>) -> f64 {
    let records = records.min(KAFKA_BACKLOG_MAX);
    let broker = runtime.block_on(async {
        let broker = krafka::testing::FakeBroker::start().await.expect("a broker");
        assert!(broker.create_topic("gates", 3));
        let kafka = krafka::Kafka::builder(broker.bootstrap_servers()).connect().await.expect("a connection");
        let producer = kafka.producer().linger(Duration::from_millis(5)).build().await.expect("a producer");
        for some in messages(records, arrays).chunks(1_000) {
            let mut answers = Vec::new();
            for message in some {
                let message = krafka::Record::new("gates", message.clone());
                answers.push(producer.enqueue(message).await.expect("it is sent"));
            }
            for answer in answers {
                assert!(answer.await.expect("it is stored").is_persisted());
            }
        }
        broker
    });
    let address = broker.broker_addr(0).expect("it listens");
    let source = KafkaSource {
        cluster: KafkaCluster { host: "127.0.0.1".into(), port: address.port(), tls: None, login: None },
        topics: vec!["gates".into()],
        group: "bench".into(),
        instance: None,
        shared_by_brokers: false,
        from_start: true,
        topic_as: None,
        runtime: runtime.handle().clone(),
    };
    judged(records, durable, source, || {})
}

//! Real servers, each in a folder of its own and on a free port.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use krafka::testing::FakeBroker;

use crate::common::{eventually, nobody};

/// How a server is started in a folder, to listen there.
type Starting = Box<dyn Fn(&Path, SocketAddr) -> Command + Send>;

/// A server that can be away for a while.
pub trait Outage {
    /// Starts it, and waits until it lets us in.
    fn start(&mut self);

    /// Stops it; what it has acknowledged it has kept.
    fn stop(&mut self);
}

/// A thread of ours that answers whoever connects, until it is stopped.
pub struct Listening {
    pub address: SocketAddr,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Listening {
    /// One that is not there yet.
    pub fn new() -> Self {
        Self { address: nobody(), running: None }
    }

    pub fn start(&mut self, answer: impl Fn(TcpStream) + Send + 'static) {
        let listener = TcpListener::bind(self.address).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                answer(stream.unwrap());
            }
        });
        self.running = Some((ends, thread));
    }

    pub fn stop(&mut self) {
        let (ends, thread) = self.running.take().unwrap();
        ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        thread.join().unwrap();
    }
}

/// Reads the head of a request, which has no body; `None` if there is no whole one.
pub fn read_head(stream: &mut TcpStream) -> Option<()> {
    let (mut head, mut piece) = (Vec::new(), [0; 4_096]);
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&piece[..read]);
    }
    Some(())
}

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    command: Starting,
    child: Option<Child>,
    /// The signal it is stopped by.
    signal: &'static str,
}

impl Server {
    fn new(signal: &'static str, command: impl Fn(&Path, SocketAddr) -> Command + Send + 'static) -> Self {
        // Where a server that runs as somebody else gets to as well.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        Self { address: nobody(), folder, command: Box::new(command), child: None, signal }
    }

    /// Mosquitto, which keeps sessions and messages in its folder.
    pub fn mosquitto() -> Self {
        // It writes them as it ends.
        Self::new("-TERM", |folder, address| {
            let config = format!(
                "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
                 max_queued_messages 0\nmax_inflight_messages 1000\nuser root\n",
                address.port(),
                folder.display()
            );
            fs::write(folder.join("mosquitto.conf"), config).unwrap();
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(folder.join("mosquitto.conf"));
            command
        })
    }

    /// nats-server with JetStream.
    pub fn nats() -> Self {
        // What it has acknowledged is in its files, or on its way into them, when it is killed.
        Self::new("-KILL", |folder, address| {
            let mut command = Command::new("nats-server");
            command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"]).arg(folder);
            command
        })
    }

    /// PostgreSQL with a user `weir`, password `s3cr3t`, and a database `registry`.
    pub fn postgres() -> Self {
        let server = Self::new("-INT", |folder, address| {
            let mut command = as_postgres(&postgres_program("postgres"));
            command.arg("-D").arg(folder.join("data")).args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
            command.arg("-k").arg(folder);
            command
        });
        let folder = server.folder.path();
        fs::write(folder.join("password"), "s3cr3t").unwrap();
        if is_root() {
            assert!(Command::new("chown").args(["-R", "postgres"]).arg(folder).status().unwrap().success());
        }
        let mut initdb = as_postgres(&postgres_program("initdb"));
        initdb.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(folder.join("password"));
        initdb.args(["-U", "weir", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]);
        let done = initdb.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        server
    }

    /// Has PostgreSQL speak TLS as well, by this certificate.
    pub fn use_tls(&self, certificate: &Path, key: &Path) {
        let data = self.folder.path().join("data");
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = data.join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                assert!(Command::new("chown").arg("postgres").arg(&to).status().unwrap().success());
            }
        }
        let mut config = OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        config.write_all(b"ssl = on\n").unwrap();
    }

    /// rsyslog, which writes what it is told over TCP into `told`.
    pub fn rsyslog() -> Self {
        Self::new("-TERM", |folder, address| {
            let folder = folder.display();
            let config = format!(
                "global(workDirectory=\"{folder}\" maxMessageSize=\"64k\")\nmodule(load=\"imtcp\")\n\
                 input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\")\n\
                 template(name=\"line\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %hostname% %app-name% %msgid%|%msg%\\n\")\n\
                 action(type=\"omfile\" file=\"{folder}/told\" template=\"line\")\n",
                address.port(),
            );
            fs::write(format!("{folder}/rsyslog.conf"), config).unwrap();
            let mut command = Command::new("rsyslogd");
            command.args(["-n", "-f", &format!("{folder}/rsyslog.conf"), "-i", &format!("{folder}/pid")]);
            command
        })
    }

    /// A file of its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch(&mut self) {
        let mut command = (self.command)(self.folder.path(), self.address);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{name}: {error}; `./test` installs it")));
        let address = self.address;
        eventually("the server listens", || TcpStream::connect(address).is_ok());
    }

    pub fn started(mut self) -> Self {
        self.start();
        self
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = Command::new("kill").args([self.signal, &child.id().to_string()]).status();
            child.wait().unwrap();
            let address = self.address;
            eventually("the server is gone", || TcpStream::connect(address).is_err());
        }
    }

    /// What a query says, without headings.
    pub fn psql(&self, query: &str) -> String {
        self.try_psql(query).unwrap_or_else(|| panic!("{query}"))
    }

    /// The same; `None` if the server has nothing to say.
    pub fn try_psql(&self, query: &str) -> Option<String> {
        let port = self.address.port().to_string();
        let mut psql = Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "weir", "-d", "registry", "-AtqX", "-c", query]);
        let said = psql.env("PGPASSWORD", "s3cr3t").output().unwrap();
        said.status.success().then(|| String::from_utf8(said.stdout).unwrap().trim_end().to_owned())
    }

    /// Makes the database; it lets people in a moment after it listens.
    pub fn create_database(&self) {
        let port = self.address.port().to_string();
        eventually("there is a database", || {
            let mut psql = Command::new("psql");
            psql.args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "weir",
                "-d",
                "postgres",
                "-c",
                "CREATE DATABASE registry",
            ]);
            psql.env("PGPASSWORD", "s3cr3t").output().unwrap().status.success()
        });
    }
}

impl Outage for Server {
    fn start(&mut self) {
        self.launch();
    }

    fn stop(&mut self) {
        self.end();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// PostgreSQL does not run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// Debian keeps its programs in a folder of each version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|it| it.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let found = versions.iter().map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// A Kafka cluster of one broker within this process: no real one is in any registry. It speaks the protocol over TCP, and keeps
/// its logs while it is away.
pub struct Kafka {
    pub broker: FakeBroker,
    runtime: tokio::runtime::Runtime,
    producer: krafka::producer::Producer,
}

impl Kafka {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (broker, producer) = runtime.block_on(async {
            let broker = FakeBroker::start().await.unwrap();
            let kafka = krafka::Kafka::builder(broker.bootstrap_servers()).connect().await.unwrap();
            let producer = kafka.producer().build().await.unwrap();
            (broker, producer)
        });
        Self { broker, runtime, producer }
    }

    pub fn address(&self) -> String {
        self.broker.bootstrap_servers()
    }

    /// Produces a message, as often as it takes.
    pub fn produce(&self, topic: &str, key: &str, value: &str) {
        let record = || krafka::Record::new(topic, value.to_owned()).key(key.to_owned());
        eventually("the cluster takes it", || self.runtime.block_on(self.producer.send(record())).is_ok());
    }

    /// What a topic holds, in the order of its partitions.
    pub fn messages(&self, topic: &str) -> Vec<String> {
        let records = self.broker.all_records(topic).unwrap_or_default();
        let text = |it: krafka::ConsumerRecord| String::from_utf8(it.value.unwrap().to_vec()).unwrap();
        records.into_iter().map(text).collect()
    }
}

impl Outage for Kafka {
    fn start(&mut self) {
        self.broker.restart(0);
    }

    fn stop(&mut self) {
        self.broker.crash(0);
    }
}

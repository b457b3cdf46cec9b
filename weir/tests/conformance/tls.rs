//! TLS towards servers: real ones with a certificate of an authority made here are let in only where that authority is trusted
//! and the name is theirs.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Place, eventually, nobody, text};
use crate::s3::S3;
use crate::servers::Server;

/// This machine by a name that weir does not take for its own: PostgreSQL is spoken to in the clear where it does.
const AS_ELSEWHERE: &str = "LOCALHOST";
/// This machine by a name for which there is no certificate.
const UNKNOWN: &str = "127.0.0.1";

/// The program of a command line, with its arguments.
fn run(folder: &Path, line: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let done = command.args(words).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{line}: {}", text(&done.stderr));
}

/// An authority, `NAME.pem`, that is good for nothing but this test.
fn authority(folder: &Path, name: &str) {
    let key = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    run(
        folder,
        &format!("{key} -subj /CN={name} -addext basicConstraints=critical,CA:TRUE -keyout {name}.key -out {name}.pem"),
    );
}

/// A certificate for `localhost`: `server.pem`, `server.key`.
fn certificate(folder: &Path, of: &str) {
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(folder, &format!("{key} -subj /CN=localhost -keyout server.key -out server.csr"));
    let sign = format!("openssl x509 -req -in server.csr -CA {of}.pem -CAkey {of}.key -CAcreateserial -days 2");
    run(folder, &format!("{sign} -extfile names -out server.pem"));
}

/// A server that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn servers_are_who_they_say() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let at = folder.path();
    authority(at, "ours");
    authority(at, "others");
    certificate(at, "ours");
    let here = at.display();

    let [mqtt, nats, syslog] = [nobody(), nobody(), nobody()].map(|address| address.port());
    fs::write(
        at.join("mosquitto.conf"),
        format!("listener {mqtt} 127.0.0.1\nallow_anonymous true\nuser root\ncertfile {here}/server.pem\nkeyfile {here}/server.key\n"),
    )
    .unwrap();
    fs::write(
        at.join("rsyslog.conf"),
        format!(
            "global(workDirectory=\"{here}\" defaultNetstreamDriverCAFile=\"{here}/ours.pem\" \
             defaultNetstreamDriverCertFile=\"{here}/server.pem\" defaultNetstreamDriverKeyFile=\"{here}/server.key\")\n\
             module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{syslog}\")\n\
             action(type=\"omfile\" file=\"{here}/told\")\n"
        ),
    )
    .unwrap();
    let commands = [
        format!("mosquitto -c {here}/mosquitto.conf"),
        format!(
            "nats-server -a 127.0.0.1 -p {nats} -js -sd {here} --tls --tlscert {here}/server.pem --tlskey {here}/server.key"
        ),
        format!("rsyslogd -n -f {here}/rsyslog.conf -i {here}/pid"),
    ];
    let _servers: Vec<Ends> = commands
        .iter()
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            Ends(command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        })
        .collect();
    for port in [mqtt, nats, syslog] {
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    let mut database = Server::postgres();
    database.use_tls(&at.join("server.pem"), &at.join("server.key"));
    database = database.started();
    database.create_database();
    let postgres = database.address.port();
    let mut bucket = S3::new();
    bucket.start_by_tls(&at.join("server.pem"), &at.join("server.key"));
    let s3 = bucket.address.port();

    let place = Place::new();
    place.write("password", "s3cr3t");
    let by_user = "user: weir, password_file: password";
    for (name, port, url, rest, known) in [
        ("mqtt", mqtt, "mqtts://HOST", "topic: a", "localhost"),
        ("nats", nats, "tls://HOST", "subject: a", "localhost"),
        ("syslog", syslog, "syslogs://HOST", "facility: local0", "localhost"),
        ("postgres", postgres, "postgres://HOST/registry", by_user, AS_ELSEWHERE),
        ("archive", s3, "https://HOST", by_user, "localhost"),
    ] {
        for (host, ca, works) in [(known, "ours", true), (known, "others", false), (UNKNOWN, "ours", false)] {
            if (name, host) == ("postgres", UNKNOWN) {
                continue;
            }
            let url = url.replace("HOST", &format!("{host}:{port}"));
            let server = format!("url: \"{url}\", ca_file: {here}/{ca}.pem, {rest}");
            let sink = match name {
                "archive" => format!("type: archive, path: kept, store: {{ {server}, bucket: kept }}"),
                _ => format!("type: {name}, {server}"),
            };
            place.write("weir.yaml", format!("weir: 1\nsinks: {{ s: {{ {sink}, purposes: [road] }} }}\nsources: {{ i: {{ type: stdin }} }}\npacks: [none.yaml]\n"));
            let tried = text(&place.weir(&["connect", "test", "weir.yaml", "s"]).stdout);
            // Nobody takes a subject of NATS here; that is asked of a server that let us in.
            let of_server: Vec<&str> = tried.lines().filter(|line| !line.contains("kept can be written to")).collect();
            let let_in = of_server.iter().any(|line| line.contains("  works: "));
            assert_eq!(let_in, works, "{name} at {host}, trusting {ca}: {tried}");
            assert!(works || tried.contains("ertificate") || tried.contains("UnknownIssuer"), "{name}: {tried}");
        }
    }

    // And what is told arrives.
    let sink = format!("type: syslog, url: \"syslogs://localhost:{syslog}\", ca_file: {here}/ours.pem, text: say");
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { road: { legal_basis: act 2 } }\nrules:\n  - { id: seen, kind: match, from: vehicle, where: lane = '1', purpose: road, say: \"seen at {device}\" }\n";
    let record = |n| {
        format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"{n}\",\"ts\":1790000000000,\"site\":\"s\",\"device\":\"d{n}\",\"lane\":\"1\"}}\n"
        )
    };
    place.write("pack.yaml", pack).write("in.ndjson", (0..700).map(record).collect::<String>());
    place.write("weir.yaml", format!("weir: 1\nsinks: {{ s: {{ {sink}, purposes: [road] }} }}\nsources: {{ i: {{ type: file, path: in.ndjson }} }}\npacks: [pack.yaml]\nlimits: {{ max_ahead: 3650d }}\n"));
    place.run(&["weir.yaml"]);
    eventually("all of it is told", || {
        let told = fs::read_to_string(at.join("told")).unwrap_or_default();
        (0..700).all(|n| told.contains(&format!("seen at d{n}\n")))
    });
}

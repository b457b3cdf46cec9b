//! A list that is fetched from a real PostgreSQL: at the start, when it says that it has changed, across an outage of the
//! database, and without leaving a plate behind in the clear.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{Place, Running, eventually, text};
use crate::servers::{Outage, Server};

const PACK: &str = "weir: 1
pack: p
owner: duty
purposes: { road: { legal_basis: act 1 } }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.wlist, key: plate, purpose: road, authority: police, bad_rows: report }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road, say: \"{hit.entry_id}\" }
";

const STOLEN: &str = "CREATE TABLE stolen (vrm text, id text PRIMARY KEY, until timestamptz);
    INSERT INTO stolen SELECT 'A' || n, 'E' || n, '2099-01-01' FROM generate_series(10001, 10500) AS n";

/// A plate that would be found wherever it lay.
const CANARY: &str = "QX7MARKED";

fn place(server: &Server) -> Place {
    let place = Place::new();
    let config = format!(
        "weir: 1
packs: [pack.yaml]
sources: {{ posts: {{ type: tcp, address: 127.0.0.1:0 }} }}
sinks: {{ alerts: {{ type: file, path: alerts.ndjson, purposes: [road] }} }}
list_sources:
  stolen:
    type: postgres
    url: postgres://{}/registry
    user: weir
    password_file: password
    query: SELECT vrm, id, until FROM stolen
    columns: {{ plate: vrm, entry_id: id, expires: until }}
    notify: stolen_changed
    every: 1h
state: {{ key_file: key, status_file: status.json }}
limits: {{ max_ahead: 3650d }}
",
        server.address
    );
    place.write("pack.yaml", PACK).write("weir.yaml", config).write("key", [3u8; 32]).write("password", "s3cr3t\n");
    place
}

/// A post that reads plates.
struct Post {
    stream: TcpStream,
    sent: u64,
}

impl Post {
    fn at(running: &Running) -> Self {
        Self { stream: TcpStream::connect(running.address).unwrap(), sent: 0 }
    }

    /// Reads a plate again and again until it is told to be listed under this id.
    fn finds(&mut self, place: &Place, plate: &str, id: &str) -> Duration {
        let started = Instant::now();
        eventually("the plate is found", || {
            self.reads(plate);
            std::thread::sleep(Duration::from_millis(20));
            place.lines("alerts.ndjson").iter().any(|alert| alert["say"] == id)
        });
        started.elapsed()
    }

    fn reads(&mut self, plate: &str) {
        self.sent += 1;
        let n = self.sent;
        let line = format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"e{n}\",\"ts\":{},\"site\":\"s\",\"device\":\"d\",\"plate\":\"{plate}\"}}\n",
            1_790_000_000_000 + n
        );
        self.stream.write_all(line.as_bytes()).unwrap();
    }
}

/// Whatever weir wrote into its folder.
fn written(place: &Place) -> String {
    let files = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| text(&std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_list_is_fetched_from_postgres() {
    let mut server = Server::postgres().started();
    server.create_database();
    server.psql(STOLEN);
    let place = place(&server);

    let checked = place.weir(&["check", "weir.yaml"]);
    let said = text(&checked.stdout) + &text(&checked.stderr);
    assert!(checked.status.success() && said.contains("is fetched when weir starts"), "{said}");
    let tried = place.weir(&["connect", "test", "weir.yaml", "stolen"]);
    let said = text(&tried.stdout);
    assert!(tried.status.success() && said.contains("the query has the columns vrm, id, until"), "{said}");

    let running = place.start(&["weir.yaml"]);
    let mut post = Post::at(&running);
    post.finds(&place, "A10001", "E10001");

    // One comes, one goes: a delta, and the news takes well under the hour between fetches.
    let status = || place.read("status.json");
    server.psql(&format!(
        "INSERT INTO stolen VALUES ('{CANARY}', 'NEW', '2099-01-01'); DELETE FROM stolen WHERE id = 'E10002'; NOTIFY stolen_changed"
    ));
    let took = post.finds(&place, CANARY, "NEW");
    assert!(took < Duration::from_secs(20), "{took:?}");
    eventually("a delta was enough", || status().contains("\"deltas\":1"));
    post.reads("A10002");

    // A row that cannot be used is left out; the rest counts.
    server.psql(
        "INSERT INTO stolen VALUES ('A10901', 'LATER', '2099-01-01'), ('A10902', 'NEVER', NULL); NOTIFY stolen_changed",
    );
    post.finds(&place, "A10901", "LATER");

    // The database is away: it is told, and the list stays in force.
    server.stop();
    eventually("the trouble is told", || status().contains("\"who\":\"list stolen\""));
    post.finds(&place, "A10003", "E10003");
    server.start();
    eventually("the trouble is over", || {
        server.try_psql("SELECT 1").is_some() && status().contains("\"in_trouble\":[]")
    });
    // What changed while nobody listened is there too.
    server.psql("INSERT INTO stolen VALUES ('A10903', 'LAST', '2099-01-01'); NOTIFY stolen_changed");
    post.finds(&place, "A10903", "LAST");

    // What the database says of a row is told to nobody.
    server.psql(
        "ALTER TABLE stolen RENAME TO kept; CREATE FUNCTION fails(t text) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no good: %', t; END $$; \
         CREATE VIEW stolen AS SELECT fails(vrm) AS vrm, id, until FROM kept; NOTIFY stolen_changed",
    );
    eventually("the trouble is told", || status().contains("SQLSTATE P0001"));
    assert!(!status().contains("no good"), "{}", status());
    server.psql("DROP VIEW stolen; ALTER TABLE kept RENAME TO stolen; NOTIFY stolen_changed");

    // A query that fails keeps the version in force, and the reason is told.
    server.psql("ALTER TABLE stolen DROP COLUMN until; NOTIFY stolen_changed");
    eventually("the trouble is told", || status().contains("until"));
    post.finds(&place, "A10004", "E10004");

    drop(post);
    running.stop();
    let found: Vec<String> =
        place.lines("alerts.ndjson").iter().map(|alert| alert["say"].as_str().unwrap().to_owned()).collect();
    assert!(!found.contains(&"E10002".to_owned()), "it had been taken off the list");
    std::fs::remove_file(place.path("alerts.ndjson")).unwrap();
    assert!(!written(&place).contains(CANARY), "a plate lies in the folder in the clear");

    // A snapshot that cannot be opened is fetched anew; without the key nothing is fetched at all.
    let snapshot = std::fs::read(place.path("stolen.wlist")).unwrap();
    std::fs::remove_file(place.path("stolen.wlist")).unwrap();
    place.write("stolen.wlist", &snapshot[..snapshot.len() / 2]);
    server.psql("ALTER TABLE stolen ADD COLUMN until timestamptz DEFAULT '2099-01-01'");
    let running = place.start(&["weir.yaml"]);
    Post::at(&running).finds(&place, "A10006", "E10006");
    running.stop();
    std::fs::rename(place.path("key"), place.path("key.away")).unwrap();
    std::fs::remove_file(place.path("stolen.wlist")).unwrap();
    let ran = place.weir(&["run", "weir.yaml"]);
    assert!(!ran.status.success() && text(&ran.stderr).contains("key file"), "{}", text(&ran.stderr));
    assert!(!place.path("stolen.wlist").exists());
    std::fs::rename(place.path("key.away"), place.path("key")).unwrap();

    // The next start goes by what is there, and the command line builds it by hand.
    let built = place.weir(&["list", "build", "weir.yaml", "stolen"]);
    let said = text(&built.stdout) + &text(&built.stderr);
    assert!(built.status.success() && said.contains("of stolen, 503 entries"), "{said}");
    server.stop();
    let running = place.start(&["weir.yaml"]);
    Post::at(&running).finds(&place, "A10005", "E10005");
    running.stop();
}

#[test]
fn nothing_runs_without_a_list_that_was_never_there() {
    let server = Server::postgres();
    let place = place(&server);
    let ran = place.weir(&["run", "weir.yaml"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = text(&ran.stderr);
    assert!(said.contains("list `stolen` is not there and cannot be fetched: postgres 127.0.0.1:"), "{said}");
    // What lies where the list should be is not overwritten.
    place.write("stolen.wlist", "plate,entry_id,expires\nA1,E1,2099-01-01\n");
    let running = place.start(&["weir.yaml"]);
    eventually("it is told", || place.read("status.json").contains("is no snapshot, and would be lost"));
    running.stop();
    assert!(place.read("stolen.wlist").starts_with("plate,"));
}

//! What `weir check` says of the options of connectors, and the examples of docs/connectors.md.

use crate::common::{Place, text, workspace};
use weir_examples::viid::ha1;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { road_safety: { legal_basis: act 2 } }
rules:
  - { id: seen, kind: match, from: vehicle, where: lane = '1', purpose: road_safety }
";
const SOURCES: &str = "sources:\n  a: { type: stdin }\n";
const SINKS: &str = "sinks:\n  b: { type: stdout, purposes: [road_safety] }\n";

/// A folder with a configuration of these sources and sinks, and the files they name.
fn place(sources: &str, sinks: &str) -> Place {
    let place = Place::new();
    let accounts = format!("device_id,user,ha1\n61010000001190000001,gate,{}\n", ha1("gate", "viid", "s3cr3t"));
    place.write("pack.yaml", PACK).write("accounts.csv", accounts).write("password", "s3cr3t\n").write("token", "t");
    place.write("weir.yaml", format!("weir: 1\npacks: [pack.yaml]\n{sources}{sinks}"));
    place
}

/// A folder whose pack has a list that comes from there.
fn with_list(list_sources: &str) -> Place {
    let place = place(SOURCES, SINKS);
    let list = "lists: { stolen: { kind: stolen_vehicle, from: a.wlist, key: plate, purpose: road_safety, authority: police } }\n";
    let config = place.read("weir.yaml") + list_sources + "\nstate: { key_file: key }\n";
    place.write("pack.yaml", format!("{PACK}{list}")).write("weir.yaml", config).write("key", [7; 32]);
    place
}

fn check(place: &Place) -> (bool, String) {
    let checked = place.weir(&["check", "weir.yaml"]);
    (checked.status.success(), text(&checked.stdout) + &text(&checked.stderr))
}

#[test]
fn every_example_of_the_book_is_sound() {
    let book = std::fs::read_to_string(workspace().join("docs/connectors.md")).unwrap();
    let blocks: Vec<&str> = book.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{} examples", blocks.len());
    for block in blocks {
        let place = match block {
            _ if block.starts_with("sources:") => place(block, SINKS),
            _ if block.starts_with("list_sources:") => with_list(block),
            _ => place(SOURCES, block),
        };
        let (sound, said) = check(&place);
        assert!(sound, "{block}\n{said}");
    }
}

/// What stands in a list behind these words.
fn listed(said: &str, behind: &str) -> Vec<String> {
    let all = said.split(behind).nth(1).unwrap_or_else(|| panic!("{behind}: {said}")).lines().next().unwrap();
    all.split(", ").map(|word| word.trim().to_owned()).collect()
}

/// The sections of a book whose heading names this.
fn sections(book: &str, named: &str) -> String {
    let named = format!("`{named}`");
    book.split("\n## ").filter(|it| it.lines().next().unwrap().contains(&named)).collect()
}

/// The checker knows which types there are, and which keys each of them has. The book tells of all of them.
#[test]
fn the_book_tells_of_every_option() {
    let [connectors, configuration] = ["connectors", "configuration"]
        .map(|name| std::fs::read_to_string(workspace().join(format!("docs/{name}.md"))).unwrap());
    let servers = connectors.split("\n## ").find(|it| it.starts_with("Servers")).unwrap();
    let mut untold = Vec::new();
    for kind in ["source", "sink"] {
        let with = |connector: &str| match kind {
            "source" => check(&place(&format!("sources:\n  a: {{ {connector} }}\n"), SINKS)).1,
            _ => check(&place(SOURCES, &format!("sinks:\n  b: {{ {connector}, purposes: [road_safety] }}\n"))).1,
        };
        let types = listed(&with("type: zzz"), "one of: ");
        assert!(types.len() >= 9, "{types:?}");
        for name in types {
            let own = sections(&connectors, &name);
            // Of what files, lines and requests have, configuration.md tells; of each kind in one section.
            let general: String =
                configuration.split("\n## ").filter(|it| it.to_lowercase().starts_with(&format!("{kind}s"))).collect();
            assert!(general.contains(&format!("`{name}`")), "{kind} {name} is in the table of all");
            let keys = listed(&with(&format!("type: {name}, zzz: 1")), "known keys: ");
            let book = format!("{own}{servers}{general}");
            let told = |key: &str| book.contains(&format!("`{key}`")) || book.contains(&format!("`{key}: "));
            untold.extend(keys.into_iter().filter(|key| !told(key)).map(|key| format!("{kind} {name}: {key}")));
        }
    }
    assert!(untold.is_empty(), "{untold:#?}");
}

/// A connector with one thing wrong, what is said of it, and where.
#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (kind, wrong, wanted) in [
        ("source", "type: mqtt, topics: [a]", "has no `url`"),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\"", "has no `topics`"),
        ("source", "type: mqtt, url: \"mqtt://broker.example\", topics: [a]", "over TLS only"),
        ("source", "type: mqtt, url: \"nats://127.0.0.1\", topics: [a]", "no address of such a server"),
        ("source", "type: mqtt, url: \"mqtt://u:p@127.0.0.1\", topics: [a]", "no address of such a server"),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [\"a/#/b\"]", "topics are subscribed to"),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], version: \"4\"", "not a value of `version`"),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], format: csv", "format"),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], user: x", "go together"),
        (
            "source",
            "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], user: x, password_file: none",
            "cannot be read",
        ),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], ca_file: token", "no use for `ca_file`"),
        (
            "source",
            "type: mqtt, url: \"mqtts://broker.example\", topics: [a], ca_file: token",
            "no authority is trusted",
        ),
        ("source", "type: mqtt, url: \"mqtt://127.0.0.1\", topics: [a], topic_as: religion", "religion"),
        ("source", "type: nats, url: \"nats://127.0.0.1\"", "has no `stream`"),
        ("source", "type: nats, url: \"nats://127.0.0.1\", stream: a.b", "no name of NATS"),
        ("source", "type: nats, url: \"nats://127.0.0.1\", stream: a, from: middle", "not a value of `from`"),
        (
            "source",
            "type: nats, url: \"nats://127.0.0.1\", stream: a, token_file: token, user: x, password_file: password",
            "in two ways",
        ),
        ("source", "type: kafka, url: \"kafka://127.0.0.1\"", "has no `topics`"),
        ("source", "type: kafka, url: \"kafka://127.0.0.1\", topics: [\"a*\"]", "no topic of Kafka"),
        ("source", "type: kafka, url: \"kafka://127.0.0.1\", topics: [a], sasl: gssapi", "not a value of `sasl`"),
        (
            "sink",
            "type: http, url: \"http://127.0.0.1\", template: alertmanager, emit: [windows]",
            "cannot be told to Alertmanager",
        ),
        ("sink", "type: mqtt, url: \"mqtt://127.0.0.1\", topic: \"a/+\"", "no topic to send to"),
        ("sink", "type: archive, path: a, format: csv", "not a value of `format`"),
        ("sink", "type: archive, path: a, keep_for: 400d", "`keep_for` is from 1d to 366d"),
        ("sink", "type: archive, path: a, emit: [late]", "`late` cannot be archived"),
        ("sink", "type: archive, path: a, store: { url: \"http://127.0.0.1\", bucket: abc }", "has no `user`"),
        (
            "sink",
            "type: archive, path: a, store: { url: \"http://s3.example\", bucket: abc, user: a, password_file: password }",
            "over TLS only",
        ),
        (
            "sink",
            "type: archive, path: a, store: { url: \"http://127.0.0.1\", bucket: A_b, user: a, password_file: password }",
            "no name of a bucket",
        ),
        (
            "sink",
            "type: archive, path: a, store: { url: \"http://127.0.0.1\", bucket: abc, prefix: ../x, user: a, password_file: password }",
            "is no prefix",
        ),
        ("sink", "type: archive, path: a, store: { bucket: abc }", "has no `url`"),
        ("sink", "type: nats, url: \"nats://127.0.0.1\"", "has no `subject`"),
        ("sink", "type: kafka, url: \"kafka://127.0.0.1\"", "has no `topic`"),
        ("sink", "type: kafka, url: \"http://127.0.0.1\", topic: a", "no address of such a server"),
        (
            "sink",
            "type: postgres, url: \"postgres://127.0.0.1\", user: x, password_file: password",
            "no address of such",
        ),
        ("sink", "type: postgres, url: \"postgres://127.0.0.1/r\"", "has no `user`"),
        (
            "sink",
            "type: postgres, url: \"postgres://127.0.0.1/r\", user: x, password_file: password, table: \"a; DROP\"",
            "no name of a table",
        ),
        ("sink", "type: viid, url: \"http://127.0.0.1\", device_id: \"1\", timezone: UTC", "has no `user`"),
        (
            "sink",
            "type: viid, url: \"http://platform.example\", user: x, password_file: password, device_id: \"61010000002020000001\", timezone: UTC",
            "over TLS only",
        ),
        (
            "sink",
            "type: viid, url: \"http://127.0.0.1\", user: x, password_file: password, device_id: \"1\", timezone: UTC",
            "no id of GA/T 1400",
        ),
        (
            "sink",
            "type: viid, url: \"http://127.0.0.1\", user: x, password_file: password, device_id: \"61010000002020000001\", timezone: Mars",
            "no time zone",
        ),
        (
            "source",
            "type: viid, address: \"127.0.0.1:0\", server_id: \"61010000002020000001\", accounts: accounts.csv, timezone: UTC, subscriptions: [{ url: \"http://127.0.0.1\", user: x, password_file: password, receive_at: here, applicant: a, organisation: o, reason: r }]",
            "no address of a server",
        ),
        (
            "source",
            "type: isapi_stream, url: \"http://h/x\", user: x, password_file: password",
            "no address of a device",
        ),
        ("source", "type: isapi_stream, url: \"http://h\", user: x", "has no `password_file`"),
        ("source", "type: gtfs_realtime, url: ftp://h", "no address of a feed"),
        ("source", "type: gtfs_realtime, url: \"http://h\", token_file: token", "over https only"),
        ("source", "type: gtfs_realtime, url: \"http://h\", every: 10ms", "once a second at most"),
        ("sink", "type: archive", "has no `path`"),
        ("sink", "type: archive, path: a, every: 1s", "`every` is from 10s to 1d"),
        ("sink", "type: archive, path: a, keep_for: 3650d", "`keep_for` is from 1d to 366d"),
        ("sink", "type: archive, path: a, emit: [late]", "cannot be archived"),
        ("sink", "type: syslog, url: \"syslog://logs.example\"", "over TLS only"),
        ("sink", "type: syslog, url: \"syslog://127.0.0.1\", facility: kern", "not a value of `facility`"),
        ("sink", "type: syslog, url: \"syslog://127.0.0.1\", user: x", "user"),
        ("list", "type: mysql, query: SELECT 1", "not a value of `type`"),
        ("list", "type: postgres", "has no `query`"),
        ("list", "type: postgres, query: SELECT 1; SELECT 2", "one query"),
        ("list", "type: postgres, query: SELECT 1, notify: \"a\\\"b\"", "no channel of PostgreSQL"),
        ("list", "type: postgres, query: SELECT 1, every: 10ms", "once a second at most"),
        ("list", "type: postgres, query: SELECT 1, columns: { plate: [a] }", "wants a text"),
        ("list", "type: postgres, query: SELECT 1, user: x, password_file: none", "cannot be read"),
    ] {
        let place = match kind {
            "list" => {
                let login = if wrong.contains("user:") { "" } else { ", user: x, password_file: password" };
                let server = "url: \"postgres://127.0.0.1/r\"";
                with_list(&format!("list_sources:\n  stolen: {{ {wrong}, {server}{login} }}"))
            }
            "source" => place(&format!("sources:\n  a: {{ {wrong} }}\n"), SINKS),
            _ => place(SOURCES, &format!("sinks:\n  b: {{ {wrong}, purposes: [road_safety] }}\n")),
        };
        let (sound, said) = check(&place);
        assert!(!sound && said.contains(wanted), "{wrong}: {said}");
        let line = match kind {
            "source" => "weir.yaml:4:",
            "sink" => "weir.yaml:6:",
            _ => "weir.yaml:8:",
        };
        assert!(said.contains(line) && !said.contains("s3cr3t"), "{wrong}: {said}");
    }
}

#[test]
fn a_list_that_nobody_declares_is_told() {
    let source = "type: postgres, url: \"postgres://127.0.0.1/r\", user: x, password_file: password, query: SELECT 1";
    let place = with_list(&format!("list_sources:\n  stolne: {{ {source} }}"));
    let (sound, said) = check(&place);
    assert!(!sound && said.contains("no pack declares a list `stolne`") && said.contains("`stolen`?"), "{said}");
    let config = place.read("weir.yaml").replace("stolne", "stolen").replace("state: { key_file: key }", "");
    place.write("weir.yaml", config);
    assert!(check(&place).1.contains("built with a `key_file`"), "{}", check(&place).1);
}

#[test]
fn each_part_of_a_configuration_is_tried() {
    let place = place("sources:\n  a: { type: file, path: none.ndjson, follow: true }\n", SINKS);
    let config = place.read("weir.yaml") + "  c: { type: file, path: none/out.ndjson, purposes: [road_safety] }\n";
    place.write("weir.yaml", config);
    let tried = place.weir(&["connect", "test", "weir.yaml"]);
    let said = text(&tried.stdout);
    assert_eq!(tried.status.code(), Some(1), "{said}");
    assert!(said.contains("source `a`\n  works: no file is ") && said.contains("sink `b`\n  works: "), "{said}");
    assert!(said.contains("sink `c`\n  FAILS: ") && said.contains("cannot be written"), "{said}");
    let unknown = place.weir(&["connect", "test", "weir.yaml", "d"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("no source, sink or fetched list is `d`; there are a, b, c"));
}

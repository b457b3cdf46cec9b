//! What survives: sinks that are away, kills, a full disk, a damaged folder.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Place, Told, eventually, nobody, post, text};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes:
  goods: { legal_basis: act 1 }
rules:
  - { id: fireworks, kind: match, from: item, where: "item_class = 'fireworks'", purpose: goods, say: "{quantity} at {site}" }
"#;

/// A way from one lane of a site to another.
const PASSING: &str = r#"weir: 1
pack: p
owner: o
purposes:
  security: { legal_basis: act 1 }
rules:
  - id: hurried
    kind: sequence
    from: vehicle
    key: [site, plate]
    steps:
      - { name: into, where: lane = '1' }
      - { name: out, where: lane = '2' }
    within: 1h
    purpose: security
    severity: low
    review: required
    say: "from one lane to the other in {took}"
"#;

fn item(id: usize) -> String {
    format!(
        r#"{{"kind":"item","event_id":"{id}","ts":"2026-11-23T08:00:00Z","site":"CP-01","device":"d","item_class":"fireworks","quantity":{id}}}"#
    )
}

fn items(ids: std::ops::Range<usize>) -> String {
    ids.map(|id| item(id) + "\n").collect()
}

/// A place with a file source, a file sink and a webhook, whose outputs are kept.
fn place(source: &str, webhook: SocketAddr) -> Place {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("key", [7; 32]);
    place.write(
        "weir.yaml",
        format!(
            "weir: 1\npacks: [pack.yaml]\nsources:\n  gates: {{ {source} }}\nsinks:\n  alerts: {{ type: file, path: alerts.ndjson, purposes: [goods] }}\n  hook: {{ type: http, url: \"http://{webhook}/alerts\", purposes: [goods] }}\nstate: {{ key_file: key, dir: state, segment: 4MiB, reserve: 4MiB, drain_for: 100ms }}\n"
        ),
    );
    place
}

fn ids(place: &Place) -> Vec<String> {
    place.lines("alerts.ndjson").iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_sink_that_was_away_is_told_everything_in_order_by_the_next_start() {
    let address = nobody();
    let place = place("type: file, path: in.ndjson", address);
    place.write("in.ndjson", items(0..3_000));
    let first = place.run(&[]);
    assert_eq!(first["sinks"]["alerts"]["delivered"], 3_000, "another sink is not held up");
    assert_eq!((&first["sinks"]["hook"]["delivered"], &first["sinks"]["hook"]["waiting"]), (&0.into(), &3_000.into()));
    assert!(first["sinks"]["hook"]["retries"].as_u64().unwrap() > 0);
    let looked = text(&place.weir(&["state", "inspect", "state"]).stdout);
    assert!(looked.starts_with("outbox: records 1 to 3,000 in 1 segment\n"), "{looked}");
    assert!(looked.contains("sink alerts: 0 outputs wait\n"), "{looked}");
    assert!(looked.contains("sink hook: 3,000 outputs wait, the oldest since 20"), "{looked}");
    assert!(looked.contains("\njournal: ") && looked.contains("\ncheckpoint "), "{looked}");
    let verified = text(&place.weir(&["state", "verify", "state"]).stdout);
    assert!(verified.starts_with("state: sound, ") && verified.contains(" checkpoint"), "{verified}");
    let told = Told::default();
    told.listen(address);
    place.write("in.ndjson", items(3_000..3_010));
    let second = place.run(&[]);
    assert_eq!(
        (&second["sinks"]["hook"]["delivered"], &second["sinks"]["hook"]["waiting"]),
        (&3_010.into(), &0.into())
    );
    assert_eq!(second["sinks"]["alerts"]["delivered"], 10);
    assert_eq!(told.ids(), ids(&place), "all of them, once, in the order in which they were told");
    // The time they waited is part of their latency.
    let latency_us = told.0.lock().unwrap()[0].1["latency_us"].as_u64().unwrap();
    assert!((100_000..60_000_000).contains(&latency_us), "{latency_us}");
}

#[test]
fn what_was_told_before_a_kill_is_delivered_after_it() {
    let address = nobody();
    let place = place("type: http, address: 127.0.0.1:0", address);
    let running = place.start(&[]);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    for part in 0..5 {
        assert_eq!(post(running.address, "/records", &ndjson, items(part * 100..part * 100 + 100).as_bytes()).0, 200);
    }
    eventually("the file has them", || place.read("alerts.ndjson").lines().count() == 500);
    running.kill();
    let told = Told::default();
    told.listen(address);
    let running = place.start(&[]);
    assert_eq!(post(running.address, "/records", &ndjson, items(500..600).as_bytes()).0, 200);
    eventually("the webhook has them", || told.ids().len() >= 600);
    let summary = running.stop();
    assert_eq!(summary["sinks"]["hook"]["waiting"], 0);
    let seen: BTreeSet<String> = told.ids().into_iter().collect();
    assert_eq!(told.ids().len(), 600, "its place did not move while it was away: nothing is told twice");
    assert_eq!(seen, ids(&place).into_iter().collect());
    let keys: BTreeSet<String> = told.0.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys.len(), 600);
}

#[test]
fn the_journal_cannot_be_kept_for_long() {
    let place = place("type: file, path: in.ndjson", nobody());
    place.write("in.ndjson", items(0..1));
    let config = place.read("weir.yaml");
    for (keys, said) in [
        ("journal_for: 1h", "`journal_for` must be at most 10 min"),
        ("journal_for: 1s", "`journal_for` must be at least 3000 ms"),
        ("checkpoint_every: 11s", "`checkpoint_every` must be at most 10000 ms, one part in 6 of `journal_for`"),
        ("journal_for: 5s, checkpoint_every: 1s", "`checkpoint_every` must be at most 833 ms"),
    ] {
        place.write("weir.yaml", config.replace("dir: state,", &format!("dir: state, {keys},")));
        let refused = place.weir(&["run"]);
        let stderr = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{keys}");
        assert!(stderr.contains(said), "{keys}: {stderr}");
    }
    place.write("weir.yaml", config.replace("dir: state,", "dir: state, journal_for: 3s,"));
    assert_eq!(place.run(&[])["sources"]["gates"]["received"], 1);
}

#[test]
fn one_process_at_a_time_and_no_folder_without_a_key() {
    let place = place("type: http, address: 127.0.0.1:0", nobody());
    let running = place.start(&[]);
    let second = place.weir(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("state is in use by another process"), "{}", text(&second.stderr));
    running.stop();
    let config = place.read("weir.yaml").replace("key_file: key, ", "");
    place.write("weir.yaml", config);
    let without = place.weir(&["run"]);
    assert_eq!(without.status.code(), Some(2));
    let said = text(&without.stderr);
    assert!(said.contains("WR0009") && said.contains("alert ids change with every start"), "{said}");
}

#[test]
fn a_damaged_outbox_is_refused_with_its_place() {
    let place = place("type: file, path: in.ndjson", nobody());
    place.write("in.ndjson", items(0..100));
    place.run(&[]);
    let segment = place.path("state/outbox/00000000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[1_000] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    for args in [&["run"][..], &["state", "verify", "state"], &["state", "inspect", "state"]] {
        let output = place.weir(args);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("00000000000000000001.log is damaged at byte"), "{said}");
        assert!(said.contains("had been written in full"), "{said}");
    }
    let nothing = place.weir(&["state", "inspect", "."]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("there is no outbox in it"));
}

/// Starts it with its state on a disk of its own, of 20 MiB: they hold the reserve and three segments. `None` where that cannot be had.
fn start_on_a_small_disk(place: &Place) -> Option<common::Running> {
    let mounted = place.path("small");
    std::fs::create_dir(&mounted).unwrap();
    let config = place.read("weir.yaml").replace("dir: state", "dir: small/state");
    place.write("weir.yaml", config);
    let script = format!(
        "mount -t tmpfs -o size=20m tmpfs {} && exec {} run --json",
        mounted.display(),
        env!("CARGO_BIN_EXE_weir")
    );
    let running = place.start_as(&["unshare", "-Urm", "--propagation", "private", "sh", "-c", &script]);
    if running.is_none() {
        eprintln!("no user namespaces here: a full disk is tested on the simulated one only");
    }
    running
}

#[test]
fn a_full_disk_has_sources_that_can_wait_wait() {
    const RECORDS: usize = 40_000;
    let address = nobody();
    let place =
        place("type: file, path: in.ndjson, follow: true }\n  bell: { type: http, address: 127.0.0.1:0", address);
    place.write("in.ndjson", items(0..RECORDS));
    let Some(running) = start_on_a_small_disk(&place) else { return };
    let told_to_file = || place.read("alerts.ndjson").lines().count();
    let mut last = 0;
    eventually("the file is not read on", || {
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut last, told_to_file()) == last && last > 0
    });
    assert!(last < RECORDS, "{last} of them lie in 20 MiB");
    // The webhook comes back, and the rest follows by itself.
    let told = Told::default();
    told.listen(address);
    eventually("the file has them", || told_to_file() == RECORDS);
    eventually("the webhook has them", || told.ids().len() == RECORDS);
    let summary = running.stop();
    assert_eq!(summary["sources"]["gates"]["received"], RECORDS);
    assert_eq!(told.ids(), ids(&place), "once, in order");
}

#[test]
fn a_full_disk_turns_push_sources_away_until_there_is_room() {
    let address = nobody();
    let place = place("type: http, address: 127.0.0.1:0", address);
    let Some(running) = start_on_a_small_disk(&place) else { return };
    // The webhook takes nothing, so that no segment is removed.
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let mut taken = 0;
    let turned_away = (0..400).any(|part| {
        let (status, _) = post(running.address, "/records", &ndjson, items(part * 500..part * 500 + 500).as_bytes());
        if status == 200 {
            taken += 500;
        }
        status == 503
    });
    assert!(turned_away, "{taken} records taken into 20 MiB");
    // What was taken has left by the sink that answers.
    eventually("the file has them", || place.read("alerts.ndjson").lines().count() == taken);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(post(running.address, "/records", &ndjson, item(1).as_bytes()).0, 503);
    // The webhook comes back, segments are removed, and things go on by themselves.
    let told = Told::default();
    told.listen(address);
    eventually("records are taken again", || {
        post(running.address, "/records", &ndjson, item(1_000_000).as_bytes()).0 == 200
    });
    let summary = running.stop();
    assert_eq!(summary["sinks"]["hook"]["waiting"], 0);
    assert_eq!(told.ids().len(), taken + 1);
}

const WINDOW: &str = "  - { id: people, kind: window, from: person, key: [site], measure: count, window: { every: 1m }, lateness: 0s, emit: windows, purpose: goods }
";

fn people(seconds: std::ops::Range<usize>) -> String {
    let person = |n: usize| {
        let ts = 1_795_420_800_000 + n * 1_000;
        format!(r#"{{"kind":"person","event_id":"p{n}","ts":{ts},"site":"s","device":"d","count":1}}"#)
    };
    seconds.map(|n| person(n) + "\n").collect()
}

fn place_with_windows(source: &str) -> Place {
    let place = place(source, nobody());
    place.write("pack.yaml", PACK.to_owned() + WINDOW);
    let config =
        place.read("weir.yaml").replace("path: alerts.ndjson,", "path: alerts.ndjson, emit: [alerts, windows],");
    place.write("weir.yaml", config);
    place
}

fn counts(place: &Place) -> Vec<f64> {
    place.lines("alerts.ndjson").iter().map(|window| window["value"].as_f64().unwrap()).collect()
}

#[test]
fn a_window_counts_on_over_kills() {
    let place = place_with_windows("type: http, address: 127.0.0.1:0");
    let ndjson = [("Content-Type", "application/x-ndjson")];
    for part in 0..6 {
        let running = place.start(&[]);
        // The last of the part before comes once more, as from a sender that was not answered.
        let sent = (part * 25_usize).saturating_sub(1)..part * 25 + 25;
        assert_eq!(post(running.address, "/records", &ndjson, people(sent).as_bytes()).0, 200);
        running.kill();
        for segment in std::fs::read_dir(place.path("state/journal")).unwrap() {
            let bytes = std::fs::read(segment.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|at| at == b"event_id"), "what came in lies there in the clear");
        }
    }
    let running = place.start(&[]);
    let summary = running.stop();
    assert!(summary["state"]["checkpoint"]["epoch"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["state"]["not_retold"], 0);
    // A kill between the sink's write and its note of it has a window told again, in the same words.
    let told = place.read("alerts.ndjson");
    let windows: BTreeSet<&str> = told.lines().collect();
    assert_eq!(windows.len(), 2, "two minutes are over, and the third is not: {told}");
    let mut values = counts(&place);
    values.dedup();
    assert_eq!(values, [60.0], "{told}");
    let journal = std::fs::read_dir(place.path("state/journal")).unwrap();
    for segment in journal {
        let bytes = std::fs::read(segment.unwrap().path()).unwrap();
        assert!(bytes.iter().skip(64).all(|byte| *byte == 0), "after a good end nothing of what came in is there");
    }
}

#[test]
fn what_came_before_a_reload_is_not_judged_by_the_new_rules_after_a_kill() {
    let place = place("type: http, address: 127.0.0.1:0", nobody());
    let rare = "state: { journal_for: 10m, checkpoint_every: 100s, ";
    place.write("weir.yaml", place.read("weir.yaml").replace("state: { ", rare));
    let rules = |least: usize| PACK.replace("'fireworks'\"", &format!("'fireworks' AND quantity >= {least}\""));
    place.write("pack.yaml", rules(2));
    let running = place.start(&[]);
    let send = |items: String| {
        let ndjson = [("Content-Type", "application/x-ndjson")];
        assert_eq!(post(running.address, "/records", &ndjson, items.as_bytes()).0, 200);
    };
    // One that is being written is none yet.
    let checkpoints = || {
        let folder = std::fs::read_dir(place.path("state/checkpoints")).unwrap();
        let names = folder.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("checkpoint-")).collect::<BTreeSet<_>>()
    };
    send(items(0..3));
    let before = checkpoints();
    place.write("pack.yaml", rules(0));
    running.signal("-HUP");
    let mut next = 3;
    eventually("a checkpoint, since other rules are in force", || {
        send(item(next) + "\n");
        next += 1;
        checkpoints() != before
    });
    running.kill();
    place.start(&[]).stop();
    let alerts = place.lines_over_kills("alerts.ndjson");
    let told: BTreeSet<&str> = alerts.iter().map(|alert| alert["say"].as_str().unwrap()).collect();
    let wanted: BTreeSet<String> = (2..next).map(|quantity| format!("{quantity} at CP-01")).collect();
    assert_eq!(told, wanted.iter().map(String::as_str).collect(), "0 and 1 came while the rule did not ask for them");
}

#[test]
fn a_start_says_which_lists_are_others_than_when_the_checkpoint_was_made() {
    const LISTS: &str = r"weir: 1
pack: p
owner: o
purposes:
  goods: { legal_basis: act 1, retention: 1d, reviewers: [desk] }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.csv, key: plate, purpose: goods }
  sought: { kind: stolen_vehicle, from: sought.csv, key: plate, purpose: goods }
rules:
  - { id: stolen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: goods, severity: high, review: required }
  - { id: sought, kind: watchlist, from: vehicle, on: plate, list: sought, purpose: goods, severity: high, review: required }
";
    let plates = |of: &[&str]| {
        let rows = of.iter().map(|plate| format!("{plate},{plate},2099-01-01\n"));
        format!("plate,entry_id,expires\n{}", rows.collect::<String>())
    };
    let place = place("type: http, address: 127.0.0.1:0", nobody());
    place
        .write("pack.yaml", LISTS)
        .write("stolen.csv", plates(&["陕A12345"]))
        .write("sought.csv", plates(&["陕A54321"]));
    let running = place.start(&[]);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    assert_eq!(post(running.address, "/records", &ndjson, items(0..3).as_bytes()).0, 200);
    running.kill();
    place.write("sought.csv", plates(&["陕A54321", "陕A99999"]));
    let found = |running: common::Running| running.stop()["state"]["other_lists"].clone();
    assert_eq!(found(place.start(&[])), serde_json::json!(["sought"]));
    assert_eq!(found(place.start(&[])), serde_json::json!([]), "its checkpoints know this one");
}

#[test]
fn a_file_is_read_on_where_the_last_run_left_it() {
    let place = place_with_windows("type: file, path: in.ndjson");
    place.write("in.ndjson", people(0..90));
    assert_eq!(place.run(&[])["sources"]["gates"]["received"], 90);
    assert_eq!(counts(&place), [60.0, 30.0], "at the end of its sources all windows are complete");
    assert_eq!(place.run(&[])["sources"]["gates"]["received"], 0, "nothing is read twice");
    place.write("in.ndjson", people(0..90) + &people(120..180));
    let third = place.run(&[]);
    assert_eq!(third["sources"]["gates"]["received"], 60);
    assert_eq!(counts(&place), [60.0, 30.0, 60.0]);
    // Another file under the name is read from its start; what it repeats is known by its ids.
    std::fs::remove_file(place.path("in.ndjson")).unwrap();
    place.write("in.ndjson", people(120..200));
    let fourth = place.run(&[]);
    assert_eq!(
        (&fourth["sources"]["gates"]["received"], &fourth["sources"]["gates"]["duplicate"]),
        (&80.into(), &60.into())
    );
}

#[test]
fn a_followed_file_that_was_renamed_between_two_runs_is_read_to_its_end_first() {
    let place = place_with_windows("type: file, path: in.ndjson, follow: true");
    place.write("weir.yaml", place.read("weir.yaml").replace("state: { ", "state: { status_file: status.json, "));
    let run = |judged: u64| {
        // What the run before has told stands there until this one tells something.
        place.write("status.json", "");
        let mut child = place.command(&["run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let status = || serde_json::from_str::<serde_json::Value>(&place.read("status.json")).unwrap_or_default();
        eventually("all is judged", || status()["sources"]["gates"]["evaluated"] == judged);
        assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
        assert!(child.wait().unwrap().success());
        common::summary(&said)["sources"]["gates"].clone()
    };
    place.write("in.ndjson", people(0..30));
    assert_eq!(run(30)["received"], 30);
    place.write("in.ndjson", people(0..50));
    std::fs::rename(place.path("in.ndjson"), place.path("in.ndjson.1")).unwrap();
    place.write("in.ndjson", people(50..60)).write("in.ndjson.2", people(100..190));
    assert_eq!(run(30)["received"], 30, "twenty of the old one and ten of the new one, and none of a stranger");
    place.write("in.ndjson", people(50..65));
    assert_eq!(run(5)["received"], 5, "each is read once");
    // What has the inode of a file that was followed need not be it, nor anything that can be followed.
    std::fs::rename(place.path("in.ndjson"), place.path("backup.gz")).unwrap();
    place.write("backup.gz", [0x1f, 0x8b, 8, 0, 1, 2, 3]).write("in.ndjson", people(65..75));
    assert_eq!(run(10)["received"], 10, "and the run ends well");
}

#[test]
fn a_state_that_cannot_be_used_stops_the_start_until_it_is_given_up() {
    let place = place_with_windows("type: file, path: in.ndjson");
    place.write("in.ndjson", people(0..90));
    place.run(&[]);
    let folder = place.path("state/checkpoints");
    for checkpoint in std::fs::read_dir(&folder).unwrap() {
        let path = checkpoint.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let refused = place.weir(&["run"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    // What is said of the damage itself depends on what the byte in the middle was.
    assert!(said.contains("cannot be used, nor can an older checkpoint: it"), "{said}");
    assert!(said.contains("`--accept-state-loss`"), "{said}");
    assert_eq!(place.weir(&["state", "verify", "state"]).status.code(), Some(1));
    let summary = place.run(&["--accept-state-loss"]);
    assert_eq!(summary["state"]["given_up"], true);
    let looked = text(&place.weir(&["state", "inspect", "state"]).stdout);
    assert!(looked.contains("the state was given up (--accept-state-loss), because: "), "{looked}");
    assert_eq!(place.weir(&["state", "verify", "state"]).status.code(), Some(0));
    // And another order of sources, which is how they are known.
    let config = place.read("weir.yaml").replace("sources:\n  gates", "sources:\n  doors");
    place.write("weir.yaml", config);
    let said = text(&place.weir(&["run"]).stderr);
    assert!(said.contains("the state was written with the sources [\"gates\"]"), "{said}");
}

#[test]
fn an_export_tells_nothing_of_anybody_and_another_state_begins_where_it_ends() {
    let place = Place::new();
    place.write("pack.yaml", PASSING).write("key", [7; 32]);
    let config = |sources: &str, folder: &str| {
        let state = format!("key_file: key, dir: {folder}, checkpoint_every: 100ms, segment: 4MiB, reserve: 4MiB");
        let sinks = "  alerts: { type: file, path: alerts.ndjson, purposes: [security] }";
        format!("weir: 1\npacks: [pack.yaml]\nsources:\n{sources}sinks:\n{sinks}\nstate: {{ {state} }}\n")
    };
    let (gates, posts) =
        ("  gates: { type: file, path: in.ndjson }\n", "  posts: { type: http, address: 127.0.0.1:0 }\n");
    place.write("weir.yaml", config(&(gates.replace(" }", ", follow: true }") + posts), "state"));
    let passage = |id: usize| {
        let (minute, second, plate) = (id / 60, id % 60, 10_000 + id % 50);
        format!(
            r#"{{"kind":"vehicle","event_id":"{id}","ts":"2026-11-23T08:{minute:02}:{second:02}Z","site":"north","device":"d","lane":"1","plate":"浙A{plate}"}}"#
        ) + "\n"
    };
    let first: String = (0..50).map(passage).collect();
    place.write("in.ndjson", &first);
    let running = place.start(&[]);
    let export = || place.weir(&["state", "export", "state"]);
    let told = || serde_json::from_slice::<serde_json::Value>(&export().stdout).unwrap_or_default();
    eventually("a checkpoint has all records", || told()["sources"][0]["places"][0]["records"] == 50);
    running.kill();
    let told = told();
    let place_in_file = &told["sources"][0]["places"][0];
    assert_eq!((&told["sources"][0]["name"], &place_in_file["to"]), (&"gates".into(), &first.len().into()), "{told}");
    assert_eq!(told["rules"][0]["id"], "hurried");
    assert_eq!(
        told["rules"][0]["keys"], 44,
        "ways that have begun, but for seconds that wait for what is late: {told}"
    );
    // Nothing but these: whoever adds a member says here why it is about nobody.
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let members =
        ["weir_state_export", "checkpoint", "at", "sources", "kinds", "rules", "devices", "alerts_told", "repeats"];
    assert_eq!(keys(&told), members);
    assert_eq!(keys(&told["sources"][0]), ["name", "places"]);
    assert_eq!(keys(place_in_file), ["file", "to", "records", "plain"]);
    assert_eq!(keys(&place_in_file["file"]), ["path", "identity", "head_bytes", "head"]);
    assert_eq!(keys(&told["kinds"][0]), ["name", "complete_to"]);
    assert_eq!(keys(&told["rules"][0]), ["id", "version", "keys"]);

    place.write("export.json", export().stdout);
    let refused = place.weir(&["run", "--begin-at", "export.json"]);
    assert!(
        text(&refused.stderr).contains("there is a state to go on from, of checkpoint "),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(refused.status.code(), Some(1));

    // Other sources before it, which the state itself could not be gone on with.
    place.write("none.ndjson", "");
    let doors = "  doors: { type: file, path: none.ndjson }\n";
    place.write("weir.yaml", config(&(doors.to_owned() + &gates.replace("gates", "lanes")), "other"));
    let refused = text(&place.weir(&["run", "--begin-at", "export.json"]).stderr);
    assert!(refused.contains("how far source `gates` has been read, and there is no source of that name"), "{refused}");
    let doors_and_gates = doors.to_owned() + gates;
    let stateless = config(&doors_and_gates, "other").lines().take(7).collect::<Vec<_>>().join("\n");
    place.write("weir.yaml", stateless);
    let refused = text(&place.weir(&["run", "--begin-at", "export.json"]).stderr);
    assert!(refused.contains("a state of one's own (`state`)"), "{refused}");
    place.write("weir.yaml", config(&doors_and_gates, "other"));
    place.write("in.ndjson", first + &(100..103).map(passage).collect::<String>());
    let summary = place.run(&["--begin-at", "export.json"]);
    assert_eq!(summary["sources"]["gates"]["received"], 3, "{summary}");
    assert_eq!(place.run(&[])["sources"]["gates"]["received"], 0, "and from there on it is a state as any other");
    // With the state given up it begins there as well.
    place.write("weir.yaml", config(&doors_and_gates.replace("doors", "doers"), "other"));
    let summary = place.run(&["--accept-state-loss", "--begin-at", "export.json"]);
    assert_eq!(summary["sources"]["gates"]["received"], 3, "{summary}");

    for (what, said) in [
        ("{}", "it is no export of a state"),
        (&told.to_string().replace("\"weir_state_export\":1", "\"weir_state_export\":2"), "an export of version 2"),
        (&told.to_string().replace("\"plain\"", "\"plian\""), "unknown field `plian`"),
    ] {
        place.write("wrong.json", what);
        let refused = place.weir(&["run", "--begin-at", "wrong.json"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(said), "{}", text(&refused.stderr));
    }
    let none = place.weir(&["state", "export", "nowhere"]);
    assert!(text(&none.stderr).contains("there is no checkpoint in it"), "{}", text(&none.stderr));
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn an_export_says_what_came_in_after_its_checkpoint() {
    let place = place("type: http, address: 127.0.0.1:0", nobody());
    place.write("weir.yaml", place.read("weir.yaml").replace("state: { ", "state: { checkpoint_every: 10s, "));
    let running = place.start(&[]);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    assert_eq!(post(running.address, "/records", &ndjson, items(0..3).as_bytes()).0, 200);
    running.kill();
    let export = place.weir(&["state", "export", "state"]);
    assert!(export.status.success());
    let said = text(&export.stderr);
    assert!(said.contains("of the journal came in after this checkpoint"), "{said}");
    // A run that ends well leaves nothing that its last checkpoint lacks.
    place.start(&[]).stop();
    assert_eq!(text(&place.weir(&["state", "export", "state"]).stderr), "");
    let folder = place.path("state/checkpoints");
    let newest = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).max().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    let said = text(&place.weir(&["state", "export", "state"]).stderr);
    assert!(said.contains(" cannot be used: ") && said.contains("; this is an older one"), "{said}");
}

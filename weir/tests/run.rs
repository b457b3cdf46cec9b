//! The binary as an operator uses it: sources, sinks, signals, bad input, messages.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Place, eventually, post, text, workspace};
use serde_json::Value;

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes:
  goods: { legal_basis: act 1 }
  road: { legal_basis: act 2 }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.csv, key: plate, purpose: road }
rules:
  - { id: fireworks, kind: match, from: item, where: "item_class = 'fireworks'", purpose: goods, say: "{quantity} at {site}" }
  - { id: stolen-plate, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road, say: "{plate}" }
"#;

const LIST: &str = "plate,entry_id,expires\n陕A12345,E1,2099-01-01\n";

const SINKS: &str = "sinks:
  alerts: { type: file, path: alerts.ndjson, purposes: [goods, road] }
  refused: { type: file, path: refused.ndjson, emit: dead_letters }
";

fn place(source: &str) -> Place {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("stolen.csv", LIST);
    place.write("weir.yaml", format!("weir: 1\npacks: [pack.yaml]\nsources:\n  gates: {{ {source} }}\n{SINKS}"));
    place
}

fn item(id: usize) -> String {
    format!(
        r#"{{"kind":"item","event_id":"{id}","ts":"2026-11-23T08:00:00Z","site":"CP-01","device":"d","item_class":"fireworks","quantity":{id}}}"#
    )
}

/// The most memory that a process has held.
fn peak_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_demo_city_gives_alerts_of_three_kinds_and_a_summary() {
    let config = workspace().join("examples/city/weir.yaml");
    let output = Place::new().weir(&["run", config.to_str().unwrap()]);
    let stdout = text(&output.stdout);
    assert!(output.status.success());
    for rule in ["stolen-plate", "lost-document", "dangerous-goods", "red-code", "square-overload"] {
        assert!(
            stdout.lines().any(|line| line.contains(rule) && line.contains("2026-11-")),
            "an alert of {rule}: {stdout}"
        );
    }
    for word in ["Judged 30,000 records", "received", "watchlist", "p99.9", "latency, source read to hand-over"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
}

#[test]
fn bad_records_are_told_and_lose_nothing_else() {
    let place = place("type: file, path: in.ndjson");
    let deep = format!(r#"{{"kind":"item","x":{}"#, "[".repeat(2_000_000));
    let mut input: Vec<u8> = Vec::new();
    let mut line = |bytes: &[u8]| {
        input.extend_from_slice(bytes);
        input.push(b'\n');
    };
    line(item(1).as_bytes());
    line(b"this is no json");
    line(item(2).replace("\"device\":\"d\",", "").as_bytes());
    line(item(3).replace("2026-11-23T08:00:00Z", "0001-01-01T00:00:00Z").as_bytes());
    line(item(4).replace("\"2026-11-23T08:00:00Z\"", "1795392000").as_bytes());
    line(item(5).replace("2026-11-23T08:00:00Z", "2098-01-01T00:00:00Z").as_bytes());
    line(item(6).replace("2026-11-23T08:00:00Z", "2026-11-23T08:00:00").as_bytes());
    line(item(7).replace("\"item\"", "\"itme\"").as_bytes());
    line(item(8).replace("\"quantity\":8", "\"quantity\":-8").as_bytes());
    line(&[b"{\"kind\":\"item\",\"site\":\"".as_slice(), &[0xc3, 0x28], b"\"}"].concat());
    line(deep.as_bytes());
    line(&vec![b'x'; 3 << 20]);
    line(b"   ");
    input.extend_from_slice(item(9).as_bytes());
    place.write("in.ndjson", input);
    let summary = place.run(&[]);
    let gates = &summary["sources"]["gates"];
    assert_eq!((gates["evaluated"].as_u64(), gates["rejected"].as_u64()), (Some(2), Some(11)));
    let said: Vec<Value> = place.lines("alerts.ndjson").iter().map(|alert| alert["say"].clone()).collect();
    assert_eq!(said, ["1 at CP-01", "9 at CP-01"]);
    let refused: Vec<(u64, String)> = place
        .lines("refused.ndjson")
        .iter()
        .map(|letter| (letter["record"].as_u64().unwrap(), letter["message"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        (2, "not JSON at byte 0: a record is an object"),
        (3, "`device` is missing"),
        (4, "`ts` lies outside 2000 to 2100"),
        (5, "`ts` looks like seconds; epoch times are milliseconds"),
        (6, "`ts` lies "),
        (7, "`ts` is not a time with its zone"),
        (8, "`kind` is none of the declared kinds"),
        (9, "`quantity` is outside its declared range"),
        (10, "not UTF-8 at byte 23"),
        (11, "the record has 2000019 bytes; at most 1048576 are read"),
        (12, "the record has 3145728 bytes; at most 1048576 are read"),
    ];
    assert_eq!(refused.len(), expected.len());
    for ((record, message), (expected_record, start)) in refused.iter().zip(expected) {
        assert_eq!(*record, expected_record);
        assert!(message.starts_with(start), "{record}: {message}");
    }
}

#[test]
fn two_million_brackets_within_the_record_limit_are_refused_without_a_crash() {
    let place = place("type: stdin");
    place.write("weir.yaml", place.read("weir.yaml") + "limits: { record_bytes: 8MiB }\n");
    let deep = format!("{{\"kind\":\"item\",\"x\":{}\n{}\n", "[".repeat(2_000_000), item(1));
    let mut child = place
        .command(&["run", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(deep.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    common::summary(&text(&output.stdout));
    assert_eq!(place.lines("alerts.ndjson").len(), 1);
    assert_eq!(place.lines("refused.ndjson")[0]["message"], "nested more than 64 deep");
}

#[test]
fn a_gigabyte_without_a_line_feed_is_refused_in_bounded_memory() {
    let place = place("type: stdin");
    let mut child = place
        .command(&["run", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        stdin.write_all(&piece).unwrap();
    }
    let peak_kb = peak_kb(child.id());
    assert!(peak_kb < 200 * 1024, "{peak_kb} kB");
    stdin.write_all(format!("\n{}\n", item(1)).as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(common::summary(&text(&output.stdout))["rejected_by_cause"]["too_long"].as_u64(), Some(1));
    assert_eq!(place.lines("alerts.ndjson").len(), 1);
    assert!(place.lines("refused.ndjson")[0]["message"].as_str().unwrap().contains("1073741824 bytes"));
}

/// It took 4.5 GB, was answered with 283 MB, and left 891 MB of dead letters.
#[test]
fn a_request_of_rubbish_costs_what_its_bytes_do() {
    const LINES: u64 = 4_000_000;
    let place = place("type: http, address: 127.0.0.1:0");
    let running = place.start(&[]);
    for (mime, body) in [
        ("application/x-ndjson", "x\n".repeat(LINES as usize)),
        ("application/x-ndjson", "{}\n".repeat(LINES as usize / 2)),
        ("application/json", format!("[{}1]", "1,".repeat(LINES as usize - 1))),
    ] {
        let (status, answer) = post(running.address, "/records", &[("Content-Type", mime)], body.as_bytes());
        assert_eq!(status, 200, "{mime}");
        assert!(answer.len() < 100_000, "{} bytes", answer.len());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let listed = answer["rejected"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[999]["record"]), (1_000, &999.into()));
        assert_eq!(answer["rejected_not_listed"].as_u64().unwrap() + 1_000, answer["received"].as_u64().unwrap());
    }
    let peak_kb = peak_kb(running.id());
    assert!(peak_kb < 400 * 1024, "{peak_kb} kB");
    let summary = running.stop();
    assert_eq!(summary["sources"]["gates"]["rejected"].as_u64(), Some(LINES * 5 / 2));
    assert_eq!(summary["rejected_by_cause"]["bad_json"].as_u64(), Some(LINES * 2));
    let letters = place.lines("refused.ndjson");
    assert_eq!(letters.len(), 3 * 9);
    let together: u64 = letters.iter().map(|letter| letter["records"].as_u64().unwrap_or(1)).sum();
    assert_eq!(together, LINES * 5 / 2);
}

#[test]
fn csv_arrow_gzip_zstd_and_patterns_are_read() {
    let csv = "kind,event_id,ts,site,device,item_class,quantity,ethnicity\nitem,1,2026-11-23T08:00:00Z,CP-01,d,fireworks,7,\"a,b\"\n\nitem,2,bad,CP-01,d,fireworks,7,\n";
    let place1 = place("type: file, path: in.csv");
    place1.write("in.csv", csv);
    let summary = place1.run(&[]);
    assert_eq!(summary["sources"]["gates"]["rejected"].as_u64(), Some(1));
    assert_eq!(place1.lines("alerts.ndjson")[0]["say"], "7 at CP-01");
    assert_eq!(place1.lines("refused.ndjson")[0]["record"].as_u64(), Some(2));

    let place2 = place("type: file, path: \"in-*.ndjson*\"");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(item(1).as_bytes()).unwrap();
    place2.write("in-1.ndjson.gz", gzip.finish().unwrap()).write("in-2.ndjson", item(2)).write("out-3.ndjson", item(3));
    place2.run(&[]);
    assert_eq!(place2.lines("alerts.ndjson").len(), 2);
}

#[test]
fn ndjson_and_arrow_of_one_city_give_the_same_alerts() {
    let place = Place::new();
    let mut ids: Vec<Vec<String>> = Vec::new();
    for format in ["ndjson", "arrow"] {
        let folder = format!("{format}-city");
        let out = format!("{folder}/records.{format}");
        let args = [
            "generate",
            "--records",
            "50000",
            "--event-rate",
            "200",
            "--hit-rate",
            "0.01",
            "--format",
            format,
            "--with",
            &folder,
            "--out",
            &out,
        ];
        assert!(place.weir(&args).status.success());
        let config = format!("{folder}/weir.yaml");
        place.write("key", [7_u8; 32]).write(&config, place.read(&config) + "state: { key_file: ../key }\n");
        let summary = place.run(&[&config]);
        assert_eq!(summary["sources"]["gates"]["evaluated"].as_u64(), Some(50_000));
        let mut alerts: Vec<String> = place
            .lines(&format!("{folder}/alerts.ndjson"))
            .iter()
            .map(|alert| format!("{} {} {}", alert["alert_id"], alert["say"], alert["ts"]))
            .collect();
        alerts.sort();
        ids.push(alerts);
    }
    assert!(ids[0].len() > 100, "{}", ids[0].len());
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn generate_feeds_run_through_a_pipe() {
    let place = Place::new();
    assert!(place.weir(&["generate", "--records", "0", "--with", "."]).status.success());
    let mut generate =
        place.command(&["generate", "--records", "20000"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = place.command(&["run", "--json"]).stdin(generate.stdout.take().unwrap()).output().unwrap();
    assert!(generate.wait().unwrap().success());
    assert_eq!(common::summary(&text(&output.stdout))["sources"]["gates"]["evaluated"].as_u64(), Some(20_000));
}

#[test]
fn a_followed_file_survives_rotation() {
    let place = place("type: file, path: in.ndjson, follow: true");
    place.write("in.ndjson", item(1) + "\n" + &item(2)[..40]);
    let summary = follow(&place, |_| {
        told(&place, 1);
        let mut file = std::fs::OpenOptions::new().append(true).open(place.path("in.ndjson")).unwrap();
        file.write_all(format!("{}\n", &item(2)[40..]).as_bytes()).unwrap();
        told(&place, 2);
        std::fs::rename(place.path("in.ndjson"), place.path("in.ndjson.1")).unwrap();
        file.write_all(format!("{}\n", item(3)).as_bytes()).unwrap();
        place.write("in.ndjson", item(4) + "\n");
        told(&place, 4);
    });
    assert_eq!(summary["sources"]["gates"]["evaluated"], 4);
}

/// A run that follows files, until it is asked to end; its account.
fn follow(place: &Place, until: impl FnOnce(&std::process::Child)) -> Value {
    let mut child = place.command(&["run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    until(&child);
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(child.wait().unwrap().success(), "SIGTERM drains and ends well");
    common::summary(&stdout)
}

fn told(place: &Place, wanted: usize) {
    eventually("alerts arrive", || place.read("alerts.ndjson").lines().count() == wanted);
}

#[test]
fn a_rotated_file_whose_new_name_matches_too_is_read_once() {
    let place = place("type: file, path: \"in.ndjson*\", follow: true");
    place.write("in.ndjson", item(1) + "\n");
    let summary = follow(&place, |_| {
        told(&place, 1);
        for turn in 1..4 {
            let mut file = std::fs::OpenOptions::new().append(true).open(place.path("in.ndjson")).unwrap();
            std::fs::rename(place.path("in.ndjson"), place.path(&format!("in.ndjson.{turn}"))).unwrap();
            place.write("in.ndjson", item(turn * 10) + "\n");
            // Who writes it has not been told yet.
            file.write_all(format!("{}\n", item(turn * 10 + 1)).as_bytes()).unwrap();
            told(&place, 1 + turn * 2);
        }
        // Its file may be gone for a while, too.
        std::fs::rename(place.path("in.ndjson"), place.path("elsewhere")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::fs::rename(place.path("elsewhere"), place.path("in.ndjson")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
    });
    assert_eq!(summary["sources"]["gates"]["evaluated"], 7, "{summary}");
    assert_eq!(summary["sources"]["gates"]["received"], 7, "{summary}");
}

#[test]
fn files_that_were_removed_are_let_go_and_what_cannot_be_followed_is_said() {
    let place = place("type: file, path: \"in-*\", follow: true");
    let state = "state: { dir: state, key_file: key, segment: 4MiB, reserve: 4MiB, status_file: status.json }\n";
    place.write("weir.yaml", place.read("weir.yaml") + state).write("key", [7; 32]);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(item(1).as_bytes()).unwrap();
    place.write("in-zipped", zipped.finish().unwrap());
    let summary = follow(&place, |child| {
        let removed = || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
            let names = open.filter_map(|it| std::fs::read_link(it.unwrap().path()).ok());
            names.filter(|name| name.to_string_lossy().contains("/in-")).filter(|name| !name.exists()).count()
        };
        for id in 2..5 {
            place.write(&format!("in-{id}"), item(id) + "\n");
        }
        told(&place, 3);
        eventually("the trouble is told", || place.read("status.json").contains("in-zipped: it is compressed"));
        for id in 2..5 {
            std::fs::remove_file(place.path(&format!("in-{id}"))).unwrap();
        }
        assert_eq!(removed(), 3, "whoever writes one may not know that it is gone");
        eventually("they are let go", || removed() == 0);
        std::fs::remove_file(place.path("in-zipped")).unwrap();
        place.write("in-2", item(6) + "\n");
        told(&place, 4);
        eventually("the trouble is over", || place.read("status.json").contains("\"in_trouble\":[]"));
    });
    assert_eq!(summary["sources"]["gates"]["received"], 4, "{summary}");
}

#[test]
fn http_answers_for_every_record_and_refuses_what_it_must() {
    let place = place("type: http, address: 127.0.0.1:0, body_bytes: 64KiB, requests_per_second: 20");
    let running = place.start(&[]);
    let ndjson = ("Content-Type", "application/x-ndjson");
    let json = ("Content-Type", "application/json");
    let body = format!("{}\nnonsense\n{}\n", item(1), item(1));
    let (status, answer) = post(running.address, "/records", &[ndjson], body.as_bytes());
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["evaluated"].as_u64(), answer["duplicate"].as_u64()), (Some(1), Some(1)));
    assert_eq!(answer["rejected"][0]["record"].as_u64(), Some(1));
    assert_eq!(answer["rejected"][0]["cause"], "not JSON at byte 0: a record is an object");
    let array = format!("[{},{}]", item(2), item(3));
    assert_eq!(post(running.address, "/records", &[json], array.as_bytes()).0, 200);
    assert_eq!(post(running.address, "/records", &[json], b"[{\"a\":1}").0, 400);
    assert_eq!(post(running.address, "/records", &[("Content-Type", "text/plain")], body.as_bytes()).0, 415);
    assert_eq!(post(running.address, "/records", &[ndjson, ("Content-Encoding", "br")], body.as_bytes()).0, 415);
    assert_eq!(post(running.address, "/records", &[ndjson], &vec![b' '; 65 << 10]).0, 413);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 32 << 20]).unwrap();
    assert_eq!(
        post(running.address, "/records", &[ndjson, ("Content-Encoding", "gzip")], &bomb.finish().unwrap()).0,
        413
    );
    assert_eq!(post(running.address, "/elsewhere", &[ndjson], body.as_bytes()).0, 404);
    let statuses: Vec<u16> = (0..60).map(|_| post(running.address, "/records", &[ndjson], b"").0).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let summary = running.stop();
    assert_eq!(summary["sources"]["gates"]["received"].as_u64(), Some(5));
    assert_eq!(place.lines("alerts.ndjson").len(), 3);
}

#[test]
fn a_busy_pipeline_answers_503_and_loses_nothing() {
    // A sink that never takes anything: the pipeline fills up behind it.
    let blocked = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place.write("pack.yaml", PACK).write("stolen.csv", LIST);
    place.write(
        "weir.yaml",
        format!(
            "weir: 1\npacks: [pack.yaml]\nsources:\n  gates: {{ type: http, address: 127.0.0.1:0 }}\nsinks:\n  slow: {{ type: tcp, address: {}, purposes: [goods, road], retry_for: 1s }}\nlimits: {{ sink_queue: 1, intake_bytes: 4KiB, batch_bytes: 1KiB, shards: 1 }}\n",
            blocked.local_addr().unwrap()
        ),
    );
    let running = place.start(&[]);
    let address = running.address;
    let many: String = (0..40_000).map(|id| item(id) + "\n").collect();
    let statuses = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|part| {
                let many = &many;
                let statuses = &statuses;
                scope.spawn(move || {
                    let body: String = many.lines().skip(part * 5_000).take(5_000).collect::<Vec<_>>().join("\n");
                    let (status, _) =
                        post(address, "/records", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
                    statuses.lock().unwrap().push(status);
                })
            })
            .collect();
        // Once somebody has been turned away, let the receiver take what there is.
        eventually("somebody is turned away", || statuses.lock().unwrap().contains(&503));
        let receiver = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            blocked.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
            text(&bytes).lines().count()
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let taken = statuses.lock().unwrap().iter().filter(|status| **status == 200).count();
        let summary = running.stop();
        assert_eq!(summary["sources"]["gates"]["evaluated"].as_u64(), Some(taken as u64 * 5_000));
        assert_eq!(receiver.join().unwrap(), taken * 5_000, "every alert of a taken record arrived");
    });
}

#[test]
fn a_webhook_is_tried_again_with_the_same_key() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place
        .write("pack.yaml", PACK)
        .write("stolen.csv", LIST)
        .write("in.ndjson", item(1) + "\n" + &item(2))
        .write("token", "s3cr3t-canary\n");
    place.write(
        "weir.yaml",
        format!(
            "weir: 1\npacks: [pack.yaml]\nsources:\n  gates: {{ type: file, path: in.ndjson }}\nsinks:\n  hook: {{ type: http, url: \"http://{}/alerts\", token_file: token, purposes: [goods, road] }}\n",
            receiver.local_addr().unwrap()
        ),
    );
    let served = std::thread::spawn(move || {
        let mut keys = Vec::new();
        // Fails twice, takes the first alert, refuses the second for good.
        for status in ["503 Busy", "429 Slow", "200 OK", "422 No"] {
            let (mut stream, _) = receiver.accept().unwrap();
            let request = read_request(&mut stream);
            assert!(request.to_lowercase().contains("authorization: bearer s3cr3t-canary"));
            let key = request
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("idempotency-key: ").map(str::to_owned))
                .unwrap();
            keys.push(key);
            stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
                .unwrap();
        }
        keys
    });
    let output = place.weir(&["run", "--json"]);
    let all = text(&output.stdout) + &text(&output.stderr);
    let summary = common::summary(&text(&output.stdout));
    let keys = served.join().unwrap();
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    assert_eq!(
        (summary["sinks"]["hook"]["delivered"].as_u64(), summary["sinks"]["hook"]["refused"].as_u64()),
        (Some(1), Some(1))
    );
    assert!(!all.contains("s3cr3t-canary"));
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let request = text(&bytes);
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse::<usize>().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return request;
            }
        }
    }
}

#[test]
fn a_sink_that_never_comes_up_fails_the_run_and_says_so() {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("stolen.csv", LIST).write("in.ndjson", item(1));
    place.write("weir.yaml", "weir: 1\npacks: [pack.yaml]\nsources:\n  gates: { type: file, path: in.ndjson }\nsinks:\n  post: { type: tcp, address: 127.0.0.1:9, purposes: [goods, road], retry_for: 200ms }\n");
    let output = place.weir(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("sink `post` failed, 1 outputs were not delivered"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn metrics_are_told_to_whoever_asks() {
    let place = place("type: tcp, address: 127.0.0.1:0");
    let address = common::nobody();
    place.write("weir.yaml", place.read("weir.yaml") + &format!("metrics: {address}\n"));
    let running = place.start(&["weir.yaml"]);
    let mut post = TcpStream::connect(running.address).unwrap();
    common::metrics(&place);
    writeln!(post, "{}\n{}\n{{", item(1), item(1)).unwrap();
    eventually("both are told", || {
        let told = common::metrics(&place);
        let of = |name: &str| told.get(name).copied().unwrap_or_default().round() as u64;
        place.lines("alerts.ndjson").len() == 1
            && of("weir_alerts_total") == 1
            && of("weir_records_total{source=\"gates\",outcome=\"duplicate\"}") == 1
            && of("weir_records_total{source=\"gates\",outcome=\"rejected\"}") == 1
            && of("weir_outputs_total{sink=\"alerts\",outcome=\"delivered\"}") == 1
            && of("weir_devices{source=\"gates\",state=\"heard\"}") == 1
            && of("weir_list_entries{list=\"stolen\"}") == 1
            && common::judged(&told, "gates").round() as u64 == 1
    });
    for (request, wanted) in [("GET / HTTP/1.1", "404"), ("POST /metrics HTTP/1.1", "405")] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request}\r\nHost: weir\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
    }
    drop(post);
    running.stop();
    place.write("weir.yaml", place.read("weir.yaml").replace(&address.to_string(), "0.0.0.0:9464"));
    let checked = place.weir(&["check", "weir.yaml"]);
    let said = text(&checked.stdout) + &text(&checked.stderr);
    assert!(!checked.status.success() && said.contains("is not loopback"), "{said}");
}

/// Nobody has to wait for the end of a run to hear of it.
#[test]
fn a_sink_that_gave_up_is_told_while_others_go_on() {
    let place = place("type: tcp, address: 127.0.0.1:0");
    let sink = format!("  desk: {{ type: tcp, address: {}, retry_for: 1ms, purposes: [goods] }}\n", common::nobody());
    let state = "state: { status_file: status.json }\n";
    place.write("weir.yaml", place.read("weir.yaml") + &sink + state);
    let running = place.start(&["weir.yaml"]);
    let mut post = TcpStream::connect(running.address).unwrap();
    let status = || text(&place.weir(&["status", "weir.yaml"]).stdout);
    writeln!(post, "{}", item(1)).unwrap();
    eventually("it is told", || status().contains("sink desk: GAVE UP at 20"));
    writeln!(post, "{}", item(2)).unwrap();
    eventually("others go on", || place.lines("alerts.ndjson").len() == 2);
    drop(post);
    running.kill();
}

#[test]
fn an_actuator_gets_no_alert_about_a_person_and_purposes_bind() {
    let place = place("type: file, path: in.ndjson");
    place.write("in.ndjson", item(1));
    for (sinks, code) in [
        ("  barrier: { type: file, path: a, purposes: [goods, road], actuator: true }\n", "WR0223"),
        ("  goods: { type: file, path: a, purposes: [goods] }\n", "WR0223"),
        ("  goods: { type: file, path: a, purposes: [goods, road, gossip] }\n", "WR0201"),
    ] {
        place.write(
            "weir.yaml",
            format!(
                "weir: 1\npacks: [pack.yaml]\nsources:\n  gates: {{ type: file, path: in.ndjson }}\nsinks:\n{sinks}"
            ),
        );
        let output = place.weir(&["run"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(code), "{code}: {}", text(&output.stderr));
    }
}

#[test]
fn foreign_records_are_mapped_and_one_bad_record_takes_no_other_along() {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("stolen.csv", LIST);
    place.write(
        "weir.yaml",
        format!(
            r#"weir: 1
packs: [pack.yaml]
sources:
  cameras:
    type: file
    path: in.ndjson
    timezone: Asia/Shanghai
    fields: {{ "shot.id": text, "shot.time": text, "car.plate": text, what: text, gate: text, "load.kg": integer, per: integer }}
    map:
      kind: case when what = 'car' then 'vehicle' else 'item' end
      event_id: '"shot.id"'
      ts: '"shot.time"'
      plate: '"car.plate"'
      item_class: what
      quantity: '"load.kg" / per'
      site: gate
      device: concat(gate, '-1')
{SINKS}"#
        ),
    );
    let record = |id: usize, what: &str, per: usize| {
        format!(
            r#"{{"shot":{{"id":"{id}","time":"20261123080000","face":"not read"}},"car":{{"plate":"陕A·12345"}},"what":"{what}","gate":"N","load":{{"kg":60}},"per":{per},"age":40}}"#
        )
    };
    let lines = [
        record(1, "car", 1),
        record(2, "fireworks", 0),
        record(3, "fireworks", 3),
        record(4, "fireworks", 2).replace("202611", "209913"),
    ];
    place.write("in.ndjson", lines.join("\n"));
    let summary = place.run(&[]);
    let alerts = place.lines("alerts.ndjson");
    let said: Vec<&str> = alerts.iter().map(|alert| alert["say"].as_str().unwrap()).collect();
    assert_eq!(said, ["陕A12345", "20 at N"]);
    assert_eq!((&alerts[0]["ts"], &alerts[0]["device"]), (&"2026-11-23T00:00:00Z".into(), &"N-1".into()));
    assert_eq!(summary["sources"]["cameras"]["rejected"].as_u64(), Some(2));
    let refused: Vec<String> = place
        .lines("refused.ndjson")
        .iter()
        .map(|letter| format!("{} {}", letter["record"], letter["message"].as_str().unwrap()))
        .collect();
    assert!(refused[0].starts_with("2 the mapping of `quantity` failed"), "{refused:?}");
    assert!(refused[1].starts_with("4 `ts` is not a time"), "{refused:?}");
}

#[test]
fn generate_at_a_rate_keeps_the_intended_times() {
    let place = Place::new();
    let started = std::time::Instant::now();
    let output = place.weir(&["generate", "--records", "500", "--rate", "1000"]);
    assert!(output.status.success() && started.elapsed() >= std::time::Duration::from_millis(490));
    let times: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["ts"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(times.len(), 500);
    // Up to five seconds of disorder lie behind the intended times, none before them.
    let mut reader = weir_engine::normalise::TimeReader::new(None);
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!(times.iter().all(|ts| (now_ms - 30_000..=now_ms).contains(&reader.read_ms(ts).unwrap())));
}

#[test]
fn a_record_that_a_connection_leaves_unfinished_is_told() {
    for hang_up in [true, false] {
        let place = place("type: tcp, address: 127.0.0.1:0, once: true, idle_timeout: 200ms");
        let running = place.start(&[]);
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.write_all(format!("{}\n{}", item(1), &item(2)[..40]).as_bytes()).unwrap();
        if hang_up {
            drop(stream);
            running.wait();
        } else {
            // Silent within a record: weir closes the connection.
            running.wait();
            drop(stream);
        }
        assert_eq!(place.lines("alerts.ndjson").len(), 1);
        assert_eq!(place.lines("refused.ndjson")[0]["record"].as_u64(), Some(2));
    }
}

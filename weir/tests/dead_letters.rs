//! Records that were refused are kept, shown to whoever says why, and read out to be fed in again.

mod common;

use common::{Place, post, text};

const PACK: &str = r#"weir: 1
pack: p
owner: o
purposes:
  goods: { legal_basis: act 1 }
rules:
  - { id: fireworks, kind: match, from: item, where: "item_class = 'fireworks'", purpose: goods, say: "{quantity}" }
"#;

fn config(sources: &str) -> String {
    format!(
        "weir: 1\npacks: [pack.yaml]\nsources:\n{sources}sinks:\n  alerts: {{ type: file, path: alerts.ndjson, purposes: [goods] }}\nstate: {{ key_file: key, dir: state, segment: 4MiB, reserve: 4MiB, dead_letters_for: 7d }}\n"
    )
}

fn place(sources: &str) -> Place {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("key", [7; 32]).write("weir.yaml", config(sources));
    place
}

const GOOD: &str = r#"{"kind":"item","event_id":"1","ts":"2026-11-23T08:00:00Z","site":"s","device":"d","item_class":"fireworks","quantity":1}"#;
/// Its quantity is no number, which a mapping could mend.
const BAD: &str = r#"{"kind":"item","event_id":"2","ts":"2026-11-23T08:00:00Z","site":"s","device":"d","item_class":"fireworks","quantity":"two of them"}"#;

#[test]
fn what_was_refused_is_listed_shown_and_fed_in_again() {
    let place =
        place("  gates: { type: file, path: in.ndjson, keep_refused: true }\n  doors: { type: file, path: in.csv }\n");
    place.write("in.ndjson", format!("{GOOD}\n{BAD}\nno json at all\n"));
    place.write("in.csv", "kind,event_id,ts,site,device,item_class\nitem,9,yesterday,s,d,knife\n");
    let summary = place.run(&[]);
    assert_eq!(summary["sources"]["gates"]["rejected"], 2);
    let listed = text(&place.weir(&["dead-letter", "list", "state"]).stdout);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("gates: in.ndjson, record 2: ") && listed.contains("; its bytes are kept\n"), "{listed}");
    let doors = text(&place.weir(&["dead-letter", "list", "state", "--source", "doors", "--json"]).stdout);
    let letter: serde_json::Value = serde_json::from_str(&doors).unwrap();
    assert_eq!((&letter["keeps_bytes"], &letter["told"]["source"]), (&false.into(), &"doors".into()));
    assert!(letter["told"].get("sealed").is_none());
    // Nothing of it stands in the folder in the clear.
    let bytes: Vec<u8> = std::fs::read_dir(place.path("state/dead-letters"))
        .unwrap()
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!bytes.windows(11).any(|at| at == b"two of them") && bytes.windows(5).any(|at| at == b"gates"));
    // Bytes are shown for a reason only, and the reason stays.
    let number = listed.lines().find(|line| line.contains("record 2: ")).unwrap().split(' ').next().unwrap();
    let shown = place.weir(&["dead-letter", "show", "state", number, "--key", "key"]);
    assert_eq!(shown.status.code(), Some(2), "{}", text(&shown.stderr));
    let shown = place.weir(&["dead-letter", "show", "state", number, "--key", "key", "--why", "ticket 7"]);
    assert!(text(&shown.stdout).ends_with(&format!("{BAD}\n")), "{}", text(&shown.stdout));
    let nothing = place.weir(&["dead-letter", "show", "state", number, "--key", "key", "--why", " "]);
    assert!(text(&nothing.stderr).contains("`--why` says nothing"), "{}", text(&nothing.stderr));
    assert!(!text(&nothing.stdout).contains("two of them"));
    let without = place.weir(&["dead-letter", "show", "state", number]);
    assert!(without.status.success() && !text(&without.stdout).contains("two of them"));
    place.write("other", [8; 32]);
    let refused = place.weir(&["dead-letter", "show", "state", number, "--key", "other", "--why", "ticket 7"]);
    assert!(text(&refused.stderr).contains("does not open under this key"), "{}", text(&refused.stderr));
    let out = place.weir(&["dead-letter", "replay", "state", "--key", "key", "--why", "ticket 8", "--source", "gates"]);
    assert_eq!(text(&out.stdout), format!("{BAD}\nno json at all\n"));
    let nothing = place.weir(&["dead-letter", "replay", "state", "--key", "key", "--why", "t", "--source", "doors"]);
    assert!(text(&nothing.stderr).contains("doors: { ..., keep_refused: true }"), "{}", text(&nothing.stderr));
    let inspected = text(&place.weir(&["state", "inspect", "state"]).stdout);
    assert!(
        // The two sources have no order between them.
        inspected.contains("2 refused records were read out, dead letters ")
            && inspected.contains(", because: ticket 8"),
        "{inspected}"
    );
    assert!(inspected.contains("dead letters: records 1 to 3 in 1 segment"), "{inspected}");
    assert_eq!(place.weir(&["state", "verify", "state"]).status.code(), Some(0));
    // Mended and fed in again, it is judged.
    place.write("in.ndjson", text(&out.stdout).replace("\"two of them\"", "2"));
    place.run(&[]);
    let said: Vec<String> =
        place.lines("alerts.ndjson").iter().map(|it| it["say"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["1", "2"]);
}

#[test]
fn records_of_csv_are_kept_with_their_header() {
    let place = place("  doors: { type: file, path: \"*.csv\", keep_refused: true }\n");
    place.write(
        "a.csv",
        "kind,event_id,ts,site,device,item_class\nitem,1,never,s,d,\"kn\"\"ife\"\nitem,2,never,s,d,x\n",
    );
    place.write("b.csv", "ts,kind,event_id,site,device\nnever,item,3,s,d\n");
    place.run(&[]);
    let out = place.weir(&["dead-letter", "replay", "state", "--key", "key", "--why", "test"]);
    let expected = "\"kind\",\"event_id\",\"ts\",\"site\",\"device\",\"item_class\"\nitem,1,never,s,d,\"kn\"\"ife\"\nitem,2,never,s,d,x\n\"ts\",\"kind\",\"event_id\",\"site\",\"device\"\nnever,item,3,s,d\n";
    assert_eq!(text(&out.stdout), expected, "{}", text(&out.stderr));
}

#[test]
fn many_of_one_cause_are_told_kept_and_read_out_together() {
    let place = place(
        "  gates: { type: file, path: in.ndjson, keep_refused: true }\n  doors: { type: file, path: in.csv, keep_refused: true }\n",
    );
    let bad: Vec<String> = (0..40).map(|at| BAD.replace("two of them", &format!("{at} of them"))).collect();
    let rows: Vec<String> = (0..30).map(|at| format!("item,{at},never,s,d")).collect();
    place.write("in.ndjson", format!("{GOOD}\n{}\n{GOOD}\n", bad.join("\n")));
    place.write("in.csv", format!("kind,event_id,ts,site,device\n{}\n", rows.join("\n")));
    let summary = place.run(&[]);
    assert_eq!(summary["sources"]["gates"]["rejected"], 40);
    assert_eq!(summary["rejected_by_cause"]["bad_value"], 70, "{summary}");
    let listed = text(&place.weir(&["dead-letter", "list", "state", "--source", "gates"]).stdout);
    assert_eq!(listed.lines().count(), 9, "{listed}");
    let last = listed.lines().last().unwrap();
    assert!(last.contains("gates: in.ndjson, 32 records of 10 to 41: `quantity` is not "), "{last}");
    assert!(last.ends_with("; their bytes are kept"), "{last}");
    let read_out = |source| {
        place.weir(&["dead-letter", "replay", "state", "--key", "key", "--why", "ticket 9", "--source", source])
    };
    let (gates, doors) = (read_out("gates"), read_out("doors"));
    assert_eq!(text(&gates.stdout), bad.join("\n") + "\n");
    assert!(text(&gates.stderr).contains("weir: 40 records"), "{}", text(&gates.stderr));
    let header = r#""kind","event_id","ts","site","device""#;
    assert_eq!(text(&doors.stdout), format!("{header}\n{}\n", rows.join("\n")));
    let inspected = text(&place.weir(&["state", "inspect", "state"]).stdout);
    assert!(inspected.contains("40 refused records were read out"), "{inspected}");
}

#[test]
fn objects_of_several_lines_are_read_out_a_line_each() {
    let place = place("  posts: { type: http, address: \"127.0.0.1:0\", keep_refused: true }\n");
    let running = place.start(&[]);
    let objects: Vec<String> =
        (0..12).map(|at| BAD.replace("two of them", &format!("{at} of them")).replace(",\"", ",\n\"")).collect();
    let json = [("Content-Type", "application/json")];
    let (status, answer) = post(running.address, "/records", &json, format!("[{}]", objects.join(",")).as_bytes());
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let numbers: Vec<u64> =
        answer["rejected"].as_array().unwrap().iter().map(|it| it["record"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<u64>>());
    running.stop();
    let out = place.weir(&["dead-letter", "replay", "state", "--key", "key", "--why", "test"]);
    let lines: Vec<String> = objects.iter().map(|object| object.replace('\n', " ")).collect();
    assert_eq!(text(&out.stdout), lines.join("\n") + "\n");
}

/// Which are told together depends on how the file is cut into blocks, and a start after a kill cuts it as the one before it.
#[test]
fn each_is_told_once_over_kills() {
    const LINES: usize = 2_000_000;
    let place = place("  gates: { type: file, path: in.ndjson }\n");
    let line = |at: usize| match at % 6 {
        2 => "x".to_owned(),
        5 => "{}".to_owned(),
        _ => GOOD.replace("\"1\"", &format!("\"{at}\"")).replace("fireworks", "knife"),
    };
    place.write("in.ndjson", (0..LINES).map(|at| line(at) + "\n").collect::<String>());
    let refused = (0..LINES).filter(|at| at % 3 == 2).count() as u64;
    let told = || {
        let listed = text(&place.weir(&["dead-letter", "list", "state", "--last", "1000000", "--json"]).stdout);
        let letters = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let records = letters.map(|it| it["told"].get("records").map_or(1, |records| records.as_u64().unwrap()));
        records.sum::<u64>()
    };
    let mut before = 0;
    for _ in 0..2 {
        let running = place.launch(&[]);
        common::eventually("more is told", || told() > before);
        running.kill();
        before = told();
        assert!(before < refused, "it was killed too late to show anything");
    }
    let summary = place.run(&[]);
    assert!(summary["state"]["replayed"].as_u64().unwrap() > 0, "what came in last is applied again: {summary}");
    assert_eq!((summary["sources"]["gates"]["rejected"].as_u64(), told()), (Some(refused), refused));
}

#[test]
fn they_are_read_while_a_process_writes_them_and_after_a_kill() {
    let place = place("  posts: { type: http, address: \"127.0.0.1:0\", keep_refused: true }\n");
    let running = place.start(&[]);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let (status, _) = post(running.address, "/records", &ndjson, format!("{BAD}\n").as_bytes());
    assert_eq!(status, 200);
    let listed = || text(&place.weir(&["dead-letter", "list", "state"]).stdout).lines().count();
    common::eventually("it is kept", || listed() == 1);
    running.kill();
    place.start(&[]).stop();
    assert_eq!(listed(), 1, "kept once");
}

#[test]
fn what_cannot_be_kept_is_said() {
    let place = place("  doors: { type: file, path: in.ndjson, keep_refused: true }\n");
    place.write("in.ndjson", "");
    let config = place.read("weir.yaml");
    for (from, to, said) in [
        (", dead_letters_for: 7d", "", "`keep_refused` keeps the bytes"),
        ("dead_letters_for: 7d", "dead_letters_for: 60d", "`dead_letters_for` is from 1 h to 30 d"),
        ("dead_letters_for: 7d", "dead_letters: 64MiB", "`dead_letters` needs a `dead_letters_for`"),
        ("  alerts: {", "  dead-letters: {", "is the name of the sink that keeps dead letters"),
    ] {
        place.write("weir.yaml", config.replace(from, to));
        let refused = place.weir(&["run"]);
        let stderr = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && stderr.contains(said), "{to}: {stderr}");
    }
    let nothing = place.weir(&["dead-letter", "list", "."]);
    assert!(text(&nothing.stderr).contains("no dead letters are kept there"), "{}", text(&nothing.stderr));
}

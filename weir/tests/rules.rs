//! What those who write rules use: `weir test`, `check`, `explain`, `why-not`, `backtest`, `diff`, `schema`,
//! and packs that change under a running weir.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use common::{Place, text};
use serde_json::Value;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn file(path: &str) -> String {
    project().join(path).to_string_lossy().into_owned()
}

const PACK: &str = "weir: 1
pack: goods
owner: o
purposes: { goods: { legal_basis: act 1 } }
rules:
  - id: much
    kind: match
    from: item
    where: [item_class = 'fireworks', quantity >= 10]
    purpose: goods
    severity: medium
    dedupe: { key: [site], for: 1m }
    say: \"{quantity} at {site}\"
tests:
  - name: ten are told
    rule: much
    events: [{ at: 0s, item: { item_class: fireworks, quantity: 10, site: G1 } }]
    expect: [{ at: 0s, say: 10 at G1 }]
";

const CONFIG: &str = "weir: 1
packs: [pack.yaml]
sources: { gates: { type: file, path: in.ndjson } }
sinks: { alerts: { type: file, path: alerts.ndjson, purposes: [goods] } }
";

fn item(number: usize, second: usize, quantity: usize) -> String {
    format!(
        "{{\"kind\":\"item\",\"event_id\":\"e{number}\",\"ts\":{},\"site\":\"G{}\",\"device\":\"d\",\"item_class\":\"fireworks\",\"quantity\":{quantity}}}\n",
        1_795_392_000_000_u64 + second as u64 * 1000,
        number % 3
    )
}

#[test]
fn the_pack_of_the_design_passes_check_and_test() {
    let place = Place::new();
    let pack = file("testdata/design-5.yaml");
    let check = place.weir(&["check", &pack]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    let test = place.weir(&["test", &pack]);
    let said = text(&test.stdout);
    assert!(test.status.success(), "{said}");
    assert!(
        said.contains("ok    two reads of one plate give one alert") && said.contains("1 test, 1 passed"),
        "{said}"
    );
}

#[test]
fn the_examples_pass_and_carry_the_editor_line() {
    let place = Place::new();
    for example in ["examples/city", "examples/bottleneck", "examples/kinds"] {
        let check = place.weir(&["check", &file(example)]);
        assert!(text(&check.stdout).contains("nothing to complain about"), "{}", text(&check.stderr));
        let test = place.weir(&["test", &file(example)]);
        assert!(test.status.success(), "{}", text(&test.stdout));
        let pack = std::fs::read_to_string(project().join(example).join("pack.yaml")).unwrap();
        assert!(pack.starts_with("# yaml-language-server: $schema=../pack.schema.json\n"));
    }
    let schema = text(&place.weir(&["schema", "pack"]).stdout);
    let kept = std::fs::read_to_string(project().join("examples/pack.schema.json")).unwrap();
    assert_eq!(schema, kept, "weir schema pack > examples/pack.schema.json");
}

#[test]
fn a_failing_test_shows_expected_beside_got_and_why() {
    let place = Place::new();
    let broken = PACK.replace("quantity: 10, site: G1", "quantity: 9, site: G1")
        + "  - name: none are told
    rule: much
    events: [{ at: 5s, item: { item_class: fireworks, quantity: 11, site: G2 } }]
    expect: []
";
    place.write("pack.yaml", &broken);
    let output = place.weir(&["test", "--junit", "report.xml", "pack.yaml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "FAIL  ten are told (line 15, in one batch)",
        "expected, and did not come:\n          { at: 0s, say: 10 at G1 }",
        "no alert: `quantity >= 10` does not hold (item_class = fireworks, quantity = 9)",
        "came, and was not expected:\n          { at: 5s, severity: medium, say: 11 at G2 }",
        "2 tests, 0 passed, 2 failed",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let report = place.read("report.xml");
    assert!(
        report.contains("<testsuites tests=\"2\" failures=\"2\">") && report.contains("quantity &gt;= 10"),
        "{report}"
    );
    // One JSON object a test, and only those asked for.
    let output = place.weir(&["test", "--json", "-k", "none", "pack.yaml"]);
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["passed"], &lines[0]["line"]), (1, &Value::Bool(false), &Value::from(19)));
    assert_eq!(lines[0]["unexpected"][0], "{ at: 5s, severity: medium, say: 11 at G2 }");
}

#[test]
fn watching_runs_the_tests_again() {
    let place = Place::new();
    place.write("pack.yaml", PACK);
    let mut child = place.command(&["test", "--watch", "pack.yaml"]).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
            let _ = sender.send(line.unwrap());
        }
    });
    let wait = |wanted: &str| {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if lines.recv_timeout(Duration::from_secs(1)).is_ok_and(|line| line.contains(wanted)) {
                return true;
            }
        }
        false
    };
    assert!(wait("1 passed, 0 failed"));
    std::thread::sleep(Duration::from_millis(300));
    place.write("pack.yaml", PACK.replace("say: 10 at G1", "say: 10 at G2"));
    assert!(wait("0 passed, 1 failed"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn check_speaks_sarif_and_mends_slips() {
    let place = Place::new();
    place.write(
        "pack.yaml",
        PACK.replace("severity: medium", "severty: medum").replace("quantity >= 10", "quantty >= 10"),
    );
    let sarif: Value = serde_json::from_str(&text(&place.weir(&["check", "--sarif", "pack.yaml"]).stdout)).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let ids: Vec<&str> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["WR0207", "WR0007"]);
    assert_eq!(results[1]["locations"][0]["physicalLocation"]["region"]["startLine"], 11);
    assert_eq!(results[1]["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"], "severity");
    // A key is a plain slip; what a condition asks is not, and is left to its author.
    let output = place.weir(&["check", "--fix", "pack.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(place.read("pack.yaml").contains("severity: medum") && place.read("pack.yaml").contains("quantty"));
    place.weir(&["check", "--fix", "pack.yaml"]);
    assert!(place.read("pack.yaml").contains("severity: medium"));
    place.write("pack.yaml", place.read("pack.yaml").replace("quantty", "quantity"));
    assert!(place.weir(&["check", "pack.yaml"]).status.success());
}

#[test]
fn a_pack_is_split_over_files_that_lie_beside_it() {
    let place = Place::new();
    let (head, rules) = PACK.split_once("rules:").unwrap();
    place.write("packs/pack.yaml", format!("{head}include: [parts/rules.yaml]\n"));
    place.write("packs/parts/rules.yaml", format!("weir: 1\nrules:{rules}"));
    let output = place.weir(&["test", "packs"]);
    assert!(text(&output.stdout).contains("1 test, 1 passed"), "{}", text(&output.stderr));
    place.write("packs/parts/rules.yaml", format!("weir: 1\nrules:{}", rules.replace("from: item", "from: itm")));
    let said = text(&place.weir(&["check", "packs"]).stderr);
    assert!(said.contains("packs/parts/rules.yaml:5:11"), "{said}");
    // Neither a path nor a link leads out of the folder.
    place.write("secret.yaml", "weir: 1\n");
    std::os::unix::fs::symlink(place.path("secret.yaml"), place.path("packs/parts/link.yaml")).unwrap();
    place.write("packs/pack.yaml", format!("{head}include: [parts/link.yaml, ../secret.yaml]\n"));
    let said = text(&place.weir(&["check", "packs"]).stderr);
    assert!(
        said.contains("a link leads out of the pack's folder") && said.contains("`../secret.yaml` leads out"),
        "{said}"
    );
}

#[test]
fn explain_tells_of_codes_and_of_rules() {
    let place = Place::new();
    let said = text(&place.weir(&["explain", "WR0227"]).stdout);
    for part in ["Cause:", "Impact:", "Cure:", "Example:", "key: [plate]"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = text(&place.weir(&["explain", "square-dense", &file("examples/kinds/pack.yaml")]).stdout);
    for part in [
        "window over person records",
        "columns read",
        "panes",
        "count for each zone, panes of 5s",
        "state at most",
        "ns a record",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Two rules that look at the same list and ask the same share it.
    place.write("pack.yaml", PACK).write("stolen.csv", "plate,entry_id,expires\nA1,E1,2099-01-01\n");
    let twice = "weir: 1\npack: p\nowner: o\npurposes: { road: { legal_basis: a } }\nlists: { stolen: { kind: stolen_vehicle, from: stolen.csv, key: plate, purpose: road } }\nrules:\n  - { id: a, kind: watchlist, from: vehicle, on: plate, list: stolen, where: [confidence > 0.5, lane = '1'], purpose: road }\n  - { id: b, kind: watchlist, from: vehicle, on: plate, list: stolen, where: [confidence > 0.5, lane = '2'], purpose: road }\n";
    place.write("twice.yaml", twice);
    let said = text(&place.weir(&["explain", "a", "twice.yaml"]).stdout);
    assert!(said.contains("plate in list stolen (1 entries); shared with `b`"), "{said}");
    assert!(said.contains("asked 2 times and computed once") && said.contains("index:"), "{said}");
    let plan: Value =
        serde_json::from_str(&text(&place.weir(&["explain", "--json", "a", "twice.yaml"]).stdout)).unwrap();
    assert_eq!(plan["probe"][1][0], "b");
    let output = place.weir(&["explain", "nothing", "twice.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn why_not_names_the_line_the_repeat_and_the_value() {
    let place = Place::new();
    place.write("pack.yaml", PACK).write("events.ndjson", item(0, 0, 5) + &item(3, 1, 12) + &item(6, 2, 13));
    let said = text(&place.weir(&["why-not", "much", "--event", "events.ndjson", "pack.yaml"]).stdout);
    for part in [
        "record 1 at 2026-11-23T00:00:00Z: no alert: `quantity >= 10` does not hold",
        "no       quantity >= 10   [quantity = 5]",
        "record 2 at 2026-11-23T00:00:01Z: an alert",
        "held back by `dedupe`: the same site alerted less than 1m away",
        "1 alert came",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    // A window: value and levels over time.
    let crowd = |second: usize, count: usize| {
        format!(
            "{{\"kind\":\"person\",\"event_id\":\"p{second}\",\"ts\":{},\"site\":\"s\",\"device\":\"d\",\"zone\":\"sq\",\"count\":{count}}}\n",
            1_795_392_000_000_u64 + second as u64 * 1000
        )
    };
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { crowd: { legal_basis: a } }\nrules:\n  - { id: dense, kind: window, from: person, key: [zone], measure: count, window: { every: 5s }, levels: [{ name: full, enter: 10, for: 10s, exit: 5 }], purpose: crowd, say: \"{zone} {change}\" }\n";
    place
        .write("crowd.yaml", pack)
        .write("crowd.ndjson", crowd(1, 12) + &crowd(6, 7) + &crowd(11, 12) + &crowd(16, 13));
    let said = text(&place.weir(&["why-not", "dense", "--event", "crowd.ndjson", "--zone", "sq", "crowd.yaml"]).stdout);
    for part in ["12.0000  full: at or above 10 (2 in a row needed)", "7.0000  full: between 5 and 10", "-> enter full"]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let output = place.weir(&["why-not", "dense", "--event", "crowd.ndjson", "pack.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}

/// The same history as NDJSON, Arrow and Parquet.
fn write_history(place: &Place) {
    let rows: Vec<(usize, usize, usize)> = (0..300).map(|n| (n, n * 600, n % 20)).collect();
    place.write("h.ndjson", rows.iter().map(|(n, second, quantity)| item(*n, *second, *quantity)).collect::<String>());
    let schema = Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("event_id", DataType::Utf8, false),
        Field::new("ts", DataType::Int64, false),
        Field::new("site", DataType::Utf8, false),
        Field::new("device", DataType::Utf8, false),
        Field::new("item_class", DataType::Utf8, false),
        Field::new("quantity", DataType::Float64, false),
    ]));
    let texts =
        |of: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| of(row.0))));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            texts(&|_| "item".to_owned()),
            texts(&|n| format!("e{n}")),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| 1_795_392_000_000 + row.1 as i64 * 1000))),
            texts(&|n| format!("G{}", n % 3)),
            texts(&|_| "d".to_owned()),
            texts(&|_| "fireworks".to_owned()),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2 as f64))),
        ],
    )
    .unwrap();
    let file = std::fs::File::create(place.path("h.arrow")).unwrap();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(file, &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let file = std::fs::File::create(place.path("h.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn backtest_judges_history_in_three_formats_alike() {
    let place = Place::new();
    place.write("pack.yaml", PACK);
    write_history(&place);
    let report = |history: &str| -> Value {
        let output = place.weir(&["backtest", "--json", "pack.yaml", "--history", history]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        report["elapsed_s"] = 0.into();
        report["rules"]["much"]["ns_per_record"] = 0.into();
        report
    };
    let ndjson = report("h.ndjson");
    assert_eq!(ndjson["records"], 300);
    assert_eq!(ndjson["rules"]["much"]["alerts"], 150);
    assert_eq!(ndjson["rules"]["much"]["by_day"]["2026-11-23"], 70);
    assert_eq!(ndjson["rules"]["much"]["hottest"][0]["place"], "G0/d");
    assert_eq!(report("h.arrow"), ndjson);
    assert_eq!(report("h.parquet"), ndjson);
    let said = text(&place.weir(&["backtest", "pack.yaml", "--history", "h.parquet"]).stdout);
    for part in ["300 records", "much (match): 150 alerts", "by day:  2026-11-23 70", "hottest: G0/d", "ns a record"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    place.write("bad.parquet", "PAR1 but not really PAR1");
    let output = place.weir(&["backtest", "pack.yaml", "--history", "bad.parquet"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not a usable Parquet file"), "{}", text(&output.stderr));
}

#[test]
fn diff_prints_the_alerts_gained_and_lost() {
    let place = Place::new();
    place.write("old.yaml", PACK);
    place.write(
        "new.yaml",
        PACK.replace("quantity >= 10", "quantity >= 19")
            .replace("say: \"{quantity} at {site}\"", "say: \"{quantity} in {site}\""),
    );
    write_history(&place);
    let said = text(&place.weir(&["diff", "old.yaml", "new.yaml", "--history", "h.ndjson", "--show", "1"]).stdout);
    for part in [
        "much: 0 gained, 135 lost, 15 changed",
        "  - 2026-11-23T01:40:00Z medium G1: 10 at G1",
        "... and 134 more",
        "19 at G1  ->",
        "0 alerts gained, 135 lost",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let back: Value = serde_json::from_str(&text(
        &place.weir(&["diff", "--json", "new.yaml", "old.yaml", "--history", "h.ndjson"]).stdout,
    ))
    .unwrap();
    assert_eq!(back["much"]["gained"].as_array().unwrap().len(), 135);
}

#[test]
fn a_shadow_rule_reports_and_sends_nothing() {
    let place = Place::new();
    place.write("pack.yaml", PACK.replace("    severity: medium", "    severity: medium\n    status: shadow"));
    place.write("weir.yaml", CONFIG).write("in.ndjson", (0..60).map(|n| item(n, n * 600, n)).collect::<String>());
    let summary = place.run(&["weir.yaml"]);
    assert_eq!(summary["rules"]["much"]["by_day"]["2026-11-23"], 50);
    let output = place.weir(&["run", "weir.yaml"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(place.read("alerts.ndjson"), "");
    for part in ["shadow rule `much` would have sent 50", "by day:  2026-11-23 50", "hottest: G"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

/// Packs are changed under a running weir: by writing the file, by SIGHUP, and with a mistake in them.
#[test]
fn packs_are_reloaded_while_running_and_bad_ones_refused() {
    for by_signal in [false, true] {
        let place = Place::new();
        let config = CONFIG.replace("path: in.ndjson", "path: in.ndjson, follow: true");
        place.write("pack.yaml", PACK).write("weir.yaml", &config).write("in.ndjson", item(0, 0, 15));
        let mut args = vec!["run", "--quiet", "weir.yaml"];
        if by_signal {
            args.insert(1, "--no-watch");
        }
        let mut child = place.command(&args).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)) {
                let _ = sender.send(line.unwrap());
            }
        });
        let alerts = |wanted: usize| {
            let until = Instant::now() + Duration::from_secs(20);
            while place.lines("alerts.ndjson").len() < wanted {
                assert!(Instant::now() < until, "{wanted} alerts: {}", place.read("alerts.ndjson"));
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let change = |pack: &str, said: &str| {
            place.write("pack.yaml", pack);
            if by_signal {
                let pid = child.id().to_string();
                assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
            }
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let line = lines.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap();
                if line.contains(said) {
                    break;
                }
            }
        };
        let append = |line: &str| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().append(true).open(place.path("in.ndjson")).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        };
        alerts(1);
        // What a sink writes beside the pack is no change of the pack.
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(lines.try_iter().find(|line| line.contains("reloaded")), None);
        // A mistake is refused, and the old rules run on.
        change(&PACK.replace("quantity >= 10", "quantty >= 10"), "1 error; the packs in force stay in force");
        append(&item(1, 1, 12));
        alerts(2);
        // Another text, the same meaning: the rule keeps its state, and a repeat is still held back.
        change(&PACK.replace("say: \"{quantity} at", "say: \"now {quantity} at"), "1 rules kept with their state");
        append(&(item(3, 2, 13) + &item(2, 2, 14)));
        alerts(3);
        // Another meaning.
        change(&PACK.replace("quantity >= 10", "quantity >= 100"), "1 changed (much)");
        append(&(item(4, 300, 50) + &item(5, 301, 200)));
        alerts(4);
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
        let lines = place.lines("alerts.ndjson");
        let says: Vec<&str> = lines.iter().map(|alert| alert["say"].as_str().unwrap()).collect();
        assert_eq!(says, ["15 at G0", "12 at G1", "now 14 at G2", "200 at G2"]);
        assert_eq!(lines[0]["pack_version"], lines[1]["pack_version"]);
        assert_ne!(lines[1]["pack_version"], lines[2]["pack_version"]);
        assert_eq!(lines[1]["rule_version"], lines[2]["rule_version"]);
        assert_ne!(lines[2]["rule_version"], lines[3]["rule_version"]);
    }
}

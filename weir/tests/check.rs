//! `weir check` and `weir explain`: every problem at once, each at its place.

mod common;

use common::{Place, text};

const GOOD_PACK: &str = "weir: 1
pack: p
owner: o
purposes:
  road: { legal_basis: act 2 }
lists:
  stolen: { kind: stolen_vehicle, from: stolen.csv, key: plate, purpose: road }
tests:
  - name: a plate that is not on the list is nothing
    rule: stolen-plate
    events: [{ at: 0s, vehicle: { plate: A12345 } }]
    expect: []
rules:
  - { id: stolen-plate, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: road }
";

const GOOD_CONFIG: &str = "weir: 1
population: 1000
packs: [pack.yaml]
sources:
  gates: { type: file, path: in.ndjson }
sinks:
  alerts: { type: file, path: alerts.ndjson, purposes: [road] }
";

const GOOD_LIST: &str = "plate,entry_id,expires\n陕A12345,E1,2099-01-01\n";

/// Messages of a check of these three files.
fn check(config: &str, pack: &str, list: &str) -> (Option<i32>, String) {
    let place = Place::new();
    place.write("weir.yaml", config).write("pack.yaml", pack).write("stolen.csv", list).write("in.ndjson", "");
    let output = place.weir(&["check", "weir.yaml"]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_good_configuration_passes() {
    let (code, said) = check(GOOD_CONFIG, GOOD_PACK, GOOD_LIST);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing to complain about"));
}

#[test]
fn every_mistake_is_told_in_one_run_at_its_place() {
    let pack = GOOD_PACK
        .replace("owner: o", "onwer: o")
        .replace("legal_basis: act 2", "legal_bases: act 2")
        .replace("key: plate", "key: plait")
        .replace("from: vehicle", "from: vehicel")
        .replace("}\n\"", "")
        + "  - { id: fast, kind: match, from: vehicle, where: \"speed_kmh > 'fast'\", purpose: road }\n";
    let place = Place::new();
    place.write("pack.yaml", &pack);
    let output = place.weir(&["check", "--json", "pack.yaml"]);
    let stdout = text(&output.stdout);
    let found: Vec<(String, u64, u64)> = stdout
        .lines()
        .map(|line| {
            let v: serde_json::Value = serde_json::from_str(line).unwrap();
            (v["code"].as_str().unwrap().to_owned(), v["line"].as_u64().unwrap(), v["column"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("WR0009", 1, 1),
        ("WR0007", 3, 1),
        ("WR0007", 5, 11),
        ("WR0215", 7, 74),
        ("WR0207", 7, 58),
        ("WR0206", 14, 48),
        ("WR0303", 15, 53),
    ];
    for (code, line, column) in expected {
        assert!(
            found.iter().any(|f| f.0 == code && f.1 == line && f.2 == column),
            "{code} at {line}:{column} in {found:?}"
        );
    }
    assert_eq!(output.status.code(), Some(2));
    let plain = text(&place.weir(&["check", "pack.yaml"]).stderr);
    for part in ["pack.yaml:15:53", "^^^^", "did you mean `vehicle`?", "did you mean `owner`?", "error[WR0303]"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
}

#[test]
fn what_a_configuration_gets_wrong_is_said_with_its_cure() {
    let cases = [
        (GOOD_CONFIG.replace("sinks:", "sinsk:"), "WR0007", "did you mean `sinks`?"),
        (GOOD_CONFIG.replace("pack.yaml", "nothing.yaml"), "WR0501", "nothing.yaml cannot be read"),
        (GOOD_CONFIG.replace("in.ndjson", "nothing.ndjson"), "WR0501", "source `gates`"),
        (
            GOOD_CONFIG.replace("type: file, path: in.ndjson", "type: tcp, address: 0.0.0.0:7000"),
            "WR0505",
            "not loopback",
        ),
        (GOOD_CONFIG.replace("path: in.ndjson", "path: in.ndjson, kind: persn"), "WR0206", "did you mean `person`?"),
        (GOOD_CONFIG.replace("path: in.ndjson", "path: in.ndjson, timezone: Mars/Olympus"), "WR0504", "Mars/Olympus"),
        (
            GOOD_CONFIG.replace("path: in.ndjson", "path: in.ndjson, fields: { SkinColor: text }"),
            "WR0101",
            "no setting allows it",
        ),
        (
            GOOD_CONFIG.replace("path: in.ndjson", "path: in.ndjson, fields: { a: text }, map: { site: b }"),
            "WR0207",
            "has no column `b`",
        ),
        (
            GOOD_CONFIG
                .replace("weir: 1\n", "weir: 1\nkinds: { drone: { columns: { pilot_age: { type: number } } } }\n"),
            "WR0101",
            "pilot_age",
        ),
        (GOOD_CONFIG.replace("weir: 1\n", "weir: 2\n"), "WR0012", "format version `2`"),
        (GOOD_CONFIG.replace("population", "limits: { memory: 1MiB }\npopulation"), "WR0010", "at least 64 MiB"),
        // A file waits.
        (GOOD_CONFIG.replace("path: in.ndjson", "path: in.ndjson, when_full: shed"), "WR0007", "when_full"),
        (
            GOOD_CONFIG.replace("type: file, path: in.ndjson", "type: tcp, address: 127.0.0.1:0, when_full: drop"),
            "WR0011",
            "shed",
        ),
        (GOOD_CONFIG.replace("population", "limits: { record_bytes: 1MB }\npopulation"), "WR0010", "write it as 64KiB"),
        (
            GOOD_CONFIG.replace("type: file, path: alerts.ndjson", "type: http, url: \"http://example.org\""),
            "WR0010",
            "https only",
        ),
    ];
    for (config, code, word) in cases {
        let (status, said) = check(&config, GOOD_PACK, GOOD_LIST);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(code) && said.contains(word), "{code} {word}: {said}");
    }
}

#[test]
fn lists_that_break_the_rules_are_refused() {
    let refused = [
        ("plate,entry_id\n陕A12345,E1\n", "column `expires` is missing"),
        ("plate,entry_id,expires,gender\n陕A12345,E1,2099-01-01,x\n", "protected attribute"),
        ("", "the list is empty"),
    ];
    for (list, word) in refused {
        let (_, said) = check(GOOD_CONFIG, GOOD_PACK, list);
        assert!(said.contains(word), "{word}: {said}");
    }
    let warned = [
        ("plate,entry_id,expires\n陕A12345,E1,2020-01-01\n", "no entry can match: 1 of 1 have expired"),
        (
            "plate,entry_id,expires\n陕A12345,E1,2099-01-01\n陕A12346,E1,2099-01-01\n陕A12347,E2,soon\n,E3,2099-01-01\n无车牌,E4,2099-01-01\n陕A1,E5,\n",
            "5 rows left out, the rest loaded; line 3: an entry with this `entry_id` came before",
        ),
    ];
    for (list, word) in warned {
        let (status, said) = check(GOOD_CONFIG, GOOD_PACK, list);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains(word), "{word}: {said}");
    }
    let (status, said) = check(GOOD_CONFIG, &GOOD_PACK.replace("legal_basis: act 2", "retention: 1d"), GOOD_LIST);
    assert_eq!(status, Some(2));
    assert!(said.contains("WR0215") && said.contains("list without legal basis"), "{said}");
    // Lists of persons: at most 0.5 % of the declared population, which must be declared.
    let warrants = GOOD_PACK
        .replace("stolen_vehicle", "warrant")
        .replace("plate", "person_id")
        .replace("from: vehicle", "from: person")
        .replace("vehicle: {", "person: {");
    let persons: String = std::iter::once("person_id,entry_id,expires\n".to_owned())
        .chain((0..6).map(|n| format!("N{n},E{n},2099-01-01\n")))
        .collect();
    let (status, said) = check(GOOD_CONFIG, &warrants, &persons);
    assert_eq!(status, Some(2));
    assert!(said.contains("names 6 of a population of 1000"), "{said}");
    let (status, said) = check(&GOOD_CONFIG.replace("population: 1000\n", ""), &warrants, &persons);
    assert_eq!(status, Some(2));
    assert!(said.contains("WR0502"), "{said}");
    let (status, said) = check(&GOOD_CONFIG.replace("1000", "2000"), &warrants, &persons);
    assert_eq!(status, Some(0));
    assert!(said.contains("0.30 % of the population"), "{said}");
}

#[test]
fn a_kind_of_ones_own_works_like_the_built_in_ones() {
    let place = Place::new();
    place.write("pack.yaml", "weir: 1\npack: p\nowner: o\npurposes: { air: { legal_basis: act 3 } }\nrules:\n  - { id: high, kind: match, from: drone, where: height_m > 120, purpose: air, say: \"{model} at {height_m} m\" }\n");
    place.write("weir.yaml", "weir: 1\nkinds:\n  drone:\n    columns:\n      model: { type: symbol }\n      height_m: { type: number, required: true, range: [0, 5000] }\npacks: [pack.yaml]\nsources: { radar: { type: file, path: in.ndjson } }\nsinks: { alerts: { type: file, path: alerts.ndjson, purposes: [air] } }\n");
    let drone = |id: usize, height: &str| {
        format!(
            "{{\"kind\":\"drone\",\"event_id\":\"{id}\",\"ts\":1795392000000,\"site\":\"s\",\"device\":\"d\",\"model\":\"m\",\"height_m\":{height}}}\n"
        )
    };
    place.write("in.ndjson", drone(1, "100") + &drone(2, "130.5") + &drone(3, "null") + &drone(4, "9000"));
    let summary = place.run(&[]);
    assert_eq!(summary["sources"]["radar"]["rejected"].as_u64(), Some(2));
    assert_eq!(place.lines("alerts.ndjson")[0]["say"], "m at 130.5 m");
}

#[test]
fn explain_tells_cause_and_cure() {
    let place = Place::new();
    let output = place.weir(&["explain", "wr0204"]);
    let said = text(&output.stdout);
    assert!(said.contains("health code joined with a list") && said.contains("Cure:"), "{said}");
    assert_eq!(place.weir(&["explain", "WR9999"]).status.code(), Some(2));
}

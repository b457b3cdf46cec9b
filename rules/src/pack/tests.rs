use super::*;
use crate::diagnostic::{Diagnostics, SourceFile, Style, render};
use crate::schema::Catalog;

fn check(text: &str) -> (Option<Pack>, Diagnostics) {
    let mut diagnostics = Diagnostics::new();
    let pack = parse(&SourceFile::new("pack.yaml", text), &Catalog::builtin(), &mut diagnostics);
    diagnostics.sort();
    (pack, diagnostics)
}

fn codes(text: &str) -> Vec<&'static str> {
    check(text).1.iter().map(|found| found.code.id).collect()
}

const HEAD: &str = "weir: 1\npack: p\nowner: o\npurposes:\n  safety: { legal_basis: act 1 }\n  road: { legal_basis: act 2 }\n  nothing: {}\n";

fn rule(rest: &str) -> Vec<&'static str> {
    codes(&format!("{HEAD}rules:\n  - {{ id: r, purpose: safety, {rest} }}\n"))
        .into_iter()
        .filter(|code| *code != "WR0217")
        .collect()
}

/// The pack of DESIGN.md 5, but for its tests, which this version keeps and does not run.
const DESIGN_PACK: &str = r#"weir: 1
pack: city-gates
owner: duty-analysts
purposes:
  road_safety:  { legal_basis: "road traffic act s.12", retention: 30d, reviewers: [duty-officer] }
  crowd_safety: { legal_basis: "public safety order 3", retention: 7d }
lists:
  stolen_plates:
    kind: stolen_vehicle
    from: lists/stolen_plates.csv        # key column, entry_id, expires, severity, ...
    key: plate
    purpose: road_safety
    max_age: 24h
    when_stale: degrade                  # degrade | stop | ignore
rules:
  - id: stolen-plate
    kind: watchlist
    from: vehicle
    on: plate
    list: stolen_plates
    where: confidence >= 0.85
    purpose: road_safety
    severity: high
    review: required
    dedupe: { key: [plate, site], for: 10m }
    say: "Plate {plate} ({hit.grade}) on {hit.list} at {site}, entry {hit.entry_id}"
  - id: square-overload
    kind: window
    from: person
    key: [zone]
    measure: distinct(person_id)
    per: area
    window: { last: 60s, every: 5s }
    lateness: 5s
    levels:
      - { name: busy,     enter: 2.5, for: 30s, exit: 2.0, exit_for: 60s, severity: medium }
      - { name: overload, enter: 4.0, for: 10s, exit: 3.2, exit_for: 60s, severity: critical }
    when_silent: { after: 20s, do: alert }
    purpose: crowd_safety
    review: none
    route: [ticketing]
    say: "{zone}: {value} people/m2, level {level}"
"#;

#[test]
fn the_pack_of_the_design_parses() {
    let (pack, diagnostics) = check(DESIGN_PACK);
    let codes: Vec<&str> = diagnostics.iter().map(|found| found.code.id).collect();
    assert_eq!(codes, ["WR0225"]);
    let pack = pack.unwrap();
    let Body::Window(spec) = &pack.rules[1].body else { panic!("a window rule") };
    assert_eq!((spec.levels[0].enter_windows, spec.levels[0].exit_windows), (6, 12));
    assert_eq!(spec.pane_ms(), 5_000);
    assert_eq!(pack.rules[0].alerting.review, Review::Required);
}

#[test]
fn version_follows_meaning_and_not_spelling() {
    let version = |text: &str| check(text).0.unwrap().rules[0].version.clone();
    let other_spelling = DESIGN_PACK.replace("where: confidence >= 0.85", "where: [\"(confidence>=0.85)\"]  # sure");
    assert_eq!(version(DESIGN_PACK), version(&other_spelling));
    assert_ne!(version(DESIGN_PACK), version(&DESIGN_PACK.replace("0.85", "0.9")));
}

#[test]
fn five_mistakes_are_five_messages() {
    let text = DESIGN_PACK
        .replace("kind: stolen_vehicle", "kind: stolen_vehicles")
        .replace("where: confidence >= 0.85", "where: confidense >= 0.85")
        .replace("enter: 4.0", "enter: 2.0")
        .replace("review: none", "reveiw: none")
        .replace("{value} people", "{val} people");
    let rendered: Vec<String> =
        check(&text).1.iter().filter(|d| d.code.id != "WR0225").map(|d| render(d, Style::Plain)).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}

#[test]
fn what_design_1_refuses_does_not_compile() {
    // A list needs a legal basis.
    let list = |kind: &str, key: &str, purpose: &str| {
        format!("{HEAD}lists:\n  l: {{ kind: {kind}, from: l.csv, key: {key}, purpose: {purpose} }}\n")
    };
    let with_rule = |list: String, rule: &str| codes(&format!("{list}rules:\n  - {{ id: r, {rule} }}\n"));
    let on_plate = "kind: watchlist, from: vehicle, on: plate, list: l, purpose: road";
    assert_eq!(with_rule(list("stolen_vehicle", "plate", "nothing"), on_plate), ["WR0215", "WR0203"]);
    // Purposes must meet.
    assert_eq!(with_rule(list("stolen_vehicle", "plate", "safety"), on_plate), ["WR0203"]);
    // The list kinds are closed.
    assert_eq!(with_rule(list("people_we_dislike", "plate", "road"), on_plate), ["WR0011"]);
    // A health code meets revoked credentials only.
    let on_holder = "kind: watchlist, from: code, on: holder, list: l, purpose: road";
    assert_eq!(with_rule(list("warrant", "person_id", "road"), on_holder), ["WR0204"]);
    assert_eq!(
        with_rule(list("revoked_credential", "holder", "road"), on_holder).iter().filter(|c| **c != "WR0217").count(),
        0
    );
    // Protected attributes are refused in list keys.
    assert_eq!(with_rule(list("warrant", "ethnicity", "road"), on_plate)[0], "WR0101");
    // A person decides.
    assert_eq!(
        rule("kind: match, from: id, where: decision = 'refuse', say: '{doc_number}', review: none"),
        ["WR0205"]
    );
    // Nobody's movements are followed.
    assert_eq!(
        rule("kind: window, from: vehicle, key: [plate], measure: reads, window: { every: 1m }, emit: windows"),
        ["WR0211"]
    );
    // No list of everybody who passes.
    assert_eq!(rule("kind: match, from: vehicle, say: '{plate}'"), ["WR0226"]);
    assert_eq!(rule("kind: match, from: vehicle, where: plate is not null, say: '{plate}'"), ["WR0226"]);
    assert_eq!(rule("kind: match, from: vehicle, where: speed_kmh > 150, say: '{plate}'"), [""; 0]);
    // A condition on an identifier is a hidden watchlist.
    assert_eq!(rule("kind: match, from: vehicle, where: \"plate like '陕A%'\""), ["WR0307"]);
    assert_eq!(rule("kind: match, from: vehicle, where: \"length(plate) = 7\""), ["WR0307"]);
    assert_ne!(rule("kind: match, from: vehicle, where: \"vehicle.plate = 'x'\""), [""; 0]);
}

#[test]
fn mistakes_have_their_codes() {
    assert_eq!(rule("kind: match, from: persn"), ["WR0206"]);
    assert_eq!(rule("kind: matches, from: person"), ["WR0011"]);
    assert_eq!(rule("kind: sequence, from: person"), ["WR0210"]);
    assert_eq!(rule("kind: match, from: person, dedupe: { key: [sit], for: 1m }"), ["WR0207"]);
    assert_eq!(rule("kind: match, from: person, dedupe: { key: [site] }"), ["WR0009"]);
    assert_eq!(rule("kind: match, from: person, say: '{zone} {nothing'"), ["WR0010"]);
    assert_eq!(rule("kind: watchlist, from: person, on: person_id, list: l"), ["WR0202"]);
    let window = |rest: &str| rule(&format!("kind: window, from: person, emit: windows, {rest}"));
    assert_eq!(window("key: [zone], measure: mean(x), window: { every: 1m }"), ["WR0212"]);
    assert_eq!(window("key: [zone], measure: sum(zone), window: { every: 1m }"), ["WR0212"]);
    assert_eq!(window("key: [zone], measure: count, window: { last: 1s, every: 1m }"), ["WR0213"]);
    assert_eq!(window("key: [zone], measure: count, window: { last: 1d, every: 1s }"), ["WR0213"]);
    assert_eq!(window("key: [site], measure: count, per: area, window: { every: 1m }"), ["WR0213"]);
    assert_eq!(
        window("key: [zone], measure: count, window: { every: 1m }, levels: [{ name: a, enter: 1, exit: 2 }]"),
        ["WR0209"]
    );
    assert_eq!(window("key: [zone], measure: count, window: { every: 1s }"), ["WR0219"]);
    assert_eq!(window("key: [zone], measure: count, window: { every: 1m }"), [""; 0]);
}

#[test]
fn the_environment_is_checked() {
    let (pack, _) = check(DESIGN_PACK);
    let pack = pack.unwrap();
    let sink =
        |name: &str, purpose: &str, actuator| SinkFacts { name: name.into(), purposes: vec![purpose.into()], actuator };
    let codes = |environment: &Environment| {
        let mut diagnostics = Diagnostics::new();
        check_environment(&pack, environment, &mut diagnostics);
        diagnostics.iter().map(|found| found.code.id).collect::<Vec<_>>()
    };
    let good = Environment {
        sinks: vec![sink("post", "road_safety", false), sink("ticketing", "crowd_safety", true)],
        zones_have_area: true,
        ..Environment::default()
    };
    assert_eq!(codes(&good), [""; 0]);
    let bad = Environment {
        sinks: vec![sink("gate", "road_safety", true), sink("ticketin", "crowd_safety", true)],
        ..Environment::default()
    };
    assert_eq!(codes(&bad), ["WR0223", "WR0220", "WR0224"]);
}

proptest::proptest! {
    /// Mutated packs give diagnostics, never a panic, and every place lies in the text.
    #[test]
    fn mutated_packs_never_panic(at in 0..DESIGN_PACK.len(), len in 0_usize..12, insert in "[a-z{}:\\[\\]'\"&*!\\- \n0-9人]{0,6}") {
        let mut text = DESIGN_PACK.to_owned();
        let start = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap();
        let end = (start + len..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
        text.replace_range(start..end, &insert);
        for diagnostic in check(&text).1.iter() {
            proptest::prop_assert!(text.get(diagnostic.span.clone()).is_some(), "{:?}", diagnostic.span);
            render(diagnostic, Style::Plain);
        }
    }
}

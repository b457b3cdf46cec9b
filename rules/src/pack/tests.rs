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
        .filter(|code| !["WR0217", "WR0233"].contains(code))
        .collect()
}

/// The pack of DESIGN.md 5, word for word.
const DESIGN_PACK: &str = include_str!("../../../testdata/design-5.yaml");

#[test]
fn the_pack_of_the_design_parses() {
    let (pack, diagnostics) = check(DESIGN_PACK);
    let codes: Vec<&str> = diagnostics.iter().map(|found| found.code.id).collect();
    // The square has no test; nothing else.
    assert_eq!(codes, ["WR0233"]);
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
        check(&text).1.iter().filter(|d| !["WR0233"].contains(&d.code.id)).map(|d| render(d, Style::Plain)).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}

#[test]
fn what_design_1_refuses_does_not_compile() {
    // A list needs a legal basis.
    let list = |kind: &str, key: &str, purpose: &str| {
        format!("{HEAD}lists:\n  l: {{ kind: {kind}, from: l.csv, key: {key}, purpose: {purpose} }}\n")
    };
    let with_rule = |list: String, rule: &str| -> Vec<&str> {
        let codes = codes(&format!("{list}rules:\n  - {{ id: r, {rule} }}\n"));
        codes.into_iter().filter(|code| *code != "WR0233").collect()
    };
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
    assert_eq!(rule("kind: sequence, from: person"), ["WR0009", "WR0009", "WR0009"]);
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
    let sink = |name: &str, purpose: &str, actuator| SinkFacts {
        name: name.into(),
        purposes: vec![purpose.into()],
        actuator,
        reviewers: false,
    };
    let codes = |environment: &Environment| {
        let mut diagnostics = Diagnostics::new();
        check_environment(&pack, environment, &mut diagnostics);
        diagnostics.iter().map(|found| found.code.id).collect::<Vec<_>>()
    };
    let good = Environment {
        sinks: vec![sink("post", "road_safety", false), sink("ticketing", "crowd_safety", true)],
        zones: vec![ZoneFacts { id: "square".into(), area_m2: Some(100.0), ..ZoneFacts::default() }],
        ..Environment::default()
    };
    assert_eq!(codes(&good), [""; 0]);
    let bad = Environment {
        sinks: vec![sink("gate", "road_safety", true), sink("ticketin", "crowd_safety", true)],
        ..Environment::default()
    };
    assert_eq!(codes(&bad), ["WR0223", "WR0220", "WR0224"]);
}

/// Kinds of an integrator may have columns of these names that are something else.
#[test]
fn flows_need_a_direction_that_is_a_symbol() {
    let kinds = SourceFile::new(
        "kinds.yaml",
        "parcel:\n  columns:\n    direction: { type: text }\n    total: { type: number }\n".to_owned(),
    );
    let (mut catalog, mut diagnostics) = (Catalog::builtin(), Diagnostics::new());
    let node = crate::yaml::parse(&kinds, &mut diagnostics).unwrap();
    crate::schema::parse_kinds(&kinds, &node, &mut catalog, &mut diagnostics);
    assert!(!diagnostics.has_errors());
    let pack = "weir: 1\npack: p\nowner: o\npurposes: { s: { legal_basis: act 1 } }\nrules:\n  - { id: a, kind: window, from: parcel, key: [zone], measure: inflow, window: { every: 1m }, purpose: s, emit: windows }\n  - { id: b, kind: window, from: parcel, key: [zone], measure: count, window: { every: 1m }, purpose: s, emit: windows }\n";
    let _ = parse(&SourceFile::new("pack.yaml", pack.to_owned()), &catalog, &mut diagnostics);
    let codes: Vec<&str> = diagnostics.iter().map(|found| found.code.id).filter(|code| *code != "WR0233").collect();
    assert_eq!(codes, ["WR0212"]);
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

#[test]
fn nobody_is_followed() {
    let steps = "steps: [decision = 'refuse', decision = 'pass'], within: 10m";
    let sequence = |rest: &str| rule(&format!("kind: sequence, from: id, {rest}"));
    assert_eq!(sequence(&format!("key: [doc_number], {steps}")), ["WR0227"]);
    assert_eq!(sequence(&format!("key: [site, doc_number], {steps}")), [""; 0]);
    // What waits keeps pseudonyms, and so must its text; and a key that identifies needs a person to decide.
    assert_eq!(sequence(&format!("key: [site, doc_number], {steps}, say: '{{doc_number}}'")), ["WR0230"]);
    assert_eq!(sequence(&format!("key: [site, doc_number], {steps}, review: none")), ["WR0205"]);
    assert_eq!(sequence(&format!("key: [site], {steps}, say: '{{site}} {{took}}'")), [""; 0]);
    assert_eq!(sequence("key: [site], steps: [decision = 'pass'], within: 1m"), ["WR0228"]);
    assert_eq!(sequence(&format!("key: [site, ts], {steps}")), ["WR0211"]);
    let absence = |rest: &str| rule(&format!("kind: absence, from: vehicle, within: 1h, {rest}"));
    assert_eq!(absence("key: [plate], after: direction = 'in', expect: direction = 'out'"), ["WR0227"]);
    assert_eq!(absence("key: [site, plate], after: direction = 'in', expect: direction = 'out'"), [""; 0]);
    assert_eq!(absence("key: [site], after: direction = 'in'"), ["WR0009"]);
    // Started by a hit, and only what starts it may look something up.
    let list = "lists:\n  l: { kind: stolen_vehicle, from: l.csv, key: plate, purpose: road }\n";
    let started = |after: &str, expect: &str| {
        codes(&format!(
            "{HEAD}{list}rules:\n  - {{ id: r, purpose: road, kind: absence, from: vehicle, key: [plate], within: 1h, after: {after}, expect: {expect} }}\n"
        ))
        .into_iter()
        .filter(|code| !["WR0217", "WR0233"].contains(code))
        .collect::<Vec<_>>()
    };
    assert_eq!(started("{ on: plate, list: l }", "direction = 'out'"), [""; 0]);
    assert_eq!(started("{ where: direction = 'in' }", "{ on: plate, list: l }"), ["WR0227", "WR0228"]);
}

#[test]
fn conditions_that_say_nothing_are_told() {
    let of = |condition: &str| rule(&format!("kind: match, from: vehicle, where: {condition}"));
    assert_eq!(of("confidence > 1.5"), ["WR0309"]);
    assert_eq!(of("confidence >= 0"), ["WR0310"]);
    assert_eq!(of("[speed_kmh > 100, speed_kmh < 50]"), ["WR0309"]);
    assert_eq!(of("[speed_kmh > 100, speed_kmh < 150]"), [""; 0]);
    assert_eq!(of("1 = 1"), ["WR0310"]);
    assert_eq!(of("site is null"), ["WR0309"]);
    assert_eq!(of("[site = 'a', \"site in ('b', 'c')\"]"), ["WR0309"]);
    assert_eq!(rule("kind: match, from: code, where: status = 'rot'"), ["WR0309"]);
    assert_eq!(rule("kind: match, from: code, where: \"status in ('red', 'yellow')\""), [""; 0]);
}

#[test]
fn names_stand_for_expressions() {
    let lets = "let:\n  sure: confidence >= 0.85\n  fast_and_sure: speed_kmh > 120 and sure\n";
    let of = |lets: &str, condition: &str| {
        let text = format!(
            "{HEAD}{lets}rules:\n  - {{ id: r, purpose: safety, kind: match, from: vehicle, where: {condition} }}\n"
        );
        check(&text)
    };
    let (pack, _) = of(lets, "fast_and_sure or lane = '1'");
    let (spelled_out, _) = of("", "(speed_kmh > 120 and (confidence >= 0.85)) or lane = '1'");
    assert_eq!(pack.unwrap().rules[0].version, spelled_out.unwrap().rules[0].version);
    let codes = |lets: &str, condition: &str| {
        let codes: Vec<&str> = of(lets, condition).1.iter().map(|found| found.code.id).collect();
        codes.into_iter().filter(|code| !["WR0233", "WR0217"].contains(code)).collect::<Vec<_>>()
    };
    assert_eq!(codes("let:\n  site: lane = '1'\n", "lane = '1'"), ["WR0229"]);
    assert_eq!(codes("let:\n  bad: lane ==\n", "lane = '1'"), ["WR0301"]);
    assert_eq!(codes("let:\n  bad: nothing > 1\n", "bad"), ["WR0207"]);
    // A name is no way round the refusals.
    assert_eq!(codes("let:\n  him: plate = 'x'\n", "him"), ["WR0307"]);
    assert_eq!(codes("let:\n  known: plate is not null\n  him: plate = 'x' and known\n", "him"), ["WR0307"]);
    // Growth is bounded.
    let mut bomb = "let:\n  a0: lane = '1'\n".to_owned();
    (1..30).for_each(|n| bomb.push_str(&format!("  a{n}: a{} or a{}\n", n - 1, n - 1)));
    assert!(codes(&bomb, "a29").contains(&"WR0229"));
}

#[test]
fn twins_and_shadows_are_told() {
    let two = |first: &str, second: &str| {
        let of =
            |id: &str, rest: &str| format!("  - {{ id: {id}, purpose: safety, kind: match, from: item, {rest} }}\n");
        let codes = codes(&format!("{HEAD}rules:\n{}{}", of("a", first), of("b", second)));
        codes.into_iter().filter(|code| !["WR0233", "WR0217"].contains(code)).collect::<Vec<_>>()
    };
    assert_eq!(two("where: quantity > 1", "where: (quantity>1.0)"), ["WR0231"]);
    assert_eq!(two("where: quantity > 1", "where: [\"unit = 'kg'\", quantity > 1]"), ["WR0232"]);
    assert_eq!(two("where: quantity > 1", "severity: high, where: [\"unit = 'kg'\", quantity > 1]"), [""; 0]);
    assert_eq!(two("where: quantity > 1", "where: quantity > 2"), [""; 0]);
}

#[test]
fn a_pack_may_be_split_over_files() {
    let part = |name: &str, text: &str| SourceFile::new(name, text);
    let root = "weir: 1\npack: p\nowner: o\npurposes: { safety: { legal_basis: act 1 } }\ninclude: [a.yaml, b.yaml]\n";
    let a = "weir: 1\nlet: { much: quantity > 10 }\ntests:\n  - { name: t, rule: r, events: [{ at: 0s, item: { item_class: knife, quantity: 11 } }], expect: [{ at: 0s }] }\n";
    let b = "weir: 1\nrules:\n  - { id: r, purpose: safety, kind: match, from: item, where: much }\n";
    let read = |root: &str, b: &str| {
        let mut diagnostics = Diagnostics::new();
        let mut fetch = |path: &str| match path {
            "a.yaml" => Ok(part("a.yaml", a)),
            "b.yaml" => Ok(part("b.yaml", b)),
            _ => Err("not there".to_owned()),
        };
        let pack = parse_files(&part("pack.yaml", root), &Catalog::builtin(), &mut fetch, &mut diagnostics);
        let found: Vec<(String, &str)> =
            diagnostics.iter().map(|found| (found.file.name.clone(), found.code.id)).collect();
        (pack.unwrap(), found)
    };
    let (pack, found) = read(root, b);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!((pack.rules.len(), pack.tests.len(), pack.rules[0].file.name.as_str()), (1, 1, "b.yaml"));
    let (other, found) = read(root, &b.replace("much", "mush"));
    assert_eq!(found, [("b.yaml".to_owned(), "WR0207")]);
    assert_ne!(pack.version, other.version);
    for include in ["../a.yaml", "/etc/passwd", "x/../../a.yaml", "nothing.yaml"] {
        let (_, found) = read(&root.replace("b.yaml", include), b);
        assert!(found.iter().any(|(file, code)| file == "pack.yaml" && *code == "WR0235"), "{include}: {found:?}");
    }
}

#[test]
fn fixes_mend_slips_and_only_slips() {
    let text = DESIGN_PACK
        .replace("review: none", "reveiw: none")
        .replace("severity: high\n", "severity: hihg\n")
        .replace("where: confidence", "where: confidense");
    let (_, diagnostics) = check(&text);
    let fixed = diagnostics.fixed();
    assert_eq!((fixed.len(), fixed[0].2), (1, 2));
    assert_eq!(fixed[0].1, DESIGN_PACK.replace("where: confidence", "where: confidense"));
}

/// Whatever key the parser asks for stands in the JSON Schema, with a sentence.
#[test]
fn the_schema_knows_every_key() {
    let schema = json_schema();
    let defs = schema["$defs"].as_object().unwrap();
    for (name, def) in defs.iter().chain(std::iter::once((&"the pack".to_owned(), &schema))) {
        for (key, property) in def["properties"].as_object().into_iter().flatten() {
            let told = property["description"].is_string() || key == "kind";
            assert!(told, "{name}.{key} has no description");
        }
    }
    let keys = |pointer: &str| -> Vec<&str> {
        schema
            .pointer(pointer)
            .and_then(|it| it.as_object())
            .map_or_else(Vec::new, |it| it.keys().map(String::as_str).collect())
    };
    // An unknown key makes the parser list the keys it knows.
    let known = |text: &str| -> Vec<String> {
        let (_, diagnostics) = check(text);
        let help =
            diagnostics.iter().find(|found| found.code.id == "WR0007").and_then(|found| found.help.clone()).unwrap();
        help.trim_start_matches("known keys: ").split(", ").map(str::to_owned).collect()
    };
    for key in known(&format!("{HEAD}rules: []\nxyzzy: 1\n")) {
        assert!(keys("/properties").contains(&key.as_str()), "{key}");
    }
    // Words out of a closed set stand in the schema exactly as the parser takes them.
    let words = |name: &str| -> Vec<String> {
        let def = &schema["$defs"][name];
        let plain = def["enum"].as_array().cloned().unwrap_or_default();
        let told = def["oneOf"].as_array().into_iter().flatten().map(|it| it["const"].clone());
        plain.into_iter().chain(told).filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    assert_eq!(words("ListKindDoc"), ListKind::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    assert_eq!(words("SeverityDoc"), RuleSeverity::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    assert_eq!(words("ReviewDoc"), Review::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    assert_eq!(words("StatusDoc"), Status::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    let variants = schema["$defs"]["RuleDoc"]["oneOf"].as_array().unwrap();
    for kind in ["match", "watchlist", "window", "sequence", "absence"] {
        let of_kind = variants.iter().find(|it| it["properties"]["kind"]["const"] == kind).unwrap();
        let reference = of_kind["$ref"].as_str().map(|it| it.trim_start_matches('#').to_owned());
        let mut properties: Vec<&str> = of_kind["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        if let Some(reference) = &reference {
            properties.extend(keys(&format!("{reference}/properties")));
        }
        for key in known(&format!("{HEAD}rules:\n  - {{ kind: {kind}, xyzzy: 1 }}\n")) {
            assert!(properties.contains(&key.as_str()), "{kind}: {key} in {properties:?}");
        }
    }
}

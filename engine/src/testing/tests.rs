//! A pack with each of the five kinds, green five ways, and red as soon as an operator is wrong.

use weir_rules::{Catalog, Diagnostics, Pack, Severity, SourceFile, pack};

use super::sabotage::{Wrong, with};
use super::{Way, run_test};

fn parse(text: &str) -> Pack {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", text), &Catalog::builtin(), &mut diagnostics);
    let errors: Vec<String> = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| format!("{} {}", found.code.id, found.message))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    pack.unwrap()
}

/// Names of the tests that fail, and the way each failed first.
fn failing(pack: &Pack) -> Vec<(String, Way)> {
    let catalog = Catalog::builtin();
    pack.tests
        .iter()
        .filter_map(|test| {
            let result = run_test(&catalog, pack, test).unwrap_or_else(|error| panic!("{}: {error}", test.name));
            let failure = result.failure?;
            Some((test.name.clone(), failure.way))
        })
        .collect()
}

const FIVE_KINDS: &str = include_str!("../../../examples/kinds/pack.yaml");

#[test]
fn each_kind_is_green_five_ways() {
    let pack = parse(FIVE_KINDS);
    let kinds: std::collections::BTreeSet<&str> = pack.rules.iter().map(|rule| rule.body.word()).collect();
    assert_eq!(kinds.len(), 5);
    let catalog = Catalog::builtin();
    for test in &pack.tests {
        let result = run_test(&catalog, &pack, test).unwrap_or_else(|error| panic!("{}: {error}", test.name));
        assert!(result.failure.is_none(), "{}: {:#?}", test.name, result.failure);
    }
}

#[test]
fn a_wrong_operator_turns_them_red() {
    let pack = parse(FIVE_KINDS);
    let red = |wrong: Wrong| with(wrong, || failing(&pack));
    let cases = [
        (Wrong::OrderIgnored, "sequence"),
        (Wrong::ExpectIgnored, "absence"),
        (Wrong::FirstPaneDropped, "window"),
        (Wrong::ExpiryIgnored, "watchlist"),
        (Wrong::RepeatsToldAgain, "match"),
    ];
    for (wrong, kind) in cases {
        let red = red(wrong);
        let of_kind = |name: &str| {
            let test = pack.tests.iter().find(|test| test.name == name).unwrap();
            pack.rules.iter().any(|rule| test.rules.contains(&rule.id) && rule.body.word() == kind)
        };
        assert!(red.iter().any(|(name, _)| of_kind(name)), "{wrong:?} is not seen by a test of a {kind} rule: {red:?}");
    }
    assert!(failing(&pack).is_empty(), "nothing is wrong any more");
}

#[test]
fn each_way_sees_what_only_it_can_see() {
    let pack = parse(FIVE_KINDS);
    let lost = with(Wrong::StateLost, || failing(&pack));
    assert!(!lost.is_empty() && lost.iter().all(|(_, way)| *way == Way::Checkpoints), "{lost:?}");
    let arrival = with(Wrong::ArrivalOrder, || failing(&pack));
    assert!(arrival.iter().any(|(_, way)| matches!(way, Way::Shuffled(_))), "{arrival:?}");
}

use super::*;
use crate::Catalog;

fn scope(kind: &str) -> Scope {
    let catalog = Catalog::builtin();
    let kind = catalog.kind(kind).unwrap();
    Scope {
        schema: kind.arrow_schema(),
        identifiers: kind
            .columns
            .iter()
            .filter(|column| column.identifies != crate::schema::Identifies::Nothing)
            .map(|column| column.name.clone())
            .collect(),
        what: kind.name.clone(),
        macros: Arc::default(),
    }
}

fn problems(kind: &str, sql: &str) -> Vec<(&'static str, String)> {
    match compile_condition(sql, &scope(kind)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|p| (p.code.id, sql[p.range].to_owned())).collect(),
    }
}

#[test]
fn good_conditions_compile() {
    for sql in [
        "confidence >= 0.85",
        "confidence >= 0.85 and speed_kmh between 10 and 120",
        "vehicle_class in ('truck', 'bus') or plate_color = 'yellow'",
        "plate is null",
        "lower(site) like 'by-%'",
        "ts >= '2026-11-23T08:00:00Z'",
        "extract(hour from ts) between 22 and 23",
        "coalesce(speed_kmh, 0) > 100",
        "zone = 'square' and true",
        "cast(lane as int) > 2",
        "case lane when '2' then speed_kmh > 80 when '3' then speed_kmh > 100 else plate is null end",
        "case when lane = '2' then 1 else 2 end = 1",
        "(confidence > 0.5) is not true",
        "site is distinct from 'BY-07'",
    ] {
        assert_eq!(problems("vehicle", sql), [], "{sql}");
    }
}

#[test]
fn every_mistake_is_pointed_at() {
    assert_eq!(
        problems("vehicle", "confidense > 0.5 and sped_kmh < 3"),
        [("WR0207", "confidense".to_owned()), ("WR0207", "sped_kmh".to_owned())]
    );
    assert_eq!(
        problems("vehicle", "site = 'A' and confidence = 'high'"),
        [("WR0303", "confidence = 'high'".to_owned())]
    );
    for inside in [
        "case when lane > 2 then true else false end",
        "case when true then lane > 2 end",
        "case when true then true else lane > 2 end",
        "coalesce(lane > 2, false)",
        "(lane > 2) is true",
        "cast(lane > 2 as boolean)",
    ] {
        assert_eq!(problems("vehicle", inside), [("WR0303", "lane > 2".to_owned())], "{inside}");
    }
    assert_eq!(problems("vehicle", "lane is distinct from 2")[0].0, "WR0303");
    assert_eq!(problems("vehicle", "case lane when 2 then true end")[0].0, "WR0303");
    assert_eq!(problems("vehicle", "plate = '陕A12345'"), [("WR0307", "plate".to_owned())]);
    assert_eq!(problems("vehicle", "speed_kmh + 1"), [("WR0304", "speed_kmh + 1".to_owned())]);
    assert_eq!(problems("vehicle", "ts > now()"), [("WR0305", "now".to_owned())]);
    assert_eq!(problems("vehicle", "random() < 0.5"), [("WR0305", "random".to_owned())]);
    assert_eq!(problems("vehicle", "count(*) > 3"), [("WR0306", "count".to_owned())]);
    assert_eq!(problems("vehicle", "speed_kmh >"), [("WR0301", "speed_kmh >".to_owned())]);
    assert_eq!(problems("vehicle", "speed_kmh > 3 site")[0].0, "WR0301");
    assert_eq!(problems("vehicle", "exists (select 1)")[0].0, "WR0306");
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    let deep = format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(problems("vehicle", &deep)[0].0, "WR0301");
}

#[test]
fn meaning_ignores_spelling() {
    let meaning = |sql| compile_condition(sql, &scope("vehicle")).unwrap().meaning();
    assert_eq!(meaning("speed_kmh>3"), meaning("(speed_kmh   > 3.0)"));
    assert_ne!(meaning("speed_kmh>3"), meaning("speed_kmh>=3"));
}

/// The parser tries a chain of names before a bracket in several ways, and each of them tries what is in the bracket: five of them in
/// each other took it half a minute, nine more than an hour (found by the fuzz target `rules_eval`).
#[test]
fn brackets_in_brackets_are_refused_before_they_are_tried() {
    let started = std::time::Instant::now();
    let deep = "a.b.c.d.e.f[".repeat(40);
    let found = problems("vehicle", &format!("{deep}x like"));
    assert_eq!((found.len(), found[0].0), (1, "WR0301"));
    for names in [2, 3, 4, 10, 20, 40, 100, 400, 2_000] {
        let wide = "a.".repeat(names);
        assert_eq!(problems("vehicle", &format!("{wide}b[{wide}c[d like")).len(), 1, "{names} names");
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    // A text is no bracket, and one behind the other is not in it.
    assert_eq!(problems("vehicle", "site like '[[[[[[['"), []);
    assert_eq!(problems("vehicle", "array_has(['A', 'B'], site) or array_has(['C'], site)"), []);
}

/// What can be begun again and again, as deep as it goes, and ends in the middle: the parser tries it in all ways it knows.
#[test]
fn nothing_that_is_unfinished_takes_long() {
    for unit in [
        "a.b[",
        "a[",
        "a.b(",
        "f(",
        "(",
        "case when a then ",
        "not ",
        "[",
        "{",
        "cast(",
        "interval ",
        "a in (",
        "a between ",
        "array[",
        "struct(",
        "exists(",
        "a::",
        "{d ",
        "a -> ",
        "position(a in ",
        "extract(hour from ",
        "substring(a from ",
        "trim(both from ",
        "ceil(",
        "x.y.z.",
        "date '",
        "a(",
        "a.b.c(",
        "map{",
        "array(",
        "row(",
        "(a,",
        "(select ",
        "overlay(a placing ",
        "nullif(",
        "a over (",
        "a filter (where ",
        "convert(",
        "try_cast(",
        "all(",
        "a = any(",
        "timestamp ",
        "- ",
        "a collate ",
        "match (",
        "prior ",
        "struct<a ",
        "a.*.",
        "a.b.c.d(",
        "(a.b.c.d",
        "a.b.c.d::",
        "a.b.c.d + (",
        "a.b.c.d in (",
        "f(a.b.c.d, ",
        "{a.b.c.d",
        "case a.b.c.d when ",
        "cast(a.b.c.d as ",
        "a[b.c.d, ",
        "a.f(b).g(c).h(",
        "a.f(b)[",
        "a.'b'.c[",
        "-a.b.c.d[",
        "a.b.c[d:",
        "a.b.c[:",
        "a.b(c)[",
        "(a.b.c.d)[",
        "a.b[c].d[",
        "a.b.c.d[e].",
        "a.b[c].d(",
        "a.b[c].d[e].f.g[h].",
        "a.b.c.d[e.f.g.h[i].j].",
        "a[(b[",
        "a.b.c.d[(",
        "(a.b.c.d[e.f.g.h[i]]",
        "a[b](",
    ] {
        for depth in [2, 4, 8, 10, 12, 13, 24, 48] {
            let sql = format!("{}x like", unit.repeat(depth));
            let started = std::time::Instant::now();
            assert!(parse(&sql).is_err(), "{sql}");
            assert!(started.elapsed().as_millis() < 1_000, "{unit} {depth} times: {:?}", started.elapsed());
        }
    }
}

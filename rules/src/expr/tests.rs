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

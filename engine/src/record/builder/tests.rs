use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_rules::schema::Catalog;

use super::super::{Cause, One};
use super::*;
use crate::limits::Limits;

/// The fields of several records of one kind.
struct Records<'a>(&'a [Vec<Field<'static>>]);

impl<'a> Offered<'a> for Records<'_> {
    fn column(&self, column: usize) -> impl Fn(usize) -> Field<'a> {
        move |record| self.0[record][column]
    }
}

const VALUES: [Field<'static>; 14] = [
    Field::Missing,
    Field::Text(""),
    Field::Text("2025-11-23T08:00:00Z"),
    Field::Text("2025-11-23T08:00:07.250Z"),
    Field::Text("2025-11-23"),
    Field::Text("京A12345"),
    Field::Text("a;b; ;a"),
    Field::Text("red"),
    Field::Escaped("x\\u0041"),
    Field::Number("7"),
    Field::Number("-1e9"),
    Field::Truth(true),
    Field::Json("[\"a\",\"c\"]"),
    Field::Json("{}"),
];

/// Builders of a kind all of whose columns are read, and their symbols.
fn builder(kind: &str) -> (KindBuilder, SymbolCaches) {
    let catalog = Catalog::builtin();
    let read: BTreeMap<String, BTreeSet<String>> = catalog
        .kinds()
        .iter()
        .map(|kind| (kind.name.clone(), kind.columns.iter().map(|column| column.name.clone()).collect()))
        .collect();
    let mut layouts = Layouts::new(&catalog, &read, &Limits::default());
    let zone = |name| layouts.symbols["zone"].intern(name).unwrap();
    let (a, whole) = (zone("a"), zone("whole"));
    assert_eq!(layouts.symbols["source"].intern("gate"), Some(origin().source_symbol));
    layouts.wholes = Arc::new(std::iter::once((a, Box::from([whole]))).collect());
    let mut caches = SymbolCaches::default();
    let kind = catalog.index_of(kind).unwrap() as KindId;
    (KindBuilder::new(kind, &layouts, Pseudonyms::from_root(&[1; 32]), &mut caches), caches)
}

fn origin() -> Origin {
    Origin { source: 3, source_symbol: 0, received_ms: 1 }
}

/// What a builder makes of records that are offered so many at once; why some were refused.
fn made(kind: &str, records: &[Vec<Field<'static>>], at_once: usize) -> (Option<KindRows>, Vec<Option<Cause>>) {
    let (mut builder, mut caches) = builder(kind);
    let mut time = TimeReader::new(None);
    let mut causes = Vec::new();
    for records in records.chunks(at_once) {
        let mut refused = Refused::default();
        let means = &mut Means {
            origin: origin(),
            time: &mut time,
            caches: &mut caches,
            now_limit_ms: 1_763_884_805_000,
            refused: &mut refused,
        };
        match records {
            [one] => builder.fill(1, &One(|column| one[column]), means),
            many => builder.fill(many.len(), &Records(many), means),
        }
        causes.extend((0..records.len()).map(|record| refused.take(record)));
    }
    (builder.is_used().then(|| builder.finish(&mut caches)), causes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Records that are offered together come out as they do one by one, and are refused for the same cause: among them
    /// some without what all must have, with a wrong clock, in several zones, or a zone that lies in another.
    #[test]
    fn many_together_are_what_they_are_one_by_one(
        kind in prop_oneof![Just("person"), Just("vehicle"), Just("id"), Just("code"), Just("item")],
        records in proptest::collection::vec((proptest::collection::vec(0..VALUES.len() * 3, 40), 0_u8..8), 1..40),
        at_once in 2_usize..50,
    ) {
        let catalog = Catalog::builtin();
        let columns = &catalog.kinds()[catalog.index_of(kind).unwrap()].columns;
        let records: Vec<Vec<Field<'static>>> = records
            .iter()
            .map(|(values, whole)| {
                let field = |(column, value): (&weir_rules::schema::Column, &usize)| match column.name.as_str() {
                    // Most records have what every record must have.
                    "event_id" if *whole > 0 => Field::Text("e-1"),
                    "ts" if *whole > 0 => VALUES[2 + value % 2],
                    "device" if *whole > 1 => Field::Text("d"),
                    "site" if *whole > 1 => Field::Text("s"),
                    "status" if *whole > 2 => Field::Text("red"),
                    _ => VALUES.get(*value).copied().unwrap_or(Field::Missing),
                };
                columns.iter().zip(values).map(field).collect()
            })
            .collect();
        let (one_by_one, causes) = made(kind, &records, 1);
        let (together, same) = made(kind, &records, at_once);
        prop_assert_eq!(same, causes.clone());
        let (one_by_one, together) = (one_by_one.unwrap(), together.unwrap());
        prop_assert_eq!(one_by_one.ts.len(), causes.iter().filter(|cause| cause.is_none()).count());
        prop_assert_eq!(&together.batch, &one_by_one.batch);
        prop_assert_eq!(format!("{together:?}"), format!("{one_by_one:?}"));
    }
}

/// Not even a device is known yet.
#[test]
fn the_first_record_of_all_may_be_refused() {
    let columns = Catalog::builtin().kinds()[0].columns.len();
    let (rows, causes) = made("person", &vec![vec![Field::Missing; columns]; 2], 2);
    assert!(causes.iter().all(Option::is_some));
    assert_eq!(rows.unwrap().batch.num_rows(), 0);
}

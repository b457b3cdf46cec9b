//! One bench a stage: decode, probe, panes, conditions, end to end. Throughput in records.
//!
//! Stages are measured through the pipeline's own door, with rules that exercise only that stage, so
//! that what is measured is what runs: `decode` has no rule that reads anything, the others add one.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, StringViewArray};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::{Nothing, Text, city, parse, records};
use weir_engine::record::RootKey;
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::{Effort, ListSpec, Loading, Watchlist, load};
use weir_engine::window::ZoneTable;
use weir_engine::{Format, Limits, Pipeline, SinkSpec, SourceSpec};
use weir_rules::Catalog;

const HEAD: &str = "weir: 1\npack: b\nowner: o\npurposes: { p: { legal_basis: act 1 } }\n";

/// (name, rules): what a stage adds to decoding.
const STAGES: &[(&str, &str)] = &[
    ("decode", "  - { id: none, kind: match, from: code, where: \"lane = 'never'\", purpose: p }\n"),
    (
        "condition",
        "  - { id: fast, kind: match, from: vehicle, where: \"speed_kmh > 200 and vehicle_class in ('car', 'bus')\", purpose: p }\n",
    ),
    (
        "panes-count",
        "  - { id: w, kind: window, from: person, key: [zone], measure: count, window: { every: 5s }, levels: [{ name: a, enter: 1000000 }], purpose: p }\n",
    ),
    (
        "panes-distinct",
        "  - { id: w, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { every: 5s }, levels: [{ name: a, enter: 1000000 }], purpose: p }\n",
    ),
    (
        "panes-distinct-hopping",
        "  - { id: w, kind: window, from: person, key: [zone], measure: distinct(person_id), window: { last: 60s, every: 5s }, levels: [{ name: a, enter: 1000000 }], purpose: p }\n",
    ),
];

fn sink() -> SinkSpec {
    SinkSpec::alerts(
        "nothing",
        ["p", "road_safety", "document_safety", "goods_safety", "health_safety", "crowd_safety"],
    )
}

fn stages(criterion: &mut Criterion) {
    let text = Bytes::from(records());
    let lines = memchr::memchr_iter(b'\n', &text).count() as u64;
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Elements(lines)).sample_size(20);
    for (name, rules) in STAGES {
        let pack = parse(&format!("{HEAD}rules:\n{rules}"));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let pipeline = Pipeline::builder(Catalog::builtin())
                    .pack(pack.clone(), vec![])
                    .shards(1)
                    .source(SourceSpec::new("bench", Format::Ndjson), Text(text.clone()))
                    .sink(sink(), Nothing)
                    .build()
                    .expect("a pipeline");
                black_box(pipeline.run().expect("a run").alerts())
            });
        });
    }
    let pack = parse(&std::fs::read_to_string(city().join("pack.yaml")).expect("the demo pack"));
    let zones = ZoneTable::from_csv(&std::fs::read_to_string(city().join("zones.csv")).expect("zones")).expect("zones");
    for shards in [1, 2] {
        group.bench_function(format!("end-to-end-{shards}-shards"), |bencher| {
            bencher.iter_batched(
                || lists(&pack),
                |lists| {
                    let pipeline = Pipeline::builder(Catalog::builtin())
                        .shared_pack(pack.clone(), lists)
                        .zones(zones.clone())
                        .shards(shards)
                        .source(SourceSpec::new("bench", Format::Ndjson), Text(text.clone()))
                        .sink(sink(), Nothing)
                        .build()
                        .expect("a pipeline");
                    black_box(pipeline.run().expect("a run").alerts())
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn lists(pack: &weir_rules::Pack) -> Vec<Arc<Watchlist>> {
    pack.lists
        .iter()
        .map(|list| {
            let spec = ListSpec::new(pack, list);
            open(&city().join(&list.from), spec)
        })
        .collect()
}

fn open(path: &Path, spec: ListSpec) -> Arc<Watchlist> {
    let loading = Loading {
        vfs: &RealVfs,
        limits: &Limits::default(),
        population: None,
        now_ms: 0,
        root: &RootKey::new([7; 32]),
        effort: Effort::AllCores,
        previous: None,
    };
    load(path, spec, &loading).expect("a list").0
}

/// Probes of a list of a million plates with keys that are not on it.
fn probe(criterion: &mut Criterion) {
    let pack = parse(&format!(
        "{HEAD}lists: {{ l: {{ kind: stolen_vehicle, from: l.csv, key: plate, purpose: p }} }}\nrules:\n  - {{ id: r, kind: watchlist, from: vehicle, on: plate, list: l, purpose: p }}\n"
    ));
    let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("l.csv");
    let plate = |n: u64, end: char| format!("陕{}{:05}{end}", char::from(b'A' + (n % 8) as u8), n / 8);
    let mut csv = "plate,entry_id,expires\n".to_owned();
    for n in 0..1_000_000 {
        csv.push_str(&format!("{},E{n},2099-01-01\n", plate(n, 'D')));
    }
    std::fs::write(&path, csv).expect("a list");
    let spec = ListSpec::new(&pack, &pack.lists[0]);
    let list = open(&path, spec);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let keys: StringViewArray = (0..100_000).map(|n| Some(plate(n * 79 % 1_000_000, 'F'))).collect();
    let mut group = criterion.benchmark_group("probe");
    group.throughput(Throughput::Elements(keys.len() as u64)).sample_size(20);
    group.bench_function("exact-1M-misses", |bencher| {
        bencher.iter(|| list.exact_rows(black_box(&keys)).len());
    });
    group.finish();
}

criterion_group!(benches, stages, probe);
criterion_main!(benches);

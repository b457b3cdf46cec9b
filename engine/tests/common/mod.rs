//! Packs and lines in, outputs out: the engine in this process.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use weir_engine::clock::ManualClock;
use weir_engine::metrics::Buckets;
use weir_engine::record::{Pseudonyms, RootKey};
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::{Effort, ListError, ListSpec, LoadReport, Loading, Watchlist, load};
use weir_engine::window::ZoneTable;
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::{Catalog, Diagnostics, Pack, SourceFile, pack};

/// The root key of every test.
pub const ROOT: [u8; 32] = [7; 32];

/// The wall clock of every test.
pub const NOW_MS: i64 = 1_795_500_000_000;

/// Sends each text as one block.
pub struct Blocks(pub Vec<String>);

impl Source for Blocks {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("test");
        for block in self.0 {
            framer.push(block.as_bytes());
            feed.send_framed(&mut framer)?;
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

/// Keeps everything.
#[derive(Clone, Default)]
pub struct Collect(pub Arc<Mutex<Vec<Output>>>);

impl Sink for Collect {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend_from_slice(outputs);
        Ok(())
    }
}

/// A pack, parsed; it must hold no error.
pub fn parse_pack(text: &str) -> Pack {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", text), &Catalog::builtin(), &mut diagnostics);
    let errors: Vec<String> = diagnostics
        .iter()
        .filter(|found| found.severity == weir_rules::Severity::Error)
        .map(|found| format!("{} {}", found.code.id, found.message))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    pack.unwrap()
}

/// A list out of CSV text.
pub fn list(pack: &Pack, index: usize, csv: &str) -> Arc<Watchlist> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    std::fs::write(&path, csv).unwrap();
    load_file(pack, index, &path, None).unwrap().0
}

/// A list out of a file, under the key of every test.
pub fn load_file(
    pack: &Pack,
    index: usize,
    path: &Path,
    previous: Option<&Arc<Watchlist>>,
) -> Result<(Arc<Watchlist>, LoadReport), ListError> {
    let loading = Loading {
        vfs: &RealVfs,
        limits: &Limits::default(),
        population: Some(1_000_000),
        now_ms: NOW_MS,
        root: &RootKey::new(ROOT),
        effort: Effort::Beside,
        previous,
    };
    load(path, ListSpec::new(pack, &pack.lists[index]), &loading)
}

/// One way to run the same thing.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub shards: usize,
    /// Lines sent at once.
    pub lines_per_block: usize,
    /// Bytes a shard takes at once.
    pub batch_bytes: usize,
}

pub const ONE_BATCH: Way = Way { shards: 1, lines_per_block: usize::MAX, batch_bytes: 1 << 20 };

/// Runs a pack over lines; outputs as JSON without latency, sorted, and the account. Notices are left out: which of
/// several devices they name depends on the order of arrival.
pub fn run(pack: &Pack, lists: Vec<Arc<Watchlist>>, zones: &str, lines: &[String], way: Way) -> (Vec<String>, Summary) {
    let (mut outputs, summary) = run_with_notices(pack, lists, zones, lines, way);
    outputs.retain(|line| !line.contains("\"notice\":"));
    (outputs, summary)
}

/// The same with notices.
pub fn run_with_notices(
    pack: &Pack,
    lists: Vec<Arc<Watchlist>>,
    zones: &str,
    lines: &[String],
    way: Way,
) -> (Vec<String>, Summary) {
    let collect = Collect::default();
    let outputs = Arc::clone(&collect.0);
    let blocks =
        lines.chunks(way.lines_per_block.min(lines.len().max(1))).map(|lines| lines.join("\n") + "\n").collect();
    let sink = SinkSpec {
        name: "all".to_owned(),
        purposes: pack.purposes.iter().map(|purpose| purpose.name.clone()).collect(),
        streams: Stream::WORDS.iter().map(|(_, stream)| *stream).collect(),
        actuator: false,
        reviewers: true,
    };
    let mut builder = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack.clone(), lists)
        .limits(Limits { batch_bytes_max: way.batch_bytes, ..Limits::default() })
        .shards(way.shards)
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .pseudonyms(Pseudonyms::from_root(&[7; 32]))
        .source(SourceSpec::new("test", Format::Ndjson), Blocks(blocks))
        .sink(sink, collect);
    if !zones.is_empty() {
        builder = builder.zones(ZoneTable::from_csv(zones).unwrap());
    }
    let summary = builder.build().unwrap().run().unwrap();
    let total: Buckets = summary.total();
    assert!(total.conserved() && total.in_flight == 0, "{total:?}");
    let mut lines: Vec<String> = outputs.lock().unwrap().iter().map(without_latency).collect();
    lines.sort();
    (lines, summary)
}

/// An output as JSON, but for how long it took.
pub fn without_latency(output: &Output) -> String {
    let mut value: serde_json::Value = serde_json::from_str(&output.to_json()).unwrap();
    value.as_object_mut().unwrap().remove("latency_us");
    value.to_string()
}

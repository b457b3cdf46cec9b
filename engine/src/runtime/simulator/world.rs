//! What a pipeline lives in: a disk with a file, a client, a receiver, and rules of every kind that has state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use weir_rules::{Catalog, Diagnostics, Pack, SourceFile, pack};

use crate::alert::{Output, Sink, SinkError, SinkSpec, Stream};
use crate::clock::{Clock, HistoryClock};
use crate::limits::Limits;
use crate::record::Pseudonyms;
use crate::rng::{Rng, SeededRng};
use crate::runtime::{Pipeline, PipelineBuilder};
use crate::state::StateSpec;
use crate::vfs::SimulatedDisk;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - id: goods
    kind: match
    from: item
    where: \"item_class = 'fireworks'\"
    purpose: p
    dedupe: { key: [site], for: 5s }
    say: \"{quantity}\"
  - id: crowd
    kind: window
    from: person
    key: [zone]
    measure: count
    window: { last: 10s, every: 5s }
    lateness: 3s
    emit: windows
    purpose: p
  - id: dense
    kind: window
    from: person
    key: [zone]
    measure: count
    window: { every: 5s }
    early: true
    levels: [{ name: full, enter: 4, exit: 2 }]
    purpose: p
  - id: twice
    kind: sequence
    from: id
    key: [site, doc_number]
    steps:
      - { name: refused, where: decision = 'refuse' }
      - { name: passed, where: decision = 'pass' }
    within: 1m
    purpose: p
    review: required
    say: \"{started}\"
";
/// Where the file lies.
pub(crate) const FILE: &str = "/data/gates.ndjson";
/// Streams that the receiver takes.
pub(crate) const STREAMS: [Stream; 3] = [Stream::Alerts, Stream::Windows, Stream::Late];

fn parsed() -> Pack {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", PACK), &Catalog::builtin(), &mut diagnostics);
    pack.filter(|_| !diagnostics.has_errors()).expect("a pack")
}

/// Records of all that the rules read, by a device of this name.
fn records(rng: &mut SeededRng, device: &str, count: usize) -> Vec<String> {
    let mut ts = 1_795_500_000_000;
    let line = |n: usize| {
        ts += rng.below(900) as i64;
        let rest = match rng.below(4) {
            0 => format!(
                "\"kind\":\"item\",\"item_class\":\"fireworks\",\"quantity\":{n},\"site\":\"s{}\"",
                rng.below(3)
            ),
            1 => {
                let decision = if rng.below(2) == 0 { "refuse" } else { "pass" };
                let (number, site) = (rng.below(4), rng.below(2));
                format!(
                    "\"kind\":\"id\",\"doc_number\":\"E0000000{number}\",\"doc_type\":\"passport\",\"decision\":\"{decision}\",\"site\":\"s{site}\""
                )
            }
            _ => format!("\"kind\":\"person\",\"zone\":\"z{}\",\"site\":\"s0\",\"count\":1", rng.below(3)),
        };
        let ts = ts - rng.below(2_000) as i64;
        format!("{{{rest},\"event_id\":\"{device}-{n}\",\"ts\":{ts},\"device\":\"{device}\"}}\n")
    };
    let mut lines: Vec<String> = (0..count).map(line).collect();
    // Some come twice, as senders do.
    (10..count).step_by(11).for_each(|n| lines[n] = lines[n - 1].clone());
    lines
}

/// A receiver: what it was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Output>>>);

impl Sink for Told {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend_from_slice(outputs);
        Ok(())
    }
}

impl Told {
    pub(crate) fn by_id(&self) -> BTreeMap<String, String> {
        by_id(&self.0.lock().unwrap())
    }
}

/// What was told, by id; that of one id is alike each time.
pub(super) fn by_id(outputs: &[Output]) -> BTreeMap<String, String> {
    let mut by_id = BTreeMap::new();
    for output in outputs {
        let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&output.to_json()).unwrap();
        json.remove("latency_us");
        let text = serde_json::to_string(&json).unwrap();
        let id = output.idempotency_key().unwrap_or_else(|| text.clone());
        let first = by_id.entry(id).or_insert_with(|| text.clone());
        assert_eq!(*first, text, "told in two ways");
    }
    by_id
}

/// A world.
pub(crate) struct World {
    pub(crate) pack: Pack,
    pub(crate) records: Arc<Vec<String>>,
    pub(crate) told: Told,
    pub(crate) from_file: bool,
}

impl World {
    /// With so many records, which a client posts or which lie in a file.
    pub(crate) fn new(seed: u64, from_file: bool, count: usize) -> Self {
        let records = records(&mut SeededRng::new(seed), if from_file { "f" } else { "c" }, count);
        Self { pack: parsed(), records: Arc::new(records), told: Told::default(), from_file }
    }

    /// A disk with the file.
    pub(crate) fn disk(&self) -> SimulatedDisk {
        SimulatedDisk::holding(BTreeMap::from([(PathBuf::from(FILE), self.records.concat().into_bytes())]))
    }

    /// A pipeline but for its source. Where there is a disk it keeps its state there.
    pub(crate) fn builder(&self, clock: Arc<dyn Clock>, disk: Option<&SimulatedDisk>) -> PipelineBuilder {
        let spec = SinkSpec { streams: STREAMS.to_vec(), ..SinkSpec::alerts("desk", ["p"]) };
        let builder = Pipeline::builder(Catalog::builtin())
            .pack(self.pack.clone(), Vec::new())
            .pseudonyms(Pseudonyms::from_root(&[7; 32]))
            .clock(clock)
            .limits(Limits { max_ahead_ms: i64::MAX, batch_bytes_max: 1_000, ..Limits::default() })
            .sink(spec, self.told.clone());
        match disk {
            Some(disk) => builder.state(StateSpec { vfs: Arc::new(disk.clone()), ..spec_of_state() }),
            None => builder,
        }
    }

    /// What was told is what a life without a fault tells.
    pub(crate) fn compare(&self, expected: &BTreeMap<String, String>, what: &str) {
        let told = self.told.by_id();
        let ids = |told: &BTreeMap<String, String>| told.keys().cloned().collect::<BTreeSet<_>>();
        let (missing, extra) = (&ids(expected) - &ids(&told), &ids(&told) - &ids(expected));
        assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:?}, extra {extra:?}");
        assert_eq!(told, *expected, "{what}");
    }
}

/// Small segments, and a checkpoint whenever there can be one.
pub(crate) fn spec_of_state() -> StateSpec {
    StateSpec {
        segment_bytes: 16_384,
        journal_segment_bytes: 8_192,
        reserve_bytes: 4_096,
        checkpoint_every_ms: 0,
        ..StateSpec::new("/state")
    }
}

/// A clock for which the wall clock stands before all records.
pub(crate) fn history() -> Arc<dyn Clock> {
    Arc::new(HistoryClock::default())
}

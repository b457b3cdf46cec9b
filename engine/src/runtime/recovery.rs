//! Whole pipelines on a simulated disk: power goes at any call, and what comes out at last is what one run without a
//! fault gives. One source sends again what was not acknowledged, the other reads a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use weir_rules::{Catalog, Diagnostics, Pack, SourceFile, pack};

use crate::alert::{Output, Sink, SinkError, SinkSpec, Stream};
use crate::clock::HistoryClock;
use crate::limits::Limits;
use crate::record::Pseudonyms;
use crate::rng::{Rng, SeededRng};
use crate::runtime::state::SavedState;
use crate::runtime::{BuildError, Pipeline, SourceSpec, Summary};
use crate::source::{Feed, Format, Payload, Source, SourceError};
use crate::state::StateSpec;
use crate::state::checkpoint::survey;
use crate::testing::sabotage::{self, Wrong};
use crate::vfs::{Fault, Forgets, SimulatedDisk, Survival, Vfs};

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
const RECORDS: usize = 160;
const FILE: &str = "/data/gates.ndjson";

fn parsed() -> Pack {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", PACK), &Catalog::builtin(), &mut diagnostics);
    pack.filter(|_| !diagnostics.has_errors()).expect("a pack")
}

/// Records of all that the rules read, by a device of this name.
fn records(rng: &mut SeededRng, device: &str) -> Vec<String> {
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
    let mut lines: Vec<String> = (0..RECORDS).map(line).collect();
    // Some come twice, as senders do.
    (10..RECORDS).step_by(11).for_each(|n| lines[n] = lines[n - 1].clone());
    lines
}

/// Posts batches, and posts again what was not acknowledged.
#[derive(Clone)]
struct Client {
    records: Arc<Vec<String>>,
    acked: Arc<AtomicUsize>,
    seed: u64,
}

impl Source for Client {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut rng = SeededRng::new(self.seed);
        loop {
            let from = self.acked.load(Ordering::SeqCst);
            let to = (from + 1 + rng.below(7) as usize).min(RECORDS);
            if from == RECORDS || feed.stopping() {
                return Ok(());
            }
            let bytes = self.records[from..to].concat().into();
            let (answer, answered) = mpsc::channel();
            let reply = Box::new(move |_| {
                // Whoever asked may be gone.
                let _ = answer.send(());
            });
            if feed
                .offer(Arc::from("post"), Payload::Lines { bytes, format: Format::Ndjson, header: None }, reply)
                .is_err()
            {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            while !feed.stopping() {
                match answered.recv_timeout(Duration::from_millis(2)) {
                    Ok(()) => {
                        self.acked.store(to, Ordering::SeqCst);
                        break;
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        }
    }
}

/// Reads a file from where an earlier run left it.
struct OneFile {
    vfs: Arc<dyn Vfs>,
    read_bytes: usize,
}

impl Source for OneFile {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let fault = |error| SourceError::new(FILE, error);
        let mut file = self.vfs.open(Path::new(FILE)).map_err(fault)?;
        let place = feed.place_of(FILE, file.as_mut()).map_err(fault)?;
        file.seek(SeekFrom::Start(place.from)).map_err(fault)?;
        let mut framer = feed.framer_at(FILE, &place, true);
        while framer.read_from(&mut file.by_ref(), self.read_bytes).map_err(fault)? > 0 && !feed.stopping() {
            feed.send_framed(&mut framer)?;
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

/// A receiver: what it was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Output>>>);

impl Sink for Told {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend_from_slice(outputs);
        Ok(())
    }
}

impl Told {
    /// What was told, by id; that of one id is alike each time.
    fn by_id(&self) -> BTreeMap<String, String> {
        let mut by_id = BTreeMap::new();
        for output in self.0.lock().unwrap().iter() {
            let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&output.to_json()).unwrap();
            json.remove("latency_us");
            let text = serde_json::to_string(&json).unwrap();
            let id = output.idempotency_key().unwrap_or_else(|| text.clone());
            let first = by_id.entry(id).or_insert_with(|| text.clone());
            assert_eq!(*first, text, "told in two ways");
        }
        by_id
    }
}

struct World {
    pack: Pack,
    client: Client,
    told: Told,
    from_file: bool,
}

impl World {
    fn new(seed: u64, from_file: bool) -> Self {
        let records = Arc::new(records(&mut SeededRng::new(seed), if from_file { "f" } else { "c" }));
        let client = Client { records, acked: Arc::default(), seed };
        Self { pack: parsed(), client, told: Told::default(), from_file }
    }

    /// A disk with the file.
    fn disk(&self) -> SimulatedDisk {
        SimulatedDisk::holding(BTreeMap::from([(PathBuf::from(FILE), self.client.records.concat().into_bytes())]))
    }

    fn build(
        &self,
        disk: &SimulatedDisk,
        state: Option<StateSpec>,
        rng: &mut SeededRng,
    ) -> Result<Pipeline, BuildError> {
        let spec = SinkSpec {
            streams: vec![Stream::Alerts, Stream::Windows, Stream::Late],
            ..SinkSpec::alerts("desk", ["p"])
        };
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let builder = Pipeline::builder(Catalog::builtin())
            .pack(self.pack.clone(), Vec::new())
            .pseudonyms(Pseudonyms::from_root(&[7; 32]))
            .clock(Arc::new(HistoryClock::default()))
            .limits(Limits { max_ahead_ms: i64::MAX, batch_bytes_max: 1_000, ..Limits::default() })
            .shards(1 + rng.below(3) as usize)
            .sink(spec, self.told.clone());
        let source = SourceSpec::new("gates", Format::Ndjson);
        let builder = if self.from_file {
            builder.source(source, OneFile { vfs: Arc::clone(&vfs), read_bytes: 100 + rng.below(900) as usize })
        } else {
            builder.source(source, self.client.clone())
        };
        match state {
            Some(state) => builder.state(StateSpec { vfs, ..state }).build(),
            None => builder.build(),
        }
    }
}

fn spec() -> StateSpec {
    StateSpec {
        segment_bytes: 16_384,
        journal_segment_bytes: 8_192,
        reserve_bytes: 4_096,
        checkpoint_every_ms: 0,
        ..StateSpec::new("/state")
    }
}

/// What one run without a fault tells.
fn undisturbed(seed: u64, from_file: bool) -> BTreeMap<String, String> {
    let world = World::new(seed, from_file);
    let mut rng = SeededRng::new(seed);
    world.build(&world.disk(), None, &mut rng).unwrap().run().unwrap();
    world.told.by_id()
}

struct Lived {
    crashes: u64,
    replayed: u64,
    unusable: u64,
    summary: Summary,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Lives with power losses, until all is read and told; compares that with a life without.
fn live(seed: u64, from_file: bool, forgets: Forgets) -> Lived {
    let world = World::new(seed, from_file);
    let mut rng = SeededRng::new(seed.wrapping_mul(0x9e37_79b9));
    let mut disk = world.disk();
    let (mut crashes, mut replayed, mut unusable) = (0, 0, 0);
    let summary = loop {
        disk.forget(forgets);
        if crashes < 6 {
            disk.fail_at(disk.calls() + 1 + rng.below(300), Fault::PowerOff);
        }
        let result = world.build(&disk, Some(spec()), &mut rng);
        let ended = match result {
            Ok(pipeline) => pipeline.run().ok(),
            Err(error) if disk.is_off() => {
                drop(error);
                None
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        if let Some(summary) = ended {
            replayed += summary.replayed.turns;
            unusable += summary.found.as_ref().map_or(0, |found| found.unusable.len() as u64);
            assert_eq!(summary.replayed.missing, BTreeMap::new());
            if !disk.is_off() {
                break summary;
            }
        }
        crashes += 1;
        assert!(crashes < 50, "seed {seed} comes to no end");
        let survival = match rng.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Some(rng.next_u64()),
        };
        disk = disk.after_power_loss(survival);
    };
    let expected = undisturbed(seed, from_file);
    let told = world.told.by_id();
    let ids = |told: &BTreeMap<String, String>| told.keys().cloned().collect::<BTreeSet<_>>();
    let (missing, extra) = (&ids(&expected) - &ids(&told), &ids(&told) - &ids(&expected));
    assert!(missing.is_empty() && extra.is_empty(), "seed {seed}: missing {missing:?}, extra {extra:?}");
    assert_eq!(told, expected, "seed {seed}");
    assert!(expected.len() > 20, "seed {seed}: {} outputs", expected.len());
    Lived { crashes, replayed, unusable, summary, files: disk.files() }
}

const SEEDS: u64 = 60;

#[test]
fn what_comes_out_at_last_is_what_a_life_without_a_fault_gives() {
    for from_file in [false, true] {
        let (mut crashes, mut replayed) = (0, 0);
        for seed in 1..=SEEDS {
            let lived = live(seed, from_file, Forgets::Nothing);
            crashes += lived.crashes;
            replayed += lived.replayed;
            assert_eq!(lived.unusable, 0, "seed {seed}: a checkpoint that was published is whole");
        }
        assert!(crashes > SEEDS, "{crashes} power losses");
        assert!(replayed > SEEDS, "{replayed} turns were applied again");
    }
}

#[test]
fn planted_faults_are_found() {
    let found = |wrong: Option<Wrong>, forgets: Forgets| {
        (1..=SEEDS * 4).any(|seed| {
            std::panic::catch_unwind(|| match wrong {
                Some(wrong) => sabotage::with(wrong, || live(seed, seed % 2 == 0, forgets)),
                None => live(seed, seed % 2 == 0, forgets),
            })
            .is_err()
        })
    };
    for wrong in [Wrong::StateLost, Wrong::TurnNotAwaited, Wrong::CheckpointNotSynced] {
        assert!(found(Some(wrong), Forgets::Nothing), "{wrong:?}");
    }
    for forgets in [Forgets::Files, Forgets::Folders] {
        assert!(found(None, forgets), "{forgets:?}");
    }
}

#[test]
fn a_run_that_ended_well_leaves_nothing_to_apply_again_and_no_records() {
    let world = World::new(1, false);
    let mut rng = SeededRng::new(1);
    let disk = world.disk();
    world.build(&disk, Some(spec()), &mut rng).unwrap().run().unwrap();
    let told = world.told.by_id();
    let again = world.build(&disk, Some(spec()), &mut rng).unwrap().run().unwrap();
    assert_eq!(again.replayed.turns, 0);
    assert_eq!(world.told.by_id(), told, "nothing is told anew");
    // Sealed neither: a segment is its header and zeros.
    let files = disk.files();
    let journal: Vec<&Vec<u8>> =
        files.iter().filter(|(path, _)| path.starts_with("/state/journal")).map(|it| it.1).collect();
    assert_eq!(journal.len(), 1);
    assert!(journal[0][64..].iter().all(|byte| *byte == 0));
    // Nothing that a record says stands anywhere in the clear, but for what alerts tell.
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("/state")) {
        for text in ["E00000001", "doc_number", "\"event_id\""] {
            let stands = bytes.windows(text.len()).any(|at| at == text.as_bytes());
            assert!(!stands, "{text} stands in {}", path.display());
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_all_of_them_stop_the_start() {
    let files = live(3, false, Forgets::Nothing).files;
    let checkpoints: Vec<PathBuf> =
        files.keys().filter(|path| path.starts_with("/state/checkpoints")).cloned().collect();
    assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
    let world = World::new(3, false);
    world.client.acked.store(RECORDS, Ordering::SeqCst);
    let mut rng = SeededRng::new(3);
    let start = |damaged: &[PathBuf], accept_state_loss: bool, rng: &mut SeededRng| {
        let mut files = files.clone();
        for path in damaged {
            let bytes = files.get_mut(path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        }
        let disk = SimulatedDisk::holding(files);
        world.build(&disk, Some(StateSpec { accept_state_loss, ..spec() }), rng).map(|it| it.run().unwrap())
    };
    let summary = start(&checkpoints[2..], false, &mut rng).unwrap();
    let found = summary.found.unwrap();
    assert_eq!((found.unusable.len(), found.unusable[0].path.as_path()), (1, checkpoints[2].as_path()));
    let error = start(&checkpoints, false, &mut rng).expect_err("it does not start empty").to_string();
    assert!(error.contains("damaged") && error.contains("--accept-state-loss"), "{error}");
    assert!(start(&checkpoints, true, &mut rng).unwrap().found.unwrap().given_up);
}

#[test]
fn another_key_is_told_from_damage() {
    let lived = live(5, false, Forgets::Nothing);
    assert!(lived.summary.checkpoints.published > 0);
    let world = World::new(5, false);
    let disk = SimulatedDisk::holding(lived.files);
    let vfs: Arc<dyn Vfs> = Arc::new(disk);
    let error = Pipeline::builder(Catalog::builtin())
        .pack(world.pack.clone(), Vec::new())
        .pseudonyms(Pseudonyms::from_root(&[8; 32]))
        .source(SourceSpec::new("gates", Format::Ndjson), world.client.clone())
        .state(StateSpec { vfs, ..spec() })
        .build()
        .err()
        .expect("it does not start");
    assert!(error.to_string().contains("the key file is another one"), "{error}");
}

/// A checkpoint that an earlier version wrote, and the ones to come must read. `WEIR_GOLDEN=1` writes that of this version.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/state/checkpoint-1");

#[test]
fn checkpoints_of_earlier_versions_are_read() {
    if std::env::var_os("WEIR_GOLDEN").is_some() {
        let files = live(9, false, Forgets::Nothing).files;
        let of_checkpoints = files.iter().rev().find(|(path, _)| path.starts_with("/state/checkpoints"));
        std::fs::write(GOLDEN, of_checkpoints.unwrap().1).unwrap();
    }
    let bytes = std::fs::read(GOLDEN).unwrap();
    let epoch = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let path = PathBuf::from(format!("/state/checkpoints/checkpoint-{epoch:020}"));
    let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::holding(BTreeMap::from([(path, bytes)])));
    let survey = survey(&StateSpec { vfs, ..spec() }, Pseudonyms::from_root(&[7; 32]).state_key()).unwrap();
    assert_eq!(survey.unusable, []);
    let loaded = survey.newest.expect("it is whole");
    assert!(loaded.standing.journal > 1 && loaded.standing.outbox > 1);
    let saved = SavedState::from_sections(&loaded.sections).unwrap();
    let rules: Vec<&str> = saved.written.rules.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(rules, ["goods", "crowd", "dense", "twice"]);
    assert!(saved.symbols.iter().any(|(column, texts)| column == "zone" && texts.contains(&"z1".to_owned())));
}

//! Whole pipelines with all their threads on a simulated disk: power goes at any call, and what comes out at last is what one
//! run without a fault gives. One source sends again what was not acknowledged, the other reads a file. What the threads'
//! order adds is left to chance here; `simulator` does without them and repeats itself.

mod damage;

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use weir_rules::Catalog;

use super::simulator::undisturbed;
use super::simulator::world::{FILE, World, history, spec_of_state};
use crate::record::Pseudonyms;
use crate::rng::{Rng, SeededRng};
use crate::runtime::state::SavedState;
use crate::runtime::{BuildError, Pipeline, SourceSpec, Summary};
use crate::source::{Feed, Format, Payload, Source, SourceError};
use crate::state::StateSpec;
use crate::state::checkpoint::survey;
use crate::testing::sabotage::{self, Wrong};
use crate::vfs::{Fault, Forgets, SimulatedDisk, Survival, Vfs};

const RECORDS: usize = 160;

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

/// A pipeline with its source, and threads.
fn build(
    world: &World,
    client: &Client,
    disk: &SimulatedDisk,
    rng: &mut SeededRng,
    with: impl FnOnce(StateSpec) -> StateSpec,
) -> Result<Pipeline, BuildError> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let source = SourceSpec::new("gates", Format::Ndjson);
    let builder = world.builder(history(), Some(disk)).shards(1 + rng.below(3) as usize);
    let builder = if world.from_file {
        builder.source(source, OneFile { vfs: Arc::clone(&vfs), read_bytes: 100 + rng.below(900) as usize })
    } else {
        builder.source(source, client.clone())
    };
    builder.state(with(StateSpec { vfs, ..spec_of_state() })).build()
}

fn as_it_is(spec: StateSpec) -> StateSpec {
    spec
}

fn in_world(seed: u64, from_file: bool) -> (World, Client) {
    let world = World::new(seed, from_file, RECORDS);
    let client = Client { records: Arc::clone(&world.records), acked: Arc::default(), seed };
    (world, client)
}

struct Lived {
    crashes: u64,
    replayed: u64,
    unusable: u64,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Lives with power losses, until all is read and told; compares that with a life without.
fn live(seed: u64, from_file: bool, forgets: Forgets) -> Lived {
    let (world, client) = in_world(seed, from_file);
    let mut rng = SeededRng::new(seed.wrapping_mul(0x9e37_79b9));
    let mut disk = world.disk();
    let (mut crashes, mut replayed, mut unusable) = (0, 0, 0);
    loop {
        disk.forget(forgets);
        if crashes < 6 {
            disk.fail_at(disk.calls() + 1 + rng.below(300), Fault::PowerOff);
        }
        let result = build(&world, &client, &disk, &mut rng, as_it_is);
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
                break;
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
    }
    let expected = undisturbed(&world);
    world.compare(&expected, &format!("seed {seed}"));
    assert!(expected.len() > 20, "seed {seed}: {} outputs", expected.len());
    Lived { crashes, replayed, unusable, files: disk.files() }
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
    let (world, client) = in_world(1, false);
    let mut rng = SeededRng::new(1);
    let disk = world.disk();
    build(&world, &client, &disk, &mut rng, as_it_is).unwrap().run().unwrap();
    let told = world.told.by_id();
    let again = build(&world, &client, &disk, &mut rng, as_it_is).unwrap().run().unwrap();
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

/// Checkpoints that earlier versions wrote, and the ones to come must read. `WEIR_GOLDEN=1` writes that of this version.
const GOLDEN: [&str; 3] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/state/checkpoint-1"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/state/checkpoint-2"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/state/checkpoint-3"),
];

#[test]
fn checkpoints_of_earlier_versions_are_read() {
    if std::env::var_os("WEIR_GOLDEN").is_some() {
        let files = live(9, false, Forgets::Nothing).files;
        let of_checkpoints = files.iter().rev().find(|(path, _)| path.starts_with("/state/checkpoints"));
        std::fs::write(GOLDEN[GOLDEN.len() - 1], of_checkpoints.unwrap().1).unwrap();
    }
    GOLDEN.into_iter().for_each(is_read);
}

fn is_read(golden: &str) {
    let bytes = std::fs::read(golden).unwrap();
    let epoch = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let path = PathBuf::from(format!("/state/checkpoints/checkpoint-{epoch:020}"));
    let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::holding(BTreeMap::from([(path, bytes)])));
    let survey = survey(&StateSpec { vfs, ..spec_of_state() }, Pseudonyms::from_root(&[7; 32]).state_key()).unwrap();
    assert_eq!(survey.unusable, []);
    let loaded = survey.newest.expect("it is whole");
    assert!(loaded.standing.journal > 1 && loaded.standing.outbox > 1);
    let saved = SavedState::from_sections(&loaded.sections).unwrap();
    let rules: Vec<&str> = saved.written.rules.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(rules, ["goods", "crowd", "dense", "twice"]);
    assert!(saved.symbols.iter().any(|(column, texts)| column == "zone" && texts.contains(&"z1".to_owned())));
}

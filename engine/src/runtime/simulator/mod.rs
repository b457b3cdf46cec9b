//! The machine that proves it: a pipeline's own code on one thread, a simulated clock and a simulated disk, everything in an
//! order that a seed decides. Power goes at any call, calls fail, what was not synced is lost, torn or reordered; what comes
//! out at last is compared with a life that keeps no state and meets no fault.
//!
//! `WEIR_SEEDS=1..100001 cargo test --release --workspace --lib -- simulator::seeds` tries so many; a seed that fails prints
//! the command that tries it alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod life;
pub(crate) mod world;

use self::life::{Ended, Outside};
use self::world::{STREAMS, World, history};
use super::partition::Partition;
use super::sequencer::Sequencer;
use super::shard::Workbench;
use super::{Pipeline, SourceSpec};
use crate::alert::{Output, Router};
use crate::rng::{Rng, SeededRng};
use crate::source::{Block, Feed, Format, Payload, Room, Source, SourceError};
use crate::testing::sabotage::{self, Wrong};
use crate::vfs::{Fault, Forgets, Survival};

/// Records of a world, and seeds that are tried if nobody says which.
const RECORDS: usize = 160;
const SEEDS: std::ops::Range<u64> = 1..501;
/// Lives that end early, at most.
const DEATHS_MAX: u64 = 6;

struct Nothing;

impl Source for Nothing {
    fn run(self: Box<Self>, _: Feed) -> Result<(), SourceError> {
        Ok(())
    }
}

/// What is told where nothing is kept and nothing fails.
pub(super) fn undisturbed(world: &World) -> BTreeMap<String, String> {
    let builder = world.builder(history(), None).shards(1).source(SourceSpec::new("gates", Format::Ndjson), Nothing);
    let Pipeline { plans, intake, .. } = builder.build().expect("a pipeline");
    let plan = plans.current();
    let (router, outputs) = Router::collecting();
    let sequencer = Sequencer::new(Partition::new(&plan, router, Arc::default()), Arc::clone(&intake));
    let mut bench = Workbench::new(Arc::clone(&plan));
    for part in world.records.chunks(20) {
        let bytes = part.concat().into();
        let payload = Payload::Lines { bytes, format: Format::Ndjson, header: None };
        assert!(intake.push_now(Block::plain(0, "post", payload), Room::Offered).is_none(), "there is room");
        let (taken, ()) = intake.take(Duration::ZERO, || ()).expect("there is something");
        sequencer.begin(0);
        sequencer.submit(0, bench.judge(taken));
    }
    let mut partition = sequencer.end();
    partition.end();
    drop(partition.into_summary());
    let outputs: Vec<Output> = outputs.try_iter().filter(|output| STREAMS.contains(&output.stream())).collect();
    world::by_id(&outputs)
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Lived {
    deaths: u64,
    /// Turns that the last life applied again.
    replayed: u64,
    /// Calls of its disk.
    calls: u64,
    /// What it left there, as a digest.
    left: u64,
}

fn digest(files: &BTreeMap<PathBuf, Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

/// Lives until all is read and told, with faults on the way, and compares.
fn live(seed: u64, records: usize, forgets: Forgets) -> Lived {
    let from_file = seed.is_multiple_of(2);
    let world = World::new(seed, from_file, records);
    let mut rng = SeededRng::new(seed.wrapping_mul(0x9e37_79b9));
    let (mut disk, mut outside, mut lived) = (world.disk(), Outside { acked: 0 }, Lived::default());
    loop {
        disk.forget(forgets);
        if lived.deaths < DEATHS_MAX {
            let fault = match rng.below(6) {
                0 => Fault::Error(std::io::ErrorKind::Other),
                1 => Fault::Short,
                _ => Fault::PowerOff,
            };
            disk.fail_at(disk.calls() + 1 + rng.below(400), fault);
        }
        if let Ok(Ended { replayed }) = life::live(&world, &mut outside, &disk, &mut rng) {
            (lived.replayed, lived.calls, lived.left) = (replayed, disk.calls(), digest(&disk.files()));
            break;
        }
        lived.deaths += 1;
        assert!(lived.deaths < 50, "seed {seed} comes to no end");
        let survival = match rng.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Some(rng.next_u64()),
        };
        disk = disk.after_power_loss(survival);
    }
    world.compare(&undisturbed(&world), &format!("seed {seed}"));
    lived
}

/// The seeds that somebody asked for, or the usual ones.
fn wanted() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("WEIR_SEEDS") else { return SEEDS };
    let (from, to) = text.split_once("..").expect("WEIR_SEEDS=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn seeds() {
    let (mut deaths, mut replayed) = (0, 0);
    let (wanted, started) = (wanted(), std::time::Instant::now());
    for seed in wanted.clone() {
        let Ok(lived) = std::panic::catch_unwind(|| live(seed, RECORDS, Forgets::Nothing)) else {
            panic!(
                "once more: WEIR_SEEDS={seed}..{} cargo test --release --workspace --lib -- simulator::seeds",
                seed + 1
            );
        };
        deaths += lived.deaths;
        replayed += lived.replayed;
    }
    let seeds = wanted.end - wanted.start;
    println!(
        "{seeds} seeds in {:.1} s: {deaths} deaths, {replayed} turns in last lives",
        started.elapsed().as_secs_f64()
    );
    assert!(seeds < 100 || (deaths > seeds && replayed > seeds), "{deaths} deaths, {replayed} turns applied again");
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 1..9 {
        assert_eq!(live(seed, RECORDS, Forgets::Nothing), live(seed, RECORDS, Forgets::Nothing), "seed {seed}");
    }
}

/// After every call of a short life, with all that may be left.
#[test]
fn power_goes_at_every_call() {
    const SHORT: usize = 48;
    for from_file in [false, true] {
        let world = World::new(4, from_file, SHORT);
        let expected = undisturbed(&world);
        for call in 1.. {
            let mut ended = false;
            for survival in [Survival::Nothing, Survival::Everything, Survival::Some(call), Survival::Some(!call)] {
                let world = World::new(4, from_file, SHORT);
                let (disk, mut outside) = (world.disk(), Outside { acked: 0 });
                disk.fail_at(call, Fault::PowerOff);
                ended = life::live(&world, &mut outside, &disk, &mut SeededRng::new(call)).is_ok();
                let disk = disk.after_power_loss(survival);
                assert!(life::live(&world, &mut outside, &disk, &mut SeededRng::new(!call)).is_ok());
                world.compare(&expected, &format!("call {call}, {survival:?}"));
            }
            if ended {
                assert!(call > 200, "{call} calls");
                break;
            }
        }
    }
}

#[test]
fn what_is_done_wrong_is_found() {
    let found = |wrong: Option<Wrong>, forgets: Forgets| {
        SEEDS.clone().find(|seed| {
            std::panic::catch_unwind(|| match wrong {
                Some(wrong) => sabotage::with(wrong, || live(*seed, RECORDS, forgets)),
                None => live(*seed, RECORDS, forgets),
            })
            .is_err()
        })
    };
    for wrong in [Wrong::StateLost, Wrong::TurnNotAwaited, Wrong::CheckpointNotSynced] {
        println!("{wrong:?}: found by seed {}", found(Some(wrong), Forgets::Nothing).expect("it is found"));
    }
    for forgets in [Forgets::Files, Forgets::Folders] {
        println!("{forgets:?}: found by seed {}", found(None, forgets).expect("it is found"));
    }
}

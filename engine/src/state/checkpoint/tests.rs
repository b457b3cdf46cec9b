//! Power goes at every call of the keeper's life: whatever checkpoint is whole after it lacks nothing of what it needs.

use super::*;
use crate::clock::HistoryClock;
use crate::record::Pseudonyms;
use crate::rng::SeededRng;
use crate::source::{Format, Payload, ShedTally};
use crate::state::Store;
use crate::state::journal::{KeptBlock, KeptTurn};
use crate::state::log::Looked;
use crate::vfs::{Fault, SimulatedDisk, Survival};

const TURNS: u64 = 60;
const TURNS_PER_CHECKPOINT: u64 = 3;

fn spec(disk: &SimulatedDisk) -> StateSpec {
    StateSpec {
        vfs: Arc::new(disk.clone()),
        segment_bytes: 8_192,
        journal_segment_bytes: 8_192,
        reserve_bytes: 512,
        ..StateSpec::new("/state")
    }
}

fn turn() -> KeptTurn {
    let payload = Payload::Lines { bytes: vec![b'x'; 500].into(), format: Format::Ndjson, header: None };
    let block =
        KeptBlock { source: 0, stream: Arc::from("post"), first_record: 0, received_ms: 0, extent: None, payload };
    KeptTurn { now_ms: 0, resumed: false, shed: ShedTally::default(), blocks: vec![block] }
}

fn job(turns: u64, last: bool) -> Job {
    let second = turns as i64;
    Job {
        at_ms: second,
        turns,
        outbox: 1,
        fresh: vec![(second, (0..60).map(|id| Digest::from_le_bytes([id; 16])).collect())],
        events_from: second - 6,
        sections: Box::new(|writer| writer.section("rest", 1, &vec![7_u8; 2_000])),
        last,
        done: Box::new(|_| ()),
    }
}

/// A life: turns and checkpoints, until the disk fails. `room` is what the disk has left for the last one.
fn live(disk: &SimulatedDisk, room: Option<usize>, published: &mut u64) -> Option<()> {
    let (spec, pseudonyms) = (spec(disk), Pseudonyms::from_root(&[7; 32]));
    let (key, rng) = (pseudonyms.state_key(), &mut SeededRng::new(1));
    let clock: Arc<dyn crate::clock::Clock> = Arc::new(HistoryClock::default());
    let Store { mut journal, outbox, survey, journal_from, .. } =
        Store::open(spec.clone(), key, Vec::new(), 16, &clock, rng).ok()?;
    let with = (journal.durable.clone(), outbox.keep_from.clone());
    let mut keeper = Keeper::open(&spec, key, &survey, journal_from, with, rng, |_, _| ()).ok()?;
    keeper.begin(job(0, false)).ok()?;
    *published += 1;
    for n in 1..=TURNS {
        journal.queue.put(n - 1, turn());
        journal.writer.step(usize::MAX).ok()?;
        if n % TURNS_PER_CHECKPOINT == 0 {
            if let Some(room) = room.filter(|_| n == TURNS) {
                disk.limit_bytes(Some(disk.files().values().map(Vec::len).sum::<usize>() + room));
            }
            keeper.publish(job(n, n == TURNS)).ok()?;
            *published += 1;
            journal.writer.step(usize::MAX).ok()?;
        }
    }
    journal.writer.leave_no_record().ok()
}

fn looked(spec: &StateSpec, folder: &str, kind: LogKind) -> Looked {
    let folder = spec.folder.join(folder);
    let log = Log::look(spec.vfs.as_ref(), &folder, kind).expect("a sound log");
    log.unwrap_or(Looked { segments: vec![crate::state::log::FIRST_SEQ], next_seq: 1, torn_bytes: 0 })
}

/// Checkpoints that are whole; none of them lacks anything.
fn whole_on(disk: &SimulatedDisk, what: &str) -> usize {
    let spec = spec(disk);
    let survey = survey(&spec, Pseudonyms::from_root(&[7; 32]).state_key()).expect("a folder");
    assert_eq!(survey.unusable, [], "{what}");
    let (came, ids) = (looked(&spec, "journal", LogKind::Journal), looked(&spec, "events", LogKind::EventIds));
    for (epoch, standing) in &survey.whole {
        let Standing { journal, events, .. } = standing;
        assert!((came.segments[0]..=came.next_seq).contains(journal), "{what}: turns of {epoch} are gone");
        assert!(ids.segments[0] <= events.0 && events.1 <= ids.next_seq, "{what}: ids of {epoch} are gone");
    }
    survey.whole.len()
}

/// Lives that end at every call, each with what a power loss may leave.
fn end_at_every_call() {
    let mut call = 0;
    loop {
        call += 1;
        let disk = SimulatedDisk::new();
        disk.fail_at(call, Fault::PowerOff);
        let mut published = 0;
        let lived = live(&disk, None, &mut published);
        for survival in [Survival::Nothing, Survival::Everything, Survival::Some(call), Survival::Some(!call)] {
            let found = whole_on(&disk.after_power_loss(survival), &format!("call {call}, {survival:?}"));
            assert!(found as u64 >= published.min(KEPT as u64), "call {call}, {survival:?}: {found} are left");
        }
        if lived.is_some() {
            assert!(!disk.is_off() && call > 400, "{call} calls");
            return;
        }
    }
}

#[test]
fn ids_of_a_second_that_fill_several_records_are_all_known_again() {
    let disk = SimulatedDisk::new();
    let spec = StateSpec { segment_bytes: 4 << 20, ..spec(&disk) };
    let (pseudonyms, rng) = (Pseudonyms::from_root(&[7; 32]), &mut SeededRng::new(1));
    let clock: Arc<dyn crate::clock::Clock> = Arc::new(HistoryClock::default());
    let ids = |count: usize, from: u128| (0..count as u128).map(|id| from + id).collect::<Vec<Digest>>();
    let given: FreshIds = vec![(5, ids(2 * IDS_MAX + 7, 1)), (6, ids(IDS_MAX, 1 << 64)), (7, ids(1, 1 << 65))];
    let mut known = Vec::new();
    for life in 0..2 {
        let key = pseudonyms.state_key();
        let Store { journal, outbox, survey, journal_from, .. } =
            Store::open(spec.clone(), key, Vec::new(), 16, &clock, rng).unwrap();
        let with = (journal.durable.clone(), outbox.keep_from.clone());
        let mut keeper =
            Keeper::open(&spec, key, &survey, journal_from, with, rng, |second, id| known.push((second, id))).unwrap();
        if life == 0 {
            keeper.begin(job(0, false)).unwrap();
            keeper.publish(Job { fresh: given.clone(), events_from: 1, ..job(0, false) }).unwrap();
            keeper.events.close().unwrap();
        }
    }
    // Those of the first checkpoint are of second 0, and forgotten.
    known.sort_unstable();
    let expected: Vec<(i64, Digest)> =
        given.into_iter().flat_map(|(second, ids)| ids.into_iter().map(move |id| (second, id))).collect();
    assert_eq!(known, expected);
}

#[test]
fn whenever_power_goes_no_checkpoint_lacks_what_it_needs() {
    end_at_every_call();
}

#[test]
fn what_is_removed_before_the_checkpoint_is_published_is_found() {
    let found = std::panic::catch_unwind(|| sabotage::with(Wrong::RemovedBeforeCheckpoint, end_at_every_call));
    let what = *found.expect_err("it is found").downcast::<String>().unwrap();
    assert!(what.contains("are gone"), "{what}");
}

#[test]
fn the_last_one_leaves_no_turn_and_three_of_its_kind() {
    let disk = SimulatedDisk::new();
    live(&disk, None, &mut 0).unwrap();
    assert_eq!(whole_on(&disk, "the end"), KEPT);
    let came = looked(&spec(&disk), "journal", LogKind::Journal);
    assert_eq!((came.segments.as_slice(), came.next_seq), ([TURNS + 1].as_slice(), TURNS + 1));
}

#[test]
fn on_a_full_disk_the_last_one_is_the_only_one_or_none() {
    let mut left = std::collections::BTreeSet::new();
    for room in (0..9_000).step_by(300) {
        let disk = SimulatedDisk::new();
        let published = live(&disk, Some(room), &mut 0).is_some();
        let whole = whole_on(&disk, "a full disk");
        let survey = survey(&spec(&disk), Pseudonyms::from_root(&[7; 32]).state_key()).unwrap();
        let of_the_last = survey.whole.iter().filter(|(_, standing)| standing.at_ms == TURNS as i64).count();
        assert_eq!(of_the_last, if published { whole } else { 0 }, "room for {room}");
        assert!(whole > 0);
        left.insert((published, whole));
    }
    assert!(left.contains(&(true, KEPT)) && left.len() > 1, "{left:?}");
}

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
    let survey = survey_of(&spec);
    assert_eq!(survey.unusable, [], "{what}");
    let (came, ids) = (looked(&spec, "journal", LogKind::Journal), looked(&spec, "events", LogKind::EventIds));
    for (epoch, standing) in &survey.whole {
        let Standing { journal, events, .. } = standing;
        assert!((came.segments[0]..=came.next_seq).contains(journal), "{what}: turns of {epoch} are gone");
        assert!(ids.segments[0] <= events.0 && events.1 <= ids.next_seq, "{what}: ids of {epoch} are gone");
    }
    survey.whole.len()
}

/// Lives that end at every call, each with what a power loss may leave. `room` is what the disk has left in the end.
fn end_at_every_call(room: Option<usize>) {
    let mut call = 0;
    loop {
        call += 1;
        let disk = SimulatedDisk::new();
        disk.fail_at(call, Fault::PowerOff);
        let mut published = 0;
        let lived = live(&disk, room, &mut published);
        for survival in [Survival::Nothing, Survival::Everything, Survival::Some(call), Survival::Some(!call)] {
            let found = whole_on(&disk.after_power_loss(survival), &format!("call {call}, {survival:?}"));
            // On a full disk the older ones give their room to the last.
            let kept = if room.is_some() { 1 } else { KEPT as u64 };
            assert!(found as u64 >= published.min(kept), "call {call}, {survival:?}: {found} are left");
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
            // What one checkpoint has kept the next one keeps, until it is forgotten.
            let (before, after) = given.split_at(2);
            keeper.publish(Job { fresh: before.to_vec(), events_from: 4, ..job(0, false) }).unwrap();
            keeper.publish(Job { fresh: after.to_vec(), events_from: 5, ..job(0, false) }).unwrap();
            keeper.events.close().unwrap();
        }
    }
    // Those of the first checkpoint are of second 0, and forgotten; those of the first second that is kept are not.
    known.sort_unstable();
    let expected: Vec<(i64, Digest)> =
        given.into_iter().flat_map(|(second, ids)| ids.into_iter().map(move |id| (second, id))).collect();
    assert_eq!(known, expected);
}

#[test]
fn whenever_power_goes_no_checkpoint_lacks_what_it_needs() {
    end_at_every_call(None);
}

#[test]
fn nor_on_a_full_disk() {
    end_at_every_call(Some(0));
}

#[test]
fn what_is_removed_before_the_checkpoint_is_published_is_found() {
    let found = std::panic::catch_unwind(|| sabotage::with(Wrong::RemovedBeforeCheckpoint, || end_at_every_call(None)));
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
        let survey = survey_of(&spec(&disk));
        let of_the_last = survey.whole.iter().filter(|(_, standing)| standing.at_ms == TURNS as i64).count();
        assert_eq!(of_the_last, if published { whole } else { 0 }, "room for {room}");
        assert!(whole > 0);
        assert!(room > 0 || published, "the older ones have given their room");
        left.insert((published, whole));
    }
    assert!(left.contains(&(true, KEPT)) && left.len() > 1, "{left:?}");
}

/// A keeper on a disk that is really there, and what it goes on from.
fn keeper_on(spec: &StateSpec) -> Result<(Keeper, Survey), LogError> {
    let (pseudonyms, rng) = (Pseudonyms::from_root(&[7; 32]), &mut SeededRng::new(1));
    let clock: Arc<dyn crate::clock::Clock> = Arc::new(HistoryClock::default());
    let key = pseudonyms.state_key();
    let Store { journal, outbox, survey, journal_from, .. } =
        Store::open(spec.clone(), key, Vec::new(), 16, &clock, rng).expect("a sound folder");
    let with = (journal.durable.clone(), outbox.keep_from.clone());
    let keeper = Keeper::open(spec, key, &survey, journal_from, with, rng, |_, _| ())?;
    Ok((keeper, survey))
}

fn survey_of(spec: &StateSpec) -> Survey {
    survey(spec, Pseudonyms::from_root(&[7; 32]).state_key()).expect("a folder")
}

#[test]
fn a_start_takes_the_newest_that_is_whole_and_counts_on() {
    let folder = tempfile::tempdir().unwrap();
    let spec = StateSpec { reserve_bytes: 512, ..StateSpec::new(folder.path()) };
    let looked = || look(spec.vfs.as_ref(), folder.path()).unwrap();
    assert_eq!(looked(), [], "there is no folder yet");
    let unsealed = || newest_first(spec.vfs.as_ref(), folder.path()).unwrap().map(Result::unwrap);
    let times = || unsealed().map(|it| (it.epoch, it.read.ok().map(|(at_ms, _)| at_ms))).collect::<Vec<_>>();
    assert_eq!(times(), []);
    let (mut keeper, survey) = keeper_on(&spec).unwrap();
    assert!(keeper.is_new() && survey.newest.is_none());
    keeper.begin(job(0, false)).unwrap();
    assert!(!keeper.is_new());
    let (jobs, waiting) = crossbeam_channel::bounded(8);
    (0..4).for_each(|at_ms| jobs.send(Job { at_ms, ..job(0, false) }).unwrap());
    drop(jobs);
    let kept = keeper.run(&waiting).unwrap();
    assert_eq!((kept.published, kept.no_room), (5, 0));

    let epochs = |all: &[CheckpointLook]| all.iter().map(|it| it.epoch).collect::<Vec<_>>();
    let found = looked();
    assert_eq!(epochs(&found), [3, 4, 5]);
    assert_eq!((found[2].bytes, &found[2].made), (kept.bytes, &Ok((3, 1))));
    assert_eq!(times(), [(5, Some(3)), (4, Some(2)), (3, Some(1))]);
    let newest = folder.path().join("checkpoints/checkpoint-00000000000000000005");
    let read = unsealed().next().expect("three");
    let names: Vec<String> = read.read.unwrap().1.into_iter().map(|it| it.name).collect();
    assert_eq!(
        (read.path.as_path(), names.as_slice()),
        (newest.as_path(), &["position", "rest"].map(String::from)[..])
    );
    let bytes = std::fs::read(&newest).unwrap();
    assert_eq!(bytes.len() as u64, kept.bytes);
    let sections = read_unsealed(5, &bytes).unwrap();
    assert_eq!(sections.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["position", "rest"]);
    assert!(read_unsealed(4, &bytes).is_err());

    std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(times(), [(5, None), (4, Some(2)), (3, Some(1))]);
    let mut survey = survey_of(&spec);
    let (mut keeper, _) = keeper_on(&spec).unwrap();
    assert_eq!(survey.newest.as_ref().map(|it| (it.epoch, it.standing.at_ms)), Some((4, 2)));
    assert_eq!(survey.unusable.iter().map(|it| it.path.as_path()).collect::<Vec<_>>(), [newest.as_path()]);
    assert!(looked()[2].made.is_err());
    keeper.keep(job(0, false)).unwrap();
    assert_eq!(epochs(&looked()), [3, 4, 5, 6], "the number of the damaged one is not used again");
    survey.give_up();
    assert!(survey.newest.is_none() && survey.whole.is_empty());

    // A checkpoint may be removed while somebody reads them one by one.
    let one_by_one = unsealed();
    std::fs::remove_file(&newest).unwrap();
    assert_eq!(one_by_one.map(|it| it.epoch).collect::<Vec<_>>(), [6, 4, 3]);
}

#[test]
fn a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let disk = SimulatedDisk::new();
    live(&disk, None, &mut 0).unwrap();
    let spec = spec(&disk);
    let fails = || disk.fail_at(disk.calls() + 1, Fault::Error(std::io::ErrorKind::PermissionDenied));
    fails();
    assert!(survey(&spec, Pseudonyms::from_root(&[7; 32]).state_key()).is_err());
    fails();
    assert!(look(spec.vfs.as_ref(), &spec.folder).is_err());
    assert_eq!(look(spec.vfs.as_ref(), &spec.folder).unwrap().len(), KEPT);
    fails();
    assert!(newest_first(spec.vfs.as_ref(), &spec.folder).map(drop).is_err());
    let mut one_by_one = newest_first(spec.vfs.as_ref(), &spec.folder).unwrap();
    fails();
    assert!(one_by_one.next().expect("three").is_err());
    assert_eq!(one_by_one.filter_map(Result::ok).count(), KEPT - 1);
}

#[test]
fn a_checkpoint_whose_ids_are_gone_is_not_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let spec = StateSpec { reserve_bytes: 512, segment_bytes: 8_192, ..StateSpec::new(folder.path()) };
    let (mut keeper, _) = keeper_on(&spec).unwrap();
    keeper.begin(job(0, false)).unwrap();
    // Seconds 1 to 9, of which those from 3 on are needed: several segments, of which some have been removed.
    for second in 1..=9 {
        let ids = (0..200).map(|id| Digest::from_le_bytes([id; 16])).collect();
        keeper.publish(Job { fresh: vec![(second, ids)], events_from: 3, ..job(0, false) }).unwrap();
    }
    keeper.events.close().unwrap();
    let events = folder.path().join("events");
    let segments = || {
        let mut found: Vec<PathBuf> = std::fs::read_dir(&events).unwrap().map(|it| it.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|it| it == "log"));
        found.sort();
        found
    };
    assert!(segments().len() > 2);
    drop(keeper_on(&spec).expect("nothing is missing"));
    std::fs::remove_file(&segments()[0]).unwrap();
    assert!(matches!(keeper_on(&spec).map(drop), Err(LogError::Gap { .. })), "the first of them are missing");
    std::fs::remove_dir_all(&events).unwrap();
    assert!(matches!(keeper_on(&spec).map(drop), Err(LogError::Gap { .. })), "all of them are");
}

#[test]
fn without_room_a_checkpoint_is_missed_and_the_next_is_made() {
    let disk = SimulatedDisk::new();
    let spec = spec(&disk);
    let (mut keeper, _) = keeper_on(&spec).unwrap();
    keeper.begin(job(0, false)).unwrap();
    disk.limit_bytes(Some(disk.files().values().map(Vec::len).sum()));
    let (told, heard) = crossbeam_channel::bounded(8);
    let with = |told: &crossbeam_channel::Sender<bool>| {
        let told = told.clone();
        Job { done: Box::new(move |published| told.send(published).unwrap()), ..job(0, false) }
    };
    keeper.keep(with(&told)).unwrap();
    keeper.keep(with(&told)).unwrap();
    assert_eq!((keeper.kept.published, keeper.kept.no_room), (1, 2));
    assert_eq!(whole_on(&disk, "a full disk"), 1, "the only one stays");
    disk.limit_bytes(None);
    keeper.keep(with(&told)).unwrap();
    assert_eq!((keeper.kept.published, keeper.kept.no_room), (2, 2));
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn all_of_them_are_taken_away_if_they_are_given_up() {
    let state = tempfile::tempdir().unwrap();
    let (spec, folder) = (StateSpec::new(state.path()), state.path().join(FOLDER));
    remove(&spec).expect("there is none");
    std::fs::create_dir(&folder).unwrap();
    for epoch in [1, 7] {
        std::fs::write(file::path_of(&folder, epoch), "x").unwrap();
    }
    std::fs::write(folder.join("notes"), "x").unwrap();
    remove(&spec).unwrap();
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["notes"]);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "a file where a folder should be").unwrap();
    remove(&spec).expect_err("whether there are any is not known");
}

#[test]
fn event_ids_that_the_newest_needs_are_missed() {
    let disk = SimulatedDisk::new();
    live(&disk, None, &mut 0).expect("nothing fails");
    let key = *Pseudonyms::from_root(&[7; 32]).state_key();
    let check = |disk: &SimulatedDisk| check_events(&spec(disk), &survey(&spec(disk), &key).unwrap());
    check(&disk).unwrap();
    let (of_disk, found) = (spec(&disk), survey(&spec(&disk), &key).unwrap());
    let (from, to) = found.newest.as_ref().unwrap().standing.events;
    assert_eq!(needed_events(&of_disk, &found, from..to, |_, _| ()).unwrap().len() as u64, to - from);
    for held in [from + 1..to, from..to - 1] {
        let missed = needed_events(&of_disk, &found, held.clone(), |_, _| ());
        assert!(matches!(missed, Err(LogError::Gap { .. })), "{held:?}");
    }
    let without = |folder: &str| {
        let mut files = disk.files();
        files.retain(|path, _| !path.starts_with(Path::new("/state").join(folder)));
        SimulatedDisk::holding(files)
    };
    assert!(matches!(check(&without("events")), Err(LogError::Gap { .. })));
    check(&without("checkpoints")).expect("nothing needs them");
}

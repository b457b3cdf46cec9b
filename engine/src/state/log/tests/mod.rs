//! A log and a cursor against a disk that forgets, fails and rots, and a plain model of what was promised.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::rng::SeededRng;
use crate::testing::sabotage::with;
use crate::vfs::{Fault, Forgets, SimulatedDisk, Survival};

mod places;

const OPTIONS: LogOptions = LogOptions { kind: LogKind::Outbox, segment_bytes: 2_048, record_bytes_max: 512 };
/// Steps of a workload: some 300 calls.
const STEPS: usize = 90;
/// Power losses with random survivors for each call.
const RANDOM_SURVIVALS: u64 = 8;

fn folder() -> &'static Path {
    Path::new("/state/outbox")
}

fn cursor_path() -> PathBuf {
    folder().join("cursor-desk")
}

/// What was promised.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Payloads in order; record 1 is the first.
    appended: Vec<Vec<u8>>,
    /// All before this one were said to be durable.
    durable_to: u64,
    trimmed_to: u64,
    /// Places of the cursor since it was synced, and that one.
    cursor: Vec<u64>,
}

fn open(disk: &SimulatedDisk) -> Result<(Log, Cut), LogError> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    Log::open(&vfs, folder(), OPTIONS, &mut SeededRng::new(3))
}

fn payload(rng: &mut SeededRng) -> Vec<u8> {
    let mut bytes = vec![0; 1 + rng.below(400) as usize];
    rng.fill(&mut bytes);
    bytes
}

/// The same calls for the same seed, as long as none fails.
fn work(disk: &SimulatedDisk, seed: u64, model: &mut Model) -> Result<(), LogError> {
    let mut rng = SeededRng::new(seed);
    let (mut log, _) = open(disk)?;
    let (mut cursor, ..) = CursorFile::open(disk, &cursor_path(), FIRST_SEQ)?;
    model.durable_to = log.durable_to();
    model.cursor = vec![FIRST_SEQ];
    for _ in 0..STEPS {
        match rng.below(12) {
            0..5 => {
                let payload = payload(&mut rng);
                // Before the call: it may reach the disk even if the call fails.
                model.appended.push(payload.clone());
                assert_eq!(log.append(&payload)?, model.appended.len() as u64);
            }
            5..8 => model.durable_to = log.commit()?,
            8 => {
                let seq = model.cursor[0] + rng.below(model.durable_to - model.cursor[0] + 1);
                model.cursor.push(seq);
                cursor.write(Cursor { seq, lost: 0 })?;
            }
            9 => {
                cursor.sync()?;
                model.cursor.drain(..model.cursor.len() - 1);
            }
            10 => {
                model.trimmed_to = model.trimmed_to.max(model.cursor[0]);
                if rng.below(2) == 0 {
                    log.trim(model.trimmed_to)?;
                } else {
                    log.let_go(model.trimmed_to)?;
                }
            }
            _ if rng.below(2) == 0 => log.tend(),
            _ => {
                if rng.below(2) == 0 {
                    model.durable_to = log.commit()?;
                    log.close()?;
                }
                log = open(disk)?.0;
                model.durable_to = log.durable_to();
                model.appended.truncate(model.durable_to as usize - 1);
            }
        }
    }
    model.durable_to = log.commit()?;
    log.close()
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Opens what a crash left, and compares it with what was promised.
fn recover(disk: &SimulatedDisk, model: &Model) -> Result<Log, String> {
    let (log, _) = open(disk).map_err(|error| error.to_string())?;
    check(log.next_seq() >= model.durable_to, "a committed record is gone")?;
    check(log.next_seq() <= model.appended.len() as u64 + 1, "there is more than was appended")?;
    check(log.first_seq() <= model.trimmed_to.max(FIRST_SEQ), "more was trimmed than was allowed")?;
    let first = log.first_seq();
    let records =
        log.reader(first).read(log.durable_to(), usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
    check(records.len() as u64 == log.next_seq() - first, "a record cannot be read")?;
    for record in records {
        check(record.payload == model.appended[record.seq as usize - 1], "a record has other bytes")?;
    }
    if !model.cursor.is_empty() {
        let opened = CursorFile::open(disk, &cursor_path(), FIRST_SEQ).map_err(|error| error.to_string())?;
        let (_, cursor, damaged) = opened;
        let newest = model.cursor.last().is_some_and(|newest| cursor.seq < *newest);
        check(model.cursor.contains(&cursor.seq) || damaged && newest, "the cursor is at no place that was noted")?;
    }
    Ok(log)
}

/// Recovers, goes on, loses power again, and recovers again.
fn recover_and_go_on(disk: &SimulatedDisk, model: &Model, survival: Survival) -> Result<(), String> {
    let mut log = recover(disk, model)?;
    let mut model = model.clone();
    model.appended.truncate(log.next_seq() as usize - 1);
    for len in [1, 100, 300] {
        model.appended.push(vec![len as u8; len]);
        log.append(model.appended.last().expect("just pushed")).map_err(|error| error.to_string())?;
    }
    model.durable_to = log.commit().map_err(|error| error.to_string())?;
    recover(&disk.after_power_loss(survival), &model).map(drop)
}

fn survivals(seed: u64) -> impl Iterator<Item = Survival> {
    let random = (0..RANDOM_SURVIVALS).map(move |n| Survival::Some(seed * RANDOM_SURVIVALS + n));
    [Survival::Nothing, Survival::Everything].into_iter().chain(random)
}

/// A power loss after every call, with every kind of survivor. The number of disks looked at; the first violation.
fn lose_power_everywhere(seed: u64, forgets: Forgets) -> Result<u64, (u64, String)> {
    let mut images = 0;
    for call in 1.. {
        let disk = SimulatedDisk::new();
        disk.forget(forgets);
        disk.fail_at(call, Fault::PowerOff);
        let mut model = Model::default();
        let finished = work(&disk, seed, &mut model).is_ok();
        for survival in survivals(seed ^ call) {
            images += 1;
            recover_and_go_on(&disk.after_power_loss(survival), &model, survival).map_err(|what| (images, what))?;
        }
        if finished {
            assert!(call > 200, "a workload of {call} calls");
            return Ok(images);
        }
    }
    unreachable!("a workload comes to an end")
}

#[test]
fn power_may_be_lost_after_any_call() {
    for seed in 1..=4 {
        let images = lose_power_everywhere(seed, Forgets::Nothing).unwrap();
        assert!(images > 2_000);
    }
}

#[test]
fn a_missing_fsync_is_found() {
    let files = lose_power_everywhere(1, Forgets::Files).unwrap_err();
    let folders = lose_power_everywhere(1, Forgets::Folders).unwrap_err();
    assert!(files.0 < 2_000 && folders.0 < 2_000, "{files:?} {folders:?}");
}

#[test]
fn a_torn_tail_that_stays_is_found() {
    let found =
        (1..=40).find_map(|seed| with(Wrong::TornTailKept, || lose_power_everywhere(seed, Forgets::Nothing)).err());
    let (_, what) = found.expect("records of a torn write come back");
    assert!(
        what.contains("other bytes") || what.contains("more than was appended") || what.contains("damaged"),
        "{what}"
    );
}

/// Every call fails once, in every way; after it, nothing may be said to be durable that is not.
#[test]
fn any_call_may_fail() {
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::Interrupted];
    for fault in kinds.map(Fault::Error).into_iter().chain([Fault::Short]) {
        for call in 1.. {
            let disk = SimulatedDisk::new();
            disk.fail_at(call, fault);
            let mut model = Model::default();
            let result = work(&disk, 2, &mut model);
            for survival in survivals(call) {
                let image = disk.after_power_loss(survival);
                recover_and_go_on(&image, &model, survival)
                    .unwrap_or_else(|what| panic!("{fault:?} at call {call}, {survival:?}: {what}"));
            }
            if result.is_ok() && !disk.has_failed() {
                assert!(call > 200);
                break;
            }
        }
    }
}

#[test]
fn whatever_fails_while_it_is_opened_is_an_error() {
    let (disk, _) = closed();
    let files = disk.files();
    for call in 1.. {
        let disk = SimulatedDisk::holding(files.clone());
        disk.fail_at(call, Fault::Error(io::ErrorKind::PermissionDenied));
        let opened = open(&disk);
        if !disk.has_failed() {
            opened.expect("nothing failed");
            assert!(call > 10, "{call} calls");
            break;
        }
        assert!(opened.is_err(), "call {call}");
    }
}

#[test]
fn a_log_that_failed_takes_nothing_more() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(b"a").unwrap();
    disk.fail_at(disk.calls() + 2, Fault::Error(io::ErrorKind::Other));
    assert!(log.commit().is_err());
    assert_eq!(log.durable_to(), FIRST_SEQ);
    assert!(matches!(log.append(b"b"), Err(LogError::Failed { .. })));
    assert!(matches!(log.commit(), Err(LogError::Failed { .. })));
}

/// A closed log of several segments, and what was appended.
fn closed() -> (SimulatedDisk, Model) {
    let disk = SimulatedDisk::new();
    let mut model = Model::default();
    work(&disk, 7, &mut model).unwrap();
    let (mut log, _) = open(&disk).unwrap();
    for len in [40, 300, 300, 300, 50] {
        model.appended.push(vec![len as u8; len]);
        log.append(model.appended.last().unwrap()).unwrap();
        model.durable_to = log.commit().unwrap();
    }
    log.close().unwrap();
    assert!(disk.files().keys().filter(|path| segment::first_seq_of(path).is_some()).count() >= 2);
    (disk, model)
}

#[test]
fn all_of_a_log_is_taken_away_if_it_is_given_up() {
    let (disk, _) = closed();
    let notes = folder().join("notes");
    disk.create(&notes).unwrap();
    remove(&disk, folder()).unwrap();
    let names = |disk: &SimulatedDisk| disk.files().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&disk), [cursor_path(), notes.clone()]);
    assert_eq!(names(&disk.after_power_loss(Survival::Nothing)), [cursor_path(), notes], "no segment comes back");
    let (log, _) = open(&disk).expect("another one can be begun");
    assert_eq!(log.next_seq(), FIRST_SEQ);
}

/// Opens a disk that something has changed: either it says so, or all that was committed is there.
fn detected_or_harmless(disk: &SimulatedDisk, model: &Model, what: &str) -> bool {
    match recover(disk, model) {
        Ok(_) => false,
        Err(error) => {
            for wrong in ["other bytes", "is gone", "more than", "no place", "cannot be read"] {
                assert!(!error.contains(wrong), "{what}: {error}");
            }
            true
        }
    }
}

#[test]
fn every_flipped_bit_is_detected_or_does_no_harm() {
    let (disk, model) = closed();
    let files = disk.files();
    let mut harmless = 0;
    for (path, bytes) in &files {
        for bit in 0..bytes.len() * 8 {
            let mut files = files.clone();
            files.get_mut(path).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let changed = SimulatedDisk::holding(files);
            let what = format!("{} bit {bit}", path.display());
            harmless += u64::from(!detected_or_harmless(&changed, &model, &what));
        }
    }
    // The last mark, the zeros of the last segment, one slot of the cursor and what lies between its slots.
    assert!(harmless < (2_048 + 4_096 + 36) * 8, "{harmless} flips went unseen");
}

#[test]
fn every_truncation_and_every_missing_file_is_detected() {
    let (disk, model) = closed();
    let files = disk.files();
    for (path, bytes) in files.iter().filter(|(path, _)| segment::first_seq_of(path).is_some()) {
        for len in 0..bytes.len() {
            let mut files = files.clone();
            files.get_mut(path).unwrap().truncate(len);
            let what = format!("{} cut to {len}", path.display());
            assert!(detected_or_harmless(&SimulatedDisk::holding(files), &model, &what), "{what}");
        }
    }
    let segments: Vec<&PathBuf> = files.keys().filter(|path| segment::first_seq_of(path).is_some()).collect();
    for path in &segments[1..segments.len() - 1] {
        let mut files = files.clone();
        files.remove(*path);
        assert!(detected_or_harmless(&SimulatedDisk::holding(files), &model, "a segment is missing"));
    }
}

#[test]
fn damage_to_a_segment_that_others_follow_is_told_by_the_one_who_opens_the_log() {
    let (disk, _) = closed();
    let files = disk.files();
    let segments: Vec<&PathBuf> = files.keys().filter(|path| segment::first_seq_of(path).is_some()).collect();
    for path in &segments[..segments.len() - 1] {
        for at in 0..files[*path].len() {
            let mut files = files.clone();
            files.get_mut(*path).unwrap()[at] ^= 1;
            let error = open(&SimulatedDisk::holding(files)).err().expect("it is damaged");
            assert!(error.is_damage(), "{} byte {at}: {error}", path.display());
        }
    }
}

#[test]
fn a_segment_of_another_log_is_not_taken_for_one_of_this() {
    let told = |files: BTreeMap<PathBuf, Vec<u8>>, kind| {
        let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::holding(files));
        match Log::open(&vfs, folder(), LogOptions { kind, ..OPTIONS }, &mut SeededRng::new(3)) {
            Err(LogError::NotASegment { what, .. }) => what,
            Err(error) => panic!("{error}"),
            Ok(_) => "it is".to_owned(),
        }
    };
    let made = |seed| {
        let disk = SimulatedDisk::new();
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let (mut log, _) = Log::open(&vfs, folder(), OPTIONS, &mut SeededRng::new(seed)).unwrap();
        log.append(&[7; 8]).unwrap();
        log.roll().unwrap();
        log.close().unwrap();
        disk.files()
    };
    let (mut files, others) = (made(3), made(4));
    assert_eq!(told(files.clone(), LogKind::Outbox), "it is");
    assert_eq!(told(files.clone(), LogKind::Journal), "it belongs to a log of another kind");
    let second = segment::path_of(folder(), 2);
    files.insert(second.clone(), others[&second].clone());
    assert_eq!(told(files, LogKind::Outbox), "it belongs to another log");
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.limit_bytes(Some(3_000));
    let mut taken = 0;
    let error = loop {
        match log.append(&[7; 100]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::NoRoom { .. }) && !error.is_damage(), "{error}");
    assert_eq!(log.durable_to(), taken + 1, "what was there is committed");
    assert!(matches!(log.append(&[7; 100]), Err(LogError::NoRoom { .. })));
    disk.limit_bytes(None);
    assert_eq!(log.append(&[7; 100]).unwrap(), taken + 1);
    log.close().unwrap();
    assert_eq!(open(&disk).unwrap().0.next_seq(), taken + 2);
}

#[test]
fn a_reader_follows_a_writer_over_segments() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut reader = log.reader(FIRST_SEQ);
    let mut rng = SeededRng::new(5);
    let mut seen = 0;
    for _ in 0..200 {
        for _ in 0..rng.below(5) {
            log.append(&payload(&mut rng)).unwrap();
        }
        let durable_to = log.commit().unwrap();
        for record in reader.read(durable_to, 1 + rng.below(6) as usize, 1_000).unwrap() {
            seen += 1;
            assert_eq!(record.seq, seen);
        }
        log.trim(seen.saturating_sub(3)).unwrap();
    }
    assert!(seen > 200 && log.first_seq() > FIRST_SEQ);
    // Who comes back to what has been trimmed hears so.
    let Err(LogError::Gap { from, to, .. }) = log.reader(FIRST_SEQ).read(log.durable_to(), 1, 1) else {
        panic!("it is gone")
    };
    assert_eq!((from, to + 1), (FIRST_SEQ, log.first_seq()));
}

/// What a segment of 256 bytes holds beside its header: 192 bytes of frames, each with 16 bytes before it, and a mark.
const SMALL: LogOptions = LogOptions { kind: LogKind::Outbox, segment_bytes: 256, record_bytes_max: 1_000 };

fn open_small(disk: &SimulatedDisk, record_bytes_max: usize) -> Log {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let options = LogOptions { record_bytes_max, ..SMALL };
    Log::open(&vfs, folder(), options, &mut SeededRng::new(3)).unwrap().0
}

#[test]
fn a_record_may_be_as_long_as_was_said_or_as_a_segment_holds() {
    for len in 0..300 {
        for record_bytes_max in [100, 1_000] {
            let mut log = open_small(&SimulatedDisk::new(), record_bytes_max);
            let bytes_max = record_bytes_max.min(160);
            match log.append(&vec![7; len]) {
                Ok(_) => assert!((1..=bytes_max).contains(&len), "{len}"),
                Err(LogError::TooLong { bytes, bytes_max: said }) => {
                    assert!(bytes == len && said == bytes_max && !(1..=bytes_max).contains(&len), "{len}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_segment_is_filled_to_its_end_and_no_further() {
    for (first, second) in (1..=160).flat_map(|first| (1..=160).step_by(5).map(move |second| (first, second))) {
        for commits in [false, true] {
            let disk = SimulatedDisk::new();
            let mut log = open_small(&disk, 1_000);
            log.append(&vec![1; first]).unwrap();
            if commits {
                log.commit().unwrap();
            }
            log.append(&vec![2; second]).unwrap();
            log.close().unwrap();
            let frame = |len: usize| 16 + len.next_multiple_of(8);
            let fits = frame(first) + 16 * usize::from(commits) + frame(second) + 16 <= 192;
            let segments = disk.files().keys().filter(|path| segment::first_seq_of(path).is_some()).count();
            assert_eq!(segments, if fits { 1 } else { 2 }, "{first} and {second}, {commits}");
            let log = open_small(&disk, 1_000);
            let read = log.reader(FIRST_SEQ).read(log.next_seq(), usize::MAX, usize::MAX).unwrap();
            let lens: Vec<usize> = read.iter().map(|record| record.payload.len()).collect();
            assert_eq!(lens, [first, second]);
        }
    }
}

#[test]
fn a_segment_that_is_gone_already_may_be_removed_and_one_that_cannot_be_is_an_error() {
    // The first call opens the file, to give back its room little by little: it need not go well. The third removes it.
    for (gone, fault) in [(true, None), (false, Some(1)), (false, Some(3)), (false, None)] {
        let disk = SimulatedDisk::new();
        let mut log = open_small(&disk, 1_000);
        for _ in 0..5 {
            log.append(&[7; 150]).unwrap();
            log.commit().unwrap();
        }
        if gone {
            disk.remove(&segment::path_of(folder(), FIRST_SEQ)).unwrap();
        }
        if let Some(fault) = fault {
            disk.fail_at(disk.calls() + fault, Fault::Error(io::ErrorKind::PermissionDenied));
        }
        match log.trim(3) {
            Ok(removed) => assert!(fault != Some(3) && removed == 2),
            Err(LogError::Io { .. }) => assert_eq!(fault, Some(3)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_segment_is_begun_on_purpose_unless_the_last_is_empty() {
    let disk = SimulatedDisk::new();
    let mut log = open_small(&disk, 1_000);
    let segments = |disk: &SimulatedDisk| -> Vec<u64> {
        disk.files().keys().filter_map(|path| segment::first_seq_of(path)).collect()
    };
    log.roll().unwrap();
    assert_eq!(segments(&disk), [1]);
    log.append(&[7; 8]).unwrap();
    log.roll().unwrap();
    assert_eq!((segments(&disk), log.durable_to(), log.bytes()), (vec![1, 2], 2, 512));
    log.roll().unwrap();
    assert_eq!(segments(&disk), [1, 2]);
    assert_eq!((log.trim(2).unwrap(), log.first_seq(), segments(&disk)), (1, 2, vec![2]));
    // What is to stay within so many bytes begins with a segment, the last at least.
    for _ in 0..4 {
        log.append(&[7; 8]).unwrap();
        log.roll().unwrap();
    }
    assert_eq!(segments(&disk), [2, 3, 4, 5, 6]);
    let kept: Vec<u64> = [0, 255, 256, 511, 512, 1_280, 9_999].map(|bytes| log.first_seq_within(bytes)).to_vec();
    assert_eq!(kept, [6, 6, 6, 6, 5, 2, 2]);
}

#[test]
fn the_next_segment_is_made_once_half_of_the_last_is_full() {
    let disk = SimulatedDisk::new();
    let mut log = open_small(&disk, 300);
    let has_spare = |disk: &SimulatedDisk| disk.files().keys().any(|path| path.ends_with("spare"));
    log.append(&[7; 8]).unwrap();
    log.commit().unwrap();
    log.tend();
    assert!(!has_spare(&disk));
    log.append(&[7; 24]).unwrap();
    log.commit().unwrap();
    log.tend();
    assert!(has_spare(&disk));
    // Once: if it goes, it is made when it is needed.
    log.spare = None;
    disk.remove(&folder().join("spare")).unwrap();
    log.tend();
    assert!(!has_spare(&disk));
    log.roll().unwrap();
    assert_eq!(log.bytes(), 512);
    // And none for a log that takes nothing more.
    log.append(&[7; 64]).unwrap();
    log.commit().unwrap();
    let _ = log.given_up();
    log.tend();
    assert!(!has_spare(&disk));
}

#[test]
fn what_is_let_go_gives_back_its_room_by_and_by_and_not_too_late() {
    let disk = SimulatedDisk::new();
    let vfs: Arc<dyn Vfs> = Arc::new(disk);
    let segment_bytes = 2 * GIVE_BACK_BYTES;
    let options = LogOptions { kind: LogKind::Journal, segment_bytes, record_bytes_max: 8 };
    let (mut log, _) = Log::open(&vfs, folder(), options, &mut SeededRng::new(3)).unwrap();
    for _ in 0..LEAVING_MAX + 2 {
        log.append(&[7; 8]).unwrap();
        log.roll().unwrap();
    }
    let held = |log: &Log| log.leaving.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>();
    assert_eq!(log.let_go(2).unwrap(), 1);
    log.tend();
    assert_eq!(held(&log), [GIVE_BACK_BYTES]);
    log.tend();
    assert!(log.leaving.is_empty());
    // With each that waits behind it twice as much at once; those for which there is no place at once.
    assert_eq!(log.let_go(4).unwrap(), 2);
    log.tend();
    assert_eq!(held(&log), [segment_bytes]);
    assert_eq!(log.let_go(u64::MAX).unwrap(), LEAVING_MAX - 1);
    assert_eq!(held(&log), vec![segment_bytes; LEAVING_MAX]);
    // The next segment needs the room.
    log.spare = None;
    log.append(&[7; 8]).unwrap();
    log.roll().unwrap();
    assert!(log.leaving.is_empty());
}

#[test]
fn how_much_a_crash_has_torn_is_said() {
    let disk = SimulatedDisk::new();
    let mut log = open_small(&disk, 1_000);
    log.append(&[7; 8]).unwrap();
    log.close().unwrap();
    // Behind the header, a record and its mark.
    disk.edit(&segment::path_of(folder(), FIRST_SEQ)).unwrap().write_all_at(64 + 24 + 16 + 8, &[9; 24]).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let looked = Log::look(vfs.as_ref(), folder(), LogKind::Outbox).unwrap().unwrap();
    let (_, cut) = Log::open(&vfs, folder(), SMALL, &mut SeededRng::new(3)).unwrap();
    // As many as were written, and what stands in the same heads.
    assert!((24..=40).contains(&cut.bytes) && looked.torn_bytes == cut.bytes, "{} bytes", cut.bytes);
    let (log, cut) = Log::open(&vfs, folder(), SMALL, &mut SeededRng::new(3)).unwrap();
    assert_eq!((log.next_seq(), cut.bytes), (2, 0));
}

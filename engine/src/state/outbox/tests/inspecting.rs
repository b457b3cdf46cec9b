//! A folder as `weir state inspect` sees it.

use std::path::PathBuf;

use super::*;
use crate::vfs::RealVfs;

fn looked(disk: &SimulatedDisk) -> Result<Option<Inspection>, OpenError> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    inspect(&vfs, Path::new("/state"))
}

#[test]
fn who_waits_for_what_is_seen_and_nothing_is_changed() {
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(5_000)));
    assert_eq!(looked(&disk).unwrap(), None, "no folder");
    let mut outbox = open(&disk, &clock, &mut SeededRng::new(1)).unwrap();
    for number in 0..4 {
        outbox.writer.write(letter(number, if number < 2 { 0b011 } else { 0b110 }), &|_| {}).unwrap();
        clock.set(clock.wall_ms() + 1_000);
    }
    outbox.writer.commit().unwrap();
    let Polled::Batch(batch) = outbox.places[1].poll(1, || true).unwrap() else { panic!("four wait") };
    outbox.places[1].delivered(&batch, 1).unwrap();
    outbox.places[1].finish().unwrap();
    drop(outbox);
    let mut files = disk.files();
    files.insert(PathBuf::from("/state/outbox/cursor-later.new"), vec![0; 10]);
    let disk = SimulatedDisk::holding(files);
    let before = disk.files();
    let seen = looked(&disk).unwrap().expect("an outbox");
    let place = |name: &str, seq, waiting, oldest_ms| SinkPlace {
        name: name.to_owned(),
        seq,
        waiting,
        oldest_ms,
        lost: 0,
        damaged: false,
    };
    assert_eq!(
        seen.sinks,
        [place("board", 1, 2, Some(5_000)), place("desk", 2, 3, Some(6_000)), place("post", 1, 2, Some(7_000))]
    );
    assert_eq!((seen.outbox.next_seq, seen.reserve, seen.in_use), (5, true, false));
    assert!(seen.journal.is_none() && seen.events.is_none() && seen.dead_letters.is_none());
    assert!(seen.checkpoints.is_empty() && seen.audit.is_empty());
    assert_eq!(disk.files(), before);
    // Whatever cannot be read is an error, and never an empty folder.
    let mut forgiven = 0;
    for call in 1.. {
        let disk = SimulatedDisk::holding(before.clone());
        disk.fail_at(call, Fault::Error(std::io::ErrorKind::PermissionDenied));
        let seen_now = looked(&disk);
        if !disk.has_failed() {
            assert!(call > 10, "{call} calls");
            assert_eq!(forgiven, 2);
            break;
        }
        // Of the reserve it matters only whether it is there, and of the lock whether somebody has it.
        if let Ok(seen_now) = seen_now {
            let seen_now = seen_now.expect("an outbox");
            assert_eq!(seen_now.sinks, seen.sinks, "call {call}");
            forgiven += 1;
        }
    }
}

#[test]
fn a_sink_ahead_of_the_log_is_damage_unless_somebody_is_writing() {
    let folder = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let spec = StateSpec { segment_bytes: 4_096, reserve_bytes: 0, ..StateSpec::new(folder.path()) };
    let (clock, mut rng) = (Arc::new(ManualClock::at(0)), SeededRng::new(1));
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    assert_eq!(inspect(&vfs, folder.path()).unwrap(), None, "a folder of a disk that says what is not there");
    let base = Folder::open(&spec).unwrap();
    let mut outbox = Outbox::open(&spec, &base, vec!["desk".to_owned()], 100, None, &shared, &mut rng).unwrap();
    let log = folder.path().join("outbox/00000000000000000001.log");
    let empty = std::fs::read(&log).unwrap();
    outbox.writer.write(letter(0, 1), &|_| {}).unwrap();
    outbox.writer.commit().unwrap();
    assert_eq!(take_all(&mut outbox, 0), [0]);
    outbox.places[0].finish().unwrap();
    let seen = inspect(&vfs, folder.path()).unwrap().expect("an outbox");
    assert_eq!((seen.in_use, seen.sinks[0].seq, seen.sinks[0].waiting), (true, 2, 0));
    // The log of before beside the place of now: a writer may be between the two.
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, empty.clone()).unwrap();
    assert!(inspect(&vfs, folder.path()).unwrap().expect("an outbox").in_use);
    std::fs::write(&log, whole).unwrap();
    drop((outbox, base));
    let seen = inspect(&vfs, folder.path()).unwrap().expect("an outbox");
    assert_eq!((seen.in_use, seen.sinks[0].seq, seen.outbox.next_seq), (false, 2, 2), "it has got everything");
    std::fs::write(&log, empty).unwrap();
    let error = inspect(&vfs, folder.path()).expect_err("it is refused");
    assert!(matches!(error, OpenError::AheadOfLog { at: 2, end: 1, .. }), "{error}");
}

//! Places in a log: cursors that say how far somebody has got, and readers that go there.

use super::*;
use crate::vfs::RealVfs;

const PLACES: std::ops::Range<u64> = 1..40;

#[test]
fn a_cursor_goes_on_from_whichever_slot_was_written_last() {
    let disk = SimulatedDisk::new();
    disk.create_folder(folder()).unwrap();
    let mut rng = SeededRng::new(5);
    let mut left = Cursor { seq: FIRST_SEQ, lost: 0 };
    for seq in PLACES {
        let (mut cursor, found, damaged) = CursorFile::open(&disk, &cursor_path(), FIRST_SEQ).unwrap();
        assert_eq!((found, damaged), (left, false));
        for step in 0..=rng.below(3) {
            left = Cursor { seq: 10 * seq + step, lost: seq };
            cursor.write(left).unwrap();
            if rng.below(3) > 0 {
                cursor.sync().unwrap();
            }
        }
        assert_eq!(CursorFile::look(&disk, &cursor_path()).unwrap(), (left, false));
    }
    let files = disk.files();
    assert_eq!(files[&cursor_path()].len(), 4_096 + 36, "two slots, and no third");
}

#[test]
fn a_cursor_that_cannot_be_opened_is_not_begun_anew() {
    for call in 1.. {
        let disk = SimulatedDisk::new();
        disk.create_folder(folder()).unwrap();
        disk.fail_at(disk.calls() + call, Fault::Error(std::io::ErrorKind::PermissionDenied));
        let opened = CursorFile::open(&disk, &cursor_path(), 7);
        if !disk.has_failed() {
            assert!(call > 8, "{call} calls");
            break;
        }
        assert!(opened.is_err(), "call {call} of the making");
        let (_, found, damaged) = CursorFile::open(&disk, &cursor_path(), 7).unwrap();
        assert_eq!((found.seq, damaged), (7, false));
        // What is there is not made again.
        for call in 1.. {
            disk.fail_at(disk.calls() + call, Fault::Error(std::io::ErrorKind::PermissionDenied));
            let opened = CursorFile::open(&disk, &cursor_path(), 99);
            if !disk.has_failed() {
                assert_eq!(opened.unwrap().1.seq, 7);
                break;
            }
            assert!(opened.is_err(), "call {call} of the opening");
        }
    }
}

/// A log of so many records, each of its number, over several segments.
fn written(vfs: &Arc<dyn Vfs>, folder: &Path) -> Log {
    let (mut log, _) = Log::open(vfs, folder, OPTIONS, &mut SeededRng::new(3)).unwrap();
    for seq in PLACES {
        assert_eq!(log.append(&[seq as u8; 200]).unwrap(), seq);
    }
    log.commit().unwrap();
    log
}

#[test]
fn a_reader_goes_anywhere_and_says_where_it_is() {
    let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::new());
    let log = written(&vfs, folder());
    let mut reader = log.reader(20);
    assert_eq!(reader.seq(), 20);
    for seq in [20, 23, 1, 1, 2, 39, 30, 31, 12, 13] {
        reader.seek(seq);
        assert_eq!(reader.seq(), seq);
        let read = reader.read(PLACES.end, 3, usize::MAX).unwrap();
        let expected: Vec<(u64, u8)> = (seq..(seq + 3).min(PLACES.end)).map(|seq| (seq, seq as u8)).collect();
        assert_eq!(read.iter().map(|it| (it.seq, it.payload[0])).collect::<Vec<_>>(), expected);
        assert_eq!(reader.seq(), seq + expected.len() as u64);
    }
    // 200 bytes each: what has passed the bound ends the reading.
    for (bytes_max, count) in [(1, 1), (200, 1), (201, 2), (400, 2), (401, 3)] {
        reader.seek(5);
        assert_eq!(reader.read(PLACES.end, usize::MAX, bytes_max).unwrap().len(), count, "{bytes_max} bytes");
    }
}

/// One that is open takes its room on the disk after it has been removed.
#[test]
fn a_reader_that_rests_holds_no_segment_open() {
    let folder = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let log = written(&vfs, folder.path());
    let first = folder.path().join("00000000000000000001.log");
    let held = || {
        let held = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(held).filter(|path| *path == first).count()
    };
    let before = held();
    let mut reader = log.reader(1);
    assert_eq!(reader.read(PLACES.end, 1, usize::MAX).unwrap().len(), 1);
    assert_eq!(held(), before + 1);
    reader.rest();
    assert_eq!(held(), before);
    assert_eq!(reader.read(PLACES.end, 1, usize::MAX).unwrap()[0].seq, 2);
}

//! A log that something has damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use weir_engine::rng::SeededRng;
use weir_engine::state::log::{CursorFile, FIRST_SEQ, Log, LogKind, LogOptions};
use weir_engine::vfs::{SimulatedDisk, Vfs};

const FOLDER: &str = "/state/outbox";
const CURSOR: &str = "/state/outbox/cursor-desk";
const OPTIONS: LogOptions = LogOptions { kind: LogKind::Outbox, segment_bytes: 1_024, record_bytes_max: 256 };
const RECORDS: u64 = 24;
/// Bytes of one act of damage: which file, what, where (3), how much, with what (2).
const ACT_BYTES: usize = 8;
const ACTS_MAX: usize = 32;

fn payload(seq: u64) -> Vec<u8> {
    (0..20 + seq * 7 % 90).map(|at| (seq * 31 + at) as u8).collect()
}

fn open(disk: &SimulatedDisk) -> Option<Log> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    Log::open(&vfs, Path::new(FOLDER), OPTIONS, &mut SeededRng::new(1)).ok().map(|(log, _)| log)
}

/// A log of several segments, closed in good order, and a cursor.
fn sound() -> &'static BTreeMap<PathBuf, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk).expect("an empty disk");
        for seq in FIRST_SEQ..=RECORDS {
            assert_eq!(log.append(&payload(seq)).expect("there is room"), seq);
            if seq % 3 == 0 {
                log.commit().expect("the disk is sound");
            }
        }
        log.close().expect("the disk is sound");
        CursorFile::open(&disk, Path::new(CURSOR), FIRST_SEQ).expect("the disk is sound");
        disk.files()
    })
}

/// Damages the files of a log in up to 32 ways, and opens it: whatever it gives are records as they were written, one behind
/// the other.
///
/// # Panics
/// On a finding.
pub fn log_recover(data: &[u8]) {
    let mut files = sound().clone();
    for act in data.chunks_exact(ACT_BYTES).take(ACTS_MAX) {
        damage(&mut files, act);
    }
    let disk = SimulatedDisk::holding(files);
    let _ = CursorFile::open(&disk, Path::new(CURSOR), FIRST_SEQ);
    let Some(mut log) = open(&disk) else { return };
    let (first, end) = (log.first_seq(), log.next_seq());
    let Ok(records) = log.reader(first).read(end, usize::MAX, usize::MAX) else {
        panic!("it opened and cannot be read")
    };
    assert_eq!(records.len() as u64, end - first);
    for (record, seq) in records.iter().zip(first..) {
        assert_eq!((record.seq, &record.payload), (seq, &payload(seq)));
    }
    // What was cut off does not come back.
    log.append(b"next").expect("there is room");
    log.close().expect("the disk is sound");
    let log = open(&disk).expect("it was closed in good order");
    assert_eq!(log.next_seq(), end + 1);
}

fn damage(files: &mut BTreeMap<PathBuf, Vec<u8>>, act: &[u8]) {
    let Some(path) = files.keys().nth(usize::from(act[0]) % files.len().max(1)).cloned() else { return };
    let bytes = files.get_mut(&path).expect("it is there");
    let place = usize::from(act[2]) << 16 | usize::from(act[3]) << 8 | usize::from(act[4]);
    let at = place % (bytes.len() + 1);
    let end = (at + usize::from(act[5])).min(bytes.len());
    match act[1] % 6 {
        0 if at < bytes.len() => bytes[at] ^= act[6],
        1 => bytes.truncate(at),
        2 => bytes[at..end].fill(act[6]),
        3 => {
            let from = (usize::from(act[6]) << 8 | usize::from(act[7])) % (bytes.len() + 1);
            let copy = bytes[from..(from + end - at).min(bytes.len())].to_vec();
            bytes[at..at + copy.len().min(end - at)].copy_from_slice(&copy[..copy.len().min(end - at)]);
        }
        4 => drop(files.remove(&path)),
        _ => {
            // One file's end on another's.
            let other = files.values().nth(usize::from(act[6]) % files.len()).cloned().unwrap_or_default();
            let bytes = files.get_mut(&path).expect("it is there");
            let len = bytes.len().min(other.len());
            if at < len {
                bytes[at..len].copy_from_slice(&other[at..len]);
            }
        }
    }
}

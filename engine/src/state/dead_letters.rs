//! Records that were refused, late or let go, kept for a while for whoever wants to know: a sink like others, that writes a
//! log. It holds what those streams tell; the bytes of a refused record only where its source keeps them, sealed.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{FIRST_SEQ, Log, LogError, LogKind, LogOptions, Looked, Reader};
use crate::alert::{Output, Sink, SinkError, SinkSpec, Stream};
use crate::clock::Clock;
use crate::rng::Rng;
use crate::vfs::Vfs;

const FOLDER: &str = "dead-letters";
/// Version of the layout; the first byte of every record.
const VERSION: u8 = 1;
const SEGMENT_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 1 << 20;
/// Parts of the time that they are kept for in which a segment is closed.
const SEGMENTS_IN_TIME: i64 = 8;
/// Of those that an earlier run has written last, so many may be told again.
const AGAIN_MAX: u64 = 4_096;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLettersSpec {
    /// Milliseconds; after that they are removed with their segment.
    pub keep_for_ms: i64,
    /// Bytes on the disk; beyond them the oldest go earlier.
    pub bytes_max: u64,
}

impl DeadLettersSpec {
    /// The streams it takes.
    pub const STREAMS: [Stream; 3] = [Stream::DeadLetters, Stream::Late, Stream::Shed];
    /// The name of the sink.
    pub const NAME: &str = "dead-letters";

    /// Where they lie in a state folder.
    pub(crate) fn folder_of(folder: &Path) -> PathBuf {
        folder_of(folder)
    }

    /// The sink as the pipeline knows it. Late records belong to a purpose.
    pub fn sink_spec(purposes: Vec<String>) -> SinkSpec {
        SinkSpec {
            name: Self::NAME.to_owned(),
            purposes,
            streams: Self::STREAMS.to_vec(),
            actuator: false,
            reviewers: false,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    kept_ms: i64,
    stream: &'a str,
    json: &'a str,
}

/// One that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptLetter {
    /// Its number.
    pub number: u64,
    /// When it was written, by the wall clock, ms.
    pub kept_ms: i64,
    /// What was told.
    pub output: Output,
}

/// Writes them.
pub struct DeadLetters {
    log: Log,
    spec: DeadLettersSpec,
    clock: Arc<dyn Clock>,
    /// Of letters a part of the time apart, the oldest first: the one behind it, and when it was written.
    marks: VecDeque<(u64, i64)>,
    /// When the first letter of the open segment was written; `None` if it has none.
    begun_ms: Option<i64>,
    /// Those that an earlier run wrote last and may be told again, and how often.
    again: HashMap<blake3::Hash, u64>,
}

impl DeadLetters {
    /// Opens the log in a state folder, or begins one.
    ///
    /// # Errors
    /// When what is there cannot be used.
    pub fn open(
        vfs: &Arc<dyn Vfs>,
        folder: &Path,
        spec: DeadLettersSpec,
        clock: Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Self, LogError> {
        let options = LogOptions {
            kind: LogKind::DeadLetters,
            segment_bytes: SEGMENT_BYTES,
            record_bytes_max: (SEGMENT_BYTES / 2) as usize,
        };
        let (log, _) = Log::open(vfs, &folder_of(folder), options, rng)?;
        let mut it = Self { log, spec, clock, marks: VecDeque::new(), begun_ms: None, again: HashMap::new() };
        let (first, end) = (it.log.first_seq(), it.log.next_seq());
        let mut reader = it.log.reader(first);
        while reader.seq() < end {
            for record in reader.read(end, usize::MAX, READ_BYTES)? {
                let (kept_ms, output) = read(&record.payload).map_err(|what| reader.unreadable(record.seq, &what))?;
                it.mark(record.seq + 1, kept_ms);
                it.begun_ms.get_or_insert(kept_ms);
                if record.seq + AGAIN_MAX >= end {
                    *it.again.entry(key_of(&output)).or_default() += 1;
                }
            }
        }
        it.tidy()?;
        Ok(it)
    }

    fn mark(&mut self, end: u64, kept_ms: i64) {
        let apart_ms = self.spec.keep_for_ms / SEGMENTS_IN_TIME / SEGMENTS_IN_TIME;
        match self.marks.back_mut() {
            Some((last, at_ms)) if kept_ms - *at_ms <= apart_ms => *last = end,
            _ => self.marks.push_back((end, kept_ms)),
        }
    }

    /// Whether an earlier run has written it: those come first, if any come again.
    fn is_again(&mut self, output: &Output) -> bool {
        if self.again.is_empty() {
            return false;
        }
        match self.again.get_mut(&key_of(output)) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => {
                self.again = HashMap::new();
                false
            }
        }
    }

    fn write(&mut self, output: &Output) -> Result<(), LogError> {
        let (kept_ms, json) = (self.clock.wall_ms(), output.to_kept_json());
        let written = Written { kept_ms, stream: output.stream().word(), json: &json };
        let bytes = postcard::to_extend(&written, vec![VERSION]).expect("a letter is plain data");
        let seq = self.log.append(&bytes)?;
        self.mark(seq + 1, kept_ms);
        self.begun_ms.get_or_insert(kept_ms);
        Ok(())
    }

    /// Removes what has been kept for long enough, or is too much.
    fn tidy(&mut self) -> Result<(), LogError> {
        let now_ms = self.clock.wall_ms();
        let part_ms = self.spec.keep_for_ms / SEGMENTS_IN_TIME;
        if self.begun_ms.is_some_and(|begun_ms| now_ms - begun_ms >= part_ms) {
            self.log.roll()?;
            self.begun_ms = None;
        }
        let mut before = self.log.first_seq_within(self.spec.bytes_max);
        while let Some((end, _)) = self.marks.front().filter(|(_, ms)| now_ms - ms >= self.spec.keep_for_ms - part_ms) {
            before = before.max(*end);
            self.marks.pop_front();
        }
        self.log.trim(before).map(drop)
    }
}

fn fault(error: &LogError) -> SinkError {
    SinkError::new(error.to_string())
}

impl Sink for DeadLetters {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        for (at, output) in outputs.iter().enumerate() {
            if self.is_again(output) {
                continue;
            }
            match self.write(output) {
                // It could not be kept, however often it is tried.
                Err(LogError::TooLong { .. }) | Ok(()) => {}
                Err(error) => {
                    // What comes before it is kept, and not told again.
                    let before = self.log.commit();
                    return Err(fault(&error).after(if before.is_ok() { at } else { 0 }));
                }
            }
        }
        self.log.commit().map(drop).map_err(|error| fault(&error))
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.tidy().map_err(|error| fault(&error))
    }
}

/// What one is known by: all it says, its bytes aside, which are sealed anew each time.
fn key_of(output: &Output) -> blake3::Hash {
    blake3::hash(output.to_json().as_bytes())
}

fn read(payload: &[u8]) -> Result<(i64, Output), String> {
    let (version, body) = payload.split_first().ok_or("it is empty")?;
    if *version != VERSION {
        return Err(format!("it is of version {version}, and this program reads version {VERSION}"));
    }
    let written: Written<'_> = postcard::from_bytes(body).map_err(|_| "it is no letter")?;
    let stream = Stream::of_word(written.stream).ok_or_else(|| format!("there is no stream {}", written.stream))?;
    let output = Output::from_json(stream, written.json).map_err(|error| error.to_string())?;
    Ok((written.kept_ms, output))
}

fn folder_of(folder: &Path) -> PathBuf {
    folder.join(FOLDER)
}

/// How the log lies there; `None` if there is none. Changes nothing.
pub(super) fn look(vfs: &dyn Vfs, folder: &Path) -> Result<Option<Looked>, LogError> {
    Log::look(vfs, &folder_of(folder), LogKind::DeadLetters)
}

/// Reads all that are kept in a state folder, the oldest first, while a process may be writing more. `None` if none ever
/// were.
///
/// # Errors
/// When something is damaged.
pub fn dead_letters(
    vfs: &Arc<dyn Vfs>,
    folder: &Path,
    mut each: impl FnMut(KeptLetter),
) -> Result<Option<()>, LogError> {
    let Some(looked) = look(vfs.as_ref(), folder)? else { return Ok(None) };
    let from = looked.segments.first().copied().unwrap_or(FIRST_SEQ);
    let mut reader = Reader::new(Arc::clone(vfs), folder_of(folder), from);
    while reader.seq() < looked.next_seq {
        for record in reader.read(looked.next_seq, usize::MAX, READ_BYTES)? {
            let (kept_ms, output) = read(&record.payload).map_err(|what| reader.unreadable(record.seq, &what))?;
            each(KeptLetter { number: record.seq, kept_ms, output });
        }
    }
    Ok(Some(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::DeadLetter;
    use crate::clock::ManualClock;
    use crate::rng::SeededRng;
    use crate::vfs::SimulatedDisk;

    const HOUR: i64 = 3_600_000;
    const SPEC: DeadLettersSpec = DeadLettersSpec { keep_for_ms: 24 * HOUR, bytes_max: 64 << 20 };

    fn letter(record: u64) -> Output {
        Output::DeadLetter(Arc::new(DeadLetter {
            source: "gates".to_owned(),
            stream: "a.ndjson".to_owned(),
            record,
            records: 1,
            last_record: None,
            cause: "bad_json",
            message: "it ends early".to_owned(),
            digest: "00".to_owned(),
            received: "2026-11-26T00:00:00Z".to_owned(),
            sealed: vec![1, 2, 3],
        }))
    }

    fn numbers(disk: &SimulatedDisk) -> Vec<u64> {
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let mut records = Vec::new();
        dead_letters(&vfs, Path::new("/state"), |kept| {
            let Output::DeadLetter(letter) = kept.output else { panic!("a dead letter") };
            assert_eq!(letter.sealed, [1, 2, 3]);
            records.push(letter.record);
        })
        .unwrap();
        records
    }

    fn open(disk: &SimulatedDisk, clock: &Arc<ManualClock>) -> DeadLetters {
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        DeadLetters::open(&vfs, Path::new("/state"), SPEC, Arc::clone(clock) as _, &mut SeededRng::new(1)).unwrap()
    }

    #[test]
    fn they_are_kept_for_their_time_and_no_longer() {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
        let mut kept = open(&disk, &clock);
        for hour in 0..72 {
            clock.set(hour * HOUR);
            kept.deliver(&[letter(hour as u64)]).unwrap();
            kept.settle().unwrap();
            let oldest = numbers(&disk)[0] as i64;
            assert!((hour - 24..=hour - 17).contains(&oldest) || hour < 24, "in hour {hour} the oldest is of {oldest}");
        }
        // Nothing comes any more, and another run looks after it.
        drop(kept);
        let mut kept = open(&disk, &clock);
        clock.set(96 * HOUR);
        kept.settle().unwrap();
        assert!(numbers(&disk).is_empty());
    }

    #[test]
    fn what_is_told_again_after_a_crash_is_kept_once() {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
        open(&disk, &clock).deliver(&[letter(1), letter(2), letter(3)]).unwrap();
        let mut kept = open(&disk, &clock);
        kept.deliver(&[letter(2), letter(3), letter(4), letter(2)]).unwrap();
        assert_eq!(numbers(&disk), [1, 2, 3, 4, 2]);
    }

    #[test]
    fn what_a_full_disk_has_let_in_is_not_written_twice() {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
        let mut kept = open(&disk, &clock);
        // Two of them fill a segment.
        let outputs: Vec<Output> = (0..5)
            .map(|record| match letter(record) {
                Output::DeadLetter(letter) => {
                    Output::DeadLetter(Arc::new(DeadLetter { message: "x".repeat(1_500_000), ..(*letter).clone() }))
                }
                _ => unreachable!(),
            })
            .collect();
        disk.limit_bytes(Some(disk.files().values().map(Vec::len).sum()));
        let error = kept.deliver(&outputs).unwrap_err();
        assert_eq!((error.delivered, numbers(&disk)), (2, vec![0, 1]));
        disk.limit_bytes(None);
        kept.deliver(&outputs[error.delivered..]).unwrap();
        assert_eq!(numbers(&disk), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn sinks_are_not_given_the_bytes() {
        let output = letter(1);
        assert!(!output.to_json().contains("sealed"));
        assert_eq!(Output::from_json(Stream::DeadLetters, &output.to_kept_json()).unwrap(), output);
    }
}

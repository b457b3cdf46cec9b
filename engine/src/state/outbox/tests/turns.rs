//! What waits for turns and for room, and what must not.

use std::thread;
use std::time::Duration;

use super::opening::begun;
use super::*;
use crate::source::ShedTally;
use crate::state::Store;
use crate::state::journal::{Journal, KeptTurn};

fn with_journal(disk: &SimulatedDisk, clock: &Arc<ManualClock>, rng: &mut SeededRng) -> (Journal, Outbox) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let spec = StateSpec { journal_segment_bytes: 8_192, ..spec(disk) };
    let store = Store::open(spec, &[7; 32], vec!["desk".to_owned()], 100, &clock, rng).unwrap();
    (store.journal, store.outbox)
}

/// Makes a turn durable.
fn turn(journal: &mut Journal, number: u64) {
    let turn = KeptTurn { now_ms: 0, resumed: false, shed: ShedTally::default(), blocks: Vec::new() };
    journal.queue.put(number, turn);
    journal.writer.step(usize::MAX).unwrap();
}

#[test]
fn nothing_is_written_before_the_turn_it_follows_from_is_durable() {
    let (disk, clock, mut rng) = begun();
    let (mut journal, outbox) = with_journal(&disk, &clock, &mut rng);
    let Outbox { writer, mut places, queue, .. } = outbox;
    let writer = thread::spawn(|| writer.run(|_| ()));
    let (told, heard) = crossbeam_channel::bounded(1);
    queue.send(Item::Letter(letter(7, 1), 1)).unwrap();
    queue.send(Item::Ack(Box::new(move |_| told.send(()).unwrap()), 2)).unwrap();
    let pause = || thread::sleep(Duration::from_millis(30));
    pause();
    assert!(matches!(places[0].poll(1, || true).unwrap(), Polled::Nothing));
    turn(&mut journal, 0);
    let batch = places[0].next(1, || true).unwrap().expect("it comes with its turn");
    assert_eq!(number(&batch.letters[0].1), 7);
    pause();
    assert!(heard.is_empty());
    turn(&mut journal, 1);
    heard.recv_timeout(Duration::from_secs(5)).expect("so does the answer");
    drop(queue);
    assert_eq!(writer.join().unwrap().unwrap(), 0);
}

#[test]
fn what_is_durable_is_answered_for_while_the_next_waits_for_room() {
    let (disk, clock, mut rng) = begun();
    let spec = StateSpec { reserve_bytes: 0, ..spec(&disk) };
    let mut outbox = open_as(&spec, &clock, &mut rng).unwrap();
    disk.limit_bytes(Some(disk.files().values().map(Vec::len).sum()));
    let answered = Arc::new(Mutex::new(Vec::new()));
    let waited = std::cell::Cell::new(0);
    for number in 0..60 {
        let hold = |on| {
            if on {
                let all: Vec<u64> = (0..number).collect();
                assert_eq!(*answered.lock(), all);
                waited.set(waited.get() + 1);
                disk.limit_bytes(None);
            }
        };
        outbox.writer.take(Item::Letter(letter(number, 1), 0), &hold).unwrap();
        let answers = Arc::clone(&answered);
        outbox.writer.take(Item::Ack(Box::new(move |_| answers.lock().push(number)), 0), &hold).unwrap();
    }
    assert_eq!(waited.get(), 1);
    outbox.writer.commit().unwrap();
    assert_eq!(answered.lock().len(), 60);
    assert_eq!(take_all(&mut outbox, 0).len(), 60);
}

#[test]
fn an_answer_does_not_wait_for_turns_behind_it() {
    let (disk, clock, mut rng) = begun();
    let (mut journal, outbox) = with_journal(&disk, &clock, &mut rng);
    let Outbox { writer, queue, .. } = outbox;
    let (told, heard) = crossbeam_channel::bounded(1);
    queue.send(Item::Ack(Box::new(move |_| told.send(()).unwrap()), 0)).unwrap();
    queue.send(Item::Letter(letter(0, 1), 1)).unwrap();
    let writer = thread::spawn(|| writer.run(|_| ()));
    heard.recv_timeout(Duration::from_secs(5)).expect("it follows from nothing that is not durable");
    turn(&mut journal, 0);
    drop(queue);
    writer.join().unwrap().unwrap();
}

/// A turn may be waiting for room that is made here.
#[test]
fn the_disk_is_looked_after_while_a_turn_is_waited_for() {
    let (disk, clock, mut rng) = begun();
    let base: usize = {
        with_journal(&disk, &clock, &mut rng);
        disk.files().values().map(Vec::len).sum()
    };
    let mut files = disk.files();
    files.remove(Path::new("/state/reserve")).expect("room is kept");
    let disk = SimulatedDisk::holding(files);
    disk.limit_bytes(Some(base - 1));
    let (mut journal, outbox) = with_journal(&disk, &clock, &mut rng);
    let Outbox { writer, queue, .. } = outbox;
    let (told, heard) = crossbeam_channel::unbounded();
    queue.send(Item::Letter(letter(0, 1), 1)).unwrap();
    let writer = thread::spawn(move || writer.run(|hold| told.send(hold).unwrap()));
    thread::sleep(Duration::from_millis(30));
    assert!(heard.is_empty());
    disk.limit_bytes(None);
    clock.set(clock.wall_ms() + 1_000);
    assert_eq!(heard.recv_timeout(Duration::from_secs(5)), Ok(false), "there is room again");
    turn(&mut journal, 0);
    drop(queue);
    writer.join().unwrap().unwrap();
}

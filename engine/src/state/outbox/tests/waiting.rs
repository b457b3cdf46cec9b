//! How a sink waits: for outputs, for its second, for a pause to be over, for the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::opening::{begun, write};
use super::*;

/// Counts how often somebody looks at it.
struct Looked(ManualClock, AtomicU64);

impl Clock for Looked {
    fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.monotonic_ns()
    }
}

#[test]
fn a_sink_waits_for_what_comes_and_hears_of_the_end() {
    let disk = SimulatedDisk::new();
    let looked = Arc::new(Looked(ManualClock::at(0), AtomicU64::new(0)));
    let clock: Arc<dyn Clock> = Arc::clone(&looked) as Arc<dyn Clock>;
    let (spec, names) = (spec(&disk), vec!["desk".to_owned(), "post".to_owned()]);
    let base = Folder::open(&spec).unwrap();
    let outbox = Outbox::open(&spec, &base, names, 100, None, &clock, &mut SeededRng::new(1)).unwrap();
    let Outbox { writer, mut places, queue, .. } = outbox;
    let mut place = places.remove(1);
    let sink = thread::spawn(move || {
        let mut told = Vec::new();
        while let Some(batch) = place.next(3, || true).unwrap() {
            told.extend(batch.letters.iter().map(|(_, opened)| number(opened)));
            place.delivered(&batch, batch.letters.len()).unwrap();
        }
        told
    });
    thread::sleep(Duration::from_millis(100));
    let looks = looked.1.load(Ordering::Relaxed);
    assert!(looks < 50, "looked up {looks} times in a tenth of a second in which nothing came");
    let writer = thread::spawn(|| writer.run(|_| ()));
    for number in 0..10 {
        let sinks = if number % 3 == 2 { 0b01 } else { 0b11 };
        queue.send(Item::Letter(letter(number, sinks), 0)).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!sink.is_finished());
    drop(queue);
    assert_eq!(sink.join().unwrap(), [0, 1, 3, 4, 6, 7, 9]);
    assert_eq!(writer.join().unwrap().unwrap(), 0);
}

#[test]
fn whoever_looks_without_waiting_is_told_that_there_is_nothing_yet() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    assert!(matches!(outbox.places[0].poll(1, || true).unwrap(), Polled::Nothing));
    write(&mut outbox, 0..3, 0b010);
    write(&mut outbox, 3..5, 0b001);
    assert_eq!([0, 1, 2].map(|sink| outbox.places[sink].waiting().unwrap()), [2, 3, 0]);
    assert_eq!([0, 1, 2].map(|sink| outbox.places[sink].behind()), [5; 3]);
    assert!(matches!(outbox.places[2].poll(1, || true).unwrap(), Polled::Nothing));
    assert_eq!([0, 1, 2].map(|sink| outbox.places[sink].behind()), [5, 5, 0]);
}

#[test]
fn a_place_is_made_durable_once_a_second_and_not_before_its_sink_has_settled() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    let durable = outbox.keep_from.clone();
    let durable = || durable.0.board.lock().places[0];
    write(&mut outbox, 0..4, 0b001);
    assert_eq!(take_all(&mut outbox, 0), [0, 1, 2, 3]);
    let asked = std::cell::Cell::new(0);
    let settles = |settled| {
        asked.set(asked.get() + 1);
        settled
    };
    outbox.places[0].poll(1, || settles(true)).unwrap();
    assert_eq!((asked.get(), durable()), (0, 1), "a second has not passed");
    clock.set(1_000);
    outbox.places[0].poll(1, || settles(false)).unwrap();
    assert_eq!((asked.get(), durable()), (1, 1));
    outbox.places[0].poll(1, || settles(true)).unwrap();
    assert_eq!((asked.get(), durable()), (2, 5));
    write(&mut outbox, 4..5, 0b001);
    assert_eq!((take_all(&mut outbox, 0), durable()), (vec![4], 5));
    outbox.places[0].finish().unwrap();
    assert_eq!(durable(), 6);
}

#[test]
fn a_pause_is_over_with_its_time_and_sooner_if_the_run_ends_or_the_sink_must_move_on() {
    let (disk, clock, mut rng) = begun();
    let outbox = open(&disk, &clock, &mut rng).unwrap();
    let (shared, mut places) = (outbox.keep_from.0, outbox.places);
    let place = Arc::new(Mutex::new(places.remove(0)));
    assert!(!place.lock().rest(Duration::ZERO));
    let hour_ms = 3_600_000;
    // Whether the run has ended, as the pause says when it is over; it is not before `done`.
    let over = |done: &dyn Fn()| {
        let place = Arc::clone(&place);
        let pause = thread::spawn(move || place.lock().rest(Duration::from_millis(hour_ms)));
        thread::sleep(Duration::from_millis(30));
        assert!(!pause.is_finished());
        done();
        let since = Instant::now();
        while !pause.is_finished() {
            assert!(since.elapsed() < Duration::from_secs(5), "it goes on");
            thread::sleep(Duration::from_millis(1));
        }
        pause.join().unwrap()
    };
    let an_hour_passes = || clock.set(clock.wall_ms() + hour_ms as i64);
    let change = |changed: &dyn Fn(&mut Board)| {
        changed(&mut shared.board.lock());
        shared.changed.notify_all();
    };
    assert!(!over(&an_hour_passes));
    assert!(!over(&|| change(&|board| board.floor = 2)));
    change(&|board| board.floor = 1);
    assert!(over(&|| change(&|board| board.ended = true)));
    assert!(over(&an_hour_passes), "and after the end it lasts its time");
}

#[test]
fn what_is_for_others_is_passed_over_without_a_pause() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    write(&mut outbox, 0..40, 0b001);
    write(&mut outbox, 40..41, 0b010);
    drop(outbox);
    // What earlier runs have written is read from the disk, a letter at a time here.
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    let since = Instant::now();
    let batch = outbox.places[1].next(1, || true).unwrap().expect("one waits");
    assert_eq!(number(&batch.letters[0].1), 40);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

//! An outbox and three sinks, step by step from a seed: power losses, flaky and silent sinks, a full disk; against a plain
//! account of who was told what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::place::Polled;
use super::*;
use crate::alert::{Notice, Output};
use crate::clock::ManualClock;
use crate::rng::SeededRng;
use crate::vfs::{Fault, Forgets, SimulatedDisk, Survival, Vfs};

mod inspecting;
mod opening;
mod turns;
mod waiting;

const SINKS: [&str; 3] = ["board", "desk", "post"];
const SEEDS: u64 = 300;
const STEPS: usize = 120;

fn letter(number: u64, sinks: u64) -> Letter {
    let notice = Notice {
        notice: "silent",
        source: None,
        device: None,
        zone: None,
        ts: "2026-11-25T08:00:00.000Z".to_owned(),
        say: number.to_string(),
    };
    Letter { output: Output::Notice(Arc::new(notice)), sinks }
}

fn number(opened: &Opened) -> u64 {
    let Output::Notice(notice) = &opened.output else { panic!("{opened:?}") };
    notice.say.parse().expect("a number")
}

fn spec(disk: &SimulatedDisk) -> StateSpec {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let folder = Path::new("/state").to_path_buf();
    StateSpec { vfs, segment_bytes: 4_096, reserve_bytes: 16_384, drain_for_ms: 0, ..StateSpec::new(folder) }
}

/// What a sink has been told, and what it must be told yet.
#[derive(Debug, Default, Clone)]
struct Told {
    /// In order of telling, repeats included.
    all: Vec<u64>,
    /// Behind the last one that it noted as delivered.
    place: u64,
    /// Where that was when it was last made durable.
    settled: u64,
}

struct World {
    disk: SimulatedDisk,
    clock: Arc<ManualClock>,
    rng: SeededRng,
    outbox: Outbox,
    /// Letters in order with the sinks they are for; durable ones first.
    sent: Vec<(u64, u64)>,
    durable: usize,
    told: [Told; 3],
}

fn open(disk: &SimulatedDisk, clock: &Arc<ManualClock>, rng: &mut SeededRng) -> Result<Outbox, OpenError> {
    open_as(&spec(disk), clock, rng)
}

fn open_as(spec: &StateSpec, clock: &Arc<ManualClock>, rng: &mut SeededRng) -> Result<Outbox, OpenError> {
    open_for(spec, &SINKS, clock, rng)
}

fn open_for(
    spec: &StateSpec,
    sinks: &[&str],
    clock: &Arc<ManualClock>,
    rng: &mut SeededRng,
) -> Result<Outbox, OpenError> {
    let shared: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let names = sinks.iter().map(|name| (*name).to_owned()).collect();
    Outbox::open(spec, &Folder::open(spec)?, names, 100, None, &shared, rng)
}

/// Numbers of what a sink is given now, which it takes.
fn take_all(outbox: &mut Outbox, sink: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Polled::Batch(batch) = outbox.places[sink].poll(100, || true).unwrap() {
        numbers.extend(batch.letters.iter().map(|(_, opened)| number(opened)));
        outbox.places[sink].delivered(&batch, batch.letters.len()).unwrap();
    }
    numbers
}

impl World {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(1_000_000)));
        let mut rng = SeededRng::new(seed);
        let outbox = open(&disk, &clock, &mut rng).expect("an empty disk");
        Self { disk, clock, rng, outbox, sent: Vec::new(), durable: 0, told: Default::default() }
    }

    fn write(&mut self) -> Result<(), LogError> {
        for _ in 0..=self.rng.below(12) {
            let it = (self.sent.len() as u64, 1 + self.rng.below(7));
            self.sent.push(it);
            self.outbox.writer.write(letter(it.0, it.1), &|_| {})?;
        }
        self.outbox.writer.commit()?;
        self.durable = self.sent.len();
        Ok(())
    }

    /// Gives a sink its next outputs; it takes as many as it likes.
    fn deliver(&mut self, sink: usize) -> Result<(), LogError> {
        let takes = self.rng.below(4);
        let max = 1 + self.rng.below(9) as usize;
        let settled = std::cell::Cell::new(false);
        let polled = self.outbox.places[sink].poll(max, || {
            settled.set(true);
            true
        })?;
        if settled.get() {
            self.told[sink].settled = self.told[sink].place;
        }
        let Polled::Batch(batch) = polled else { return Ok(()) };
        let taken = if takes == 0 { self.rng.below(batch.letters.len() as u64) as usize } else { batch.letters.len() };
        for (_, opened) in &batch.letters[..taken] {
            let number = number(opened);
            assert!((number as usize) < self.durable, "told before it was durable");
            assert_eq!(self.sent[number as usize].1 >> sink & 1, 1, "told to the wrong sink");
            self.told[sink].all.push(number);
        }
        self.outbox.places[sink].delivered(&batch, taken)?;
        if let Some((_, opened)) = batch.letters[..taken].last() {
            self.told[sink].place = number(opened) + 1;
        }
        Ok(())
    }

    fn lose_power(&mut self) {
        let survival = match self.rng.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Some(self.rng.next_u64()),
        };
        self.disk = self.disk.after_power_loss(survival);
        self.outbox = open(&self.disk, &self.clock, &mut self.rng).expect("an outbox after a power loss");
        // Letters beyond what was committed may be there or not, but from the first on.
        let end = (self.outbox.writer.next_seq() - 1) as usize;
        assert!(end >= self.durable, "a committed letter is gone");
        self.sent.truncate(end);
        self.durable = end;
    }

    fn step(&mut self) -> Result<(), LogError> {
        match self.rng.below(10) {
            0..3 => self.write(),
            3..8 => {
                let sink = self.rng.below(3) as usize;
                // The third does not answer for a long time.
                if sink == 2 && self.rng.below(8) > 0 { Ok(()) } else { self.deliver(sink) }
            }
            8 => {
                self.clock.set(self.clock.wall_ms() + self.rng.below(1_500) as i64);
                self.outbox.writer.look_after_disk(&|_| {})
            }
            _ => Ok(()),
        }
    }

    /// Everybody is told the rest, and nobody was told anything out of order or more often than a crash explains.
    fn end(mut self) -> SimulatedDisk {
        self.disk.fail_at(u64::MAX, Fault::PowerOff);
        for _ in 0..10_000 {
            for sink in 0..3 {
                self.deliver(sink).unwrap();
            }
        }
        for (sink, told) in self.told.iter().enumerate() {
            let meant: BTreeSet<u64> =
                self.sent.iter().filter(|(_, sinks)| sinks >> sink & 1 == 1).map(|(number, _)| *number).collect();
            let seen: BTreeSet<u64> = told.all.iter().copied().collect();
            assert_eq!(seen, meant, "sink {sink}");
        }
        for _ in 0..2 {
            self.clock.set(self.clock.wall_ms() + 2_000);
            for sink in 0..3 {
                self.deliver(sink).unwrap();
            }
        }
        self.outbox.writer.look_after_disk(&|_| {}).unwrap();
        self.disk
    }
}

/// A life with power losses; how many there were.
fn live(seed: u64, forgets: Forgets) -> usize {
    let mut world = World::new(seed);
    world.disk.forget(forgets);
    let mut crashes = 0;
    for _ in 0..STEPS {
        if world.rng.below(40) == 0 {
            let call = world.disk.calls() + 1 + world.rng.below(12);
            world.disk.fail_at(call, Fault::PowerOff);
        }
        // A log that works ahead does not say at once that it could not.
        if world.step().is_err() || world.disk.is_off() {
            crashes += 1;
            world.lose_power();
            world.disk.forget(forgets);
            // What a sink is told again begins no earlier than where its place was last durable.
            for (sink, told) in world.told.iter_mut().enumerate() {
                let place = world.outbox.places[sink].seq() - 1;
                assert!(place >= told.settled, "sink {sink} of seed {seed} is told again what was settled");
                told.place = place;
            }
        }
    }
    for told in &world.told {
        // In order, but for what is told again after a crash.
        let steps_back = told.all.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        assert!(steps_back <= crashes, "seed {seed}");
    }
    let disk = world.end();
    let segments = disk.files().into_keys().filter(|path| path.extension().is_some_and(|it| it == "log")).count();
    assert_eq!(segments, 1, "seed {seed}: what everybody has is removed");
    crashes
}

#[test]
fn every_sink_is_told_everything_in_order_whatever_happens() {
    let crashes: usize = (1..=SEEDS).map(|seed| live(seed, Forgets::Nothing)).sum();
    assert!(crashes > SEEDS as usize / 2, "{crashes} power losses");
}

#[test]
fn a_missing_fsync_is_found() {
    for forgets in [Forgets::Files, Forgets::Folders] {
        let found = (1..=SEEDS).any(|seed| std::panic::catch_unwind(|| live(seed, forgets)).is_err());
        assert!(found, "{forgets:?}");
    }
}

#[test]
fn an_answer_waits_for_the_fsync_and_comes_without_one_if_there_is_nothing_to_sync() {
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
    let mut writer = open(&disk, &clock, &mut SeededRng::new(1)).unwrap().writer;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let ack = |number: u64| {
        let answered = Arc::clone(&answered);
        Item::Ack(Box::new(move |_| answered.lock().push(number)), 0)
    };
    writer.take(ack(1), &|_| {}).unwrap();
    writer.commit().unwrap();
    assert_eq!(*answered.lock(), [1]);
    writer.take(Item::Letter(letter(0, 1), 0), &|_| {}).unwrap();
    writer.take(ack(2), &|_| {}).unwrap();
    assert_eq!(*answered.lock(), [1]);
    // The write goes well and the sync does not.
    disk.fail_at(disk.calls() + 2, Fault::Error(std::io::ErrorKind::Other));
    writer.commit().unwrap_err();
    assert!(disk.has_failed());
    writer.take(ack(3), &|_| {}).unwrap();
    writer.commit().unwrap_err();
    assert_eq!(*answered.lock(), [1], "nothing is acknowledged after an fsync that failed");
}

/// Every call of a run fails once. Nothing is told that is not durable, and after a new start everybody is told the rest.
#[test]
fn any_call_may_fail() {
    for call in 1..400 {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
        let mut rng = SeededRng::new(call);
        disk.fail_at(call, Fault::Error(std::io::ErrorKind::Other));
        let outbox = open(&disk, &clock, &mut rng);
        let outbox = outbox.unwrap_or_else(|_| open(&disk, &clock, &mut rng).expect("the fault has passed"));
        let told = <[Told; 3]>::default();
        let mut world = World { disk, clock, rng, outbox, sent: Vec::new(), durable: 0, told };
        for _ in 0..STEPS {
            if world.step().is_err() {
                world.lose_power();
                break;
            }
        }
        world.end();
    }
}

#[test]
fn who_is_too_far_behind_loses_the_oldest_and_it_is_counted() {
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
    let mut rng = SeededRng::new(1);
    let spec = StateSpec { outbox_bytes_max: 4 * 4_096, ..spec(&disk) };
    let mut outbox = open_as(&spec, &clock, &mut rng).unwrap();
    for number in 0..1_000 {
        outbox.writer.write(letter(number, 0b111), &|_| {}).unwrap();
        outbox.writer.commit().unwrap();
        if let Polled::Batch(batch) = outbox.places[0].poll(10, || true).unwrap() {
            let len = batch.letters.len();
            outbox.places[0].delivered(&batch, len).unwrap();
        }
        if number % 10 == 0 {
            clock.set(clock.wall_ms() + 1_000);
            outbox.writer.look_after_disk(&|_| {}).unwrap();
            // The others do not deliver, but look up.
            for sink in 1..3 {
                outbox.places[sink].poll(1, || true).unwrap();
            }
        }
    }
    assert_eq!(outbox.places[0].lost(), 0, "a sink that keeps up loses nothing");
    let mut left = BTreeMap::new();
    for sink in 1..3 {
        let lost = outbox.places[sink].lost();
        let waiting = outbox.places[sink].waiting().unwrap();
        assert_eq!(lost + waiting, 1_000);
        assert!(waiting > 20 && lost > 500, "{lost} lost, {waiting} waiting");
        left.insert(sink, (lost, waiting));
    }
    let bytes: usize =
        disk.files().iter().filter(|(path, _)| path.ends_with("log")).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= 5 * 4_096);
    // What was lost is known after a restart too.
    drop(outbox);
    let mut outbox = open_as(&spec, &clock, &mut rng).unwrap();
    for (sink, (lost, waiting)) in left {
        assert_eq!((outbox.places[sink].lost(), outbox.places[sink].waiting().unwrap()), (lost, waiting));
    }
}

#[test]
fn a_full_disk_lets_out_what_is_under_way_and_takes_in_nothing_new() {
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
    let mut outbox = open(&disk, &clock, &mut SeededRng::new(1)).unwrap();
    let held = std::cell::RefCell::new(Vec::new());
    let hold = |on| held.borrow_mut().push(on);
    outbox.writer.look_after_disk(&hold).unwrap();
    clock.set(1_000);
    outbox.writer.look_after_disk(&hold).unwrap();
    assert!(held.borrow().is_empty(), "nobody was held up");
    let full: usize = disk.files().values().map(Vec::len).sum();
    disk.limit_bytes(Some(full + 100));
    // More than a segment: the second one finds room where the reserve was.
    for number in 0..60 {
        outbox.writer.write(letter(number, 0b001), &hold).unwrap();
        outbox.writer.commit().unwrap();
    }
    assert_eq!(held.borrow().first(), Some(&true));
    assert_eq!(take_all(&mut outbox, 0), (0..60).collect::<Vec<u64>>(), "all of it left");
    // Somebody makes room, and within a second things go on by themselves.
    let reserve = || disk.files().get(Path::new("/state/reserve")).map(Vec::len);
    assert_eq!(reserve(), None);
    disk.limit_bytes(None);
    clock.set(2_000);
    outbox.writer.look_after_disk(&hold).unwrap();
    assert_eq!((held.borrow().last(), reserve()), (Some(&false), Some(16_384)));
}

#[test]
fn a_folder_that_lost_its_end_is_refused() {
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::at(0)));
    let mut rng = SeededRng::new(1);
    let begun = disk.files();
    assert!(begun.is_empty());
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    let early = disk.files();
    for number in 0..10 {
        outbox.writer.write(letter(number, 0b1), &|_| {}).unwrap();
    }
    outbox.writer.commit().unwrap();
    let Polled::Batch(batch) = outbox.places[0].poll(100, || true).unwrap() else { panic!("ten wait") };
    outbox.places[0].delivered(&batch, 10).unwrap();
    // The log of yesterday beside the place of today.
    let mut mixed = disk.files();
    for (path, bytes) in early.into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "log")) {
        mixed.insert(path, bytes);
    }
    let error = open(&SimulatedDisk::holding(mixed), &clock, &mut rng).err().expect("it is refused");
    assert!(matches!(error, OpenError::AheadOfLog { .. }), "{error}");
}

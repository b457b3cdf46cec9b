//! What is found in a folder, and what of it is kept.

use std::path::PathBuf;

use super::*;

pub(super) fn begun() -> (SimulatedDisk, Arc<ManualClock>, SeededRng) {
    (SimulatedDisk::new(), Arc::new(ManualClock::at(0)), SeededRng::new(1))
}

pub(super) fn write(outbox: &mut Outbox, numbers: std::ops::Range<u64>, sinks: u64) {
    for number in numbers {
        outbox.writer.write(letter(number, sinks), &|_| {}).unwrap();
    }
    outbox.writer.commit().unwrap();
}

fn segments(disk: &SimulatedDisk) -> usize {
    disk.files().keys().filter(|path| path.extension().is_some_and(|it| it == "log")).count()
}

#[test]
fn a_sinks_name_is_one_that_a_file_may_have() {
    let (disk, clock, mut rng) = begun();
    for name in ["", "a/b", "a b", "ü", "a:b"] {
        let error = open_for(&spec(&disk), &["desk", name], &clock, &mut rng).err().expect("it is refused");
        assert!(matches!(&error, OpenError::SinkName(refused) if refused == name), "{error}");
    }
    assert!(open_for(&spec(&disk), &["A-1_b.c"], &clock, &mut rng).is_ok());
    let names: Vec<String> = (0..=SINKS_MAX).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(open_for(&spec(&disk), &names[..SINKS_MAX], &clock, &mut rng).is_ok());
    assert!(matches!(open_for(&spec(&disk), &names, &clock, &mut rng), Err(OpenError::TooManySinks)));
}

#[test]
fn what_was_found_is_told_and_what_is_nobodys_is_removed() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    assert_eq!(outbox.found, Found::default());
    write(&mut outbox, 0..5, 0b111);
    assert_eq!(take_all(&mut outbox, 0), [0, 1, 2, 3, 4]);
    outbox.places[0].finish().unwrap();
    drop(outbox);
    // A place that a crash left half made, and what it tore of a write.
    let mut files = disk.files();
    files.insert(PathBuf::from("/state/outbox/cursor-later.new"), vec![0; 10]);
    let log = files.iter_mut().find(|(path, _)| path.ends_with("00000000000000000001.log")).expect("a log").1;
    let end = log.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    log[end + 20..end + 30].fill(7);
    let disk = SimulatedDisk::holding(files);
    let mut outbox = open_for(&spec(&disk), &["post", "board", "new"], &clock, &mut rng).unwrap();
    let Found { waiting, cut, undeclared, .. } = &outbox.found;
    assert_eq!((*waiting, undeclared.as_slice()), (5, &["desk".to_owned()][..]));
    assert!(cut.bytes > 0);
    let left: Vec<String> = disk.files().into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|path| path.contains("desk") || path.contains("later")), "{left:?}");
    // Places go by name; who is new is told what is told from now on.
    assert_eq!([0, 1, 2].map(|sink| outbox.places[sink].waiting().unwrap()), [5, 0, 0]);
    assert_eq!(take_all(&mut outbox, 0), [0, 1, 2, 3, 4]);
    assert!(take_all(&mut outbox, 1).is_empty() && take_all(&mut outbox, 2).is_empty());
}

#[test]
fn what_was_just_written_is_handed_over_without_the_disk() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    write(&mut outbox, 0..3, 0b101);
    let calls = disk.calls();
    let Polled::Batch(batch) = outbox.places[2].poll(2, || true).unwrap() else { panic!("three wait") };
    let numbers: Vec<u64> = batch.letters.iter().map(|(_, opened)| number(opened)).collect();
    assert_eq!((numbers, disk.calls() - calls), (vec![0, 1], 0));
    outbox.places[2].delivered(&batch, 2).unwrap();
    assert_eq!((take_all(&mut outbox, 2), take_all(&mut outbox, 0)), (vec![2], vec![0, 1, 2]));
    assert!(take_all(&mut outbox, 1).is_empty());
}

#[test]
fn what_is_needed_for_a_replay_is_kept_though_everybody_has_it() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    outbox.keep_from.set(1);
    write(&mut outbox, 0..300, 0b001);
    let many = segments(&disk);
    assert!(many > 3, "{many} segments");
    let tidied = |outbox: &mut Outbox| {
        clock.set(clock.wall_ms() + 1_000);
        for sink in 0..3 {
            take_all(outbox, sink);
            outbox.places[sink].finish().unwrap();
        }
        outbox.writer.look_after_disk(&|_| {}).unwrap();
        segments(&disk)
    };
    assert_eq!(tidied(&mut outbox), many);
    outbox.keep_from.set(150);
    let some = tidied(&mut outbox);
    assert!(some > 1 && some < many, "{some} of {many}");
    outbox.keep_from.set(u64::MAX);
    assert_eq!(tidied(&mut outbox), 1);
}

#[test]
fn what_was_told_is_read_again_from_any_output_on() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    write(&mut outbox, 0..60, 0b010);
    assert!(segments(&disk) > 1);
    let says = |records: std::ops::Range<u64>| -> Vec<String> {
        let outputs = outputs_from(&spec(&disk), records).unwrap();
        outputs.iter().map(|output| output.to_json().split("\"say\":").nth(1).unwrap().to_owned()).collect()
    };
    let all = says(1..61);
    assert_eq!((all.len(), &all[0][..3], &all[59][..4]), (60, "\"0\"", "\"59\""));
    assert_eq!(says(31..41), all[30..40]);
    assert!(says(61..61).is_empty());
}

#[test]
fn an_output_longer_than_half_a_segment_is_let_go_and_counted() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    let Letter { output: Output::Notice(notice), .. } = letter(0, 1) else { panic!("a notice") };
    let long = |bytes| {
        let notice = Notice { say: "x".repeat(bytes), ..(*notice).clone() };
        Item::Letter(Letter { output: Output::Notice(Arc::new(notice)), sinks: 1 }, 0)
    };
    for bytes in [100, 1_500, 2_100, 3_500, 9_000] {
        outbox.queue.send(long(bytes)).unwrap();
    }
    drop(outbox.queue);
    assert_eq!(outbox.writer.run(|_| ()).unwrap(), 3);
    let Polled::Batch(batch) = outbox.places[0].poll(10, || true).unwrap() else { panic!("two wait") };
    assert_eq!(batch.letters.len(), 2);
}

#[test]
fn what_everybody_has_is_removed_within_an_hour_though_nothing_more_comes() {
    let (disk, clock, mut rng) = begun();
    let mut outbox = open(&disk, &clock, &mut rng).unwrap();
    let name = || disk.files().into_keys().find(|path| path.extension().is_some_and(|it| it == "log")).unwrap();
    write(&mut outbox, 0..3, 0b001);
    let first = name();
    let look_after = |outbox: &mut Outbox| {
        clock.set(clock.wall_ms() + 3_600_000);
        for place in &mut outbox.places {
            place.poll(1, || true).unwrap();
            place.finish().unwrap();
        }
        outbox.writer.look_after_disk(&|_| {}).unwrap();
        outbox.writer.commit().unwrap();
        assert_eq!(segments(&disk), 1);
        name()
    };
    assert_eq!(look_after(&mut outbox), first, "three wait");
    assert_eq!(take_all(&mut outbox, 0), [0, 1, 2]);
    assert!(look_after(&mut outbox) > first);
}

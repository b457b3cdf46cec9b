//! Who judges what, who applies it, and what becomes of a run in which one of them dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;
use crate::alert::Router;
use crate::runtime::simulator::world::{World, history};
use crate::runtime::{Pipeline, RunError, SourceSpec};
use crate::source::{Feed, Format, Payload, Source, SourceError};

/// A source that does this.
struct Does<F>(F);

impl<F: FnOnce(Feed) + Send> Source for Does<F> {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        (self.0)(feed);
        Ok(())
    }
}

fn pipeline(source: impl FnOnce(Feed) + Send + 'static) -> Pipeline {
    let world = World::new(1, false, 1);
    let builder = world.builder(history(), None).shards(2);
    builder.source(SourceSpec::new("gates", Format::Ndjson), Does(source)).build().expect("a pipeline")
}

/// Two shards without threads.
fn crew() -> Crew {
    let Pipeline { plans, intake, .. } = pipeline(|_| ());
    let (router, _) = Router::collecting();
    let partition = Partition::new(&plans.current(), router, Arc::default());
    Crew::new(2, plans, intake, partition)
}

fn lines(records: usize) -> Payload {
    let line = |n| {
        format!(
            "{{\"kind\":\"person\",\"event_id\":\"{n}\",\"ts\":1795500000000,\"site\":\"s\",\"device\":\"d\",\"zone\":\"z\",\"count\":1}}\n"
        )
    };
    Payload::Lines { bytes: (0..records).map(line).collect::<String>().into(), format: Format::Ndjson, header: None }
}

/// A block that was read at some time, and whether it has been judged.
fn block(records: usize, read_us: u64) -> (Block, Arc<AtomicBool>) {
    let judged = Arc::new(AtomicBool::new(false));
    let answered = Arc::clone(&judged);
    let reply = Box::new(move |_| answered.store(true, Ordering::Relaxed));
    let block = Block::plain(0, "test", lines(records));
    (Block { received_ns: read_us * 1_000, reply: Some(reply), ..block }, judged)
}

fn is_judged_at_once(crew: &Crew, records: usize, read_us: u64) -> bool {
    let (block, judged) = block(records, read_us);
    assert!(crew.bring(block, Room::LetIn).is_none(), "it is let in");
    judged.load(Ordering::Relaxed)
}

/// Somebody takes what is there and judges it.
fn judge(crew: &Crew, who: usize) -> Judged {
    let (taken, plan) = crew.intake.take(Duration::ZERO, || crew.plans.current()).expect("there is something");
    crew.judge_at(0, who, taken, plan)
}

#[test]
fn a_few_records_are_judged_by_whoever_brings_them() {
    let crew = crew();
    for n in 1..10 {
        assert!(is_judged_at_once(&crew, 1 + n as usize, n * 1_000));
    }
    assert_eq!(crew.intake.waiting_bytes(), 0);
}

#[test]
fn much_at_once_is_left_to_shards_and_so_is_what_comes_behind_it() {
    let crew = crew();
    assert!(!is_judged_at_once(&crew, 1_000, 1_000));
    assert!(!is_judged_at_once(&crew, 1, 2_000), "something waits");
    let judged = judge(&crew, 0);
    assert!(!is_judged_at_once(&crew, 1, 3_000), "a shard is at it");
    crew.sequencer.submit(0, judged);
    crew.sequencer.submit(1, judge(&crew, 1));
    assert!(is_judged_at_once(&crew, 1, 4_000));
}

#[test]
fn what_comes_fast_is_left_to_shards() {
    let crew = crew();
    for n in 0..10 {
        let at_once = is_judged_at_once(&crew, 1, 1_000 + n * 5);
        // One pause before many does not make them few.
        assert!(!at_once || n < 2, "block {n}");
        if !at_once {
            crew.sequencer.submit(0, judge(&crew, 0));
        }
    }
}

#[test]
fn what_has_no_room_is_given_back() {
    let crew = crew();
    crew.intake.hold(true);
    assert!(crew.bring(block(1, 1_000).0, Room::ReadAhead).is_some());
    assert!(crew.bring(block(1, 2_000).0, Room::Offered).is_some());
}

#[test]
fn who_has_been_answered_is_not_turned_away_for_what_he_was_answered_for() {
    let crew = Arc::new(crew());
    // More than may wait, as long as nothing is known of the pace.
    let (mut block, _) = block(200_000, 1_000);
    let (asked, found_room) = (Arc::downgrade(&crew), Arc::new(AtomicBool::new(false)));
    let found = Arc::clone(&found_room);
    block.reply = Some(Box::new(move |_| {
        let crew = asked.upgrade().expect("it is there");
        found.store(crew.intake.has_room(), Ordering::Relaxed);
    }));
    assert!(crew.bring(block, Room::Offered).is_none());
    let judged = judge(&crew, 0);
    assert!(!crew.intake.has_room());
    crew.sequencer.submit(0, judged);
    assert!(found_room.load(Ordering::Relaxed), "he was answered, and found room");
}

/// Turns of which the second is ready before the first, and a shard may be judging a third. How many are applied once
/// somebody who lends a hand has handed in the first.
fn applied_by_a_hand(crew: &Crew, another_is_judging: bool) -> u64 {
    let turn = |who, read_us| {
        assert!(!is_judged_at_once(crew, 1_000, read_us));
        judge(crew, who)
    };
    let (first, second) = (turn(HAND, 1_000), turn(1, 2_000));
    crew.sequencer.submit(1, second);
    let third = another_is_judging.then(|| turn(1, 3_000));
    crew.sequencer.submit_once(HAND, first);
    let applied = crew.intake.applied_turns();
    if let Some(third) = third {
        crew.sequencer.submit(1, third);
    }
    applied
}

#[test]
fn who_lends_a_hand_leaves_the_rest_to_a_shard_that_will_come() {
    let with_another = crew();
    assert_eq!(applied_by_a_hand(&with_another, true), 1);
    assert_eq!(with_another.intake.applied_turns(), 3, "it came");
    assert_eq!(applied_by_a_hand(&crew(), false), 2, "nobody else will");
}

#[test]
fn a_run_fails_with_whoever_dies() {
    for records in [1, 1_000] {
        let pipeline = pipeline(move |feed| {
            let reply = Box::new(|_| panic!("on purpose"));
            assert!(feed.offer(Arc::from("test"), lines(records), reply).is_ok());
        });
        match pipeline.run() {
            Err(RunError::Shard(said)) => assert_eq!(said, "on purpose"),
            other => panic!("it goes on: {}", other.is_ok()),
        }
    }
}

#[test]
fn a_hand_at_work_is_waited_for_when_all_sources_have_ended() {
    let (begins, begun) = mpsc::channel();
    let pipeline = pipeline(move |feed| {
        std::thread::spawn(move || {
            let reply = Box::new(move |_| {
                begins.send(()).expect("somebody listens");
                std::thread::sleep(Duration::from_millis(100));
            });
            assert!(feed.offer(Arc::from("test"), lines(3), reply).is_ok());
        });
        begun.recv().expect("it is judged");
    });
    let summary = pipeline.run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.total().evaluated, 3);
}

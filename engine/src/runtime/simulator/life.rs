//! One process, from its start to its end or the loss of power, on one thread: what its threads would do is done step by
//! step, in an order that a seed decides. What a step does is the pipeline's own code.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::world::{FILE, World};
use crate::alert::Outlet;
use crate::clock::Clock;
use crate::metrics::Progress;
use crate::rng::{Rng, SeededRng};
use crate::runtime::SourceSpec;
use crate::runtime::crew::Crew;
use crate::runtime::going_on::Assembled;
use crate::runtime::pipeline::Pipeline;
use crate::runtime::plan::Plan;
use crate::runtime::shard::Judged;
use crate::source::{Feed, Format, Framer, Hand, Intake, Payload, Position, Source, SourceError};
use crate::state::checkpoint::{Job, Keeper};
use crate::state::journal::{self, Durable, Signals};
use crate::state::outbox::{self, Item};
use crate::vfs::{SimulatedDisk, Vfs, VfsFile};

/// Blocks of a file wait for room where there are threads; here nothing may wait.
const WAITING_BYTES_MAX: usize = 1_000;

/// A clock that a seed moves; the wall clock stands before all records.
#[derive(Default)]
pub(super) struct SimulatedClock(AtomicU64);

impl SimulatedClock {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A source that is fed by hand.
struct ByHand;

impl Source for ByHand {
    fn run(self: Box<Self>, _: Feed) -> Result<(), SourceError> {
        unreachable!("there are no threads")
    }
}

/// What a life came to.
pub(super) struct Ended {
    pub(super) replayed: u64,
}

/// The power is off, or a call failed and the process ended.
pub(super) struct Died;

impl<E: std::error::Error> From<E> for Died {
    fn from(_: E) -> Self {
        Self
    }
}

/// A client and a device: what they know outlives the process.
pub(super) struct Outside {
    /// Records that were acknowledged.
    pub(super) acked: usize,
}

/// A source, as far as this life has got with it.
enum Reading {
    Posts {
        feed: Feed,
        /// Records up to here were offered, and whether they have been acknowledged.
        asked: Option<(usize, Arc<AtomicBool>)>,
    },
    File {
        feed: Feed,
        file: Box<dyn VfsFile>,
        framer: Box<Framer>,
        read_bytes: usize,
    },
    Over,
}

/// Lives once.
pub(super) fn live(
    world: &World,
    outside: &mut Outside,
    disk: &SimulatedDisk,
    rng: &mut SeededRng,
) -> Result<Ended, Died> {
    let clock = Arc::new(SimulatedClock::default());
    let shards = 1 + rng.below(3) as usize;
    let builder = world.builder(clock.clone(), Some(disk)).shards(shards).rng(SeededRng::new(rng.next_u64()));
    let pipeline = match builder.source(SourceSpec::new("gates", Format::Ndjson), ByHand).build() {
        Ok(pipeline) => pipeline,
        Err(error) => {
            assert!(disk.has_failed(), "it does not start: {error}");
            return Err(Died);
        }
    };
    let Pipeline { blueprint, plans, intake, sinks, going_on, .. } = pipeline;
    let (plan, progress) = (plans.current(), Arc::new(Progress::default()));
    let going_on = going_on.expect("there is a state folder");
    let unusable = going_on.found().unusable.len();
    assert_eq!(unusable, 0, "a checkpoint that was published is whole");
    let assembled = going_on.assemble(sinks, &plan, progress, 50_000)?;
    let Assembled { partition, outlets, outbox, keeper, waiting, turns, durable, mut again, queue, .. } = assembled;
    let crew = Arc::new(Crew::new(shards, Arc::clone(&plans), Arc::clone(&intake), partition));
    // Whoever brings records judges them himself, or leaves them to shards.
    let lends = rng.below(2) == 0;
    let hand: Weak<dyn Hand> = if lends { Arc::<Crew>::downgrade(&crew) } else { Weak::<Crew>::new() };
    let mut process = Process {
        disk: Disks { outlets, outbox, held: None, keeper, waiting, job: None, turns, durable },
        judged: Vec::new(),
        crew,
        shards,
        intake: &intake,
        plan,
    };
    intake.await_replay();
    let mut replayed = 0;
    while let Some(turn) = again.next(&blueprint.pseudonyms)? {
        replayed += 1;
        assert!(intake.replay(turn.kept, |number| again.note(number, turn.end)));
        process.take(rng);
        process.submit(rng);
        process.disk.step(rng)?;
    }
    assert!(again.missing().is_empty());
    assert!(intake.replay_ended(queue));
    let feed = |positions: Vec<Position>| Feed {
        source: 0,
        name: Arc::from("gate"),
        progress: Arc::default(),
        format: Format::Ndjson,
        intake: Arc::clone(&intake),
        clock: clock.clone(),
        pseudonyms: blueprint.pseudonyms.clone(),
        record_bytes_max: blueprint.limits.record_bytes_max,
        block_bytes: blueprint.limits.batch_bytes_max,
        sheds: false,
        classes: Arc::clone(&blueprint.classes),
        hand: Weak::clone(&hand),
        positions: Some(positions.into()),
    };
    let positions = process.crew.sequencer.look(|partition| partition.files_of(0));
    let mut reading = Reading::start(world, feed(positions), disk, rng)?;
    loop {
        clock.pass(Duration::from_micros(if rng.below(50) == 0 { rng.below(3_000_000) } else { rng.below(3_000) }));
        match rng.below(8) {
            0 | 1 => reading.step(world, outside, &intake, rng)?,
            2 if process.judged.len() < shards && intake.may_take() => {
                if !process.take(rng) {
                    break;
                }
            }
            3 | 4 => process.submit(rng),
            _ => process.disk.step(rng)?,
        }
    }
    while !process.judged.is_empty() {
        process.submit(rng);
    }
    let Process { disk, crew, .. } = process;
    assert_eq!(crew.died_of(), None);
    let mut partition = crew.sequencer.end();
    partition.end();
    partition.tell_shed(None);
    partition.save_last(true);
    drop(partition.into_summary());
    disk.end(&intake)?;
    Ok(Ended { replayed })
}

impl Reading {
    fn start(world: &World, feed: Feed, disk: &SimulatedDisk, rng: &mut SeededRng) -> Result<Self, Died> {
        if !world.from_file {
            return Ok(Self::Posts { feed, asked: None });
        }
        let mut file = disk.open(Path::new(FILE))?;
        let place = feed.place_of(FILE, file.as_mut())?;
        file.seek(SeekFrom::Start(place.from))?;
        let framer = Box::new(feed.framer_at(FILE, &place, true));
        Ok(Self::File { feed, file, framer, read_bytes: 100 + rng.below(900) as usize })
    }

    fn step(&mut self, world: &World, outside: &mut Outside, intake: &Intake, rng: &mut SeededRng) -> Result<(), Died> {
        match self {
            Self::Posts { asked: Some((to, acked)), .. } if !acked.load(Ordering::Relaxed) => {
                assert!(*to > outside.acked);
            }
            Self::Posts { asked: asked @ Some(_), .. } => outside.acked = asked.take().expect("it is there").0,
            Self::Posts { .. } if outside.acked == world.records.len() => self.end(intake),
            Self::Posts { feed, asked } => {
                let to = (outside.acked + 1 + rng.below(7) as usize).min(world.records.len());
                let bytes = world.records[outside.acked..to].concat().into();
                let acked = Arc::new(AtomicBool::new(false));
                let answered = Arc::clone(&acked);
                let reply = Box::new(move |_| answered.store(true, Ordering::Relaxed));
                let lines = Payload::Lines { bytes, format: Format::Ndjson, header: None };
                if feed.offer(Arc::from("post"), lines, reply).is_ok() {
                    *asked = Some((to, acked));
                }
            }
            Self::File { feed, file, framer, read_bytes } if intake.waiting_bytes() < WAITING_BYTES_MAX => {
                let read = framer.read_from(&mut file.by_ref(), *read_bytes)?;
                if read == 0 {
                    framer.finish();
                }
                feed.send_framed(framer)?;
                if read == 0 {
                    self.end(intake);
                }
            }
            Self::File { .. } | Self::Over => {}
        }
        Ok(())
    }

    fn end(&mut self, intake: &Intake) {
        *self = Self::Over;
        intake.source_ended();
    }
}

/// Shards and the partition.
struct Process<'a> {
    disk: Disks,
    crew: Arc<Crew>,
    shards: usize,
    /// What shards have judged and not yet handed in.
    judged: Vec<(usize, Judged)>,
    intake: &'a Intake,
    plan: Arc<Plan>,
}

impl Process<'_> {
    /// A shard takes what has arrived and judges it; `false` if nothing will arrive again.
    fn take(&mut self, rng: &mut SeededRng) -> bool {
        let plan = Arc::clone(&self.plan);
        let Some((taken, _)) = self.intake.take(Duration::ZERO, || plan) else { return false };
        let shard = rng.below(self.shards as u64) as usize;
        self.judged.push((shard, self.crew.judge(shard, taken, Arc::clone(&self.plan))));
        true
    }

    /// A shard hands in what it has judged.
    fn submit(&mut self, rng: &mut SeededRng) {
        if !self.judged.is_empty() {
            let at = rng.below(self.judged.len() as u64) as usize;
            let (shard, judged) = self.judged.swap_remove(at);
            self.crew.sequencer.submit(shard, judged);
        }
    }
}

/// Those who write, and the sinks.
struct Disks {
    outlets: Vec<Outlet>,
    outbox: outbox::Writer,
    /// What waits for its turns to be durable.
    held: Option<Item>,
    keeper: Keeper,
    waiting: crossbeam_channel::Receiver<Job>,
    job: Option<Job>,
    turns: journal::Writer,
    durable: Durable,
}

impl Disks {
    /// One of them does a little.
    fn step(&mut self, rng: &mut SeededRng) -> Result<(), Died> {
        let items_max = 1 + rng.below(6) as usize;
        match rng.below(4) {
            0 => self.turns.step(items_max)?,
            1 => self.outbox.step(&mut self.held, items_max)?,
            2 => self.keep()?,
            _ => self.outlets.iter_mut().try_for_each(Outlet::step)?,
        }
        Ok(())
    }

    /// Publishes a checkpoint, once what it speaks of is durable.
    fn keep(&mut self) -> Result<(), Died> {
        self.job = self.job.take().or_else(|| self.waiting.try_recv().ok());
        if let Some(job) = self.job.take_if(|job| self.durable.wait(job.turns, Duration::ZERO) == Some(true)) {
            self.keeper.keep(job)?;
        }
        Ok(())
    }

    /// Nothing more will come: what is left is written and handed over, each after those that hand it something.
    fn end(mut self, intake: &Intake) -> Result<(), Died> {
        self.turns.step(usize::MAX)?;
        while self.held.is_some() || self.outbox.has_items() {
            self.keep()?;
            self.outbox.step(&mut self.held, 1)?;
        }
        self.keep()?;
        self.outbox.run(|_| ())?;
        self.keeper.run(&self.waiting)?;
        intake.close_journal();
        self.durable.end();
        self.turns.run(&Signals { hold: || (), room: || () })?;
        for outlet in self.outlets {
            outlet.run(0)?;
        }
        Ok(())
    }
}

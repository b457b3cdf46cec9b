//! A sink that is away for ten minutes of a simulated clock, at a thousand alerts a second: what it misses waits on the disk,
//! and not in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use weir_engine::clock::{Clock, ManualClock};
use weir_engine::record::Pseudonyms;
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, StateSpec,
};
use weir_rules::Catalog;

use crate::common::{NOW_MS, ROOT, parse_pack};
use crate::{ALLOCATOR, MIB, alone};

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: fast, kind: match, from: vehicle, where: speed_kmh > 1, say: \"{event_id}\", purpose: p }
";
/// Every record is an alert.
const PER_SECOND: u64 = 1_000;
/// Seconds before the outage, in the latter half of which memory is measured; of it; and after it.
const BEFORE: u64 = 240;
const AWAY: u64 = 600;
const AFTER: u64 = 60;
/// Records sent at once: a tenth of a second.
const BLOCK: u64 = 100;
/// Between them: the clock runs fifty times too fast, and not as fast as it can, which no disk would keep up with.
const PAUSE: Duration = Duration::from_millis(2);
/// Alerts that may be ahead of the sink that is there: a disk that stands still holds both up, and that is no outage.
const AHEAD_MAX: u64 = 2_000;
/// What an outage may take.
const GROWTH_MAX: usize = 32 * MIB;

/// Moves the clock as it sends, and looks at memory when the outage is about to begin.
struct Gate {
    clock: Arc<ManualClock>,
    before: Arc<AtomicUsize>,
    /// Alerts that the sink has taken that is there.
    taken: Arc<AtomicU64>,
}

impl Source for Gate {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("gate");
        for first in (0..(BEFORE + AWAY + AFTER) * PER_SECOND).step_by(BLOCK as usize) {
            match first {
                at if at == BEFORE / 2 * PER_SECOND => drop(ALLOCATOR.take_peak()),
                at if at == BEFORE * PER_SECOND => self.before.store(ALLOCATOR.take_peak(), Ordering::Relaxed),
                _ => {}
            }
            let now_ms = NOW_MS + (first * 1_000 / PER_SECOND) as i64;
            self.clock.set(now_ms);
            for number in first..first + BLOCK {
                let line = format!(
                    "{{\"kind\":\"vehicle\",\"event_id\":\"{number}\",\"ts\":{now_ms},\"site\":\"s\",\"device\":\"d\",\"lane\":\"1\",\"plate\":\"陕A{:05}\",\"speed_kmh\":90}}\n",
                    number % 100_000
                );
                framer.push(line.as_bytes());
            }
            feed.send_framed(&mut framer)?;
            std::thread::sleep(PAUSE);
            while first > self.taken.load(Ordering::Relaxed) + AHEAD_MAX && !feed.stopping() {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// Counts what comes, which must be every alert, once, in order; is away if it has a clock to be away by.
struct Post {
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    away_by: Option<Arc<ManualClock>>,
}

impl Sink for Post {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let second = self.away_by.as_ref().map(|clock| (clock.wall_ms() - NOW_MS) as u64 / 1_000);
        if second.is_some_and(|second| (BEFORE..BEFORE + AWAY).contains(&second)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SinkError::new("away"));
        }
        for output in outputs {
            let Output::Alert(alert) = output else { panic!("alerts were asked for") };
            let next = self.taken.fetch_add(1, Ordering::Relaxed);
            assert_eq!(alert.say.as_deref(), Some(next.to_string().as_str()));
        }
        Ok(())
    }
}

#[test]
fn what_a_sink_misses_in_ten_minutes_is_not_in_memory() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let before: Arc<AtomicUsize> = Arc::default();
    let post = |away_by| Post { taken: Arc::default(), refused: Arc::default(), away_by };
    let (there, away) = (post(None), post(Some(Arc::clone(&clock))));
    let taken = [&there, &away].map(|post| Arc::clone(&post.taken));
    let refused = Arc::clone(&away.refused);
    let gate = Gate { clock: Arc::clone(&clock), before: Arc::clone(&before), taken: Arc::clone(&taken[0]) };
    let summary = Pipeline::builder(Catalog::builtin())
        .shared_pack(parse_pack(PACK), Vec::new())
        .pseudonyms(Pseudonyms::from_root(&ROOT))
        // Few enough that all tables have their size when the outage begins.
        .limits(Limits { event_ids_max: 50_000, ..Limits::default() })
        .shards(2)
        .state(StateSpec::new(folder.path()))
        .clock(clock as Arc<dyn Clock>)
        .source(SourceSpec::new("gate", Format::Ndjson), gate)
        .sink(SinkSpec::alerts("there", ["p"]), there)
        .sink(SinkSpec::alerts("away", ["p"]), away)
        .build()
        .unwrap()
        .run()
        .unwrap();
    let (before, peak) = (before.load(Ordering::Relaxed), ALLOCATOR.take_peak());
    let mib = |bytes: usize| bytes as f64 / MIB as f64;
    println!("at most {:.1} MiB before the outage, {:.1} in it and after it", mib(before), mib(peak));
    assert_eq!(taken.map(|taken| taken.load(Ordering::Relaxed)), [(BEFORE + AWAY + AFTER) * PER_SECOND; 2]);
    assert!(refused.load(Ordering::Relaxed) > 1, "it was away");
    assert!(peak <= before + GROWTH_MAX, "{before} bytes before, {peak} then");
    assert_eq!(summary.total().evaluated, (BEFORE + AWAY + AFTER) * PER_SECOND);
}

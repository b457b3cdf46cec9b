//! Records on a schedule, a list that some of them are on, and the quantiles of what is measured.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use weir_engine::Limits;
use weir_engine::record::RootKey;
use weir_engine::vfs::RealVfs;
use weir_engine::watchlist::{Effort, Key, ListKeys, ListSpec, Loading, NewEntry, SnapshotBuilder, Watchlist, load};
use weir_rules::Pack;

use crate::cores::{first_cores, stay_on};

/// One list, one rule, whose alerts tell the lane.
pub const PACK: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
lists: { stolen: { kind: stolen_vehicle, from: l.wlist, key: plate, purpose: p } }
rules:
  - { id: seen, kind: watchlist, from: vehicle, on: plate, list: stolen, purpose: p, say: \"{lane}\" }
";

/// One record in so many hits.
pub const HIT_EVERY: u64 = 100;
/// Values of the lane.
pub const LANES: u64 = 60_000;

const SERIAL: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

/// The plate of an entry.
pub fn plate(n: u64) -> String {
    let mut number = n;
    let tail = (0..6).map(|_| {
        let c = char::from(SERIAL[(number % 34) as usize]);
        number /= 34;
        c
    });
    std::iter::once('陕').chain(tail).collect()
}

/// Writes a list of so many plates, whose entries' case references say `version`.
///
/// # Panics
/// When the file cannot be written.
pub fn build(path: &Path, entries: u64, version: &str, pack: &Pack) {
    let keys = Arc::new(ListKeys::derive(&[7; 32], "p", "2026-11"));
    let mut builder = SnapshotBuilder::new(Arc::clone(&keys), true);
    for n in 0..entries {
        let id = format!("E{n:08}");
        let entry = NewEntry { entry_id: &id, expires_ms: 4_000_000_000_000, case_ref: version, ..NewEntry::default() };
        builder.push(&Key::Exact(plate(n)), &entry);
    }
    let spec = ListSpec::new(pack, &pack.lists[0]);
    let manifest =
        weir_engine::watchlist::Manifest { total: entries, source: version.to_owned(), ..spec.manifest(&keys, 0) };
    let _ = fs::remove_file(path);
    fs::write(path, builder.finish(manifest, Vec::new())).expect("the file is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("the file is closed to writers");
}

/// Opens and verifies a list.
///
/// # Panics
/// When it is not sound.
pub fn open(path: &Path, pack: &Pack) -> Arc<Watchlist> {
    let loading = Loading {
        vfs: &RealVfs,
        limits: &Limits::default(),
        population: None,
        now_ms: 0,
        root: &RootKey::new([7; 32]),
        effort: Effort::Beside,
        previous: None,
    };
    load(path, ListSpec::new(pack, &pack.lists[0]), &loading).expect("a sound list").0
}

/// Ascending.
pub fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

/// How ascending figures lie, milliseconds.
pub fn spread(sorted: &[f64]) -> String {
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(sorted, share));
    format!("ms p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {most:.3}")
}

/// The figure below which a share of them lies; not a number if there is none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

/// A record whose digits are put in place: writing it costs next to nothing beside judging it.
pub struct Line {
    bytes: Vec<u8>,
    event: usize,
    ts: usize,
    lane: usize,
    plate: usize,
}

impl Default for Line {
    fn default() -> Self {
        let text = "{\"kind\":\"vehicle\",\"event_id\":\"##########\",\"ts\":1795#########,\"site\":\"s\",\"device\":\"d\",\"lane\":\"#####\",\"plate\":\"陕######\",\"confidence\":0.9}\n";
        let after = |mark: &str| text.find(mark).expect("it is there") + mark.len();
        Self {
            bytes: text.as_bytes().to_vec(),
            event: after("event_id\":\""),
            ts: after("\"ts\":1795"),
            lane: after("lane\":\""),
            plate: after("陕"),
        }
    }
}

impl Line {
    fn digits(&mut self, at: usize, count: usize, mut number: u64) {
        for place in (at..at + count).rev() {
            self.bytes[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    /// Appends record `number`, of a millisecond since the start. Plates beyond the list hit nothing; the lane says
    /// which of the hits it is, within what a symbol column holds.
    pub fn write(&mut self, number: u64, ms: u64, lines: &mut Vec<u8>) {
        let hits = number.is_multiple_of(HIT_EVERY);
        self.digits(self.event, 10, number);
        self.digits(self.ts, 9, ms);
        self.digits(self.lane, 5, if hits { number / HIT_EVERY % LANES } else { 0 });
        let mut plate = if hits { number % 1_000_000 } else { 900_000_000 + number % 500_000_000 };
        for place in self.plate..self.plate + 6 {
            self.bytes[place] = SERIAL[(plate % 34) as usize];
            plate /= 34;
        }
        lines.extend_from_slice(&self.bytes);
    }
}

/// Senders, a core each.
const SENDERS: usize = 2;
/// The schedule is looked at this often.
const TICK: Duration = Duration::from_micros(100);

/// Sends records on their schedule, and says when it starts. Gives the moment at which each of those that hit went off:
/// later than it was meant to, where no sender got a core or the other side did not read.
///
/// Two threads on a core each look at the schedule in turn, and whoever comes first sends what is due. A core that the
/// machine keeps for itself for a millisecond holds up the program that is measured, as it would anywhere; senders are
/// other machines, which it would not hold up.
///
/// # Panics
/// When the other side does not read.
pub fn send(connection: &TcpStream, rate: f64, seconds: f64, starts: impl FnOnce(Instant)) -> Vec<Instant> {
    connection.set_nodelay(true).expect("a socket option");
    let total = (rate * seconds) as u64 / HIT_EVERY * HIT_EVERY;
    // All of its memory is there before anything is measured.
    let mut sent = vec![Instant::now(); (total / HIT_EVERY) as usize];
    sent.clear();
    let begin = Instant::now();
    starts(begin);
    let schedule =
        Mutex::new(Schedule { begin, rate, total, number: 0, line: Line::default(), lines: Vec::new(), sent });
    let cores = first_cores(SENDERS);
    let every = TICK * cores.len() as u32;
    std::thread::scope(|scope| {
        for (sender, core) in (0..).zip(cores) {
            let schedule = &schedule;
            scope.spawn(move || {
                stay_on(core);
                let mut looks = begin + TICK * sender;
                loop {
                    let goes_on = match schedule.try_lock() {
                        Ok(mut schedule) => schedule.send_due(connection),
                        // Whoever finds the other at it has nothing to do.
                        Err(TryLockError::WouldBlock) => true,
                        Err(TryLockError::Poisoned(_)) => false,
                    };
                    if !goes_on {
                        return;
                    }
                    let now = Instant::now();
                    looks = (looks + every).max(now);
                    std::thread::sleep(looks - now);
                }
            });
        }
    });
    schedule.into_inner().expect("nobody died").sent
}

/// What is to be sent.
struct Schedule {
    begin: Instant,
    rate: f64,
    total: u64,
    number: u64,
    line: Line,
    lines: Vec<u8>,
    sent: Vec<Instant>,
}

impl Schedule {
    /// Sends what is due; false if nothing is left.
    fn send_due(&mut self, mut connection: &TcpStream) -> bool {
        let due = ((self.begin.elapsed().as_secs_f64() * self.rate) as u64).min(self.total);
        if due > self.number {
            self.lines.clear();
            for number in self.number..due {
                self.line.write(number, (number as f64 * 1e3 / self.rate) as u64, &mut self.lines);
            }
            self.number = due;
            self.sent.resize(due.div_ceil(HIT_EVERY) as usize, Instant::now());
            connection.write_all(&self.lines).expect("the source reads");
        }
        self.number < self.total
    }
}

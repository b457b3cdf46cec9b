//! Progress of every device, and from it the watermark of every kind.
//!
//! The watermark of a kind is the least progress of the devices that send it, idle ones left out,
//! and never goes back. A device that appears, or returns from silence, starts at the watermark of
//! that moment: what it brings from before is late. (Idea: per-partition watermarks with idleness,
//! Flink FLIP-27; the floor is ours.)

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, FaultKind};
use crate::record::{KindId, SymbolId};

/// Before any record.
pub(crate) const NEVER: i64 = i64::MIN / 4;
/// After all records.
pub(crate) const FOREVER: i64 = i64::MAX / 4;

/// A clock that is so far behind the others of its source is told of.
const BEHIND_MS: i64 = 10 * 60_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Device {
    source: u16,
    symbol: SymbolId,
    /// Newest event time over all kinds.
    newest_ms: i64,
    /// For each kind, where the device starts; `None` while it has not sent that kind.
    floor_ms: Vec<Option<i64>>,
    last_arrival_ms: i64,
    idle: bool,
    /// Whether it was told that its clock is behind.
    behind: bool,
    /// Kept in [`SavedHeard`].
    #[serde(skip)]
    health: Health,
}

/// Whether a device is there. It may be there and have nothing to say: no window waits for it then, and nobody is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Health {
    /// When it last said that it is there, without a record; 0 if never.
    alive_ms: i64,
    /// Whether it was told that it is silent.
    silent: bool,
}

/// Health of devices as it is kept in a checkpoint, in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedHeard(Vec<Health>);

impl Device {
    fn progress(&self, kind: KindId) -> Option<i64> {
        self.floor_ms[usize::from(kind)].map(|floor_ms| floor_ms.max(self.newest_ms))
    }
}

/// All devices of a partition.
pub(crate) struct Devices {
    /// By source and symbol, both counted from 0: position in `all`.
    numbers: Vec<Vec<Option<NonZeroU32>>>,
    all: Vec<Device>,
    /// For each kind: who sends it.
    senders: Vec<Senders>,
    /// Watermark before lateness, for each kind.
    watermark_ms: Vec<i64>,
    idle_after_ms: i64,
    ended: bool,
    /// Newest event time by source.
    newest_of_source: Vec<i64>,
    /// Not yet told.
    faults: Vec<Fault>,
}

/// Who sends a kind. Whoever makes up devices must not make everybody's watermark dear: no question looks at all of them.
#[derive(Debug, Default)]
struct Senders {
    /// The slowest first: a progress that the device had at least when it was looked at last, and its position. Whoever is
    /// not idle is in here once; who is idle may be.
    by_progress: BinaryHeap<Reverse<(i64, u32)>>,
    /// By position: whether the device is in there.
    is_in: Vec<bool>,
    /// Last arrival and newest event time of all of them, once everybody is idle and somebody has asked.
    quiet_since_ms: Cell<Option<(i64, i64)>>,
}

impl Senders {
    fn add(&mut self, at: usize, progress_ms: i64) {
        if self.is_in.len() <= at {
            self.is_in.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.is_in[at], true) {
            self.by_progress.push(Reverse((progress_ms, at as u32)));
        }
        self.quiet_since_ms.set(None);
    }

    /// The least progress of those that are not idle. Each step beyond the first is paid for by a record that moved a device
    /// on, or by its silence.
    fn least_ms(&mut self, all: &[Device], kind: KindId) -> Option<i64> {
        while let Some(mut slowest) = self.by_progress.peek_mut() {
            let Reverse((known_ms, at)) = *slowest;
            match all[at as usize].progress(kind).filter(|_| !all[at as usize].idle) {
                Some(progress_ms) if progress_ms == known_ms => return Some(progress_ms),
                Some(progress_ms) => *slowest = Reverse((progress_ms, at)),
                None => {
                    PeekMut::pop(slowest);
                    self.is_in[at as usize] = false;
                }
            }
        }
        None
    }
}

/// [`Devices`] as they are kept in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedDevices {
    /// Source, device, progress; in order of appearance.
    all: Vec<(u16, SymbolId, Device)>,
    watermark_ms: Vec<i64>,
}

impl SavedDevices {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Watermarks before lateness by kind, ms; `None` where no record has come.
    pub(crate) fn watermarks(&self) -> impl Iterator<Item = Option<i64>> {
        self.watermark_ms.iter().map(|ms| Some(*ms).filter(|ms| *ms != NEVER))
    }
}

impl Devices {
    pub(crate) fn new(kinds: usize, idle_after_ms: i64) -> Self {
        Self {
            numbers: Vec::new(),
            all: Vec::new(),
            senders: (0..kinds).map(|_| Senders::default()).collect(),
            watermark_ms: vec![NEVER; kinds],
            idle_after_ms,
            ended: false,
            newest_of_source: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Notes a record. Gives the device's progress in this kind before the record.
    pub(crate) fn record(&mut self, source: u16, device: SymbolId, kind: KindId, ts_ms: i64, now_ms: i64) -> i64 {
        let at = self.number(source, device).unwrap_or_else(|| self.add(source, device, now_ms));
        self.record_usual(at, source, kind, ts_ms, now_ms)
            .unwrap_or_else(|| self.record_any(at, source, kind, ts_ms, now_ms))
    }

    /// The same of a device of which nothing changes but how far it has come. `None` says only that more may change.
    #[inline]
    fn record_usual(&mut self, at: usize, source: u16, kind: KindId, ts_ms: i64, now_ms: i64) -> Option<i64> {
        let newest_of_source = self.newest_of_source.get_mut(usize::from(source))?;
        let device = &mut self.all[at];
        let floor_ms = device.floor_ms[usize::from(kind)]?;
        let (before_ms, newest_ms) = (device.newest_ms, device.newest_ms.max(ts_ms));
        let newest_there_ms = newest_ms.max(*newest_of_source);
        if device.idle || device.behind || device.health.silent || newest_there_ms - newest_ms >= BEHIND_MS / 2 {
            return None;
        }
        *newest_of_source = newest_there_ms;
        (device.newest_ms, device.last_arrival_ms) = (newest_ms, now_ms);
        Some(before_ms.max(floor_ms))
    }

    #[cold]
    fn record_any(&mut self, at: usize, source: u16, kind: KindId, ts_ms: i64, now_ms: i64) -> i64 {
        let starts = self.all[at].idle || self.all[at].floor_ms[usize::from(kind)].is_none();
        if starts {
            self.start(at, kind);
        }
        self.hear(at, ts_ms);
        self.compare_clocks(at, source, ts_ms);
        let device = &mut self.all[at];
        let before_ms = device.progress(kind).unwrap_or(NEVER);
        device.newest_ms = device.newest_ms.max(ts_ms);
        device.last_arrival_ms = now_ms;
        before_ms
    }

    /// A device said that it is there, without a record. One that has never sent any is not known.
    pub(crate) fn alive(&mut self, source: u16, device: SymbolId, now_ms: i64) {
        if let Some(at) = self.number(source, device) {
            self.all[at].health.alive_ms = now_ms;
            self.hear(at, now_ms);
        }
    }

    fn hear(&mut self, at: usize, at_ms: i64) {
        if self.all[at].health.silent {
            self.all[at].health.silent = false;
            self.fault(at, FaultKind::Heard, at_ms);
        }
    }

    fn number(&self, source: u16, device: SymbolId) -> Option<usize> {
        let number = *self.numbers.get(usize::from(source))?.get(device as usize)?;
        number.map(|number| number.get() as usize - 1)
    }

    #[cold]
    fn add(&mut self, source: u16, symbol: SymbolId, now_ms: i64) -> usize {
        self.all.push(Device {
            source,
            symbol,
            behind: false,
            newest_ms: NEVER,
            floor_ms: vec![None; self.watermark_ms.len()],
            last_arrival_ms: now_ms,
            idle: false,
            health: Health::default(),
        });
        self.note_number(source, symbol);
        self.all.len() - 1
    }

    /// The last device is the one of this source and symbol.
    fn note_number(&mut self, source: u16, symbol: SymbolId) {
        let (source, symbol) = (usize::from(source), symbol as usize);
        if self.numbers.len() <= source {
            self.numbers.resize(source + 1, Vec::new());
        }
        let numbers = &mut self.numbers[source];
        if numbers.len() <= symbol {
            numbers.resize(symbol + 1, None);
        }
        numbers[symbol] = NonZeroU32::new(self.all.len() as u32);
    }

    /// Notes how far the source's devices have come, and whether this one is far behind.
    fn compare_clocks(&mut self, at: usize, source: u16, ts_ms: i64) {
        let source = usize::from(source);
        if self.newest_of_source.len() <= source {
            self.newest_of_source.resize(source + 1, NEVER);
        }
        let newest_ms = self.newest_of_source[source].max(ts_ms);
        self.newest_of_source[source] = newest_ms;
        let by_ms = newest_ms - self.all[at].newest_ms.max(ts_ms);
        if by_ms > BEHIND_MS && !self.all[at].behind {
            self.all[at].behind = true;
            self.fault(at, FaultKind::ClockBehind { by_ms }, ts_ms);
        } else if by_ms < BEHIND_MS / 2 {
            self.all[at].behind = false;
        }
    }

    #[cold]
    fn fault(&mut self, at: usize, kind: FaultKind, at_ms: i64) {
        let Device { source, symbol, .. } = self.all[at];
        self.faults.push(Fault { kind, source: Some(source), device: symbol, zone: None, at_ms });
    }

    /// What is wrong with devices since this was asked last.
    pub(crate) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    #[cold]
    fn start(&mut self, at: usize, kind: KindId) {
        for other in 0..self.watermark_ms.len() {
            let known = self.all[at].floor_ms[other].is_some();
            if known || other == usize::from(kind) {
                let watermark_ms = self.advance(other as KindId);
                let floor_ms = &mut self.all[at].floor_ms[other];
                *floor_ms = Some(floor_ms.unwrap_or(NEVER).max(watermark_ms));
            }
        }
        self.all[at].idle = false;
        self.count_in(at);
    }

    /// A device that is not idle is among the senders of its kinds.
    fn count_in(&mut self, at: usize) {
        for (kind, senders) in self.senders.iter_mut().enumerate() {
            if let Some(progress_ms) = self.all[at].progress(kind as KindId) {
                senders.add(at, progress_ms);
            }
        }
    }

    /// The watermark of a kind, before lateness.
    pub(crate) fn advance(&mut self, kind: KindId) -> i64 {
        let least = if self.ended { Some(FOREVER) } else { self.senders[usize::from(kind)].least_ms(&self.all, kind) };
        let watermark_ms = &mut self.watermark_ms[usize::from(kind)];
        *watermark_ms = (*watermark_ms).max(least.unwrap_or(NEVER));
        *watermark_ms
    }

    /// Marks the devices that have fallen silent.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        for at in 0..self.all.len() {
            let device = &mut self.all[at];
            let idle_after_ms = self.idle_after_ms;
            let is_over = |since_ms: i64| now_ms - since_ms > idle_after_ms;
            device.idle |= is_over(device.last_arrival_ms);
            if device.idle && !device.health.silent && is_over(device.last_arrival_ms.max(device.health.alive_ms)) {
                device.health.silent = true;
                let at_ms = device.newest_ms;
                self.fault(at, FaultKind::Silent, at_ms);
            }
        }
    }

    /// How far event time has surely gone in a kind of which no device has been heard for a while: as far as
    /// the newest record, and the wall clock since, less the time after which a device counts as silent. A
    /// deadline passes by it, but no window closes: one wrong clock would close everybody's.
    pub(crate) fn silent_until(&self, kind: KindId, now_ms: i64) -> Option<i64> {
        let senders = &self.senders[usize::from(kind)];
        if self.ended || senders.by_progress.iter().any(|Reverse((_, at))| !self.all[*at as usize].idle) {
            return None;
        }
        let quiet_since_ms = || {
            let all = || self.all.iter().filter(|device| device.floor_ms[usize::from(kind)].is_some());
            all().map(|device| device.last_arrival_ms).max().zip(all().map(|device| device.newest_ms).max())
        };
        let known = senders.quiet_since_ms.get().or_else(quiet_since_ms);
        senders.quiet_since_ms.set(known);
        let (last_ms, newest_ms) = known?;
        Some(newest_ms + (now_ms - last_ms - self.idle_after_ms).max(0))
    }

    /// The newest event time of all.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.all.iter().map(|device| device.newest_ms).max().unwrap_or(NEVER)
    }

    pub(crate) fn save(&self) -> SavedDevices {
        SavedDevices {
            all: self.all.iter().map(|device| (device.source, device.symbol, device.clone())).collect(),
            watermark_ms: self.watermark_ms.clone(),
        }
    }

    pub(crate) fn load(&mut self, saved: SavedDevices) {
        self.watermark_ms = saved.watermark_ms;
        for (source, symbol, device) in saved.all {
            let newest = &mut self.newest_of_source;
            newest.resize(newest.len().max(usize::from(source) + 1), NEVER);
            newest[usize::from(source)] = newest[usize::from(source)].max(device.newest_ms);
            let is_idle = device.idle;
            self.all.push(device);
            self.note_number(source, symbol);
            if !is_idle {
                self.count_in(self.all.len() - 1);
            }
        }
    }

    pub(crate) fn save_heard(&self) -> SavedHeard {
        SavedHeard(self.all.iter().map(|device| device.health).collect())
    }

    /// Comes after [`Self::load`]. Where health was not kept, whoever was idle had been told to be silent.
    pub(crate) fn load_heard(&mut self, saved: SavedHeard) {
        let mut saved = saved.0.into_iter();
        for device in &mut self.all {
            device.health = saved.next().unwrap_or(Health { alive_ms: 0, silent: device.idle });
        }
    }

    /// Nobody could be heard until now: whoever is silent from here on is.
    pub(crate) fn listen_anew(&mut self, now_ms: i64) {
        for device in &mut self.all {
            if !device.idle {
                device.last_arrival_ms = device.last_arrival_ms.max(now_ms);
            }
            if device.health.alive_ms > 0 && !device.health.silent {
                device.health.alive_ms = device.health.alive_ms.max(now_ms);
            }
        }
    }

    /// Nothing will come any more: every window may close.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Every device: source, symbol, newest event time, whether it is silent.
    pub(crate) fn list(&self) -> impl Iterator<Item = (u16, SymbolId, i64, bool)> {
        self.all.iter().map(|device| (device.source, device.symbol, device.newest_ms, device.health.silent))
    }

    /// How many devices are known, and how many of them are idle.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.all.len(), self.all.iter().filter(|device| device.idle).count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Event {
        Record { device: SymbolId, kind: KindId, ts_ms: i64 },
        Tick,
        Advance(KindId),
        Reload,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0_u32..6, 0_u16..3, 0_i64..400).prop_map(|(device, kind, ts_ms)| Event::Record { device, kind, ts_ms }),
            2 => Just(Event::Tick),
            3 => (0_u16..3).prop_map(Event::Advance),
            1 => Just(Event::Reload),
        ]
    }

    /// The same by looking at everybody.
    fn least_ms(devices: &Devices, kind: KindId) -> Option<i64> {
        devices.all.iter().filter(|device| !device.idle).filter_map(|device| device.progress(kind)).min()
    }

    fn silent_until_ms(devices: &Devices, kind: KindId, now_ms: i64) -> Option<i64> {
        let senders = || devices.all.iter().filter(|device| device.floor_ms[usize::from(kind)].is_some());
        if senders().any(|device| !device.idle) {
            return None;
        }
        let last_ms = senders().map(|device| device.last_arrival_ms).max()?;
        let newest_ms = senders().map(|device| device.newest_ms).max()?;
        Some(newest_ms + (now_ms - last_ms - devices.idle_after_ms).max(0))
    }

    proptest! {
        #[test]
        fn whoever_is_slowest_is_known_without_looking_at_all(events in prop::collection::vec((event(), 0_i64..60), 0..120)) {
            let mut devices = Devices::new(3, 100);
            let mut watermark_ms = [NEVER; 3];
            let mut now_ms = 0;
            for (event, later_ms) in events {
                now_ms += later_ms;
                match event {
                    Event::Record { device, kind, ts_ms } => {
                        // A device that starts does so at the watermark of the moment.
                        let starts = devices
                            .number(0, device)
                            .is_none_or(|at| devices.all[at].idle || devices.all[at].floor_ms[usize::from(kind)].is_none());
                        let known = devices.number(0, device).map(|at| devices.all[at].floor_ms.clone());
                        for other in (0..3_u16).filter(|_| starts) {
                            let sends = known.as_ref().is_some_and(|known| known[usize::from(other)].is_some());
                            if sends || other == kind {
                                let at = usize::from(other);
                                watermark_ms[at] = watermark_ms[at].max(least_ms(&devices, other).unwrap_or(NEVER));
                            }
                        }
                        devices.record(0, device, kind, ts_ms, now_ms);
                    }
                    Event::Tick => devices.tick(now_ms),
                    Event::Advance(kind) => {
                        let at = usize::from(kind);
                        watermark_ms[at] = watermark_ms[at].max(least_ms(&devices, kind).unwrap_or(NEVER));
                        prop_assert_eq!(devices.advance(kind), watermark_ms[at]);
                    }
                    Event::Reload => {
                        let saved = devices.save();
                        devices = Devices::new(3, 100);
                        devices.load(saved);
                    }
                }
                for kind in 0..3 {
                    prop_assert_eq!(devices.silent_until(kind, now_ms), silent_until_ms(&devices, kind, now_ms));
                }
                prop_assert_eq!(&devices.watermark_ms, &watermark_ms.to_vec());
            }
        }
    }

    #[test]
    fn a_device_that_says_that_it_is_there_is_not_silent_and_holds_nobody_up() {
        let mut devices = Devices::new(1, 1_000);
        devices.record(0, 1, 0, 100, 1);
        devices.record(0, 2, 0, 50, 1);
        devices.alive(0, 9, 1);
        assert_eq!(devices.count().0, 2, "who has never sent a record is not known");
        let told = |devices: &mut Devices| -> Vec<(SymbolId, bool)> {
            devices.take_faults().iter().map(|it| (it.device, matches!(it.kind, FaultKind::Heard))).collect()
        };
        devices.alive(0, 2, 1_500);
        devices.tick(2_000);
        assert_eq!(told(&mut devices), [(1, false)], "only the other one is silent");
        devices.record(0, 1, 0, 900, 2_100);
        assert_eq!((told(&mut devices), devices.advance(0)), (vec![(1, true)], 900), "no window waits for it");
        // Kept and read back, it goes on the same way.
        let (saved, heard) = (devices.save(), devices.save_heard());
        let mut devices = Devices::new(1, 1_000);
        devices.load(saved);
        devices.load_heard(heard);
        devices.tick(2_400);
        assert_eq!(told(&mut devices), []);
        devices.tick(2_600);
        assert_eq!(told(&mut devices), [(2, false)]);
        devices.tick(2_700);
        assert_eq!(told(&mut devices), [], "once");
        devices.alive(0, 2, 3_000);
        assert_eq!(told(&mut devices), [(2, true)]);
        assert_eq!(devices.list().filter(|(.., silent)| *silent).count(), 0);
    }

    #[test]
    fn the_slowest_device_holds_the_watermark() {
        let mut devices = Devices::new(2, 1_000);
        assert_eq!(devices.record(0, 1, 0, 100, 0), NEVER);
        assert_eq!(devices.record(0, 2, 0, 50, 0), 100);
        assert_eq!(devices.advance(0), 100);
        devices.record(0, 1, 0, 500, 0);
        devices.record(0, 2, 0, 300, 0);
        assert_eq!(devices.advance(0), 300);
        // The other kind has not been sent.
        assert_eq!(devices.advance(1), NEVER);
        // A silent device lets go, and starts at the watermark when it returns.
        devices.record(0, 1, 0, 900, 5_000);
        devices.tick(5_000);
        assert_eq!(devices.advance(0), 900);
        assert_eq!(devices.record(0, 2, 0, 400, 5_000), 900);
        assert_eq!(devices.advance(0), 900);
        assert_eq!(devices.count(), (2, 0));
        devices.end();
        assert!(devices.advance(0) > i64::MAX / 8);
    }
}

//! The panes in which one value was seen: a word of bits, as nearly all of them lie close together.
//! Longer windows take a longer word.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{self, Range};

use crate::record::Digest;

/// A word of bits: as many panes as it has room for.
pub(super) trait Word:
    Copy
    + Default
    + PartialEq
    + fmt::Debug
    + ops::Not<Output = Self>
    + ops::BitAnd<Output = Self>
    + ops::BitOr<Output = Self>
    + ops::Shl<i64, Output = Self>
    + ops::Shr<i64, Output = Self>
{
    /// A number for each place.
    type Steps: Copy + fmt::Debug + AsRef<[i32]> + AsMut<[i32]>;
    const NO_STEPS: Self::Steps;
    const BITS: i64;
    const NONE: Self;
    const ALL: Self;
    const FIRST: Self;

    fn ones(self) -> usize;
    /// The place of the lowest bit.
    fn lowest(self) -> i64;
    /// The place of the highest bit.
    fn highest(self) -> i64;
}

macro_rules! word {
    ($word:ty, $bits:literal) => {
        impl Word for $word {
            type Steps = [i32; $bits];
            const NO_STEPS: Self::Steps = [0; $bits];
            const BITS: i64 = $bits;
            const NONE: Self = 0;
            const ALL: Self = <$word>::MAX;
            const FIRST: Self = 1;

            #[inline]
            fn ones(self) -> usize {
                self.count_ones() as usize
            }

            #[inline]
            fn lowest(self) -> i64 {
                i64::from(self.trailing_zeros())
            }

            #[inline]
            fn highest(self) -> i64 {
                i64::from(self.ilog2())
            }
        }
    };
}

word!(u64, 64);
word!(u128, 128);

/// Panes that did not fit into [`Seen`], by value; without one, those of the key.
pub(super) type Older = BTreeSet<(Option<Digest>, i64)>;

/// The panes in which a value was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen<W> {
    newest: i64,
    /// The lowest bit is the newest pane, each higher one the pane before; 0 for never.
    bits: W,
}

/// The sightings next to a new one, before and after it.
pub(super) type Neighbours = (Option<i64>, Option<i64>);

impl<W: Word> Seen<W> {
    /// Notes a pane; `None` if it is known. Panes before `needed_from` may be forgotten.
    #[inline]
    pub(super) fn see(
        &mut self,
        who: Option<Digest>,
        pane: i64,
        older: &mut Older,
        needed_from: i64,
    ) -> Option<Neighbours> {
        if self.is_never() {
            *self = Self { newest: pane, bits: W::FIRST };
            return Some((None, None));
        }
        let behind = self.newest - pane;
        if behind < 0 {
            let before = self.newest;
            if -behind >= W::BITS || self.bits >> (W::BITS + behind) != W::NONE {
                self.move_over(who, -behind, older, needed_from);
            } else {
                self.bits = self.bits << -behind;
            }
            (self.newest, self.bits) = (pane, self.bits | W::FIRST);
            return Some((Some(before), None));
        }
        if self.holds(behind) {
            return None;
        }
        self.see_before(who, pane, older)
    }

    /// A pane before the newest one.
    #[cold]
    fn see_before(&mut self, who: Option<Digest>, pane: i64, older: &mut Older) -> Option<Neighbours> {
        let behind = self.newest - pane;
        let after = if behind < W::BITS { self.bits & !(W::ALL << behind) } else { self.bits };
        let before = if behind + 1 < W::BITS { self.bits >> (behind + 1) } else { W::NONE };
        let mut previous = (before != W::NONE).then(|| pane - 1 - before.lowest());
        let mut next = (after != W::NONE).then(|| self.newest - after.highest());
        if behind < W::BITS {
            self.bits = self.bits | W::FIRST << behind;
        } else if !older.insert((who, pane)) {
            return None;
        }
        if !older.is_empty() {
            let of = |panes: Range<i64>| older.range((who, panes.start)..(who, panes.end)).map(|(_, pane)| *pane);
            previous = previous.max(of(i64::MIN..pane).next_back());
            next = next.into_iter().chain(of(pane + 1..i64::MAX).next()).min();
        }
        Some((previous, next))
    }

    /// The newest pane is so many later; what does not fit any more and is needed is kept elsewhere.
    #[cold]
    fn move_over(&mut self, who: Option<Digest>, by: i64, older: &mut Older, needed_from: i64) {
        let stays = if by < W::BITS { W::ALL >> by } else { W::NONE };
        let gone = Self { bits: self.bits & !stays, ..*self };
        older.extend(gone.panes().filter(|pane| *pane >= needed_from).map(|pane| (who, pane)));
        self.bits = if by < W::BITS { (self.bits & stays) << by } else { W::NONE };
    }

    /// Whether the pane so many before the newest one is among them.
    #[inline]
    fn holds(self, behind: i64) -> bool {
        behind < W::BITS && self.bits >> behind & W::FIRST != W::NONE
    }

    pub(super) fn panes(self) -> impl Iterator<Item = i64> {
        (0..W::BITS).filter(move |behind| self.holds(*behind)).map(move |behind| self.newest - behind)
    }

    /// Whether it has a pane among these.
    pub(super) fn is_in(self, panes: &Range<i64>) -> bool {
        let behind = self.newest - (panes.end - 1);
        let (from, to) = (behind.max(0), (self.newest - panes.start).min(W::BITS - 1));
        from <= to && self.bits >> from & (W::ALL >> (W::BITS - 1 - (to - from))) != W::NONE
    }

    pub(super) fn newest(self) -> i64 {
        self.newest
    }

    pub(super) fn is_never(self) -> bool {
        self.bits == W::NONE
    }

    pub(super) fn len(self) -> usize {
        self.bits.ones()
    }

    /// Forgets the panes before this one.
    pub(super) fn forget_before(&mut self, from: i64) {
        let kept = self.newest.saturating_sub(from).saturating_add(1).clamp(0, W::BITS);
        self.bits = if kept == 0 { W::NONE } else { self.bits & W::ALL >> (W::BITS - kept) };
    }
}

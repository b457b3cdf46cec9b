//! The panes in which one value was seen: a word of bits, as nearly all of them lie close together.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::record::Digest;

/// Panes that a word has room for.
pub(super) const BITS: i64 = u64::BITS as i64;

/// Panes that did not fit into [`Seen`], by value; without one, those of the key.
pub(super) type Older = BTreeSet<(Option<Digest>, i64)>;

/// The panes in which a value was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    newest: i64,
    /// The lowest bit is the newest pane, each higher one the pane before; 0 for never.
    bits: u64,
}

/// The sightings next to a new one, before and after it.
pub(super) type Neighbours = (Option<i64>, Option<i64>);

impl Seen {
    /// Notes a pane; `None` if it is known. Panes before `needed_from` may be forgotten.
    #[inline]
    pub(super) fn see(
        &mut self,
        who: Option<Digest>,
        pane: i64,
        older: &mut Older,
        needed_from: i64,
    ) -> Option<Neighbours> {
        if self.bits == 0 {
            *self = Self { newest: pane, bits: 1 };
            return Some((None, None));
        }
        let behind = self.newest - pane;
        if behind < 0 {
            let before = self.newest;
            if -behind >= BITS || self.bits >> (BITS + behind) != 0 {
                self.move_over(who, -behind, older, needed_from);
            } else {
                self.bits <<= -behind;
            }
            (self.newest, self.bits) = (pane, self.bits | 1);
            return Some((Some(before), None));
        }
        if behind < BITS && self.bits >> behind & 1 == 1 {
            return None;
        }
        self.see_before(who, pane, older)
    }

    /// A pane before the newest one.
    #[cold]
    fn see_before(&mut self, who: Option<Digest>, pane: i64, older: &mut Older) -> Option<Neighbours> {
        let behind = self.newest - pane;
        let after = if behind < BITS { self.bits & ((1 << behind) - 1) } else { self.bits };
        let before = if behind + 1 < BITS { self.bits >> (behind + 1) } else { 0 };
        let mut previous = (before != 0).then(|| pane - 1 - i64::from(before.trailing_zeros()));
        let mut next = (after != 0).then(|| self.newest - i64::from(after.ilog2()));
        if behind < BITS {
            self.bits |= 1 << behind;
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
        let stays = if by < BITS { u64::MAX >> by } else { 0 };
        let gone = Self { bits: self.bits & !stays, ..*self };
        older.extend(gone.panes().filter(|pane| *pane >= needed_from).map(|pane| (who, pane)));
        self.bits = if by < BITS { (self.bits & stays) << by } else { 0 };
    }

    pub(super) fn panes(self) -> impl Iterator<Item = i64> {
        (0..BITS).filter(move |behind| self.bits >> behind & 1 == 1).map(move |behind| self.newest - behind)
    }

    /// Whether it has a pane among these.
    pub(super) fn is_in(self, panes: &Range<i64>) -> bool {
        let behind = self.newest - (panes.end - 1);
        let (from, to) = (behind.max(0), (self.newest - panes.start).min(BITS - 1));
        from <= to && self.bits >> from & (u64::MAX >> (BITS - 1 - (to - from))) != 0
    }

    pub(super) fn newest(self) -> i64 {
        self.newest
    }

    pub(super) fn is_never(self) -> bool {
        self.bits == 0
    }

    pub(super) fn len(self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Forgets the panes before this one.
    pub(super) fn forget_before(&mut self, from: i64) {
        let kept = self.newest.saturating_sub(from).saturating_add(1).clamp(0, BITS);
        self.bits &= if kept == 0 { 0 } else { u64::MAX >> (BITS - kept) };
    }
}

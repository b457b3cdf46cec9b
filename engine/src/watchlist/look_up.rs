//! What one reading matches, and how sure that is.

use weir_rules::pack::Grade;

use super::entry::Entry;
use super::{Snapshot, Watchlist, fold};
use crate::record::Digest;

/// What a device made of one thing it saw.
#[derive(Debug, Clone, Default)]
pub struct Reading<'a> {
    /// Canonical text, if all of it was read.
    pub text: Option<&'a str>,
    /// Further readings with scores, canonical.
    pub candidates: Vec<(&'a str, Option<f64>)>,
    /// Canonical text of which some characters were not read, `-` for each.
    pub partial: Option<&'a str>,
}

/// An entry that a reading matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Match<'a> {
    /// How sure it is.
    pub grade: Grade,
    /// The entry.
    pub entry: Entry<'a>,
    /// Stands for what the entry is found by.
    pub key: Digest,
    /// What beside the reading itself led to it, by name.
    pub evidence: Vec<(&'static str, String)>,
}

impl<'a> Match<'a> {
    fn new(grade: Grade, (key, entry): (Digest, Entry<'a>), evidence: Vec<(&'static str, String)>) -> Self {
        Self { grade, entry, key, evidence }
    }
}

impl Watchlist {
    /// The surest match of a reading, as of a moment and down to a grade. Of several live entries of one grade the one
    /// with the smallest `entry_id` speaks, whatever the order of the file; of several candidates, the one the
    /// device held likeliest.
    ///
    /// O(1) for a sure match; a reading of a plate that folds like an entry is spelled out in all ways
    /// (65,536 at most), one with two unread characters in 1,849.
    pub fn look_up(&self, reading: &Reading<'_>, min: Grade, at_ms: i64) -> Option<Match<'_>> {
        let text = reading.text;
        let exact = || Some(Match::new(Grade::Exact, self.exact(text?, at_ms)?, Vec::new()));
        let below = |grade: Grade| Some(grade).filter(|grade| *grade >= min);
        exact()
            .or_else(|| below(Grade::Pattern).and_then(|_| self.pattern(text?, at_ms)))
            .or_else(|| below(Grade::Candidate).and_then(|_| self.candidate(reading, at_ms)))
            .or_else(|| below(Grade::Confusable).and_then(|_| self.confusable(text?, at_ms)))
            .or_else(|| below(Grade::PartialRead).and_then(|_| self.partial(reading.partial?, at_ms)))
    }

    /// Looks up a canonical key as of a moment.
    pub fn exact(&self, key: &str, at_ms: i64) -> Option<(Digest, Entry<'_>)> {
        let hash = self.keys().hash(key.as_bytes());
        if !self.layers.iter().any(|layer| layer.may_hold(hash)) {
            return None;
        }
        let digest = self.keys().digest(key);
        self.live(digest, at_ms).map(|entry| (digest, entry))
    }

    /// Whether any entry has this key, alive or not.
    pub(super) fn holds(&self, key: &str) -> bool {
        let digest = self.keys().digest(key);
        self.layers.iter().any(|layer| !layer.find(digest).is_empty())
    }

    fn live(&self, digest: Digest, at_ms: i64) -> Option<Entry<'_>> {
        self.layers
            .iter()
            .enumerate()
            .flat_map(|(depth, layer)| layer.find(digest).map(move |number| (depth, layer, number)))
            .filter(|(depth, layer, number)| self.speaks(*depth, layer, *number, at_ms))
            .map(|(_, layer, number)| layer.entry(number))
            .min_by(|a, b| a.entry_id.cmp(b.entry_id))
    }

    /// Whether an entry is alive, and no later version took it back.
    fn speaks(&self, depth: usize, layer: &Snapshot, number: u32, at_ms: i64) -> bool {
        layer.expires_ms(number) > at_ms
            && (depth == 0 || {
                let id = self.keys().entry(layer.entry(number).entry_id);
                !self.layers[..depth].iter().any(|newer| newer.removes(id))
            })
    }

    fn pattern(&self, text: &str, at_ms: i64) -> Option<Match<'_>> {
        self.layers
            .iter()
            .enumerate()
            .flat_map(|(depth, layer)| {
                layer.patterns.matches(text).into_iter().map(move |number| (depth, layer, number))
            })
            .filter(|(depth, layer, number)| self.speaks(*depth, layer, layer.first_pattern() + number, at_ms))
            .map(|(_, layer, number)| (layer.patterns.text(number), layer.entry(layer.first_pattern() + number)))
            .min_by(|(_, a), (_, b)| a.entry_id.cmp(b.entry_id))
            .map(|(pattern, entry)| {
                let found = (self.keys().digest(pattern), entry);
                Match::new(Grade::Pattern, found, vec![("listed_pattern", pattern.to_owned())])
            })
    }

    fn candidate(&self, reading: &Reading<'_>, at_ms: i64) -> Option<Match<'_>> {
        let mut best: Option<(f64, Match<'_>)> = None;
        for (text, score) in &reading.candidates {
            let Some(found) = self.exact(text, at_ms) else { continue };
            let rank = score.unwrap_or(f64::NEG_INFINITY);
            let better = best.as_ref().is_none_or(|(best_rank, it)| {
                rank.total_cmp(best_rank).then_with(|| it.entry.entry_id.cmp(found.1.entry_id)).is_gt()
            });
            if better {
                let mut evidence = vec![("candidate", (*text).to_owned())];
                evidence.extend(score.map(|score| ("candidate_score", score.to_string())));
                best = Some((rank, Match::new(Grade::Candidate, found, evidence)));
            }
        }
        best.map(|(_, found)| found)
    }

    fn confusable(&self, text: &str, at_ms: i64) -> Option<Match<'_>> {
        let mut folded = Vec::with_capacity(text.len());
        fold::fold(text, &mut folded);
        let hash = self.keys().hash(&folded);
        if !self.layers.iter().any(|layer| super::prefilter::passes(layer.folded(), hash)) {
            return None;
        }
        let mut best = None;
        fold::spellings(text, |spelling| self.keep_smaller(&mut best, Grade::Confusable, spelling, at_ms));
        best
    }

    fn partial(&self, read: &str, at_ms: i64) -> Option<Match<'_>> {
        if !self.folds() {
            return None;
        }
        let mut best = None;
        fold::fillings(read, |filling| self.keep_smaller(&mut best, Grade::PartialRead, filling, at_ms));
        best
    }

    fn keep_smaller<'a>(&'a self, best: &mut Option<Match<'a>>, grade: Grade, key: &str, at_ms: i64) {
        if let Some(found) = self.exact(key, at_ms)
            && best.as_ref().is_none_or(|best| found.1.entry_id < best.entry.entry_id)
        {
            *best = Some(Match::new(grade, found, vec![("listed_as", key.to_owned())]));
        }
    }

    /// Whether an entry that was hit is still there and alive.
    pub fn still_lists(&self, entry_id: &str, key: Digest, at_ms: i64) -> bool {
        let with_key = self
            .layers
            .iter()
            .enumerate()
            .flat_map(|(depth, layer)| layer.find(key).map(move |number| (depth, layer, number)));
        let with_pattern = self.layers.iter().enumerate().flat_map(|(depth, layer)| {
            let texts = layer.patterns.texts().iter().enumerate();
            texts
                .filter(move |(_, text)| self.keys().digest(text) == key)
                .map(move |(number, _)| (depth, layer, layer.first_pattern() + number as u32))
        });
        with_key.chain(with_pattern).any(|(depth, layer, number)| {
            layer.entry(number).entry_id == entry_id && self.speaks(depth, layer, number, at_ms)
        })
    }
}

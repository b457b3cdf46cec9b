//! What was told, and what becomes of it, beside plain search.

use super::*;
use crate::record::ReadState;
use crate::rng::{Rng, SeededRng};

fn candidate(id: &str, track: Option<Digest>, say: &str, ts_ms: i64) -> Candidate {
    let track = track.map(|id| Track { id, state: ReadState::New, reads: true });
    let alert = Alert { alert_id: id.to_owned(), say: Some(say.to_owned()), ..Alert::default() };
    Candidate { rule: 0, record: 0, ts_ms, key: None, listed: Some(1), track, alert }
}

#[test]
fn a_correction_takes_back_what_it_does_not_confirm() {
    let mut told = Told::new(10, 1_000);
    let passage = Track { id: 9, state: ReadState::Correction, reads: true };
    told.note(&candidate("a", Some(9), "x", 100));
    assert_eq!(told.telling(&candidate("a", Some(9), "x", 110).alert), Telling::Repeat);
    assert_eq!(told.telling(&candidate("a", Some(9), "y", 110).alert), Telling::Revision(1, true));
    assert!(told.is_outdated(passage, 99) && !told.is_outdated(passage, 100));
    assert!(told.correct(passage, 120, &["a".to_owned()]).is_empty());
    let taken = told.correct(passage, 130, &[]);
    assert_eq!((taken.len(), taken[0].revision), (1, 1));
    assert!(told.correct(passage, 140, &[]).is_empty());
    assert_eq!(told.telling(&candidate("a", Some(9), "x", 150).alert), Telling::Revision(2, true));
}

#[test]
fn what_is_told_is_bounded_and_forgotten() {
    let mut told = Told::new(2, 1_000);
    for (at, id) in ["a", "b", "c"].into_iter().enumerate() {
        told.note(&candidate(id, Some(at as u128), "x", at as i64));
    }
    assert_eq!((told.alerts.len(), told.tracks.len(), told.evicted), (2, 2, 1));
    told.note(&candidate("d", None, "x", 10_000));
    assert_eq!((told.alerts.len(), told.tracks.len(), told.forget.len()), (1, 0, 1));
    let mut again = Told::new(2, 1_000);
    again.load(told.save());
    again.review();
    assert_eq!(again.withdraw(|_, _, _| false).len(), 0, "an alert without a hit cannot be withdrawn");
    assert!(again.is_reviewing());
    again.withdraw(|_, _, _| false);
    assert!(!again.is_reviewing());
}

struct Known {
    id: String,
    rule: usize,
    content: u64,
    ts_ms: i64,
    passage: Option<Digest>,
    revision: u32,
    standing: bool,
}

/// The same without indexes: every question looks at all there is.
#[derive(Default)]
struct Plain {
    alerts: Vec<Known>,
    newest: BTreeMap<Digest, i64>,
    newest_ms: i64,
    evicted: u64,
}

impl Plain {
    fn note(&mut self, it: &Candidate, alerts_max: usize, for_ms: i64) {
        let track = it.track.map(|track| track.id);
        if let Some(track) = track {
            let newest = self.newest.entry(track).or_insert(it.ts_ms);
            *newest = it.ts_ms.max(*newest);
        }
        let known = Known {
            id: it.alert.alert_id.clone(),
            rule: it.rule,
            content: content_of(&it.alert),
            ts_ms: it.ts_ms,
            passage: track,
            revision: it.alert.revision,
            standing: true,
        };
        self.alerts.retain(|other| other.id != known.id);
        self.alerts.push(known);
        self.newest_ms = self.newest_ms.max(it.ts_ms);
        self.alerts.sort_by(|one, other| (one.ts_ms, &one.id).cmp(&(other.ts_ms, &other.id)));
        while self.alerts[0].ts_ms + for_ms <= self.newest_ms || self.alerts.len() > alerts_max {
            self.evicted += u64::from(self.alerts[0].ts_ms + for_ms > self.newest_ms);
            self.alerts.remove(0);
        }
        self.forget_passages();
    }

    fn forget_passages(&mut self) {
        self.newest.retain(|track, _| self.alerts.iter().any(|known| known.passage == Some(*track)));
    }

    fn take_back(&mut self, which: impl Fn(&str, Option<Digest>) -> bool) -> Vec<(String, u32)> {
        let standing = self.alerts.iter_mut().filter(|known| known.standing && which(&known.id, known.passage));
        let mut taken: Vec<_> = standing
            .map(|known| {
                (known.revision, known.standing) = (known.revision + 1, false);
                (known.id.clone(), known.revision)
            })
            .collect();
        taken.sort();
        taken
    }
}

fn sorted(taken: Vec<ToldAlert>) -> Vec<(String, u32)> {
    let mut taken: Vec<_> = taken.into_iter().map(|told| (told.alert_id, told.revision)).collect();
    taken.sort();
    taken
}

/// Whatever happens, and over checkpoints: an id belongs to one passage, as it does where it comes from.
#[test]
fn it_does_what_plain_search_does() {
    const MAX: usize = 80;
    const FOR_MS: i64 = 5_000;
    for seed in 0..20 {
        let mut rng = SeededRng::new(seed);
        let (mut told, mut plain) = (Told::new(MAX, FOR_MS), Plain::default());
        let mut now_ms = 10_000;
        for _ in 0..3_000 {
            now_ms += rng.below(40) as i64;
            let ts_ms = now_ms - rng.below(2_000) as i64;
            let number = rng.below(200);
            let (id, passage) = (number.to_string(), (!number.is_multiple_of(3)).then_some(u128::from(number / 4)));
            let track = Track { id: u128::from(rng.below(60)), state: ReadState::Correction, reads: true };
            match rng.below(10) {
                0..6 => {
                    let mut it = candidate(&id, passage, if rng.below(3) == 0 { "x" } else { "y" }, ts_ms);
                    it.rule = rng.below(4) as usize;
                    let known = plain.alerts.iter().find(|known| known.id == id);
                    let expected = match known {
                        None => Telling::New,
                        Some(known) if known.standing && known.content == content_of(&it.alert) => Telling::Repeat,
                        Some(known) => Telling::Revision(known.revision + 1, true),
                    };
                    let telling = told.telling(&it.alert);
                    assert_eq!(telling, expected);
                    if let Telling::Revision(revision, _) = telling {
                        it.alert.revision = revision;
                    }
                    told.note(&it);
                    plain.note(&it, MAX, FOR_MS);
                }
                6..8 => {
                    let outdated = plain.newest.get(&track.id).is_some_and(|newest| ts_ms < *newest);
                    assert_eq!(told.is_outdated(track, ts_ms), outdated);
                    if let Some(newest) = plain.newest.get_mut(&track.id) {
                        *newest = ts_ms.max(*newest);
                    }
                    let expected = plain.take_back(|known, of| of == Some(track.id) && known != id);
                    assert_eq!(sorted(told.correct(track, ts_ms, &[id])), expected);
                }
                8 => {
                    let mut again = Told::new(MAX, FOR_MS);
                    let bytes = postcard::to_allocvec(&told.save()).unwrap();
                    again.load(postcard::from_bytes(&bytes).unwrap());
                    told = again;
                }
                _ if rng.below(20) == 0 => {
                    let place = |rule| [Some(1), Some(2), Some(3), None][rule];
                    told.move_rules(place);
                    plain.alerts.retain_mut(|known| {
                        let rule = place(known.rule);
                        known.rule = rule.unwrap_or(known.rule);
                        rule.is_some()
                    });
                    plain.forget_passages();
                }
                _ => {}
            }
            assert_eq!(told.evicted, plain.evicted);
            assert_eq!((told.alerts.len(), told.tracks.len()), (plain.alerts.len(), plain.newest.len()));
            assert_eq!((told.forget.len(), told.passages.len()), (plain.alerts.len(), plain.newest.len()));
        }
        assert!(plain.evicted > 0);
    }
}

//! The five ways to bring the records of a test.

use std::fmt;

use weir_rules::pack::{Body, Pack, PackTest, Rule};

use super::alerts_of;
use crate::alert::{Alert, Output};
use crate::rng::SeededRng;
use crate::runtime::{Trial, TrialParts};

/// How often the ways that draw lots are gone.
const ROUNDS: u64 = 8;
/// Most borders at which the state is written out and read back.
const BORDERS_MAX: usize = 200;
/// Disorder that a rule without state bears.
const LATENESS_STATELESS_MS: i64 = 5_000;

/// A way to bring the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All at once.
    OneBatch,
    /// One by one.
    RowByRow,
    /// In pieces of random length.
    RandomSplits(u64),
    /// Out of order, as far as the lateness of the rules allows.
    Shuffled(u64),
    /// One by one, the state written out and read back in between.
    Checkpoints,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneBatch => f.write_str("in one batch"),
            Self::RowByRow => f.write_str("row by row"),
            Self::RandomSplits(_) => f.write_str("in random splits"),
            Self::Shuffled(_) => f.write_str("shuffled within the lateness"),
            Self::Checkpoints => f.write_str("with checkpoint and restore between events"),
        }
    }
}

/// All ways for a test.
pub(super) fn all(pack: &Pack, test: &PackTest) -> Vec<Way> {
    let mut ways = vec![Way::OneBatch, Way::RowByRow];
    ways.extend((0..ROUNDS).map(Way::RandomSplits));
    if lateness_ms(pack, test) > 0 {
        ways.extend((0..ROUNDS).map(Way::Shuffled));
    }
    ways.push(Way::Checkpoints);
    ways
}

/// The disorder that all rules of a test bear. A rule that answers at once and holds repeats back answers
/// the first that arrives: it bears none. Nor does a read that is corrected before it came.
fn lateness_ms(pack: &Pack, test: &PackTest) -> i64 {
    if test.events.iter().any(|event| event.line.contains("\"read_id\"")) {
        return 0;
    }
    let lateness = |rule: &Rule| match rule.body {
        Body::Match | Body::Watchlist(_) if rule.alerting.dedupe.is_none() => LATENESS_STATELESS_MS,
        _ => rule.lateness_ms(),
    };
    let tested = pack.rules.iter().filter(|rule| test.rules.contains(&rule.id));
    tested.map(lateness).min().unwrap_or(0)
}

/// Goes one way; the alerts that came.
pub(super) fn go(parts: &TrialParts, test: &PackTest, way: Way) -> Result<Vec<Alert>, String> {
    let lines: Vec<&str> = test.events.iter().map(|event| event.line.as_str()).collect();
    let until_ms = test.until_ms.map(|until_ms| test.start_ms + until_ms);
    let mut trial = Trial::new(parts.clone()).map_err(|error| error.to_string())?;
    let mut outputs: Vec<Output> = Vec::new();
    match way {
        Way::OneBatch => feed(&mut trial, &lines),
        Way::RowByRow => lines.iter().for_each(|line| feed(&mut trial, &[line])),
        Way::RandomSplits(round) => {
            let mut rng = SeededRng::new(round);
            let mut rest = lines.as_slice();
            while !rest.is_empty() {
                let piece = 1 + (rng.next_u64() as usize) % rest.len();
                feed(&mut trial, &rest[..piece]);
                rest = &rest[piece..];
            }
        }
        Way::Shuffled(round) => {
            let lateness_ms = lateness_ms(&parts.packs[0].0, test);
            let mut rng = SeededRng::new(round);
            let mut order: Vec<(i64, usize)> = test
                .events
                .iter()
                .enumerate()
                .map(|(at, event)| (event.at_ms + (rng.unit() * (lateness_ms + 1) as f64) as i64, at))
                .collect();
            order.sort_unstable();
            for (_, at) in order {
                feed(&mut trial, &[lines[at]]);
            }
        }
        Way::Checkpoints => {
            let mut rng = SeededRng::new(lines.len() as u64);
            let share = BORDERS_MAX as f64 / lines.len().max(1) as f64;
            for line in &lines {
                feed(&mut trial, &[line]);
                if rng.unit() < share {
                    outputs.extend(trial.outputs());
                    let state = trial.checkpoint();
                    trial = Trial::restore(parts.clone(), &state).map_err(|error| error.to_string())?;
                }
            }
        }
    }
    trial.settle(until_ms);
    outputs.extend(trial.outputs());
    if let Some(letter) = outputs.iter().find_map(|output| match output {
        Output::DeadLetter(letter) => Some(letter),
        _ => None,
    }) {
        return Err(format!("record {} of the test is refused: {}", letter.record, letter.message));
    }
    Ok(alerts_of(outputs))
}

fn feed(trial: &mut Trial, lines: &[&str]) {
    if !lines.is_empty() {
        trial.feed(&(lines.join("\n") + "\n"));
    }
}

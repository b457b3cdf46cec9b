//! The records of `examples/square`: a concert on a square, seeded, nobody in it real.
//!
//! `cargo run --release --bin square > records.ndjson`
//!
//! Three hours from six in the evening. Four gates count who passes every ten seconds and miss 2 % of those who come
//! and 4 % of those who go; every ten minutes stewards count who is inside. People come for ninety minutes, more than
//! the square holds; then it is cleared.

use std::io::Write;

use weir_engine::rng::SeededRng;

/// 2026-11-21T18:00:00+08:00.
const START_MS: i64 = 1_795_255_200_000;
const STEP_S: i64 = 10;
const STEPS: i64 = 3 * 3_600 / STEP_S;
/// The square is cleared from then on.
const CLEARED: i64 = 90 * 60 / STEP_S;
const STEWARDS_S: i64 = 600;
/// Shares of passages that the gates see.
const SEEN: [f64; 2] = [0.98, 0.96];

struct Place {
    zone: &'static str,
    gates: [&'static str; 2],
    inside: i64,
    /// People who come in ten seconds, at the most.
    come: f64,
}

fn main() -> std::io::Result<()> {
    let mut rng = SeededRng::new(20_261_121);
    let mut out = std::io::stdout().lock();
    let mut places = [
        Place { zone: "stage", gates: ["north", "east"], inside: 0, come: 6.4 },
        Place { zone: "market", gates: ["south", "west"], inside: 0, come: 3.3 },
    ];
    for step in 0..STEPS {
        let at_ms = START_MS + step * STEP_S * 1_000;
        for place in &mut places {
            let (come, leave) = if step < CLEARED { (place.come, 0.0006) } else { (0.15, 0.006) };
            let come = (come * (0.6 + 0.8 * rng.unit()) + rng.unit()) as i64;
            let go = (0..place.inside).filter(|_| rng.unit() < leave).count() as i64;
            place.inside += come - go;
            for (people, direction, seen) in [(come, "in", SEEN[0]), (go, "out", SEEN[1])] {
                let mut counted = [0; 2];
                for _ in 0..people {
                    if rng.unit() < seen {
                        counted[usize::from(rng.unit() < 0.5)] += 1;
                    }
                }
                for (gate, count) in place.gates.iter().zip(counted) {
                    writeln!(
                        out,
                        r#"{{"kind":"person","event_id":"{gate}-{direction}-{step}","ts":{},"site":"concert","device":"{gate}","zone":"{}","direction":"{direction}","count":{count}}}"#,
                        at_ms + 5_000,
                        place.zone
                    )?;
                }
            }
            if (step + 1) * STEP_S % STEWARDS_S == 0 {
                writeln!(
                    out,
                    r#"{{"kind":"person","event_id":"stewards-{}-{step}","ts":{},"site":"concert","device":"stewards","zone":"{}","occupancy":{}}}"#,
                    place.zone,
                    at_ms + 9_000,
                    place.zone,
                    place.inside
                )?;
            }
        }
    }
    Ok(())
}

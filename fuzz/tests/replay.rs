//! Replays every seed of every target, whole and with seeded mutations: a fuzz run that fits a test.

use std::path::Path;

use weir_engine::rng::SeededRng;

/// Mutants of each seed.
const MUTANTS: usize = 2_000;
/// Mutated packs over all seeds.
const PACK_MUTANTS: usize = 100_000;

fn seeds(target: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::read_dir(folder).unwrap().count()
}

fn replay(target: &str, mutants: usize, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        seeds += 1;
        run(&seed);
        let mut rng = SeededRng::new(seeds);
        for _ in 0..mutants {
            run(&mutate(&seed, &mut rng));
        }
    }
    assert!(seeds > 0, "{target} has seeds");
}

fn mutate(seed: &[u8], rng: &mut SeededRng) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"\\u00e9",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\n",
        b"-",
        b"0",
        b"1e9",
        b"null",
        "陕".as_bytes(),
        b"\xff",
        b" ",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.next_u64() % 3 {
        let at = (rng.next_u64() as usize) % (bytes.len() + 1);
        match rng.next_u64() % 4 {
            0 => drop(bytes.drain(at..(at + 1 + rng.next_u64() as usize % 6).min(bytes.len()))),
            1 if at < bytes.len() => bytes[at] ^= 1 << (rng.next_u64() % 8),
            2 => {
                let end = (at + rng.next_u64() as usize % 20).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let piece = PIECES[rng.next_u64() as usize % PIECES.len()];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn decode_ndjson() {
    replay("decode_ndjson", MUTANTS, weir_fuzz::decode_ndjson);
}

#[test]
fn frame() {
    replay("frame", MUTANTS, weir_fuzz::frame);
}

#[test]
fn identifiers() {
    replay("identifiers", MUTANTS, weir_fuzz::identifiers);
}

#[test]
fn credential() {
    replay("credential", MUTANTS, weir_fuzz::credential);
}

/// Each of them is judged by rules, twice or more.
const JUDGED_MUTANTS: usize = 100;

#[test]
fn decode_csv() {
    replay("decode_csv", JUDGED_MUTANTS, weir_fuzz::decode_csv);
}

#[test]
fn arrow_ipc_in() {
    replay("arrow_ipc_in", JUDGED_MUTANTS, weir_fuzz::arrow_ipc_in);
}

#[test]
fn http_body() {
    replay("http_body", JUDGED_MUTANTS, weir_fuzz::http_body);
}

#[test]
fn viid_json() {
    replay("viid_json", MUTANTS, weir_fuzz::viid_json);
}

#[test]
fn push_event() {
    replay("push_event", MUTANTS, weir_fuzz::push_event);
}

#[test]
fn broker_message() {
    replay("broker_message", MUTANTS, weir_fuzz::broker_message);
}

#[test]
fn rules_eval() {
    replay("rules_eval", JUDGED_MUTANTS, weir_fuzz::rules_eval);
}

#[test]
fn checkpoint_open() {
    replay("checkpoint_open", SNAPSHOT_MUTANTS, weir_fuzz::checkpoint_open);
}

#[test]
fn rules_pack() {
    replay("rules_pack", PACK_MUTANTS.div_ceil(seeds("rules_pack")), weir_fuzz::rules_pack);
}

/// Opening costs microseconds, and most mutants are refused at once.
const SNAPSHOT_MUTANTS: usize = 20_000;

#[test]
fn watchlist_open() {
    replay("watchlist_open", SNAPSHOT_MUTANTS, weir_fuzz::watchlist_open);
}

/// Opening a log of a few segments, twice.
const LOG_MUTANTS: usize = 5_000;

#[test]
fn log_recover() {
    replay("log_recover", LOG_MUTANTS, weir_fuzz::log_recover);
}

/// `decode-oracle 10000000` does the same for longer.
#[test]
fn mutated_records_are_decoded_as_serde_json_would() {
    let mut mutator = weir_fuzz::Mutator::new(7);
    let accepted: u64 = (0..300).map(|_| weir_fuzz::decode_lines(&mutator.lines(1_000))).sum();
    assert!((100_000..250_000).contains(&accepted), "both kinds are tried: {accepted}");
}

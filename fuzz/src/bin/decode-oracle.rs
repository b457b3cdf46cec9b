//! The decoder beside `serde_json` on records of the city, mutated: `decode-oracle RECORDS [SEED]`. Every line must be
//! accepted or refused alike, with the same values. A difference ends the run with the line that shows it.
#![forbid(unsafe_code)]

use weir_fuzz::{Mutator, decode_lines};

/// Lines that are decoded together, so that what one record teaches is tried on others.
const LINES: u64 = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(records)), Ok(seed)) = (arguments.next(), arguments.next().transpose()) else {
        eprintln!("usage: decode-oracle RECORDS [SEED]");
        std::process::exit(2);
    };
    let mut mutator = Mutator::new(seed.unwrap_or(1));
    let (mut done, mut accepted) = (0, 0);
    while done < records {
        let lines = LINES.min(records - done);
        let text = mutator.lines(lines);
        accepted += decode_lines(&text);
        done += lines;
    }
    println!("{records} records: accepted alike {accepted}, refused alike {}", records - accepted);
}

//! What counting lines, validating UTF-8, weir's decoder alone, `serde_json` and `arrow-json` take on the bytes of a file,
//! one core each, beside each other in one process: `baselines FILE`.
#![forbid(unsafe_code)]

use std::io::BufReader;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema};
use weir_engine::decode::json::FieldReader;

/// Runs of each baseline; the median counts.
const RUNS: usize = 3;
/// Bytes that are decoded together.
const BLOCK_BYTES: usize = 256 << 10;

fn main() {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: baselines FILE.ndjson");
        std::process::exit(2);
    };
    let bytes = std::fs::read(&path).expect("the file can be read");
    let lines = memchr::memchr_iter(b'\n', &bytes).count();
    println!("{lines} lines, {} bytes; median of {RUNS} runs", bytes.len());
    measure("count line feeds", lines, || memchr::memchr_iter(b'\n', &bytes).count());
    measure("validate UTF-8", lines, || simdutf8::basic::from_utf8(&bytes).map_or(0, str::len));
    measure("serde_json to Value", lines, || {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok())
            .count()
    });
    let text =
        ["kind", "event_id", "ts", "site", "device", "zone", "person_id", "direction", "lane", "plate", "plate_color"]
            .into_iter()
            .chain([
                "vehicle_class",
                "item_class",
                "unit",
                "doc_type",
                "doc_number",
                "issuer",
                "decision",
                "holder",
                "scheme",
                "status",
            ]);
    let numbers = ["confidence", "speed_kmh", "quantity"];
    let names: Vec<String> = text.clone().chain(numbers).map(str::to_owned).collect();
    let kinds = ["person", "vehicle", "item", "id", "code"].map(str::to_owned);
    measure("weir: where values lie", lines, || {
        let mut reader = FieldReader::new(&names, Some((0, &kinds)));
        let (mut rest, mut records) = (bytes.as_slice(), 0);
        while !rest.is_empty() {
            // In blocks as a source reads them: what is known of one stays near.
            let end = memchr::memrchr(b'\n', &rest[..rest.len().min(BLOCK_BYTES)]).map_or(rest.len(), |at| at + 1);
            let (block, behind) = rest.split_at(end);
            let text = simdutf8::basic::from_utf8(block).expect("it is text");
            reader.read_lines(text, |_, fields| records += usize::from(fields.is_ok()));
            rest = behind;
        }
        records
    });
    let mut fields: Vec<Field> = text.map(|name| Field::new(name, DataType::Utf8, true)).collect();
    fields.extend(numbers.map(|name| Field::new(name, DataType::Float64, true)));
    let schema = Arc::new(Schema::new(fields));
    measure("arrow-json to columns", lines, || {
        let reader = arrow_json::ReaderBuilder::new(Arc::clone(&schema))
            .with_batch_size(8192)
            .build(BufReader::new(&bytes[..]))
            .expect("a reader");
        // The reader keeps yielding errors once it has met one.
        reader.map_while(Result::ok).map(|batch| batch.num_rows()).sum()
    });
}

fn measure(name: &str, lines: usize, mut run: impl FnMut() -> usize) {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(run());
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[RUNS / 2];
    println!("{name:<24} {median:>8.3} s  {:>8.2} M records/s", lines as f64 / median / 1e6);
}

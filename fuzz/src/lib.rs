//! What each fuzz target does with its bytes. A panic is a finding.

mod credential;
mod events;
mod log;
mod mutate;
mod records;

pub use credential::credential;
pub use events::{broker_message, push_event, viid_json};
pub use log::log_recover;
pub use mutate::Mutator;
pub use records::{arrow_ipc_in, decode_csv, http_body, rules_eval};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use weir_engine::Format;
use weir_engine::decode::json::{FieldReader, unescaped};
use weir_engine::normalise::{TimeReader, apply, check_resident_id, read_mrz, read_plate};
use weir_engine::record::Field;
use weir_engine::source::{Framer, Payload};
use weir_engine::vfs::FileBytes;
use weir_engine::watchlist::{Effort, ListKeys, Reading, Snapshot, Watchlist, reseal};
use weir_rules::diagnostic::{Style, render};
use weir_rules::schema::Normaliser;
use weir_rules::{Catalog, Diagnostics, SourceFile, pack};

/// Lines are accepted exactly if `serde_json` takes them as objects, depth and number range aside, and with the same
/// values, whatever the lines before them have taught. Gives how many were accepted.
///
/// # Panics
/// On a finding.
pub fn decode_lines(text: &str) -> u64 {
    let mut reader = FieldReader::new(&FIELDS.map(str::to_owned), Some((0, &KINDS.map(str::to_owned))));
    let mut accepted = 0;
    reader.read_lines(text, |line, ours| {
        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                accepted += 1;
                for (slot, name) in FIELDS.iter().enumerate() {
                    let theirs = theirs.get(*name).unwrap_or(&serde_json::Value::Null);
                    assert!(
                        is_same(ours.field(slot), theirs),
                        "{name} of {line}: {:?}, not {theirs}",
                        ours.field(slot)
                    );
                }
            }
            (Err(cause), Ok(_)) => assert_eq!(cause.word(), "too_deep", "{line:?}: {cause}"),
            (Ok(_), Err(error)) => assert!(error.to_string().contains("number out of range"), "{line:?}: {error}"),
            (Err(_), Err(_)) => {}
        }
    });
    accepted
}

/// Fields of the records that are mutated.
const FIELDS: [&str; 12] = [
    "kind",
    "event_id",
    "ts",
    "site",
    "zone",
    "plate",
    "person_id",
    "doc_number",
    "confidence",
    "count",
    "holder",
    "seen",
];

/// Kinds of the records that are mutated.
const KINDS: [&str; 5] = ["person", "vehicle", "item", "id", "code"];

fn is_same(ours: Field<'_>, theirs: &serde_json::Value) -> bool {
    match ours {
        Field::Missing => theirs.is_null(),
        Field::Text(text) => theirs.as_str() == Some(text),
        Field::Escaped(text) => theirs.as_str() == Some(unescaped(text).as_str()),
        Field::Number(text) => text.parse().ok() == theirs.as_f64(),
        Field::Truth(truth) => theirs.as_bool() == Some(truth),
        Field::Json(text) => serde_json::from_str::<serde_json::Value>(text).is_ok_and(|ours| ours == *theirs),
        _ => false,
    }
}

/// Every line of a text, as [`decode_lines`] sees it, twice: what was learned the first time is tried the second time.
///
/// # Panics
/// On a finding.
pub fn decode_ndjson(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    decode_lines(&format!("{text}\n{text}"));
}

/// Records are the same whatever the sizes of the reads.
///
/// # Panics
/// On a finding.
pub fn frame(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let step = usize::from(first % 16) + 1;
    for format in [Format::Ndjson, Format::Csv] {
        assert_eq!(frames(format, rest, rest.len().max(1)), frames(format, rest, step), "{format:?}");
    }
    frames(Format::ArrowIpc, rest, step);
}

/// The records of a stream, those over the limit left out: they are refused at one of two places, by
/// the sizes of the reads. `None` where the stream cannot be read on.
fn frames(format: Format, bytes: &[u8], step: usize) -> Option<Vec<u8>> {
    // Short for NDJSON, so that mutants meet it; a CSV record may run to the end of the input.
    let record_bytes_max = if format == Format::Ndjson { 64 } else { 1 << 20 };
    let mut framer = Framer::detached(format, record_bytes_max);
    let mut kept = Vec::new();
    let mut pieces = bytes.chunks(step);
    loop {
        let piece = pieces.next();
        match piece {
            Some(piece) => framer.push(piece),
            None => framer.finish(),
        }
        loop {
            match framer.next_payload() {
                Ok(Some(Payload::Lines { bytes, .. })) => {
                    for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.len() <= record_bytes_max) {
                        kept.extend_from_slice(line);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return None,
            }
        }
        if piece.is_none() {
            return Some(kept);
        }
    }
}

/// Normalisers take any text; what they give is stable under a second pass.
///
/// # Panics
/// On a finding.
pub fn identifiers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (read_plate(text), check_resident_id(text), read_mrz(text), TimeReader::new(None).read_ms(text));
    for normaliser in [Normaliser::PlateV1, Normaliser::DocumentV1, Normaliser::ItemClassV1] {
        let mut once = String::new();
        if let Ok(true) = apply(normaliser, text, &mut once) {
            let mut twice = String::new();
            assert!(matches!(apply(normaliser, &once, &mut twice), Ok(true)), "{normaliser:?} of {text:?}, {once:?}");
            assert_eq!(once, twice, "{normaliser:?} of {text:?}");
        }
    }
}

/// A pack gives diagnostics, whose places lie in the text.
///
/// # Panics
/// On a finding.
pub fn rules_pack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut diagnostics = Diagnostics::new();
    let file = SourceFile::new("fuzz.yaml", text);
    let _ = pack::parse(&file, &Catalog::builtin(), &mut diagnostics);
    for diagnostic in diagnostics.iter() {
        assert!(text.get(diagnostic.span.clone()).is_some(), "{}: {:?}", diagnostic.code.id, diagnostic.span);
        let _ = render(diagnostic, Style::Plain);
    }
}

/// The key that the seeds of `watchlist_open` are built with: `weir list build` with a key file of 32 bytes 7,
/// purpose `road`, epoch `2026-11`).
pub fn watchlist_keys() -> Arc<ListKeys> {
    Arc::new(ListKeys::derive(&[7; 32], "road", "2026-11"))
}

/// A file opens or is refused, as it is and as a forger with the key would seal it again; what opens answers every
/// question somehow.
///
/// # Panics
/// On a finding.
pub fn watchlist_open(data: &[u8]) {
    let keys = watchlist_keys();
    let _ = Snapshot::open(FileBytes::Read(data.to_vec()), &keys, Effort::Beside);
    let _ = (Snapshot::peek(data), Snapshot::check(data), Snapshot::sizes(data));
    let mut sealed = data.to_vec();
    reseal(&mut sealed, &keys);
    let Ok(snapshot) = Snapshot::open(FileBytes::Read(sealed), &keys, Effort::Beside) else { return };
    let _ = snapshot.audit(&AtomicU64::new(0));
    for number in 0..snapshot.len().min(1_000) {
        let _ = snapshot.entry(number);
    }
    let Some(spec) = snapshot.spec() else { return };
    let list = Watchlist::new(spec, vec![Arc::new(snapshot)], String::new(), 0);
    let texts = ["陕A12345", "陕B0O812", "陕A1232", "P1234567", ""];
    for text in texts {
        let reading = Reading { text: Some(text), candidates: vec![("陕A12345", None)], partial: Some("陕A1-3-5") };
        let _ = list.look_up(&reading, weir_rules::pack::Grade::PartialRead, 0);
    }
    let column: arrow::array::StringViewArray = texts.iter().map(|text| Some(*text)).collect();
    assert!(list.exact_rows(&column).len() <= texts.len());
    let _ = (list.still_lists("E1", 1, 0), list.expired(0, Effort::Beside), list.ids_of(&[1]));
}

/// A checkpoint is read or refused, as it is and with checksums that fit.
pub fn checkpoint_open(data: &[u8]) {
    let _ = weir_engine::runtime::read_checkpoint(data);
}

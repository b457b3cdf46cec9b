//! The index against a plain reference: a map of keys and regular expressions, on random lists and
//! readings, with patterns, candidates, look-alikes and unread characters, in one file and in deltas.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::StringViewArray;
use common::{NOW_MS, ROOT, load_file, parse_pack};
use regex::Regex;
use serde_json::json;
use weir_engine::rng::{Rng, SeededRng};
use weir_engine::vfs::FileBytes;
use weir_engine::watchlist::{
    Effort, Extent, ListError, ListKeys, ListSource, ListSpec, Manifest, Reading, Snapshot, SnapshotBuilder,
    SnapshotError, Watchlist, build_delta, changes_to, load_inline, read_source, reseal,
};
use weir_engine::{Limits, Output, Trial, TrialParts};
use weir_rules::pack::Grade;
use weir_rules::{Catalog, Pack};

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { road: { legal_basis: act 1 } }
lists:
  stolen: { kind: stolen_vehicle, from: list.wlist, key: plate, purpose: road, max_growth: 50% }
rules:
  - id: seen
    kind: watchlist
    from: vehicle
    on: plate
    list: stolen
    min_grade: partial_read
    purpose: road
    say: \"{hit.grade} {hit.entry_id}\"
";

/// An entry as the reference keeps it: one key or pattern.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    key: String,
    id: String,
    expires_ms: i64,
}

impl Plain {
    fn is_pattern(&self) -> bool {
        self.key.contains(['?', '*'])
    }
}

/// A reading as the reference sees it.
#[derive(Debug, Default)]
struct Read {
    text: Option<String>,
    candidates: Vec<(String, Option<f64>)>,
    partial: Option<String>,
}

fn pick<'a>(rng: &mut SeededRng, from: &'a [char]) -> &'a char {
    &from[rng.below(from.len() as u64) as usize]
}

/// Few characters, so that keys and readings meet; most of them look like another one.
const CHARACTERS: [char; 12] = ['0', 'O', 'D', '1', 'I', '2', 'Z', '8', 'B', 'G', '7', 'K'];

fn plate(rng: &mut SeededRng) -> String {
    let len = 3 + rng.below(2);
    std::iter::once('陕').chain((0..len).map(|_| *pick(rng, &CHARACTERS))).collect()
}

fn with(rng: &mut SeededRng, text: &str, marks: &[char], times: u64) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..times {
        let at = 1 + rng.below(chars.len() as u64 - 1) as usize;
        chars[at] = *pick(rng, marks);
    }
    chars.into_iter().collect()
}

fn entries(rng: &mut SeededRng, count: u64) -> Vec<Plain> {
    (0..count)
        .map(|number| {
            let key = plate(rng);
            let key = if rng.below(8) == 0 { with(rng, &key, &['?', '*'], 1) } else { key };
            let expires_ms = if rng.below(6) == 0 { NOW_MS - 86_400_000 } else { NOW_MS + 86_400_000 };
            Plain { key, id: format!("E{}", (number * 7919) % 1000), expires_ms }
        })
        .collect()
}

/// A plate, often one that is nearly or wholly on the list.
fn seen(rng: &mut SeededRng, entries: &[Plain]) -> String {
    if entries.is_empty() || rng.below(3) == 0 {
        return plate(rng);
    }
    let listed = &entries[rng.below(entries.len() as u64) as usize].key;
    let text: String =
        listed.chars().map(|c| if matches!(c, '?' | '*') { *pick(rng, &CHARACTERS) } else { c }).collect();
    if rng.below(2) == 0 { with(rng, &text, &CHARACTERS, 1) } else { text }
}

fn read(rng: &mut SeededRng, entries: &[Plain]) -> Read {
    let mut read = Read::default();
    match rng.below(4) {
        0 => {
            let unread = 1 + rng.below(2);
            let text = seen(rng, entries);
            read.partial = Some(with(rng, &text, &['-'], unread));
        }
        _ => read.text = Some(seen(rng, entries)),
    }
    if rng.below(2) == 0 {
        let scored = |rng: &mut SeededRng| (rng.below(5) > 0).then(|| rng.below(4) as f64 / 4.0);
        read.candidates = (0..rng.below(3)).map(|_| (seen(rng, entries), scored(rng))).collect();
    }
    read
}

fn fold(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            'O' | 'D' | 'Q' => '0',
            'I' | 'L' => '1',
            'Z' => '2',
            'S' => '5',
            'B' => '8',
            'G' => '6',
            c => c,
        })
        .collect()
}

/// What a reading matches, the slow way: grade and entry id.
fn reference(entries: &[Plain], read: &Read, min: Grade, at_ms: i64) -> Option<(Grade, String)> {
    let live = || entries.iter().filter(|entry| entry.expires_ms > at_ms);
    let keys = || live().filter(|entry| !entry.is_pattern());
    let smallest = |found: Vec<&Plain>| found.into_iter().map(|entry| entry.id.clone()).min();
    let like = |pattern: &str| {
        let body: String = pattern
            .chars()
            .map(|c| match c {
                '?' | '-' => ".".to_owned(),
                '*' => ".*".to_owned(),
                c => regex::escape(&c.to_string()),
            })
            .collect();
        Regex::new(&format!("^{body}$")).unwrap()
    };
    let by_grade = |grade: Grade| match (grade, &read.text) {
        (Grade::Exact, Some(text)) => smallest(keys().filter(|entry| entry.key == *text).collect()),
        (Grade::Pattern, Some(text)) => {
            smallest(live().filter(|entry| entry.is_pattern() && like(&entry.key).is_match(text)).collect())
        }
        (Grade::Candidate, _) => {
            let mut found: Vec<(f64, String)> = read
                .candidates
                .iter()
                .filter_map(|(text, score)| {
                    let id = smallest(keys().filter(|entry| entry.key == *text).collect())?;
                    Some((score.unwrap_or(f64::NEG_INFINITY), id))
                })
                .collect();
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            found.into_iter().next().map(|(_, id)| id)
        }
        (Grade::Confusable, Some(text)) => smallest(keys().filter(|entry| fold(&entry.key) == fold(text)).collect()),
        (Grade::PartialRead, _) => {
            let pattern = like(read.partial.as_ref()?);
            smallest(keys().filter(|entry| pattern.is_match(&entry.key)).collect())
        }
        _ => None,
    };
    [Grade::Exact, Grade::Pattern, Grade::Candidate, Grade::Confusable, Grade::PartialRead]
        .into_iter()
        .filter(|grade| *grade >= min)
        .find_map(|grade| by_grade(grade).map(|id| (grade, id)))
}

fn ndjson(entries: &[Plain]) -> String {
    let line = |entry: &Plain| {
        json!({ "plate": entry.key, "entry_id": entry.id, "expires": at(entry.expires_ms) }).to_string()
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn list_of(pack: &Pack, entries: &[Plain]) -> Watchlist {
    let spec = ListSpec::new(pack, &pack.lists[0]);
    let (list, report) = load_inline("list", &ndjson(entries), spec, &Limits::default(), NOW_MS).unwrap();
    assert_eq!(report.problems, []);
    list
}

fn found(list: &Watchlist, read: &Read, min: Grade) -> Option<(Grade, String)> {
    let reading = Reading {
        text: read.text.as_deref(),
        candidates: read.candidates.iter().map(|(text, score)| (text.as_str(), *score)).collect(),
        partial: read.partial.as_deref(),
    };
    let found = list.look_up(&reading, min, NOW_MS)?;
    Some((found.grade, found.entry.entry_id.to_owned()))
}

const GRADES: [Grade; 5] = [Grade::Exact, Grade::Pattern, Grade::Candidate, Grade::Confusable, Grade::PartialRead];

#[test]
fn a_hundred_thousand_readings_match_what_the_reference_matches() {
    let pack = parse_pack(PACK);
    let mut rng = SeededRng::new(11);
    let (mut cases, mut hits) = (0, [0usize; 5]);
    for _ in 0..1_000 {
        let size = rng.below(60);
        let entries = entries(&mut rng, size);
        let list = list_of(&pack, &entries);
        for _ in 0..100 {
            let read = read(&mut rng, &entries);
            let min = GRADES[rng.below(5) as usize];
            let expected = reference(&entries, &read, min, NOW_MS);
            assert_eq!(found(&list, &read, min), expected, "{read:?} down to {min:?} in {entries:?}");
            cases += 1;
            if let Some((grade, _)) = expected {
                hits[GRADES.iter().position(|it| *it == grade).unwrap()] += 1;
            }
        }
    }
    assert_eq!(cases, 100_000);
    assert!(hits.iter().all(|count| *count > 500), "every grade occurs: {hits:?}");
}

/// The column-wise way, through a rule: what is told is what the reference matches, reading by reading.
#[test]
fn columns_match_what_single_readings_match() {
    let pack = parse_pack(PACK);
    let mut rng = SeededRng::new(12);
    for round in 0..20 {
        let entries = entries(&mut rng, 80);
        let list = list_of(&pack, &entries);
        let reads: Vec<Read> = (0..300).map(|_| read(&mut rng, &entries)).collect();
        let line = |(at, read): (usize, &Read)| {
            let mut record = json!({
                "kind": "vehicle", "event_id": format!("{round}-{at}"), "ts": NOW_MS, "site": "s", "device": "s-1",
                "candidates": read.candidates.iter().map(|(text, score)| json!({ "text": text, "score": score })).collect::<Vec<_>>(),
            });
            if let Some(text) = read.text.as_ref().or(read.partial.as_ref()) {
                record["plate"] = json!(text);
            }
            record.to_string()
        };
        let lines: Vec<String> = reads.iter().enumerate().map(line).collect();
        let mut trial =
            Trial::new(TrialParts::new(Catalog::builtin(), vec![(pack.clone(), vec![Arc::new(list)])])).unwrap();
        trial.feed(&(lines.join("\n") + "\n"));
        let mut told: Vec<String> = trial
            .outputs()
            .iter()
            .filter_map(|output| match output {
                Output::Alert(alert) => alert.say.clone(),
                _ => None,
            })
            .collect();
        let expected = |read: &Read| {
            let (grade, id) = reference(&entries, read, Grade::PartialRead, NOW_MS)?;
            Some(format!("{} {id}", grade.word()))
        };
        let mut expected: Vec<String> = reads.iter().filter_map(expected).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
        assert!(!told.is_empty());
    }
}

fn keys() -> Arc<ListKeys> {
    Arc::new(ListKeys::derive(&ROOT, "road", "2026-11"))
}

/// A builder with these entries, and the manifest of a full snapshot.
fn built(pack: &Pack, entries: &[Plain]) -> (SnapshotBuilder, Manifest) {
    let spec = ListSpec::new(pack, &pack.lists[0]);
    let mut builder = SnapshotBuilder::new(keys(), spec.folds());
    let reader = Box::new(std::io::Cursor::new(ndjson(entries).into_bytes()));
    let source = ListSource::default();
    let progress = AtomicU64::new(0);
    read_source(reader, "list", "list.ndjson", &spec, &source, &Limits::default(), NOW_MS, &progress, &mut builder)
        .unwrap();
    let manifest = Manifest { total: builder.len() as u64, ..spec.manifest(&keys(), NOW_MS) };
    (builder, manifest)
}

fn unique(entries: Vec<Plain>) -> Vec<Plain> {
    let mut ids = std::collections::BTreeSet::new();
    entries.into_iter().filter(|entry| ids.insert(entry.id.clone())).collect()
}

#[test]
fn deltas_lead_to_the_same_list() {
    let pack = parse_pack(&PACK.replace(", max_growth: 50%", ""));
    let mut rng = SeededRng::new(13);
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("list.wlist");
        let mut now = unique(entries(&mut rng, 60));
        let (builder, manifest) = built(&pack, &now);
        fs::write(&home, builder.finish(manifest, Vec::new())).unwrap();
        let mut list = load_file(&pack, 0, &home, None).unwrap().0;
        for sequence in 2..6 {
            now.retain(|_| rng.below(5) > 0);
            for entry in &mut now {
                if rng.below(6) == 0 {
                    entry.key = plate(&mut rng);
                }
            }
            let more = entries(&mut rng, 10);
            now = unique(now.into_iter().chain(more).collect());
            let (builder, manifest) = built(&pack, &now);
            let changes = changes_to(&builder, &list);
            let file = build_delta(builder, &list, &changes, manifest);
            assert!(!changes.is_empty());
            fs::write(folder.path().join(format!("list.wlist.delta-{sequence}")), file).unwrap();
            let before = list;
            list = load_file(&pack, 0, &home, Some(&before)).unwrap().0;
            assert_eq!(list.layers().len(), sequence);
            assert!(
                list.layers()[1..].iter().zip(before.layers()).all(|(a, b)| Arc::ptr_eq(a, b)),
                "only the delta is read"
            );
            assert_eq!(list.len(), now.len() as u64);
            for _ in 0..300 {
                let read = read(&mut rng, &now);
                assert_eq!(
                    found(&list, &read, Grade::PartialRead),
                    reference(&now, &read, Grade::PartialRead, NOW_MS),
                    "{read:?}"
                );
            }
            let texts: Vec<String> = (0..300).map(|_| plate(&mut rng)).collect();
            let column: StringViewArray = texts.iter().map(|text| Some(text.as_str())).collect();
            let rows = list.exact_rows(&column);
            for (row, text) in texts.iter().enumerate() {
                let read = Read { text: Some(text.clone()), ..Read::default() };
                let listed = reference(&now, &read, Grade::Exact, NOW_MS).is_some();
                assert!(!listed || rows.contains(&(row as u32)), "{text}");
            }
        }
        let missing = folder.path().join("list.wlist.delta-3");
        fs::remove_file(missing).unwrap();
        let error = load_file(&pack, 0, &home, None).unwrap_err();
        assert!(matches!(error, ListError::DeltaOutOfLine { .. }), "{error}");
    }
}

fn small() -> Vec<u8> {
    let pack = parse_pack(PACK);
    let entries = [("陕A12345", "E1"), ("陕B0O812", "E2"), ("陕A1?3*", "E3")];
    let entries: Vec<Plain> = entries
        .into_iter()
        .map(|(key, id)| Plain { key: key.into(), id: id.into(), expires_ms: NOW_MS + 1_000_000 })
        .collect();
    let (builder, manifest) = built(&pack, &entries);
    builder.finish(manifest, vec![3, 1, 2])
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let file = small();
    let open = |bytes: &[u8]| Snapshot::open(FileBytes::Read(bytes.to_vec()), &keys(), Effort::Beside);
    open(&file).unwrap();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            assert!(open(&flipped).is_err(), "bit {bit} of byte {at}");
        }
        assert!(open(&file[..at]).is_err(), "cut at {at}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(matches!(open(&longer), Err(SnapshotError::Length { .. })));
}

#[test]
fn damage_forgery_and_another_key_are_told_apart() {
    let file = small();
    let open = |bytes: &[u8], keys: &Arc<ListKeys>| {
        Snapshot::open(FileBytes::Read(bytes.to_vec()), keys, Effort::Beside).map(|_| ()).unwrap_err()
    };
    let other = Arc::new(ListKeys::derive(&[8; 32], "road", "2026-11"));
    assert_eq!(open(&file, &other), SnapshotError::OtherKey);
    let body = file.len() - 200;
    let mut damaged = file.clone();
    damaged[body] ^= 1;
    assert!(matches!(open(&damaged, &keys()), SnapshotError::Damaged { .. } | SnapshotError::Altered));
    // A forger without the key can mend checksums, not the seal.
    let mut forged = file.clone();
    reseal(&mut forged, &other);
    forged[24..32].copy_from_slice(&file[24..32]);
    assert!(matches!(open(&forged, &keys()), SnapshotError::Damaged { .. } | SnapshotError::Altered));
    assert!(matches!(open(b"plate,entry_id,expires\n", &keys()), SnapshotError::NotASnapshot));
    let mut newer = file.clone();
    newer[8] = 9;
    assert_eq!(open(&newer, &keys()), SnapshotError::Format { found: 9 });
}

#[test]
fn a_snapshot_shows_no_identifier() {
    let file = small();
    for text in ["陕A12345", "A12345", "12345", "陕B0O812", "B00812", "陕A1?3*", "A1?3"] {
        assert!(!file.windows(text.len()).any(|window| window == text.as_bytes()), "{text} is in the file");
    }
    let open = Snapshot::open(FileBytes::Read(file.clone()), &keys(), Effort::Beside).unwrap();
    assert!(!format!("{open:?}").contains("A1?3"), "nor does what a log would print of it");
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("E1") && text.contains("act 1"), "entry ids and the legal ground are");
}

#[test]
fn equal_content_gives_equal_bytes() {
    let pack = parse_pack(PACK);
    let mut rng = SeededRng::new(14);
    let mut entries = unique(entries(&mut rng, 200));
    let file = |entries: &[Plain]| {
        let (builder, manifest) = built(&pack, entries);
        builder.finish(manifest, Vec::new())
    };
    let first = file(&entries);
    entries.reverse();
    assert_eq!(first, file(&entries));
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("list.csv");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn bad_rows_are_told_with_their_lines_or_refuse_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let csv = "entry_id,plate,expires,action,severity\n\
               E1,陕A12345,2027-01-01,stop,high\n\
               \n\
               E2,陕B00001,soon,,\n\
               E1,陕C00001,2027-01-01,,\n\
               E3,无车牌,2027-01-01,,\n\
               E4,陕*,2027-01-01,,\n\
               E5,陕D00001,2027-01-01,shoot,\n\
               E6,陕E0-0-1,2027-01-01,,\n";
    let path = write(folder.path(), csv);
    let pack = parse_pack(PACK);
    let (list, report) = load_file(&pack, 0, &path, None).unwrap();
    let told: Vec<String> =
        report.problems.iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for (told, expected) in told.iter().zip([
        "4: `expires` is neither a date",
        "5: an entry with this `entry_id` came before",
        "6: `plate` says nothing once normalised",
        "7: the pattern names 1 characters",
        "8: `action` is none of inform, check, stop",
    ]) {
        assert!(told.starts_with(expected), "{told}");
    }
    assert_eq!(list.len(), 2);
    let seen = Reading { text: Some("陕E08091"), ..Reading::default() };
    assert_eq!(
        list.look_up(&seen, Grade::Pattern, NOW_MS).unwrap().evidence,
        [("listed_pattern", "陕E0?0?1".to_owned())]
    );
    let strict = parse_pack(&PACK.replace("max_growth: 50%", "bad_rows: refuse"));
    let error = load_file(&strict, 0, &path, None).unwrap_err().to_string();
    assert!(error.contains("5 rows") && error.contains("line 4"), "{error}");
}

#[test]
fn a_list_that_grows_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pack = parse_pack(PACK);
    let csv = |count: usize| {
        (0..count).fold("plate,entry_id,expires\n".to_owned(), |mut csv, n| {
            writeln!(csv, "陕A{n:05},E{n},2027-01-01").unwrap();
            csv
        })
    };
    let path = write(folder.path(), &csv(100));
    let (list, _) = load_file(&pack, 0, &path, None).unwrap();
    assert!(
        Arc::ptr_eq(&list, &load_file(&pack, 0, &path, Some(&list)).unwrap().0),
        "an unchanged file is not read again"
    );
    write(folder.path(), &csv(150));
    assert_eq!(load_file(&pack, 0, &path, Some(&list)).unwrap().0.len(), 150);
    write(folder.path(), &csv(151));
    let error = load_file(&pack, 0, &path, Some(&list)).unwrap_err();
    assert!(error.to_string().contains("151 entries after 100"), "{error}");
}

#[test]
fn what_was_built_for_another_list_does_not_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.wlist");
    fs::write(&path, small()).unwrap();
    assert!(load_file(&parse_pack(PACK), 0, &path, None).is_ok());
    let cases = [
        ("kind: stolen_vehicle", "kind: wanted_vehicle", "kind"),
        ("stolen: {", "taken: {", "list"),
        ("road", "toll", "purpose"),
    ];
    for (from, to, what) in cases {
        let text = PACK
            .replace(from, to)
            .replace("list: stolen\n", if what == "list" { "list: taken\n" } else { "list: stolen\n" });
        let error = load_file(&parse_pack(&text), 0, &path, None).unwrap_err().to_string();
        assert!(error.contains(&format!("was built for {what}")), "{error}");
    }
    let delta = folder.path().join("delta.wlist");
    let pack = parse_pack(PACK);
    let (builder, manifest) = built(&pack, &[]);
    fs::write(&delta, builder.finish(Manifest { extent: Extent::Delta, ..manifest }, Vec::new())).unwrap();
    assert!(load_file(&pack, 0, &delta, None).unwrap_err().to_string().contains("is a delta"));
}

/// 70 of the 477 IMO numbers of the public list fail their check digit (DOMAIN.md 3): they are kept, and told.
#[test]
fn the_public_list_loads_with_its_known_bad_check_digits() {
    let pack = parse_pack(
        "weir: 1\npack: p\nowner: o\npurposes: { trade: { legal_basis: act 1 } }\n\
         lists:\n  sanctioned: { kind: sanctions, from: l.ndjson, key: carrier, purpose: trade }\n\
         rules:\n  - { id: r, kind: watchlist, from: item, on: carrier, list: sanctioned, purpose: trade }\n",
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/watchlist/ofac_sdn_objects_2021.ndjson");
    let spec = ListSpec::new(&pack, &pack.lists[0]);
    let keys = Arc::new(ListKeys::derive(&ROOT, "trade", "2026-11"));
    let mut builder = SnapshotBuilder::new(keys, spec.folds());
    let source = ListSource {
        columns: [("carrier".to_owned(), "identifiers.imo".to_owned())].into(),
        fixed: [("expires".to_owned(), "2027-01-01".to_owned())].into(),
    };
    let file = Box::new(fs::File::open(&path).unwrap());
    let progress = AtomicU64::new(0);
    let report =
        read_source(file, "ofac", "ofac.ndjson", &spec, &source, &Limits::default(), NOW_MS, &progress, &mut builder)
            .unwrap();
    assert_eq!((report.rows, builder.len(), report.check_warnings), (4_356, 477, 70));
    assert_eq!(report.refused_rows, 4_356 - 477, "entries without an IMO number have no key here");
    assert_eq!(progress.into_inner(), fs::metadata(&path).unwrap().len());
}

#[test]
fn protected_and_missing_columns_refuse_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let pack = parse_pack(PACK);
    for (csv, expected) in [
        ("plate,entry_id,expires,religion\n", "protected attribute"),
        ("plate,entry_id\n陕A12345,E1\n", "column `expires` is missing"),
        ("vrm,entry_id,expires\n", "column `plate` is missing"),
    ] {
        let error = load_file(&pack, 0, &write(folder.path(), csv), None).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("list.csv"), "{error}");
    }
}

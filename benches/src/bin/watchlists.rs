//! A list of N random plates and documents: built, opened, probed; beside hashbrown and dashmap on the same
//! column, and beside other prefilters.
//!
//! Usage: `watchlists FOLDER [ENTRIES ...]` (1,000,000 and 10,000,000). Half of the entries are plates, half are
//! document numbers of 18 characters; one key in a thousand of the column is on the list. Every figure is the
//! median of RUNS runs (5), one after the other in turn.
#![forbid(unsafe_code)]

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, StringViewArray};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use weir_engine::rng::{Rng, SeededRng};
use weir_engine::vfs::{RealVfs, Vfs};
use weir_engine::watchlist::{Effort, Key, ListKeys, NewEntry, Reading, Snapshot, SnapshotBuilder, Watchlist};
use weir_rules::pack::Grade;
use xorf::{BinaryFuse8, Filter};

/// Keys of the column.
const COLUMN: usize = 4_000_000;
/// Rows of one batch: what a shard takes at once under much load.
const BATCH: usize = 8_192;
/// One key of the column in so many is on the list.
const HIT_EVERY: usize = 1_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder");
    let sizes: Vec<usize> = args.filter_map(|text| text.replace(',', "").parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000_000, 10_000_000] } else { sizes };
    let runs = std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    for size in sizes {
        bench(Path::new(&folder), size, runs);
    }
}

/// The n-th key of a universe in which no two are the same.
fn key(n: u64) -> String {
    let mut rng = SeededRng::new(n);
    if n.is_multiple_of(2) {
        const SERIAL: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";
        let mut plate = String::from("陕");
        let mut number = n / 2;
        for _ in 0..6 {
            plate.push(char::from(SERIAL[(number % 34) as usize]));
            number /= 34;
        }
        plate
    } else {
        format!("{:06}{:08}{:04}", rng.below(1_000_000), n / 2, rng.below(10_000))
    }
}

fn median(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1} to {:.1})", figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

fn bench(folder: &Path, size: usize, runs: usize) {
    println!("== {size} entries");
    let keys = Arc::new(ListKeys::derive(&[7; 32], "bench", "2026-11"));
    let path = folder.join(format!("bench-{size}.wlist"));
    let list = build(&path, size, &keys);
    open(&path, &keys, runs);
    let column = column(size);
    let batches: Vec<StringViewArray> =
        (0..column.len()).step_by(BATCH).map(|at| column.slice(at, BATCH.min(column.len() - at))).collect();
    let mut mine = Vec::new();
    let mut hits = 0;
    for _ in 0..runs {
        mine.push(rate(|| hits = batches.iter().map(|batch| list.exact_rows(black_box(batch)).len()).sum()));
    }
    println!("weir: {} M keys/s, {hits} hits of {}", median(mine), column.len());
    drop(list);
    grades(size, &column, runs);
    peers(size, &batches, hits, runs);
    prefilters(size, &column, runs);
    fs::remove_file(&path).expect("the file goes");
}

/// Keys of the column per second, millions.
fn rate(run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    COLUMN as f64 / started.elapsed().as_secs_f64() / 1e6
}

fn build(path: &Path, size: usize, keys: &Arc<ListKeys>) -> Watchlist {
    let started = Instant::now();
    let mut builder = SnapshotBuilder::new(Arc::clone(keys), true);
    for n in 0..size as u64 {
        let id = format!("E{n:08}");
        let entry = NewEntry { entry_id: &id, expires_ms: 1_900_000_000_000 + n as i64 * 1000, ..NewEntry::default() };
        builder.push(&Key::Exact(key(n)), &entry);
    }
    let spec = weir_engine::watchlist::doc_list(&[]).spec;
    let manifest = weir_engine::watchlist::Manifest { total: size as u64, ..spec.manifest(keys, 0) };
    let file = builder.finish(manifest, Vec::new());
    let built = started.elapsed();
    let _ = fs::remove_file(path);
    fs::write(path, &file).expect("the file is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("the file is closed to writers");
    println!("built in {:.2} s, written after {:.2} s", built.as_secs_f64(), started.elapsed().as_secs_f64());
    let snapshot =
        Snapshot::open(RealVfs.map(path, u64::MAX - 1).expect("mapped"), keys, Effort::AllCores).expect("sound");
    println!(
        "file {} bytes, {:.1} an entry; index (prefilters, directory, digests) {:.1} bytes an entry; mapped: {}",
        file.len(),
        file.len() as f64 / size as f64,
        snapshot.index_bytes() as f64 / size as f64,
        snapshot.is_mapped()
    );
    let version = snapshot.version.clone();
    Watchlist::new(spec, vec![Arc::new(snapshot)], version, 0)
}

/// Mapped, sealed, opened; the file is in the page cache.
fn open(path: &Path, keys: &Arc<ListKeys>, runs: usize) {
    for (name, effort) in [("all cores", Effort::AllCores), ("one core, with pauses", Effort::Beside)] {
        let once = || {
            let started = Instant::now();
            let bytes = RealVfs.map(path, u64::MAX - 1).expect("mapped");
            black_box(Snapshot::open(bytes, keys, effort).expect("sound"));
            started.elapsed().as_secs_f64() * 1e3
        };
        println!("opened and verified on {name}: {} ms", median((0..runs.max(5)).map(|_| once()).collect()));
    }
}

fn column(size: usize) -> StringViewArray {
    let mut rng = SeededRng::new(3);
    let texts = (0..COLUMN).map(|row| {
        let n = if row % HIT_EVERY == 0 { rng.below(size as u64) } else { size as u64 + rng.below(1 << 26) };
        Some(key(n))
    });
    texts.collect()
}

/// Patterns beside the exact keys.
const PATTERNS: u64 = 1_000;

/// Readings looked up one by one, down to a grade, in a list with a thousand patterns and in one without.
fn grades(size: usize, column: &StringViewArray, runs: usize) {
    let lists = [0, PATTERNS].map(|patterns| {
        let keys = Arc::new(ListKeys::derive(&[7; 32], "bench", "2026-11"));
        let mut builder = SnapshotBuilder::new(Arc::clone(&keys), true);
        let entry = NewEntry { entry_id: "E", expires_ms: 4_000_000_000_000, ..NewEntry::default() };
        for n in 0..size as u64 {
            builder.push(&Key::Exact(key(n)), &entry);
        }
        for n in 0..patterns {
            // Nobody's plate has six letters of this sort behind the first.
            builder.push(&Key::Pattern(format!("陕?{}*XYZ{n}", key(2 * n).chars().nth(1).unwrap_or('A'))), &entry);
        }
        let spec = weir_engine::watchlist::doc_list(&[]).spec;
        let manifest = weir_engine::watchlist::Manifest { total: builder.len() as u64, ..spec.manifest(&keys, 0) };
        let bytes = weir_engine::vfs::FileBytes::Read(builder.finish(manifest, Vec::new()));
        let snapshot = Snapshot::open(bytes, &keys, Effort::AllCores).expect("sound");
        Watchlist::new(spec, vec![Arc::new(snapshot)], String::new(), 0)
    });
    let plates = column.slice(0, GRADED);
    for (name, list, grade) in [
        ("exact", &lists[0], Grade::Exact),
        ("exact, 1,000 patterns on the list", &lists[1], Grade::Exact),
        ("pattern, none on the list", &lists[0], Grade::Pattern),
        ("pattern, 1,000 on the list", &lists[1], Grade::Pattern),
        ("confusable", &lists[0], Grade::Confusable),
    ] {
        let once = || {
            let started = Instant::now();
            let found = (0..plates.len()).filter(|row| {
                let reading = Reading { text: Some(plates.value(*row)), ..Reading::default() };
                list.look_up(black_box(&reading), grade, 0).is_some()
            });
            black_box(found.count());
            started.elapsed().as_secs_f64() * 1e9 / plates.len() as f64
        };
        println!("  one by one, down to {name}: {} ns a reading", median((0..runs).map(|_| once()).collect()));
    }
}

/// Readings that are looked up one by one.
const GRADED: usize = 400_000;

fn peers(size: usize, batches: &[StringViewArray], hits: usize, runs: usize) {
    let mut map: HashMap<Box<str>, u32, RandomState> = HashMap::with_capacity_and_hasher(size, RandomState::default());
    map.extend((0..size as u64).map(|n| (key(n).into_boxed_str(), n as u32)));
    let sharded: DashMap<Box<str>, u32> = DashMap::with_capacity(size);
    for n in 0..size as u64 {
        sharded.insert(key(n).into_boxed_str(), n as u32);
    }
    let probe = |is_hit: &dyn Fn(&str) -> bool| {
        let rows = |batch: &StringViewArray| {
            (0..batch.len())
                .filter(|row| batch.is_valid(*row) && is_hit(batch.value(*row)))
                .collect::<Vec<usize>>()
                .len()
        };
        let found: usize = batches.iter().map(rows).sum();
        assert_eq!(found, hits, "all find the same");
    };
    let (mut hashbrown, mut dashmap) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        hashbrown.push(rate(|| probe(&|text| map.contains_key(text))));
        dashmap.push(rate(|| probe(&|text| sharded.contains_key(text))));
    }
    println!("hashbrown: {} M keys/s; dashmap: {} M keys/s", median(hashbrown), median(dashmap));
}

/// Prefilters alone, each over the same hashes, in groups of 128: what passes, and how fast.
fn prefilters(size: usize, column: &StringViewArray, runs: usize) {
    let secrets = RapidSecrets::seed(5);
    let hash = |text: &str| rapidhash_v3_micro_inline::<true, true>(text.as_bytes(), &secrets);
    let listed: Vec<u64> = (0..size as u64).map(|n| hash(&key(n))).collect();
    for bits in [12, 16] {
        let filter = Word::new(&listed, bits);
        measure(
            &format!("one word of 64 bits, {bits} bits a key"),
            column,
            runs,
            hash,
            |h| filter.fetch(h),
            |h| filter.passes(h),
        );
        let filter = Split::new(&listed, bits);
        measure(
            &format!("split block of 256 bits, {bits} bits a key"),
            column,
            runs,
            hash,
            |h| filter.fetch(h),
            |h| filter.passes(h),
        );
    }
    let fuse = BinaryFuse8::try_from(&listed).expect("distinct hashes");
    measure("binary fuse, 8 bits", column, runs, hash, |_| {}, |h| fuse.contains(&h));
}

fn measure(
    name: &str,
    column: &StringViewArray,
    runs: usize,
    hash: impl Fn(&str) -> u64,
    fetch: impl Fn(u64),
    passes: impl Fn(u64) -> bool,
) {
    let mut passed = 0;
    let once = |passed: &mut usize| {
        *passed = 0;
        let mut hashes = [0u64; 128];
        for start in (0..column.len()).step_by(128) {
            let len = 128.min(column.len() - start);
            for (at, slot) in hashes[..len].iter_mut().enumerate() {
                *slot = hash(column.value(start + at));
                fetch(*slot);
            }
            *passed += hashes[..len].iter().filter(|hash| passes(**hash)).count();
        }
    };
    let rates = (0..runs).map(|_| rate(|| once(&mut passed))).collect();
    println!("  {name}: {} M keys/s, {:.2} % pass", median(rates), passed as f64 / column.len() as f64 * 100.0);
}

/// What weir uses, written out again so that other sizes can be tried.
struct Word(Vec<u64>);

impl Word {
    fn new(hashes: &[u64], bits: usize) -> Self {
        let mut words = vec![0; hashes.len() * bits / 64];
        let len = words.len();
        for hash in hashes {
            words[place(*hash, len)] |= Self::mask(*hash);
        }
        Self(words)
    }

    fn mask(hash: u64) -> u64 {
        (0..4).fold(0, |mask, turn| mask | 1 << ((hash >> (6 * turn)) & 63))
    }

    fn fetch(&self, hash: u64) {
        weir_memory::prefetch(&self.0, place(hash, self.0.len()));
    }

    fn passes(&self, hash: u64) -> bool {
        let mask = Self::mask(hash);
        self.0[place(hash, self.0.len())] & mask == mask
    }
}

/// As in Parquet: one bit in each of eight words of a block.
struct Split(Vec<[u32; 8]>);

const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

impl Split {
    fn new(hashes: &[u64], bits: usize) -> Self {
        let mut blocks = vec![[0; 8]; hashes.len() * bits / 256];
        let len = blocks.len();
        for hash in hashes {
            let block: &mut [u32; 8] = &mut blocks[place(*hash, len)];
            for (word, salt) in block.iter_mut().zip(SALTS) {
                *word |= 1 << ((*hash as u32).wrapping_mul(salt) >> 27);
            }
        }
        Self(blocks)
    }

    fn fetch(&self, hash: u64) {
        weir_memory::prefetch(&self.0, place(hash, self.0.len()));
    }

    fn passes(&self, hash: u64) -> bool {
        let block = &self.0[place(hash, self.0.len())];
        let missing = block
            .iter()
            .zip(SALTS)
            .fold(0, |missing, (word, salt)| missing | (!word & 1 << ((hash as u32).wrapping_mul(salt) >> 27)));
        missing == 0
    }
}

fn place(hash: u64, len: usize) -> usize {
    (((hash >> 32) * len as u64) >> 32) as usize
}

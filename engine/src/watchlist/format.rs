//! The container of a snapshot file: header, table, sections, seal. docs/watchlist-format.md says it
//! byte by byte.
//!
//! Nothing inside is looked at before the checks have passed: lengths, checksum of header and table,
//! the key's own check, and the seal (keyed BLAKE3 over all that stands before it). If the seal does
//! not fit, checksums tell damage from forgery.
//!
//! No archive library: sections are plain arrays of little-endian numbers, read as they stand. (rkyv's
//! pointers are 32 bits wide and relative, so a list of 100 million entries would not fit.)

use std::ops::Range;
use std::time::Duration;

use super::ListKeys;

/// First bytes of a snapshot.
const MAGIC: &[u8; 8] = b"weirlist";
/// The version of the format that is written and read.
pub(super) const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const TABLE_ROW_BYTES: usize = 32;
const SEAL_BYTES: usize = 32;
/// Sections begin at multiples of this.
const ALIGNMENT: usize = 64;
/// Most sections a file may have.
const SECTIONS_MAX: usize = 64;

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum SnapshotError {
    #[error("this is not a list snapshot; build one with `weir list build`")]
    NotASnapshot,
    #[error("the snapshot has format {found}; this version reads {VERSION}: build it again, or use a newer weir")]
    Format { found: u32 },
    #[error("the snapshot is cut short or padded: {found} bytes where {expected} should be; copy it again")]
    Length { expected: u64, found: u64 },
    #[error("the snapshot is damaged in {place}; copy it again, or build it again")]
    Damaged { place: String },
    #[error("the snapshot was built with another key (state.key_file); build it with this one")]
    OtherKey,
    #[error("the snapshot was changed after it was built: its checksums fit and its seal does not; do not use it")]
    Altered,
    #[error("the snapshot's {what} make no sense; build it again")]
    Malformed { what: &'static str },
}

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Section {
    Manifest = 1,
    Prefilter = 2,
    Directory = 3,
    Digests = 4,
    Expires = 5,
    ReviewBy = 6,
    Flags = 7,
    EntryIdEnds = 8,
    EntryIdText = 9,
    CaseRefEnds = 10,
    CaseRefText = 11,
    HandlingEnds = 12,
    HandlingText = 13,
    Folded = 14,
    Patterns = 15,
    Removed = 16,
}

impl Section {
    fn name(kind: u32) -> &'static str {
        match kind {
            1 => "the manifest",
            2 => "the prefilter",
            3 => "the directory",
            4 => "the digests",
            5 => "the expiries",
            6 => "the dates of review",
            7 => "the flags",
            8 | 9 => "the entry ids",
            10 | 11 => "the case references",
            12 | 13 => "the handling codes",
            14 => "the folded prefilter",
            15 => "the patterns",
            16 => "the withdrawn entries",
            _ => "a section of unknown kind",
        }
    }
}

/// Where each section lies.
#[derive(Debug, Clone, Default)]
pub(super) struct Sections {
    ranges: Vec<(u32, Range<usize>)>,
}

impl Sections {
    /// The bytes of a section; empty if the file has none.
    pub(super) fn range(&self, section: Section) -> Range<usize> {
        self.ranges.iter().find(|(kind, _)| *kind == section as u32).map_or(0..0, |(_, range)| range.clone())
    }

    /// Names and sizes, in the order of the file.
    pub(super) fn sizes(&self) -> Vec<(&'static str, u64)> {
        self.ranges.iter().map(|(kind, range)| (Section::name(*kind), range.len() as u64)).collect()
    }
}

/// Puts a file together.
pub(super) fn write(sections: &[(Section, Vec<u8>)], keys: &ListKeys) -> Vec<u8> {
    let aligned = |at: usize| at.next_multiple_of(ALIGNMENT);
    let mut at = aligned(HEADER_BYTES + sections.len() * TABLE_ROW_BYTES);
    let mut table = Vec::new();
    for (kind, bytes) in sections {
        table.extend_from_slice(&(*kind as u32).to_le_bytes());
        table.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        table.extend_from_slice(&(at as u64).to_le_bytes());
        table.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        table.extend_from_slice(&[0; 8]);
        at = aligned(at + bytes.len());
    }
    let mut file = Vec::with_capacity(at + SEAL_BYTES);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    file.extend_from_slice(&((at + SEAL_BYTES) as u64).to_le_bytes());
    file.extend_from_slice(&keys.check);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file), &table);
    file.extend_from_slice(&crc.to_le_bytes());
    file.resize(HEADER_BYTES, 0);
    file.extend_from_slice(&table);
    for (_, bytes) in sections {
        file.resize(aligned(file.len()), 0);
        file.extend_from_slice(bytes);
    }
    file.resize(aligned(file.len()), 0);
    let seal = blake3::Hasher::new_keyed(&keys.seal).update(&file).finalize();
    file.extend_from_slice(seal.as_bytes());
    file
}

/// Seals bytes again, for those who test what a forger with the key could do.
#[doc(hidden)]
pub fn reseal(file: &mut [u8], keys: &ListKeys) {
    let Some(body) = file.len().checked_sub(SEAL_BYTES) else { return };
    if let Some(check) = file.get_mut(24..32) {
        check.copy_from_slice(&keys.check);
    }
    let count = file.get(12..16).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize);
    let table = HEADER_BYTES..(HEADER_BYTES + count.min(SECTIONS_MAX) * TABLE_ROW_BYTES).min(body);
    if table.start <= table.end && file.len() > 36 {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&file[..32]), &file[table]);
        file[32..36].copy_from_slice(&crc.to_le_bytes());
    }
    let (before, seal) = file.split_at_mut(body);
    let digest = blake3::Hasher::new_keyed(&keys.seal).update(before).finalize();
    seal.copy_from_slice(digest.as_bytes());
}

/// How much of the machine a verification may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// All cores: nothing else runs yet.
    AllCores,
    /// Piece by piece with pauses: a pipeline runs beside it, and whoever takes a core from it for a tenth of a second
    /// makes every alert of that time late.
    Beside,
}

/// Bytes that are looked through at a stretch beside a pipeline: a thirtieth of a millisecond.
const PIECE_BYTES: usize = 128 << 10;
/// Pause between two pieces. Ten million entries take 0.7 to 0.9 s.
const PIECE_PAUSE: Duration = Duration::from_micros(180);

impl Effort {
    /// Hands bytes to `look` from the first to the last, as fast as this effort allows. Pieces have whole words.
    pub(super) fn pieces<'a>(self, bytes: &'a [u8], mut look: impl FnMut(&'a [u8])) {
        if self == Self::AllCores {
            return look(bytes);
        }
        for piece in bytes.chunks(PIECE_BYTES) {
            look(piece);
            if bytes.len() > PIECE_BYTES {
                std::thread::sleep(PIECE_PAUSE);
            }
        }
    }
}

/// What stands in front of the sections, once it has been checked for damage.
pub(super) struct Front {
    pub(super) sections: Sections,
    rows: Vec<(u32, u32, Range<usize>)>,
}

/// Checks lengths, header and table. Needs no key, and proves nothing about the sections.
pub(super) fn read_front(file: &[u8]) -> Result<Front, SnapshotError> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
    if file.len() < 8 || &file[..8] != MAGIC {
        return Err(SnapshotError::NotASnapshot);
    }
    if file.len() < HEADER_BYTES + SEAL_BYTES {
        let expected = (HEADER_BYTES + SEAL_BYTES) as u64;
        return Err(SnapshotError::Length { expected, found: file.len() as u64 });
    }
    if number(8) != VERSION {
        return Err(SnapshotError::Format { found: number(8) });
    }
    if long(16) != file.len() as u64 {
        return Err(SnapshotError::Length { expected: long(16), found: file.len() as u64 });
    }
    let damaged = |place: &str| SnapshotError::Damaged { place: place.to_owned() };
    let count = number(12) as usize;
    let table = HEADER_BYTES..HEADER_BYTES + count.min(SECTIONS_MAX + 1) * TABLE_ROW_BYTES;
    let body = file.len() - SEAL_BYTES;
    if count > SECTIONS_MAX || table.end > body {
        return Err(damaged("the header"));
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file[..32]), &file[table.clone()]);
    if crc != number(32) || file[36..HEADER_BYTES].iter().any(|byte| *byte != 0) {
        return Err(damaged("the header"));
    }
    let mut rows: Vec<(u32, u32, Range<usize>)> = Vec::with_capacity(count);
    let mut end = table.end;
    for row in 0..count {
        let at = table.start + row * TABLE_ROW_BYTES;
        let (start, len) = (long(at + 8), long(at + 16));
        let range = usize::try_from(start).ok().zip(usize::try_from(len).ok()).and_then(|(start, len)| {
            let range = start..start.checked_add(len)?;
            (range.start >= end && range.start % ALIGNMENT == 0 && range.end <= body).then_some(range)
        });
        let range = range.ok_or(SnapshotError::Malformed { what: "sections" })?;
        let kind = number(at);
        if rows.iter().any(|(known, ..)| *known == kind) {
            return Err(SnapshotError::Malformed { what: "sections" });
        }
        end = range.end;
        rows.push((kind, number(at + 4), range));
    }
    let sections = Sections { ranges: rows.iter().map(|(kind, _, range)| (*kind, range.clone())).collect() };
    Ok(Front { sections, rows })
}

/// Checks the key and the seal. Only then may anything in the sections be believed.
pub(super) fn verify(file: &[u8], front: &Front, keys: &ListKeys, effort: Effort) -> Result<(), SnapshotError> {
    if file[24..32] != keys.check {
        return Err(SnapshotError::OtherKey);
    }
    let (body, seal) = file.split_at(file.len() - SEAL_BYTES);
    let mut hasher = blake3::Hasher::new_keyed(&keys.seal);
    match effort {
        Effort::AllCores => {
            hasher.update_rayon(body);
        }
        Effort::Beside => effort.pieces(body, |piece| {
            hasher.update(piece);
        }),
    }
    // `blake3::Hash` compares in constant time.
    if hasher.finalize() == blake3::Hash::from_bytes(seal.try_into().expect("32 bytes")) {
        return Ok(());
    }
    Err(first_damage(file, front).map_or(SnapshotError::Altered, |place| SnapshotError::Damaged { place }))
}

/// The first place that is not as it was written, as far as that can be told without a key.
pub(super) fn first_damage(file: &[u8], front: &Front) -> Option<String> {
    let starts = front.rows.iter().map(|(.., range)| range.start).chain([file.len() - SEAL_BYTES]);
    let ends =
        [HEADER_BYTES + front.rows.len() * TABLE_ROW_BYTES].into_iter().chain(front.rows.iter().map(|it| it.2.end));
    if ends.zip(starts).any(|(end, start)| file[end..start].iter().any(|byte| *byte != 0)) {
        return Some("the space between sections".to_owned());
    }
    front.rows.iter().find(|row| is_damaged(file, row)).map(|(kind, ..)| Section::name(*kind).to_owned())
}

/// The name of a section, if its checksum does not fit.
pub(super) fn damage_in(file: &[u8], front: &Front, section: Section) -> Option<String> {
    let row = front.rows.iter().find(|(kind, ..)| *kind == section as u32)?;
    is_damaged(file, row).then(|| Section::name(section as u32).to_owned())
}

fn is_damaged(file: &[u8], (_, crc, range): &(u32, u32, Range<usize>)) -> bool {
    crc32c::crc32c(&file[range.clone()]) != *crc
}

/// Digest of a whole file by its seal: what it is called.
pub(super) fn version_of(file: &[u8]) -> String {
    let seal: [u8; SEAL_BYTES] = file[file.len() - SEAL_BYTES..].try_into().expect("a seal");
    blake3::Hash::from_bytes(seal).to_hex()[..16].to_owned()
}

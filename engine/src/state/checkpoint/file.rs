//! A checkpoint as a file: named sections, each with a version and a checksum, and a keyed hash over all of it.
//!
//! The keyed hash is looked at first, so that neither damage nor a forged file reaches a parser; the checksums say which
//! section is damaged. The name a file is published under says which checkpoint it is; there is no second place that
//! points to the newest one. docs/state-format.md is the file byte by byte.

use std::io;
use std::path::{Path, PathBuf};

use crc32c::{crc32c, crc32c_append};

use crate::testing::sabotage::{self, Wrong};
use crate::vfs::Vfs;

const MAGIC: &[u8; 8] = b"weir-ckp";
const VERSION: u32 = 1;
/// Magic, version, how many sections, epoch.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
/// Name, version, length, checksum of these and the bytes.
const SECTION_HEAD_BYTES: usize = 8 + 4 + 8 + 4;
/// The keyed hash at the end.
const HASH_BYTES: usize = 32;
/// Largest checkpoint that is read.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 30;
const PREFIX: &str = "checkpoint-";
const MADE: &str = "checkpoint.new";

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// At most eight bytes.
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A section that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadSection {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) bytes: Vec<u8>,
}

/// The file of a checkpoint.
pub(super) fn path_of(folder: &Path, epoch: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{epoch:020}"))
}

/// Epochs of the checkpoints in a folder, the oldest first.
pub(super) fn epochs_in(vfs: &dyn Vfs, folder: &Path) -> io::Result<Vec<u64>> {
    let epoch = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut epochs: Vec<u64> = vfs.list(folder)?.iter().filter_map(epoch).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

pub(super) fn to_bytes(key: &[u8; 32], epoch: u64, sections: &[Section]) -> Vec<u8> {
    let len: usize = sections.iter().map(|section| SECTION_HEAD_BYTES + section.bytes.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + len + HASH_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(epoch.to_le_bytes());
    for section in sections {
        let mut head = [0; SECTION_HEAD_BYTES];
        head[..section.name.len()].copy_from_slice(section.name.as_bytes());
        head[8..12].copy_from_slice(&section.version.to_le_bytes());
        head[12..20].copy_from_slice(&(section.bytes.len() as u64).to_le_bytes());
        let checksum = crc32c_append(crc32c(&head[..20]), &section.bytes);
        head[20..].copy_from_slice(&checksum.to_le_bytes());
        bytes.extend(head);
        bytes.extend(&section.bytes);
    }
    let hash = blake3::keyed_hash(key, &bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// Reads it back. What is wrong with it, as a sentence.
pub(super) fn from_bytes(key: &[u8; 32], epoch: u64, bytes: &[u8]) -> Result<Vec<ReadSection>, String> {
    let Some((body, hash)) = bytes.split_last_chunk::<HASH_BYTES>() else {
        return Err("it is shorter than a checkpoint can be".to_owned());
    };
    let whole = blake3::keyed_hash(key, body) == blake3::Hash::from_bytes(*hash);
    match sections_of(body, epoch) {
        Ok(sections) if whole => Ok(sections),
        Ok(_) => {
            Err("it is whole, and its seal is not this key's: the key file is another one, or somebody has changed it"
                .to_owned())
        }
        Err(what) => Err(what),
    }
}

/// The sections of a file whose seal is not looked at, for those who have no key. What is wrong with it, as a sentence.
pub(super) fn without_key(epoch: u64, bytes: &[u8]) -> Result<Vec<ReadSection>, String> {
    let body = bytes.split_last_chunk::<HASH_BYTES>().map(|(body, _)| body);
    sections_of(body.ok_or_else(|| "it is shorter than a checkpoint can be".to_owned())?, epoch)
}

/// Makes the checksums of a file what they should be, and its epoch this one, as far as it has sections: for whoever looks
/// for what a parser does with a file that nothing but its content speaks against.
pub(crate) fn mend(epoch: u64, bytes: &mut [u8]) {
    let Some(header) = bytes.get_mut(..HEADER_BYTES) else { return };
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&epoch.to_le_bytes());
    let mut at = HEADER_BYTES;
    while let Some(head) = bytes.get(at..at + SECTION_HEAD_BYTES) {
        let len = u64::from_le_bytes(head[12..20].try_into().expect("eight bytes"));
        let from = at + SECTION_HEAD_BYTES;
        let end = usize::try_from(len).ok().and_then(|len| from.checked_add(len));
        let Some(body) = end.and_then(|end| bytes.get(from..end)) else { return };
        let checksum = crc32c_append(crc32c(&bytes[at..at + 20]), body);
        bytes[at + 20..from].copy_from_slice(&checksum.to_le_bytes());
        at = from + len as usize;
    }
}

fn sections_of(body: &[u8], epoch: u64) -> Result<Vec<ReadSection>, String> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let cut = || "it ends too early".to_owned();
    let (header, mut rest) = body.split_at_checked(HEADER_BYTES).ok_or_else(cut)?;
    if header[..8] != *MAGIC {
        return Err("it does not begin as a checkpoint does".to_owned());
    }
    if number(&header[8..12]) != VERSION {
        return Err(format!("it is of version {}, and this program reads version {VERSION}", number(&header[8..12])));
    }
    if long(&header[16..24]) != epoch {
        return Err(format!("it holds checkpoint {}, not the one it is named after", long(&header[16..24])));
    }
    let mut sections = Vec::new();
    for _ in 0..number(&header[12..16]) {
        let (head, behind) = rest.split_at_checked(SECTION_HEAD_BYTES).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(&head[..8]).trim_end_matches('\0').to_owned();
        let len = usize::try_from(long(&head[12..20])).map_err(|_| cut())?;
        let (bytes, behind) = behind.split_at_checked(len).ok_or_else(cut)?;
        if crc32c_append(crc32c(&head[..20]), bytes) != number(&head[20..24]) {
            return Err(format!("its section `{name}` is damaged"));
        }
        sections.push(ReadSection { name, version: number(&head[8..12]), bytes: bytes.to_vec() });
        rest = behind;
    }
    if rest.is_empty() { Ok(sections) } else { Err("there is something behind its last section".to_owned()) }
}

/// Writes a checkpoint; it is there, whole, once this has returned, and not at all before.
pub(super) fn publish(vfs: &dyn Vfs, folder: &Path, epoch: u64, bytes: &[u8]) -> io::Result<()> {
    clear(vfs, folder)?;
    let made = folder.join(MADE);
    let mut file = vfs.create(&made)?;
    file.write_all_at(0, bytes)?;
    if !sabotage::is(Wrong::CheckpointNotSynced) {
        file.sync()?;
    }
    drop(file);
    vfs.rename(&made, &path_of(folder, epoch))?;
    vfs.sync_folder(folder)
}

/// Removes what a crash, or a full disk, has left half made.
pub(super) fn clear(vfs: &dyn Vfs, folder: &Path) -> io::Result<()> {
    match vfs.remove(&folder.join(MADE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_seen() {
        let section = |name, len| Section { name, version: 3, bytes: vec![7; len] };
        let bytes = to_bytes(&[1; 32], 9, &[section("windows", 100), section("told", 0)]);
        let read = from_bytes(&[1; 32], 9, &bytes).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].name.as_str(), read[0].version, read[0].bytes.len()), ("windows", 3, 100));
        assert!(from_bytes(&[2; 32], 9, &bytes).unwrap_err().contains("key"));
        assert!(from_bytes(&[1; 32], 8, &bytes).unwrap_err().contains("named after"));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(from_bytes(&[1; 32], 9, &changed).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(from_bytes(&[1; 32], 9, &bytes[..len]).is_err(), "{len} bytes");
        }
    }
}

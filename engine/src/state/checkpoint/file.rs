//! A checkpoint as a file: named sections, each with a version and a checksum, and a keyed hash over all of it.
//!
//! It is written piece by piece: state is not in memory a second time as bytes. A section that is longer than a piece goes on in
//! another one of its name.
//!
//! The keyed hash is looked at first, so that neither damage nor a forged file reaches a parser; the checksums say which
//! section is damaged. The name a file is published under says which checkpoint it is; there is no second place that
//! points to the newest one. docs/state-format.md is the file byte by byte.

use std::io;
use std::path::{Path, PathBuf};

use crc32c::{crc32c, crc32c_append};
use postcard::ser_flavors::Flavor;
use serde::Serialize;

use crate::testing::sabotage::{self, Wrong};
use crate::vfs::{Vfs, VfsFile};

const MAGIC: &[u8; 8] = b"weir-ckp";
const VERSION: u32 = 2;
/// What came before: said how many sections there are, and had each in one piece.
const VERSION_COUNTED: u32 = 1;
/// Magic, version, how many sections (zero by now), epoch.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
/// Name, version, length, checksum of these and the bytes.
const SECTION_HEAD_BYTES: usize = 8 + 4 + 8 + 4;
/// Bytes written at once, and held in memory. Few in tests, so that there are many pieces.
const PIECE_BYTES: usize = if cfg!(test) { 1 << 10 } else { 128 << 10 };
/// What is written is synced by so many bytes: whoever syncs an alert meanwhile waits until all that the disk was given before
/// is there. Beside 4 MiB synced at once a small sync had a p99.9 of 1.8 and 2.0 ms, beside pieces of 512 KiB 0.7 and 0.9.
pub(super) const SYNC_BYTES: usize = 4 * PIECE_BYTES;
/// Of heads and the hash, which are not parted.
const BEYOND_BYTES: usize = 2 * SECTION_HEAD_BYTES + HASH_BYTES;
/// The keyed hash at the end.
const HASH_BYTES: usize = 32;
/// Name of what stands behind the last section.
const END: [u8; 8] = [0; 8];
/// Largest checkpoint that is read.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 30;
const PREFIX: &str = "checkpoint-";
const MADE: &str = "checkpoint.new";

/// A section that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadSection {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Writes a checkpoint piece by piece.
pub(crate) struct Writer<'a> {
    file: &'a mut dyn VfsFile,
    /// Of the piece in the buffer, in the file.
    offset: u64,
    /// Written since the last sync.
    unsynced: usize,
    hasher: blake3::Hasher,
    /// What is not written yet: whole sections and the beginning of one.
    buffer: &'a mut Vec<u8>,
}

/// A section that is being written; its head stands there in the buffer and says nothing yet.
struct Open<'w, 'a> {
    writer: &'w mut Writer<'a>,
    name: [u8; 8],
    version: u32,
    head_at: usize,
    failed: Option<io::Error>,
}

impl<'a> Writer<'a> {
    fn begin(file: &'a mut dyn VfsFile, key: &[u8; 32], epoch: u64, buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.reserve(PIECE_BYTES + BEYOND_BYTES);
        buffer.extend(MAGIC);
        buffer.extend(VERSION.to_le_bytes());
        buffer.extend([0; 4]);
        buffer.extend(epoch.to_le_bytes());
        Self { file, offset: 0, unsynced: 0, hasher: blake3::Hasher::new_keyed(key), buffer }
    }

    /// Writes a section; its name has eight bytes at most.
    pub(crate) fn section(&mut self, name: &str, version: u32, part: &impl Serialize) -> io::Result<()> {
        let mut padded = END;
        padded[..name.len()].copy_from_slice(name.as_bytes());
        if self.buffer.len() >= PIECE_BYTES {
            self.write_out()?;
        }
        let mut open = Open { writer: self, name: padded, version, head_at: 0, failed: None };
        open.begin();
        let serialized = postcard::serialize_with_flavor(part, &mut open);
        match open.failed.take() {
            Some(error) => Err(error),
            None => {
                serialized.expect("state is plain data");
                open.end();
                Ok(())
            }
        }
    }

    /// Writes what is left, and the hash; the length of all.
    fn end(mut self) -> io::Result<u64> {
        let mut end = Open { writer: &mut self, name: END, version: 0, head_at: 0, failed: None };
        end.begin();
        end.end();
        self.hasher.update(self.buffer);
        self.buffer.extend(self.hasher.finalize().as_bytes());
        self.file.write_all_at(self.offset, self.buffer)?;
        Ok(self.offset + self.buffer.len() as u64)
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.hasher.update(self.buffer);
        self.file.write_all_at(self.offset, self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.unsynced += self.buffer.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl Open<'_, '_> {
    fn begin(&mut self) {
        self.head_at = self.writer.buffer.len();
        self.writer.buffer.extend([0; SECTION_HEAD_BYTES]);
    }

    /// Makes its head say what it holds.
    fn end(&mut self) {
        let (head, body) = self.writer.buffer[self.head_at..].split_at_mut(SECTION_HEAD_BYTES);
        head[..8].copy_from_slice(&self.name);
        head[8..12].copy_from_slice(&self.version.to_le_bytes());
        head[12..20].copy_from_slice(&(body.len() as u64).to_le_bytes());
        let checksum = crc32c_append(crc32c(&head[..20]), body);
        head[20..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The piece is full: the rest goes into the next one.
    #[cold]
    fn turn(&mut self) -> postcard::Result<()> {
        self.end();
        if let Err(error) = self.writer.write_out() {
            self.failed = Some(error);
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.begin();
        Ok(())
    }
}

impl Flavor for &mut Open<'_, '_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.writer.buffer.len() >= PIECE_BYTES {
            self.turn()?;
        }
        self.writer.buffer.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, mut bytes: &[u8]) -> postcard::Result<()> {
        while !bytes.is_empty() {
            if self.writer.buffer.len() >= PIECE_BYTES {
                self.turn()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.writer.buffer.len()));
            self.writer.buffer.extend(now);
            bytes = later;
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
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
    if header[8..12] != VERSION_COUNTED.to_le_bytes() {
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    }
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
    let version = number(&header[8..12]);
    if version != VERSION && version != VERSION_COUNTED {
        return Err(format!("it is of version {version}, and this program reads version {VERSION}"));
    }
    if long(&header[16..24]) != epoch {
        return Err(format!("it holds checkpoint {}, not the one it is named after", long(&header[16..24])));
    }
    let counted = (version == VERSION_COUNTED).then(|| number(&header[12..16]) as usize);
    let mut sections: Vec<ReadSection> = Vec::new();
    while counted != Some(sections.len()) {
        let (head, behind) = rest.split_at_checked(SECTION_HEAD_BYTES).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(&head[..8]).trim_end_matches('\0').to_owned();
        let len = usize::try_from(long(&head[12..20])).map_err(|_| cut())?;
        let (bytes, behind) = behind.split_at_checked(len).ok_or_else(cut)?;
        if crc32c_append(crc32c(&head[..20]), bytes) != number(&head[20..24]) {
            return Err(format!("its section `{name}` is damaged"));
        }
        rest = behind;
        if counted.is_none() && head[..8] == END {
            break;
        }
        let version = number(&head[8..12]);
        match sections.last_mut() {
            Some(last) if counted.is_none() && last.name == name && last.version == version => last.bytes.extend(bytes),
            _ => sections.push(ReadSection { name, version, bytes: bytes.to_vec() }),
        }
    }
    if rest.is_empty() { Ok(sections) } else { Err("there is something behind its last section".to_owned()) }
}

/// Writes a checkpoint; it is there, whole, once this has returned its length, and not at all before.
pub(super) fn publish(
    vfs: &dyn Vfs,
    folder: &Path,
    key: &[u8; 32],
    epoch: u64,
    buffer: &mut Vec<u8>,
    sections: impl FnOnce(&mut Writer) -> io::Result<()>,
) -> io::Result<u64> {
    clear(vfs, folder)?;
    let made = folder.join(MADE);
    let mut file = vfs.create(&made)?;
    let mut writer = Writer::begin(file.as_mut(), key, epoch, buffer);
    sections(&mut writer)?;
    let len = writer.end()?;
    if !sabotage::is(Wrong::CheckpointNotSynced) {
        file.sync()?;
    }
    drop(file);
    vfs.rename(&made, &path_of(folder, epoch))?;
    vfs.sync_folder(folder)?;
    Ok(len)
}

/// Removes what a crash, or a full disk, has left half made.
pub(super) fn clear(vfs: &dyn Vfs, folder: &Path) -> io::Result<()> {
    remove_if_there(vfs, &folder.join(MADE)).map(drop)
}

/// Removes a file; whether there was one.
pub(super) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> io::Result<bool> {
    match vfs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{Fault, SimulatedDisk, Stat};

    const KEY: [u8; 32] = [1; 32];

    /// A checkpoint with these sections, as it is read from its file.
    fn written(sections: &[(&'static str, &[u8])]) -> Vec<u8> {
        let (disk, folder) = (SimulatedDisk::new(), Path::new("/checkpoints"));
        disk.create_folder(folder).unwrap();
        let write = |writer: &mut Writer| {
            sections.iter().try_for_each(|(name, bytes)| writer.section(name, 3, &serde_bytes_like(bytes)))
        };
        let mut buffer = Vec::new();
        let len = publish(&disk, folder, &KEY, 9, &mut buffer, write).unwrap();
        assert!(buffer.capacity() <= PIECE_BYTES + BEYOND_BYTES, "{} bytes in memory", buffer.capacity());
        let bytes = disk.map(&path_of(folder, 9), FILE_BYTES_MAX).unwrap().to_vec();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    /// As postcard writes a tuple: the bytes and nothing else.
    fn serde_bytes_like(bytes: &[u8]) -> impl serde::Serialize {
        struct Plain(Vec<u8>);
        impl serde::Serialize for Plain {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple as _;
                let mut tuple = serializer.serialize_tuple(self.0.len())?;
                self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
                tuple.end()
            }
        }
        Plain(bytes.to_vec())
    }

    /// A file in memory that knows what was not synced.
    #[derive(Default)]
    struct Watched {
        bytes: io::Cursor<Vec<u8>>,
        unsynced: usize,
        unsynced_most: usize,
    }

    impl io::Read for Watched {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.bytes.read(bytes)
        }
    }

    impl io::Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = self.bytes.write(bytes)?;
            self.unsynced += len;
            self.unsynced_most = self.unsynced_most.max(self.unsynced);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Seek for Watched {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl VfsFile for Watched {
        fn sync(&mut self) -> io::Result<()> {
            self.unsynced = 0;
            Ok(())
        }

        fn stat(&self) -> io::Result<Stat> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn take_room(&mut self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn give_back(&mut self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn no_more_than_a_bound_waits_to_be_synced() {
        let (mut file, mut buffer) = (Watched::default(), Vec::new());
        let mut writer = Writer::begin(&mut file, &KEY, 9, &mut buffer);
        writer.section("long", 3, &serde_bytes_like(&vec![7; 5 * SYNC_BYTES])).unwrap();
        let len = writer.end().unwrap();
        assert!(len > 5 * SYNC_BYTES as u64);
        let most = file.unsynced_most;
        assert!((SYNC_BYTES..SYNC_BYTES + PIECE_BYTES + BEYOND_BYTES).contains(&most), "{most} bytes");
    }

    #[test]
    fn sections_of_every_length_are_read_as_they_were_written() {
        // Around the lengths at which a piece is full, and several pieces.
        for len in (0..60).chain(PIECE_BYTES - 60..PIECE_BYTES + 60).chain([3 * PIECE_BYTES, 5 * PIECE_BYTES + 17]) {
            let body: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let read = from_bytes(&KEY, 9, &written(&[("one", &body), ("none", &[]), ("two", &body)])).unwrap();
            let read: Vec<_> = read.iter().map(|it| (it.name.as_str(), it.version, it.bytes.as_slice())).collect();
            assert_eq!(read, [("one", 3, &body[..]), ("none", 3, &[]), ("two", 3, &body)], "{len} bytes");
        }
    }

    /// Texts are taken in as a whole, and split where a piece is full.
    #[test]
    fn texts_of_every_length_are_read_as_they_were_written() {
        for len in (0..60).chain(PIECE_BYTES - 60..PIECE_BYTES + 60).chain([3 * PIECE_BYTES, 5 * PIECE_BYTES + 17]) {
            let text: String = (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            let (disk, folder, mut buffer) = (SimulatedDisk::new(), Path::new("/checkpoints"), Vec::new());
            let texts = [text.clone(), "between".to_owned(), text];
            publish(&disk, folder, &KEY, 9, &mut buffer, |writer| writer.section("texts", 3, &texts)).unwrap();
            assert!(buffer.capacity() <= PIECE_BYTES + BEYOND_BYTES, "{} bytes in memory", buffer.capacity());
            let read = from_bytes(&KEY, 9, &disk.map(&path_of(folder, 9), FILE_BYTES_MAX).unwrap()).unwrap();
            assert_eq!(postcard::from_bytes::<[String; 3]>(&read[0].bytes).unwrap(), texts, "{len} bytes");
        }
    }

    #[test]
    fn what_is_mended_is_wrong_only_in_what_it_says() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/state/checkpoint-1");
        let counted = std::fs::read(golden).unwrap();
        for bytes in [written(&[("windows", &[7; 100]), ("told", &[5; 10]), ("long", &[9; 100])]), counted] {
            let epoch = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
            let whole = without_key(epoch, &bytes).unwrap();
            let second = HEADER_BYTES + SECTION_HEAD_BYTES + whole[0].bytes.len();
            for (section, at) in [(0, HEADER_BYTES), (1, second)] {
                let mut changed = bytes.clone();
                changed[0] ^= 1;
                changed[at + SECTION_HEAD_BYTES] ^= 1;
                mend(epoch + 1, &mut changed);
                let mut expected = whole.clone();
                expected[section].bytes[0] ^= 1;
                assert_eq!(without_key(epoch + 1, &changed).unwrap(), expected);
            }
            for len in 0..bytes.len() {
                mend(epoch, &mut bytes[..len].to_vec());
            }
        }
        let mut unknown = written(&[("one", &[1])]);
        unknown[8] = 99;
        assert!(without_key(9, &unknown).unwrap_err().contains("version 99"));
        mend(9, &mut unknown);
        assert_eq!(without_key(9, &unknown).unwrap().len(), 1);
    }

    #[test]
    fn what_is_not_there_need_not_be_removed() {
        let (disk, path) = (SimulatedDisk::new(), Path::new("/checkpoints/a"));
        assert!(!remove_if_there(&disk, path).unwrap());
        disk.create(path).unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Error(io::ErrorKind::PermissionDenied));
        assert!(remove_if_there(&disk, path).is_err());
        assert!(remove_if_there(&disk, path).unwrap() && !remove_if_there(&disk, path).unwrap());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_seen() {
        let bytes = written(&[("windows", &[7; 100]), ("told", &[]), ("long", &[9; PIECE_BYTES + 100])]);
        assert_eq!(from_bytes(&KEY, 9, &bytes).unwrap().len(), 3);
        assert!(from_bytes(&[2; 32], 9, &bytes).unwrap_err().contains("key"));
        assert!(from_bytes(&KEY, 8, &bytes).unwrap_err().contains("named after"));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(from_bytes(&KEY, 9, &changed).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(from_bytes(&KEY, 9, &bytes[..len]).is_err(), "{len} bytes");
        }
    }
}

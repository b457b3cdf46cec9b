//! Files from outside. Everything the engine and its connectors read or write passes through here,
//! so that a simulated disk can stand in for the real one.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

mod simulated;

pub use simulated::{Fault, Forgets, SimulatedDisk, Survival};

/// Zeros written at once.
const ZEROS_BYTES: usize = 256 << 10;

/// An open file.
pub trait VfsFile: Read + Write + Seek + Send {
    /// Makes what was written durable, and the length with it; not the name.
    fn sync(&mut self) -> io::Result<()>;
    /// What the file is now.
    fn stat(&self) -> io::Result<Stat>;
    /// Makes a file that is shorter so long, and takes the room on the disk for it. It reads as zeros until something is
    /// written there.
    fn take_room(&mut self, len: u64) -> io::Result<()>;
    /// Makes a file that has lost its name shorter, so that its room is not freed all at once when it is closed.
    fn give_back(&mut self, len: u64) -> io::Result<()>;
    /// Says that what is synced there is not read again soon, so that the system may use the memory that it keeps it in
    /// for something else. Nothing comes of it if that cannot be.
    fn will_not_read(&self, _: std::ops::Range<u64>) {}

    /// Writes all of it at a place.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(io::SeekFrom::Start(offset))?;
        self.write_all(bytes)
    }

    /// Reads at a place until the buffer is full or the file ends; how much it was.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.seek(io::SeekFrom::Start(offset))?;
        let mut len = 0;
        while len < bytes.len() {
            match self.read(&mut bytes[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode: the file's identity across renames.
    pub identity: (u64, u64),
    /// Length in bytes.
    pub len: u64,
    /// Last modification, milliseconds since 1970-01-01 UTC.
    pub modified_ms: i64,
    /// Whether any name leads to it: of a file that is open, all may have been removed.
    pub has_name: bool,
}

/// A whole file as bytes.
#[derive(Debug)]
pub enum FileBytes {
    /// As it lies in the page cache.
    Mapped(weir_memory::Mapping),
    /// A copy.
    Read(Vec<u8>),
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Read(bytes) => bytes,
        }
    }
}

/// A file system.
pub trait Vfs: Send + Sync + 'static {
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens for appending, creating the file if need be.
    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Stats without opening.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Names in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a new file, to be read and written. An error if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file that is there, to be read and written.
    fn edit(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Gives a file another name, in the place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder, and those around it, unless they are there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes durable which names a folder holds.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Keeps every other process out for as long as what this gives lives. `WouldBlock` if one is in.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// A whole file of at most `bytes_max` bytes.
    fn map(&self, path: &Path, bytes_max: u64) -> io::Result<FileBytes> {
        let mut bytes = Vec::new();
        self.open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        too_large(bytes.len() as u64, bytes_max)?;
        Ok(FileBytes::Read(bytes))
    }

    /// Reads a whole text of at most `bytes_max` bytes.
    fn read_text(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        let mut text = String::new();
        self.open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
        too_large(text.len() as u64, bytes_max)?;
        Ok(text)
    }
}

fn too_large(len: u64, bytes_max: u64) -> io::Result<()> {
    if len > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    Ok(())
}

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealVfs;

fn stat_of(metadata: &fs::Metadata) -> Stat {
    Stat {
        identity: (metadata.dev(), metadata.ino()),
        len: metadata.len(),
        has_name: metadata.nlink() > 0,
        modified_ms: metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis() as i64),
    }
}

impl VfsFile for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&self.metadata()?))
    }

    fn take_room(&mut self, len: u64) -> io::Result<()> {
        let from = self.metadata()?.len();
        if from >= len {
            return Ok(());
        }
        let taken = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&*self, rustix::fs::FallocateFlags::empty(), from, len - from)
        });
        match taken {
            // Some file systems (NFS before 4.2, FUSE) cannot: there zeros take the room.
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(self, from..len),
            taken => Ok(taken?),
        }
    }

    fn give_back(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn will_not_read(&self, span: std::ops::Range<u64>) {
        let len = std::num::NonZeroU64::new(span.end - span.start);
        let _ = rustix::fs::fadvise(self, span.start, len, rustix::fs::Advice::DontNeed);
    }
}

/// Overwrites with zeros.
pub(crate) fn write_zeros(file: &mut dyn VfsFile, span: std::ops::Range<u64>) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min((span.end - span.start) as usize)];
    let mut offset = span.start;
    while offset < span.end {
        let len = zeros.len().min((span.end - offset) as usize);
        file.write_all_at(offset, &zeros[..len])?;
        offset += len as u64;
    }
    Ok(())
}

impl Vfs for RealVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(fs::OpenOptions::new().create(true).append(true).open(path)?))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat_of(&fs::metadata(path)?))
    }

    /// A file that nobody can write to is mapped; of another one a copy is taken, since it may change under the
    /// reader.
    fn map(&self, path: &Path, bytes_max: u64) -> io::Result<FileBytes> {
        let mut file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        too_large(len, bytes_max)?;
        match weir_memory::Mapping::of_read_only(&file) {
            Ok(mapping) => Ok(FileBytes::Mapped(mapping)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let mut bytes = Vec::with_capacity(len as usize);
                Read::read_to_end(&mut Read::take(&mut file, bytes_max + 1), &mut bytes)?;
                too_large(bytes.len() as u64, bytes_max)?;
                Ok(FileBytes::Read(bytes))
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(fs::OpenOptions::new().create_new(true).read(true).write(true).open(path)?))
    }

    fn edit(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(fs::OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// For the owner only: what lies in it may speak of people.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_there_before_it_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = RealVfs.create(&path).unwrap();
        file.write_all_at(0, b"head").unwrap();
        for len in [1 << 20, 10] {
            file.take_room(len).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.len(), 1 << 20, "it never gets shorter");
            assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
        }
        file.sync().unwrap();
        file.will_not_read(0..1 << 20);
        let mut bytes = vec![1; 1 << 20];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 1 << 20);
        assert!(bytes.starts_with(b"head") && bytes[4..].iter().all(|byte| *byte == 0));
        RealVfs.remove(&path).unwrap();
        file.give_back(4_096).unwrap();
        assert_eq!(file.stat().unwrap().len, 4_096);
    }

    #[test]
    fn zeros_take_the_place_of_what_was_there_and_of_nothing_else() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(Path::new("/a")).unwrap();
        file.write_all(&vec![7; 3 * ZEROS_BYTES]).unwrap();
        let span = 5..2 * ZEROS_BYTES as u64 + 5;
        write_zeros(file.as_mut(), span.clone()).unwrap();
        let bytes = disk.files().remove(Path::new("/a")).unwrap();
        assert!((0_u64..).zip(&bytes).all(|(at, byte)| *byte == if span.contains(&at) { 0 } else { 7 }));
    }
}

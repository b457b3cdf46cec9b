//! A disk that forgets what it was not told to keep, for tests.
//!
//! What a process has written it sees at once; on the platter is what was synced. After a power loss any
//! subset of the rest may have got there, in sectors of 512 bytes, names independent of contents and of each other
//! (POSIX promises no more; ext4 does). A failed `fsync` loses what it was asked to keep, and the next one does not
//! bring it back: so ext4, XFS and Btrfs behave (Rebello and others, USENIX ATC 2020). Folders are there at once and
//! for good. Every call can be made to fail, and the number of bytes has a limit.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Stat, Vfs, VfsFile};
use crate::rng::{Rng, SeededRng};

/// What a disk writes at once or not at all.
const SECTOR: usize = 512;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error and has no effect; an `fsync` loses what it was asked to keep.
    Error(io::ErrorKind),
    /// Of a write: only half is written, and it says so. Any other call goes well.
    Short,
    /// The power goes off: this call and all after it fail.
    PowerOff,
}

/// How much of what was not synced is there after a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// All of it: the process was killed, the machine was not.
    Everything,
    /// Each write, sector and name by the toss of a coin.
    Some(u64),
}

/// Which calls this disk takes for done without doing them: a way to plant a missing `fsync`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forgets {
    /// None.
    #[default]
    Nothing,
    /// `fsync` of files.
    Files,
    /// `fsync` of folders.
    Folders,
}

#[derive(Debug, Clone)]
struct Unsynced {
    offset: usize,
    bytes: Vec<u8>,
    /// An `fsync` of it has failed: no later one covers it.
    lost: bool,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

impl Inode {
    fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
        if bytes.len() < offset + written.len() {
            bytes.resize(offset + written.len(), 0);
        }
        bytes[offset..offset + written.len()].copy_from_slice(written);
    }

    fn after_power_loss(&self, survival: Survival, rng: &mut SeededRng) -> Vec<u8> {
        let mut bytes = match survival {
            Survival::Nothing => return self.durable.clone(),
            Survival::Everything => return self.seen.clone(),
            Survival::Some(_) => self.durable.clone(),
        };
        for write in &self.unsynced {
            // A third of the writes each: not there, there, and torn.
            let torn = match rng.below(3) {
                0 => continue,
                1 => false,
                _ => true,
            };
            let mut at = 0;
            while at < write.bytes.len() {
                let to = ((write.offset + at) / SECTOR + 1) * SECTOR - write.offset;
                let to = to.min(write.bytes.len());
                if !torn || rng.below(2) == 0 {
                    Self::put(&mut bytes, write.offset + at, &write.bytes[at..to]);
                }
                at = to;
            }
        }
        bytes
    }
}

#[derive(Debug, Clone)]
enum NameOp {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Unlink(path) => drop(names.remove(path)),
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::Rename(_, path, _) => path.parent(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    seen: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<NameOp>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    bytes_max: Option<usize>,
    forgets: Forgets,
}

impl State {
    fn stat(&self, inode: usize) -> Stat {
        let has_name = self.seen.values().any(|named| *named == inode);
        Stat { identity: (0, inode as u64), len: self.inodes[inode].seen.len() as u64, modified_ms: 0, has_name }
    }

    /// Counts a call; the fault that befalls it, if it is a short write, or its error.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        self.calls += 1;
        if let Some((_, fault)) = self.fault.take_if(|(at, _)| *at == self.calls) {
            match fault {
                Fault::Error(kind) => return Err(kind.into()),
                Fault::PowerOff => self.off = true,
                Fault::Short => return Ok(Some(Fault::Short)),
            }
        }
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(None) }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.seen.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, op: NameOp) {
        op.apply(&mut self.seen);
        self.unsynced.push(op);
    }

    fn link(&mut self, path: &Path) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.name(NameOp::Link(path.to_path_buf(), inode));
        inode
    }

    /// Bytes of all files that have a name.
    fn bytes(&self) -> usize {
        self.seen.values().map(|inode| self.inodes[*inode].seen.len()).sum()
    }
}

/// A disk in memory. Cheap to clone: all clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Lets a call fail, counted from 1 over the life of the disk.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state.lock().fault = Some((call, fault));
    }

    /// Whether the fault that was asked for has come.
    pub fn has_failed(&self) -> bool {
        self.state.lock().fault.is_none()
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Limits the bytes of all files together; `None` for no limit.
    pub fn limit_bytes(&self, bytes_max: Option<usize>) {
        self.state.lock().bytes_max = bytes_max;
    }

    /// Makes it take calls for done without doing them.
    pub fn forget(&self, forgets: Forgets) {
        self.state.lock().forgets = forgets;
    }

    /// The disk that is found when the power is back: a new one, without faults.
    #[must_use]
    pub fn after_power_loss(&self, survival: Survival) -> Self {
        let state = self.state.lock();
        let mut rng = SeededRng::new(if let Survival::Some(seed) = survival { seed } else { 0 });
        let names = match survival {
            Survival::Everything => state.seen.clone(),
            Survival::Nothing => state.durable.clone(),
            Survival::Some(_) => {
                let mut names = state.durable.clone();
                for op in &state.unsynced {
                    if rng.below(2) == 0 {
                        op.apply(&mut names);
                    }
                }
                names
            }
        };
        let files = names
            .into_iter()
            .map(|(path, inode)| (path, state.inodes[inode].after_power_loss(survival, &mut rng)))
            .collect();
        Self::holding(files)
    }

    /// A disk with these files, all of them durable.
    pub fn holding(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (path, bytes) in files {
            state.durable.insert(path, state.inodes.len());
            state.inodes.push(Inode { durable: bytes.clone(), seen: bytes, unsynced: Vec::new() });
        }
        state.seen = state.durable.clone();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// All files as a process sees them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state.lock();
        state.seen.iter().map(|(path, inode)| (path.clone(), state.inodes[*inode].seen.clone())).collect()
    }

    fn file(&self, inode: usize, appends: bool) -> Box<dyn VfsFile> {
        Box::new(SimulatedFile { state: Arc::clone(&self.state), inode, position: 0, appends })
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    position: usize,
    appends: bool,
}

impl Read for SimulatedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.call()?;
        let bytes = &state.inodes[self.inode].seen;
        let from = self.position.min(bytes.len());
        let len = buffer.len().min(bytes.len() - from);
        buffer[..len].copy_from_slice(&bytes[from..from + len]);
        self.position = from + len;
        Ok(len)
    }
}

impl Write for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let len = match state.call()? {
            Some(Fault::Short) if bytes.len() > 1 => bytes.len() / 2,
            _ => bytes.len(),
        };
        let held = state.inodes[self.inode].seen.len();
        let offset = if self.appends { held } else { self.position };
        let grows_by = (offset + len).saturating_sub(held);
        if state.bytes_max.is_some_and(|bytes_max| grows_by > 0 && state.bytes() + grows_by > bytes_max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        Inode::put(&mut inode.seen, offset, &bytes[..len]);
        inode.unsynced.push(Unsynced { offset, bytes: bytes[..len].to_vec(), lost: false });
        self.position = offset + len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SimulatedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let len = self.state.lock().inodes[self.inode].seen.len() as i64;
        let position = match to {
            SeekFrom::Start(offset) => offset as i64,
            SeekFrom::End(offset) => len + offset,
            SeekFrom::Current(offset) => self.position as i64 + offset,
        };
        self.position = usize::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(position as u64)
    }
}

impl VfsFile for SimulatedFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        let called = state.call();
        let (off, forgets) = (state.off, state.forgets);
        let inode = &mut state.inodes[self.inode];
        match called {
            Ok(_) if forgets == Forgets::Files => {}
            Ok(_) => {
                for write in inode.unsynced.extract_if(.., |write| !write.lost) {
                    Inode::put(&mut inode.durable, write.offset, &write.bytes);
                }
            }
            Err(_) if off => {}
            Err(_) => inode.unsynced.iter_mut().for_each(|write| write.lost = true),
        }
        called.map(|_| ())
    }

    fn stat(&self) -> io::Result<Stat> {
        let mut state = self.state.lock();
        state.call()?;
        Ok(state.stat(self.inode))
    }

    /// All of it or nothing; after a power loss any part of it.
    fn take_room(&mut self, len: u64) -> io::Result<()> {
        let held = self.state.lock().inodes[self.inode].seen.len();
        let mut end = Self { state: Arc::clone(&self.state), inode: self.inode, position: held, appends: false };
        end.write_all(&vec![0; (len as usize).saturating_sub(held)])
    }

    fn give_back(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        assert!(!state.seen.values().any(|inode| *inode == self.inode), "it has a name: a crash could show it cut");
        state.inodes[self.inode].seen.truncate(len as usize);
        Ok(())
    }
}

impl Vfs for SimulatedDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state.lock();
        state.call()?;
        Ok(self.file(state.find(path)?, false))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state.lock();
        state.call()?;
        let inode = state.find(path).unwrap_or_else(|_| state.link(path));
        Ok(self.file(inode, true))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let mut state = self.state.lock();
        state.call()?;
        let inode = state.find(path)?;
        Ok(state.stat(inode))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state.lock();
        state.call()?;
        Ok(state.seen.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state.lock();
        state.call()?;
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.link(path);
        Ok(self.file(inode, false))
    }

    fn edit(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let inode = state.find(from)?;
        state.name(NameOp::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        state.find(path)?;
        state.name(NameOp::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.state.lock().call().map(|_| ())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        if state.forgets == Forgets::Folders {
            return Ok(());
        }
        let State { unsynced, durable, .. } = &mut *state;
        for op in unsynced.extract_if(.., |op| op.folder() == Some(folder)) {
            op.apply(durable);
        }
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.state.lock().call()?;
        Ok(Box::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new("/d").join(name)
    }

    #[test]
    fn what_was_not_synced_may_be_gone() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(&path("a")).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync().unwrap();
        assert!(disk.after_power_loss(Survival::Nothing).files().is_empty(), "the name was not synced");
        disk.sync_folder(Path::new("/d")).unwrap();
        file.write_all(b" lost").unwrap();
        let nothing = disk.after_power_loss(Survival::Nothing).files();
        assert_eq!(nothing[&path("a")], b"kept");
        let everything = disk.after_power_loss(Survival::Everything).files();
        assert_eq!(everything[&path("a")], b"kept lost");
    }

    #[test]
    fn a_write_tears_at_sectors() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(&path("a")).unwrap();
        disk.sync_folder(Path::new("/d")).unwrap();
        file.write_all(&[0; 2_048]).unwrap();
        file.sync().unwrap();
        file.write_all_at(0, &[1; 2_048]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let bytes = disk.after_power_loss(Survival::Some(seed)).files().remove(&path("a")).unwrap();
            assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            seen.insert(bytes);
        }
        assert_eq!(seen.len(), 16, "every subset of four sectors");
    }

    #[test]
    fn a_failed_fsync_is_not_made_good_by_the_next() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(&path("a")).unwrap();
        disk.sync_folder(Path::new("/d")).unwrap();
        file.write_all(b"lost").unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Error(io::ErrorKind::Other));
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(disk.after_power_loss(Survival::Nothing).files()[&path("a")], b"");
    }

    #[test]
    fn a_full_disk_takes_nothing_more_until_something_is_removed() {
        let disk = SimulatedDisk::new();
        disk.limit_bytes(Some(8));
        let mut file = disk.create(&path("a")).unwrap();
        file.write_all(b"12345678").unwrap();
        assert_eq!(file.write(b"9").unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_all_at(0, b"in place").unwrap();
        disk.remove(&path("a")).unwrap();
        disk.create(&path("b")).unwrap().write_all(b"9").unwrap();
    }
}

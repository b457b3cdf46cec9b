//! A file that is there to be removed: when the disk is full, what it took is room for outputs that are under way.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::LogError;
use crate::vfs::Vfs;

/// Room that is kept free.
pub struct Reserve {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Takes the room, unless it has been taken before or there is none.
    pub fn open(vfs: &Arc<dyn Vfs>, path: &Path, bytes: u64) -> io::Result<Self> {
        let mut reserve = Self { vfs: Arc::clone(vfs), path: path.to_path_buf(), bytes, held: false };
        match vfs.stat(path) {
            Ok(stat) if stat.len == bytes => reserve.held = true,
            Ok(_) => vfs.remove(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        reserve.take()?;
        Ok(reserve)
    }

    /// Whether the room is there to be given.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Gives the room away. Whether there was any.
    pub fn release(&mut self) -> io::Result<bool> {
        if !self.held {
            return Ok(false);
        }
        self.vfs.remove(&self.path)?;
        self.held = false;
        Ok(true)
    }

    /// Takes the room again, if the disk has it. Whether it is held.
    pub fn take(&mut self) -> io::Result<bool> {
        if self.held {
            return Ok(true);
        }
        let mut file = self.vfs.create(&self.path)?;
        // A disk that gives room late says in the sync that it has none.
        match file.take_room(self.bytes).and_then(|()| file.sync()) {
            Ok(()) => self.held = true,
            Err(error) => {
                self.vfs.remove(&self.path)?;
                if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    return Err(error);
                }
            }
        }
        Ok(self.held)
    }

    pub(super) fn fault(&self, error: io::Error) -> LogError {
        LogError::Io { path: self.path.clone(), action: "room for a full disk cannot be kept", error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::SimulatedDisk;

    #[test]
    fn room_is_given_and_taken_again() {
        let disk = SimulatedDisk::new();
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let path = Path::new("/state/reserve");
        let mut reserve = Reserve::open(&vfs, path, 1_000).unwrap();
        assert!(reserve.is_held());
        disk.limit_bytes(Some(1_000));
        assert!(reserve.release().unwrap());
        assert!(!reserve.release().unwrap(), "it is given once");
        vfs.create(Path::new("/state/a")).unwrap().write_all_at(0, &[1; 600]).unwrap();
        assert!(!reserve.take().unwrap(), "there is not enough room for it");
        assert_eq!(disk.files().len(), 1, "and what it had begun is gone");
        disk.limit_bytes(Some(1_600));
        assert!(reserve.take().unwrap());
        assert!(Reserve::open(&vfs, path, 1_000).unwrap().is_held());
    }
}

//! Files: one, or all that match a pattern; once, or followed as they grow and are rotated.
//!
//! A followed file is known by device and inode. When its name leads to another file, the old one
//! is read to its end first, also when that happened between two runs and it still lies in its folder
//! under another name; when it has become shorter, it is read from the start. A last line without a
//! line feed is a record when a file is read once, and still being written when followed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_engine::source::{Compression, Framer, inflate};
use weir_engine::vfs::{Vfs, VfsFile};
use weir_engine::{Feed, Source, SourceError};

use super::STOP_POLL;

/// Files that one source follows at most.
const FILES_MAX: usize = 1024;

/// What no name leads to.
const NOWHERE: (u64, u64) = (u64::MAX, u64::MAX);

/// How far a source that reads files once has come.
#[derive(Debug, Default)]
pub struct FileProgress {
    pub(super) read: AtomicU64,
    total: AtomicU64,
}

impl FileProgress {
    /// Bytes read, as stored.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes there are; 0 before the files have been found.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Reads files.
pub struct FileSource {
    pattern: String,
    follow: bool,
    vfs: Arc<dyn Vfs>,
    progress: Arc<FileProgress>,
}

impl FileSource {
    /// A source over a path or a pattern such as `records/*.ndjson`.
    pub fn new(pattern: impl Into<String>, follow: bool, vfs: Arc<dyn Vfs>) -> Self {
        Self { pattern: pattern.into(), follow, vfs, progress: Arc::default() }
    }

    /// How far it has come.
    pub fn progress(&self) -> Arc<FileProgress> {
        Arc::clone(&self.progress)
    }

    fn folder(&self) -> &Path {
        let folder = Path::new(&self.pattern).parent();
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Paths that match now, sorted.
    fn paths(&self) -> Result<Vec<PathBuf>, SourceError> {
        if !self.pattern.contains(['*', '?', '[']) {
            return Ok(vec![PathBuf::from(&self.pattern)]);
        }
        let pattern = glob::Pattern::new(&self.pattern).map_err(|error| SourceError::new(&self.pattern, error))?;
        let folder = self.folder();
        if folder.to_string_lossy().contains(['*', '?', '[']) {
            return Err(SourceError::new(&self.pattern, "only the last part of a path may be a pattern"));
        }
        let bare = Path::new(&self.pattern).parent().is_none_or(|folder| folder.as_os_str().is_empty());
        let names = self.vfs.list(folder).map_err(|error| SourceError::new(folder.display().to_string(), error))?;
        let strip = |path: PathBuf| {
            if bare { path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path) } else { path }
        };
        Ok(names.into_iter().map(strip).filter(|path| pattern.matches_path(path)).collect())
    }

    fn read_once(&self, feed: &Feed) -> Result<(), SourceError> {
        let paths = self.paths()?;
        if paths.is_empty() {
            return Err(SourceError::new(&self.pattern, "no file matches"));
        }
        let sizes = paths.iter().filter_map(|path| self.vfs.stat(path).ok()).map(|stat| stat.len).sum();
        self.progress.total.store(sizes, Ordering::Relaxed);
        let mut failed = None;
        for path in paths {
            if feed.stopping() {
                break;
            }
            if let Err(error) = self.read_file(&path, feed) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn read_file(&self, path: &Path, feed: &Feed) -> Result<(), SourceError> {
        if super::parquet::is_parquet(path) {
            return super::parquet::read(path, &self.vfs, feed, &self.progress);
        }
        let name = path.display().to_string();
        let fault = |error: std::io::Error| SourceError::new(&name, error);
        let mut file = self.vfs.open(path).map_err(fault)?;
        let place = feed.place_of(&name, file.as_mut()).map_err(fault)?;
        let mut head = [0; 4];
        let len = file.read_at(0, &mut head).map_err(fault)?;
        let compression = Compression::of_head(&head[..len]);
        let is_plain = compression == Compression::Plain;
        let known = if feed.reads_from_start() { 0 } else { place.from };
        let start = if is_plain { known } else { 0 };
        file.seek(SeekFrom::Start(start)).map_err(fault)?;
        self.progress.read.fetch_add(start, Ordering::Relaxed);
        let counted = Counted { inner: file, progress: Arc::clone(&self.progress) };
        let mut reader = inflate(Box::new(counted), compression).map_err(fault)?;
        if !is_plain {
            // What an earlier run has read of it has to be unpacked to get behind it.
            std::io::copy(&mut reader.by_ref().take(known), &mut std::io::sink()).map_err(fault)?;
        }
        let mut framer = feed.framer_at(&name, &place, is_plain);
        while !feed.stopping() {
            if framer.read_from(&mut *reader, feed.block_bytes()).map_err(fault)? == 0 {
                framer.finish();
                return feed.send_framed(&mut framer);
            }
            feed.send_framed(&mut framer)?;
        }
        Ok(())
    }

    /// Reads what is left of files that an earlier run followed and that have got other names since.
    fn read_renamed(&self, feed: &Feed) -> Result<(), SourceError> {
        let identity_of = |path: &PathBuf| self.vfs.stat(path).ok().map(|stat| stat.identity);
        let followed: BTreeSet<(u64, u64)> = self.paths()?.iter().filter_map(identity_of).collect();
        // A folder that may not be listed hides nothing that is followed by its name.
        let others = self
            .vfs
            .list(self.folder())
            .unwrap_or_default()
            .into_iter()
            .filter(|path| identity_of(path).is_some_and(|it| !followed.contains(&it) && feed.may_know_file(it)));
        let mut failed = None;
        for path in others {
            let mut renamed = match Followed::open(&path, self.vfs.as_ref(), feed) {
                Ok(renamed) => renamed,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                // It was read before, and what is left of it cannot be: that is told at the end.
                Err(error) => {
                    failed.get_or_insert(SourceError::new(path.display().to_string(), error));
                    continue;
                }
            };
            // Of one that is not known after all nothing was read, and it is not under a name that is asked for.
            while renamed.begun_before && !feed.stopping() {
                match renamed.advance(NOWHERE, u64::MAX, feed) {
                    Ok(Step::Over) => break,
                    Ok(Step::Read | Step::Waiting) => {}
                    Err(error) => {
                        failed.get_or_insert(SourceError::new(path.display().to_string(), error.message));
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn follow(&self, feed: &Feed) -> Result<(), SourceError> {
        let mut open: BTreeMap<PathBuf, Followed> = BTreeMap::new();
        let mut broken: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        let mut failed = self.read_renamed(feed).err();
        while !feed.stopping() {
            let mut idle = true;
            for path in self.paths()?.into_iter().take(FILES_MAX) {
                let Ok(stat) = self.vfs.stat(&path) else {
                    continue;
                };
                if broken.get(&path) == Some(&stat.identity) {
                    continue;
                }
                if !open.contains_key(&path)
                    && let Ok(followed) = Followed::open(&path, self.vfs.as_ref(), feed)
                {
                    open.insert(path.clone(), followed);
                }
                let Some(followed) = open.get_mut(&path) else {
                    continue;
                };
                match followed.advance(stat.identity, stat.len, feed) {
                    Ok(Step::Read) => idle = false,
                    Ok(Step::Waiting) => {}
                    Ok(Step::Over) => {
                        open.remove(&path);
                        idle = false;
                    }
                    // What cannot be read on is left alone until the name leads to another file, and told at the end.
                    Err(error) => {
                        failed.get_or_insert(SourceError::new(path.display().to_string(), error.message));
                        open.remove(&path);
                        broken.insert(path, stat.identity);
                    }
                }
            }
            if idle {
                std::thread::sleep(STOP_POLL);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Source for FileSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        if self.follow { self.follow(&feed) } else { self.read_once(&feed) }
    }
}

struct Counted {
    inner: Box<dyn VfsFile>,
    progress: Arc<FileProgress>,
}

impl std::io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

enum Step {
    Read,
    Waiting,
    Over,
}

/// A file that is read as it grows.
struct Followed {
    file: Box<dyn VfsFile>,
    identity: (u64, u64),
    offset: u64,
    framer: Framer,
    /// Whether an earlier run has read of it.
    begun_before: bool,
}

impl Followed {
    fn open(path: &Path, vfs: &dyn Vfs, feed: &Feed) -> std::io::Result<Self> {
        let mut file = vfs.open(path)?;
        let identity = file.stat()?.identity;
        let name = path.display().to_string();
        let place = feed.place_of(&name, file.as_mut())?;
        let offset = if feed.reads_from_start() { 0 } else { place.from };
        file.seek(SeekFrom::Start(offset))?;
        let begun_before = place.from > 0 || place.records > 0;
        Ok(Self { file, identity, offset, framer: feed.framer_at(&name, &place, true), begun_before })
    }

    /// Reads what there is. `named` and `len` are what the name leads to now.
    fn advance(&mut self, named: (u64, u64), len: u64, feed: &Feed) -> Result<Step, SourceError> {
        let fault = |error: std::io::Error| SourceError::new("followed file", error);
        let read = self.framer.read_from(&mut self.file, feed.block_bytes()).map_err(fault)?;
        self.offset += read as u64;
        if read > 0 {
            feed.send_framed(&mut self.framer)?;
            return Ok(Step::Read);
        }
        if named != self.identity || len < self.offset {
            // Rotated or cut: what is left without a line feed will not be finished any more.
            self.framer.finish();
            feed.send_framed(&mut self.framer)?;
            return Ok(Step::Over);
        }
        Ok(Step::Waiting)
    }
}

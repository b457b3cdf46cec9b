//! Files: one, or all that match a pattern; read once here, or followed as they grow ([`super::follow`]).
//!
//! A last line without a line feed is a record when a file is read once, and still being written when followed.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_engine::source::{Compression, inflate};
use weir_engine::vfs::{Vfs, VfsFile};
use weir_engine::{Feed, Source, SourceError};

use super::follow::Following;

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
    pub(super) pattern: String,
    follow: bool,
    pub(super) vfs: Arc<dyn Vfs>,
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

    pub(super) fn folder(&self) -> &Path {
        let folder = Path::new(&self.pattern).parent();
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Paths that match now, sorted.
    pub(super) fn paths(&self) -> Result<Vec<PathBuf>, SourceError> {
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
}

impl Source for FileSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        if self.follow { Following::new(&self, &feed).run() } else { self.read_once(&feed) }
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

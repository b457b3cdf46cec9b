//! Files that are followed as they grow and are rotated.
//!
//! A file is known by device and inode, whatever its name is by now. When its name leads to another file, it is read to its
//! end before that one is begun, also when that happened between two runs and it still lies in its folder. When no name leads
//! to it, it is read on, since whoever writes it may not know yet, and since it may come back; one that was removed is let go
//! after a while. When it has become shorter, it is read from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use weir_engine::source::{Compression, Framer};
use weir_engine::vfs::{Stat, Vfs, VfsFile};
use weir_engine::{Feed, SourceError};

use super::STOP_POLL;
use super::file::FileSource;

/// Files that one source follows at most: of more, those that it follows already, and the first in the order of their names.
const FILES_MAX: usize = 1024;

/// Files that no name leads to here and that are read on: of more, those to which none has led for longest are let go.
const NAMELESS_MAX: usize = 64;

/// How long one that was removed is read on. Until then it keeps its room on the disk.
const REMOVED_NS: u64 = 5_000_000_000;

/// Device and inode.
type Identity = (u64, u64);

/// The files of a source that follows them.
pub(super) struct Following<'a> {
    source: &'a FileSource,
    feed: &'a Feed,
    open: BTreeMap<Identity, Followed>,
    /// Those that cannot be read on, and why: left alone as long as a name leads to them.
    broken: BTreeMap<Identity, String>,
    /// The first of what went wrong for good, to be told at the end.
    failed: Option<SourceError>,
    /// What was said last of files that are not read.
    trouble: Option<String>,
}

impl<'a> Following<'a> {
    pub(super) fn new(source: &'a FileSource, feed: &'a Feed) -> Self {
        let (open, broken) = (BTreeMap::new(), BTreeMap::new());
        Self { source, feed, open, broken, failed: None, trouble: None }
    }

    /// Reads until the source should stop.
    pub(super) fn run(mut self) -> Result<(), SourceError> {
        self.read_renamed()?;
        while !self.feed.stopping() {
            if !self.look()? {
                std::thread::sleep(STOP_POLL);
            }
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Reads what is left of files that an earlier run followed and that have got other names since.
    fn read_renamed(&mut self) -> Result<(), SourceError> {
        let vfs = self.source.vfs.as_ref();
        let identity_of = |path: &PathBuf| vfs.stat(path).ok().map(|stat| stat.identity);
        let followed: BTreeSet<Identity> = self.source.paths()?.iter().filter_map(identity_of).collect();
        // A folder that may not be listed hides nothing that is followed by its name.
        for path in vfs.list(self.source.folder()).unwrap_or_default() {
            if !identity_of(&path).is_some_and(|it| !followed.contains(&it) && self.feed.may_know_file(it)) {
                continue;
            }
            match Followed::open(&path, vfs, self.feed) {
                // Of one that is not known after all nothing was read, and it is not under a name that is asked for. One that is
                // compressed is another file, or there is no place in it to go on at.
                Ok(renamed) if renamed.begun_before && renamed.is_plain => {
                    let identity = renamed.identity;
                    self.open.insert(identity, renamed);
                    self.read_to_end(identity);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // It was read before, and what is left of it cannot be.
                Err(error) => self.fail(&path, error),
            }
        }
        Ok(())
    }

    /// Looks at all files once; whether something came.
    fn look(&mut self) -> Result<bool, SourceError> {
        let mut paths = self.source.paths()?;
        let mut trouble = None;
        if paths.len() > FILES_MAX {
            let (len, pattern) = (paths.len(), &self.source.pattern);
            trouble = Some(format!("{len} files match {pattern}, and only {FILES_MAX} are followed: take some away"));
            let followed: BTreeSet<&PathBuf> = self.open.values().map(|followed| &followed.path).collect();
            paths.sort_by_key(|path| !followed.contains(path));
            paths.truncate(FILES_MAX);
        }
        let stat = |path: PathBuf| self.source.vfs.stat(&path).ok().map(|stat| (path, stat));
        let named: Vec<(PathBuf, Stat)> = paths.into_iter().filter_map(stat).collect();
        let mut came = self.leave(&named);
        // What is open was there before what is not.
        let (known, new): (Vec<_>, Vec<_>) =
            named.into_iter().partition(|(_, stat)| self.open.contains_key(&stat.identity));
        for (path, stat) in known.into_iter().chain(new) {
            if let Some(error) = self.broken.get(&stat.identity) {
                trouble.get_or_insert(error.clone());
                continue;
            }
            if let Some(followed) = self.open.get_mut(&stat.identity) {
                followed.path = path;
            } else {
                match Followed::open(&path, self.source.vfs.as_ref(), self.feed) {
                    // The name leads to another file than a moment ago: the next look finds it.
                    Ok(followed) if followed.identity != stat.identity => continue,
                    Ok(followed) if !followed.is_plain => {
                        let what =
                            "it is compressed, and what grows is read as it stands there: let `path` not match it";
                        trouble.get_or_insert(format!("{}: {what}", path.display()));
                        continue;
                    }
                    Ok(followed) => drop(self.open.insert(stat.identity, followed)),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => {
                        trouble.get_or_insert(format!("{}: {error}", path.display()));
                        continue;
                    }
                }
            }
            came |= self.advance(stat.identity, Some(stat.len)) != Step::Waiting;
        }
        if self.trouble != trouble {
            self.feed.say_trouble(trouble.clone());
            self.trouble = trouble;
        }
        Ok(came)
    }

    /// Reads on those that no name leads to, and to their end those whose name leads to another file.
    fn leave(&mut self, named: &[(PathBuf, Stat)]) -> bool {
        let identities: BTreeSet<Identity> = named.iter().map(|(_, stat)| stat.identity).collect();
        self.broken.retain(|it, _| identities.contains(it));
        let now_ns = self.feed.clock().monotonic_ns();
        let nameless: Vec<Identity> = self.open.keys().filter(|it| !identities.contains(it)).copied().collect();
        let mut came = false;
        for identity in nameless {
            let followed = &self.open[&identity];
            if named.iter().any(|(path, _)| *path == followed.path) {
                self.read_to_end(identity);
                came = true;
                continue;
            }
            came |= self.advance(identity, None) == Step::Read;
            if let Some(followed) = self.open.get_mut(&identity) {
                let since_ns = *followed.nameless_since_ns.get_or_insert(now_ns);
                let is_removed = followed.file.stat().is_ok_and(|stat| !stat.has_name);
                if is_removed && now_ns - since_ns >= REMOVED_NS {
                    self.read_to_end(identity);
                }
            }
        }
        let since = |it: &Followed| it.nameless_since_ns.map(|since_ns| (since_ns, it.identity));
        let mut nameless: Vec<(u64, Identity)> = self.open.values().filter_map(since).collect();
        nameless.sort_unstable();
        for (_, identity) in nameless.iter().take(nameless.len().saturating_sub(NAMELESS_MAX)) {
            self.read_to_end(*identity);
        }
        came
    }

    /// Reads what is left of a file and lets go of it. What it holds without a line feed will not be finished any more.
    fn read_to_end(&mut self, identity: Identity) {
        while self.advance(identity, None) == Step::Read {
            if self.feed.stopping() {
                return;
            }
        }
        if let Some(mut followed) = self.open.remove(&identity)
            && let Err(error) = followed.finish(self.feed)
        {
            self.fail(&followed.path, error.message);
        }
    }

    /// Reads on; one that is over, or cannot be read on, is not open any more.
    fn advance(&mut self, identity: Identity, len: Option<u64>) -> Step {
        let followed = self.open.get_mut(&identity).expect("it is open");
        match followed.advance(len, self.feed) {
            Ok(Step::Over) => {
                self.open.remove(&identity);
                Step::Over
            }
            Ok(step) => step,
            Err(error) => {
                let path = std::mem::take(&mut followed.path);
                self.open.remove(&identity);
                let error = SourceError::new(path.display().to_string(), error.message);
                self.broken.insert(identity, error.to_string());
                self.failed.get_or_insert(error);
                Step::Over
            }
        }
    }

    fn fail(&mut self, path: &Path, error: impl std::fmt::Display) {
        self.failed.get_or_insert_with(|| SourceError::new(path.display().to_string(), error));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read,
    Waiting,
    Over,
}

/// A file that is read as it grows.
struct Followed {
    file: Box<dyn VfsFile>,
    identity: Identity,
    /// The last name that led to it.
    path: PathBuf,
    /// Since when none does.
    nameless_since_ns: Option<u64>,
    offset: u64,
    framer: Framer,
    /// Whether an earlier run has read of it.
    begun_before: bool,
    /// Whether it is not compressed.
    is_plain: bool,
}

impl Followed {
    fn open(path: &Path, vfs: &dyn Vfs, feed: &Feed) -> std::io::Result<Self> {
        let mut file = vfs.open(path)?;
        let identity = file.stat()?.identity;
        let mut head = [0; 4];
        let len = file.read_at(0, &mut head)?;
        let is_plain = Compression::of_head(&head[..len]) == Compression::Plain;
        let name = path.display().to_string();
        let place = feed.place_of(&name, file.as_mut())?;
        let offset = if feed.reads_from_start() { 0 } else { place.from };
        file.seek(SeekFrom::Start(offset))?;
        let begun_before = place.from > 0 || place.records > 0;
        let framer = feed.framer_at(&name, &place, true);
        let path = path.to_owned();
        Ok(Self { file, identity, path, nameless_since_ns: None, offset, framer, begun_before, is_plain })
    }

    /// Reads what there is; `len` is how long the file was a moment ago, if a name leads to it.
    fn advance(&mut self, len: Option<u64>, feed: &Feed) -> Result<Step, SourceError> {
        let fault = |error: Error| SourceError::new("followed file", error);
        let read = self.framer.read_from(&mut self.file, feed.block_bytes()).map_err(fault)?;
        self.offset += read as u64;
        if len.is_some() {
            self.nameless_since_ns = None;
        }
        if read > 0 {
            feed.send_framed(&mut self.framer)?;
            return Ok(Step::Read);
        }
        if len.is_some_and(|len| len < self.offset) {
            // It was cut: what is left without a line feed will not be finished any more.
            self.finish(feed)?;
            return Ok(Step::Over);
        }
        Ok(Step::Waiting)
    }

    fn finish(&mut self, feed: &Feed) -> Result<(), SourceError> {
        self.framer.finish();
        feed.send_framed(&mut self.framer)
    }
}

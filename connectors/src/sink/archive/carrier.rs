//! Finished files on their way from the folder to an object store. A file stays in the folder until the store has it; a store that
//! is away holds nobody up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use weir_engine::backoff::Backoff;
use weir_engine::clock::{Clock, SystemClock};
use weir_engine::rng::{OsRng, Rng};

use super::part::{DAY_PREFIX, FILE_PREFIX, day_of, forget_before};
use super::{ArchiveSink, FORGET_EVERY};
use crate::client::S3Bucket;
use crate::client::s3::{remove_all, told};

/// How often it is looked whether a file is finished, where nobody says so.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// At the end of a run the store has so long to take what is left; the rest goes with the next run.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Where the name of this archive stands: others may write into the same bucket.
const NAME_FILE: &str = ".weir-name";

/// Carries files in the background.
pub(super) struct Carrier {
    folder: PathBuf,
    orders: watch::Sender<Order>,
    trouble: Arc<Mutex<Option<String>>>,
    task: Option<JoinHandle<()>>,
    runtime: Handle,
}

/// What the task is told.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Look,
    /// To end once all is carried.
    End,
}

/// What the task works with.
struct Work {
    folder: PathBuf,
    /// What names in the store begin with, so that no two archives have the same.
    name: String,
    bucket: S3Bucket,
    store: Arc<AmazonS3>,
    keep_for: Duration,
    forgot: Option<Instant>,
}

impl Carrier {
    /// Begins to carry what is finished in this folder.
    pub(super) fn start(folder: &Path, bucket: S3Bucket, keep_for: Duration, runtime: Handle) -> io::Result<Self> {
        let store = bucket.open().map_err(io::Error::other)?;
        let work = Work { folder: folder.to_owned(), name: name_of(folder)?, bucket, store, keep_for, forgot: None };
        let (orders, heard) = watch::channel(Order::Look);
        let trouble = Arc::default();
        let task = Some(runtime.spawn(work.go_on(heard, Arc::clone(&trouble))));
        Ok(Self { folder: folder.to_owned(), orders, trouble, task, runtime })
    }

    /// There is something to carry.
    pub(super) fn look(&self) {
        self.orders.send_replace(Order::Look);
    }

    /// What keeps it from carrying.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Carries what is left, as far as the store takes it soon.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(mut task) = self.task.take() else { return Ok(()) };
        self.orders.send_replace(Order::End);
        if self.runtime.block_on(async { tokio::time::timeout(END_WITHIN, &mut task).await }).is_err() {
            task.abort();
        }
        match finished(&self.folder)?.len() {
            0 => Ok(()),
            left => {
                let why = self.trouble().unwrap_or_else(|| "it takes its time".to_owned());
                Err(io::Error::other(format!("{left} files stay there, and go to the store with the next run: {why}")))
            }
        }
    }
}

/// Files that are finished, oldest first: those of a stream, then those of the next.
pub(super) fn finished(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for stream in ArchiveSink::STREAMS {
        for day in entries(&folder.join(stream.word()))?.into_iter().filter(|day| begins(day, DAY_PREFIX)) {
            files.extend(entries(&day)?.into_iter().filter(|file| begins(file, FILE_PREFIX)));
        }
    }
    Ok(files)
}

fn begins(path: &Path, with: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with))
}

/// What is in a folder, by name; nothing if it is not there.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    paths.sort();
    Ok(paths)
}

/// The name of this archive, given to it once.
fn name_of(folder: &Path) -> io::Result<String> {
    fs::create_dir_all(folder)?;
    let path = folder.join(NAME_FILE);
    match fs::read_to_string(&path) {
        Ok(name) if name.len() == 8 && name.bytes().all(|it| it.is_ascii_hexdigit()) => return Ok(name),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = format!("{:08x}", OsRng.below(1 << 32));
    fs::write(&path, &name)?;
    Ok(name)
}

/// Waits for an order that has to be seen to now: while the store is away (`!is_done`) it is not asked more often because there is
/// more. Whether nobody orders any longer.
async fn next_order(orders: &mut watch::Receiver<Order>, is_done: bool) -> bool {
    while orders.changed().await.is_ok() {
        if is_done || *orders.borrow() == Order::End {
            return false;
        }
    }
    true
}

impl Work {
    async fn go_on(mut self, mut orders: watch::Receiver<Order>, trouble: Arc<Mutex<Option<String>>>) {
        let mut backoff = Backoff::endless();
        loop {
            let order = *orders.borrow_and_update();
            let carried = self.carry().await;
            let is_done = carried.is_ok();
            *trouble.lock() = carried.err();
            let pause = if is_done {
                backoff = Backoff::endless();
                if order == Order::End {
                    return;
                }
                LOOK_EVERY
            } else {
                backoff.pause().unwrap_or(LOOK_EVERY)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                is_over = next_order(&mut orders, is_done) => if is_over { return },
            }
        }
    }

    /// Removes what has been kept long enough, here and in the store, and carries all else that is finished. A store that takes
    /// nothing new lets go of what is old all the same.
    async fn carry(&mut self) -> Result<(), String> {
        let mut forgotten = Ok(());
        if self.forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            forgotten = self.forget().await.map_err(|error| told(&error));
            self.forgot = forgotten.is_ok().then(Instant::now);
        }
        let (folder, kept_from_ms) = (self.folder.clone(), self.kept_from_ms());
        let finished = spawn_blocking(move || {
            for stream in ArchiveSink::STREAMS {
                forget_before(&folder.join(stream.word()), kept_from_ms)?;
            }
            finished(&folder)
        });
        let files = finished.await.map_err(|error| error.to_string())?;
        for file in files.map_err(|error| format!("{}: {error}", self.folder.display()))? {
            self.carry_one(file).await?;
        }
        forgotten
    }

    /// Days before that of this moment have been kept long enough.
    fn kept_from_ms(&self) -> i64 {
        SystemClock::default().wall_ms() - self.keep_for.as_millis() as i64
    }

    async fn carry_one(&self, file: PathBuf) -> Result<(), String> {
        let shown = file.display().to_string();
        let fault = |error: io::Error| format!("{shown}: {error}");
        let read = file.clone();
        let bytes = spawn_blocking(move || fs::read(read)).await.map_err(|error| error.to_string())?.map_err(fault)?;
        // STREAM/date=DAY/FILE
        let mut names = file.iter().rev().take(3).map(|name| name.to_string_lossy());
        let (name, day, stream) = (names.next(), names.next(), names.next());
        let name = format!("{}-{}", self.name, name.unwrap_or_default());
        let to = self.bucket.path(&[&stream.unwrap_or_default(), &day.unwrap_or_default(), &name]);
        self.store.put(&to, bytes.into()).await.map_err(|error| told(&error))?;
        // Its folder stays: the next file may be on its way into it.
        spawn_blocking(move || fs::remove_file(file)).await.map_err(|error| error.to_string())?.map_err(fault)
    }

    async fn forget(&self) -> object_store::Result<()> {
        let first_kept = day_of(self.kept_from_ms());
        for stream in ArchiveSink::STREAMS {
            let days = self.store.list_with_delimiter(Some(&self.bucket.path(&[stream.word()]))).await?;
            for day in days.common_prefixes {
                let name = day.filename().unwrap_or_default();
                if name.starts_with(DAY_PREFIX) && name.len() == first_kept.len() && *name < *first_kept {
                    remove_all(&self.store, &day).await?;
                }
            }
        }
        Ok(())
    }
}

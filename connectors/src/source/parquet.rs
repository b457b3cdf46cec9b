//! Parquet files as history: read batch by batch, canonical column names.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use weir_engine::vfs::{Vfs, VfsFile};
use weir_engine::{Feed, SourceError};

use super::FileProgress;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// Whether a path names a Parquet file.
pub(super) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// The batches of a file, one after the other.
///
/// # Errors
/// A sentence for the operator, when the file is not a usable Parquet file.
pub fn parquet_batches(
    path: &Path,
    vfs: &Arc<dyn Vfs>,
) -> Result<impl Iterator<Item = Result<RecordBatch, String>> + use<>, String> {
    let fault = |error: &dyn std::fmt::Display| format!("not a usable Parquet file: {error}");
    let progress = Arc::new(FileProgress::default());
    let reader = open(path, vfs, &progress).map_err(|error| fault(&error))?;
    Ok(reader.map(move |batch| batch.map_err(|error| fault(&error))))
}

fn open(path: &Path, vfs: &Arc<dyn Vfs>, progress: &Arc<FileProgress>) -> ParquetResult<ParquetRecordBatchReader> {
    let len = vfs.stat(path)?.len;
    let chunks = Chunks { path: path.to_path_buf(), vfs: Arc::clone(vfs), len, progress: Arc::clone(progress) };
    ParquetRecordBatchReaderBuilder::try_new(chunks)?.with_batch_size(BATCH_ROWS).build()
}

/// Reads one file to its end. A file that is broken ends the source, not the process: the reader may panic on
/// hostile bytes, and that is caught where sources run.
pub(super) fn read(
    path: &Path,
    vfs: &Arc<dyn Vfs>,
    feed: &Feed,
    progress: &Arc<FileProgress>,
) -> Result<(), SourceError> {
    let place = path.display().to_string();
    let fault = |error: &dyn std::fmt::Display| SourceError::new(&place, format!("not a usable Parquet file: {error}"));
    let mut file = vfs.open(path).map_err(|error| fault(&error))?;
    let known = feed.place_of(&place, file.as_mut()).map_err(|error| fault(&error))?;
    let reader = open(path, vfs, progress).map_err(|error| fault(&error))?;
    let stream: Arc<str> = Arc::from(place.as_str());
    let mut records = 0;
    for batch in reader {
        if feed.stopping() {
            return Ok(());
        }
        let batch = batch.map_err(|error| fault(&error))?;
        feed.send_rows(&known, &stream, records, &batch);
        records += batch.num_rows() as u64;
    }
    Ok(())
}

/// A file of which parts are read.
struct Chunks {
    path: PathBuf,
    vfs: Arc<dyn Vfs>,
    len: u64,
    progress: Arc<FileProgress>,
}

impl Chunks {
    fn open_at(&self, start: u64) -> ParquetResult<Box<dyn VfsFile>> {
        let mut file = self.vfs.open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn VfsFile>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.open_at(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.saturating_add(length as u64) > self.len {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {}", self.len)));
        }
        let mut bytes = Vec::with_capacity(length);
        self.open_at(start)?.take(length as u64).read_to_end(&mut bytes)?;
        self.progress.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start}, {} came", bytes.len())));
        }
        Ok(bytes.into())
    }
}

//! NDJSON into a file, appended.

use std::path::{Path, PathBuf};

use weir_engine::vfs::{Vfs, VfsFile};
use weir_engine::{Output, Sink, SinkError};

/// Appends one line of JSON an output; syncs at the end of the run.
pub struct FileSink {
    path: PathBuf,
    file: Box<dyn VfsFile>,
}

impl FileSink {
    /// Opens the file, creating it if need be.
    pub fn open(path: &Path, vfs: &dyn Vfs) -> std::io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), file: vfs.append(path)? })
    }

    fn fault(&self, error: &std::io::Error) -> SinkError {
        SinkError(format!("{}: {error}; free some space or correct the path, and start again", self.path.display()))
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut lines = String::new();
        for output in outputs {
            lines.push_str(&output.to_json());
            lines.push('\n');
        }
        self.file.write_all(lines.as_bytes()).and_then(|()| self.file.flush()).map_err(|error| self.fault(&error))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.file.sync().map_err(|error| self.fault(&error))
    }
}

//! NDJSON into a file, appended.

use std::path::{Path, PathBuf};

use weir_engine::vfs::{Vfs, VfsFile};
use weir_engine::{Output, Sink, SinkError};

/// Appends one line of JSON an output. What was written is synced at the end of the run, and where an outbox is kept
/// before it forgets it.
pub struct FileSink {
    path: PathBuf,
    file: Box<dyn VfsFile>,
    /// A write broke off within a line.
    torn: bool,
}

impl FileSink {
    /// Opens the file, creating it if need be.
    pub fn open(path: &Path, vfs: &dyn Vfs) -> std::io::Result<Self> {
        let torn = ends_within_a_line(path, vfs)?;
        Ok(Self { path: path.to_path_buf(), file: vfs.append(path)?, torn })
    }

    fn fault(&self, error: &std::io::Error) -> SinkError {
        SinkError::new(format!(
            "{}: {error}; free some space or correct the path, and start again",
            self.path.display()
        ))
    }

    /// Writes as much as can be written: how many lines are there in full, and what stopped it.
    fn write(&mut self, lines: &[u8]) -> (usize, std::io::Result<()>) {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return (count(&lines[..written]), Err(std::io::ErrorKind::WriteZero.into())),
                Ok(len) => {
                    written += len;
                    self.torn = lines[written - 1] != b'\n';
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return (count(&lines[..written]), Err(error)),
            }
        }
        (count(lines), self.file.flush())
    }
}

fn count(lines: &[u8]) -> usize {
    lines.split(|byte| *byte == b'\n').count() - 1
}

fn ends_within_a_line(path: &Path, vfs: &dyn Vfs) -> std::io::Result<bool> {
    let mut file = match vfs.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let len = file.stat()?.len;
    let mut last = [b'\n'];
    if len > 0 {
        file.read_at(len - 1, &mut last)?;
    }
    Ok(last != [b'\n'])
}

impl Sink for FileSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        // The rest of a line that broke off stands alone; its output is written again.
        let start = if self.torn { "\n" } else { "" };
        let mut lines = start.to_owned();
        for output in outputs {
            lines.push_str(&output.to_json());
            lines.push('\n');
        }
        let (whole, result) = self.write(lines.as_bytes());
        result.map_err(|error| self.fault(&error).after(whole.saturating_sub(start.len())))
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.file.sync().map_err(|error| self.fault(&error))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.settle()
    }
}

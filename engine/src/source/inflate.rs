//! Compressed input, with a limit on what a small input may become.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{INFLATE_FREE_BYTES, INFLATE_RATIO_MAX};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// By its first bytes.
    Auto,
    /// Not at all.
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Compression {
    /// By the first bytes of a stream, of which there are four if it has as many.
    pub fn of_head(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct Guarded<R> {
    inner: R,
    given: u64,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.given += read as u64;
        let allowed = self.taken.load(Ordering::Relaxed).saturating_mul(INFLATE_RATIO_MAX);
        if self.given > INFLATE_FREE_BYTES && self.given > allowed {
            let message = format!("compressed more than {INFLATE_RATIO_MAX}:1: refused as a decompression bomb");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(read)
    }
}

/// Wraps a reader so that it gives plain bytes.
///
/// # Errors
/// When the first bytes cannot be read, or the decoder cannot be set up.
pub fn inflate(mut reader: Box<dyn Read + Send>, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    let mut head = [0; 4];
    let mut known = 0;
    if compression == Compression::Auto {
        while known < head.len() {
            match reader.read(&mut head[known..]) {
                Ok(0) => break,
                Ok(read) => known += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    let compression = if compression == Compression::Auto { Compression::of_head(&head[..known]) } else { compression };
    let whole = io::Cursor::new(head[..known].to_vec()).chain(reader);
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: whole, bytes: Arc::clone(&taken) };
    Ok(match compression {
        Compression::Auto | Compression::Plain => Box::new(counted),
        Compression::Gzip => {
            Box::new(Guarded { inner: flate2::read::MultiGzDecoder::new(BufReader::new(counted)), given: 0, taken })
        }
        Compression::Zstd => Box::new(Guarded { inner: zstd::stream::read::Decoder::new(counted)?, given: 0, taken }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_all(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        inflate(Box::new(io::Cursor::new(bytes)), Compression::Auto)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compression_is_recognised() {
        let text = b"{\"a\":1}\n".repeat(1000);
        assert_eq!(read_all(text.clone()).unwrap(), text);
        assert_eq!(read_all(gzip(&text)).unwrap(), text);
        assert_eq!(read_all([gzip(&text), gzip(&text)].concat()).unwrap(), text.repeat(2));
        assert_eq!(read_all(zstd::encode_all(&text[..], 1).unwrap()).unwrap(), text);
        assert_eq!(read_all(b"ab".to_vec()).unwrap(), b"ab");
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = vec![b' '; 64 << 20];
        assert!(read_all(gzip(&bomb)).is_err());
        assert!(read_all(zstd::encode_all(&bomb[..], 1).unwrap()).is_err());
    }
}

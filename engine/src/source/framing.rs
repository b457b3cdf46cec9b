//! Where records begin and end, found before any parser sees a byte.
//!
//! The buffer never holds more than one record of the longest allowed length and one read. A
//! longer record is dropped while it streams by, digested and counted, and reading goes on with
//! the next one. NDJSON records end at a line feed, CSV records at a line feed outside quotes,
//! Arrow messages where their length says.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use memchr::{memchr, memchr_iter, memchr2_iter, memrchr};

use super::ipc::{IpcStream, message_bytes};
use super::{Extent, FileId, FilePlace, Format, Payload};
use crate::decode::parse_csv_row;
use crate::limits::{IPC_MESSAGE_BYTES_MAX, IPC_ROWS_MAX};
use crate::record::{Pseudonyms, Reason};

/// A stream cannot be read on, because the place of the next record is lost.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum FrameError {
    #[error("not an Arrow IPC stream: {what}")]
    Arrow { what: String },
    #[error("an Arrow message of {bytes} bytes; at most {IPC_MESSAGE_BYTES_MAX} are read")]
    ArrowTooLarge { bytes: usize },
    #[error("an Arrow record batch of {rows} rows; at most {IPC_ROWS_MAX} are read: write it in smaller ones")]
    ArrowRows { rows: usize },
    #[error("the CSV header cannot be read: {what}")]
    Header { what: String },
}

/// Cuts one stream of bytes into whole records.
pub struct Framer {
    stream: Arc<str>,
    record_bytes_max: usize,
    pseudonyms: Pseudonyms,
    buffer: BytesMut,
    /// Bytes that were asked for by the last read.
    read_bytes: usize,
    records: u64,
    /// Bytes of the stream that were given out or dropped: it ends at the border of a record.
    consumed: u64,
    /// The file that the stream is, if another run may have to find this place in it.
    origin: Option<Origin>,
    /// Records that an earlier run has read, of a format that can only be read from its start.
    skip: u64,
    ended: bool,
    kind: Kind,
    dropping: Option<Dropping>,
}

struct Origin {
    file: Arc<FileId>,
    is_plain: bool,
}

/// A record that is too long, on its way out.
struct Dropping {
    hasher: blake3::Hasher,
    bytes: u64,
}

enum Kind {
    Ndjson,
    Csv { header: Option<Arc<[String]>>, scanned: usize, quoted: bool, last_end: usize },
    Arrow { messages: IpcStream, started: bool, over: bool },
}

impl Framer {
    pub(crate) fn new(format: Format, stream: Arc<str>, record_bytes_max: usize, pseudonyms: Pseudonyms) -> Self {
        let kind = match format {
            Format::Ndjson => Kind::Ndjson,
            Format::Csv => Kind::Csv { header: None, scanned: 0, quoted: false, last_end: 0 },
            Format::ArrowIpc => Kind::Arrow { messages: IpcStream::default(), started: false, over: false },
        };
        Self {
            stream,
            record_bytes_max,
            pseudonyms,
            buffer: BytesMut::new(),
            read_bytes: 0,
            records: 0,
            consumed: 0,
            origin: None,
            skip: 0,
            ended: false,
            kind,
            dropping: None,
        }
    }

    /// Goes on where an earlier run left the file. `is_plain` if the bytes of the stream are those of the file.
    #[must_use]
    pub(crate) fn at(mut self, place: &FilePlace, is_plain: bool) -> Self {
        self.origin = place.file.clone().map(|file| Origin { file, is_plain });
        match &mut self.kind {
            Kind::Arrow { .. } => self.skip = place.records,
            Kind::Csv { header, .. } => header.clone_from(&place.header),
            Kind::Ndjson => {}
        }
        if self.skip == 0 {
            (self.consumed, self.records) = (place.from, place.records);
        }
        self
    }

    /// Where what was given out last lies.
    pub(crate) fn extent_of(&self, payload: &Payload) -> Option<Extent> {
        let Origin { file, is_plain } = self.origin.as_ref()?;
        let (bytes, is_plain) = match payload {
            Payload::Lines { bytes, .. } => (bytes.len() as u64, *is_plain),
            _ => (0, false),
        };
        Some(Extent {
            file: Arc::clone(file),
            from: self.consumed - bytes,
            to: self.consumed,
            records_to: self.records,
            header: self.header(),
            is_plain,
        })
    }

    /// A framer outside a pipeline; digests of refused records mean nothing.
    pub fn detached(format: Format, record_bytes_max: usize) -> Self {
        Self::new(format, Arc::from("detached"), record_bytes_max, Pseudonyms::from_root(&[0; 32]))
    }

    /// File or connection.
    pub fn stream(&self) -> Arc<str> {
        Arc::clone(&self.stream)
    }

    /// Records given out so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes read and not yet given out.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Reads once into the buffer; how many bytes came, 0 at the end of the stream.
    pub fn read_from(&mut self, reader: &mut dyn Read, bytes: usize) -> io::Result<usize> {
        let start = self.buffer.len();
        self.read_bytes = bytes;
        self.buffer.resize(start + bytes, 0);
        let read = reader.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Says that no bytes will follow: what is left is the last record.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Whole records, if there are any.
    ///
    /// # Errors
    /// When the place of the next record is lost.
    pub fn next_payload(&mut self) -> Result<Option<Payload>, FrameError> {
        if self.dropping.is_some() && !self.drop_on() {
            return Ok(None);
        }
        if let Some(payload) = self.take_dropped() {
            return Ok(Some(payload));
        }
        match self.kind {
            Kind::Ndjson => Ok(self.next_lines()),
            Kind::Csv { .. } => self.next_csv(),
            Kind::Arrow { .. } => self.next_arrow(),
        }
    }

    fn next_lines(&mut self) -> Option<Payload> {
        let end = if self.ended { self.buffer.len() } else { memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1) };
        if end == 0 {
            self.start_dropping();
            return None;
        }
        let bytes = self.buffer.split_to(end).freeze();
        self.consumed += end as u64;
        let unfinished = !bytes.is_empty() && !bytes.ends_with(b"\n");
        self.records += memchr_iter(b'\n', &bytes).count() as u64 + u64::from(unfinished);
        Some(Payload::Lines { bytes, format: Format::Ndjson, header: None })
    }

    /// A record longer than allowed: forget it while it streams by.
    fn start_dropping(&mut self) {
        if self.buffer.len() > self.record_bytes_max {
            let mut hasher = self.pseudonyms.record_hasher();
            hasher.update(&self.buffer);
            self.dropping = Some(Dropping { hasher, bytes: self.buffer.len() as u64 });
            self.consumed += self.buffer.len() as u64;
            self.buffer.clear();
        }
    }

    /// Drops up to the next line feed; whether the record is over.
    fn drop_on(&mut self) -> bool {
        let Some(dropping) = &mut self.dropping else {
            return true;
        };
        let end = memchr(b'\n', &self.buffer);
        let gone = self.buffer.split_to(end.map_or(self.buffer.len(), |at| at + 1));
        self.consumed += gone.len() as u64;
        let body = gone.strip_suffix(b"\n").unwrap_or(&gone);
        dropping.hasher.update(body);
        dropping.bytes += body.len() as u64;
        end.is_some() || self.ended
    }

    fn take_dropped(&mut self) -> Option<Payload> {
        let dropped = self.dropping.take()?;
        self.records += 1;
        let cause = Reason::TooLong { bytes: dropped.bytes, bytes_max: self.record_bytes_max };
        Some(Payload::Refused(vec![(cause.into(), Pseudonyms::record_digest(&dropped.hasher))]))
    }

    /// Names of the columns, of CSV whose header has been read.
    pub(crate) fn header(&self) -> Option<Arc<[String]>> {
        match &self.kind {
            Kind::Csv { header, .. } => header.clone(),
            _ => None,
        }
    }

    fn next_csv(&mut self) -> Result<Option<Payload>, FrameError> {
        let Kind::Csv { header, scanned, quoted, last_end } = &mut self.kind else {
            return Ok(None);
        };
        for at in memchr2_iter(b'"', b'\n', &self.buffer[*scanned..]) {
            match self.buffer[*scanned + at] {
                b'"' => *quoted = !*quoted,
                _ if !*quoted => {
                    *last_end = *scanned + at + 1;
                    if header.is_none() {
                        break;
                    }
                }
                _ => {}
            }
        }
        *scanned = self.buffer.len();
        let end = if self.ended && (*last_end == 0 || header.is_some()) { self.buffer.len() } else { *last_end };
        if end == 0 {
            if self.buffer.len() > self.record_bytes_max {
                (*scanned, *quoted, *last_end) = (0, false, 0);
                self.start_dropping();
            }
            return Ok(None);
        }
        let bytes = self.buffer.split_to(end).freeze();
        self.consumed += end as u64;
        (*scanned, *last_end) = (if header.is_none() { 0 } else { self.buffer.len() }, 0);
        if header.is_none() {
            *quoted = false;
        }
        let Some(header) = header else {
            let text = std::str::from_utf8(&bytes).map_err(|_| FrameError::Header { what: "not UTF-8".to_owned() })?;
            let mut row = crate::decode::CsvRow::default();
            let text = text.trim_start_matches('\u{feff}');
            parse_csv_row(text, &mut row).map_err(|cause| FrameError::Header { what: cause.to_string() })?;
            *header = Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().trim().to_owned()).collect());
            return self.next_csv();
        };
        let header = Arc::clone(header);
        self.records += records_of(&bytes, Format::Csv)
            .filter(|r| !bytes[r.clone()].iter().all(u8::is_ascii_whitespace))
            .count() as u64;
        Ok(Some(Payload::Lines { bytes, format: Format::Csv, header: Some(header) }))
    }

    fn next_arrow(&mut self) -> Result<Option<Payload>, FrameError> {
        let within = || FrameError::Arrow { what: "the stream ends within a message".to_owned() };
        loop {
            let Kind::Arrow { messages, started, over } = &mut self.kind else {
                return Ok(None);
            };
            if *over {
                self.buffer.clear();
                return Ok(None);
            }
            if !*started && self.buffer.len() >= 8 {
                // The file format is a stream between two magics; its footer is not needed.
                if self.buffer.starts_with(b"ARROW1") {
                    let _magic = self.buffer.split_to(8);
                }
                *started = true;
            }
            match message_bytes(&self.buffer)? {
                None if self.ended && self.buffer.len() >= 8 && !is_end(&self.buffer) => return Err(within()),
                None => return Ok(None),
                // What follows the end of the stream, such as the footer of a file, is nobody's, whenever it comes.
                Some(0) => {
                    *over = true;
                    self.buffer.clear();
                    return Ok(None);
                }
                Some(bytes) if self.buffer.len() >= bytes => {
                    self.consumed += bytes as u64;
                    let Some(rows) = messages.take(self.buffer.split_to(bytes).freeze())? else { continue };
                    let known = self.skip.saturating_sub(self.records).min(rows.count() as u64);
                    self.records += rows.count() as u64;
                    let fresh = rows.behind(known as usize);
                    if fresh.count() > 0 {
                        return Ok(Some(Payload::Encoded(fresh)));
                    }
                }
                Some(_) if self.ended => return Err(within()),
                // All of a large message has room now: its beginning moves once, and not whenever there is more of it. The
                // last read goes beyond it.
                Some(bytes) => {
                    self.buffer.reserve(bytes - self.buffer.len() + self.read_bytes);
                    return Ok(None);
                }
            }
        }
    }
}

fn is_end(buffer: &[u8]) -> bool {
    buffer.starts_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
}

/// Ranges of the records in whole lines, without their line feeds.
pub(crate) fn records_of(bytes: &[u8], format: Format) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        let end = match format {
            Format::Csv => {
                let mut quoted = false;
                memchr2_iter(b'"', b'\n', &bytes[start..])
                    .find(|at| {
                        let quote = bytes[start + at] == b'"';
                        quoted ^= quote;
                        !quote && !quoted
                    })
                    .map_or(bytes.len(), |at| start + at)
            }
            _ => memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at),
        };
        let range = start..if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
        start = end + 1;
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framer(format: Format, record_bytes_max: usize) -> Framer {
        Framer::new(format, "t".into(), record_bytes_max, Pseudonyms::from_root(&[0; 32]))
    }

    /// Records and refusals that come out when the bytes go in `step` at a time.
    fn frame(format: Format, bytes: &[u8], record_bytes_max: usize, step: usize) -> Vec<String> {
        let mut framer = framer(format, record_bytes_max);
        let mut out = Vec::new();
        let mut drain = |framer: &mut Framer| {
            while let Some(payload) = framer.next_payload().unwrap() {
                match payload {
                    Payload::Lines { bytes, format, .. } => {
                        out.extend(records_of(&bytes, format).map(|r| String::from_utf8_lossy(&bytes[r]).into_owned()));
                    }
                    Payload::Refused(causes) => {
                        out.extend(causes.into_iter().map(|(cause, _)| cause.word().to_owned()));
                    }
                    _ => unreachable!("text formats only"),
                }
            }
            assert!(framer.pending() <= record_bytes_max + step, "the buffer is bounded");
        };
        for chunk in bytes.chunks(step) {
            framer.push(chunk);
            drain(&mut framer);
        }
        framer.finish();
        drain(&mut framer);
        out
    }

    #[test]
    fn records_are_found_whatever_the_reads() {
        let text = b"{\"a\":1}\n{\"b\":2}\r\n{\"c\":3}";
        let csv = b"a,b\n1,\"x\ny\"\r\n2,\"q\"\"\nz\"\n3,w";
        for step in 1..=text.len() {
            assert_eq!(frame(Format::Ndjson, text, 100, step), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"], "{step}");
            assert_eq!(frame(Format::Csv, csv, 100, step), ["1,\"x\ny\"", "2,\"q\"\"\nz\"", "3,w"], "{step}");
        }
    }

    #[test]
    fn a_long_record_is_dropped_and_the_next_one_read() {
        let text = [b"{\"a\":1}\n".to_vec(), vec![b'x'; 5_000], b"\n{\"b\":2}\n".to_vec()].concat();
        for step in [1, 7, 64, 999] {
            assert_eq!(frame(Format::Ndjson, &text, 1_000, step), ["{\"a\":1}", "too_long", "{\"b\":2}"], "{step}");
        }
        let endless = vec![b'x'; 10_000];
        assert_eq!(frame(Format::Ndjson, &endless, 1_000, 100), ["too_long"]);
    }

    #[test]
    fn what_follows_the_end_of_an_arrow_stream_is_not_read() {
        let times = Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3])) as arrow::array::ArrayRef;
        let batch = arrow::record_batch::RecordBatch::try_from_iter([("ts", times)]).unwrap();
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let stream = writer.into_inner().unwrap();
        for rest in [&b"the footer of a file, and its magic"[..], &stream] {
            let bytes = [&stream, rest].concat();
            for step in [1, 7, 8, stream.len(), bytes.len()] {
                let mut framer = framer(Format::ArrowIpc, 1_000);
                for piece in bytes.chunks(step) {
                    framer.push(piece);
                    while framer.next_payload().unwrap().is_some() {}
                }
                framer.finish();
                assert!(framer.next_payload().unwrap().is_none());
                assert_eq!((framer.records(), framer.pending()), (3, 0), "{step} bytes at a time");
            }
        }
    }

    #[test]
    fn damaged_arrow_streams_are_refused() {
        for bytes in [&b"this is no arrow stream"[..], &[0xff; 64], &[0xff, 0xff, 0xff, 0xff, 255, 255, 255, 127, 0, 0]]
        {
            let mut framer = framer(Format::ArrowIpc, 1_000);
            framer.push(bytes);
            framer.finish();
            assert!(framer.next_payload().is_err());
        }
    }
}

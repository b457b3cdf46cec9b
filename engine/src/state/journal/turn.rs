//! A turn as bytes: what the partition's state is a function of, and no more. Records of a file that stays are not copied:
//! it is said where they lie.

use std::sync::Arc;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::record::Reason;
use crate::source::{Block, EncodedRows, Extent, FileId, Format, Payload, ShedTally};

/// Version of the layout; the first byte of every turn.
const VERSION: u8 = 1;

/// A turn that is to be kept.
pub(crate) struct KeptTurn {
    /// The wall clock by which it is judged.
    pub(crate) now_ms: i64,
    /// It is the first of a run: nobody is to be blamed for having been silent before it.
    pub(crate) resumed: bool,
    pub(crate) shed: ShedTally,
    pub(crate) blocks: Vec<KeptBlock>,
}

/// A block as it is kept.
pub(crate) struct KeptBlock {
    pub(crate) source: u16,
    pub(crate) stream: Arc<str>,
    pub(crate) first_record: u64,
    pub(crate) received_ms: i64,
    pub(crate) extent: Option<Extent>,
    pub(crate) payload: Payload,
}

impl KeptBlock {
    /// What is kept of a block. Records that stay in their file are not held until that is written.
    pub(crate) fn of(block: &Block) -> Self {
        let in_file = block.extent.as_ref().is_some_and(|extent| extent.is_plain);
        let payload = match &block.payload {
            Payload::Lines { format, header, .. } if in_file => {
                Payload::Lines { bytes: Bytes::new(), format: *format, header: header.clone() }
            }
            payload => payload.clone(),
        };
        Self {
            source: block.source,
            stream: Arc::clone(&block.stream),
            first_record: block.first_record,
            received_ms: block.received_ms,
            extent: block.extent.clone(),
            payload,
        }
    }
}

/// A turn cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u8),
    #[error("it is no turn")]
    Layout,
    #[error("its columns cannot be read: {0}")]
    Columns(String),
}

/// Bytes that are written as bytes, not one by one.
#[derive(Deserialize)]
struct Raw<'a>(#[serde(borrow)] &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Serialize, Deserialize)]
struct WrittenTurn<'a> {
    now_ms: i64,
    resumed: bool,
    shed: ShedTally,
    #[serde(borrow)]
    blocks: Vec<WrittenBlock<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenBlock<'a> {
    source: u16,
    stream: &'a str,
    first_record: u64,
    received_ms: i64,
    extent: Option<WrittenExtent>,
    #[serde(borrow)]
    payload: WrittenPayload<'a>,
}

#[derive(Serialize, Deserialize)]
struct WrittenExtent {
    file: FileId,
    from: u64,
    to: u64,
    records_to: u64,
    header: Option<Vec<String>>,
    is_plain: bool,
}

#[derive(Serialize, Deserialize)]
enum WrittenPayload<'a> {
    /// Where the extent says.
    InFile {
        csv: bool,
    },
    Lines {
        #[serde(borrow)]
        bytes: Raw<'a>,
        csv: bool,
        header: Option<Vec<String>>,
    },
    Objects {
        #[serde(borrow)]
        bytes: Raw<'a>,
        ranges: Vec<(u32, u32)>,
    },
    Columns(#[serde(borrow)] Raw<'a>),
    Refused(Vec<(WrittenCause, String)>),
    Alive(Vec<String>),
    /// Messages of an Arrow IPC stream as they came: those it depends on, and a batch.
    Encoded {
        #[serde(borrow)]
        stream: Raw<'a>,
        passed_over: u32,
    },
}

#[derive(Serialize, Deserialize)]
enum WrittenCause {
    TooLong {
        bytes: u64,
        bytes_max: u64,
    },
    /// Of journals up to 2026-11-26: the word was not kept.
    Other(String),
    Told {
        word: String,
        text: String,
    },
}

fn texts(header: Option<&Arc<[String]>>) -> Option<Vec<String>> {
    header.map(|header| header.to_vec())
}

fn is_csv(format: Format) -> bool {
    format == Format::Csv
}

/// Columns as an Arrow IPC stream, of which the first rows are to be passed over.
fn ipc_of(payload: &Payload) -> Option<(Vec<u8>, u32)> {
    let batch = match payload {
        Payload::Columns(batch) => batch,
        Payload::Encoded(rows) => return Some(rows.stream()),
        _ => return None,
    };
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).expect("a schema can be written");
    writer.write(batch).and_then(|()| writer.finish()).expect("a batch can be written to memory");
    drop(writer);
    Some((bytes, 0))
}

impl KeptTurn {
    /// Appends the turn.
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        let columns: Vec<Option<(Vec<u8>, u32)>> = self.blocks.iter().map(|block| ipc_of(&block.payload)).collect();
        let blocks = self.blocks.iter().zip(&columns).map(|(block, columns)| block.written(columns.as_ref()));
        let written = WrittenTurn {
            now_ms: self.now_ms,
            resumed: self.resumed,
            shed: self.shed.clone(),
            blocks: blocks.collect(),
        };
        bytes.push(VERSION);
        *bytes = postcard::to_extend(&written, std::mem::take(bytes)).expect("a turn is plain data");
    }

    /// Reads a turn. Its records are not copied.
    pub(crate) fn read(bytes: &Bytes) -> Result<Self, TurnError> {
        let written: WrittenTurn<'_> = match bytes.split_first() {
            Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|_| TurnError::Layout)?,
            Some((version, _)) => return Err(TurnError::Version(*version)),
            None => return Err(TurnError::Layout),
        };
        Ok(Self {
            now_ms: written.now_ms,
            resumed: written.resumed,
            shed: written.shed,
            blocks: written.blocks.into_iter().map(|block| KeptBlock::read(block, bytes)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it holds what nothing else does: not only the time, and places in files that can be read again.
    pub(crate) fn holds_records(&self) -> bool {
        !self.shed.is_empty() || self.blocks.iter().any(|block| block.payload.bytes() > 0)
    }
}

impl KeptBlock {
    fn written<'a>(&'a self, columns: Option<&'a (Vec<u8>, u32)>) -> WrittenBlock<'a> {
        let in_file = self.extent.as_ref().is_some_and(|extent| extent.is_plain);
        let (stream, passed_over) = columns.map_or((Raw(&[]), 0), |(stream, passed_over)| (Raw(stream), *passed_over));
        let payload = match &self.payload {
            Payload::Lines { format, .. } if in_file => WrittenPayload::InFile { csv: is_csv(*format) },
            Payload::Lines { bytes, format, header } => {
                WrittenPayload::Lines { bytes: Raw(bytes), csv: is_csv(*format), header: texts(header.as_ref()) }
            }
            Payload::Objects { bytes, ranges } => WrittenPayload::Objects {
                bytes: Raw(bytes),
                ranges: ranges.iter().map(|range| (range.start, range.end)).collect(),
            },
            Payload::Columns(_) => WrittenPayload::Columns(stream),
            Payload::Encoded(_) => WrittenPayload::Encoded { stream, passed_over },
            Payload::Refused(causes) => {
                let cause = |(cause, digest): &(crate::record::Cause, String)| {
                    let written = match cause.too_long() {
                        Some((bytes, max)) => WrittenCause::TooLong { bytes, bytes_max: max as u64 },
                        None => WrittenCause::Told { word: cause.word().to_owned(), text: cause.to_string() },
                    };
                    (written, digest.clone())
                };
                WrittenPayload::Refused(causes.iter().map(cause).collect())
            }
            Payload::Alive(devices) => WrittenPayload::Alive(devices.iter().map(ToString::to_string).collect()),
        };
        let extent = self.extent.as_ref().map(|extent| WrittenExtent {
            file: (*extent.file).clone(),
            from: extent.from,
            to: extent.to,
            records_to: extent.records_to,
            header: texts(extent.header.as_ref()),
            is_plain: extent.is_plain,
        });
        WrittenBlock {
            source: self.source,
            stream: &self.stream,
            first_record: self.first_record,
            received_ms: self.received_ms,
            extent,
            payload,
        }
    }

    fn read(written: WrittenBlock<'_>, all: &Bytes) -> Result<Self, TurnError> {
        let extent = written.extent.map(|extent| Extent {
            file: Arc::new(extent.file),
            from: extent.from,
            to: extent.to,
            records_to: extent.records_to,
            header: extent.header.map(Arc::from),
            is_plain: extent.is_plain,
        });
        let format = |csv| if csv { Format::Csv } else { Format::Ndjson };
        let payload = match written.payload {
            // Whoever reads the turn fetches them.
            WrittenPayload::InFile { csv } => Payload::Lines {
                bytes: Bytes::new(),
                format: format(csv),
                header: extent.as_ref().and_then(|extent| extent.header.clone()),
            },
            WrittenPayload::Lines { bytes, csv, header } => {
                Payload::Lines { bytes: all.slice_ref(bytes.0), format: format(csv), header: header.map(Arc::from) }
            }
            WrittenPayload::Objects { bytes, ranges } => Payload::Objects {
                bytes: all.slice_ref(bytes.0),
                ranges: ranges.into_iter().map(|(start, end)| start..end).collect(),
            },
            WrittenPayload::Columns(bytes) => Payload::Columns(columns(bytes.0)?),
            WrittenPayload::Encoded { stream, passed_over } => {
                let rows = EncodedRows::of_stream(all.slice_ref(stream.0), passed_over);
                Payload::Encoded(rows.map_err(|error| TurnError::Columns(error.to_string()))?)
            }
            WrittenPayload::Alive(devices) => Payload::Alive(devices.into_iter().map(Arc::from).collect()),
            WrittenPayload::Refused(causes) => Payload::Refused(
                causes
                    .into_iter()
                    .map(|(cause, digest)| {
                        let reason = match cause {
                            WrittenCause::TooLong { bytes, bytes_max } => {
                                Reason::TooLong { bytes, bytes_max: bytes_max as usize }
                            }
                            WrittenCause::Other(text) => Reason::told("bad_value", text),
                            WrittenCause::Told { word, text } => Reason::told(&word, text),
                        };
                        (reason.into(), digest)
                    })
                    .collect(),
            ),
        };
        Ok(Self {
            source: written.source,
            stream: Arc::from(written.stream),
            first_record: written.first_record,
            received_ms: written.received_ms,
            extent,
            payload,
        })
    }
}

fn columns(bytes: &[u8]) -> Result<arrow::record_batch::RecordBatch, TurnError> {
    let fault = |error: arrow::error::ArrowError| TurnError::Columns(error.to_string());
    let mut reader = StreamReader::try_new(bytes, None).map_err(fault)?;
    match reader.next() {
        Some(batch) => batch.map_err(fault),
        None => Ok(arrow::record_batch::RecordBatch::new_empty(reader.schema())),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::record_batch::RecordBatch;

    use super::*;
    use crate::source::Framer;

    fn encoded(batch: &RecordBatch) -> Payload {
        let mut framer = Framer::detached(Format::ArrowIpc, 1_000);
        framer.push(&ipc_of(&Payload::Columns(batch.clone())).unwrap().0);
        framer.next_payload().unwrap().unwrap()
    }

    fn turn() -> KeptTurn {
        let header: Arc<[String]> = Arc::from(["a".to_owned(), "b".to_owned()]);
        let batch = RecordBatch::try_from_iter([
            ("kind", Arc::new(StringArray::from(vec!["item", "item"])) as arrow::array::ArrayRef),
            ("ts", Arc::new(Int64Array::from(vec![1, 2])) as arrow::array::ArrayRef),
        ])
        .unwrap();
        let payloads = [
            Payload::Lines { bytes: Bytes::from_static(b"{}\n{}\n"), format: Format::Ndjson, header: None },
            Payload::Lines { bytes: Bytes::from_static(b"1,2\n"), format: Format::Csv, header: Some(header) },
            Payload::Objects { bytes: Bytes::from_static(b"[{},{}]"), ranges: Arc::from([1..3, 4..6]) },
            Payload::Columns(batch.slice(1, 1)),
            encoded(&batch),
            Payload::Refused(vec![
                (Reason::TooLong { bytes: 5, bytes_max: 4 }.into(), "d".to_owned()),
                (Reason::bad_event("no event".to_owned()).into(), "e".to_owned()),
            ]),
            Payload::Alive(vec![Arc::from("d1"), Arc::from("d2")]),
        ];
        let blocks = payloads.into_iter().zip(0..).map(|(payload, n)| KeptBlock {
            source: n,
            stream: Arc::from("s"),
            first_record: 7,
            received_ms: 8,
            extent: None,
            payload,
        });
        KeptTurn { now_ms: 9, resumed: true, shed: ShedTally::default(), blocks: blocks.collect() }
    }

    #[test]
    fn a_turn_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        turn().put(&mut bytes);
        let bytes = Bytes::from(bytes);
        let read = KeptTurn::read(&bytes).unwrap();
        assert_eq!((read.now_ms, read.resumed, read.blocks.len()), (9, true, 7));
        for (read, block) in read.blocks.iter().zip(&turn().blocks) {
            assert_eq!(format!("{:?}", read.payload), format!("{:?}", block.payload));
            assert_eq!((read.source, read.first_record, read.received_ms), (block.source, 7, 8));
        }
        // What is told of a record that was refused is the same after a crash.
        let missing: crate::record::Cause = Reason::Missing { column: "MotorVehicleID".to_owned() }.into();
        let told = Reason::told(missing.word(), missing.to_string()).into();
        for kept in [&missing, &told] {
            assert_eq!((kept.word(), kept.to_string()), ("missing_field", missing.to_string()));
        }
        for len in 0..bytes.len() {
            assert!(KeptTurn::read(&bytes.slice(..len)).is_err(), "{len} bytes");
        }
    }
}

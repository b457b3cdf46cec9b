//! A source's way into the pipeline.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::{Block, Class, ClassBoard, Format, Framer, Intake, Payload, Reply, ShedTally, SourceError};
use crate::clock::Clock;
use crate::record::Pseudonyms;

/// There is no room; try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has no room")]
pub struct Busy;

/// Where a source puts its blocks. Cheap to clone; one source may feed from many threads.
#[derive(Clone)]
pub struct Feed {
    pub(crate) source: u16,
    pub(crate) format: Format,
    pub(crate) intake: Arc<Intake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) record_bytes_max: usize,
    pub(crate) block_bytes: usize,
    /// Whether records are let go by class rather than wait for room.
    pub(crate) sheds: bool,
    pub(crate) classes: Arc<ClassBoard>,
}

impl Feed {
    /// Whether the source should come to an end.
    pub fn stopping(&self) -> bool {
        self.intake.stopping()
    }

    /// How the source's bytes are read.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A good size for a read.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Longest record that is read.
    pub fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// The pipeline's clock.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// A framer for one stream of this source: a file, a connection.
    pub fn framer(&self, stream: impl Into<Arc<str>>) -> Framer {
        self.framer_for(self.format, stream)
    }

    /// A framer for one stream in another format than the source's own.
    pub fn framer_for(&self, format: Format, stream: impl Into<Arc<str>>) -> Framer {
        Framer::new(format, stream.into(), self.record_bytes_max, self.pseudonyms.clone())
    }

    fn block(&self, stream: Arc<str>, first_record: u64, payload: Payload, reply: Option<Reply>) -> Block {
        Block {
            source: self.source,
            payload,
            stream,
            first_record,
            received_ms: self.clock.wall_ms(),
            received_ns: self.clock.monotonic_ns(),
            reply,
        }
    }

    /// Hands over what the framer has ready, waiting for room if the source can.
    ///
    /// # Errors
    /// When the stream cannot be read on (a broken Arrow stream); what was whole has been handed over.
    pub fn send_framed(&self, framer: &mut Framer) -> Result<(), SourceError> {
        loop {
            let first_record = framer.records();
            match framer.next_payload() {
                Ok(Some(payload)) => self.send(framer.stream(), first_record, payload),
                Ok(None) => return Ok(()),
                Err(error) => return Err(SourceError::new(framer.stream().as_ref(), error)),
            }
        }
    }

    /// Hands over one payload. Waits for room, unless the source sheds: then it returns at once, and what there is no room
    /// for is counted and gone.
    pub fn send(&self, stream: Arc<str>, first_record: u64, payload: Payload) {
        if self.sheds {
            self.admit(stream, first_record, payload);
        } else {
            self.intake.push(self.block(stream, first_record, payload, None));
        }
    }

    fn admit(&self, stream: Arc<str>, first_record: u64, payload: Payload) {
        let least = self.intake.least_admitted(self.source, payload.bytes());
        let mut shed = ShedTally::default();
        let kept = match least {
            Some(Class::Other) => Some(payload),
            least => self.classes.read().sift(self.source, payload, least, self.clock.wall_ms(), &mut shed),
        };
        self.intake.push_sifted(kept.map(|payload| self.block(stream, first_record, payload, None)), shed);
    }

    /// Hands over one payload if there is room, and asks for an answer.
    ///
    /// # Errors
    /// [`Busy`] when the intake is full; nothing was taken then.
    pub fn offer(&self, stream: Arc<str>, payload: Payload, reply: Reply) -> Result<(), Busy> {
        self.intake.try_push(self.block(stream, 0, payload, Some(reply)))
    }

    /// Hands over lines of NDJSON: the easy way in for an embedder.
    pub fn send_ndjson(&self, lines: impl Into<Bytes>) {
        let payload = Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None };
        self.send(Arc::from("embedded"), 0, payload);
    }

    /// Hands over records as columns. Columns have the names of the schema.
    pub fn send_columns(&self, batch: RecordBatch) {
        self.send(Arc::from("embedded"), 0, Payload::Columns(batch));
    }

    /// Counts records that were turned away before they were read, such as with 503.
    pub fn count_refused(&self, requests: u64) {
        self.intake.count_refused(self.source, requests);
    }
}

//! A source's way into the pipeline.

use std::sync::{Arc, Weak};

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::{
    Block, Class, ClassBoard, Extent, FileId, FilePlace, Format, Framer, Hand, Intake, Payload, Position, Reply, Room,
    ShedTally, SourceError, StreamPlace,
};
use crate::clock::Clock;
use crate::metrics::Progress;
use crate::record::Pseudonyms;
use crate::vfs::{Stat, VfsFile};

/// There is no room; try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has no room")]
pub struct Busy;

/// Where a source puts its blocks. Cheap to clone; one source may feed from many threads. A few records that come while
/// nothing else is to be done are judged by the thread that hands them over, before it returns.
#[derive(Clone)]
pub struct Feed {
    pub(crate) source: u16,
    pub(crate) name: Arc<str>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) format: Format,
    pub(crate) intake: Arc<Intake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) record_bytes_max: usize,
    pub(crate) block_bytes: usize,
    /// Whether records are let go by class rather than wait for room.
    pub(crate) sheds: bool,
    pub(crate) classes: Arc<ClassBoard>,
    /// How far earlier runs have read the files of this source; `None` where no state is kept.
    pub(crate) positions: Option<Arc<[Position]>>,
    /// By whom a few records are judged at once, until the run has ended.
    pub(crate) hand: Weak<dyn Hand>,
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

    /// Where to go on in a file that has just been opened: where an earlier run left it, or at its start.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn place_of(&self, path: &str, file: &mut dyn VfsFile) -> std::io::Result<FilePlace> {
        let Some(positions) = &self.positions else { return Ok(FilePlace::start(None)) };
        let Stat { identity, len, .. } = file.stat()?;
        for known in positions.iter().filter(|known| known.file.identity == identity) {
            // One that has become shorter was begun anew.
            let is_longer = !known.is_plain || known.to <= len;
            if is_longer && known.file.is(file, &self.pseudonyms)? {
                return Ok(FilePlace {
                    file: Some(Arc::new(known.file.named(path))),
                    from: known.to,
                    records: known.records,
                    header: known.header.clone().map(Arc::from),
                });
            }
        }
        FileId::of(path, file, &self.pseudonyms).map(|file| FilePlace::start(Some(file)))
    }

    /// Whether an earlier run has read of the file with this device and inode, or of one that had them before.
    pub fn may_know_file(&self, identity: (u64, u64)) -> bool {
        self.positions.as_ref().is_some_and(|known| known.iter().any(|known| known.file.identity == identity))
    }

    /// A framer for a file, from where [`Feed::place_of`] said; the first bytes pushed are those at `place.from`, unless
    /// [`Feed::reads_from_start`]. `is_plain` if what is pushed are the file's own bytes, not what they say compressed.
    pub fn framer_at(&self, path: &str, place: &FilePlace, is_plain: bool) -> Framer {
        self.framer(path).at(place, is_plain)
    }

    /// Whether a stream of this source's format can be read from its start only; the framer passes over what is known.
    pub fn reads_from_start(&self) -> bool {
        self.format == Format::ArrowIpc
    }

    /// Hands over rows of a file as columns; `rows_before` is how many rows of the file lie before them. Rows that an earlier
    /// run has read are passed over.
    pub fn send_rows(&self, place: &FilePlace, stream: &Arc<str>, rows_before: u64, batch: &RecordBatch) {
        let rows = batch.num_rows() as u64;
        let known = place.records.saturating_sub(rows_before).min(rows);
        if known == rows {
            return;
        }
        let extent = place.file.clone().map(|file| Extent {
            file,
            from: 0,
            to: 0,
            records_to: rows_before + rows,
            header: None,
            is_plain: false,
        });
        let payload = Payload::Columns(batch.slice(known as usize, (rows - known) as usize));
        self.hand_over(Arc::clone(stream), rows_before + known, payload, extent);
    }

    fn block(&self, stream: Arc<str>, first_record: u64, payload: Payload, reply: Option<Reply>) -> Block {
        Block {
            source: self.source,
            payload,
            stream,
            first_record,
            extent: None,
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
        self.send_framed_by(framer, |wait| wait())
    }

    /// Hands over what the framer has ready; whatever has to wait for room does so within `waits`. For a thread that does
    /// other things as well, which somebody else has to do meanwhile.
    ///
    /// # Errors
    /// As [`Feed::send_framed`].
    pub fn send_framed_by(
        &self,
        framer: &mut Framer,
        waits: impl Fn(Box<dyn FnOnce() + '_>),
    ) -> Result<(), SourceError> {
        loop {
            let before = framer.records();
            match framer.next_payload() {
                Ok(Some(payload)) => {
                    // Of a batch, some rows may have been passed over.
                    let first_record = match &payload {
                        Payload::Encoded(rows) => framer.records() - rows.count() as u64,
                        _ => before,
                    };
                    let extent = framer.extent_of(&payload);
                    if let Some(block) = self.hand_over_now(framer.stream(), first_record, payload, extent) {
                        waits(Box::new(|| self.intake.push(block)));
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(SourceError::new(framer.stream().as_ref(), error)),
            }
        }
    }

    /// Hands over one payload. Waits for room, unless the source sheds: then it returns at once, and what there is no room
    /// for is counted and gone.
    pub fn send(&self, stream: Arc<str>, first_record: u64, payload: Payload) {
        self.hand_over(stream, first_record, payload, None);
    }

    fn hand_over(&self, stream: Arc<str>, first_record: u64, payload: Payload, extent: Option<Extent>) {
        if let Some(block) = self.hand_over_now(stream, first_record, payload, extent) {
            self.intake.push(block);
        }
    }

    /// Gives a block back if it has to wait.
    fn hand_over_now(
        &self,
        stream: Arc<str>,
        first_record: u64,
        payload: Payload,
        extent: Option<Extent>,
    ) -> Option<Block> {
        let mut block = self.block(stream, first_record, payload, None);
        block.extent = extent;
        if self.sheds {
            self.admit(block);
            return None;
        }
        self.put(block, Room::ReadAhead)
    }

    /// Gives a block back if it has no room.
    fn put(&self, block: Block, room: Room) -> Option<Block> {
        match self.hand.upgrade() {
            Some(hand) => hand.bring(block, room),
            None => self.intake.push_now(block, room),
        }
    }

    fn admit(&self, mut block: Block) {
        let payload = block.payload.clone();
        let least = self.intake.least_admitted(self.source, payload.bytes());
        let mut shed = ShedTally::default();
        let kept = match least {
            Some(Class::Other) => Some(payload),
            least => {
                // What is left is not what stands in the file.
                if let Some(extent) = &mut block.extent {
                    extent.is_plain = false;
                }
                self.classes.read().sift(self.source, payload, least, self.clock.wall_ms(), &mut shed)
            }
        };
        self.intake.note_shed(shed);
        if let Some(payload) = kept {
            // Who cannot wait for room does not wait for a sink either: he lends no hand.
            let refused = self.intake.push_now(Block { payload, ..block }, Room::LetIn);
            debug_assert!(refused.is_none(), "it has been let in");
        }
    }

    /// How far earlier runs have taken a stream of messages at a broker. `name` is one that no other stream of this source
    /// ever has, even one that is made anew in its place.
    pub fn place_in_stream(&self, name: &str) -> StreamPlace {
        let Some(positions) = &self.positions else { return StreamPlace { file: None, taken: None } };
        let file = FileId::of_stream(name);
        let taken = positions.iter().find(|known| known.file == file).map(|known| known.to);
        StreamPlace { file: Some(Arc::new(file)), taken }
    }

    /// Hands over messages of a broker, waiting for room, and asks for an answer. `upto` is where the stream has been taken
    /// once these messages are: what one run has taken of it, none takes again.
    pub fn take_messages(&self, stream: Arc<str>, payload: Payload, upto: Option<(&StreamPlace, u64)>, reply: Reply) {
        let mut block = self.block(stream, 0, payload, Some(reply));
        block.extent = upto.and_then(|(place, number)| place.extent(number));
        if let Some(block) = self.put(block, Room::ReadAhead) {
            self.intake.push(block);
        }
    }

    /// Hands over one payload if there is room, and asks for an answer.
    ///
    /// # Errors
    /// [`Busy`] when the intake is full; nothing was taken then.
    pub fn offer(&self, stream: Arc<str>, payload: Payload, reply: Reply) -> Result<(), Busy> {
        let refused = self.put(self.block(stream, 0, payload, Some(reply)), Room::Offered);
        if refused.is_some() { Err(Busy) } else { Ok(()) }
    }

    /// Whether what is offered now would be taken: whoever asks before he reads a request turns it away unread.
    pub fn has_room(&self) -> bool {
        self.intake.has_room()
    }

    /// Notes that devices said that they are there, without a record: one that says so does not count as silent. Windows do not
    /// wait for it. Where there is no room, nothing is noted: others are heard then.
    pub fn alive(&self, devices: Vec<Arc<str>>) {
        let _ = self.put(self.block(Arc::from("alive"), 0, Payload::Alive(devices), None), Room::Offered);
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

    /// Says that the source cannot do its work for now and will try again, or (`None`) that it goes on.
    pub fn say_trouble(&self, trouble: Option<String>) {
        self.progress
            .note_trouble(&format!("source {}", self.name), trouble.map(|message| (self.clock.wall_ms(), message)));
    }

    /// Counts records that were turned away before they were read, such as with 503.
    pub fn count_refused(&self, requests: u64) {
        self.intake.count_refused(self.source, requests);
    }
}

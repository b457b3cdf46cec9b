//! Arrow IPC, message by message (Arrow columnar format, "Serialization and interprocess communication").
//!
//! Where a message ends, what its schema and dictionaries are, and that it claims no more than its bytes can hold is found
//! out here; its columns are decoded by whoever knows which of them are wanted. The reader of Arrow believes what lengths a
//! message claims: it reserves that much memory, and panics or aborts where there is not so much.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow::ipc::{Message, MessageHeader, RecordBatch as EncodedBatch, root_as_message};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

#[cfg(test)]
mod tests;

use super::FrameError;
use crate::limits::{INFLATE_FREE_BYTES, INFLATE_RATIO_MAX, IPC_MESSAGE_BYTES_MAX, IPC_ROWS_MAX};

/// What a message begins with: a marker and the bytes of its metadata.
const HEAD_BYTES: usize = 8;
/// What a compressed buffer begins with: its length before it was compressed, or −1 if it was not.
const LENGTH_BYTES: usize = 8;

fn fault(what: impl Into<String>) -> FrameError {
    FrameError::Arrow { what: what.into() }
}

fn broken(error: impl std::fmt::Display) -> FrameError {
    fault(error.to_string())
}

/// Bytes of the next encapsulated message: `None` while too little is known, 0 at the end-of-stream marker.
pub(super) fn message_bytes(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(head) = buffer.get(..HEAD_BYTES) else {
        return Ok(None);
    };
    if head[..4] != [0xff; 4] {
        return Err(fault("no message where one should begin"));
    }
    let metadata = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if metadata == 0 {
        return Ok(Some(0));
    }
    if metadata > IPC_MESSAGE_BYTES_MAX {
        return Err(FrameError::ArrowTooLarge { bytes: metadata });
    }
    let Some(flatbuffer) = buffer.get(HEAD_BYTES..HEAD_BYTES + metadata) else {
        return Ok(None);
    };
    let body = root_as_message(flatbuffer).map_err(broken)?.bodyLength();
    let total = usize::try_from(body).ok().and_then(|body| body.checked_add(HEAD_BYTES + metadata));
    match total {
        Some(total) if total <= IPC_MESSAGE_BYTES_MAX => Ok(Some(total)),
        _ => Err(FrameError::ArrowTooLarge { bytes: total.unwrap_or(usize::MAX) }),
    }
}

/// A whole message: what it says of itself, and its buffers.
fn parts(message: &Bytes) -> Result<(Message<'_>, Bytes), FrameError> {
    let metadata = message_bytes(message)?
        .filter(|bytes| *bytes == message.len())
        .and_then(|_| message.get(4..HEAD_BYTES))
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
        .ok_or_else(|| fault("a message that is not whole"))?;
    let body = message.slice(HEAD_BYTES + metadata..);
    Ok((root_as_message(&message[HEAD_BYTES..HEAD_BYTES + metadata]).map_err(broken)?, body))
}

/// Rows of a batch that claims no more of anything than its body can hold, and their bytes before they were compressed.
fn size_of(batch: &EncodedBatch<'_>, body: &[u8]) -> Result<(usize, usize), FrameError> {
    let mut bytes = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let place = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let within = place.and_then(|(from, len)| body.get(from..from.checked_add(len)?));
        let within = within.ok_or_else(|| fault("a buffer lies outside of its message"))?;
        let claimed = match within.first_chunk::<LENGTH_BYTES>().filter(|_| batch.compression().is_some()) {
            Some(length) => i64::from_le_bytes(*length),
            None => -1,
        };
        let claimed = if claimed == -1 { Some(within.len() as u64) } else { u64::try_from(claimed).ok() };
        bytes = claimed
            .and_then(|claimed| bytes.checked_add(claimed))
            .ok_or_else(|| fault("a buffer of negative length"))?;
    }
    let bytes_max = INFLATE_FREE_BYTES.max(INFLATE_RATIO_MAX.saturating_mul(body.len() as u64));
    if bytes > bytes_max.min(IPC_MESSAGE_BYTES_MAX as u64) {
        return Err(FrameError::ArrowTooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) });
    }
    // Nulls of no type take no bytes: there are no more of them than there could be of anything else.
    let holds = |count: i64| u64::try_from(count).is_ok_and(|count| count <= bytes.max(1));
    let nodes = batch.nodes().into_iter().flatten();
    if !holds(batch.length()) || !nodes.into_iter().all(|node| holds(node.length()) && holds(node.null_count())) {
        return Err(fault(format!("a batch claims more rows than its {bytes} bytes can hold")));
    }
    match batch.length() as usize {
        rows if rows <= IPC_ROWS_MAX => Ok((rows, bytes as usize)),
        rows => Err(FrameError::ArrowRows { rows }),
    }
}

/// What a stream has told so far, for all batches that follow.
#[derive(Debug, Clone)]
struct Told {
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    /// The messages that told it, with the dictionary each holds.
    messages: Vec<(Option<i64>, Bytes)>,
}

impl Told {
    fn schema(message: &Message<'_>, whole: Bytes) -> Result<Self, FrameError> {
        let schema = message.header_as_schema().ok_or_else(|| fault("a schema is missing"))?;
        let schema = guarded(|| fb_to_schema(schema))?;
        Ok(Self { schema: Arc::new(schema), dictionaries: HashMap::new(), messages: vec![(None, whole)] })
    }

    fn dictionary(&mut self, message: &Message<'_>, body: Bytes, whole: Bytes) -> Result<(), FrameError> {
        let missing = || fault("a dictionary is missing");
        let dictionary = message.header_as_dictionary_batch().ok_or_else(missing)?;
        size_of(&dictionary.data().ok_or_else(missing)?, &body)?;
        let (body, version) = (Buffer::from(body), message.version());
        let Self { schema, dictionaries, messages } = self;
        guarded(|| read_dictionary(&body, dictionary, schema, dictionaries, &version))?.map_err(broken)?;
        if !dictionary.isDelta() {
            messages.retain(|(of, _)| *of != Some(dictionary.id()));
        }
        messages.push((Some(dictionary.id()), whole));
        let values: usize = dictionaries.values().map(|values| values.get_array_memory_size()).sum();
        match values + messages.iter().map(|(_, message)| message.len()).sum::<usize>() {
            bytes if bytes <= 2 * IPC_MESSAGE_BYTES_MAX => Ok(()),
            bytes => Err(FrameError::ArrowTooLarge { bytes }),
        }
    }
}

/// The reader has panicked on damaged metadata before (apache/arrow-rs#10437).
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, FrameError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| fault("damaged message"))
}

/// A stream of messages.
#[derive(Default)]
pub(super) struct IpcStream {
    told: Option<Arc<Told>>,
}

impl IpcStream {
    /// Takes a whole message; its rows, if it has any.
    pub(super) fn take(&mut self, whole: Bytes) -> Result<Option<EncodedRows>, FrameError> {
        let (message, body) = parts(&whole)?;
        let told = || fault("it does not begin with a schema");
        match message.header_type() {
            MessageHeader::Schema if self.told.is_none() => {
                self.told = Some(Arc::new(Told::schema(&message, whole.clone())?));
                Ok(None)
            }
            MessageHeader::DictionaryBatch => {
                let known = Arc::make_mut(self.told.as_mut().ok_or_else(told)?);
                known.dictionary(&message, body, whole.clone())?;
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let known = Arc::clone(self.told.as_ref().ok_or_else(told)?);
                let batch = message.header_as_record_batch().ok_or_else(|| fault("a batch is missing"))?;
                let (rows, bytes) = size_of(&batch, &body)?;
                let bytes = bytes.max(whole.len());
                Ok(Some(EncodedRows { told: known, message: whole, bytes, rows, passed_over: 0 }))
            }
            MessageHeader::Schema => Err(fault("a second schema")),
            MessageHeader::NONE => Ok(None),
            other => Err(fault(format!("a message of a kind that is not read: {other:?}"))),
        }
    }
}

/// Rows of a record batch as they came, still encoded.
#[derive(Debug, Clone)]
pub struct EncodedRows {
    told: Arc<Told>,
    message: Bytes,
    bytes: usize,
    rows: usize,
    passed_over: usize,
}

impl EncodedRows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows - self.passed_over
    }

    /// Bytes they take once they are decoded, all columns of them: what waits is bounded by what it will become.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows behind the first `known`.
    pub(super) fn behind(self, known: usize) -> Self {
        Self { passed_over: (self.passed_over + known).min(self.rows), ..self }
    }

    /// Decodes the columns whose names are wanted; of two of a name, the first. `None` if they are damaged.
    pub(crate) fn decode(&self, wanted: impl Fn(&str) -> bool) -> Option<RecordBatch> {
        guarded(|| {
            let (message, body) = parts(&self.message).ok()?;
            let (body, version) = (Buffer::from(body), message.version());
            let Told { schema, dictionaries, .. } = &*self.told;
            let columns = projection(schema, wanted);
            let batch = message.header_as_record_batch()?;
            let decoder = RecordBatchDecoder::try_new(&body, batch, Arc::clone(schema), dictionaries, &version).ok()?;
            let batch = decoder.with_projection(Some(&columns)).read_record_batch().ok()?;
            (batch.num_rows() == self.rows).then(|| batch.slice(self.passed_over, self.count()))
        })
        .ok()?
    }

    /// The messages of a stream that holds them alone, and how many of its rows are to be passed over.
    pub(crate) fn stream(&self) -> (Vec<u8>, u32) {
        let told = self.told.messages.iter().map(|(_, message)| message);
        let messages: Vec<&[u8]> = told.chain([&self.message]).map(|message| &message[..]).collect();
        (messages.concat(), self.passed_over as u32)
    }

    /// What [`EncodedRows::stream`] gave.
    pub(crate) fn of_stream(mut stream: Bytes, passed_over: u32) -> Result<Self, FrameError> {
        let mut messages = IpcStream::default();
        loop {
            let bytes = message_bytes(&stream)?.filter(|bytes| (1..=stream.len()).contains(bytes));
            let message = stream.split_to(bytes.ok_or_else(|| fault("no rows"))?);
            if let Some(rows) = messages.take(message)? {
                return Ok(rows.behind(passed_over as usize));
            }
        }
    }
}

fn projection(schema: &Schema, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut seen = HashSet::new();
    let names = schema.fields().iter().map(|field| field.name()).enumerate();
    names.filter(|(_, name)| wanted(name) && seen.insert(*name)).map(|(at, _)| at).collect()
}

//! Records as an Arrow IPC stream: one wide batch for all kinds, with the kind in a column.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, StringBuilder, StringDictionaryBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

use super::{Detail, Record};

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

const SYMBOLS: [&str; 14] = [
    "kind",
    "site",
    "device",
    "zone",
    "direction",
    "plate_color",
    "vehicle_class",
    "item_class",
    "unit",
    "doc_type",
    "issuer",
    "scheme",
    "status",
    "lane",
];
const TEXTS: [&str; 5] = ["event_id", "person_id", "plate", "doc_number", "holder"];
const NUMBERS: [&str; 3] = ["confidence", "speed_kmh", "quantity"];

/// Writes records as batches.
pub(crate) struct ArrowWriter<W: Write> {
    writer: StreamWriter<W>,
    schema: SchemaRef,
    ts: TimestampMillisecondBuilder,
    symbols: Vec<StringDictionaryBuilder<Int32Type>>,
    texts: Vec<StringBuilder>,
    numbers: Vec<Float64Builder>,
    rows: usize,
}

impl<W: Write> ArrowWriter<W> {
    pub(crate) fn new(out: W) -> Result<Self, ArrowError> {
        let symbol = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let mut fields = vec![Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false)];
        fields.extend(SYMBOLS.iter().map(|name| Field::new(*name, symbol.clone(), true)));
        fields.extend(TEXTS.iter().map(|name| Field::new(*name, DataType::Utf8, true)));
        fields.extend(NUMBERS.iter().map(|name| Field::new(*name, DataType::Float64, true)));
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            writer: StreamWriter::try_new(out, &schema)?,
            schema,
            ts: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            symbols: SYMBOLS.iter().map(|_| StringDictionaryBuilder::new()).collect(),
            texts: TEXTS.iter().map(|_| StringBuilder::new()).collect(),
            numbers: NUMBERS.iter().map(|_| Float64Builder::new()).collect(),
            rows: 0,
        })
    }

    pub(crate) fn push(&mut self, record: &Record) -> Result<(), ArrowError> {
        let event_id = format!("{}-{:010}", record.site, record.number);
        let lane = (record.number % 4 + 1).to_string();
        let mut values: Vec<(&str, &str)> =
            vec![("event_id", &event_id), ("site", &record.site), ("device", &record.device), ("zone", &record.zone)];
        let mut numbers: Vec<(&str, f64)> = Vec::new();
        match &record.detail {
            Detail::Person { person_id, direction, confidence } => {
                values.extend([("kind", "person"), ("person_id", person_id), ("direction", direction)]);
                numbers.push(("confidence", *confidence));
            }
            Detail::Vehicle { plate, colour, class, speed_kmh, confidence } => {
                values.extend([
                    ("kind", "vehicle"),
                    ("plate", plate),
                    ("plate_color", colour),
                    ("vehicle_class", class),
                    ("lane", &lane),
                ]);
                numbers.extend([("confidence", *confidence), ("speed_kmh", *speed_kmh)]);
            }
            Detail::Item { class, quantity, unit } => {
                values.extend([("kind", "item"), ("item_class", class), ("unit", unit)]);
                numbers.push(("quantity", *quantity));
            }
            Detail::Id { doc_type, doc_number, issuer } => {
                values.extend([("kind", "id"), ("doc_type", doc_type), ("doc_number", doc_number), ("issuer", issuer)]);
            }
            Detail::Code { holder, status } => {
                values.extend([("kind", "code"), ("holder", holder), ("scheme", "city-pass"), ("status", status)]);
            }
        }
        let text = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        self.ts.append_value(record.ts_ms);
        for (builder, name) in self.symbols.iter_mut().zip(SYMBOLS) {
            builder.append_option(text(name));
        }
        for (builder, name) in self.texts.iter_mut().zip(TEXTS) {
            builder.append_option(text(name));
        }
        for (builder, name) in self.numbers.iter_mut().zip(NUMBERS) {
            builder.append_option(numbers.iter().find(|(known, _)| *known == name).map(|(_, number)| *number));
        }
        self.rows += 1;
        if self.rows == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Writes what has been collected.
    pub(crate) fn flush(&mut self) -> Result<(), ArrowError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.ts.finish())];
        columns.extend(self.symbols.iter_mut().map(|builder| Arc::new(builder.finish_preserve_values()) as ArrayRef));
        columns.extend(self.texts.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        columns.extend(self.numbers.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        self.rows = 0;
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Writes the end of the stream.
    pub(crate) fn finish(mut self) -> Result<(), ArrowError> {
        self.flush()?;
        self.writer.finish()
    }
}

//! Outputs as the rows of a file: what is asked for most as columns, and all of it as JSON in the last one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::ArchiveFormat;

/// The column that holds an output as it was told.
const BODY: &str = "body";

/// What a column holds.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Text,
    Integer,
    Number,
    /// RFC 3339, or milliseconds since 1970; a timestamp of milliseconds in UTC.
    Time,
}

/// A column: its name, where it stands in the JSON (RFC 6901), and what it holds.
type Column = (&'static str, &'static str, Of);

const ALERTS: &[Column] = &[
    ("alert_id", "/alert_id", Of::Text),
    ("revision", "/revision", Of::Integer),
    ("ts", "/ts", Of::Time),
    ("rule", "/rule", Of::Text),
    ("pack", "/pack", Of::Text),
    ("purpose", "/purpose", Of::Text),
    ("severity", "/severity", Of::Text),
    ("review", "/review", Of::Text),
    ("kind", "/kind", Of::Text),
    ("site", "/site", Of::Text),
    ("zone", "/zone", Of::Text),
    ("device", "/device", Of::Text),
    ("level", "/level", Of::Text),
    ("change", "/change", Of::Text),
    ("value", "/value", Of::Number),
    ("completeness", "/completeness", Of::Number),
    ("window_start", "/window/start", Of::Time),
    ("window_end", "/window/end", Of::Time),
    ("list", "/hit/list", Of::Text),
    ("entry_id", "/hit/entry_id", Of::Text),
    ("grade", "/hit/grade", Of::Text),
    ("say", "/say", Of::Text),
];

const WINDOWS: &[Column] = &[
    ("rule", "/rule", Of::Text),
    ("purpose", "/purpose", Of::Text),
    ("zone", "/key/zone", Of::Text),
    ("site", "/key/site", Of::Text),
    ("device", "/key/device", Of::Text),
    ("window_start", "/start_ms", Of::Time),
    ("window_end", "/end_ms", Of::Time),
    ("revision", "/revision", Of::Integer),
    ("measure", "/measure", Of::Text),
    ("value", "/value", Of::Number),
    ("margin", "/margin", Of::Number),
    ("completeness", "/completeness", Of::Number),
];

/// The columns of a stream.
fn columns_of(stream: &str) -> &'static [Column] {
    if stream == "windows" { WINDOWS } else { ALERTS }
}

/// Lines of JSON, each an output of `stream`, as a file. A line that is not whole is left out.
pub(super) fn file_of<'a>(
    stream: &str,
    format: ArchiveFormat,
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<u8>, ParquetError> {
    let batch = batch(stream, lines)?;
    match format {
        ArchiveFormat::Parquet => parquet(&batch),
        ArchiveFormat::Arrow => Ok(arrow_ipc(&batch)?),
    }
}

fn batch<'a>(stream: &str, lines: impl Iterator<Item = &'a str>) -> Result<RecordBatch, ArrowError> {
    let columns = columns_of(stream);
    let mut builders: Vec<Builder> = columns.iter().map(|(.., of)| Builder::new(*of)).collect();
    let mut bodies = StringBuilder::new();
    for line in lines {
        let Ok(output) = serde_json::from_str::<Value>(line) else { continue };
        for ((_, place, _), builder) in columns.iter().zip(&mut builders) {
            builder.append(output.pointer(place));
        }
        bodies.append_value(line);
    }
    let field = |(name, _, of): &Column| Field::new(*name, of.data_type(), true);
    let body = Field::new(BODY, DataType::Utf8, false);
    let schema = Arc::new(Schema::new(columns.iter().map(field).chain([body]).collect::<Vec<_>>()));
    let mut arrays: Vec<ArrayRef> = builders.into_iter().map(Builder::finish).collect();
    arrays.push(Arc::new(bodies.finish()));
    RecordBatch::try_new(schema, arrays)
}

fn parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(file)
}

fn arrow_ipc(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut file = Vec::new();
    let mut writer = FileWriter::try_new_with_options(&mut file, &batch.schema(), options)?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(file)
}

impl Of {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Time(TimestampMillisecondBuilder),
}

impl Builder {
    fn new(of: Of) -> Self {
        match of {
            Of::Text => Self::Text(StringBuilder::new()),
            Of::Integer => Self::Integer(Int64Builder::new()),
            Of::Number => Self::Number(Float64Builder::new()),
            Of::Time => Self::Time(TimestampMillisecondBuilder::new().with_data_type(of.data_type())),
        }
    }

    fn append(&mut self, value: Option<&Value>) {
        match self {
            Self::Text(builder) => builder.append_option(value.and_then(Value::as_str)),
            // A revision of 0 is left out of windows.
            Self::Integer(builder) => builder.append_value(value.and_then(Value::as_i64).unwrap_or(0)),
            Self::Number(builder) => builder.append_option(value.and_then(Value::as_f64)),
            Self::Time(builder) => {
                let written = |text: &str| text.parse().ok().map(Timestamp::as_millisecond);
                builder.append_option(value.and_then(|it| it.as_i64().or_else(|| it.as_str().and_then(written))));
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
        }
    }
}

//! Records that come as columns are judged as the same records that come as text, however their texts are encoded.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use common::{Collect, NOW_MS, parse_pack};
use proptest::prelude::*;
use weir_engine::clock::ManualClock;
use weir_engine::record::Pseudonyms;
use weir_engine::{Feed, Format, Pipeline, SinkSpec, Source, SourceError, SourceSpec, Stream};
use weir_rules::Catalog;

const PACK: &str = r#"
weir: 1
pack: columns
owner: tests
purposes: { p: { legal_basis: "act 1" } }
rules:
  - { id: fast, kind: match, from: vehicle, where: "zone in ('a', 'b')", purpose: p, say: "{plate} {site} {device} {lane} {plate_color} {speed_kmh}" }
  - { id: seen, kind: match, from: person, where: "direction = 'in'", purpose: p, say: "{zone} {site} {confidence}" }
  - { id: many, kind: window, from: vehicle, key: [zone], measure: distinct(plate), window: { every: 10s }, emit: windows, purpose: p }
"#;

/// Columns of texts; the rest are numbers.
const TEXTS: [&str; 9] = ["kind", "event_id", "site", "device", "zone", "lane", "plate", "plate_color", "direction"];

/// The bytes of a stream, all at once.
struct Whole(Vec<u8>);

impl Source for Whole {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("test");
        framer.push(&self.0);
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

type Record = BTreeMap<&'static str, String>;

/// How the texts of a column are encoded.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Plain,
    Large,
    View,
    /// Numbered by the records' own order, with each text as often as it comes.
    Repeating,
    /// Numbered backwards, each text once, behind one that is null.
    Numbered,
    /// The same with more texts than there are rows.
    Long,
}

fn encode(texts: &[Option<&str>], encoding: Encoding) -> ArrayRef {
    let mut values: Vec<Option<&str>> = vec![None];
    values.extend(texts.iter().rev().flatten().map(|text| Some(*text)));
    values.dedup();
    let more: Vec<String> = (0..100).map(|number| format!("never used {number}")).collect();
    if matches!(encoding, Encoding::Long) {
        values.extend(more.iter().map(|text| Some(text.as_str())));
    }
    // What has no text has no key, or one that leads to null.
    let key = |(row, text): (usize, Option<&str>)| match text {
        None if row % 2 == 0 => None,
        text => Some(values.iter().position(|value| *value == text).expect("it is there") as i32),
    };
    match encoding {
        Encoding::Plain => Arc::new(StringArray::from_iter(texts)),
        Encoding::Large => Arc::new(LargeStringArray::from_iter(texts)),
        Encoding::View => Arc::new(StringViewArray::from_iter(texts)),
        Encoding::Repeating => {
            let keys: Int16Array = texts.iter().enumerate().map(|(row, text)| text.map(|_| row as i16)).collect();
            let values: StringArray = texts.iter().map(|text| Some(text.unwrap_or("nobody"))).collect();
            Arc::new(DictionaryArray::<Int16Type>::try_new(keys, Arc::new(values)).unwrap())
        }
        Encoding::Numbered | Encoding::Long => {
            let keys: Int32Array = texts.iter().copied().enumerate().map(key).collect();
            let values = StringArray::from_iter(values.clone());
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values)).unwrap())
        }
    }
}

/// The records as an Arrow IPC stream of batches of so many rows.
fn columns(records: &[Record], encodings: &[Encoding], rows: usize) -> Vec<u8> {
    let mut batches = records.chunks(rows).map(|records| batch(records, encodings)).peekable();
    let schema = batches.peek().expect("there are records").schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    batches.for_each(|batch| writer.write(&batch).unwrap());
    writer.into_inner().unwrap()
}

fn batch(records: &[Record], encodings: &[Encoding]) -> RecordBatch {
    let texts = |name: &&'static str| -> Vec<Option<&str>> {
        records.iter().map(|record| record.get(name).map(String::as_str)).collect()
    };
    let mut arrays: Vec<(&str, ArrayRef)> =
        TEXTS.iter().zip(encodings).map(|(name, encoding)| (*name, encode(&texts(name), *encoding))).collect();
    let numbers = |name: &'static str| -> Int64Array {
        records.iter().map(|record| record.get(name).map(|text| text.parse::<i64>().unwrap())).collect()
    };
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    arrays.push(("ts", cast(&numbers("ts"), &millis).unwrap()));
    arrays.push(("speed_kmh", cast(&numbers("speed_kmh"), &DataType::Float64).unwrap()));
    arrays.push(("confidence", Arc::new(numbers("confidence"))));
    let fields: Vec<Field> =
        arrays.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn lines(records: &[Record]) -> Vec<u8> {
    let mut text = String::new();
    for record in records {
        let values: Vec<String> = record
            .iter()
            .map(
                |(name, value)| {
                    if TEXTS.contains(name) { format!("{name:?}:{value:?}") } else { format!("{name:?}:{value}") }
                },
            )
            .collect();
        text.push_str(&format!("{{{}}}\n", values.join(",")));
    }
    text.into_bytes()
}

/// Alerts and windows, sorted, and what became of the records.
fn judged(format: Format, bytes: Vec<u8>) -> (Vec<String>, String) {
    let pack = parse_pack(PACK);
    let collect = Collect::default();
    let outputs = Arc::clone(&collect.0);
    let sink = SinkSpec {
        name: "all".to_owned(),
        purposes: vec!["p".to_owned()],
        streams: [Stream::Alerts, Stream::Windows].into(),
        actuator: false,
        reviewers: true,
    };
    let pipeline = Pipeline::builder(Catalog::builtin())
        .shared_pack(pack, Vec::new())
        .shards(1)
        .clock(Arc::new(ManualClock::at(NOW_MS)))
        .pseudonyms(Pseudonyms::from_root(&[7; 32]))
        .source(SourceSpec::new("test", format), Whole(bytes))
        .sink(sink, collect);
    let summary = pipeline.build().unwrap().run().unwrap();
    let mut told: Vec<String> = outputs.lock().unwrap().iter().map(common::without_latency).collect();
    told.sort();
    (told, format!("{:?} {:?}", summary.total(), summary.rejected_by_cause))
}

/// A record, of which much may be missing.
fn record() -> impl Strategy<Value = Record> {
    let values = proptest::collection::vec(0_usize..12, TEXTS.len() + 3);
    (values, 0_i64..60).prop_map(|(values, second)| {
        let mut record = Record::new();
        for (name, value) in TEXTS.iter().zip(&values) {
            let text = match *name {
                "kind" => ["vehicle", "vehicle", "person", "person", "vehicle", "nobody knows"].get(value % 7),
                "event_id" => {
                    record.insert(name, format!("e{}", second * 12 + *value as i64));
                    continue;
                }
                "site" | "device" => ["d1", "d2", "d3", "a name that does not fit a word", "d1", "d4"].get(value % 7),
                "zone" => ["a", "b", "c", "a;b", ""].get(*value),
                "direction" => ["in", "out", "IN"].get(value % 4),
                "plate" => ["京A12345", "京 a-12345", "沪B00001", "x"].get(*value),
                "plate_color" => ["blue", "green", "no colour"].get(*value),
                _ => ["1", "2", "lane 3"].get(*value),
            };
            if let Some(text) = text {
                record.insert(name, (*text).to_owned());
            }
        }
        let [ts, speed, confidence] = [values[TEXTS.len()], values[TEXTS.len() + 1], values[TEXTS.len() + 2]];
        if ts > 0 {
            record.insert("ts", (NOW_MS - 60_000 + second * 1_000).to_string());
        }
        if speed < 8 {
            record.insert("speed_kmh", speed.to_string());
        }
        if confidence < 4 {
            record.insert("confidence", confidence.to_string());
        }
        record
    })
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Plain),
        Just(Encoding::Large),
        Just(Encoding::View),
        Just(Encoding::Repeating),
        Just(Encoding::Numbered),
        Just(Encoding::Long),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn columns_are_judged_as_lines_are(
        records in proptest::collection::vec(record(), 1..80),
        encodings in proptest::collection::vec(encoding(), TEXTS.len()),
        rows in 1_usize..90,
    ) {
        let (as_lines, account) = judged(Format::Ndjson, lines(&records));
        let (as_columns, same) = judged(Format::ArrowIpc, columns(&records, &encodings, rows));
        prop_assert_eq!(as_columns, as_lines);
        prop_assert_eq!(same, account);
    }
}

#[test]
fn every_encoding_tells_the_same_alert() {
    let values = [("kind", "vehicle"), ("event_id", "e1"), ("site", "s"), ("device", "d"), ("zone", "a")];
    let mut record: Record = values.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    record.insert("ts", NOW_MS.to_string());
    for encoding in
        [Encoding::Plain, Encoding::Large, Encoding::View, Encoding::Repeating, Encoding::Numbered, Encoding::Long]
    {
        let (told, _) =
            judged(Format::ArrowIpc, columns(&[record.clone(), Record::new()], &[encoding; TEXTS.len()], 2));
        assert!(told.len() == 2 && told[0].contains("\"zone\":\"a\""), "{encoding:?}: {told:?}");
    }
}

/// A batch whose texts cannot be read takes no other along, and what nobody asks for may be damaged.
#[test]
fn the_rows_of_a_damaged_batch_are_refused_one_by_one() {
    let values = [("kind", "vehicle"), ("site", "s"), ("device", "d"), ("zone", "a")];
    let record = |number: i64, plate: &str| {
        let mut record: Record = values.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        record.insert("event_id", format!("e{number}"));
        record.insert("plate", plate.to_owned());
        record.insert("ts", (NOW_MS - number).to_string());
        record
    };
    let records = [record(1, "京A00001"), record(2, "京B00002"), record(3, "京B00003"), record(4, "京C00004")];
    let whole = columns(&records, &[Encoding::Plain; TEXTS.len()], 2);
    let damaged = |text: &str| {
        let mut bytes = whole.clone();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there");
        bytes[at] = 0xff;
        bytes
    };
    let (told, account) = judged(Format::ArrowIpc, damaged("京B00002"));
    assert!(told.iter().any(|alert| alert.contains("京B00003")), "{told:?}");
    assert!(!told.iter().any(|alert| alert.contains("京A00001")), "its batch has no plates: {told:?}");
    assert!(account.contains("rejected: 2") && account.contains("bad_event"), "{account}");
    // A column that nobody asks for is not looked at.
    let rows = batch(&records, &[Encoding::Plain; TEXTS.len()]);
    let (schema, mut arrays, _) = rows.into_parts();
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new("remark", DataType::Utf8, true)));
    arrays.push(Arc::new(StringArray::from(vec!["a remark of nobody"; 4])));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    let mut bytes = writer.into_inner().unwrap();
    let at = bytes.windows(8).position(|window| window == b"a remark").expect("it is there");
    bytes[at] = 0xff;
    let (told, account) = judged(Format::ArrowIpc, bytes);
    assert!(account.contains("rejected: 0"), "{account}");
    assert_eq!(told, judged(Format::ArrowIpc, whole).0);
}

/// Thirty thousand rows that name one text of a hundred kilobytes each: three gigabytes in a message of half a megabyte.
#[test]
fn a_text_that_is_named_many_times_is_not_copied_as_often() {
    const ROWS: usize = 30_000;
    let long = "x".repeat(100_000);
    let item = |items: &dyn Array| Arc::new(Field::new("item", items.data_type().clone(), true));
    let list = |items: ArrayRef| {
        let offsets = OffsetBuffer::from_lengths(vec![1; ROWS]);
        Arc::new(ListArray::try_new(item(&items), offsets, items, None).unwrap()) as ArrayRef
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
    let named: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(vec![0; ROWS].into(), texts).unwrap());
    // One block of text, and as many views of it.
    let views = StringViewArray::from_iter_values([long.as_str()]);
    let views = arrow::compute::take(&views, &Int32Array::from(vec![0; ROWS]), None).unwrap();
    let keys: Int32Array = (0..ROWS as i32).collect();
    let numbered: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&views)).unwrap());
    for (column, refused) in [
        (list(Arc::clone(&named)), "bad_event"),
        (list(views), "bad_event"),
        (numbered, "bad_event"),
        // Of lists of lists no field is made: without a kind the rows are refused one by one.
        (list(list(named)), "no_kind"),
    ] {
        let what = column.data_type().to_string();
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("e{row}"))));
        let rows = RecordBatch::try_from_iter([("event_id", ids), ("plate", column)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        writer.write(&rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert!(bytes.len() < 3_000_000, "{what}: {} bytes", bytes.len());
        let (told, account) = judged(Format::ArrowIpc, bytes);
        assert!(told.is_empty() && account.contains(refused), "{what}: {account}");
        assert!(account.contains(&format!("rejected: {ROWS}")), "{what}: {account}");
    }
}

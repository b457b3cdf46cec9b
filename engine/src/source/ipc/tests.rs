use arrow::array::{Array, DictionaryArray, Int8Array, Int32Array, Int64Array, ListArray, NullArray, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatchOptions;

use super::*;

/// The messages of a stream of batches.
fn messages(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<Bytes> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    let mut stream = Bytes::from(writer.into_inner().unwrap());
    let next = || Some(stream.split_to(message_bytes(&stream).unwrap().filter(|bytes| *bytes > 0)?));
    std::iter::from_fn(next).collect()
}

fn zstd() -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap()
}

fn taken(messages: &[Bytes]) -> Result<Vec<EncodedRows>, FrameError> {
    let mut stream = IpcStream::default();
    messages.iter().filter_map(|message| stream.take(message.clone()).transpose()).collect()
}

/// Texts that are numbered, with more of them in every batch, and numbers.
fn batch(number: i32) -> RecordBatch {
    let texts: StringArray = (0..=number).map(|text| Some(format!("text {text}"))).collect();
    let keys: Int32Array = (0..10).map(|row| (row % 3 != 0).then_some(row % (number + 1))).collect();
    let plates = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts)).unwrap();
    let times: Int64Array = (0..10).map(|row| Some(i64::from(number) * 10 + row)).collect();
    let sites: StringArray = (0..10).map(|row| Some(format!("site {row}"))).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("plate", Arc::new(plates)), ("ts", Arc::new(times)), ("site", Arc::new(sites))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn the_columns_that_are_wanted_are_those_that_were_written() {
    let batches: Vec<RecordBatch> = (0..4).map(batch).collect();
    let deltas = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    for options in [IpcWriteOptions::default(), zstd(), deltas] {
        let rows = taken(&messages(&batches, options)).unwrap();
        assert_eq!(rows.len(), 4);
        for (rows, batch) in rows.iter().zip(&batches) {
            for wanted in [&["plate", "ts", "site"][..], &["ts"], &["site", "plate"], &[]] {
                let columns = rows.decode(|name| wanted.contains(&name)).unwrap();
                assert_eq!((columns.num_columns(), columns.num_rows()), (wanted.len(), 10));
                for name in wanted {
                    assert_eq!(columns.column_by_name(name).unwrap(), batch.column_by_name(name).unwrap());
                }
            }
            let behind = rows.clone().behind(4);
            let plates = behind.decode(|name| name == "plate").unwrap();
            assert_eq!((behind.count(), plates.column(0)), (6, &batch.column(0).slice(4, 6)));
            // What is kept of them is the same rows.
            let (stream, passed_over) = behind.stream();
            let again = EncodedRows::of_stream(stream.into(), passed_over).unwrap();
            assert_eq!((again.count(), again.decode(|_| true)), (6, behind.decode(|_| true)));
        }
    }
}

#[test]
fn of_two_columns_of_a_name_the_first_is_read() {
    let column = |number| Arc::new(Int64Array::from(vec![number])) as ArrayRef;
    let fields = ["ts", "x", "ts"].map(|name| Field::new(name, DataType::Int64, true));
    let columns = vec![column(1), column(2), column(3)];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap();
    let rows = taken(&messages(&[batch], IpcWriteOptions::default())).unwrap();
    let read = rows[0].decode(|name| name == "ts").unwrap();
    assert_eq!((read.num_columns(), read.column(0)), (1, &column(1)));
}

/// A message with its body changed, or with more claimed in it.
fn claiming(message: &Bytes, from: i64, to: i64) -> Bytes {
    let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
    let mut bytes = message.to_vec();
    let places: Vec<usize> = (0..bytes.len() - 7).filter(|at| bytes[*at..].starts_with(&from)).collect();
    assert!(!places.is_empty(), "what is to be changed is there");
    for at in places {
        bytes[at..at + 8].copy_from_slice(&to);
    }
    bytes.into()
}

#[test]
fn nobody_reserves_what_a_message_only_claims() {
    // 77,777 numbers, whose length before they were compressed stands in the body.
    let many: Int64Array = (0..77_777).map(|number| Some(number % 7)).collect();
    let batch = RecordBatch::try_from_iter([("ts", Arc::new(many) as ArrayRef)]).unwrap();
    let [schema, rows] = &messages(&[batch], zstd())[..] else { panic!("two messages") };
    let whole = &taken(&[schema.clone(), rows.clone()]).unwrap()[0];
    assert!(whole.count() == 77_777 && rows.len() < 10_000);
    assert!(whole.bytes() >= 77_777 * 8, "what waits counts as what it becomes: {}", whole.bytes());
    for claimed in [1 << 30, 1 << 40, i64::MAX] {
        let refused = taken(&[schema.clone(), claiming(rows, 77_777 * 8, claimed)]);
        assert!(matches!(refused, Err(FrameError::ArrowTooLarge { .. })), "{claimed}: {refused:?}");
    }
    let negative = taken(&[schema.clone(), claiming(rows, 77_777 * 8, -2)]);
    assert!(matches!(negative, Err(FrameError::Arrow { .. })), "{negative:?}");
    // Rows without a byte.
    for claimed in [700_000, 1 << 40, i64::MAX, -1] {
        let refused = taken(&[schema.clone(), claiming(rows, 77_777, claimed)]);
        assert!(matches!(refused, Err(FrameError::Arrow { .. })), "{claimed}: {refused:?}");
    }
    let none = RecordBatchOptions::new().with_row_count(Some(1 << 30));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &none).unwrap();
    assert!(matches!(taken(&messages(&[none], zstd())), Err(FrameError::Arrow { .. })));
    let nulls = RecordBatch::try_from_iter([("ts", Arc::new(NullArray::new(1 << 30)) as ArrayRef)]).unwrap();
    assert!(matches!(taken(&messages(&[nulls], zstd())), Err(FrameError::Arrow { .. })));
}

#[test]
fn nulls_in_lists_are_no_more_than_bytes() {
    let offsets = arrow::buffer::OffsetBuffer::new(vec![0, 1 << 30].into());
    let item = Arc::new(Field::new("item", DataType::Null, true));
    let list = ListArray::try_new(item, offsets, Arc::new(NullArray::new(1 << 30)), None).unwrap();
    let batch = RecordBatch::try_from_iter([("plate", Arc::new(list) as ArrayRef)]).unwrap();
    assert!(matches!(taken(&messages(&[batch], zstd())), Err(FrameError::Arrow { .. })));
}

#[test]
fn a_batch_has_no_more_rows_than_are_read() {
    let batch = |rows: usize| {
        RecordBatch::try_from_iter([("lane", Arc::new(Int8Array::from(vec![1; rows])) as ArrayRef)]).unwrap()
    };
    let read = |rows| taken(&messages(&[batch(rows)], IpcWriteOptions::default())).map(|rows| rows[0].count());
    assert_eq!(read(IPC_ROWS_MAX), Ok(IPC_ROWS_MAX));
    assert_eq!(read(IPC_ROWS_MAX + 1), Err(FrameError::ArrowRows { rows: IPC_ROWS_MAX + 1 }));
}

#[test]
fn dictionaries_are_bounded_however_many_messages_they_come_in() {
    let deltas = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let long = "x".repeat(30_000_000);
    let batch = |number: i32| {
        let texts: StringArray = (0..=number).map(|text| Some(format!("{text}{long}"))).collect();
        let plates = DictionaryArray::<Int32Type>::try_new(vec![number].into(), Arc::new(texts)).unwrap();
        RecordBatch::try_from_iter([("plate", Arc::new(plates) as ArrayRef)]).unwrap()
    };
    let all = messages(&[batch(0), batch(1)], deltas);
    let mut stream = IpcStream::default();
    for message in &all {
        stream.take(message.clone()).unwrap();
    }
    // The text of the second batch once more, and once more.
    let refused = (0..100).find(|_| stream.take(all[3].clone()).is_err());
    assert!(refused.is_some_and(|refused| (4..20).contains(&refused)), "{refused:?}");
}

#[test]
fn whatever_is_changed_is_refused_at_once_or_later_or_read() {
    let batches = [batch(2), batch(3)];
    for options in [IpcWriteOptions::default(), zstd()] {
        let all = messages(&batches, options);
        let (mut refused, mut damaged, mut read) = (0, 0, 0);
        for (number, message) in all.iter().enumerate() {
            for at in 0..message.len() {
                for bit in [0, 3, 7] {
                    let mut bytes = message.to_vec();
                    bytes[at] ^= 1 << bit;
                    let mut changed = all.clone();
                    changed[number] = bytes.into();
                    let Ok(rows) = taken(&changed) else {
                        refused += 1;
                        continue;
                    };
                    for rows in rows {
                        // Whether its columns are damaged or not, this is how many rows are answered for.
                        assert!(rows.count() <= rows.bytes());
                        match rows.decode(|name| name != "site") {
                            Some(_) => read += 1,
                            None => damaged += 1,
                        }
                    }
                }
            }
        }
        assert!(refused > 100 && damaged > 100 && read > 100, "{refused} refused, {damaged} damaged, {read} read");
    }
}

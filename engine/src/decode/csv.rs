//! One CSV record (RFC 4180) into fields. Framing has found its ends already.

use csv_core::{ReadRecordResult, Reader};

use crate::record::{Cause, Reason};

/// Fields of one record, reused from record to record.
#[derive(Debug)]
pub(crate) struct Row {
    /// Kept, because making one builds its state table.
    reader: Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
}

impl Default for Row {
    fn default() -> Self {
        Self { reader: Reader::new(), bytes: Vec::new(), ends: vec![0; COLUMNS_MAX], fields: 0 }
    }
}

impl Row {
    /// A field, or nothing where the record is short.
    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        if index >= self.fields {
            return None;
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        std::str::from_utf8(&self.bytes[start..self.ends[index]]).ok()
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields
    }
}

/// Most columns of a CSV record.
const COLUMNS_MAX: usize = 1024;

/// Takes one record apart.
pub(crate) fn parse_row(record: &str, row: &mut Row) -> Result<(), Cause> {
    if row.bytes.len() <= record.len() {
        row.bytes.resize(record.len() + 1, 0);
    }
    row.fields = 0;
    row.reader.reset();
    let (mut read, mut written, mut ended) = (0, 0, 0);
    loop {
        let (result, used, wrote, ends) =
            row.reader.read_record(&record.as_bytes()[read..], &mut row.bytes[written..], &mut row.ends[ended..]);
        read += used;
        written += wrote;
        ended += ends;
        match result {
            ReadRecordResult::Record => {
                row.fields = ended;
                return Ok(());
            }
            // An empty slice tells the reader that the record is over.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => {
                return Err(Reason::Csv { what: "a field is longer than its record" }.into());
            }
            ReadRecordResult::OutputEndsFull => {
                return Err(Reason::Csv { what: "more than 1,024 columns" }.into());
            }
            ReadRecordResult::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_short_records() {
        let mut row = Row::default();
        parse_row("a,\"b,\"\"x\"\"\ny\",,陕", &mut row).unwrap();
        assert_eq!(
            (0..5).map(|i| row.get(i)).collect::<Vec<_>>(),
            [Some("a"), Some("b,\"x\"\ny"), Some(""), Some("陕"), None]
        );
        parse_row("", &mut row).unwrap();
        assert_eq!(row.len(), 0);
    }
}

//! Messages of a broker as records: each holds one object of JSON, or an array of them.

use bytes::Bytes;
use weir_engine::decode::json::array_elements;
use weir_engine::source::{Format, Payload};

/// Messages that are handed over at once.
pub(super) const BATCH_MESSAGES_MAX: usize = 4_096;

/// Messages on their way into the pipeline, as lines of NDJSON.
pub(super) struct Batch<'a> {
    lines: Vec<u8>,
    /// The column that says where a message was sent to.
    address_as: Option<&'a str>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(address_as: Option<&'a str>) -> Self {
        Self { lines: Vec::new(), address_as }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Adds a message; `address` is its topic or subject.
    pub(super) fn push(&mut self, address: &str, message: &[u8]) {
        let text = message.trim_ascii();
        let elements = if text.first() == Some(&b'[') { std::str::from_utf8(text).ok() } else { None };
        match elements.and_then(|text| array_elements(text).ok()) {
            Some(ranges) => {
                for range in ranges {
                    self.push_record(address, &text[range.start as usize..range.end as usize]);
                }
            }
            // What is neither is refused where records are read, with its reason.
            None => self.push_record(address, text),
        }
    }

    fn push_record(&mut self, address: &str, record: &[u8]) {
        let within = self.address_as.and_then(|column| Some((column, record.strip_prefix(b"{")?)));
        let rest = match within {
            None => record,
            Some((column, rest)) => {
                let (column, address) = (serde_json::Value::from(column), serde_json::Value::from(address));
                self.lines.extend_from_slice(format!("{{{column}:{address}").as_bytes());
                if rest.trim_ascii_start().first() != Some(&b'}') {
                    self.lines.push(b',');
                }
                rest
            }
        };
        // A line break within JSON is white space.
        self.lines.extend(rest.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        self.lines.push(b'\n');
    }

    pub(super) fn into_payload(self) -> Payload {
        Payload::Lines { bytes: Bytes::from(self.lines), format: Format::Ndjson, header: None }
    }
}

/// The lines that a message brings.
pub fn message_lines_of(address_as: Option<&str>, address: &str, message: &[u8]) -> Vec<u8> {
    let mut batch = Batch::new(address_as);
    batch.push(address, message);
    batch.lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_one_record_or_several() {
        let lines = |address_as, message: &str| {
            String::from_utf8(message_lines_of(address_as, "gates/\"7\"", message.as_bytes())).unwrap()
        };
        assert_eq!(lines(None, "{\"a\":1}"), "{\"a\":1}\n");
        assert_eq!(lines(None, " {\n \"a\": 1\r\n}\n"), "{  \"a\": 1  }\n");
        assert_eq!(lines(None, "[{\"a\":1},\n{\"a\":[2]}]"), "{\"a\":1}\n{\"a\":[2]}\n");
        assert_eq!(lines(None, "[]"), "");
        // What is wrong with these is told where records are read.
        assert_eq!(lines(None, "[{\"a\":1}"), "[{\"a\":1}\n");
        assert_eq!(lines(None, "17"), "17\n");
        assert_eq!(lines(None, ""), "\n");
        assert_eq!(lines(Some("topic"), "{\"a\":1}"), "{\"topic\":\"gates/\\\"7\\\"\",\"a\":1}\n");
        assert_eq!(lines(Some("topic"), "[{ }, 1]"), "{\"topic\":\"gates/\\\"7\\\"\" }\n1\n");
        assert_eq!(message_lines_of(None, "", b"\xff"), b"\xff\n");
    }
}

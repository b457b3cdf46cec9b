//! Records as lines of JSON.

use std::fmt::Write;

use super::{Detail, Record};
use crate::generate::files::utc;

/// Appends one line with its line feed.
pub(crate) fn write_line(record: &Record, line: &mut String) {
    let kind = match record.detail {
        Detail::Person { .. } => "person",
        Detail::Vehicle { .. } => "vehicle",
        Detail::Item { .. } => "item",
        Detail::Id { .. } => "id",
        Detail::Code { .. } => "code",
    };
    // Writing to a string cannot fail.
    let _ = write!(
        line,
        r#"{{"kind":"{kind}","event_id":"{}-{:010}","ts":"{}","site":"{}","device":"{}","zone":"{}""#,
        record.site,
        record.number,
        utc(record.ts_ms),
        record.site,
        record.device,
        record.zone
    );
    let _ = match &record.detail {
        Detail::Person { person_id, direction, confidence } => {
            write!(line, r#","person_id":"{person_id}","direction":"{direction}","confidence":{confidence}"#)
        }
        Detail::Vehicle { plate, colour, class, speed_kmh, confidence } => write!(
            line,
            r#","lane":"{}","plate":"{plate}","plate_color":"{colour}","vehicle_class":"{class}","speed_kmh":{speed_kmh},"confidence":{confidence}"#,
            record.number % 4 + 1
        ),
        Detail::Item { class, quantity, unit } => {
            write!(line, r#","item_class":"{class}","quantity":{quantity},"unit":"{unit}""#)
        }
        Detail::Id { doc_type, doc_number, issuer } => {
            write!(
                line,
                r#","doc_type":"{doc_type}","doc_number":"{doc_number}","issuer":"{issuer}","decision":"pass""#
            )
        }
        Detail::Code { holder, status } => {
            write!(line, r#","holder":"{holder}","scheme":"city-pass","status":"{status}""#)
        }
    };
    line.push_str("}\n");
}

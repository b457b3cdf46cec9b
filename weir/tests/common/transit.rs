//! A feed of GTFS-realtime, written byte by byte after gtfs-realtime.proto 2.0.
#![allow(unreachable_pub, missing_docs, reason = "nobody outside sees them")]

/// A varint.
fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn number(tag: u64, number: u64) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3, &mut field);
    varint(number, &mut field);
    field
}

fn bytes(tag: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = Vec::new();
    varint(tag << 3 | 2, &mut field);
    varint(content.as_ref().len() as u64, &mut field);
    field.extend(content.as_ref());
    field
}

/// A vehicle on route 7: id, time, status, per cent. Where it is, its label and its plate are in the feed, and not taken.
pub fn vehicle(id: &str, at: u64, status: Option<u64>, per_cent: Option<u64>) -> Vec<u8> {
    let trip = [bytes(1, "trip-1"), bytes(5, "7")].concat();
    let position = [0x0d_u8, 0, 0, 0x30, 0x42, 0x15, 0, 0, 0x80, 0x41];
    let descriptor = [bytes(1, id), bytes(2, "canary-label"), bytes(3, "CANARY1")].concat();
    let mut vehicle =
        [bytes(1, trip), bytes(2, position), number(5, at), bytes(7, "stop-9"), bytes(8, descriptor)].concat();
    vehicle.extend(status.into_iter().flat_map(|status| number(9, status)));
    vehicle.extend(per_cent.into_iter().flat_map(|per_cent| number(10, per_cent)));
    bytes(2, [bytes(1, format!("entity-{id}")), bytes(4, vehicle)].concat())
}

/// A feed of these.
pub fn feed(vehicles: &[Vec<u8>]) -> Vec<u8> {
    let header = [bytes(1, "2.0"), number(2, 0), number(3, 1_790_000_000)].concat();
    [bytes(1, header), vehicles.concat()].concat()
}

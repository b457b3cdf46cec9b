//! One record in a segment: its length, a checksum, its number, its bytes.
//!
//! A frame without bytes is a *mark*: it says up to which number everything had been synced when it was written. So
//! whoever finds damage knows whether it is a write that a power loss tore, or something that was on the disk before.

use crc32c::{crc32c, crc32c_append};

/// Length, checksum, number.
pub(super) const HEAD_BYTES: usize = 16;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, its payload behind the head.
    Record { seq: u64, payload_bytes: usize },
    /// All records before this number had been synced.
    Mark { durable_to: u64 },
    /// Nothing has been written here.
    Zeros,
    /// Something that is no frame.
    Damage,
}

/// Bytes that a record takes.
pub(super) const fn bytes_of(payload_bytes: usize) -> usize {
    (HEAD_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// Where the checksums of a segment start: no frame of another log or segment passes for one of this.
pub(super) fn seed(log: [u8; 16], first_seq: u64) -> u32 {
    crc32c_append(crc32c(&log), &first_seq.to_le_bytes())
}

fn checksum(seed: u32, seq: u64, payload: &[u8]) -> u32 {
    let head = crc32c_append(seed, &(payload.len() as u32).to_le_bytes());
    crc32c_append(crc32c_append(head, &seq.to_le_bytes()), payload)
}

/// Appends a frame.
pub(super) fn put(bytes: &mut Vec<u8>, seed: u32, seq: u64, payload: &[u8]) {
    let end = bytes.len() + bytes_of(payload.len());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(checksum(seed, seq, payload).to_le_bytes());
    bytes.extend(seq.to_le_bytes());
    bytes.extend(payload);
    bytes.resize(end, 0);
}

/// Payload bytes that a head states, before anything about it has been checked.
pub(super) fn stated_bytes(head: &[u8; HEAD_BYTES]) -> usize {
    u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize
}

/// What stands at the start of these bytes, which hold at least as much as the head states.
pub(super) fn read(bytes: &[u8], seed: u32) -> Found {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return if bytes.iter().all(|byte| *byte == 0) { Found::Zeros } else { Found::Damage };
    };
    if head == &[0; HEAD_BYTES] {
        return Found::Zeros;
    }
    let payload_bytes = stated_bytes(head);
    let crc = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
    let seq = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
    let padding = payload_bytes..bytes_of(payload_bytes) - HEAD_BYTES;
    match (rest.get(..payload_bytes), rest.get(padding)) {
        (Some(payload), Some(padding))
            if checksum(seed, seq, payload) == crc && padding.iter().all(|byte| *byte == 0) =>
        {
            match payload_bytes {
                0 => Found::Mark { durable_to: seq },
                _ => Found::Record { seq, payload_bytes },
            }
        }
        _ => Found::Damage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_frame_is_damage() {
        let seed = seed([7; 16], 1);
        let mut bytes = Vec::new();
        put(&mut bytes, seed, 9, b"a stolen plate");
        assert_eq!(bytes.len(), bytes_of(14));
        assert_eq!(read(&bytes, seed), Found::Record { seq: 9, payload_bytes: 14 });
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes, seed), Found::Damage, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 1..bytes.len() {
            assert_eq!(read(&bytes[..len], seed), Found::Damage, "{len} bytes of it");
        }
        assert_eq!(read(&bytes, super::seed([7; 16], 2)), Found::Damage, "a frame of another segment");
        assert_eq!(read(&[0; 64], seed), Found::Zeros);
    }

    #[test]
    fn a_mark_is_a_frame_without_bytes() {
        let seed = seed([7; 16], 1);
        let mut bytes = Vec::new();
        put(&mut bytes, seed, 12, b"");
        assert_eq!((bytes.len(), read(&bytes, seed)), (HEAD_BYTES, Found::Mark { durable_to: 12 }));
    }
}

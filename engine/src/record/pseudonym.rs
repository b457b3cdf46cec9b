//! Pseudonyms: what outlives a batch about a person, plate or event is one of these.
//!
//! Keyed BLAKE3 cut to 128 bits (RELIABILITY.md 4.2): unkeyed hashes of plates fall in a core-hour.
//! The key comes from a file or, without one, lives and dies with the process.

use crate::rng::Rng;

/// 128 bits that stand for something.
pub type Digest = u128;

/// The root of all keys of an installation.
#[derive(Clone)]
pub struct RootKey([u8; 32]);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(withheld)")
    }
}

impl RootKey {
    /// A key out of a file.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key that lives and dies with the process.
    pub fn ephemeral(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// The key itself, to derive others from.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key, and the fields of use it is derived for.
#[derive(Clone)]
pub struct Pseudonyms {
    event: [u8; 32],
    record: [u8; 32],
    subjects: [u8; 32],
    epoch: String,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(key withheld)")
    }
}

impl Pseudonyms {
    /// Derives the keys from a root key.
    pub fn from_root(root: &[u8; 32]) -> Self {
        Self {
            event: blake3::derive_key("weir 2026-11 event ids", root),
            record: blake3::derive_key("weir 2026-11 refused records", root),
            subjects: blake3::derive_key("weir 2026-11 subjects", root),
            epoch: String::new(),
        }
    }

    /// Pseudonyms of subjects change with the epoch; ids of alerts do not.
    #[must_use]
    pub fn of_epoch(self, epoch: impl Into<String>) -> Self {
        Self { epoch: epoch.into(), ..self }
    }

    /// A key that lives and dies with the process.
    pub fn ephemeral(rng: &mut dyn Rng) -> Self {
        let mut root = [0; 32];
        rng.fill(&mut root);
        Self::from_root(&root)
    }

    /// Stands for an event id of one source.
    pub fn event(&self, source: u16, event_id: &str) -> Digest {
        let mut hasher = Short::new();
        hasher.push(&source.to_le_bytes());
        hasher.push(event_id.as_bytes());
        hasher.finish(&self.event)
    }

    /// Stands for a passage as its device numbers it.
    pub(crate) fn track(&self, source: u16, device: &str, read_id: &str) -> Digest {
        let mut hasher = Short::new();
        hasher.push(b"track");
        hasher.push(&source.to_le_bytes());
        hasher.push(&(device.len() as u64).to_le_bytes());
        hasher.push(device.as_bytes());
        hasher.push(read_id.as_bytes());
        hasher.finish(&self.event)
    }

    /// Starts the digest of a refused record. Keyed, because a plate and a time are soon guessed.
    pub(crate) fn record_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.record)
    }

    /// Stands for the bytes of a refused record: 32 hexadecimal digits.
    pub(crate) fn record(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.record, bytes).to_hex()[..32].to_owned()
    }

    /// The pseudonyms of one purpose: those of two purposes cannot be joined.
    pub fn subjects(&self, purpose: &str) -> Subjects {
        let mut hasher = blake3::Hasher::new_derive_key("weir 2026-11 subjects of a purpose");
        hasher.update(&self.subjects);
        for part in [purpose, &self.epoch] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Subjects { key: *hasher.finalize().as_bytes() }
    }
}

/// Pseudonyms of persons, plates and documents, for one purpose and epoch.
#[derive(Clone)]
pub struct Subjects {
    key: [u8; 32],
}

impl std::fmt::Debug for Subjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subjects(key withheld)")
    }
}

impl Subjects {
    /// Stands for a text that identifies somebody.
    pub fn subject(&self, text: &str) -> Digest {
        low(&blake3::keyed_hash(&self.key, text.as_bytes()))
    }

    /// Stands for the values of a key.
    pub fn key<'a>(&self, values: impl Iterator<Item = &'a str>) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for value in values {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value.as_bytes());
        }
        low(&hasher.finalize())
    }
}

/// The low 128 bits of a hash.
pub(crate) fn low(hash: &blake3::Hash) -> Digest {
    let bytes: [u8; 16] = hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes");
    u128::from_le_bytes(bytes)
}

/// Joins short inputs on the stack, so that one call hashes them.
struct Short {
    bytes: [u8; 128],
    len: usize,
    long: Option<Vec<u8>>,
}

impl Short {
    fn new() -> Self {
        Self { bytes: [0; 128], len: 0, long: None }
    }

    fn push(&mut self, part: &[u8]) {
        match &mut self.long {
            Some(long) => long.extend_from_slice(part),
            None if self.len + part.len() <= self.bytes.len() => {
                self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
                self.len += part.len();
            }
            None => {
                let mut long = self.bytes[..self.len].to_vec();
                long.extend_from_slice(part);
                self.long = Some(long);
            }
        }
    }

    fn finish(&self, key: &[u8; 32]) -> Digest {
        low(&blake3::keyed_hash(key, self.long.as_deref().unwrap_or(&self.bytes[..self.len])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_meet_and_keys_differ() {
        let a = Pseudonyms::from_root(&[1; 32]);
        let b = Pseudonyms::from_root(&[2; 32]);
        assert_eq!(a.event(3, "e"), a.event(3, "e"));
        assert_ne!(a.event(3, "e"), a.event(4, "e"));
        let road = a.subjects("road");
        assert_eq!(road.subject("x"), a.subjects("road").subject("x"));
        assert_ne!(road.subject("x"), b.subjects("road").subject("x"));
        assert_ne!(road.subject("x"), a.subjects("border").subject("x"));
        assert_ne!(road.subject("x"), a.clone().of_epoch("2026-12").subjects("road").subject("x"));
        assert_eq!(a.event(3, "e"), a.clone().of_epoch("2026-12").event(3, "e"), "alert ids outlive epochs");
        assert_ne!(road.key(["ab", "c"].into_iter()), road.key(["a", "bc"].into_iter()));
        let long = "e".repeat(300);
        assert_eq!(a.event(3, &long), a.event(3, &long));
        assert_eq!(format!("{a:?}"), "Pseudonyms(key withheld)");
    }
}

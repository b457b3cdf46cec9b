//! Pseudonyms: what outlives a batch about a person, plate or event is one of these.
//!
//! Keyed BLAKE3 cut to 128 bits (RELIABILITY.md 4.2): unkeyed hashes of plates fall in a core-hour.
//! The key comes from a file or, without one, lives and dies with the process.

use super::seal::{Opener, Sealer};
use super::short_texts::ShortTexts;
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
    state: [u8; 32],
    refused: [u8; 32],
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
            state: blake3::derive_key("weir 2026-11 state", root),
            refused: blake3::derive_key("weir 2026-11 bytes of refused records", root),
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

    /// The key of what is kept on disk: journal and checkpoints.
    pub(crate) fn state_key(&self) -> &[u8; 32] {
        &self.state
    }

    /// Opens the bytes of a refused record that was kept; `None` if they were sealed under another key, or changed.
    pub fn open_refused(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = sealed.to_vec();
        let range = Opener::new(&self.refused).open(&mut bytes, 0).ok()?;
        Some(bytes[range].to_vec())
    }

    /// Seals the bytes of refused records.
    pub(crate) fn sealer_of_refused(&self, rng: &mut dyn Rng) -> Sealer {
        Sealer::new(&self.refused, rng)
    }

    /// Stand for event ids, each of the source that is its domain.
    pub(crate) fn events(&self, event_ids: &mut ShortTexts) -> Vec<Digest> {
        event_ids.take(&self.event)
    }

    /// Stands for a passage as its device numbers it.
    pub(crate) fn track(&self, source: u16, device: &str, read_id: &str) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.event);
        hasher.update(b"track").update(&source.to_le_bytes()).update(&(device.len() as u64).to_le_bytes());
        hasher.update(device.as_bytes()).update(read_id.as_bytes());
        low(&hasher.finalize())
    }

    /// Starts the digest of a refused record. Keyed, because a plate and a time are soon guessed.
    pub(crate) fn record_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.record)
    }

    /// The digest that was begun so: 32 hexadecimal digits.
    pub(crate) fn record_digest(hasher: &blake3::Hasher) -> String {
        hasher.finalize().to_hex()[..32].to_owned()
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
    /// Stand for texts that identify somebody.
    pub(crate) fn subjects(&self, texts: &mut ShortTexts) -> Vec<Digest> {
        texts.take(&self.key)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_meet_and_keys_differ() {
        let a = Pseudonyms::from_root(&[1; 32]);
        let b = Pseudonyms::from_root(&[2; 32]);
        let event = |key: &Pseudonyms, source: u16, id: &str| {
            let mut ids = ShortTexts::default();
            ids.push(source, id);
            key.events(&mut ids)[0]
        };
        let subject = |key: &Subjects, text: &str| {
            let mut texts = ShortTexts::default();
            texts.push(0, text);
            key.subjects(&mut texts)[0]
        };
        assert_eq!(event(&a, 3, "e"), event(&a, 3, "e"));
        assert_ne!(event(&a, 3, "e"), event(&a, 4, "e"));
        let road = a.subjects("road");
        assert_eq!(subject(&road, "x"), subject(&a.subjects("road"), "x"));
        assert_ne!(subject(&road, "x"), subject(&b.subjects("road"), "x"));
        assert_ne!(subject(&road, "x"), subject(&a.subjects("border"), "x"));
        assert_ne!(subject(&road, "x"), subject(&a.clone().of_epoch("2026-12").subjects("road"), "x"));
        assert_eq!(event(&a, 3, "e"), event(&a.clone().of_epoch("2026-12"), 3, "e"), "alert ids outlive epochs");
        assert_ne!(road.key(["ab", "c"].into_iter()), road.key(["a", "bc"].into_iter()));
        let long = "e".repeat(300);
        assert_eq!(event(&a, 3, &long), event(&a, 3, &long));
        assert_eq!(format!("{a:?}"), "Pseudonyms(key withheld)");
    }
}

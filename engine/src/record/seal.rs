//! Whole records are kept sealed, under a key that is not in the state folder: those of the journal, of people who did
//! nothing, and those that were refused, where a source asks for it. Each run seals under keys of its own, so that a number
//! is never used twice under one key.

use std::ops::Range;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::rng::Rng;

/// Salt of the sealer, number of what it has sealed.
const HEAD_BYTES: usize = 16 + 8;

/// What was sealed was changed, or the key is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not open under this key: the key file is another one, or somebody has changed it")]
pub(crate) struct Sealed;

fn key_of(root: &[u8; 32], salt: &[u8]) -> LessSafeKey {
    let mut hasher = blake3::Hasher::new_derive_key("weir 2026-11 journal of a run");
    hasher.update(root).update(salt);
    let key = UnboundKey::new(&AES_256_GCM, hasher.finalize().as_bytes()).expect("a hash is as long as a key");
    LessSafeKey::new(key)
}

fn nonce_of(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Seals what one run keeps.
pub(crate) struct Sealer {
    salt: [u8; 16],
    key: LessSafeKey,
    next: u64,
}

impl Sealer {
    pub(crate) fn new(root: &[u8; 32], rng: &mut dyn Rng) -> Self {
        let mut salt = [0; 16];
        rng.fill(&mut salt);
        Self { salt, key: key_of(root, &salt), next: 0 }
    }

    /// Appends, sealed, what `write` appends.
    pub(crate) fn seal(&mut self, sealed: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = sealed.len();
        sealed.extend(self.salt);
        sealed.extend(self.next.to_le_bytes());
        write(sealed);
        let body = &mut sealed[start + HEAD_BYTES..];
        let tag = self.key.seal_in_place_separate_tag(nonce_of(self.next), Aad::empty(), body);
        sealed.extend(tag.expect("a turn is shorter than the cipher allows").as_ref());
        self.next += 1;
    }
}

/// Opens what runs have sealed.
pub(crate) struct Opener {
    root: [u8; 32],
    /// The run that was opened last.
    run: Option<([u8; 16], LessSafeKey)>,
}

impl Opener {
    pub(crate) fn new(root: &[u8; 32]) -> Self {
        Self { root: *root, run: None }
    }

    /// Opens what is sealed from a byte on, in place; where it lies then.
    pub(crate) fn open(&mut self, sealed: &mut [u8], from: usize) -> Result<Range<usize>, Sealed> {
        let sealed = sealed.get_mut(from..).ok_or(Sealed)?;
        let (head, body) = sealed.split_at_mut_checked(HEAD_BYTES).ok_or(Sealed)?;
        let salt: [u8; 16] = head[..16].try_into().expect("sixteen bytes");
        let number = u64::from_le_bytes(head[16..].try_into().expect("eight bytes"));
        if self.run.as_ref().is_none_or(|(known, _)| *known != salt) {
            self.run = Some((salt, key_of(&self.root, &salt)));
        }
        let (_, key) = self.run.as_ref().expect("it was just set");
        let opened = key.open_in_place(nonce_of(number), Aad::empty(), body).map_err(|_| Sealed)?;
        let start = from + HEAD_BYTES;
        Ok(start..start + opened.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn what_was_sealed_opens_under_its_key_and_unchanged_only() {
        let mut sealer = Sealer::new(&[1; 32], &mut SeededRng::new(1));
        let plate = b"a plate that nobody is to read";
        let mut seal = || {
            let mut sealed = Vec::new();
            sealer.seal(&mut sealed, |bytes| bytes.extend(plate));
            sealed
        };
        let sealed = [seal(), seal()];
        assert_ne!(sealed[0], sealed[1], "equal turns do not look alike");
        assert!(!sealed[0].windows(8).any(|at| plate.windows(8).any(|clear| clear == at)));
        for sealed in &sealed {
            let mut behind_a_byte = [&[9], &sealed[..]].concat();
            let range = Opener::new(&[1; 32]).open(&mut behind_a_byte, 1).unwrap();
            assert_eq!(behind_a_byte[range], plate[..]);
            assert_eq!(Opener::new(&[2; 32]).open(&mut sealed.clone(), 0), Err(Sealed));
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Opener::new(&[1; 32]).open(&mut changed, 0), Err(Sealed), "bit {bit}");
            }
            for len in 0..sealed.len() {
                assert_eq!(Opener::new(&[1; 32]).open(&mut sealed[..len].to_vec(), 0), Err(Sealed), "{len} bytes");
            }
        }
    }
}

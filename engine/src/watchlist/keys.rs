//! The secrets of a list: nothing in a snapshot file can be tested for membership without them.
//!
//! One key for each purpose and epoch, derived from the root key of the installation (RELIABILITY.md
//! 4.2): lists of two purposes cannot be joined, and files of an epoch whose key is destroyed say
//! nothing any more. Even the prefilter is seeded with it: whoever could compute its bits could ask a
//! stolen file about any plate and would be right in 98 of 100 cases.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use crate::record::{Digest, low};

/// What a list is digested, filtered and sealed with.
#[derive(Clone)]
pub struct ListKeys {
    digest: [u8; 32],
    entry: [u8; 32],
    pub(super) seal: [u8; 32],
    pub(super) cover: [u8; 32],
    prefilter: RapidSecrets,
    pub(super) check: [u8; 8],
    pub(super) purpose: String,
    pub(super) epoch: String,
}

impl std::fmt::Debug for ListKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListKeys({} {}, key withheld)", self.purpose, self.epoch)
    }
}

impl ListKeys {
    /// Derives the keys of a purpose and epoch from the root key.
    ///
    /// # Panics
    /// Never.
    pub fn derive(root: &[u8; 32], purpose: &str, epoch: &str) -> Self {
        let derived = |context: &str| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(root);
            for part in [purpose, epoch] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            hasher
        };
        let mut secrets = [0u8; 64];
        derived("weir 2026-11 list prefilter").finalize_xof().fill(&mut secrets);
        let word = |at: usize| u64::from_le_bytes(secrets[at * 8..][..8].try_into().expect("eight bytes"));
        let check = derived("weir 2026-11 list key check").finalize();
        Self {
            digest: *derived("weir 2026-11 list digests").finalize().as_bytes(),
            entry: *derived("weir 2026-11 list entry ids").finalize().as_bytes(),
            seal: *derived("weir 2026-11 list seal").finalize().as_bytes(),
            cover: *derived("weir 2026-11 list patterns").finalize().as_bytes(),
            prefilter: RapidSecrets { seed: word(0), secrets: std::array::from_fn(|at| word(at + 1)) },
            check: check.as_bytes()[..8].try_into().expect("eight bytes"),
            purpose: purpose.to_owned(),
            epoch: epoch.to_owned(),
        }
    }

    /// Stands for a canonical key: keyed BLAKE3, 128 bits.
    pub fn digest(&self, key: &str) -> Digest {
        low(&blake3::keyed_hash(&self.digest, key.as_bytes()))
    }

    /// Stands for an entry id.
    pub(super) fn entry(&self, entry_id: &str) -> Digest {
        low(&blake3::keyed_hash(&self.entry, entry_id.as_bytes()))
    }

    /// The prefilter's hash of a canonical key.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_micro_inline::<true, true>(key, &self.prefilter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_epochs_do_not_meet() {
        let root = [7; 32];
        let keys = ListKeys::derive(&root, "road_safety", "2026-11");
        let again = ListKeys::derive(&root, "road_safety", "2026-11");
        assert_eq!((keys.digest("A"), keys.hash(b"A"), keys.check), (again.digest("A"), again.hash(b"A"), again.check));
        for other in [
            ListKeys::derive(&root, "road_safety", "2026-12"),
            ListKeys::derive(&root, "border", "2026-11"),
            ListKeys::derive(&[8; 32], "road_safety", "2026-11"),
            ListKeys::derive(&root, "road_safety2", "026-11"),
        ] {
            assert_ne!(keys.digest("A"), other.digest("A"));
            assert_ne!(keys.hash(b"A"), other.hash(b"A"));
            assert_ne!(keys.check, other.check);
        }
    }

    /// The format depends on these functions never changing.
    #[test]
    fn the_functions_of_format_1_are_pinned() {
        let keys = ListKeys::derive(&[1; 32], "road_safety", "2026-11");
        let pinned = format!(
            "{:032x} {:032x} {:016x} {:016x}",
            keys.digest("陕A12345"),
            keys.entry("E1"),
            keys.hash("陕A12345".as_bytes()),
            keys.hash(b"11010519491231002X-and-longer-than-any-block")
        );
        assert_eq!(
            pinned,
            "6c9545b048884c7a7466f7e11db28ee2 daa59a0f1de2619b3f0645dab1a8d0c4 19a042c7e9cc0512 8b5648f15d48ef92"
        );
    }
}

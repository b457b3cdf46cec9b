//! Alert ids: the same alert has the same id on every replay, on any machine with the same key.
//!
//! BLAKE3-128 of rule, its version, subject and trigger. No wall clock, no process, no order of
//! arrival goes in (RELIABILITY.md 5.5).

use crate::record::Digest;

/// What an alert's id is made of.
pub(crate) struct AlertIdentity<'a> {
    pub(crate) rule: &'a str,
    pub(crate) rule_version: &'a str,
    /// Pseudonym of the subject, or the window key as text.
    pub(crate) subject: &'a [u8],
    /// Event digest, or start of the window.
    pub(crate) trigger: &'a [u8],
    /// Level and change of a window alert; empty otherwise.
    pub(crate) ordinal: &'a str,
}

impl AlertIdentity<'_> {
    /// 32 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"weir-alert-1");
        let parts =
            [self.rule.as_bytes(), self.rule_version.as_bytes(), self.subject, self.trigger, self.ordinal.as_bytes()];
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// A digest as bytes of an identity.
pub(crate) fn digest_bytes(digest: Digest) -> [u8; 16] {
    digest.to_le_bytes()
}

//! Health credentials, verified without a network: the EU's certificate (`HC1:`) and the SMART Health
//! Card (`shc:/`).
//!
//! What comes in is a text out of a QR code; what remains is an [`Outcome`]. Whose credential it is, and
//! what it says of his health, is looked at for as long as the function runs and is in nothing that it
//! gives back. Sources: EU eHealth Network, Electronic Health Certificate Specification 1.0.5 and
//! Technical Specifications for EU Digital COVID Certificates vol. 3; RFC 8152 (COSE), RFC 9285 (base 45);
//! SMART Health Cards Framework 1.4 (RFC 7515, RFC 7638).
//!
//! | file | what |
//! |---|---|
//! | `eu` | base 45, zlib, COSE, CBOR |
//! | `smart` | digits, JWS, deflate, JSON |
//! | `content` | what an EU certificate must hold |
//! | `issuers` | keys of those who issue, out of a file |

mod content;
mod eu;
mod issuers;
mod smart;

use std::io::Read;
use std::sync::Arc;

pub use issuers::{IssuerError, Issuers};

use crate::watchlist::Watchlist;

/// Longest text of a credential: three times what fits a QR code.
pub const CREDENTIAL_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most bytes a credential may inflate to.
pub const CREDENTIAL_INFLATED_BYTES_MAX: u64 = 64 * 1024;

/// What verifying a credential gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Signed by a known issuer, for this moment.
    Valid,
    /// Signed by a known issuer, for another time: too old, or not yet.
    Expired,
    /// The issuer is known, and did not sign this.
    BadSignature,
    /// Nobody whose key is known has signed it, or not somebody who may sign such a thing.
    UnknownIssuer,
    /// Not a credential, or one that breaks its own rules.
    Malformed,
    /// Signed by a known issuer, who took it back.
    Revoked,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::BadSignature => "bad_signature",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Malformed => "malformed",
            Self::Revoked => "revoked",
        }
    }

    /// The status of a code that says no more than this.
    pub fn status(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::BadSignature | Self::UnknownIssuer | Self::Malformed | Self::Revoked => "invalid",
        }
    }
}

/// What verification found out, before revocation.
struct Verified {
    /// First and last moment at which it is valid, epoch milliseconds.
    first_ms: i64,
    last_ms: i64,
    /// Unique numbers inside.
    ids: Vec<String>,
}

/// Verifies credentials.
#[derive(Debug, Default, Clone)]
pub struct Verifier {
    issuers: Arc<Issuers>,
    revoked: Vec<Arc<Watchlist>>,
}

impl Verifier {
    /// With the keys of these issuers, and lists of kind `revoked_credential`.
    pub fn new(issuers: Arc<Issuers>, revoked: Vec<Arc<Watchlist>>) -> Self {
        Self { issuers, revoked }
    }

    /// The outcome for a credential at a moment. A list entry counts while it is alive, by the moment and by the wall
    /// clock.
    pub fn verify(&self, credential: &str, at_ms: i64, wall_ms: i64) -> Outcome {
        let credential = credential.trim();
        if credential.len() > CREDENTIAL_TEXT_BYTES_MAX {
            return Outcome::Malformed;
        }
        let verified = match (credential.strip_prefix("HC1:"), credential.strip_prefix("shc:/")) {
            (Some(text), _) => eu::verify(text, &self.issuers),
            (_, Some(digits)) => smart::verify(digits, &self.issuers),
            (None, None) => Err(Outcome::Malformed),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(outcome) => return outcome,
        };
        let listed = |id: &String| {
            let as_of_ms = at_ms.max(wall_ms);
            self.revoked.iter().any(|list| list.matches(wall_ms) && list.exact(id, as_of_ms).is_some())
        };
        if verified.ids.iter().any(listed) {
            return Outcome::Revoked;
        }
        if (verified.first_ms..=verified.last_ms).contains(&at_ms) { Outcome::Valid } else { Outcome::Expired }
    }
}

/// Inflates, up to a limit.
fn inflate(reader: impl Read) -> Result<Vec<u8>, Outcome> {
    let mut bytes = Vec::new();
    reader
        .take(CREDENTIAL_INFLATED_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .ok()
        .filter(|len| *len as u64 <= CREDENTIAL_INFLATED_BYTES_MAX)
        .ok_or(Outcome::Malformed)?;
    Ok(bytes)
}

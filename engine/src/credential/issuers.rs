//! Keys of those who issue credentials, out of files that the operator keeps.
//!
//! A file is PEM (certificates of the EU's document signers), or JSON with any of `certificates` (the same,
//! base 64), `issuers` (`iss` and the JWKS of a SMART Health Cards issuer), and a value set as the EU
//! publishes it (`valueSetId`, `valueSetValues`).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION};
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Keys of all files.
const KEYS_MAX: usize = 100_000;

/// Extended key usages that say what a signer may sign (EHC specification, 3.4), with the form in early use.
const USAGES: [(&str, What); 6] = [
    ("1.3.6.1.4.1.1847.2021.1.1", What::Test),
    ("1.3.6.1.4.1.1847.2021.1.2", What::Vaccination),
    ("1.3.6.1.4.1.1847.2021.1.3", What::Recovery),
    ("1.3.6.1.4.1.0.1847.2021.1.1", What::Test),
    ("1.3.6.1.4.1.0.1847.2021.1.2", What::Vaccination),
    ("1.3.6.1.4.1.0.1847.2021.1.3", What::Recovery),
];

/// What an EU certificate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Test,
    Vaccination,
    Recovery,
}

/// How a credential is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// ECDSA with SHA-256, both halves as they stand.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    P256,
    /// `ES256` names the hash, not the curve (RFC 8152, 8.1); some issuers sign with it on P-384.
    P384,
    Rsa,
}

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    kind: KeyKind,
    /// An uncompressed point, or an RSA key in DER.
    bytes: Vec<u8>,
    /// Empty for everything.
    usages: BTreeSet<What>,
}

impl Key {
    /// How it signs.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self.kind {
            KeyKind::P256 | KeyKind::P384 => Algorithm::Es256,
            KeyKind::Rsa => Algorithm::Ps256,
        }
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verify = |algorithm: &'static dyn VerificationAlgorithm, signature: &[u8]| {
            UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
        };
        match self.kind {
            KeyKind::P256 => verify(&ECDSA_P256_SHA256_FIXED, signature),
            KeyKind::P384 if signature.len() == 96 => verify(&ECDSA_P384_SHA256_ASN1, &asn1_of(signature)),
            KeyKind::P384 => false,
            KeyKind::Rsa => verify(&RSA_PSS_2048_8192_SHA256, signature),
        }
    }

    pub(super) fn may_sign(&self, what: What) -> bool {
        self.usages.is_empty() || self.usages.contains(&what)
    }
}

/// The two halves of a signature as a DER sequence of integers, for the one curve whose signatures are only verified
/// so.
fn asn1_of(signature: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let digits = &half[half.iter().position(|byte| *byte != 0).unwrap_or(half.len() - 1)..];
        let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (digits.len() + sign.len()) as u8], sign, digits].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// A file of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum IssuerError {
    #[error("is neither PEM with certificates nor JSON with `certificates`, `issuers` or a value set: {0}")]
    Unreadable(String),
    #[error("certificate {number} cannot be used: {message}")]
    Certificate { number: usize, message: String },
    #[error("issuer {iss}, key {number}: {message}")]
    Jwk { iss: String, number: usize, message: String },
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    certificates: Vec<String>,
    #[serde(default)]
    issuers: Vec<Jwks>,
}

#[derive(Deserialize)]
struct Jwks {
    iss: String,
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    kid: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueSet {
    value_set_id: String,
    value_set_values: BTreeMap<String, serde_json::Value>,
}

/// Those who issue credentials.
#[derive(Debug, Default)]
pub struct Issuers {
    by_key_id: BTreeMap<Vec<u8>, Vec<Key>>,
    by_issuer: BTreeMap<(String, String), Key>,
    value_sets: BTreeMap<String, BTreeSet<String>>,
}

impl Issuers {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.by_key_id.values().map(Vec::len).sum::<usize>() + self.by_issuer.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what a file holds.
    pub fn add(&mut self, text: &str) -> Result<(), IssuerError> {
        if text.contains("-----BEGIN CERTIFICATE-----") {
            let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
            for (at, block) in blocks.enumerate() {
                let base64 = block.split("-----END").next().unwrap_or_default();
                self.add_certificate(at + 1, base64)?;
            }
        } else if let Ok(set) = serde_json::from_str::<ValueSet>(text) {
            self.value_sets.insert(set.value_set_id, set.value_set_values.into_keys().collect());
        } else {
            let file: File = serde_json::from_str(text).map_err(|error| IssuerError::Unreadable(error.to_string()))?;
            for (at, certificate) in file.certificates.iter().enumerate() {
                self.add_certificate(at + 1, certificate)?;
            }
            file.issuers.into_iter().try_for_each(|jwks| self.add_issuer(jwks))?;
        }
        if self.len() > KEYS_MAX { Err(IssuerError::TooMany) } else { Ok(()) }
    }

    fn add_certificate(&mut self, number: usize, base64: &str) -> Result<(), IssuerError> {
        let wrong = |message: String| IssuerError::Certificate { number, message };
        let text: String = base64.chars().filter(|c| !c.is_whitespace()).collect();
        let der = STANDARD.decode(text).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_der(&der).map_err(|error| wrong(error.to_string()))?;
        let body = &certificate.tbs_certificate;
        let info = &body.subject_public_key_info;
        let bytes = info.subject_public_key.as_bytes().ok_or_else(|| wrong("its key is cut off".to_owned()))?;
        // An uncompressed point tells its curve by its length, whether the certificate names or spells it out.
        let kind = match (info.algorithm.oid, bytes.len()) {
            (ID_EC_PUBLIC_KEY, 65) => KeyKind::P256,
            (ID_EC_PUBLIC_KEY, 97) => KeyKind::P384,
            (RSA_ENCRYPTION, _) => KeyKind::Rsa,
            (other, _) => {
                let known = "EC on P-256 and P-384, and RSA are known";
                return Err(wrong(format!("its key is of an unknown kind ({other}); {known}")));
            }
        };
        let usages = body
            .get::<ExtendedKeyUsage>()
            .map_err(|error| wrong(error.to_string()))?
            .map(|(_, usage)| usage.0.iter().filter_map(what_of).collect())
            .unwrap_or_default();
        let key_id = digest(&SHA256, &der).as_ref()[..8].to_vec();
        let key = Key { kind, bytes: bytes.to_vec(), usages };
        self.by_key_id.entry(key_id).or_default().push(key);
        Ok(())
    }

    fn add_issuer(&mut self, jwks: Jwks) -> Result<(), IssuerError> {
        for (at, jwk) in jwks.keys.into_iter().enumerate() {
            let wrong =
                |message: &str| IssuerError::Jwk { iss: jwks.iss.clone(), number: at + 1, message: message.to_owned() };
            if jwk.kty != "EC" || jwk.crv != "P-256" {
                return Err(wrong("is no EC key on P-256"));
            }
            // RFC 7638: the members that make the key, in order, without space.
            let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, jwk.x, jwk.y);
            if URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes())) != jwk.kid {
                return Err(wrong("`kid` is not the key's thumbprint"));
            }
            let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32);
            let (Some(x), Some(y)) = (coordinate(&jwk.x), coordinate(&jwk.y)) else {
                return Err(wrong("`x` and `y` are not 32 bytes each"));
            };
            let bytes = [&[4u8][..], &x, &y].concat();
            let key = Key { kind: KeyKind::P256, bytes, usages: BTreeSet::new() };
            self.by_issuer.insert((jwks.iss.clone(), jwk.kid), key);
        }
        Ok(())
    }

    pub(super) fn by_key_id(&self, key_id: &[u8]) -> &[Key] {
        self.by_key_id.get(key_id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn of_issuer(&self, iss: &str, key_id: &str) -> Option<&Key> {
        self.by_issuer.get(&(iss.to_owned(), key_id.to_owned()))
    }

    pub(super) fn value_set(&self, id: &str) -> Option<&BTreeSet<String>> {
        self.value_sets.get(id)
    }
}

fn what_of(usage: &ObjectIdentifier) -> Option<What> {
    let text = usage.to_string();
    USAGES.iter().find(|(oid, _)| *oid == text).map(|(_, what)| *what)
}

//! The SMART Health Card: digits of a QR code, a JWS with ES256, raw deflate, JSON.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::read::DeflateDecoder;
use serde::Deserialize;

use super::issuers::Issuers;
use super::{Outcome, Verified, inflate};

/// What each pair of digits has been lowered by: `-` is 00.
const DIGIT_OFFSET: u8 = 45;

#[derive(Deserialize)]
struct Header {
    alg: String,
    zip: String,
    kid: String,
}

/// The claims that are looked at; what the card says of anybody's health is not.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    nbf: f64,
    exp: Option<f64>,
    vc: Credential,
}

#[derive(Deserialize)]
struct Credential {
    #[serde(rename = "type")]
    types: Vec<String>,
    /// The number by which an issuer takes a card back.
    rid: Option<String>,
}

pub(super) fn verify(digits: &str, issuers: &Issuers) -> Result<Verified, Outcome> {
    let token = from_digits(digits).ok_or(Outcome::Malformed)?;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return Err(Outcome::Malformed) };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Outcome::Malformed);
    let head: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Outcome::Malformed)?;
    if head.alg != "ES256" || head.zip != "DEF" {
        return Err(Outcome::Malformed);
    }
    let claims = inflate(DeflateDecoder::new(&decoded(payload)?[..]))?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Outcome::Malformed)?;
    let is_card = claims.vc.types.iter().any(|name| name == "https://smarthealth.cards#health-card");
    if !claims.iss.starts_with("https://") || claims.iss.ends_with('/') || !is_card {
        return Err(Outcome::Malformed);
    }
    let key = issuers.of_issuer(&claims.iss, &head.kid).ok_or(Outcome::UnknownIssuer)?;
    // 64 bytes as they stand: a DER signature has another length and fails.
    if !key.has_signed(&token.as_bytes()[..header.len() + 1 + payload.len()], &decoded(signature)?) {
        return Err(Outcome::BadSignature);
    }
    Ok(Verified {
        first_ms: (claims.nbf * 1000.0).ceil() as i64,
        // Not on or after the moment itself (RFC 7519, 4.1.4).
        last_ms: claims.exp.map_or(i64::MAX, |expires_s| (expires_s * 1000.0).ceil() as i64 - 1),
        ids: claims.vc.rid.map(|rid| format!("{}:{rid}", head.kid)).into_iter().collect(),
    })
}

/// Two digits a character; a card in several codes (`1/2/...`) is none.
fn from_digits(digits: &str) -> Option<String> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let character = |pair: &[u8]| char::from((pair[0] - b'0') * 10 + (pair[1] - b'0') + DIGIT_OFFSET);
    let token: String = digits.as_bytes().chunks(2).map(character).collect();
    token.is_ascii().then_some(token)
}

//! The EU's certificate: base 45, zlib, `COSE_Sign1`, CBOR Web Token.

use ciborium::Value;
use flate2::read::ZlibDecoder;

use super::issuers::{Algorithm, Issuers};
use super::{Outcome, Verified, content, inflate};

/// Deepest nesting of CBOR.
const CBOR_DEPTH_MAX: usize = 32;
/// `COSE_Sign1` (RFC 8152, 2).
const TAG_SIGN1: u64 = 18;
/// CBOR Web Token (RFC 8392, 6).
const TAG_CWT: u64 = 61;
/// Header parameters (RFC 8152, 3.1).
const HEADER_ALGORITHM: i64 = 1;
const HEADER_KEY_ID: i64 = 4;
/// Claims (RFC 8392, 3.1; EHC specification 3.3).
const CLAIM_EXPIRES: i64 = 4;
const CLAIM_ISSUED: i64 = 6;
const CLAIM_CERTIFICATE: i64 = -260;

pub(super) fn verify(text: &str, issuers: &Issuers) -> Result<Verified, Outcome> {
    let bytes = base45(text).ok_or(Outcome::Malformed)?;
    // The specification always compresses; readers are asked to bear what is not.
    let bytes = if bytes.first() == Some(&0x78) { inflate(ZlibDecoder::new(&bytes[..]))? } else { bytes };
    let message = cbor(&bytes).ok_or(Outcome::Malformed)?;
    let Value::Array(parts) = untag(message) else { return Err(Outcome::Malformed) };
    let Ok([Value::Bytes(protected), unprotected, Value::Bytes(payload), Value::Bytes(signature)]) =
        <[Value; 4]>::try_from(parts)
    else {
        return Err(Outcome::Malformed);
    };
    // A protected header without parameters may be no bytes at all (RFC 8152, 3).
    let header = if protected.is_empty() { Some(Value::Map(Vec::new())) } else { cbor(&protected) };
    let header = header.filter(Value::is_map).ok_or(Outcome::Malformed)?;
    if !unprotected.is_map() {
        return Err(Outcome::Malformed);
    }
    let algorithm = match get(&header, HEADER_ALGORITHM).or(get(&unprotected, HEADER_ALGORITHM)).and_then(whole) {
        Some(-7) => Algorithm::Es256,
        Some(-37) => Algorithm::Ps256,
        _ => return Err(Outcome::Malformed),
    };
    // What is signed goes before what is not.
    let key_id = get(&header, HEADER_KEY_ID).or(get(&unprotected, HEADER_KEY_ID)).and_then(Value::as_bytes);
    let keys = issuers.by_key_id(key_id.ok_or(Outcome::UnknownIssuer)?);
    if keys.is_empty() {
        return Err(Outcome::UnknownIssuer);
    }
    let signed = signed_bytes(&protected, &payload);
    let signer = keys
        .iter()
        .find(|key| key.algorithm() == algorithm && key.has_signed(&signed, &signature))
        .ok_or(Outcome::BadSignature)?;
    let claims = cbor(&payload).filter(Value::is_map).ok_or(Outcome::Malformed)?;
    let certificate = get(&claims, CLAIM_CERTIFICATE).and_then(|it| get(it, 1)).ok_or(Outcome::Malformed)?;
    let found = content::read(certificate, issuers).ok_or(Outcome::Malformed)?;
    if !signer.may_sign(found.what) {
        return Err(Outcome::UnknownIssuer);
    }
    let seconds = |claim| get(&claims, claim).map(|value| number(value).ok_or(Outcome::Malformed)).transpose();
    Ok(Verified {
        first_ms: seconds(CLAIM_ISSUED)?.map_or(i64::MIN, |issued_s| (issued_s * 1000.0).ceil() as i64),
        // RFC 8392 would end it at the second itself; issuers' own vectors hold it for valid then (DK, ES/1501).
        last_ms: seconds(CLAIM_EXPIRES)?.map(|expires_s| (expires_s * 1000.0) as i64).ok_or(Outcome::Malformed)?,
        ids: found.ids,
    })
}

/// The bytes under the signature (RFC 8152, 4.4).
fn signed_bytes(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let structure = Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&structure, &mut bytes).expect("a vector takes all that is written");
    bytes
}

/// One item and nothing after it.
fn cbor(mut bytes: &[u8]) -> Option<Value> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, CBOR_DEPTH_MAX).ok()?;
    bytes.is_empty().then_some(value)
}

/// A CWT tag may stand around that of COSE, and both may be absent.
fn untag(value: Value) -> Value {
    match value {
        Value::Tag(TAG_CWT, inner) => match *inner {
            Value::Tag(TAG_SIGN1, inner) => *inner,
            other => other,
        },
        Value::Tag(TAG_SIGN1, inner) => *inner,
        other => other,
    }
}

fn get(map: &Value, key: i64) -> Option<&Value> {
    map.as_map()?.iter().find(|(name, _)| whole(name) == Some(key)).map(|(_, value)| value)
}

fn whole(value: &Value) -> Option<i64> {
    value.as_integer().and_then(|number| i64::try_from(number).ok())
}

fn number(value: &Value) -> Option<f64> {
    whole(value).map(|number| number as f64).or(value.as_float()).filter(|number| number.is_finite())
}

/// RFC 9285: two bytes in three characters, one in two.
fn base45(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    let digit = |byte: u8| ALPHABET.iter().position(|known| *known == byte).map(|at| at as u32);
    let mut bytes = Vec::with_capacity(text.len() * 2 / 3);
    for group in text.as_bytes().chunks(3) {
        let mut number = 0;
        for byte in group.iter().rev() {
            number = number * 45 + digit(*byte)?;
        }
        match group.len() {
            3 => bytes.extend_from_slice(&u16::try_from(number).ok()?.to_be_bytes()),
            2 => bytes.push(u8::try_from(number).ok()?),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9285, 4.3 and 4.4.
    #[test]
    fn base_45_as_in_its_rfc() {
        assert_eq!(base45("BB8").unwrap(), b"AB");
        assert_eq!(base45("%69 VD92EX0").unwrap(), b"Hello!!");
        assert_eq!(base45("UJCLQE7W581").unwrap(), b"base-45");
        assert_eq!(base45("QED8WEX0").unwrap(), b"ietf!");
        for wrong in ["GGW", ":::", "A", "ab", "BB8A"] {
            assert_eq!(base45(wrong), None, "{wrong}");
        }
    }
}

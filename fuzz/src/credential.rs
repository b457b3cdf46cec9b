//! Credentials: text as it is scanned, and what such a text is packed around.

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use weir_engine::credential::{Issuers, Outcome, Verifier};

/// The characters of RFC 9285, in order.
const BASE45: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

fn base45(bytes: &[u8]) -> String {
    let mut text = String::new();
    for pair in bytes.chunks(2) {
        let (mut number, digits) = match pair {
            [a, b] => (usize::from(*a) * 256 + usize::from(*b), 3),
            _ => (usize::from(pair[0]), 2),
        };
        for _ in 0..digits {
            text.push(char::from(BASE45[number % 45]));
            number /= 45;
        }
    }
    text
}

/// The first byte says what the others are: the text itself, what a health certificate is compressed around (COSE), or what
/// a SMART health card's payload is. Nobody has issued any of them, so none is valid.
///
/// # Panics
/// On a finding.
pub fn credential(data: &[u8]) {
    let Some((way, bytes)) = data.split_first() else { return };
    let text = match way % 3 {
        0 => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
        1 => {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(bytes).expect("memory takes it");
            format!("HC1:{}", base45(&packed.finish().expect("memory takes it")))
        }
        _ => {
            let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(bytes).expect("memory takes it");
            let payload = BASE64.encode(packed.finish().expect("memory takes it"));
            let head = BASE64.encode(br#"{"alg":"ES256","zip":"DEF","kid":"a"}"#);
            let jws = format!("{head}.{payload}.{}", BASE64.encode([1; 64]));
            let digits: String = jws
                .bytes()
                .flat_map(|byte| [(byte - 45) / 10, (byte - 45) % 10])
                .map(|it| char::from(b'0' + it))
                .collect();
            format!("shc:/{digits}")
        }
    };
    let verifier = Verifier::new(Arc::new(Issuers::default()), Vec::new());
    let outcome = verifier.verify(&text, 1_795_500_000_000, 0);
    assert!(!matches!(outcome, Outcome::Valid | Outcome::Expired | Outcome::Revoked), "{outcome:?} of {text}");
}

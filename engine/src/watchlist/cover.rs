//! Patterns are nearly identifiers and must be readable to be matched, so they lie in the file under a
//! cover: ChaCha20-Poly1305 (RFC 8439) with the list's key.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

fn key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("the key has 32 bytes"))
}

/// Covers a text. The nonce is a digest of the text: equal content gives equal bytes, and no two texts share one.
pub(super) fn cover(plain: &[u8], key_bytes: &[u8; 32]) -> Vec<u8> {
    let digest = blake3::keyed_hash(key_bytes, plain);
    let nonce: [u8; NONCE_LEN] = digest.as_bytes()[..NONCE_LEN].try_into().expect("a hash has 32 bytes");
    let mut sealed = plain.to_vec();
    key(key_bytes)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("patterns are far below 256 GiB");
    [nonce.as_slice(), &sealed].concat()
}

/// The text under a cover; `None` if it was made with another key or changed.
pub(super) fn uncover(covered: &[u8], key_bytes: &[u8; 32]) -> Option<Vec<u8>> {
    let (nonce, sealed) = covered.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    let len = key(key_bytes).open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
    sealed.truncate(len);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_hides_and_holds() {
        let covered = cover(b"[\"A1?\"]", &[1; 32]);
        assert!(!covered.windows(2).any(|pair| pair == b"A1"));
        assert_eq!(uncover(&covered, &[1; 32]).unwrap(), b"[\"A1?\"]");
        assert_eq!(uncover(&covered, &[2; 32]), None);
        assert_eq!(uncover(&covered[..11], &[1; 32]), None);
        assert_eq!(cover(b"x", &[1; 32]), cover(b"x", &[1; 32]));
    }
}

//! HTTP Digest (RFC 7616) on the side of the server: challenges, and whether an answer to one is right.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use digest_auth::{AlgorithmType, AuthorizationHeader, Qop};
use sha2::Digest as _;

use super::accounts::Account;

/// How long a nonce may be answered, ms.
const NONCE_FOR_MS: i64 = 300_000;
/// Nonces whose count is remembered.
const NONCES_MAX: usize = 20_000;

/// Why an answer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is none, or it says something else than the challenge asked for.
    Unreadable,
    /// It answers a challenge that is too old.
    Stale,
    /// Its count has been used: somebody sends again what he has seen.
    Replayed,
    /// The password is another one, or the user, or the request.
    Wrong,
}

/// The challenges of one source. A nonce is its time and a keyed hash of it, so that only answered ones are remembered.
pub(super) struct Challenges {
    realm: String,
    key: [u8; 32],
    /// By nonce: when it was made, and the highest count that came with it.
    answered: Mutex<HashMap<String, (i64, u32)>>,
}

impl Challenges {
    /// `key` is random and of this run.
    pub(super) fn new(realm: String, key: [u8; 32]) -> Self {
        Self { realm, key, answered: Mutex::default() }
    }

    /// The value of `WWW-Authenticate`.
    pub(super) fn challenge(&self, algorithm: AlgorithmType, stale: bool, now_ms: i64) -> String {
        let (realm, nonce, opaque) = (&self.realm, self.nonce(now_ms), self.seal("opaque"));
        let name = if algorithm == AlgorithmType::MD5 { "MD5" } else { "SHA-256" };
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm=\"{realm}\", qop=\"auth\", algorithm={name}, nonce=\"{nonce}\", opaque=\"{opaque}\"{stale}"
        )
    }

    fn seal(&self, text: &str) -> String {
        blake3::keyed_hash(&self.key, text.as_bytes()).to_hex()[..32].to_owned()
    }

    fn nonce(&self, now_ms: i64) -> String {
        format!("{now_ms:x}-{}", self.seal(&now_ms.to_string()))
    }

    /// When a nonce was made, if this source made it.
    fn made_ms(&self, nonce: &str) -> Option<i64> {
        let (made, _) = nonce.split_once('-')?;
        let made_ms = i64::from_str_radix(made, 16).ok()?;
        (self.nonce(made_ms) == nonce).then_some(made_ms)
    }

    /// Whether the value of `Authorization` proves that a request for `path` comes from this account.
    pub(super) fn verify(
        &self,
        authorization: &str,
        (method, path): (&str, &str),
        account: &Account,
        now_ms: i64,
    ) -> Result<(), Denied> {
        // It indexes by character: what is no ASCII does not get here, since header values that are not are not text.
        let said = AuthorizationHeader::parse(authorization).map_err(|_| Denied::Unreadable)?;
        let (Some(Qop::AUTH), Some(cnonce)) = (&said.qop, &said.cnonce) else { return Err(Denied::Unreadable) };
        if said.algorithm.sess || said.algorithm.algo != account.algorithm || said.userhash {
            return Err(Denied::Unreadable);
        }
        let made_ms = self.made_ms(&said.nonce).ok_or(Denied::Stale)?;
        if !(0..=NONCE_FOR_MS).contains(&(now_ms - made_ms)) {
            return Err(Denied::Stale);
        }
        let wants = format!("{method}:{}", said.uri);
        let ha2 = hash(account.algorithm, &wants);
        let (nonce, nc, ha1) = (&said.nonce, said.nc, account.ha1());
        let expected = hash(account.algorithm, &format!("{ha1}:{nonce}:{nc:08x}:{cnonce}:auth:{ha2}"));
        // Hashes of this kind are compared in constant time.
        let is_right = blake3::hash(expected.as_bytes()) == blake3::hash(said.response.to_ascii_lowercase().as_bytes());
        if !is_right || said.username != account.user || said.realm != self.realm || path_of(&said.uri) != path {
            return Err(Denied::Wrong);
        }
        self.count(said.nonce, nc, made_ms, now_ms)
    }

    /// A count is taken once, and none below one that was.
    fn count(&self, nonce: String, nc: u32, made_ms: i64, now_ms: i64) -> Result<(), Denied> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() >= NONCES_MAX {
            answered.retain(|_, (made_ms, _)| now_ms - *made_ms <= NONCE_FOR_MS);
        }
        let is_full = answered.len() >= NONCES_MAX;
        match answered.get_mut(&nonce) {
            Some((_, highest)) if *highest >= nc => Err(Denied::Replayed),
            Some((_, highest)) => {
                *highest = nc;
                Ok(())
            }
            // Whoever forgets a count could be told it again.
            None if is_full => Err(Denied::Stale),
            None => {
                answered.insert(nonce, (made_ms, nc));
                Ok(())
            }
        }
    }
}

/// The path in what a device says it asks for: some name the whole address.
fn path_of(uri: &str) -> &str {
    let behind_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    behind_scheme.split_once('?').map_or(behind_scheme, |(path, _)| path)
}

/// In lower-case hexadecimal.
pub(super) fn hash(algorithm: AlgorithmType, text: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    match algorithm {
        AlgorithmType::MD5 => hex(&md5::Md5::digest(text)),
        _ => hex(&sha2::Sha256::digest(text)),
    }
}

#[cfg(test)]
mod tests {
    use digest_auth::{AuthContext, WwwAuthenticateHeader};

    use super::super::accounts::ViidAccounts;
    use super::*;

    const ID: &str = "61010000001190000001";
    const PATH: &str = "/VIID/System/Register";

    fn accounts(algorithm: AlgorithmType) -> ViidAccounts {
        let ha1 = hash(algorithm, "gate:viid:secret");
        ViidAccounts::parse(&format!("device_id,user,ha1\n{ID},gate,{ha1}\n"), "viid").unwrap()
    }

    fn answer(challenge: &str, user: &str, password: &str, path: &str) -> String {
        let mut asked = WwwAuthenticateHeader::parse(challenge).unwrap();
        asked.respond(&AuthContext::new_post::<_, _, _, &[u8]>(user, password, path, None)).unwrap().to_string()
    }

    #[test]
    fn the_hash_is_that_of_the_rfc() {
        // RFC 7616, 3.9.1: HA1 of both algorithms.
        let text = "Mufasa:http-auth@example.org:Circle of Life";
        assert_eq!(hash(AlgorithmType::MD5, text), "3d78807defe7de2157e2b0b6573a855f");
        assert_eq!(
            hash(AlgorithmType::SHA2_256, text),
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
        );
    }

    #[test]
    fn the_right_answer_is_taken_once() {
        for algorithm in [AlgorithmType::MD5, AlgorithmType::SHA2_256] {
            let (accounts, challenges) = (accounts(algorithm), Challenges::new("viid".to_owned(), [7; 32]));
            let account = accounts.of(ID).unwrap();
            let verify = |said: &str, path, now_ms| challenges.verify(said, ("POST", path), account, now_ms);
            let challenge = challenges.challenge(algorithm, false, 1_000);
            let said = answer(&challenge, "gate", "secret", PATH);
            assert_eq!(verify(&said, PATH, 1_000 + NONCE_FOR_MS + 1), Err(Denied::Stale));
            assert_eq!(verify(&said, PATH, 999), Err(Denied::Stale));
            assert_eq!(verify(&said, "/VIID/MotorVehicles", 2_000), Err(Denied::Wrong), "another request");
            assert_eq!(challenges.verify(&said, ("GET", PATH), account, 2_000), Err(Denied::Wrong));
            assert_eq!(verify(&said, PATH, 2_000), Ok(()));
            assert_eq!(verify(&said, PATH, 2_000), Err(Denied::Replayed));

            // The same nonce again, counted on, as a device that signs every request does.
            let mut asked = WwwAuthenticateHeader::parse(&challenge).unwrap();
            let context = AuthContext::new_post::<_, _, _, &[u8]>("gate", "secret", PATH, None);
            let [first, second, third] = [(); 3].map(|()| asked.respond(&context).unwrap().to_string());
            assert_eq!(verify(&first, PATH, 2_000), Err(Denied::Replayed));
            assert_eq!(verify(&third, PATH, 2_000), Ok(()));
            assert_eq!(verify(&second, PATH, 2_000), Err(Denied::Replayed));
        }
    }

    #[test]
    fn whatever_is_wrong_is_denied() {
        let (accounts, challenges) = (accounts(AlgorithmType::MD5), Challenges::new("viid".to_owned(), [7; 32]));
        let account = accounts.of(ID).unwrap();
        let verify = |said: &str| challenges.verify(said, ("POST", PATH), account, 2_000);
        let challenge = challenges.challenge(AlgorithmType::MD5, false, 1_000);
        assert_eq!(verify(&answer(&challenge, "gate", "guessed", PATH)), Err(Denied::Wrong));
        assert_eq!(verify(&answer(&challenge, "door", "secret", PATH)), Err(Denied::Wrong));
        let elsewhere = Challenges::new("viid".to_owned(), [8; 32]).challenge(AlgorithmType::MD5, false, 1_000);
        assert_eq!(verify(&answer(&elsewhere, "gate", "secret", PATH)), Err(Denied::Stale), "another server's nonce");
        let stronger = challenges.challenge(AlgorithmType::SHA2_256, false, 1_000);
        assert_eq!(verify(&answer(&stronger, "gate", "secret", PATH)), Err(Denied::Unreadable));
        let without_qop = challenge.replace("qop=\"auth\", ", "");
        assert_eq!(verify(&answer(&without_qop, "gate", "secret", PATH)), Err(Denied::Unreadable));
        for said in ["", "Digest", "Basic Z2F0ZTpzZWNyZXQ=", "Digest username=\"gate\"", "Digest ,,,=\"\"\""] {
            assert_eq!(verify(said), Err(Denied::Unreadable), "{said}");
        }
        let whole_address = answer(&challenge, "gate", "secret", &format!("http://10.0.0.1:80{PATH}?a=1"));
        assert_eq!(verify(&whole_address), Ok(()));
    }
}

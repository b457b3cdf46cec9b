//! Health credentials: every vector of `dcc_testdata.ndjson` gives what its authors
//! state; cards signed here; bombs; and what a record becomes.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{NOW_MS, list, parse_pack};
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use weir_engine::credential::{Issuers, Outcome, Verifier};
use weir_engine::{Limits, Trial, TrialParts};
use weir_rules::Catalog;

fn vectors() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/identifiers/dcc_testdata.ndjson");
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Value sets as the EU publishes them, cut down to what the vectors use. PL/7 and PL/9 name a device and a holder
/// that no set has.
const VALUE_SETS: [&str; 2] = [
    r#"{ "valueSetId": "covid-19-lab-test-manufacturer-and-name", "valueSetValues": { "1218": {}, "1232": {} } }"#,
    r#"{ "valueSetId": "vaccines-covid-19-auth-holders",
        "valueSetValues": { "ORG-100001417": {}, "ORG-100030215": {}, "ORG-100031184": {}, "729999": {} } }"#,
];

fn clock_ms(vector: &Value) -> i64 {
    vector["validation_clock"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// Issuers that know the vector's certificate.
fn issuers(vector: &Value) -> Issuers {
    let mut issuers = Issuers::default();
    if let Some(certificate) = vector["certificate_b64"].as_str() {
        issuers.add(&json!({ "certificates": [certificate] }).to_string()).unwrap();
    }
    for set in VALUE_SETS {
        issuers.add(set).unwrap();
    }
    issuers
}

#[test]
fn every_vector_gives_what_its_authors_state() {
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    for vector in vectors() {
        let stated = |name: &str| vector["expected_by_author"][name].as_bool();
        let outcome = Verifier::new(Arc::new(issuers(&vector)), Vec::new()).verify(
            vector["prefix"].as_str().unwrap(),
            clock_ms(&vector),
            NOW_MS,
        );
        let refused = |names: &[&str]| names.iter().any(|name| stated(name) == Some(false));
        let allowed: &[Outcome] =
            if refused(&["EXPECTEDUNPREFIX", "EXPECTEDB45DECODE", "EXPECTEDCOMPRESSION", "EXPECTEDDECODE"]) {
                &[Outcome::Malformed]
            } else if refused(&["EXPECTEDVERIFY"]) {
                &[Outcome::BadSignature, Outcome::UnknownIssuer]
            } else if refused(&["EXPECTEDKEYUSAGE"]) {
                &[Outcome::UnknownIssuer]
            } else if refused(&["EXPECTEDSCHEMAVALIDATION", "EXPECTEDVALIDOBJECT"]) {
                &[Outcome::Malformed]
            } else if refused(&["EXPECTEDEXPIRATIONCHECK"]) {
                &[Outcome::Expired]
            } else if stated("EXPECTEDEXPIRATIONCHECK").is_none() {
                // Their clock may stand before the day of issue; nothing is stated about time.
                &[Outcome::Valid, Outcome::Expired]
            } else {
                &[Outcome::Valid]
            };
        assert!(allowed.contains(&outcome), "{} {}: {outcome:?}, not {allowed:?}", vector["id"], vector["description"]);
        *seen.entry(outcome.word()).or_default() += 1;
    }
    let counts = [("bad_signature", 1), ("expired", 12), ("malformed", 3), ("unknown_issuer", 9), ("valid", 63)];
    assert_eq!(seen, counts.into(), "88 vectors");
}

#[test]
fn nothing_is_valid_without_the_issuers_key_nor_after_a_change() {
    let vector = &vectors()[0];
    let text = vector["prefix"].as_str().unwrap();
    assert_eq!(Verifier::default().verify(text, clock_ms(vector), NOW_MS), Outcome::UnknownIssuer);
    let verifier = Verifier::new(Arc::new(issuers(vector)), Vec::new());
    for at in (4..text.len()).step_by(7) {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_ne!(verifier.verify(&changed, clock_ms(vector), NOW_MS), Outcome::Valid, "changed at {at}");
        assert_ne!(verifier.verify(&text[..at], clock_ms(vector), NOW_MS), Outcome::Valid, "cut at {at}");
    }
    assert_eq!(verifier.verify(text, clock_ms(vector), NOW_MS), Outcome::Valid);
    assert_eq!(verifier.verify(text, 1_635_876_000_000, NOW_MS), Outcome::Valid);
    assert_eq!(verifier.verify(text, 1_635_876_000_001, NOW_MS), Outcome::Expired);
}

/// A SMART Health Cards issuer.
struct Issuer {
    pair: EcdsaKeyPair,
    kid: String,
    file: String,
}

const ISS: &str = "https://health.example/issuer";

fn issuer() -> Issuer {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let thumb = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, thumb.as_bytes()));
    let key = json!({ "kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y });
    let file = json!({ "issuers": [{ "iss": ISS, "keys": [key] }] }).to_string();
    Issuer { pair, kid, file }
}

fn claims() -> Value {
    json!({
        "iss": ISS, "nbf": 1_700_000_000, "exp": 1_800_000_000,
        "vc": { "type": ["https://smarthealth.cards#health-card"], "rid": "abc123", "credentialSubject": { "fhirBundle": {} } }
    })
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn numeric(token: &str) -> String {
    token.bytes().fold("shc:/".to_owned(), |mut text, byte| {
        write!(text, "{:02}", byte - 45).unwrap();
        text
    })
}

fn card(issuer: &Issuer, header: &Value, payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = issuer.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    numeric(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[test]
fn smart_health_cards() {
    let issuer = issuer();
    let mut issuers = Issuers::default();
    issuers.add(&issuer.file).unwrap();
    let verifier = Verifier::new(Arc::new(issuers), Vec::new());
    let header = json!({ "zip": "DEF", "alg": "ES256", "kid": issuer.kid });
    let at = |card: &str, second: i64| verifier.verify(card, second * 1000, NOW_MS);
    let of = |claims: Value| card(&issuer, &header, &deflated(claims.to_string().as_bytes()));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        of(claims)
    };
    let good = of(claims());
    assert_eq!(at(&good, 1_750_000_000), Outcome::Valid);
    assert_eq!(at(&good, 1_699_999_999), Outcome::Expired);
    assert_eq!(at(&good, 1_800_000_000), Outcome::Expired);
    assert_eq!(at(&with(&|claims| drop(claims.as_object_mut().unwrap().remove("exp"))), 4_000_000_000), Outcome::Valid);
    let malformed = [
        with(&|claims| claims["iss"] = json!(format!("{ISS}/"))),
        with(&|claims| claims["iss"] = json!("http://health.example/issuer")),
        with(&|claims| claims["vc"]["type"] = json!(["other"])),
        card(&issuer, &json!({ "zip": "DEF", "alg": "none", "kid": issuer.kid }), &deflated(b"{}")),
        card(&issuer, &json!({ "alg": "ES256", "kid": issuer.kid }), claims().to_string().as_bytes()),
        card(&issuer, &header, b"not deflate"),
        "shc:/1".into(),
        "shc:/1/2/5676".into(),
        "shc:/56x6".into(),
        String::new(),
        "HC2:ABC".into(),
    ];
    for card in malformed {
        assert_eq!(at(&card, 1_750_000_000), Outcome::Malformed, "{card}");
    }
    assert_eq!(
        at(&with(&|claims| claims["iss"] = json!("https://other.example")), 1_750_000_000),
        Outcome::UnknownIssuer
    );
    let other = Issuer { kid: issuer.kid.clone(), ..self::issuer() };
    let forged = card(&other, &header, &deflated(claims().to_string().as_bytes()));
    assert_eq!(at(&forged, 1_750_000_000), Outcome::BadSignature);
}

#[test]
fn keys_that_are_not_what_they_say_are_refused() {
    let issuer = issuer();
    let wrong_kid = issuer.file.replace(&issuer.kid, "AAAA");
    assert!(Issuers::default().add(&wrong_kid).unwrap_err().to_string().contains("thumbprint"));
    assert!(Issuers::default().add("{ \"keyz\": [] }").is_err());
    assert!(
        Issuers::default().add("{ \"certificates\": [\"AAAA\"] }").unwrap_err().to_string().contains("certificate 1")
    );
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        vectors()[0]["certificate_b64"].as_str().unwrap()
    );
    let mut issuers = Issuers::default();
    issuers.add(&pem).unwrap();
    assert_eq!(issuers.len(), 1);
}

/// RFC 9285, the other way round.
fn base45(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    let mut text = String::from("HC1:");
    for pair in bytes.chunks(2) {
        let mut number = pair.iter().fold(0usize, |number, byte| number * 256 + usize::from(*byte));
        for _ in 0..=pair.len() {
            text.push(char::from(ALPHABET[number % 45]));
            number /= 45;
        }
    }
    text
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0u8; 12 << 20];
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&zeros[..8 << 20]).unwrap();
    let bomb = base45(&encoder.finish().unwrap());
    assert!(bomb.len() < 16 * 1024);
    let nested = base45(&vec![0x81; 9_000]);
    let issuer = issuer();
    let deep = card(&issuer, &json!({ "zip": "DEF", "alg": "ES256", "kid": issuer.kid }), &deflated(&zeros[..4 << 20]));
    let started = std::time::Instant::now();
    for text in [bomb, nested, deep, "HC1:".repeat(100_000)] {
        assert_eq!(Verifier::default().verify(&text, NOW_MS, NOW_MS), Outcome::Malformed);
    }
    assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
}

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { health: { legal_basis: act 1 } }
lists:
  taken-back: { kind: revoked_credential, from: l.csv, key: credential_id, purpose: health }
rules:
  - id: not-valid
    kind: match
    from: code
    where: \"outcome <> 'valid'\"
    purpose: health
    say: \"{outcome} {status} at {site}\"
";

#[test]
fn a_record_keeps_the_outcome_and_nothing_else() {
    let vector = &vectors()[0];
    let text = vector["prefix"].as_str().unwrap();
    let id = vector["computed"]["dgc"]["v"][0]["ci"].as_str().unwrap().to_uppercase();
    let pack = parse_pack(PACK);
    let run = |csv: &str, lines: &[String]| {
        let lists = vec![list(&pack, 0, csv)];
        let mut parts = TrialParts::new(Catalog::builtin(), vec![(pack.clone(), lists)]);
        parts.limits = Limits { max_ahead_ms: i64::MAX, ..Limits::default() };
        parts.issuers = Arc::new(issuers(vector));
        let mut trial = Trial::new(parts).unwrap();
        trial.feed(&(lines.join("\n") + "\n"));
        let said: Vec<String> = trial.outputs().iter().map(weir_engine::Output::to_json).collect();
        (said, trial.checkpoint(), trial.into_summary())
    };
    let record = |id: u32, more: &str| {
        format!(
            "{{\"kind\":\"code\",\"event_id\":\"{id}\",\"ts\":{},\"site\":\"g\",\"device\":\"g-1\"{more}}}",
            clock_ms(vector)
        )
    };
    let credential = |text: &str| format!(",\"credential\":{}", json!(text));
    let lines = [
        record(1, &credential(text)),
        record(2, &credential(&text[..100])),
        record(3, ",\"status\":\"green\""),
        record(4, ""),
        record(5, &(credential("HC1:X") + ",\"status\":\"green\"")),
        record(6, ",\"credential\":7,\"status\":\"green\""),
    ];
    let nobody = "credential_id,entry_id,expires\nURN:UVCI:OTHER,E1,2027-01-01\n";
    let (said, checkpoint, summary) = run(nobody, &lines);
    let texts: Vec<String> = said
        .iter()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).unwrap()["say"].as_str()?.to_owned()))
        .collect();
    assert_eq!(texts, ["malformed invalid at g", "malformed green at g", "malformed green at g"]);
    assert_eq!(summary.total().rejected, 1, "a code has a status or a credential");
    let listed = format!("credential_id,entry_id,expires\n{id},E1,2099-01-01\n");
    let (said_revoked, _, _) = run(&listed, &lines[..1]);
    assert!(said_revoked[0].contains("revoked invalid at g"), "{said_revoked:?}");
    for part in [text, &text[10..40], &id, "Musterfrau", "MUSTERFRAU"] {
        let found = said.iter().chain(&said_revoked).any(|line| line.contains(part));
        let kept = checkpoint.windows(part.len()).any(|window| window == part.as_bytes());
        assert!(!found && !kept, "{part} is left");
    }
}

//! A credential whose signature has to be verified, and who signed it.

use serde_json::Value;
use weir_engine::credential::Issuers;

/// Credentials and the certificates of who signed them.
const CREDENTIALS: &str = include_str!("../../testdata/identifiers/dcc_testdata.ndjson");

fn first() -> Value {
    let first = CREDENTIALS.lines().next().expect("there are some");
    serde_json::from_str(first).expect("a credential, and who signed it")
}

/// The first credential of the test data, as JSON has it, quotes and all.
///
/// # Panics
/// When the test data is damaged.
pub fn credential() -> String {
    first()["prefix"].to_string()
}

/// Who signed it.
///
/// # Panics
/// When the test data is damaged.
pub fn issuers() -> Issuers {
    let mut issuers = Issuers::default();
    let certificates = serde_json::json!({ "certificates": [first()["certificate_b64"]] });
    issuers.add(&certificates.to_string()).expect("a certificate");
    issuers
}

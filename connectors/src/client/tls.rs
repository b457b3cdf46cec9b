//! TLS towards servers: by the roots of the system, or those of a file.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Nobody can be trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// A configuration that trusts the authorities in `ca` (PEM), or those of the system.
///
/// # Errors
/// When there is no certificate among them that can be read.
pub fn tls_config(ca: Option<&str>) -> Result<Arc<ClientConfig>, TlsError> {
    // The first installed provider stays; a second attempt is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| TlsError(format!("no certificate in PEM: {error}")))?;
                roots.add(certificate).map_err(|error| TlsError(format!("a certificate cannot be used: {error}")))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(TlsError("no authority is trusted; name a file with `ca_file`".to_owned()));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::tls_config;

    #[test]
    fn what_holds_no_certificate_is_refused() {
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(tls_config(Some(pem)).is_err(), "{pem}");
        }
    }
}

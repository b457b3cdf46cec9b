//! A store that speaks S3 (s3s-fs, with signatures checked), which keeps objects as files in a folder.
#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::new_without_default,
    reason = "each test file uses its part"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::common::nobody;

/// The one bucket there is.
const BUCKET: &str = "kept";
/// What names of objects begin with.
const PREFIX: &str = "border/north";

/// The store, running or not; what it holds stays.
pub struct S3 {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    running: Option<Runtime>,
}

impl S3 {
    /// One that is not running.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        Self { address: nobody(), folder, running: None }
    }

    /// `store: {...}` of an archive; the secret key is in the file `password`.
    pub fn store(&self) -> String {
        let address = self.address;
        format!(
            "store: {{ url: \"http://{address}\", bucket: {BUCKET}, prefix: {PREFIX}, user: weir, password_file: password }}"
        )
    }

    /// Where it keeps an object of ours.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(PREFIX).join(name)
    }

    /// The folder of what an archive has put into it.
    pub fn archive(&self) -> PathBuf {
        self.path("")
    }

    pub fn start(&mut self) {
        self.start_with(None);
    }

    /// Starts it over TLS, by this certificate (PEM).
    pub fn start_by_tls(&mut self, certificate: &Path, key: &Path) {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_file(key).unwrap(),
            );
        self.start_with(Some(TlsAcceptor::from(Arc::new(config.unwrap()))));
    }

    fn start_with(&mut self, tls: Option<TlsAcceptor>) {
        let runtime = Runtime::new().unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(self.folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("weir", "s3cr3t"));
        runtime.spawn(serve(self.address, tls, builder.build()));
        self.running = Some(runtime);
    }

    pub fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(address: SocketAddr, tls: Option<TlsAcceptor>, service: S3Service) {
    // The one before may still be leaving.
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            // Whoever does not trust us goes away.
            match tls {
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

/// The files of a stream in an archive, oldest first.
pub fn files(archive: &Path, stream: &str, ending: &str) -> Vec<PathBuf> {
    let pattern = archive.join(stream).join(format!("date=*/*weir-*.{ending}"));
    glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap).collect()
}

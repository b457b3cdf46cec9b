//! Objects of a store that speaks S3: where they are, and how weir signs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};

use super::{Finding, Login};

/// A request takes at most so long: a file of an archive, over a slow line.
const TIMEOUT: Duration = Duration::from_mins(5);
/// How long the store may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of what a store says that are told.
const SAID_MAX: usize = 300;

/// A bucket, and the part of it that is ours.
#[derive(Debug, Clone)]
pub struct S3Bucket {
    /// Where the store is, as in `https://s3.example.org`.
    pub endpoint: String,
    /// Its name.
    pub bucket: String,
    /// What every name begins with; empty for the whole of it.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Authorities that are trusted (PEM) instead of the system's.
    pub ca: Option<String>,
    /// The id of an access key, and the secret one.
    pub login: Login,
}

/// What went wrong and why, short enough to be told.
pub(crate) fn told(error: &object_store::Error) -> String {
    let short = |text: String| -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_MAX).collect()
    };
    let said = short(error.to_string());
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    // That a certificate is not trusted is said at the very end.
    match chain.last().map(|cause| short(cause.to_string())) {
        Some(cause) if !said.contains(&cause) => format!("{said}: {cause}"),
        _ => said,
    }
}

impl S3Bucket {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When it cannot be such a store.
    pub fn open(&self) -> Result<Arc<AmazonS3>, String> {
        let mut options = ClientOptions::new()
            .with_timeout(TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(self.endpoint.starts_with("http://"));
        if let Some(pem) = &self.ca {
            for certificate in Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| told(&error))? {
                options = options.with_root_certificate(certificate);
            }
        }
        let store = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.login.user)
            .with_secret_access_key(&self.login.password)
            .with_client_options(options)
            // Whoever uses it asks again, and says so.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build();
        store.map(Arc::new).map_err(|error| told(&error))
    }

    /// The name of an object of ours.
    pub(crate) fn path(&self, parts: &[&str]) -> Path {
        let prefix = self.prefix.split('/').filter(|part| !part.is_empty());
        prefix.chain(parts.iter().copied()).collect()
    }

    /// Tries what an archive does: look, write, and remove.
    pub async fn probe(&self) -> Vec<Finding> {
        let store = match self.open() {
            Ok(store) => store,
            Err(message) => return vec![Err(message)],
        };
        let where_to = format!("bucket `{}` of {}", self.bucket, self.endpoint);
        let looked = store.list_with_delimiter(Some(&self.path(&[]))).await;
        let mut findings = vec![match looked {
            Ok(_) => Ok(format!("{where_to} can be looked into")),
            Err(error) => Err(format!("{where_to} cannot be looked into: {}", told(&error))),
        }];
        if findings[0].is_ok() {
            let trial = self.path(&["weir-connect-test"]);
            let (written, removed) = match store.put(&trial, "weir".into()).await {
                Ok(_) => (Ok("an object can be written".to_owned()), store.delete(&trial).await),
                Err(error) => (Err(format!("no object can be written: {}", told(&error))), Ok(())),
            };
            findings.push(written);
            let fault =
                |error| format!("`{trial}` cannot be removed, and neither can days past `keep_for`: {}", told(&error));
            findings.extend(removed.err().map(|error| Err(fault(error))));
        }
        findings
    }
}

/// Removes what is under a name.
pub(crate) async fn remove_all(store: &AmazonS3, under: &Path) -> object_store::Result<()> {
    let mut objects = store.list(Some(under));
    while let Some(object) = objects.try_next().await? {
        store.delete(&object.location).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_under_the_prefix() {
        let mut bucket = S3Bucket {
            endpoint: "http://127.0.0.1:1".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            ca: None,
            login: Login { user: "u".to_owned(), password: "p".to_owned() },
        };
        assert_eq!(bucket.path(&["alerts", "date=2026-11-26"]).as_ref(), "alerts/date=2026-11-26");
        bucket.prefix = "/border/north/".to_owned();
        assert_eq!(bucket.path(&["alerts"]).as_ref(), "border/north/alerts");
        assert!(bucket.open().is_ok());
        bucket.ca = Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
        assert!(bucket.open().is_err());
    }
}

//! Webhook: one `POST` an output, with an idempotency key, tried again with back-off.
//!
//! A receiver that is down, overloaded or answers 5xx, 408 or 429 is tried again until
//! `retry_for` has passed; then the sink has failed, or leaves it to the outbox to ask again. Any other 4xx is a receiver that has understood
//! and refuses: the output is counted as refused and the next one sent.

mod template;

use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use tokio::runtime::Handle;
use weir_engine::{Output, Sink, SinkError};

use super::Patience;
use crate::client::Finding;

pub use template::Template;

/// The sink cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpSinkError(String);

/// Posts outputs to a URL.
pub struct HttpSink {
    url: String,
    client: Client,
    template: Template,
    retry_for: Duration,
    refused: u64,
    runtime: Handle,
}

impl HttpSink {
    /// A sink for this URL. `token`, read from a file, is sent as a bearer token.
    pub fn new(
        url: &str,
        token: Option<&str>,
        template: Template,
        retry_for: Duration,
        runtime: Handle,
    ) -> Result<Self, HttpSinkError> {
        let fault = |error: String| HttpSinkError(format!("{url}: {error}"));
        // The first installed provider stays; a second attempt is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = header::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(template.content_type()));
        if let Some(token) = token {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| fault("the token holds characters that a header cannot".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self { url: url.to_owned(), client, template, retry_for, refused: 0, runtime })
    }

    /// Asks the receiver what it takes (`OPTIONS`): whether somebody is there, without telling anything.
    pub fn probe(&self) -> Finding {
        let asking = async { self.client.request(reqwest::Method::OPTIONS, &self.url).send().await };
        match self.runtime.block_on(asking) {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED || answer.status() == StatusCode::FORBIDDEN => {
                Err(format!("{} does not let us in ({}); look at `token_file`", self.url, answer.status()))
            }
            Ok(answer) => Ok(format!("somebody answers at {} ({}, to OPTIONS)", self.url, answer.status())),
            Err(error) => Err(format!("{}: {}", self.url, crate::client::nats::told(&error.without_url()))),
        }
    }

    async fn post(&self, output: &Output) -> Result<bool, SinkError> {
        let body = self.template.body(output);
        let mut patience = Patience::new(self.retry_for);
        loop {
            let mut request = self.client.post(&self.url).body(body.clone());
            if let Some(key) = output.idempotency_key() {
                request = request.header("Idempotency-Key", key);
            }
            let trouble = match request.send().await.map(|response| response.status()) {
                Ok(status) if status.is_success() => return Ok(true),
                Ok(status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)) => status.to_string(),
                Ok(status) if status.is_client_error() || status.is_redirection() => {
                    return Ok(false);
                }
                Ok(status) => status.to_string(),
                Err(error) => error.without_url().to_string(),
            };
            tokio::time::sleep(patience.next(&self.url, &trouble)?).await;
        }
    }
}

impl Sink for HttpSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        for (delivered, output) in outputs.iter().enumerate() {
            match self.runtime.block_on(self.post(output)) {
                Ok(true) => {}
                Ok(false) => self.refused += 1,
                Err(error) => return Err(error.after(delivered)),
            }
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

//! A platform of GA/T 1400 that weir speaks to: registers with HTTP Digest, names itself from then on, and is answered a
//! status for each object.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Finding, Login, digest};
use crate::source::loose::Loose;

/// Time for an answer; as real devices have it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Busy (`StatusCode` of GA/T 1400.4, appendix).
const BUSY: &str = "2";

/// A platform, and who we are to it.
#[derive(Debug, Clone)]
pub struct ViidPlatform {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is trusted; `None` for a connection in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// Twenty digits that it knows us by.
    pub our_id: String,
    /// Who we are.
    pub login: Login,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    Taken,
    /// It has no room now.
    Busy,
    Refused,
}

/// Requests to a platform, one after the other.
pub(crate) struct ViidSession {
    platform: ViidPlatform,
    client: Client,
    registered: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    #[serde(rename = "ResponseStatusListObject")]
    list: StatusList,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusList {
    #[serde(rename = "ResponseStatusObject")]
    statuses: Vec<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(rename = "StatusCode")]
    code: Loose,
}

impl ViidPlatform {
    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("viid {}:{}", self.host, self.port)
    }

    pub(crate) fn session(&self) -> Result<ViidSession, String> {
        // The first installed provider stays; a second attempt is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if let Some(tls) = &self.tls {
            builder = builder.tls_backend_preconfigured(ClientConfig::clone(tls));
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(ViidSession { platform: self.clone(), client, registered: false })
    }

    /// Tries to register.
    pub async fn probe(&self) -> Finding {
        let registered = async { self.session()?.register().await }.await;
        match registered {
            Ok(()) => Ok(format!("{} lets us in as {}", self.place(), self.our_id)),
            Err(trouble) => Err(format!("{}: {trouble}", self.place())),
        }
    }
}

impl ViidSession {
    async fn request(&self, method: &str, path: &str, body: &Value) -> Result<(StatusCode, Vec<u8>), String> {
        let ViidPlatform { host, port, tls, our_id, login } = &self.platform;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = format!("{scheme}://{host}:{port}{path}");
        let method_of = method.parse().map_err(|_| format!("{method} is no method"))?;
        let text = body.to_string();
        let request = || {
            let request = self.client.request(reqwest::Method::clone(&method_of), &url).body(text.clone());
            request.header("User-Identify", our_id).header("Content-Type", "application/VIID+JSON;charset=UTF-8")
        };
        let answer = digest::send(request, (method, path), Some(login)).await?;
        Ok((answer.status(), digest::read(answer, ANSWER_BYTES_MAX).await?))
    }

    async fn register(&mut self) -> Result<(), String> {
        let body = json!({ "RegisterObject": { "DeviceID": self.platform.our_id } });
        match self.request("POST", "/VIID/System/Register", &body).await?.0 {
            // The latter where it asks nobody to register.
            StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                self.registered = true;
                Ok(())
            }
            StatusCode::UNAUTHORIZED => Err("it does not let us in; look at id, `user` and `password_file`".to_owned()),
            other => Err(format!("it answers {other} when we register")),
        }
    }

    /// Says that we are there.
    pub(crate) async fn keep_alive(&mut self) -> Result<(), String> {
        let body = json!({ "KeepaliveObject": { "DeviceID": self.platform.our_id } });
        self.asked("POST", "/VIID/System/Keepalive", &body).await.map(drop)
    }

    /// Asks for something, registered; registers once more where it has forgotten us.
    async fn asked(&mut self, method: &str, path: &str, body: &Value) -> Result<(StatusCode, Vec<u8>), String> {
        if !self.registered {
            self.register().await?;
        }
        let answer = self.request(method, path, body).await?;
        if answer.0 != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.register().await?;
        self.request(method, path, body).await
    }

    /// What became of each of the `count` objects in a body.
    pub(crate) async fn objects(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
        count: usize,
    ) -> Result<Vec<Became>, String> {
        let (status, bytes) = self.asked(method, path, body).await?;
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| {
            format!("its answer is no list of statuses (line {}, column {})", error.line(), error.column())
        })?;
        let statuses: Vec<Became> = answer
            .list
            .statuses
            .iter()
            .map(|status| match status.code.text() {
                Some("0") => Became::Taken,
                Some(BUSY) => Became::Busy,
                _ => Became::Refused,
            })
            .collect();
        if statuses.len() == count {
            return Ok(statuses);
        }
        Err(format!("it answers {} statuses for {count} objects", statuses.len()))
    }
}

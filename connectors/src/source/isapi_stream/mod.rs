//! Hikvision ISAPI, asked instead of waited for: `alertStream`, one answer that never ends, with a part for each event.
//!
//! What happens while nobody is connected is not told afterwards. Cameras say every few seconds that they are there; one that
//! does not is asked anew.

mod parts;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use weir_engine::backoff::Backoff;
use weir_engine::record::Reason;
use weir_engine::source::{Format, Payload};
use weir_engine::{Feed, Source, SourceError};

use self::parts::{Part, Parts};
use super::push::{Names, PushDialect, Told};
use super::{PushPlace, STOP_POLL, keep_trying};
use crate::client::{Finding, Login, digest};

/// Where events are, at every device.
const PATH: &str = "/ISAPI/Event/notification/alertStream";
/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A device that says nothing for so long, not even that it is there, is asked anew.
const SILENT: Duration = Duration::from_mins(1);
/// Longest event; longer parts are pictures.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Asks a device for its events.
pub struct IsapiStreamSource {
    /// `http://HOST:PORT` or `https://...`.
    url: String,
    /// Whom it trusts, where it is asked over TLS.
    tls: Option<Arc<ClientConfig>>,
    /// Who we are to it.
    login: Login,
    /// Where it is.
    place: PushPlace,
    /// Where the connection runs.
    runtime: Handle,
    names: Names,
}

impl Source for IsapiStreamSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let fault = |message: String| SourceError::new(format!("isapi {}", self.url), message);
        let client = self.client().map_err(fault)?;
        self.runtime
            .block_on(keep_trying(&feed, &self.url, async |backoff| self.listen(&client, &feed, backoff).await));
        Ok(())
    }
}

impl IsapiStreamSource {
    /// A device at `url` (`http://HOST:PORT` or `https://...`). `tls` says whom it trusts, where it is asked over TLS.
    pub fn new(url: String, tls: Option<Arc<ClientConfig>>, login: Login, place: PushPlace, runtime: Handle) -> Self {
        Self { url, tls, login, place, runtime, names: Names::default() }
    }

    fn client(&self) -> Result<Client, String> {
        // The first installed provider stays; a second attempt is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENT);
        if let Some(tls) = &self.tls {
            builder = builder.tls_backend_preconfigured(ClientConfig::clone(tls));
        }
        builder.redirect(reqwest::redirect::Policy::none()).build().map_err(|error| error.to_string())
    }

    /// Tries to be let in; no event is taken.
    pub fn probe(&self) -> Finding {
        let client = self.client()?;
        let asked = async { tokio::time::timeout(CONNECT_TIMEOUT, self.ask(&client)).await };
        match self.runtime.block_on(asked) {
            Ok(answer) => answer.map(|_| "the device lets us in, and tells its events".to_owned()),
            Err(_) => Err(format!("the device does not answer within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }

    /// The answer that never ends, and what divides its parts.
    async fn ask(&self, client: &Client) -> Result<(Response, String), String> {
        let url = format!("{}{PATH}", self.url);
        let answer = digest::send(|| client.get(&url), ("GET", PATH), Some(&self.login)).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err("the device does not let us in; look at `user` and `password_file`".to_owned());
            }
            other => return Err(format!("the device answers {other}")),
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
        let boundary = boundary.filter(|_| kind.starts_with("multipart/")).map(|it| it.trim_matches('"').to_owned());
        boundary
            .map(|boundary| (answer, boundary))
            .ok_or_else(|| "the device answers with no stream of events".to_owned())
    }

    /// One answer, to its end.
    async fn listen(&self, client: &Client, feed: &Feed, backoff: &mut Backoff) -> Result<(), String> {
        let (answer, boundary) = self.ask(client).await?;
        let mut answer = answer;
        let mut parts = Parts::new(&boundary, async || answer.chunk().await.map_err(digest::told));
        loop {
            tokio::select! {
                part = parts.next(EVENT_BYTES_MAX) => {
                    let part = part?.ok_or("the device has ended the stream")?;
                    *backoff = Backoff::endless();
                    feed.say_trouble(None);
                    if let Part::Event(event) = part {
                        self.take(&event, feed);
                    }
                }
                () = stopped(feed) => return Ok(()),
            }
        }
    }

    fn take(&self, event: &[u8], feed: &Feed) {
        let text = std::str::from_utf8(event).map_err(|_| "the event is not UTF-8".to_owned());
        let told = text
            .and_then(|text| PushDialect::Isapi.told(text.trim_start_matches('\u{feff}'), &self.place, &self.names));
        let payload = match told {
            Ok(Told { lines, alive }) if lines.is_empty() => {
                if !alive.is_empty() {
                    feed.alive(alive);
                }
                return;
            }
            Ok(Told { lines, .. }) => Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None },
            Err(why) => Payload::Refused(vec![(Reason::bad_event(why).into(), String::new())]),
        };
        block_in_place(|| feed.send(self.url.as_str().into(), 0, payload));
    }
}

async fn stopped(feed: &Feed) {
    while !feed.stopping() {
        tokio::time::sleep(STOP_POLL).await;
    }
}

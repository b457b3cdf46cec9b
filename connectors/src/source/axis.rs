//! Axis people counters: their running totals of the day, asked for again and again.
//!
//! A total holds all that was counted before, so that nothing is lost where an answer is; that it begins anew is seen where totals
//! are counted. Asked with HTTP Digest where the counter wants that.

use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use weir_engine::source::{Format, Payload};
use weir_engine::{Feed, Source, SourceError};

use super::{PushPlace, local_time};
use crate::client::{Finding, Login, digest};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks a counter.
pub struct AxisSource {
    /// What it answers with its totals (`live-sum.json`).
    pub url: String,
    /// Who we are to it.
    pub login: Option<Login>,
    /// How often it is asked.
    pub every: Duration,
    /// IANA name of the zone of its times.
    pub timezone: String,
    /// Where it is.
    pub place: PushPlace,
    /// Where the connection runs.
    pub runtime: Handle,
}

/// An answer; what else is in it is passed over.
#[derive(Debug, Deserialize)]
struct Totals {
    serial: String,
    timestamp: String,
    #[serde(rename = "in")]
    entered: u64,
    #[serde(rename = "out")]
    left: u64,
}

impl Source for AxisSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let fault = |message: String| SourceError::new(format!("axis {}", self.url), message);
        let zone = TimeZone::get(&self.timezone).map_err(|error| fault(error.to_string()))?;
        let client = digest::client(TIMEOUT).map_err(fault)?;
        let mut last = String::new();
        let ask = async || {
            let totals = self.ask(&client).await?;
            let lines = self.lines(&totals, &zone)?;
            // What it said before it need not say again.
            if totals.timestamp != last {
                last = totals.timestamp;
                let payload = Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None };
                block_in_place(|| feed.send(self.url.as_str().into(), 0, payload));
            }
            Ok(())
        };
        self.runtime.block_on(super::keep_asking(&feed, self.every, ask));
        Ok(())
    }
}

impl AxisSource {
    /// Asks once.
    pub fn probe(&self) -> Finding {
        let client = digest::client(TIMEOUT)?;
        let totals = self.runtime.block_on(self.ask(&client))?;
        let zone = TimeZone::get(&self.timezone).map_err(|error| error.to_string())?;
        self.lines(&totals, &zone)?;
        Ok(format!("counter {} says {} in, {} out", totals.serial, totals.entered, totals.left))
    }

    async fn ask(&self, client: &Client) -> Result<Totals, String> {
        let url = reqwest::Url::parse(&self.url).map_err(|error| error.to_string())?;
        let asked = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let answer = digest::send(|| client.get(url.clone()), ("GET", &asked), self.login.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err("the counter does not let us in; look at `user` and `password_file`".to_owned());
        }
        if !answer.status().is_success() {
            return Err(format!("the counter answers {}", answer.status()));
        }
        let bytes = digest::read(answer, ANSWER_BYTES_MAX).await?;
        // Whatever else may stand there is quoted nowhere.
        serde_json::from_slice(&bytes).map_err(|error| {
            format!("the answer is no `live-sum.json` (line {}, column {})", error.line(), error.column())
        })
    }

    /// Two records: in and out.
    fn lines(&self, totals: &Totals, zone: &TimeZone) -> Result<String, String> {
        let Totals { serial, timestamp, entered, left } = totals;
        let ts = local_time::to_utc(timestamp, zone)
            .ok_or_else(|| "the counter's time is not written as yyyyMMddHHmmss".to_owned())?;
        let line = |direction: &str, total: &u64| {
            let mut record = json!({
                "kind": "person", "event_id": format!("{serial} {ts} {direction}"), "ts": ts, "device": serial,
                "direction": direction, "total": total, "site": self.place.site.as_deref().unwrap_or(serial),
            });
            if let Some(zone) = &self.place.zone {
                record["zone"] = zone.as_str().into();
            }
            record.to_string() + "\n"
        };
        Ok(line("in", entered) + &line("out", left))
    }
}

//! Subscriptions: weir asks a platform for the vehicles that it sees, which it then posts to `/VIID/SubscribeNotifications`.
//!
//! A subscription is asked for by an id that is always the same, so that one which outlived a crash is gone on with; it is
//! renewed long before it ends, and cancelled as the run ends.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_engine::Feed;
use weir_engine::backoff::Backoff;

use crate::client::ViidPlatform;
use crate::client::viid::{Became, ViidSession};
use crate::source::local_time;

/// Where subscriptions are asked for.
const PATH: &str = "/VIID/Subscribes";
/// Vehicles (GA/T 1400.3, `SubscribeDetail`).
const VEHICLES: &str = "13";
/// How long a subscription lasts.
const LASTS: Duration = Duration::from_hours(48);
/// It is renewed after so long.
const RENEWED_AFTER: Duration = Duration::from_hours(12);

/// What is asked of a platform.
#[derive(Debug, Clone)]
pub struct ViidSubscription {
    /// Whom.
    pub platform: ViidPlatform,
    /// Where this server is, as the platform sees it: `http://HOST:PORT`.
    pub receive_at: String,
    /// Who asks, and why; the platform keeps it.
    pub applicant: String,
    /// His organisation.
    pub organisation: String,
    /// Why.
    pub reason: String,
    /// How often it may post what it has, seconds; 0 for at once.
    pub report_every_s: u32,
}

/// What each subscription has met, told as one.
#[derive(Default)]
pub(super) struct Troubles(Mutex<BTreeMap<usize, String>>);

impl Troubles {
    fn note(&self, feed: &Feed, number: usize, trouble: Option<String>) {
        let mut troubles = self.0.lock();
        let had = troubles.len();
        match trouble {
            Some(trouble) => drop(troubles.insert(number, trouble)),
            None => drop(troubles.remove(&number)),
        }
        if had > 0 || !troubles.is_empty() {
            let all: Vec<&str> = troubles.values().map(String::as_str).collect();
            feed.say_trouble((!all.is_empty()).then(|| all.join("; ")));
        }
    }
}

impl ViidSubscription {
    /// Keeps it going until the run ends.
    pub(super) async fn keep(&self, number: usize, feed: &Feed, zone: &TimeZone, troubles: &Troubles) {
        let mut backoff = Backoff::endless();
        let mut session = None;
        while !feed.stopping() {
            match self.ask(&mut session, number, feed.clock().wall_ms(), zone).await {
                Ok(()) => {
                    backoff = Backoff::endless();
                    troubles.note(feed, number, None);
                    super::super::pause_for(feed, RENEWED_AFTER).await;
                }
                Err(trouble) => {
                    troubles.note(feed, number, Some(format!("{}: {trouble}", self.platform.place())));
                    super::super::pause(feed, &mut backoff).await;
                }
            }
        }
        if let Some(session) = &mut session {
            let cancelled = self.object(number, feed.clock().wall_ms(), zone, true);
            // A platform that does not hear of it lets it run out.
            let _ = session.objects("PUT", PATH, &list(&cancelled), 1).await;
        }
    }

    /// Asks for it, or, where the platform has it already, for more of it.
    async fn ask(
        &self,
        session: &mut Option<ViidSession>,
        number: usize,
        now_ms: i64,
        zone: &TimeZone,
    ) -> Result<(), String> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.platform.session()?),
        };
        let wanted = list(&self.object(number, now_ms, zone, false));
        for method in ["POST", "PUT"] {
            match session.objects(method, PATH, &wanted, 1).await?[0] {
                Became::Taken => return Ok(()),
                Became::Busy => return Err("it has no room for a subscription now".to_owned()),
                Became::Refused => {}
            }
        }
        Err("it refuses the subscription".to_owned())
    }

    fn object(&self, number: usize, now_ms: i64, zone: &TimeZone, cancelled: bool) -> Value {
        let Self { platform, receive_at, applicant, organisation, reason, report_every_s } = self;
        let until_ms = now_ms + LASTS.as_millis() as i64;
        let mut object = json!({
            // Twelve digits of whoever asks, 03 for a subscription, a time and a number.
            "SubscribeID": format!("{}03{:014}{number:05}", &platform.our_id[..12], 0),
            "Title": reason, "SubscribeDetail": VEHICLES, "ResourceURI": "", "ApplicantName": applicant,
            "ApplicantOrg": organisation, "BeginTime": local_time::of(now_ms, zone),
            "EndTime": local_time::of(until_ms, zone), "ReceiveAddr": format!("{receive_at}/VIID/SubscribeNotifications"),
            "ReportInterval": report_every_s, "Reason": reason, "OperateType": u8::from(cancelled),
            "SubscribeStatus": u8::from(cancelled), "ResultImageDeclare": "-1", "ResultFeatureDeclare": -1,
        });
        if cancelled {
            object["SubscribeCancelOrg"] = organisation.as_str().into();
            object["SubscribeCancelPerson"] = applicant.as_str().into();
            object["CancelTime"] = local_time::of(now_ms, zone).into();
            object["CancelReason"] = "weir ends".into();
        }
        object
    }
}

fn list(object: &Value) -> Value {
    json!({ "SubscribeListObject": { "SubscribeObject": [object] } })
}

//! Alerts about vehicles that are on a list, told to a platform of GA/T 1400 as notifications of dispositions (布控告警).
//!
//! Vehicles that are on no list are told to nobody, so that there is no feed of passages to subscribe to.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use weir_engine::alert::Alert;
use weir_engine::{Output, Sink, SinkError};

use super::deliver_all;
use crate::client::ViidPlatform;
use crate::client::viid::{Became, ViidSession};
use crate::source::local_time;

/// Where notifications go.
const PATH: &str = "/VIID/DispositionNotifications";
/// Notifications of one request.
const BATCH_MAX: usize = 100;
/// How often it says that it is there, where it has nothing to tell.
const KEEP_ALIVE_EVERY: Duration = Duration::from_mins(1);

/// Tells a platform.
pub struct ViidSink {
    platform: ViidPlatform,
    zone: TimeZone,
    retry_for: Duration,
    session: Option<ViidSession>,
    spoke: Instant,
    refused: u64,
    runtime: Handle,
}

impl ViidSink {
    /// A sink for this platform, whose times are of `timezone` (IANA); registers when there is something to tell.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn new(platform: ViidPlatform, timezone: &str, retry_for: Duration, runtime: Handle) -> Result<Self, String> {
        let zone = TimeZone::get(timezone).map_err(|error| error.to_string())?;
        Ok(Self { platform, zone, retry_for, session: None, spoke: Instant::now(), refused: 0, runtime })
    }

    fn session(&mut self) -> Result<&mut ViidSession, String> {
        if self.session.is_none() {
            self.session = Some(self.platform.session()?);
        }
        Ok(self.session.as_mut().expect("made above"))
    }

    /// Tells some; how many of the outputs are done with, and what stopped it.
    fn tell(&mut self, outputs: &[Output]) -> (usize, Result<(), String>) {
        let told: Vec<(usize, Value)> = outputs
            .iter()
            .enumerate()
            .filter_map(|(at, output)| Some((at, notification(output, &self.zone)?)))
            .collect();
        if told.is_empty() {
            return (outputs.len(), Ok(()));
        }
        let objects: Vec<&Value> = told.iter().map(|(_, object)| object).collect();
        let count = objects.len();
        let body = json!({ "DispositionNotificationListObject": { "DispositionNotificationObject": objects } });
        let runtime = self.runtime.clone();
        let answered = match self.session() {
            Ok(session) => runtime.block_on(session.objects("POST", PATH, &body, count)),
            Err(trouble) => Err(trouble),
        };
        let became = match answered {
            Ok(became) => became,
            Err(trouble) => return (0, Err(trouble)),
        };
        self.spoke = Instant::now();
        // What comes behind one that found no room is told again, so that the order stays.
        let taken = became.iter().position(|it| *it == Became::Busy).unwrap_or(count);
        self.refused += became[..taken].iter().filter(|it| **it == Became::Refused).count() as u64;
        match told.get(taken) {
            Some((at, _)) => (*at, Err("it has no room".to_owned())),
            None => (outputs.len(), Ok(())),
        }
    }
}

impl Sink for ViidSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let (place, retry_for) = (self.platform.place(), self.retry_for);
        deliver_all(outputs, (&place, retry_for), |outputs| {
            let mut done = 0;
            for some in outputs.chunks(BATCH_MAX) {
                let (more, result) = self.tell(some);
                done += more;
                if result.is_err() {
                    return (done, result);
                }
            }
            (done, Ok(()))
        })
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        if self.spoke.elapsed() >= KEEP_ALIVE_EVERY
            && let Some(session) = &mut self.session
        {
            self.spoke = Instant::now();
            // A platform that is away is told again when there is something to tell.
            let _ = self.runtime.block_on(session.keep_alive());
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

/// What a platform is told of an output, if it is told of it at all.
fn notification(output: &Output, zone: &TimeZone) -> Option<Value> {
    let Output::Alert(alert) = output else { return None };
    let Alert { alert_id, revision, kind, hit, change, .. } = alert.as_ref();
    let hit = hit.as_ref().filter(|_| kind == "vehicle")?;
    let local = alert.ts.parse().ok().map(|ts: Timestamp| local_time::of(ts.as_millisecond(), zone));
    let said = alert.say.as_deref().unwrap_or(&alert.rule);
    let title = match change {
        Some(change) => format!("{change}: {said}"),
        None => said.to_owned(),
    };
    let mut vehicle = json!({ "MotorVehicleID": alert_id, "InfoKind": 1 });
    let fields = [
        ("PassTime", local.as_deref()),
        ("DeviceID", alert.device.as_deref()),
        ("TollgateID", alert.site.as_deref()),
        ("PlateNo", alert.evidence.get("plate").map(String::as_str)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            vehicle[name] = value.into();
        }
    }
    Some(json!({
        "NotificationID": format!("{alert_id}-{revision}"), "DispositionID": hit.entry_id, "Title": title,
        "TriggerTime": local, "CntObjectID": alert_id, "MotorVehicleObject": vehicle,
    }))
}

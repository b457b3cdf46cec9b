//! How an output is put to a webhook: as it is, as a CloudEvent, or as an alert of Alertmanager.

use serde_json::{Map, Value, json};
use weir_engine::alert::Alert;
use weir_engine::{Output, Stream};

/// What the receiver reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Template {
    /// The output as JSON.
    #[default]
    Generic,
    /// CloudEvents 1.0 in structured mode, the output as its `data`.
    CloudEvents,
    /// `POST /api/v2/alerts` of Prometheus Alertmanager; alerts only.
    Alertmanager,
}

impl Template {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Generic | Self::Alertmanager => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }

    /// Whether outputs of a stream can be put this way.
    pub fn takes(self, stream: Stream) -> bool {
        self != Self::Alertmanager || stream == Stream::Alerts
    }

    /// The body of the request.
    pub(super) fn body(self, output: &Output) -> String {
        match (self, output) {
            (Self::CloudEvents, output) => cloud_event(output),
            (Self::Alertmanager, Output::Alert(alert)) => Value::from(vec![alertmanager(alert)]).to_string(),
            (_, output) => output.to_json(),
        }
    }
}

/// CloudEvents 1.0.2, JSON format 1.0.2. Source and id together are unique: what is sent again has the same.
fn cloud_event(output: &Output) -> String {
    let body = output.to_json();
    let id = output.idempotency_key().unwrap_or_else(|| blake3::hash(body.as_bytes()).to_hex()[..32].to_owned());
    let data: Value = serde_json::from_str(&body).expect("an output is JSON");
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "weir", "type": format!("weir.{}", output.stream().word()),
        "datacontenttype": "application/json",
    });
    if let Output::Alert(alert) = output {
        event["source"] = format!("weir/{}", alert.pack).into();
        event["time"] = alert.ts.as_str().into();
    }
    event["data"] = data;
    event.to_string()
}

/// Alertmanager knows an alert by its labels: those of a level are the same as it is entered and left, so that it ends there; any
/// other alert has its id among them, so that two are never taken for one.
fn alertmanager(alert: &Alert) -> Value {
    let mut labels = Map::new();
    let mut label = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(name.to_owned(), value.into());
        }
    };
    label("alertname", Some(&alert.rule));
    label("pack", Some(&alert.pack));
    label("purpose", Some(&alert.purpose));
    label("site", alert.site.as_deref());
    label("zone", alert.zone.as_deref());
    label("level", alert.level.as_deref());
    if alert.level.is_none() {
        label("severity", Some(alert.severity));
        label("device", alert.device.as_deref());
        label("alert_id", Some(&alert.alert_id));
    }
    let mut annotations = json!({ "alert_id": alert.alert_id, "severity": alert.severity, "review": alert.review });
    if let Some(say) = &alert.say {
        annotations["summary"] = say.as_str().into();
    }
    let mut told = json!({ "labels": labels, "annotations": annotations, "startsAt": alert.ts });
    // It is over; when it began Alertmanager knows.
    if matches!(alert.change, Some("exit" | "retracted" | "withdrawn")) {
        told["endsAt"] = alert.ts.as_str().into();
    }
    told
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn alert(level: Option<&str>, change: Option<&'static str>) -> Output {
        Output::Alert(Arc::new(Alert {
            alert_id: "aa".to_owned(),
            revision: 2,
            rule: "square-overload".to_owned(),
            pack: "city".to_owned(),
            purpose: "crowd_safety".to_owned(),
            severity: "critical",
            review: "none",
            kind: "person".to_owned(),
            ts: "2026-11-26T08:00:00Z".to_owned(),
            zone: Some("market".to_owned()),
            device: Some("d1".to_owned()),
            level: level.map(str::to_owned),
            change,
            say: Some("market: 4.1 people/m2".to_owned()),
            ..Alert::default()
        }))
    }

    fn put(template: Template, output: &Output) -> Value {
        serde_json::from_str(&template.body(output)).unwrap()
    }

    #[test]
    fn a_cloud_event_holds_the_output() {
        let output = alert(None, None);
        let event = put(Template::CloudEvents, &output);
        let data: Value = serde_json::from_str(&output.to_json()).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0", "id": "aa-2", "source": "weir/city", "type": "weir.alerts",
                "datacontenttype": "application/json", "time": "2026-11-26T08:00:00Z", "data": data,
            })
        );
        assert_eq!(put(Template::Generic, &output), data);
    }

    #[test]
    fn alertmanager_knows_a_level_again_when_it_is_left() {
        let [entered, left] =
            [Some("enter"), Some("exit")].map(|change| put(Template::Alertmanager, &alert(Some("overload"), change)));
        assert_eq!(entered[0]["labels"], left[0]["labels"]);
        assert_eq!(
            entered[0]["labels"],
            json!({
                "alertname": "square-overload", "pack": "city", "purpose": "crowd_safety", "zone": "market", "level": "overload",
            })
        );
        assert_eq!((&entered[0]["endsAt"], &left[0]["endsAt"]), (&Value::Null, &json!("2026-11-26T08:00:00Z")));
        assert_eq!(entered[0]["annotations"]["summary"], "market: 4.1 people/m2");
        let single = put(Template::Alertmanager, &alert(None, None));
        assert_eq!(single[0]["labels"]["alert_id"], "aa");
        assert!(Template::Generic.takes(Stream::Windows) && !Template::Alertmanager.takes(Stream::Windows));
    }
}

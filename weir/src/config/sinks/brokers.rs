//! Sinks that publish to a broker: MQTT, NATS, Kafka.

use weir_connectors::client::{KafkaSasl, MqttVersion};
use weir_rules::Diagnostics;

use super::{Draft, SinkKind};
use crate::config::server;
use crate::config::sources::{KAFKA_SASL, MQTT_VERSIONS};

pub(super) fn mqtt(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::MQTT, diagnostics);
    let version = draft.map.take_choice("version", &MQTT_VERSIONS, diagnostics).unwrap_or(MqttVersion::V5);
    let client_id = draft.map.take_text("client_id", diagnostics);
    let client_id = client_id.map_or_else(|| format!("weir-sink-{}", draft.name), |(text, _)| text.to_owned());
    let topic = draft.plain_address("topic", "such as weir/alerts", diagnostics);
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    Some(SinkKind::Mqtt { server: server?, version, client_id, topic: topic?, retry_for_ms })
}

pub(super) fn nats(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::NATS, diagnostics);
    let subject = draft.plain_address("subject", "such as weir.alerts; a stream must take it", diagnostics);
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    Some(SinkKind::Nats { server: server?, subject: subject?, retry_for_ms })
}

pub(super) fn kafka(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::KAFKA, diagnostics);
    let sasl = draft.map.take_choice("sasl", &KAFKA_SASL, diagnostics).unwrap_or(KafkaSasl::ScramSha512);
    let topic = draft.plain_address("topic", "such as weir-alerts", diagnostics);
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    Some(SinkKind::Kafka { server: server?, sasl, topic: topic?, retry_for_ms })
}

//! MQTT 3.1.1 and 5: one face for both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{TlsConfiguration, Transport, v5};
use rustls::ClientConfig;

use super::{Finding, Login};

/// A connection is given up when the broker has been silent for one and a half times this long.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Time for a connection to be made, in seconds.
const CONNECT_TIMEOUT_S: u64 = 5;
/// Longest message that is taken; longer ones never reach us by version 5, and end the connection by 3.1.1.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
/// Requests that wait to be sent: acknowledgements of all that may be under way, and more.
const REQUESTS_MAX: usize = 1 << 16;

/// Which MQTT is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    /// OASIS MQTT 3.1.1.
    V3,
    /// OASIS MQTT 5.
    V5,
}

/// A broker, and who we are to it.
#[derive(Debug, Clone)]
pub struct MqttBroker {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is trusted; `None` for a connection in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// What is spoken.
    pub version: MqttVersion,
    /// By this name the broker keeps our session. Two clients of one name push each other out.
    pub client_id: String,
    /// Who we are.
    pub login: Option<Login>,
}

/// What a session is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionSpec {
    /// How long the broker keeps it while we are away (version 5; by 3.1.1 the broker decides).
    pub(crate) expiry: Duration,
    /// Messages that may wait for our acknowledgement, or for the broker's.
    pub(crate) in_flight_max: u16,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// It is what the broker keeps for new subscribers, not something that happens now.
    pub(crate) retained: bool,
    /// What it is acknowledged by; `None` if nobody waits for that.
    pub(crate) packet: Option<u16>,
}

/// What happens in a session.
#[derive(Debug)]
pub(crate) enum Event {
    Connected,
    /// The broker's word on every topic.
    Subscribed(Result<(), String>),
    Message(Message),
    /// The broker has one of ours.
    Acknowledged(Result<(), String>),
    Other,
}

/// The sending side of a session.
#[derive(Clone)]
pub(crate) enum Client {
    V3(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// The receiving side; nothing moves unless it is asked.
pub(crate) enum Events {
    V3(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

impl MqttBroker {
    /// A session of its own, that goes on where the last one of this name stopped. The connection is made once events are
    /// asked for.
    pub(crate) fn session(&self, spec: SessionSpec) -> (Client, Events) {
        let tls = self.tls.as_ref();
        let transport = tls.map_or(Transport::Tcp, |tls| Transport::Tls(TlsConfiguration::Rustls(Arc::clone(tls))));
        let login = self.login.as_ref();
        match self.version {
            MqttVersion::V3 => {
                let mut options = rumqttc::MqttOptions::new(&self.client_id, &self.host, self.port);
                options.set_keep_alive(KEEP_ALIVE).set_clean_session(spec.expiry.is_zero()).set_manual_acks(true);
                options.set_transport(transport).set_inflight(spec.in_flight_max);
                options.set_max_packet_size(MESSAGE_BYTES_MAX as usize, MESSAGE_BYTES_MAX as usize);
                if let Some(login) = login {
                    options.set_credentials(&login.user, &login.password);
                }
                let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
                events.network_options.set_connection_timeout(CONNECT_TIMEOUT_S);
                events.network_options.set_tcp_nodelay(true);
                (Client::V3(client), Events::V3(Box::new(events)))
            }
            MqttVersion::V5 => {
                let mut options = v5::MqttOptions::new(&self.client_id, &self.host, self.port);
                options.set_keep_alive(KEEP_ALIVE).set_clean_start(spec.expiry.is_zero()).set_manual_acks(true);
                options.set_transport(transport).set_connection_timeout(CONNECT_TIMEOUT_S);
                options.set_session_expiry_interval(Some(u32::try_from(spec.expiry.as_secs()).unwrap_or(u32::MAX)));
                options.set_receive_maximum(Some(spec.in_flight_max)).set_max_packet_size(Some(MESSAGE_BYTES_MAX));
                options.set_outgoing_inflight_upper_limit(spec.in_flight_max);
                let mut network = options.network_options();
                network.set_tcp_nodelay(true);
                options.set_network_options(network);
                if let Some(login) = login {
                    options.set_credentials(&login.user, &login.password);
                }
                let (client, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
                (Client::V5(client), Events::V5(Box::new(events)))
            }
        }
    }

    /// Tries to log in and, if there are any, to subscribe to topics; leaves nothing behind, and no running weir alone.
    pub async fn probe(&self, topics: &[String]) -> Vec<Finding> {
        let other = Self { client_id: format!("{}-test", self.client_id), ..self.clone() };
        let (client, mut events) = other.session(SessionSpec { expiry: Duration::ZERO, in_flight_max: 1 });
        let mut findings = Vec::new();
        let trying = async {
            loop {
                match events.next().await {
                    Ok(Event::Connected) => {
                        findings.push(Ok(format!("{} lets us in", self.place())));
                        if topics.is_empty() {
                            return Ok(());
                        }
                        client.subscribe(topics, false)?;
                    }
                    Ok(Event::Subscribed(answer)) => {
                        answer?;
                        findings.push(Ok(format!("we may subscribe to {}", topics.join(", "))));
                        return Ok(());
                    }
                    Ok(_) => {}
                    Err(trouble) => return Err(trouble),
                }
            }
        };
        let tried = tokio::time::timeout(Duration::from_secs(2 * CONNECT_TIMEOUT_S), trying).await;
        if let Err(trouble) = tried.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
            findings.push(Err(format!("{}: {trouble}", self.place())));
        }
        findings
    }

    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("mqtt {}:{}", self.host, self.port)
    }
}

impl Client {
    /// Subscribes to topics. What is retained is asked for as little as the version allows.
    pub(crate) fn subscribe(&self, topics: &[String], at_least_once: bool) -> Result<(), String> {
        match self {
            Self::V3(client) => {
                let qos = if at_least_once { rumqttc::QoS::AtLeastOnce } else { rumqttc::QoS::AtMostOnce };
                let filters = topics.iter().map(|topic| rumqttc::SubscribeFilter::new(topic.clone(), qos));
                client.try_subscribe_many(filters).map_err(|error| error.to_string())
            }
            Self::V5(client) => {
                use v5::mqttbytes::v5::{Filter, RetainForwardRule};
                let qos = if at_least_once { v5::mqttbytes::QoS::AtLeastOnce } else { v5::mqttbytes::QoS::AtMostOnce };
                let filters = topics.iter().map(|topic| Filter {
                    retain_forward_rule: RetainForwardRule::Never,
                    ..Filter::new(topic.clone(), qos)
                });
                client.try_subscribe_many(filters).map_err(|error| error.to_string())
            }
        }
    }

    /// Tells the broker that it may forget a message. Never waits, so that whoever has made it durable can say so.
    pub(crate) fn acknowledge(&self, packet: u16) {
        // There is room for all that may be under way. After a lost connection nobody listens, and the broker sends the
        // message again.
        match self {
            Self::V3(client) => {
                let mut publish = rumqttc::Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet;
                let _ = client.try_ack(&publish);
            }
            Self::V5(client) => {
                use v5::mqttbytes::{QoS, v5::Publish};
                let mut publish = Publish::new("", QoS::AtLeastOnce, Bytes::new(), None);
                publish.pkid = packet;
                let _ = client.try_ack(&publish);
            }
        }
    }

    /// Sends a message that the broker is to acknowledge; waits while too many are under way.
    pub(crate) async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        match self {
            Self::V3(client) => {
                let qos = rumqttc::QoS::AtLeastOnce;
                client.publish_bytes(topic, qos, false, payload).await.map_err(|error| error.to_string())
            }
            Self::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                client.publish(topic, qos, false, payload).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Says goodbye, behind everything that was asked for before.
    pub(crate) fn disconnect(&self) {
        let _ = match self {
            Self::V3(client) => client.try_disconnect().map_err(drop),
            Self::V5(client) => client.try_disconnect().map_err(drop),
        };
    }
}

impl Events {
    /// What happens next.
    ///
    /// # Errors
    /// When the connection cannot be made, or is lost; the session object is of no use then.
    pub(crate) async fn next(&mut self) -> Result<Event, String> {
        match self {
            Self::V3(events) => {
                use rumqttc::{Event as E, Packet, SubscribeReasonCode};
                Ok(match events.poll().await.map_err(|error| told(&error))? {
                    E::Incoming(Packet::ConnAck(_)) => Event::Connected,
                    E::Incoming(Packet::SubAck(answer)) => {
                        let refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                        Event::Subscribed(if refused { Err("the broker refuses a topic".to_owned()) } else { Ok(()) })
                    }
                    E::Incoming(Packet::Publish(it)) => Event::Message(Message {
                        packet: (it.qos != rumqttc::QoS::AtMostOnce).then_some(it.pkid),
                        retained: it.retain,
                        topic: it.topic,
                        payload: it.payload,
                    }),
                    E::Incoming(Packet::PubAck(_)) => Event::Acknowledged(Ok(())),
                    _ => Event::Other,
                })
            }
            Self::V5(events) => {
                use v5::Event as E;
                use v5::mqttbytes::QoS;
                use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
                Ok(match events.poll().await.map_err(|error| told(&error))? {
                    E::Incoming(Packet::ConnAck(_)) => Event::Connected,
                    E::Incoming(Packet::SubAck(answer)) => {
                        let refused =
                            answer.return_codes.iter().find(|it| !matches!(it, SubscribeReasonCode::Success(_)));
                        Event::Subscribed(
                            refused.map_or(Ok(()), |it| Err(format!("the broker refuses a topic: {it:?}"))),
                        )
                    }
                    E::Incoming(Packet::Publish(it)) => Event::Message(Message {
                        packet: (it.qos != QoS::AtMostOnce).then_some(it.pkid),
                        retained: it.retain,
                        topic: String::from_utf8_lossy(&it.topic).into_owned(),
                        payload: it.payload,
                    }),
                    E::Incoming(Packet::PubAck(answer)) => Event::Acknowledged(match answer.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                        reason => Err(format!("the broker refuses a message: {reason:?}")),
                    }),
                    _ => Event::Other,
                })
            }
        }
    }
}

/// What stopped a session, in words that help.
fn told(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    // What a broker sends out of turn is quoted nowhere.
    let text = text.split(", received:").next().unwrap_or_default().to_owned();
    if text.contains("BadUserNamePassword") || text.contains("NotAuthorized") {
        return format!("the broker does not let us in ({text}); look at `user` and `password_file`");
    }
    text
}

//! The conformance suite: what every source and every sink is held to, against real servers (Mosquitto, nats-server, PostgreSQL)
//! on free ports, and clients that behave as real ones do.
#![allow(unreachable_pub, missing_docs, clippy::new_without_default, reason = "nobody outside sees them")]

#[path = "../common/mod.rs"]
mod common;
mod lists;
mod lossy;
mod options;
mod polled;
mod posts;
mod receivers;
#[path = "../common/s3.rs"]
mod s3;
mod senders;
mod servers;
mod sinks;
mod sources;
mod streams;
mod tls;
#[path = "../common/transit.rs"]
mod transit;

use polled::polled_life;
use sinks::delivers;
use sources::whole_life;

#[test]
fn source_file() {
    whole_life(Box::new(senders::File::new()));
}

#[test]
fn source_tcp() {
    whole_life(Box::new(senders::Tcp::new()));
}

#[test]
fn source_http() {
    whole_life(Box::new(senders::Http::new()));
}

#[test]
fn source_stdin() {
    whole_life(Box::new(senders::Stdin::default()));
}

#[test]
fn source_isapi() {
    whole_life(Box::new(posts::Poster::of(posts::ISAPI)));
}

#[test]
fn source_plate_recognizer() {
    whole_life(Box::new(posts::Poster::of(posts::PLATE_RECOGNIZER)));
}

#[test]
fn source_axis_plates() {
    whole_life(Box::new(posts::Poster::of(posts::AXIS_PLATES)));
}

#[test]
fn source_rekor() {
    whole_life(Box::new(posts::Poster::of(posts::REKOR)));
}

#[test]
fn source_gtfs_realtime() {
    polled_life(&polled::GTFS);
}

#[test]
fn source_axis() {
    polled_life(&polled::AXIS);
}

#[test]
fn source_isapi_stream() {
    whole_life(Box::new(streams::IsapiDevice::new()));
}

#[test]
fn source_ngsi() {
    whole_life(Box::new(posts::Ngsi::new()));
}

#[test]
fn source_viid() {
    whole_life(Box::new(senders::Viid::new()));
}

#[test]
fn source_mqtt_5() {
    whole_life(Box::new(senders::Mqtt::new("5")));
}

#[test]
fn source_mqtt_3() {
    whole_life(Box::new(senders::Mqtt::new("3.1.1")));
}

#[test]
fn source_nats() {
    whole_life(Box::new(senders::Nats::new(false)));
}

#[test]
fn source_nats_queue() {
    whole_life(Box::new(senders::Nats::new(true)));
}

#[test]
fn source_nats_takes_what_was_lost_on_its_way() {
    sources::lossy(senders::Nats::new(false));
}

#[test]
fn source_nats_queue_takes_what_was_lost_on_its_way() {
    sources::lossy(senders::Nats::new(true));
}

#[test]
fn source_nats_begins_a_stream_anew_that_is_made_anew() {
    sources::made_anew(senders::Nats::new(false), senders::Nats::make_anew);
}

#[test]
fn source_kafka_begins_a_topic_anew_that_is_made_anew() {
    sources::made_anew(senders::Kafka::new("from: start"), senders::Kafka::make_anew);
}

/// What weir has not made it does not remove.
#[test]
fn source_nats_leaves_others_alone() {
    let sender = senders::Nats::new(false);
    sender.make_consumer("theirs");
    let place = sources::place(&(senders::Sender::source(&sender) + "\n    consumer: theirs"));
    let running = place.launch(&["weir.yaml"]);
    common::eventually("the trouble is told", || place.read("status.json").contains("is somebody else's"));
    running.stop();
    assert_eq!(sender.consumers(), ["theirs"]);
}

#[test]
fn source_kafka() {
    whole_life(Box::new(senders::Kafka::new("instance: post-1")));
}

#[test]
fn source_kafka_is_shared() {
    // The broker that can be had hands classic groups out without waiting for those who have to let go first.
    sources::shared(senders::Kafka::new("group_protocol: consumer"));
}

#[test]
fn sink_syslog() {
    delivers(Box::new(receivers::Syslog::new()));
}

#[test]
fn sink_archive() {
    delivers(Box::new(receivers::Archive::new()));
}

#[test]
fn sink_viid() {
    delivers(Box::new(receivers::Viid::new()));
}

#[test]
fn sink_kafka() {
    delivers(Box::new(receivers::Kafka::new()));
}

#[test]
fn sink_http() {
    delivers(Box::new(receivers::Http::new()));
}

#[test]
fn sink_tcp() {
    delivers(Box::new(receivers::Tcp::new()));
}

#[test]
fn sink_mqtt_5() {
    delivers(Box::new(receivers::Mqtt::new("5")));
}

#[test]
fn sink_mqtt_3() {
    delivers(Box::new(receivers::Mqtt::new("3.1.1")));
}

#[test]
fn sink_nats() {
    delivers(Box::new(receivers::Nats::new()));
}

#[test]
fn sink_postgres() {
    delivers(Box::new(receivers::Postgres::new()));
}

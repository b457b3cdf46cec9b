//! Sinks that report to a system of record: a database, a collector of syslog, a platform of GA/T 1400.

use weir_connectors::sink::{SyslogForm, SyslogText};
use weir_engine::Stream;
use weir_rules::Diagnostics;

use super::{Draft, SinkKind};
use crate::config::server;

/// Facilities of syslog that are not the machine's own (RFC 5424, table 1).
const SYSLOG_FACILITIES: [(&str, u8); 11] = [
    ("user", 1),
    ("daemon", 3),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
/// Where this machine's name stands.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

pub(super) fn postgres(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::POSTGRES, diagnostics);
    let table = draft.map.take_text("table", diagnostics);
    let is_name = |text: &str| {
        let first = |it: u8| it.is_ascii_lowercase() || it == b'_';
        text.len() < 64
            && text.bytes().next().is_some_and(first)
            && text.bytes().all(|it| first(it) || it.is_ascii_digit())
    };
    if let Some((text, node)) = &table
        && !(text.split('.').count() <= 2 && text.split('.').all(is_name))
    {
        let help = "small letters, digits and `_`, such as weir_alerts, or with a schema, border.weir_alerts";
        draft.complain(node.span.clone(), format!("`{text}` is no name of a table"), help, diagnostics);
    }
    let table = table.map_or_else(|| "weir_outputs".to_owned(), |(text, _)| text.to_owned());
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    Some(SinkKind::Postgres { server: server?, table, retry_for_ms })
}

pub(super) fn viid(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::VIID, diagnostics);
    let our_id = draft.map.require_text("device_id", "twenty digits that the platform knows us by", diagnostics);
    let timezone = draft.map.require_text("timezone", "of the platform's times, as in Asia/Shanghai", diagnostics);
    if let Some((text, node)) = our_id
        && (text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let message = format!("`{text}` is no id of GA/T 1400");
        draft.complain(node.span.clone(), message, "it has twenty digits; quote it", diagnostics);
    }
    if let Some((text, node)) = timezone
        && jiff::tz::TimeZone::get(text).is_err()
    {
        let help = "an IANA name, as in Asia/Shanghai";
        draft.complain(node.span.clone(), format!("`{text}` is no time zone"), help, diagnostics);
    }
    let help = "it takes alerts only; give other outputs a sink of their own";
    draft.only(|stream| stream == Stream::Alerts, "told to a platform of GA/T 1400", help, diagnostics);
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    let (our_id, timezone) = (our_id?.0.to_owned(), timezone?.0.to_owned());
    Some(SinkKind::Viid { server: server?, our_id, timezone, retry_for_ms })
}

pub(super) fn syslog(draft: &mut Draft<'_, '_>, diagnostics: &mut Diagnostics) -> Option<SinkKind> {
    let server = draft.server(server::SYSLOG, diagnostics);
    let facility = draft.map.take_choice("facility", &SYSLOG_FACILITIES, diagnostics).unwrap_or(16);
    let host = draft.map.take_text("hostname", diagnostics).map(|(text, _)| text.to_owned());
    let host = host.unwrap_or_else(|| std::fs::read_to_string(HOSTNAME_FILE).unwrap_or_default());
    let texts = [("json", SyslogText::Json), ("say", SyslogText::Say)];
    let text = draft.map.take_choice("text", &texts, diagnostics).unwrap_or_default();
    let retry_for_ms = draft.retry_for_ms(diagnostics);
    let form = SyslogForm { facility, host, text };
    Some(SinkKind::Syslog { server: server?, form, retry_for_ms })
}

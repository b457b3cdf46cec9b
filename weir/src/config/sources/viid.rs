//! `type: viid`: cameras and platforms that speak GA/T 1400.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use weir_connectors::source::{HttpLimits, ViidAccounts, ViidSubscription};
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::{MapReader, Node};
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::{SourceKind, parse_address, parse_limits};
use crate::config::server::{self, parse_server};
use crate::config::{Config, Named, ServerDecl, keys};

/// Longest file of accounts.
const ACCOUNTS_BYTES_MAX: u64 = 8 << 20;
/// Three times the ninety seconds after which devices usually say that they are there.
const OFFLINE_AFTER_MS: i64 = 270_000;
/// Platforms that one source asks.
const SUBSCRIPTIONS_MAX: usize = 64;
/// A body holds pictures, which are passed over.
const BODY_BYTES: usize = 32 << 20;

/// A VIID source as declared.
#[derive(Debug, Clone)]
pub(crate) struct ViidDecl {
    pub(crate) address: SocketAddr,
    pub(crate) realm: String,
    pub(crate) server_id: String,
    pub(crate) timezone: String,
    pub(crate) accounts: Named,
    pub(crate) offline_after_ms: i64,
    pub(crate) peer_header: Option<String>,
    pub(crate) limits: HttpLimits,
    pub(crate) subscriptions: Vec<SubscriptionDecl>,
}

/// A platform that is asked for its vehicles, as declared.
#[derive(Debug, Clone)]
pub(crate) struct SubscriptionDecl {
    pub(crate) server: ServerDecl,
    receive_at: String,
    applicant: String,
    organisation: String,
    reason: String,
    report_every_s: u32,
}

impl SubscriptionDecl {
    /// As it is asked for by a server of this id.
    pub(crate) fn build(&self, our_id: &str, vfs: &dyn Vfs) -> Result<ViidSubscription, String> {
        Ok(ViidSubscription {
            platform: self.server.viid(our_id, vfs)?,
            receive_at: self.receive_at.clone(),
            applicant: self.applicant.clone(),
            organisation: self.organisation.clone(),
            reason: self.reason.clone(),
            report_every_s: self.report_every_s,
        })
    }
}

fn parse_subscription(
    file: &Arc<SourceFile>,
    path: &Path,
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<SubscriptionDecl> {
    let mut map = MapReader::open(file, node, "a subscription", diagnostics)?;
    let server = parse_server(file, path, &mut map, server::VIID, diagnostics);
    let help = "where the platform finds this server, such as http://10.1.2.3:7100";
    let receive_at = map.require_text("receive_at", help, diagnostics);
    let mut required = |key, help| map.require_text(key, help, diagnostics).map(|(text, _)| text.to_owned());
    let applicant = required("applicant", "who asks; the platform keeps it");
    let organisation = required("organisation", "whose he is");
    let reason = required("reason", "why; such as the legal ground of the lists that are looked up");
    let every_ms = map.take_duration_ms("report_every", diagnostics).unwrap_or(0);
    if let Some((text, node)) = receive_at
        && (!(text.starts_with("http://") || text.starts_with("https://")) || text.ends_with('/'))
    {
        let found = Diagnostic::new(&codes::BAD_SOURCE, file, node.span.clone(), "this is no address of a server");
        diagnostics.push(found.help(help));
    }
    map.finish(diagnostics);
    Some(SubscriptionDecl {
        server: server?,
        receive_at: receive_at?.0.to_owned(),
        applicant: applicant?,
        organisation: organisation?,
        reason: reason?,
        report_every_s: u32::try_from(every_ms / 1_000).unwrap_or(u32::MAX),
    })
}

pub(super) fn parse(
    file: &Arc<SourceFile>,
    path: &Path,
    map: &mut MapReader<'_>,
    timezone: Option<&str>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let address = parse_address(file, map, diagnostics);
    let realm = map.take_text("realm", diagnostics);
    let realm = realm.map_or_else(|| "viid".to_owned(), |(text, _)| text.to_owned());
    let server_id = map.require_text("server_id", "twenty digits that devices know this server by", diagnostics);
    let help = "a CSV with device_id, user, ha1; make ha1 with: printf '%s' 'USER:REALM:PASSWORD' | md5sum";
    let accounts = map.require_text("accounts", help, diagnostics);
    let accounts = accounts.map(|(text, node)| Named { path: keys::path_of(path, text), span: node.span.clone() });
    let offline_after_ms = map.take_duration_ms("offline_after", diagnostics).unwrap_or(OFFLINE_AFTER_MS);
    let peer_header = map.take_text("peer_header", diagnostics);
    let asked = map.take_list("subscriptions", diagnostics).unwrap_or_default();
    if asked.len() > SUBSCRIPTIONS_MAX {
        let message = format!("there are more than {SUBSCRIPTIONS_MAX} subscriptions");
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, file, map.place_of("subscriptions"), message));
    }
    let asked = asked.iter().take(SUBSCRIPTIONS_MAX);
    let subscriptions = asked.filter_map(|node| parse_subscription(file, path, node, diagnostics)).collect();
    let limits = parse_limits(HttpLimits { body_bytes_max: BODY_BYTES, ..HttpLimits::default() }, map, diagnostics);
    let mut complain = |span, message: String, help: &str| {
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, file, span, message).help(help));
    };
    if timezone.is_none() {
        complain(map.head(), "times of GA/T 1400 name no zone".to_owned(), "add `timezone`, as in Asia/Shanghai");
    }
    if realm.contains(['"', '\\']) || !realm.is_ascii() {
        complain(map.place_of("realm"), "a realm is ASCII without quotes".to_owned(), "such as viid");
    }
    if let Some((text, node)) = &server_id
        && (text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_digit()))
    {
        complain(node.span.clone(), format!("`{text}` is no id of GA/T 1400"), "it has twenty digits; quote it");
    }
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    if let Some((text, node)) = peer_header.filter(|(text, _)| !is_name(text)) {
        complain(node.span.clone(), format!("`{text}` is no name of a header"), "such as X-Real-IP");
    }
    Some(SourceKind::Viid(Box::new(ViidDecl {
        address: address?,
        realm,
        server_id: server_id?.0.to_owned(),
        timezone: timezone?.to_owned(),
        accounts: accounts?,
        offline_after_ms,
        peer_header: peer_header.map(|(text, _)| text.to_owned()),
        limits,
        subscriptions,
    })))
}

/// The accounts of a source; a mistake is told with its line.
pub(crate) fn load_accounts(
    config: &Config,
    declared: &ViidDecl,
    vfs: &dyn Vfs,
    diagnostics: &mut Diagnostics,
) -> ViidAccounts {
    let Named { path, span } = &declared.accounts;
    let name = path.display().to_string();
    let text = match vfs.read_text(path, ACCOUNTS_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("accounts {name} cannot be read: {error}");
            diagnostics.push(
                Diagnostic::new(&codes::FILE_NOT_READ, &config.file, span.clone(), message)
                    .help("the path is relative to the configuration"),
            );
            return ViidAccounts::default();
        }
    };
    ViidAccounts::parse(&text, &declared.realm).unwrap_or_else(|error| {
        let before: usize = text.split_inclusive('\n').take(error.line.max(1) as usize - 1).map(str::len).sum();
        let len = text[before..].lines().next().unwrap_or_default().len();
        let file = SourceFile::new(name, text);
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, &file, before..before + len, error.message));
        ViidAccounts::default()
    })
}

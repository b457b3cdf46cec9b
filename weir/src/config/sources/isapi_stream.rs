//! `type: isapi_stream`: devices that are asked for their events.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use weir_connectors::client::tls_config;
use weir_connectors::source::{IsapiStreamSource, PushPlace};
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::MapReader;
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::SourceKind;
use crate::config::server::{login, secret};
use crate::config::{Named, keys};

/// A device as declared.
#[derive(Debug, Clone)]
pub(crate) struct IsapiStreamDecl {
    url: String,
    user: String,
    password_file: Named,
    ca_file: Option<Named>,
    place: PushPlace,
}

impl IsapiStreamDecl {
    /// What is wrong with the files it names, if anything is.
    pub(super) fn check(&self, vfs: &dyn Vfs) -> Result<(), (Named, String)> {
        login(&self.user, &self.password_file, vfs)?;
        self.ca_file.as_ref().map_or(Ok(()), |named| secret(named, vfs).map(drop))
    }

    pub(crate) fn build(&self, vfs: &dyn Vfs, runtime: &Handle) -> Result<IsapiStreamSource, String> {
        let ca = self.ca_file.as_ref().map(|named| secret(named, vfs)).transpose().map_err(|(_, message)| message)?;
        let tls = if self.url.starts_with("https://") {
            Some(tls_config(ca.as_deref()).map_err(|error| error.to_string())?)
        } else {
            None
        };
        let login = login(&self.user, &self.password_file, vfs).map_err(|(_, message)| message)?;
        let (url, place, runtime) = (self.url.clone(), self.place.clone(), runtime.clone());
        Ok(IsapiStreamSource::new(url, tls, login, place, runtime))
    }
}

pub(super) fn parse(
    file: &Arc<SourceFile>,
    path: &Path,
    map: &mut MapReader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let url = map.require_text("url", "where the device is, such as http://192.0.2.7", diagnostics);
    let user = map.require_text("user", "who may look at its events", diagnostics);
    let password_file = map.require_text("password_file", "a file with the password", diagnostics);
    let ca_file = map.take_text("ca_file", diagnostics);
    let mut text = |key| map.take_text(key, diagnostics).map(|(text, _)| text.to_owned());
    let place = PushPlace { site: text("site"), zone: text("zone") };
    let is_device = |text: &str| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#']))
    };
    if let Some((_, node)) = url.filter(|(text, _)| !is_device(text)) {
        let found = Diagnostic::new(&codes::BAD_SOURCE, file, node.span.clone(), "this is no address of a device");
        diagnostics.push(found.help("http://HOST or https://HOST, with a port if need be, and no path"));
    }
    let named = |(text, node): (&str, &weir_rules::yaml::Node)| Named {
        path: keys::path_of(path, text),
        span: node.span.clone(),
    };
    Some(SourceKind::IsapiStream(Box::new(IsapiStreamDecl {
        url: url?.0.to_owned(),
        user: user?.0.to_owned(),
        password_file: named(password_file?),
        ca_file: ca_file.map(named),
        place,
    })))
}

//! `type: axis`: people counters that are asked for their totals.

use std::path::Path;
use std::sync::Arc;

use weir_connectors::source::PushPlace;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::MapReader;
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::SourceKind;
use crate::config::{Named, keys};

/// How often a counter is asked, where nothing is said.
const EVERY_MS: i64 = 10_000;
/// It is asked once a second at most.
const EVERY_MS_MIN: i64 = 1_000;

/// A counter as declared.
#[derive(Debug, Clone)]
pub(crate) struct AxisDecl {
    pub(crate) url: String,
    /// A user, and where his password stands.
    pub(crate) login: Option<(String, Named)>,
    pub(crate) every_ms: i64,
    pub(crate) timezone: String,
    pub(crate) place: PushPlace,
}

pub(super) fn parse(
    file: &Arc<SourceFile>,
    path: &Path,
    map: &mut MapReader<'_>,
    timezone: Option<&str>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceKind> {
    let url = map.require_text("url", "where the counter answers with its `live-sum.json`", diagnostics);
    let user = map.take_text("user", diagnostics);
    let password_file = map.take_text("password_file", diagnostics);
    let every_ms = map.take_duration_ms("every", diagnostics).unwrap_or(EVERY_MS);
    let mut text = |key| map.take_text(key, diagnostics).map(|(text, _)| text.to_owned());
    let place = PushPlace { site: text("site"), zone: text("zone") };
    let mut complain = |span, message: &str, help: &str| {
        diagnostics.push(Diagnostic::new(&codes::BAD_SOURCE, file, span, message).help(help));
    };
    if timezone.is_none() {
        complain(map.head(), "times of Axis counters name no zone", "add `timezone`, as in Asia/Shanghai");
    }
    if every_ms < EVERY_MS_MIN {
        complain(map.place_of("every"), "a counter is asked once a second at most", "such as 10s");
    }
    if user.is_some() != password_file.is_some() {
        let key = if user.is_some() { "user" } else { "password_file" };
        complain(map.place_of(key), "`user` and `password_file` go together", "add the other one");
    }
    if let Some((_, node)) = url.filter(|(text, _)| !text.starts_with("http://") && !text.starts_with("https://")) {
        complain(node.span.clone(), "this is no address of a counter", "it begins with http:// or https://");
    }
    let password_file =
        password_file.map(|(text, node)| Named { path: keys::path_of(path, text), span: node.span.clone() });
    Some(SourceKind::Axis(Box::new(AxisDecl {
        url: url?.0.to_owned(),
        login: user.map(|(user, _)| user.to_owned()).zip(password_file),
        every_ms,
        timezone: timezone?.to_owned(),
        place,
    })))
}

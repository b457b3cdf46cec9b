//! Answers as GA/T 1400.4 has them: a status for each object.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use crate::source::web;

/// Status codes of the standard (GA/T 1400.3, table B.45, as its users have them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    Busy = 2,
    InvalidOperation = 4,
    JsonFormat = 7,
    JsonContent = 8,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status {
    id: String,
    #[serde(rename = "RequestURL")]
    request_url: String,
    #[serde(rename = "StatusCode")]
    code: u8,
    #[serde(rename = "StatusString")]
    text: String,
    local_time: String,
}

/// Makes statuses of one request.
pub(super) struct Statuses {
    pub(super) path: String,
    pub(super) local_time: String,
}

impl Statuses {
    pub(super) fn of(&self, id: &str, code: Code, text: impl Into<String>) -> Status {
        Status {
            id: id.to_owned(),
            request_url: self.path.clone(),
            code: code as u8,
            text: text.into(),
            local_time: self.local_time.clone(),
        }
    }
}

impl Status {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The same of something else.
    pub(super) fn about(self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.code == Code::Ok as u8
    }
}

/// An answer about the request as a whole.
pub(super) fn one(http: StatusCode, status: &Status) -> Response {
    web::answer(http, &serde_json::json!({ "ResponseStatusObject": status }))
}

/// An answer about each object.
pub(super) fn list(http: StatusCode, statuses: &[Status]) -> Response {
    web::answer(http, &serde_json::json!({ "ResponseStatusListObject": { "ResponseStatusObject": statuses } }))
}

/// The same answer with one header more.
pub(super) fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    let value = HeaderValue::from_str(value).expect("made of ASCII");
    response.headers_mut().append(name, value);
    response
}

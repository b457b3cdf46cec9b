//! HTTP Digest (RFC 7616) towards servers that ask for it.

use std::time::Duration;

use digest_auth::{AuthContext, HttpMethod};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};

use super::Login;

/// A client that follows nobody elsewhere.
pub(crate) fn client(timeout: Duration) -> Result<Client, String> {
    // The first installed provider stays; a second attempt is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| error.to_string())
}

/// What went wrong with a request, without its address.
pub(crate) fn told(error: reqwest::Error) -> String {
    super::nats::told(&error.without_url())
}

/// Sends what `request` makes for this path and query; where the server asks for a password it is sent once more, with the answer.
pub(crate) async fn send(
    request: impl Fn() -> RequestBuilder,
    (method, asked): (&str, &str),
    login: Option<&Login>,
) -> Result<Response, String> {
    let answer = request().send().await.map_err(told)?;
    let (StatusCode::UNAUTHORIZED, Some(login)) = (answer.status(), login) else { return Ok(answer) };
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|it| it.to_str().ok());
    let mut challenge = challenge
        .and_then(|text| digest_auth::parse(text).ok())
        .ok_or("it asks for a password in another way than HTTP Digest")?;
    let method = HttpMethod::from(method);
    let (user, password) = (login.user.as_str(), login.password.as_str());
    let context = AuthContext::new_with_method(user, password, asked, Option::<&[u8]>::None, method);
    let proof = challenge.respond(&context).map_err(|error| error.to_string())?.to_header_string();
    request().header(header::AUTHORIZATION, proof).send().await.map_err(told)
}

/// A body of this length at most.
pub(crate) async fn read(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(told)? {
        if bytes.len() + piece.len() > bytes_max {
            return Err(format!("the answer is longer than {bytes_max} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

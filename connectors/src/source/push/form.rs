//! Forms (`multipart/form-data`), as cameras send an event and its pictures.

use axum::body::Body;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::{PushDialect, Refusal};
use crate::source::web::{BodyFault, HttpLimits};

/// Longest part that is read; longer ones are pictures.
const PART_BYTES_MAX: usize = 1 << 20;

/// The event in a form; what stands beside it is passed over as it comes in.
pub(super) async fn event(
    dialect: PushDialect,
    body: Body,
    boundary: String,
    limits: &HttpLimits,
) -> Result<Vec<u8>, Refusal> {
    let limit = SizeLimit::new().whole_stream(limits.body_bytes_max as u64);
    let constraints = Constraints::new().size_limit(limit);
    let mut form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let fault = |error: multer::Error| match error {
        multer::Error::StreamSizeExceeded { .. } => BodyFault::TooLarge(limits.body_bytes_max).into(),
        // What it says may quote the form.
        _ => Refusal::Form("this is no form, or it ends too early".to_owned()),
    };
    let reading = async {
        let mut event = None;
        while let Some(mut part) = form.next_field().await.map_err(fault)? {
            if event.is_some() || !is_event(dialect, &part) {
                continue;
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(fault)? {
                if bytes.len() + chunk.len() > PART_BYTES_MAX {
                    return Err(BodyFault::TooLarge(PART_BYTES_MAX).into());
                }
                bytes.extend(chunk);
            }
            event = Some(bytes);
        }
        event.ok_or_else(|| Refusal::Form("there is no event in this form".to_owned()))
    };
    tokio::time::timeout(limits.body_timeout, reading).await.unwrap_or(Err(BodyFault::TooSlow.into()))
}

/// Whether a part is the event itself.
fn is_event(dialect: PushDialect, part: &Field<'_>) -> bool {
    match dialect {
        PushDialect::Isapi => part.content_type().is_some_and(|kind| kind.subtype() == "xml"),
        PushDialect::PlateRecognizer => part.name() == Some("json"),
        PushDialect::AxisPlates | PushDialect::Rekor | PushDialect::Ngsi => false,
    }
}

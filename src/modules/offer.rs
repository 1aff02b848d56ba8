//! What the controller offers to a module: bytes by their digest, asked for only when needed.

use crate::machine::ContentId;
use crate::value::{Map, Value};

use super::Failure;

/// Reads an offer: `sha256` and `size`.
pub(super) fn content_id(offer: &Map) -> Result<ContentId, Failure> {
    let sha256 = offer.get("sha256").and_then(Value::as_str);
    let size = offer.get("size").and_then(Value::as_int);
    match (sha256, size.and_then(|size| u64::try_from(size).ok())) {
        (Some(sha256), Some(size)) => Ok(ContentId {
            sha256: sha256.to_owned(),
            size,
        }),
        _ => Err(Failure::new("the controller offered no content")),
    }
}

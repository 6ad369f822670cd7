//! What a handler answers, before it is bytes: so that a write's outcome can be kept small and its repeat answered the same.
//!
//! A load result is the metadata file's own bytes with a little around them, never read and written again.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::error::Result;
use crate::storage::Location;
use crate::upstream::Response;

/// An answer of a pointer catalog.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// 204.
    NoContent,
    /// 200 with this body.
    Json(Value),
    /// 200 with a table's or view's metadata.
    Load {
        /// Where the metadata is; `None` for a table that is only staged.
        metadata_location: Option<Location>,
        /// The metadata's JSON text.
        metadata: Bytes,
    },
}

impl Answer {
    /// The answer as a client gets it; `config` is what tables' load results carry for clients.
    pub(super) fn into_response(self, config: &Value) -> Result<Response> {
        Ok(match self {
            Answer::NoContent => Response::no_content(),
            Answer::Json(body) => Response::json(&body),
            Answer::Load { metadata_location, metadata } => {
                Response::json_bytes(load_result(metadata_location.as_ref(), &metadata, config))
            }
        })
    }
}

/// `{"metadata-location": …, "metadata": …, "config": …}` around the metadata as it is.
fn load_result(location: Option<&Location>, metadata: &[u8], config: &Value) -> Bytes {
    let config = config.to_string();
    let location = location.map(|location| json!(location).to_string());
    let mut body =
        BytesMut::with_capacity(metadata.len() + config.len() + location.as_ref().map_or(0, String::len) + 64);
    body.put_u8(b'{');
    if let Some(location) = location {
        body.put_slice(b"\"metadata-location\":");
        body.put_slice(location.as_bytes());
        body.put_u8(b',');
    }
    body.put_slice(b"\"metadata\":");
    body.put_slice(metadata);
    body.put_slice(b",\"config\":");
    body.put_slice(config.as_bytes());
    body.put_u8(b'}');
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_result_holds_the_metadata_as_it_is() {
        let location = Location::new("file:/w/\"t\"/1.json");
        let body = load_result(Some(&location), b"{\"a\": 1.50}", &json!({"k": "v"}));
        assert_eq!(
            body,
            "{\"metadata-location\":\"file:/w/\\\"t\\\"/1.json\",\"metadata\":{\"a\": 1.50},\"config\":{\"k\":\"v\"}}"
        );
        assert_eq!(load_result(None, b"{}", &json!({})), "{\"metadata\":{},\"config\":{}}");
    }
}

//! Page tokens: opaque to clients, the last name that they have seen for us.
//!
//! A client that sends no `pageToken` gets everything, as the specification says; one that sends an empty one starts paging. Going on
//! after a name rather than at a number keeps pages right while names come and go.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};
use crate::upstream::Request;

/// The largest page, and the size of one for which no size was asked.
const PAGE_MAX: i64 = 1000;
/// The longest list that is made for a client that does not page.
const LIST_MAX: i64 = 10_000_000;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paging {
    /// The last name that the client has; empty at the start.
    pub(super) after: String,
    /// How many names the client gets at most.
    pub(super) count_max: i64,
}

impl Paging {
    pub(super) fn of(request: &Request) -> Result<Self> {
        let Some(token) = request.query("pageToken") else {
            return Ok(Paging { after: String::new(), count_max: LIST_MAX });
        };
        let after = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let after =
            after.ok_or_else(|| Error::bad_request("the pageToken is not one of ours; start again without it"))?;
        let count_max = match request.query("pageSize") {
            None | Some("") => PAGE_MAX,
            Some(size) => match size.parse::<i64>() {
                Ok(size) if size > 0 => size.min(PAGE_MAX),
                _ => return Err(Error::bad_request(format!("pageSize {size:?} is not a positive number"))),
            },
        };
        Ok(Paging { after, count_max })
    }

    /// Cuts a list that was read one longer than asked for, and says where to go on.
    pub(super) fn cut<T>(&self, mut list: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        if list.len() as i64 <= self.count_max {
            return (list, None);
        }
        list.truncate(self.count_max as usize);
        let token = list.last().map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        (list, token)
    }
}

//! What a client's request means: the stack of layers between the server and the upstream, one file each.
//!
//! Every layer is a [`crate::upstream::Catalog`] around a `Catalog`; their order is written down in one place, where the
//! program is put together.

mod authorise;
mod cache;
mod marks;
mod stored;
#[cfg(test)]
mod tests;

pub use authorise::Authorise;
pub use cache::{Cache, CacheCounts, CacheSettings};

//! What a client's request means: the stack of layers between the server and the upstream, one file or
//! folder each.
//!
//! Every layer is a [`crate::upstream::Catalog`] around a `Catalog`; their order is written down in one place, where the
//! program is put together.

mod authorise;
mod cache;
mod credentials;
mod journaled;
mod landing;
mod locations;
mod marks;
mod measure;
mod standby;
mod stored;
#[cfg(test)]
mod tests;

pub use authorise::Authorise;
pub use cache::{Cache, CacheSettings};
pub use credentials::{Given, Scope, SiteCredentials, SiteCredentialsSettings};
pub use journaled::{JournalWriter, Journaled};
pub use landing::Landing;
pub use locations::{ClientLocations, ClientLocationsSettings};
pub use measure::Measure;
pub use standby::Standby;

//! The server in front of a fake stack, through real sockets.

mod appends;
mod changes;
mod errors;
pub mod fake;
mod generated;
mod names;
mod reload;
mod relocations;
mod rights;
mod writes;

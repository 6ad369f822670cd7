//! One whole table in storage: everything that its metadata leads to.

pub mod purge;
pub mod relocate;

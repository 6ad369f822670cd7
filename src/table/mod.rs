//! One whole table in storage: everything that its metadata leads to.

pub mod copy_plan;
pub mod purge;
pub mod relocate;

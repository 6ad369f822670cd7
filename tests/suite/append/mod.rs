//! Data files that land: each in the table once, whatever happens meanwhile, and bad ones named.

mod bad;
mod once;
mod shore;

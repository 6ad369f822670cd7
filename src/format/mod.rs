//! PURE: the Iceberg format as bytes: bytes in, bytes out; no I/O, no clock, no randomness.

pub mod manifest;

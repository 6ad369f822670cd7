//! Holds what a machine can check of how this house is built.

fn main() {}

//! Maintenance as users ask for it: by REST and by command, raced, cut off and refused.

mod kill;
mod rest;
mod yard;

//! The behaviour of the whole server, through HTTP and the command line.

mod demo;
mod hammer;
mod kill;
mod oracle;
mod relocation;
mod server;

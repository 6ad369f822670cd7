//! The behaviour of the whole server, through HTTP and the command line.

mod append;
mod changes;
mod copy_plan;
mod demo;
mod hammer;
mod harbour;
mod kill;
mod maintenance;
mod oracle;
mod relocation;
mod replica;
mod server;

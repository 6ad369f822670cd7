//! The behaviour of the whole server, through HTTP and the command line.

mod server;

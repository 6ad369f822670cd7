//! The changes of tables: any history is replayed exactly, page by page, whatever its writers did.

mod command;
mod paging;
mod table;
mod there;

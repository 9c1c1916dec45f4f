//! The servers of the system: how each is found, prepared and started. Tests give a server a directory and a port of
//! its own; so does `cargo xtask up`.

pub mod database;
pub mod haproxy;
pub mod kafka;
pub mod redis;

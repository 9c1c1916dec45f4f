#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a doc comment says what the name does not")]

pub mod certificates;
pub mod detached;
#[cfg(feature = "load")]
pub mod load;
pub mod log;
pub mod port;
pub mod process;
pub mod program;
#[cfg(feature = "async")]
pub mod proxy;
pub mod secret;
pub mod servers;
pub mod spin_cache;
pub mod usage;
pub mod wait;

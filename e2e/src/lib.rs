#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a doc comment says what the name does not")]

pub mod application;
pub mod campaign;
pub mod check;
pub mod edge;
pub mod evidence;
pub mod flood;
pub mod history;
pub mod overload;
pub mod program;
pub mod replica;
pub mod report;
pub mod rights;
pub mod rows;
pub mod rush;
pub mod schema;
pub mod secured;
pub mod shared;
pub mod system;
pub mod terms;

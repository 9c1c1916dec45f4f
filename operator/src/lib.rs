#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a doc comment says what the name does not")]

pub mod actor;
pub mod audit;
pub mod campaign;
pub mod codes;
pub mod config;
pub mod coupon;
pub mod database;
pub mod dead_letter;
pub mod difference;
pub mod failed;
pub mod fields;
pub mod gate;
pub mod intention;
pub mod kafka;
pub mod output;
pub mod problem;
pub mod refusal;
pub mod restore;
pub mod revoke;
pub mod schedule;
pub mod servers;
pub mod setup;
pub mod stderr;
pub mod terms;
pub mod unknown;
pub mod waiting;
pub mod watch;

mod operation;

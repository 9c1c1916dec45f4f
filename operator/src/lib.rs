#![doc = include_str!("../README.md")]

pub mod campaign;
pub mod config;
pub mod coupon;
pub mod database;
pub mod gate;
pub mod kafka;
pub mod revoke;
pub mod schedule;
pub mod setup;
pub mod terms;

mod address;

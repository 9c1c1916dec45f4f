#![doc = include_str!("../README.md")]

pub mod campaign;
pub mod config;
pub mod database;
pub mod gate;
pub mod kafka;
pub mod setup;

mod address;

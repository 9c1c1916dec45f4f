#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a doc comment says what the name does not")]

pub mod bare;
pub mod benches;
pub mod chart;
pub mod constant;
pub mod finding;
pub mod gate;
pub mod goals;
pub mod machine;
pub mod measure;
pub mod native;
pub mod page;
pub mod report;
pub mod say;
pub mod scale;
mod table;
pub mod testbed;
pub mod topic;
pub mod ways;
